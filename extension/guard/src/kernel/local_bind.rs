//! bind(2) of an AF_UNIX socket to a path: as the caller would make it, in the caller's folder and with the caller's umask.
//!
//! The kernel keeps the path as it was given and shows it by getsockname(2) and to peers, so a relative one cannot be written
//! another way. The thread that answers goes to the caller's folder for the call; where the platform lets it have no working
//! folder of its own, one at a time does, and the guard uses no relative path otherwise, in no thread. The umask comes by way of the socket, whose permissions its node gets. What may be bound is decided elsewhere; `connect` calls
//! it.

use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Mutex;

use super::address::family;
use super::lock::lock;
use super::open::masked;
use super::target::{Caller, ProcPath};
use crate::sys::{Errno, descriptor, file};

/// The working folder of all threads that have none of their own, while one of them uses it.
static WORKING_FOLDER: Mutex<()> = Mutex::new(());

/// Whether an address is an AF_UNIX path.
pub(super) fn is_path(address: &[u8]) -> bool {
    family(address) == Some(libc::AF_UNIX) && address.get(2).is_some_and(|first| *first != 0)
}

/// Whether it is one that starts in the working folder.
pub(super) fn is_relative(address: &[u8]) -> bool {
    is_path(address) && address.get(2) != Some(&b'/')
}

/// Lets `bind` bind `socket` to the path `address` in the caller's place, by a thread that has a working folder of its own or
/// not. `waits` says whether the caller is still there,
/// once what is its own was found by its number.
pub(super) fn in_place_of(
    caller: &Caller,
    (socket, address): (BorrowedFd<'_>, &[u8]),
    own_folder: bool,
    waits: impl FnOnce() -> bool,
    bind: impl FnOnce() -> Result<(), Errno>,
) -> Result<(), Errno> {
    let folder = if is_relative(address) { Some(working_folder(caller)?) } else { None };
    let mode = descriptor::status(socket)?.mode;
    let masked = masked(caller, mode)?;
    if !waits() {
        return Err(Errno(libc::EINTR));
    }
    if masked != mode {
        file::set_mode(socket, masked)?;
    }
    let bound = match folder {
        None => bind(),
        Some(folder) => {
            let _alone = (!own_folder).then(|| lock(&WORKING_FOLDER));
            file::enter(folder.as_fd()).and_then(|()| {
                let bound = bind();
                file::leave();
                bound
            })
        }
    };
    if masked != mode {
        let _ = file::set_mode(socket, mode);
    }
    bound
}

fn working_folder(caller: &Caller) -> Result<std::os::fd::OwnedFd, Errno> {
    let mut path = ProcPath::new();
    let _ = write!(path, "/proc/{}/cwd", caller.thread);
    descriptor::open_at(None, path.as_c_str().ok_or(Errno::EINVAL)?, libc::O_PATH | libc::O_DIRECTORY)
}

//! bind(2) of an AF_UNIX socket to a path: as the caller would make it, in the caller's folder and with the caller's umask.
//!
//! The kernel keeps the path as it was given and shows it by getsockname(2) and to peers, so a relative one cannot be written
//! another way. The guard goes to the caller's folder for the call: it uses no relative path otherwise, in no thread. What
//! may be bound is decided elsewhere; `connect` calls it.

use std::io::Write as _;
use std::os::fd::AsFd as _;

use super::address::family;
use super::open::take_mask;
use super::target::{Caller, ProcPath};
use crate::sys::{Errno, descriptor, file};

/// Whether an address is an AF_UNIX path.
pub(super) fn is_path(address: &[u8]) -> bool {
    family(address) == Some(libc::AF_UNIX) && address.get(2).is_some_and(|first| *first != 0)
}

/// Whether it is one that starts in the working folder.
pub(super) fn is_relative(address: &[u8]) -> bool {
    is_path(address) && address.get(2) != Some(&b'/')
}

/// Lets `bind` bind to the path `address` in the caller's place. `waits` says whether the caller is still there, once what
/// is its own was found by its number.
pub(super) fn in_place_of(
    caller: &Caller,
    address: &[u8],
    waits: impl FnOnce() -> bool,
    bind: impl FnOnce() -> Result<(), Errno>,
) -> Result<(), Errno> {
    let folder = if is_relative(address) { Some(working_folder(caller)?) } else { None };
    take_mask(caller)?;
    if !waits() {
        return Err(Errno(libc::EINTR));
    }
    let Some(folder) = folder else { return bind() };
    file::enter(folder.as_fd())?;
    let bound = bind();
    file::leave();
    bound
}

fn working_folder(caller: &Caller) -> Result<std::os::fd::OwnedFd, Errno> {
    let mut path = ProcPath::new();
    let _ = write!(path, "/proc/{}/cwd", caller.thread);
    descriptor::open_at(None, path.as_c_str().ok_or(Errno::EINVAL)?, libc::O_PATH | libc::O_DIRECTORY)
}

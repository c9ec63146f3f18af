//! Calls that make, move and remove names, and truncate(2): decided and carried out on pinned folders.
//!
//! Both paths are copied and looked up as the caller would, the last component apart; the verdict is on the kernel's
//! name of the folder with that component, and the call is made with the same pinned folder. `kernel` calls it.

use std::os::fd::AsFd as _;

use libc::c_long;

use super::Supervisor;
use super::answer::Answer;
use super::arguments::low_word;
use super::lookup::{Found, Lookup, Place, Slot};
use super::open::{directory, masked, unsigned};
use super::target::{Caller, TargetPath};
use crate::sys::seccomp::Notification;
use crate::sys::{Errno, c_path, file, process};

/// A path of the caller, and the descriptor that it is relative to.
type At = (Option<i32>, u64);

/// What a call asks for; addresses are the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Remove { at: At, flags: i32 },
    MakeFolder { at: At, mode: u32 },
    MakeNode { at: At, mode: u32, device: u32 },
    Symbolic { text: u64, at: At },
    Hard { from: At, to: At, flags: i32 },
    Rename { from: At, to: At, flags: u32 },
    Truncate { at: At, length: u64 },
}

/// Whether a call changes names or cuts a file by its name.
#[must_use]
pub const fn changes(call: c_long) -> bool {
    #[cfg(target_arch = "x86_64")]
    if matches!(
        call,
        libc::SYS_rename
            | libc::SYS_link
            | libc::SYS_symlink
            | libc::SYS_unlink
            | libc::SYS_rmdir
            | libc::SYS_mkdir
            | libc::SYS_mknod
    ) {
        return true;
    }
    matches!(
        call,
        libc::SYS_truncate
            | libc::SYS_renameat
            | libc::SYS_renameat2
            | libc::SYS_linkat
            | libc::SYS_symlinkat
            | libc::SYS_unlinkat
            | libc::SYS_mkdirat
            | libc::SYS_mknodat
    )
}

impl Change {
    fn of(notification: &Notification) -> Option<Self> {
        let [a, b, c, d, flags, _] = notification.arguments;
        Some(match c_long::from(notification.number) {
            libc::SYS_truncate => Self::Truncate { at: (None, a), length: b },
            libc::SYS_renameat => Self::Rename { from: (directory(a), b), to: (directory(c), d), flags: 0 },
            libc::SYS_renameat2 => {
                Self::Rename { from: (directory(a), b), to: (directory(c), d), flags: unsigned(flags) }
            }
            libc::SYS_linkat => {
                Self::Hard { from: (directory(a), b), to: (directory(c), d), flags: low_word(flags) }
            }
            libc::SYS_symlinkat => Self::Symbolic { text: a, at: (directory(b), c) },
            libc::SYS_unlinkat => Self::Remove { at: (directory(a), b), flags: low_word(c) },
            libc::SYS_mkdirat => Self::MakeFolder { at: (directory(a), b), mode: unsigned(c) },
            libc::SYS_mknodat => {
                Self::MakeNode { at: (directory(a), b), mode: unsigned(c), device: unsigned(d) }
            }
            _ => return Self::without_directory(notification),
        })
    }

    #[cfg(target_arch = "x86_64")]
    fn without_directory(notification: &Notification) -> Option<Self> {
        let [a, b, c, ..] = notification.arguments;
        Some(match c_long::from(notification.number) {
            libc::SYS_rename => Self::Rename { from: (None, a), to: (None, b), flags: 0 },
            libc::SYS_link => Self::Hard { from: (None, a), to: (None, b), flags: 0 },
            libc::SYS_symlink => Self::Symbolic { text: a, at: (None, b) },
            libc::SYS_unlink => Self::Remove { at: (None, a), flags: 0 },
            libc::SYS_rmdir => Self::Remove { at: (None, a), flags: libc::AT_REMOVEDIR },
            libc::SYS_mkdir => Self::MakeFolder { at: (None, a), mode: unsigned(b) },
            libc::SYS_mknod => Self::MakeNode { at: (None, a), mode: unsigned(b), device: unsigned(c) },
            _ => return None,
        })
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn without_directory(_: &Notification) -> Option<Self> {
        None
    }

    /// The paths that are looked up; the second may be none.
    const fn paths(self) -> (At, Option<At>) {
        match self {
            Self::Remove { at, .. }
            | Self::MakeFolder { at, .. }
            | Self::MakeNode { at, .. }
            | Self::Truncate { at, .. } => (at, None),
            Self::Symbolic { text, at } => (at, Some((None, text))),
            Self::Hard { from, to, .. } | Self::Rename { from, to, .. } => (from, Some(to)),
        }
    }
}

/// The copied paths of a call, in the order of [`Change::paths`].
struct Paths {
    first: TargetPath,
    second: Option<TargetPath>,
}

impl Paths {
    fn read(thread: u32, change: Change) -> Result<Self, Errno> {
        let (first, second) = change.paths();
        let first = TargetPath::read(thread, first.1)?;
        let second = second.map(|second| TargetPath::read(thread, second.1)).transpose()?;
        Ok(Self { first, second })
    }

    fn first(&self) -> &[u8] {
        self.first.as_bytes()
    }

    fn second(&self) -> &[u8] {
        self.second.as_ref().map_or(&[], TargetPath::as_bytes)
    }
}

impl Supervisor {
    /// Decides and carries out a change of names.
    pub(super) fn change_names(&mut self, notification: &Notification, caller: &Caller) -> Answer {
        let Some(change) = Change::of(notification) else { return Answer::Fail(Errno(libc::ENOSYS)) };
        let paths = match Paths::read(caller.thread, change) {
            Ok(paths) => paths,
            Err(error) => return Answer::Fail(error),
        };
        self.files.note([paths.first(), paths.second()]);
        if let Some(value) = self.undelivered.take(notification, self.files.asked()) {
            return Answer::Done(value);
        }
        if !self.listener.still_waits(notification.id) {
            return Answer::Elsewhere;
        }
        let made = self.files.may_serve(caller).and_then(|()| self.carry_out_change(caller, change, &paths));
        made.map(|()| 0).into()
    }

    fn carry_out_change(&mut self, caller: &Caller, change: Change, paths: &Paths) -> Result<(), Errno> {
        let mut lookup = Lookup::new(caller);
        match change {
            Change::Truncate { at, length } => self.truncate(caller, at, paths.first(), length),
            Change::Hard { from, to, flags } => self.link(caller, (from, to), paths, flags),
            Change::Rename { from, to, flags } => {
                let from = lookup.slot(from.0, paths.first())?;
                let to = lookup.slot(to.0, paths.second())?;
                self.judge_write(caller, &from.path()?)?;
                self.judge_write(caller, &to.path()?)?;
                file::rename((from.folder.as_fd(), &from.name), (to.folder.as_fd(), &to.name), flags)
            }
            Change::Symbolic { at, .. } => {
                let slot = self.judged_slot(caller, at, paths.first())?;
                let text = c_path(paths.second())?;
                file::make_symbolic(&text, slot.folder.as_fd(), &slot.name)
            }
            Change::Remove { at, flags } => {
                let slot = self.judged_slot(caller, at, paths.first())?;
                file::remove(slot.folder.as_fd(), &slot.name, flags)
            }
            Change::MakeFolder { at, mode } => {
                let slot = self.judged_slot(caller, at, paths.first())?;
                file::make_folder(slot.folder.as_fd(), &slot.name, masked(caller, mode)?)
            }
            Change::MakeNode { at, mode, device } => {
                let slot = self.judged_slot(caller, at, paths.first())?;
                file::make_node(slot.folder.as_fd(), &slot.name, masked(caller, mode)?, device)
            }
        }
    }

    fn judged_slot(&mut self, caller: &Caller, at: At, path: &[u8]) -> Result<Slot, Errno> {
        let slot = Lookup::new(caller).slot(at.0, path)?;
        self.judge_write(caller, &slot.path()?)?;
        Ok(slot)
    }

    /// A file that may not be written gets no second name, by which it could be.
    fn link(
        &mut self,
        caller: &Caller,
        (from, to): (At, At),
        paths: &Paths,
        flags: i32,
    ) -> Result<(), Errno> {
        if flags & !(libc::AT_SYMLINK_FOLLOW | libc::AT_EMPTY_PATH) != 0 {
            return Err(Errno::EINVAL);
        }
        let mut lookup = Lookup::new(caller);
        let source = match from.0 {
            Some(number) if paths.first().is_empty() && flags & libc::AT_EMPTY_PATH != 0 => {
                lookup.pin(number)?
            }
            directory => {
                existing(lookup.find(directory, paths.first(), flags & libc::AT_SYMLINK_FOLLOW != 0)?)?
            }
        };
        let slot = Lookup::new(caller).slot(to.0, paths.second())?;
        if source.nature.links > 0 {
            self.judge_found(caller, &source)?;
        }
        self.judge_write(caller, &slot.path()?)?;
        file::make_hard(&source.door(), slot.folder.as_fd(), &slot.name)
    }

    fn truncate(&mut self, caller: &Caller, at: At, path: &[u8], length: u64) -> Result<(), Errno> {
        let wanted = i64::try_from(length).map_err(|_| Errno::EINVAL)?;
        let found = existing(Lookup::new(caller).find(at.0, path, true)?)?;
        match found.nature.kind {
            libc::S_IFDIR => return Err(Errno(libc::EISDIR)),
            libc::S_IFREG => {}
            _ => return Err(Errno::EINVAL),
        }
        self.judge_found(caller, &found)?;
        if length > found.nature.size && length > file::length_limit(caller.process)? {
            let _ = process::kill_thread(caller.process, caller.thread, libc::SIGXFSZ);
            return Err(Errno(libc::EFBIG));
        }
        // Without waiting: a lease on the file would hold everybody up for as long as its owner likes.
        let opened = file::open(None, &found.door(), libc::O_WRONLY | libc::O_NONBLOCK, 0)?;
        file::set_length(opened.as_fd(), wanted)
    }
}

fn existing(place: Place) -> Result<Found, Errno> {
    match place {
        Place::There(found) => Ok(found),
        Place::Free(_) => Err(Errno::ENOENT),
    }
}

//! Opens that write or make a file: decided on what was found, and carried out on the same.
//!
//! The path is copied, looked up as the caller would, and pinned; the verdict is on the kernel's name of what is
//! pinned; that, and nothing that has the same name by now, is opened again and put into the caller. What may wait (a
//! FIFO without a reader, a lease, a file on a server) is left to a worker. Without rules on writing nothing is judged, and all
//! this is for the memory of processes, where Landlock does not keep it. With rules on `/proc` alone nothing else is judged. `kernel` calls it.

use std::os::fd::{AsFd as _, OwnedFd};

use libc::c_long;
use ringfence_policy::{Action, Decision};
use ringfence_records::message::{ActionKind, Kind, Outcome, Report};

use super::Supervisor;
use super::answer::Answer;
use super::arguments::low_word;
use super::lookup::{self, Found, Lookup, Name, Place, Slot};
use super::rights::Rights;
use super::target::{self, Caller, TargetPath};
use super::workers::Task;
use crate::sys::file::PROCFS;
use crate::sys::seccomp::{Listener, Notification};
use crate::sys::{Errno, file};

/// Tries while others make and remove the file between look and open.
const ATTEMPTS: u32 = 16;
/// Flags that are settled before the pinned file is opened again.
const SETTLED: i32 = libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
/// The bit of `O_TMPFILE` that is its own.
const UNNAMED: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;
/// File systems that ask somebody else (NFS, CIFS, SMB2, FUSE, 9P): an open may take as long as that takes.
const REMOTE: [u64; 5] = [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x6573_5546, 0x0102_1997];

/// What the plane keeps for calls on files.
#[derive(Debug)]
pub struct Files {
    rights: Rights,
    asked: Vec<u8>,
}

impl Default for Files {
    fn default() -> Self {
        Self { rights: Rights::own(), asked: Vec::with_capacity(512) }
    }
}

impl Files {
    /// The same for one more thread.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { rights: self.rights.clone(), asked: Vec::new() }
    }

    /// The paths of the last call, to know it again.
    #[must_use]
    pub fn asked(&self) -> &[u8] {
        &self.asked
    }

    /// Notes the paths of a call.
    pub fn note(&mut self, paths: [&[u8]; 2]) {
        self.asked.clear();
        self.asked.extend_from_slice(&paths.concat());
    }

    /// Whether the guard may act for this thread.
    pub fn may_serve(&self, caller: &Caller) -> Result<(), Errno> {
        self.rights.are_shared_by(caller.thread).then_some(()).ok_or(Errno::EACCES)
    }
}

/// Whether a call opens files.
#[must_use]
pub const fn opens(call: c_long) -> bool {
    #[cfg(target_arch = "x86_64")]
    if matches!(call, libc::SYS_open | libc::SYS_creat) {
        return true;
    }
    call == libc::SYS_openat
}

/// An open in the form of openat(2), copied.
#[derive(Debug)]
struct Request {
    directory: Option<i32>,
    path: TargetPath,
    flags: i32,
    mode: u32,
}

/// A descriptor number of the caller, unless it stands for the working directory.
#[must_use]
pub fn directory(argument: u64) -> Option<i32> {
    let number = low_word(argument);
    (number != libc::AT_FDCWD).then_some(number)
}

/// An unsigned argument as the kernel takes it: the low 32 bits.
#[must_use]
pub fn unsigned(argument: u64) -> u32 {
    low_word(argument).cast_unsigned()
}

impl Request {
    fn read(notification: &Notification) -> Result<Self, Errno> {
        let [first, second, third, fourth, ..] = notification.arguments;
        let at = |directory, path, flags, mode| {
            let path = TargetPath::read(notification.thread, path)?;
            Ok(Self { directory, path, flags, mode: unsigned(mode) & 0o7777 })
        };
        match c_long::from(notification.number) {
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open => at(None, first, low_word(second), third),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_creat => at(None, first, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, second),
            _ => at(directory(first), second, low_word(third), fourth),
        }
    }

    const fn has(&self, flag: i32) -> bool {
        self.flags & flag != 0
    }

    /// Whether a link at the end of the path is followed.
    const fn follows(&self) -> bool {
        !(self.has(libc::O_NOFOLLOW) || self.has(libc::O_CREAT) && self.has(libc::O_EXCL))
    }
}

impl Supervisor {
    /// Decides and carries out an open.
    pub(super) fn open(&mut self, notification: &Notification, caller: &Caller) -> Answer {
        Request::read(notification)
            .and_then(|request| self.open_as(notification, caller, request))
            .unwrap_or_else(Answer::Fail)
    }

    fn open_as(
        &mut self,
        notification: &Notification,
        caller: &Caller,
        mut request: Request,
    ) -> Result<Answer, Errno> {
        self.files.may_serve(caller)?;
        if request.has(libc::O_CREAT) && request.has(libc::O_DIRECTORY) {
            return Err(Errno::EINVAL);
        }
        self.files.note([request.path.as_bytes(), b""]);
        if self.undelivered.take(notification, self.files.asked()).is_some() {
            // This very call has made the file already, and a signal kept its caller from hearing of it.
            request.flags &= !libc::O_EXCL;
        }
        for _ in 0..ATTEMPTS {
            let mut lookup = Lookup::new(caller);
            let place = lookup.find(request.directory, request.path.as_bytes(), request.follows())?;
            if !self.listener.still_waits(notification.id) {
                return Ok(Answer::Elsewhere);
            }
            match self.open_place(notification, caller, &request, place) {
                // Somebody made, or removed, the file since it was looked for.
                Err(Errno(libc::EEXIST)) if !request.has(libc::O_EXCL) => {}
                done => return done,
            }
        }
        Err(Errno(libc::EBUSY))
    }

    fn open_place(
        &mut self,
        notification: &Notification,
        caller: &Caller,
        request: &Request,
        place: Place,
    ) -> Result<Answer, Errno> {
        match place {
            Place::There(found) if request.has(UNNAMED) => {
                self.open_unnamed(notification, caller, request, &found)
            }
            Place::There(found) => {
                self.judge_found(caller, &found)?;
                self.protect_memory(caller, &found)?;
                refuse_early(request, &found)?;
                self.open_again(notification, caller, request, found)
            }
            Place::Free(_) if !request.has(libc::O_CREAT) => Err(Errno::ENOENT),
            Place::Free(slot) => self.make(notification, caller, request, &slot),
        }
    }

    /// The guard, as their ancestor, may write to the memory of processes that the caller may not write to.
    fn protect_memory(&mut self, caller: &Caller, found: &Found) -> Result<(), Errno> {
        match found.memory_of() {
            Some(process) if target::process_of(process) != Ok(caller.process) => {
                self.refuse(caller, "write to /proc/<pid>/mem", b"the memory of another process");
                Err(Errno::EACCES)
            }
            _ => Ok(()),
        }
    }

    fn make(
        &mut self,
        notification: &Notification,
        caller: &Caller,
        request: &Request,
        slot: &Slot,
    ) -> Result<Answer, Errno> {
        if slot.ends_in_slash() {
            return Err(Errno(libc::EISDIR));
        }
        if self.speaks_of_writes(false) {
            self.judge_write(caller, &slot.path()?)?;
        }
        let flags = request.flags | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_NOCTTY;
        let permissions = masked(caller, request.mode)?;
        let made = file::open(Some(slot.folder.as_fd()), &slot.name, flags, permissions)?;
        self.hand_over(notification, made, request, true)
    }

    fn open_unnamed(
        &mut self,
        notification: &Notification,
        caller: &Caller,
        request: &Request,
        folder: &Found,
    ) -> Result<Answer, Errno> {
        if self.speaks_of_writes(false) {
            let mut path = folder.path()?;
            path.push(b"/(unnamed)");
            self.judge_write(caller, &path)?;
        }
        let permissions = masked(caller, request.mode)?;
        let made = file::open(None, &folder.door(), request.flags & !libc::O_NOFOLLOW, permissions)?;
        self.hand_over(notification, made, request, true)
    }

    /// Opens what was found and judged, by the descriptor that pins it.
    fn open_again(
        &mut self,
        notification: &Notification,
        caller: &Caller,
        request: &Request,
        found: Found,
    ) -> Result<Answer, Errno> {
        let flags = request.flags & !SETTLED | libc::O_NOCTTY;
        let fifo = found.nature.kind == libc::S_IFIFO;
        let regular = found.nature.kind == libc::S_IFREG;
        let waits = !request.has(libc::O_NONBLOCK);
        let reads_fifo = fifo && flags & libc::O_ACCMODE == libc::O_RDONLY;
        let may_hang = REMOTE.contains(&found.file_system) || reads_fifo;
        if !(waits && may_hang) {
            match file::open(None, &found.door(), flags | libc::O_NONBLOCK, 0) {
                Ok(opened) if waits => {
                    file::make_blocking(opened.as_fd(), flags)?;
                    return self.hand_over(notification, opened, request, regular);
                }
                Ok(opened) => return self.hand_over(notification, opened, request, regular),
                Err(Errno(libc::EWOULDBLOCK)) if waits => {}
                Err(Errno(libc::ENXIO)) if waits && fifo => {}
                Err(error) => return Err(error),
            }
        }
        let task = Task::Open { flags, close_on_exec: request.has(libc::O_CLOEXEC) };
        self.leave_to_worker(notification, caller, found.file, task)
    }

    /// Gives the opened file to the caller. Where that fails, the file may have been made already, and the caller, when
    /// it asks again, must not be told that somebody else has.
    fn hand_over(
        &mut self,
        notification: &Notification,
        opened: OwnedFd,
        request: &Request,
        regular: bool,
    ) -> Result<Answer, Errno> {
        let given = self.give(notification.id, opened, request.has(libc::O_CLOEXEC), regular);
        if given.is_err() && request.has(libc::O_EXCL) {
            self.undelivered.remember(notification, self.files.asked(), 0);
        }
        given
    }

    fn give(
        &self,
        id: u64,
        opened: OwnedFd,
        close_on_exec: bool,
        in_one_step: bool,
    ) -> Result<Answer, Errno> {
        if in_one_step {
            match self.listener.answer_with_descriptor(id, opened.as_fd(), close_on_exec) {
                // Before 5.14; a target that is interrupted in between keeps the descriptor.
                Err(Errno::EINVAL) => {}
                other => return other.map(|()| Answer::Elsewhere),
            }
        }
        give_alone(&self.listener, id, opened, close_on_exec).map(Answer::Done)
    }

    /// Returns `true` if a rule on writing may speak of a file in procfs, or of one elsewhere. The name is the dear part.
    fn speaks_of_writes(&self, in_proc: bool) -> bool {
        self.policy.has_write_rules() && (in_proc || !self.policy.writes_in_proc_only())
    }

    /// Judges a write to what was found.
    pub(super) fn judge_found(&mut self, caller: &Caller, found: &Found) -> Result<(), Errno> {
        if !self.speaks_of_writes(found.file_system == PROCFS) {
            return Ok(());
        }
        let path = found.path()?;
        let has_path = matches!(found.nature.kind, libc::S_IFREG | libc::S_IFDIR | libc::S_IFLNK);
        if has_path && !path.as_bytes().starts_with(b"/") {
            // Beyond every root that the guard knows; rules have no name for it.
            return Err(Errno::EACCES);
        }
        self.judge_write(caller, &path)
    }

    /// Asks the policy about a file that would be written, made or removed, and writes down what it says.
    pub(super) fn judge_write(&mut self, caller: &Caller, path: &Name) -> Result<(), Errno> {
        let path = path.as_bytes();
        if !path.starts_with(b"/") {
            // A pipe or a socket: no file of anyone.
            return Ok(());
        }
        let verdict = self.policy.verdict(&Action::OpenWrite { path }, &self.context(caller));
        if verdict.decision == Decision::Allow {
            return Ok(());
        }
        let mut report = Report::new(Kind::Violation, ActionKind::OpenWrite);
        report.path = path;
        let denied = verdict.decision == Decision::Deny;
        report.outcome = if denied { Outcome::Blocked } else { Outcome::Reported };
        self.report(caller, report, verdict.rule);
        if denied { Err(Errno::EACCES) } else { Ok(()) }
    }
}

/// The permissions that a file gets which the caller makes with `mode`. The guard's own umask(2) is 0.
pub fn masked(caller: &Caller, mode: u32) -> Result<u32, Errno> {
    Ok(mode & !target::mask_of(caller.thread).ok_or(Errno(libc::ESRCH))?)
}

/// What the kernel says before it opens anything.
fn refuse_early(request: &Request, found: &Found) -> Result<(), Errno> {
    let folder = found.nature.kind == libc::S_IFDIR;
    let slash = request.path.as_bytes().ends_with(b"/");
    if request.has(libc::O_CREAT) && request.has(libc::O_EXCL) {
        return Err(Errno(libc::EEXIST));
    }
    if found.nature.kind == libc::S_IFLNK {
        return Err(Errno(libc::ELOOP));
    }
    if request.has(libc::O_CREAT) && (folder || slash) {
        return Err(Errno(libc::EISDIR));
    }
    if slash && !folder { Err(Errno(libc::ENOTDIR)) } else { Ok(()) }
}

/// Puts `file` into the target, which gets the number by the answer that is still to be sent. The guard's own is closed
/// by then: while it has one end of a FIFO open, the other side sees no end.
fn give_alone(listener: &Listener, id: u64, file: OwnedFd, close_on_exec: bool) -> Result<i64, Errno> {
    let number = listener.add_descriptor(id, file.as_fd(), close_on_exec);
    drop(file);
    number
}

/// A worker's part: opens a pinned file and waits as long as that takes. The number is still to be sent.
///
/// # Errors
/// The error of the open; `ENOENT` where nobody waits any more.
pub fn open_waiting(
    listener: &Listener,
    id: u64,
    pinned: &OwnedFd,
    flags: i32,
    close_on_exec: bool,
) -> Result<i64, Errno> {
    let opened = file::open(None, &lookup::door(pinned.as_fd()), flags, 0)?;
    give_alone(listener, id, opened, close_on_exec)
}

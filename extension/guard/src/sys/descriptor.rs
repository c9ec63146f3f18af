//! Descriptors: memfds and seals, duplicates at chosen numbers, pinned opens, pidfds, polling.
#![allow(unsafe_code, reason = "wraps calls of libc")]

use std::ffi::CStr;
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{Errno, check, check_int};

/// `F_SEAL_FUTURE_WRITE` (5.1): no new writable mapping, while existing ones stay.
pub const SEAL_FUTURE_WRITE: i32 = 0x10;
/// Everything that makes a memfd immutable.
pub const SEAL_ALL: i32 = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;

/// Device and inode: what a file is, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Identity {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
}

/// What fstat(2) says of a file, as far as anyone here asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// What the file is.
    pub identity: Identity,
    /// Whether it is a regular file.
    pub regular: bool,
    /// Number of names.
    pub links: u64,
    /// Permission bits.
    pub mode: u32,
}

fn owned(returned: usize) -> OwnedFd {
    let number = RawFd::try_from(returned).unwrap_or(-1);
    // SAFETY: every caller passes the successful result of a call that has just made a descriptor nobody else owns.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Takes over a descriptor that another process put into our table under this number.
///
/// The caller promises that nobody else in this process owns it; the guard calls it once, for the listener.
#[must_use]
pub fn adopt(number: RawFd) -> OwnedFd {
    owned(usize::try_from(number).unwrap_or(usize::MAX))
}

/// An anonymous memory file with sealing allowed, closed at exec.
///
/// # Errors
/// The error of `memfd_create(2)`.
pub fn memfd(name: &CStr) -> Result<OwnedFd, Errno> {
    // SAFETY: `name` is a C string that outlives the call.
    check_int(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) })
        .map(owned)
}

/// Adds seals to a memfd.
///
/// # Errors
/// The error of fcntl(2).
pub fn seal(file: BorrowedFd<'_>, seals: i32) -> Result<(), Errno> {
    // SAFETY: F_ADD_SEALS takes an int and touches no memory of ours.
    check_int(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }).map(drop)
}

/// A duplicate with the lowest free number that is at least `lowest`, kept open at exec.
///
/// # Errors
/// `EMFILE` or `EINVAL` where no such number is free below `RLIMIT_NOFILE`.
pub fn duplicate_at(file: BorrowedFd<'_>, lowest: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: F_DUPFD takes an int and touches no memory of ours.
    check_int(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD, lowest) }).map(owned)
}

/// Moves one of our own descriptors to a number of at least `lowest`, closed at exec.
///
/// # Errors
/// As [`duplicate_at`].
pub fn move_up(file: &OwnedFd, lowest: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: F_DUPFD_CLOEXEC takes an int and touches no memory of ours.
    check_int(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) }).map(owned)
}

/// The file status flags (`O_NONBLOCK`, the access mode) of an open file description.
///
/// # Errors
/// The error of fcntl(2).
pub fn status_flags(file: BorrowedFd<'_>) -> Result<i32, Errno> {
    // SAFETY: F_GETFL takes no argument.
    let flags = check_int(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) })?;
    Ok(i32::try_from(flags).unwrap_or(0))
}

/// Opens `path` relative to `directory` (or the working directory), closed at exec.
///
/// # Errors
/// The error of openat(2).
pub fn open_at(directory: Option<BorrowedFd<'_>>, path: &CStr, flags: i32) -> Result<OwnedFd, Errno> {
    let directory = directory.map_or(libc::AT_FDCWD, |directory| directory.as_raw_fd());
    // SAFETY: `path` is a C string that outlives the call; no mode is needed because O_CREAT is never passed.
    check_int(unsafe { libc::openat(directory, path.as_ptr(), flags | libc::O_CLOEXEC) }).map(owned)
}

/// Reads the target of a symbolic link into `into` and returns the bytes written.
///
/// # Errors
/// The error of readlink(2).
pub fn read_link<'b>(path: &CStr, into: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    // SAFETY: the buffer is valid for writes of its own length for the duration of the call.
    let length = check(
        unsafe { libc::readlink(path.as_ptr(), into.as_mut_ptr().cast(), into.len()) } as libc::c_long
    )?;
    Ok(into.get(..length).unwrap_or_default())
}

/// fstat(2) of an open file (`O_PATH` ones too).
///
/// # Errors
/// The error of fstat(2).
pub fn status(file: BorrowedFd<'_>) -> Result<Status, Errno> {
    let mut raw = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel fills the whole structure when it returns 0.
    check_int(unsafe { libc::fstat(file.as_raw_fd(), raw.as_mut_ptr()) })?;
    // SAFETY: the call above succeeded, so the structure is initialised.
    Ok(read_status(&unsafe { raw.assume_init() }))
}

/// stat(2) of a path, following links: of `/proc/N/exe` it is the running file's.
///
/// # Errors
/// The error of stat(2).
pub fn status_of(path: &CStr) -> Result<Status, Errno> {
    let mut raw = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the path is a C string, and the kernel fills the whole structure when it returns 0.
    check_int(unsafe { libc::stat(path.as_ptr(), raw.as_mut_ptr()) })?;
    // SAFETY: the call above succeeded, so the structure is initialised.
    Ok(read_status(&unsafe { raw.assume_init() }))
}

#[allow(
    clippy::useless_conversion,
    clippy::unnecessary_cast,
    reason = "the field types differ between targets"
)]
fn read_status(raw: &libc::stat) -> Status {
    Status {
        identity: Identity { device: raw.st_dev as u64, inode: raw.st_ino as u64 },
        regular: raw.st_mode & libc::S_IFMT == libc::S_IFREG,
        links: raw.st_nlink as u64,
        mode: raw.st_mode & 0o7777,
    }
}

/// A descriptor of a process (`pidfd_open(2)`, 5.3). `thread` asks for one thread's own (`PIDFD_THREAD`, 6.9).
///
/// # Errors
/// `ENOSYS`, `EPERM` or `EINVAL` where the kernel or a filter does not have it, `ESRCH` where the process is gone.
pub fn pidfd(pid: u32, thread: bool) -> Result<OwnedFd, Errno> {
    let flags = if thread { libc::O_EXCL } else { 0 };
    // SAFETY: pidfd_open takes two integers.
    check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, flags) }).map(owned)
}

/// Whether the process or thread behind `pidfd` has not been reaped yet and may be signalled by us.
#[must_use]
pub fn is_alive(pidfd: RawFd) -> bool {
    let nothing = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: pidfd_send_signal takes integers and a null pointer; signal 0 is only a question.
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, 0, nothing, 0) == 0 }
}

/// A duplicate of descriptor `number` of the process behind `pidfd` (`pidfd_getfd(2)`, 5.6).
///
/// # Errors
/// `ENOSYS` or `EPERM` where it may not be used, `EBADF` where there is no such descriptor.
pub fn fetch(pidfd: RawFd, number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: pidfd_getfd takes three integers.
    check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, number, 0) }).map(owned)
}

/// One descriptor to wait for, and whether something happened to it.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    descriptor: RawFd,
    events: i16,
    happened: i16,
}

impl Wait {
    /// Waits until `descriptor` can be read; a negative number waits for nothing.
    #[must_use]
    pub const fn readable(descriptor: RawFd) -> Self {
        Self { descriptor, events: libc::POLLIN, happened: 0 }
    }

    /// Waits until `descriptor` can be written.
    #[must_use]
    pub const fn writable(descriptor: RawFd) -> Self {
        Self { descriptor, events: libc::POLLOUT, happened: 0 }
    }

    /// Whether anything has happened that ends the wait.
    #[must_use]
    pub const fn ready_or_closed(self) -> bool {
        self.happened != 0
    }

    /// Whether it can be read.
    #[must_use]
    pub const fn ready(self) -> bool {
        self.happened & libc::POLLIN != 0
    }

    /// Whether the other side is gone.
    #[must_use]
    pub const fn closed(self) -> bool {
        self.happened & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0
    }
}

/// Waits for one of several descriptors, at most `milliseconds` (negative: without end).
///
/// # Errors
/// The error of poll(2); an interruption is no error but "nothing happened".
pub fn poll<const N: usize>(waits: &mut [Wait; N], milliseconds: i32) -> Result<(), Errno> {
    let mut raw = waits.map(|wait| libc::pollfd { fd: wait.descriptor, events: wait.events, revents: 0 });
    let count = libc::nfds_t::try_from(raw.len()).unwrap_or(0);
    // SAFETY: `raw` is an array of `count` initialised structures that outlives the call.
    let returned = check_int(unsafe { libc::poll(raw.as_mut_ptr(), count, milliseconds) });
    match returned {
        Err(Errno(libc::EINTR)) => return Ok(()),
        other => other?,
    };
    for (wait, raw) in waits.iter_mut().zip(raw) {
        wait.happened = raw.revents;
    }
    Ok(())
}

/// Closes a descriptor that nobody here uses any more: for a process that has all but ended.
pub fn close(number: RawFd) {
    // SAFETY: close(2) takes an integer. Whoever calls this uses none of the owners that the number may have.
    unsafe { libc::close(number) };
}

/// A pipe whose ends are closed at exec: first the end to read.
///
/// # Errors
/// The error of pipe2(2).
pub fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut ends = [0; 2];
    // SAFETY: the array has room for the two numbers that the kernel writes.
    check_int(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    let [read, write] = ends;
    Ok((adopt(read), adopt(write)))
}

/// Something to be woken by while waiting for descriptors (eventfd(2)).
#[derive(Debug)]
pub struct Alarm(OwnedFd);

impl Alarm {
    /// An alarm that has not rung.
    ///
    /// # Errors
    /// The error of eventfd(2): `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn new() -> Result<Self, Errno> {
        // SAFETY: eventfd(2) takes two integers.
        check_int(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
            .map(|number| Self(owned(number)))
    }

    /// The number to wait on.
    #[must_use]
    pub fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Rings until [`Alarm::reset`].
    pub fn ring(&self) {
        let _ = write_once(self.0.as_fd(), &1_u64.to_ne_bytes());
    }

    /// Stops ringing.
    pub fn reset(&self) {
        let _ = read_fully(self.0.as_fd(), &mut [0; 8]);
    }
}

/// Something that rings once, a while after it was set (`timerfd_create(2)`).
#[derive(Debug)]
pub struct Timer(OwnedFd);

impl Timer {
    /// One that is not set.
    ///
    /// # Errors
    /// The error of `timerfd_create(2)`.
    pub fn new() -> Result<Self, Errno> {
        // SAFETY: timerfd_create(2) takes two integers.
        check_int(unsafe {
            libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK)
        })
        .map(|number| Self(owned(number)))
    }

    /// The number to wait on.
    #[must_use]
    pub fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Has it ring after a while, of less than a second.
    pub fn set(&self, after: std::time::Duration) {
        let once = libc::timespec { tv_sec: 0, tv_nsec: after.subsec_nanos().into() };
        let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let times = libc::itimerspec { it_interval: never, it_value: once };
        // SAFETY: the kernel reads one structure and writes none.
        unsafe { libc::timerfd_settime(self.0.as_raw_fd(), 0, &raw const times, std::ptr::null_mut()) };
    }

    /// Stops ringing.
    pub fn reset(&self) {
        let _ = read_fully(self.0.as_fd(), &mut [0; 8]);
    }
}

/// Writes all of `bytes`, at once: for pipes.
///
/// # Errors
/// The error of write(2); `EIO` for a short write.
pub fn write_once(file: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Errno> {
    // SAFETY: the buffer is valid for reads of its own length.
    let length =
        check(unsafe { libc::write(file.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) } as libc::c_long)?;
    (length == bytes.len()).then_some(()).ok_or(Errno(libc::EIO))
}

/// Fills `into`.
///
/// # Errors
/// The error of read(2); `EPIPE` at the end of the file.
pub fn read_fully(file: BorrowedFd<'_>, into: &mut [u8]) -> Result<(), Errno> {
    let mut filled = 0;
    while let Some(room) = into.get_mut(filled..).filter(|room| !room.is_empty()) {
        // SAFETY: the buffer is valid for writes of its own length.
        let length = unsafe { libc::read(file.as_raw_fd(), room.as_mut_ptr().cast(), room.len()) };
        match check(length as libc::c_long) {
            Ok(0) => return Err(Errno(libc::EPIPE)),
            Ok(length) => filled += length,
            Err(Errno(libc::EINTR)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

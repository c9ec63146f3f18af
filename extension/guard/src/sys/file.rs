//! Files by descriptor and name: pinned look-ups, opens that write, changes of names, what a pinned file is.
#![allow(unsafe_code, reason = "wraps calls of libc")]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{Errno, check, check_int};

/// `RESOLVE_NO_SYMLINKS` of openat2(2): no link is followed, those of procfs included.
const RESOLVE_NO_SYMLINKS: u64 = 0x04;
/// Type of the file system of `/proc` (statfs(2)).
pub const PROCFS: u64 = 0x9fa0;

/// What a pinned file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nature {
    /// The type bits of `st_mode`: `S_IFREG`, `S_IFLNK` …
    pub kind: u32,
    /// `st_ino`.
    pub inode: u64,
    /// Number of names.
    pub links: u64,
    /// Bytes.
    pub size: u64,
}

/// `struct open_how` of openat2(2).
#[repr(C)]
struct How {
    flags: u64,
    mode: u64,
    resolve: u64,
}

fn owned(returned: usize) -> OwnedFd {
    let number = RawFd::try_from(returned).unwrap_or(-1);
    // SAFETY: every caller passes the successful result of a call that has just made a descriptor nobody else owns.
    unsafe { OwnedFd::from_raw_fd(number) }
}

fn number(directory: Option<BorrowedFd<'_>>) -> RawFd {
    directory.map_or(libc::AT_FDCWD, |directory| directory.as_raw_fd())
}

/// openat(2) with a mode for files that it makes; closed at exec.
///
/// # Errors
/// The error of openat(2).
pub fn open(directory: Option<BorrowedFd<'_>>, path: &CStr, flags: i32, mode: u32) -> Result<OwnedFd, Errno> {
    let flags = flags | libc::O_CLOEXEC;
    // SAFETY: `path` is a C string that outlives the call; the mode is passed whether it is looked at or not.
    check_int(unsafe { libc::openat(number(directory), path.as_ptr(), flags, mode) }).map(owned)
}

/// Pins what `path` names, without following a single symbolic link (openat2(2), 5.6).
///
/// # Errors
/// `ENOSYS` where the call does not exist, `ELOOP` where there is a link, otherwise the error of openat2(2).
pub fn pin_without_links(directory: Option<BorrowedFd<'_>>, path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    let how = How { flags: u64::from(flags.unsigned_abs()), mode: 0, resolve: RESOLVE_NO_SYMLINKS };
    // SAFETY: the path is a C string, and the structure is initialised and of the size that is passed.
    let returned = unsafe {
        libc::syscall(libc::SYS_openat2, number(directory), path.as_ptr(), &raw const how, size_of::<How>())
    };
    check(returned).map(owned)
}

/// fstat(2).
///
/// # Errors
/// The error of fstat(2).
#[allow(
    clippy::useless_conversion,
    clippy::unnecessary_cast,
    reason = "the field types differ between targets"
)]
pub fn nature(file: BorrowedFd<'_>) -> Result<Nature, Errno> {
    let mut raw = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel fills the whole structure when it returns 0.
    check_int(unsafe { libc::fstat(file.as_raw_fd(), raw.as_mut_ptr()) })?;
    // SAFETY: the call above succeeded, so the structure is initialised.
    let raw = unsafe { raw.assume_init() };
    Ok(Nature {
        kind: raw.st_mode & libc::S_IFMT,
        inode: raw.st_ino as u64,
        links: raw.st_nlink as u64,
        size: u64::try_from(raw.st_size).unwrap_or(0),
    })
}

/// The type of the file system that a file lies on (statfs(2)).
///
/// # Errors
/// The error of fstatfs(2).
#[allow(
    clippy::cast_sign_loss,
    clippy::unnecessary_cast,
    reason = "the field's type differs between targets"
)]
pub fn file_system(file: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut raw = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the kernel fills the whole structure when it returns 0.
    check_int(unsafe { libc::fstatfs(file.as_raw_fd(), raw.as_mut_ptr()) })?;
    // SAFETY: the call above succeeded, so the structure is initialised.
    Ok(unsafe { raw.assume_init() }.f_type as u64 & 0xffff_ffff)
}

/// The text of a symbolic link by its name in a directory; of a pinned link itself where the name is empty.
///
/// # Errors
/// The error of readlinkat(2).
pub fn link_text<'b>(file: BorrowedFd<'_>, name: &CStr, into: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    // SAFETY: the buffer is valid for writes of its own length for the duration of the call.
    let returned =
        unsafe { libc::readlinkat(file.as_raw_fd(), name.as_ptr(), into.as_mut_ptr().cast(), into.len()) };
    let length = check(returned as libc::c_long)?;
    Ok(into.get(..length).unwrap_or_default())
}

/// Makes calls on a file that was opened with `flags` and `O_NONBLOCK` wait where they must.
///
/// # Errors
/// The error of fcntl(2).
pub fn make_blocking(file: BorrowedFd<'_>, flags: i32) -> Result<(), Errno> {
    // SAFETY: F_SETFL takes an int, of which it uses what can be changed, and touches no memory of ours.
    check_int(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK) }).map(drop)
}

/// Makes a folder the working one of all threads (fchdir(2)).
///
/// # Errors
/// The error of the call.
pub fn enter(folder: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: takes a descriptor and touches no memory of ours.
    check_int(unsafe { libc::fchdir(folder.as_raw_fd()) }).map(drop)
}

/// Makes the root the working folder again; that cannot fail where it matters, since nothing here is relative.
pub fn leave() {
    // SAFETY: the path is a literal with a NUL, which is only read.
    unsafe { libc::chdir(c"/".as_ptr()) };
}

/// Whether this user may write to what lies at `path` (access(2)).
pub fn may_write(path: &CStr) -> bool {
    // SAFETY: the path is a string with a NUL, which is only read.
    unsafe { libc::access(path.as_ptr(), libc::W_OK) == 0 }
}

/// Which permissions files and folders that this process makes do not get.
pub fn set_mask(mask: u32) {
    // SAFETY: umask(2) takes an integer and never fails.
    unsafe { libc::umask(mask as libc::mode_t) };
}

/// Changes the permissions of an open file (fchmod(2)).
///
/// # Errors
/// The error of the call.
pub fn set_mode(file: BorrowedFd<'_>, mode: u32) -> Result<(), Errno> {
    // SAFETY: takes two integers and touches no memory of ours.
    check_int(unsafe { libc::fchmod(file.as_raw_fd(), mode as libc::mode_t) }).map(drop)
}

/// mkdirat(2).
///
/// # Errors
/// The error of the call.
pub fn make_folder(directory: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<(), Errno> {
    // SAFETY: `name` is a C string that outlives the call.
    check_int(unsafe { libc::mkdirat(directory.as_raw_fd(), name.as_ptr(), mode as libc::mode_t) }).map(drop)
}

/// mknodat(2).
///
/// # Errors
/// The error of the call.
pub fn make_node(directory: BorrowedFd<'_>, name: &CStr, mode: u32, device: u32) -> Result<(), Errno> {
    let (mode, device) = (mode as libc::mode_t, libc::dev_t::from(device));
    // SAFETY: `name` is a C string that outlives the call.
    check_int(unsafe { libc::mknodat(directory.as_raw_fd(), name.as_ptr(), mode, device) }).map(drop)
}

/// unlinkat(2); `flags` may be `AT_REMOVEDIR`.
///
/// # Errors
/// The error of the call.
pub fn remove(directory: BorrowedFd<'_>, name: &CStr, flags: i32) -> Result<(), Errno> {
    // SAFETY: `name` is a C string that outlives the call.
    check_int(unsafe { libc::unlinkat(directory.as_raw_fd(), name.as_ptr(), flags) }).map(drop)
}

/// symlinkat(2).
///
/// # Errors
/// The error of the call.
pub fn make_symbolic(text: &CStr, directory: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    // SAFETY: both are C strings that outlive the call.
    check_int(unsafe { libc::symlinkat(text.as_ptr(), directory.as_raw_fd(), name.as_ptr()) }).map(drop)
}

/// linkat(2) of what `path` leads to, links followed: for `/proc/self/fd/N` of a pinned file.
///
/// # Errors
/// The error of the call.
pub fn make_hard(path: &CStr, directory: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let flags = libc::AT_SYMLINK_FOLLOW;
    // SAFETY: both are C strings that outlive the call.
    let returned =
        unsafe { libc::linkat(libc::AT_FDCWD, path.as_ptr(), directory.as_raw_fd(), name.as_ptr(), flags) };
    check_int(returned).map(drop)
}

/// renameat2(2) (3.15).
///
/// # Errors
/// The error of the call.
pub fn rename(from: (BorrowedFd<'_>, &CStr), to: (BorrowedFd<'_>, &CStr), flags: u32) -> Result<(), Errno> {
    // SAFETY: both names are C strings that outlive the call.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            from.0.as_raw_fd(),
            from.1.as_ptr(),
            to.0.as_raw_fd(),
            to.1.as_ptr(),
            flags,
        )
    };
    check(returned).map(drop)
}

/// ftruncate(2).
///
/// # Errors
/// The error of the call.
pub fn set_length(file: BorrowedFd<'_>, length: i64) -> Result<(), Errno> {
    // SAFETY: ftruncate(2) takes integers.
    check_int(unsafe { libc::ftruncate(file.as_raw_fd(), length) }).map(drop)
}

/// How long a file of process `pid` may become (`RLIMIT_FSIZE`, by prlimit(2)).
///
/// # Errors
/// The error of the call.
pub fn length_limit(pid: u32) -> Result<u64, Errno> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let none = std::ptr::null::<libc::rlimit>();
    // SAFETY: no new limit is passed, and the kernel fills the structure for the old one.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, pid, libc::RLIMIT_FSIZE, none, &raw mut limit) })?;
    Ok(limit.rlim_cur)
}

/// Lets this process make files as long as it may, and survive where that is not long enough.
pub fn lift_length_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: SIG_IGN is a valid disposition.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    // SAFETY: the kernel fills the structure.
    if unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) } == 0 {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the structure is initialised.
        unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) };
    }
}

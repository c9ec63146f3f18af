//! Processes: the child that shares our descriptors, exec, waiting, signals, limits, prctl.
#![allow(unsafe_code, reason = "wraps calls of libc")]

use std::ffi::{CStr, CString};
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use super::{Errno, check, check_int, descriptor};

/// Which side of a fork this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The parent, with the child's process id.
    Parent(u32),
    /// The child.
    Child,
}

/// Forks a child that shares the descriptor table until its exec (`CLONE_FILES`).
///
/// Must be called while the process has one thread: the child then runs ordinary code on a copy of its memory.
///
/// # Errors
/// The error of clone(2).
pub fn fork_sharing_descriptors() -> Result<Side, Errno> {
    fork_with(libc::CLONE_FILES)
}

/// Forks a child. As above, the process must have one thread.
///
/// # Errors
/// The error of clone(2).
pub fn fork() -> Result<Side, Errno> {
    fork_with(0)
}

fn fork_with(flags: i32) -> Result<Side, Errno> {
    let flags = flags | libc::SIGCHLD;
    // SAFETY: without CLONE_VM and with a null stack the call behaves as fork(2). The process has one thread, so no
    // lock of the allocator is held in the copy.
    let returned = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    Ok(u32::try_from(returned).ok().filter(|pid| *pid != 0).map_or(Side::Child, Side::Parent))
}

/// Ends the process at once, without destructors: for a child that shares its parent's descriptors.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) takes an integer and does not return.
    unsafe { libc::_exit(status) }
}

/// Becomes another program. Returns only when it fails.
#[must_use]
pub fn exec(path: &CStr, arguments: &[CString], environment: &[CString]) -> Errno {
    let pointers = |strings: &[CString]| {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: SIG_DFL is a valid disposition. Rust's start-up ignores SIGPIPE, which an exec would pass on.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    // SAFETY: both arrays are null-terminated and point to C strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    Errno::last()
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With an exit status.
    Exited(i32),
    /// By a signal.
    Signalled(i32),
}

/// A child that has ended, if there is one now.
#[must_use]
pub fn reap() -> Option<(u32, Ending)> {
    let mut status = 0;
    // SAFETY: the kernel writes one int.
    let pid = check_int(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) }).ok()?;
    let ending = if libc::WIFSIGNALED(status) {
        Ending::Signalled(libc::WTERMSIG(status))
    } else {
        Ending::Exited(libc::WEXITSTATUS(status))
    };
    u32::try_from(pid).ok().filter(|pid| *pid != 0).map(|pid| (pid, ending))
}

/// Waits until the child `pid` has ended, and reaps it.
pub fn wait_for(pid: u32) {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return };
    // SAFETY: the status is not asked for.
    while unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) } < 0 && Errno::last() == Errno(libc::EINTR) {}
}

/// Sends `signal` to process `pid`.
///
/// # Errors
/// The error of kill(2); `ESRCH` for a number that is no single process.
pub fn kill(pid: u32, signal: i32) -> Result<(), Errno> {
    let pid = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 0).ok_or(Errno(libc::ESRCH))?;
    // SAFETY: kill(2) takes two integers.
    check_int(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Sends `signal` to one thread.
///
/// # Errors
/// The error of tgkill(2).
pub fn kill_thread(process: u32, thread: u32, signal: i32) -> Result<(), Errno> {
    // SAFETY: tgkill(2) takes three integers.
    check(unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) }).map(drop)
}

/// Ends this process by `signal`, as the runtime ended; returns where that did not work.
pub fn die_by(signal: i32) {
    // SAFETY: SIG_DFL is a valid disposition for any signal number; an invalid number is refused.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    let set = signal_set(&[signal]);
    // SAFETY: the set is initialised and the old one is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut()) };
    let _ = kill(std::process::id(), signal);
}

fn signal_set(signals: &[i32]) -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in signals {
        // SAFETY: the set was initialised above; an invalid number is refused without effect.
        unsafe { libc::sigaddset(set.as_mut_ptr(), *signal) };
    }
    // SAFETY: initialised above.
    unsafe { set.assume_init() }
}

/// The signal mask that was in force before [`block`].
#[derive(Clone, Copy)]
pub struct Mask(libc::sigset_t);

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mask")
    }
}

impl Mask {
    /// Puts this mask in force again.
    pub fn restore(&self) {
        // SAFETY: the set is initialised and the old one is not asked for.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}

/// Blocks `signals` and returns the former mask and a descriptor from which they can be read.
///
/// # Errors
/// The error of signalfd(2).
pub fn block(signals: &[i32]) -> Result<(Mask, OwnedFd), Errno> {
    let set = signal_set(signals);
    let mut old = signal_set(&[]);
    // SAFETY: both sets are initialised.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, &raw mut old) };
    // SAFETY: the set is initialised; -1 asks for a new descriptor.
    let file =
        check_int(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) })?;
    Ok((Mask(old), descriptor::adopt(RawFd::try_from(file).unwrap_or(-1))))
}

/// Takes `signal`, which is blocked, off what is pending. False where it was not.
#[must_use]
pub fn take_pending(signal: i32) -> bool {
    let set = signal_set(&[signal]);
    let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: set and time are initialised; information on the signal is not asked for.
    unsafe { libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const at_once) == signal }
}

/// The next signal that waits on a descriptor from [`block`].
#[must_use]
pub fn next_signal(file: BorrowedFd<'_>) -> Option<i32> {
    use std::os::fd::AsRawFd as _;
    let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
    // SAFETY: the buffer is valid for writes of its own length.
    let length = unsafe { libc::read(file.as_raw_fd(), info.as_mut_ptr().cast(), info.len()) };
    let [a, b, c, d, ..] = info;
    (usize::try_from(length) == Ok(info.len())).then(|| i32::from_ne_bytes([a, b, c, d]))
}

/// Makes `signal` interrupt blocking calls of the thread that it is sent to, and do nothing else.
pub fn make_interrupting(signal: i32) {
    extern "C" fn nothing(_: libc::c_int) {}
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the structure is zeroed, which is a valid value of each field.
    let action = unsafe { action.assume_init_mut() };
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the handler does nothing, so it is safe in any context; the old action is not asked for.
    unsafe { libc::sigaction(signal, std::ptr::from_ref(action), std::ptr::null_mut()) };
}

/// The calling thread's id.
#[must_use]
pub fn thread_id() -> u32 {
    // SAFETY: gettid(2) takes nothing and never fails.
    let id = unsafe { libc::syscall(libc::SYS_gettid) };
    u32::try_from(id).unwrap_or(0)
}

/// Gives the calling thread a working folder of its own (unshare(2), `CLONE_FS`). Whether that was allowed.
pub fn unshare_working_folder() -> bool {
    // SAFETY: unshare(2) takes flags; what this one parts from no memory refers to.
    unsafe { libc::unshare(libc::CLONE_FS) == 0 }
}

/// prctl(2) with numbers only.
///
/// # Errors
/// `EPERM` where the platform refuses it, as Lambda does for every option.
pub fn prctl(option: i32, argument: u64) -> Result<usize, Errno> {
    // SAFETY: the options used take integers and touch no memory of ours.
    check_int(unsafe { libc::prctl(option, argument, 0_u64, 0_u64, 0_u64) })
}

/// The soft limit on open descriptors.
#[must_use]
pub fn descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills the structure.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_cur
}

/// Raises the soft limit on open descriptors to the hard one, for the guard itself.
pub fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills the structure.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0 {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the structure is initialised.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    }
}

/// No core dumps of this process.
pub fn forbid_core_dumps() {
    let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is initialised.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) };
}

/// The real user id.
#[must_use]
pub fn user() -> u32 {
    // SAFETY: getuid(2) takes nothing and never fails.
    unsafe { libc::getuid() }
}

/// This process.
#[must_use]
pub fn own() -> u32 {
    std::process::id()
}

/// The process group of a process; `None` where it is gone.
#[must_use]
pub fn group_of(process: u32) -> Option<u32> {
    // SAFETY: getpgid(2) takes an integer.
    let group = unsafe { libc::getpgid(i32::try_from(process).ok()?) };
    u32::try_from(group).ok()
}

//! Calls on other processes by their numbers: signals, limits, scheduling, with arguments that were copied.
#![allow(unsafe_code, reason = "wraps calls of libc")]

use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::{Errno, check, check_int};

/// A `siginfo_t` as the kernel takes it.
pub type SignalInfo = [u8; 128];
/// The longest `sched_attr` that the kernel looks at.
pub const MAX_ATTRIBUTES: usize = 4096;
/// A set of processors, of as many as any kernel has (8192).
pub const MAX_PROCESSORS: usize = 1024;

/// What a handler sees of a signal that `process` sends and the guard carries out: the sender's own number. The kernel
/// takes nothing that looks like its own word (`SI_USER`), so it is shown as queued.
#[must_use]
pub fn sent_by(process: u32) -> SignalInfo {
    const CODE_AT: usize = 8;
    const SENDER_AT: usize = 16;
    let mut info = [0; size_of::<SignalInfo>()];
    let fields = [(CODE_AT, libc::SI_QUEUE.to_ne_bytes()), (SENDER_AT, process.to_ne_bytes())];
    let user = (SENDER_AT + 4, super::process::user().to_ne_bytes());
    for (at, value) in fields.into_iter().chain([user]) {
        if let Some(room) = info.get_mut(at..at + value.len()) {
            room.copy_from_slice(&value);
        }
    }
    info
}

fn pid(number: u32) -> Result<libc::pid_t, Errno> {
    libc::pid_t::try_from(number).ok().filter(|pid| *pid > 0).ok_or(Errno(libc::ESRCH))
}

fn pointer(info: Option<&SignalInfo>) -> *const SignalInfo {
    info.map_or(std::ptr::null(), std::ptr::from_ref)
}

/// kill(2) of one process, or with `info` `rt_sigqueueinfo(2)`.
///
/// # Errors
/// Those of the calls.
pub fn signal(number: u32, signal: i32, info: Option<&SignalInfo>) -> Result<(), Errno> {
    let pid = pid(number)?;
    if info.is_none() {
        // SAFETY: kill(2) takes two integers.
        return check_int(unsafe { libc::kill(pid, signal) }).map(drop);
    }
    // SAFETY: the information is as long as a `siginfo_t` and is only read.
    check(unsafe { libc::syscall(libc::SYS_rt_sigqueueinfo, pid, signal, pointer(info)) }).map(drop)
}

/// `pidfd_send_signal(2)`.
///
/// # Errors
/// Those of the call.
pub fn signal_by_descriptor(
    pidfd: BorrowedFd<'_>,
    signal: i32,
    info: Option<&SignalInfo>,
) -> Result<(), Errno> {
    let (pidfd, info) = (pidfd.as_raw_fd(), pointer(info));
    // SAFETY: the information, if there is any, is as long as a `siginfo_t` and is only read.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, signal, info, 0) }).map(drop)
}

/// prlimit(2): the limits, soft and hard, that there were.
///
/// # Errors
/// Those of the call.
pub fn set_limits(number: u32, resource: i32, new: [u64; 2]) -> Result<[u64; 2], Errno> {
    let mut old = [0_u64; 2];
    let pid = pid(number)?;
    // SAFETY: both arrays are what `struct rlimit64` is, one is read and the other written.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, new.as_ptr(), old.as_mut_ptr()) })?;
    Ok(old)
}

/// `sched_setaffinity(2)`.
///
/// # Errors
/// Those of the call.
pub fn set_affinity(number: u32, processors: &[u8]) -> Result<(), Errno> {
    let pid = pid(number)?;
    // SAFETY: the set is valid for reads of its own length.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, pid, processors.len(), processors.as_ptr()) })
        .map(drop)
}

/// `sched_getaffinity(2)`.
///
/// # Errors
/// Those of the call.
pub fn affinity_of(number: u32) -> Result<[u8; MAX_PROCESSORS], Errno> {
    let pid = pid(number)?;
    let mut processors = [0; MAX_PROCESSORS];
    // SAFETY: the set is valid for writes of its own length.
    check(unsafe {
        libc::syscall(libc::SYS_sched_getaffinity, pid, processors.len(), processors.as_mut_ptr())
    })?;
    Ok(processors)
}

/// `sched_setscheduler(2)`, or without a policy `sched_setparam(2)`. `parameter` is all of a `struct sched_param`.
///
/// # Errors
/// Those of the calls.
pub fn set_scheduler(number: u32, policy: Option<i32>, parameter: i32) -> Result<(), Errno> {
    let (pid, parameter) = (pid(number)?, &raw const parameter);
    let returned = match policy {
        // SAFETY: the parameter is one integer, as the structure is, and is only read.
        Some(policy) => unsafe { libc::syscall(libc::SYS_sched_setscheduler, pid, policy, parameter) },
        // SAFETY: as above.
        None => unsafe { libc::syscall(libc::SYS_sched_setparam, pid, parameter) },
    };
    check(returned).map(drop)
}

/// `sched_setattr(2)`. The attributes begin with their length; where it is not one that the kernel takes it writes there.
///
/// # Errors
/// Those of the call.
pub fn set_attributes(number: u32, attributes: &mut [u8; MAX_ATTRIBUTES], flags: u32) -> Result<(), Errno> {
    let (pid, attributes) = (pid(number)?, attributes.as_mut_ptr());
    // SAFETY: the kernel reads no more than a page, which these are, and writes the first four bytes.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, pid, attributes, flags) }).map(drop)
}

/// setpriority(2) of one process or thread.
///
/// # Errors
/// Those of the call.
pub fn set_priority(number: u32, nice: i32) -> Result<(), Errno> {
    let pid = pid(number)?;
    // SAFETY: setpriority(2) takes three integers.
    check(unsafe { libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, pid, nice) }).map(drop)
}

/// `ioprio_set(2)` of one process or thread.
///
/// # Errors
/// Those of the call.
pub fn set_io_priority(number: u32, priority: i32) -> Result<(), Errno> {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    let pid = pid(number)?;
    // SAFETY: ioprio_set(2) takes three integers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, priority) }).map(drop)
}

//! A limit for calls of the guard that must not wait, though they could be made to.
//!
//! A timer interrupts the calling thread until the call has returned. It knows nothing of what is called; `connect`
//! calls it.
#![allow(unsafe_code, reason = "wraps timer_create(2), which has no safe counterpart")]

use super::{Errno, check, process};

/// How long a call may wait, and how often it is interrupted from then on, in nanoseconds.
const TICK: libc::c_long = 20_000_000;

/// A timer that sends a signal to one thread, again and again while it runs.
#[derive(Debug)]
pub struct Limit {
    timer: i32,
}

impl Limit {
    /// For the calling thread. The signal must have a handler that does nothing.
    ///
    /// # Errors
    /// The error of `timer_create(2)`.
    pub fn for_this_thread(signal: i32) -> Result<Self, Errno> {
        let mut event = std::mem::MaybeUninit::<libc::sigevent>::zeroed();
        // SAFETY: all-zero is a valid sigevent.
        let event = unsafe { event.assume_init_mut() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal;
        event.sigev_notify_thread_id = process::thread_id().cast_signed();
        let mut timer = 0_i32;
        // SAFETY: the kernel reads the event and writes one integer.
        let made = unsafe {
            libc::syscall(
                libc::SYS_timer_create,
                libc::CLOCK_MONOTONIC,
                std::ptr::from_ref(event),
                &raw mut timer,
            )
        };
        check(made)?;
        Ok(Self { timer })
    }

    /// Makes a call of the thread that the limit is for, which is interrupted where it waits.
    pub fn keep<T>(&self, call: impl FnOnce() -> T) -> T {
        self.set(TICK);
        let done = call();
        self.set(0);
        done
    }

    fn set(&self, nanoseconds: libc::c_long) {
        let tick = libc::timespec { tv_sec: 0, tv_nsec: nanoseconds };
        let times = libc::itimerspec { it_interval: tick, it_value: tick };
        let nothing = std::ptr::null_mut::<libc::itimerspec>();
        // SAFETY: the kernel reads one structure and writes none.
        unsafe { libc::syscall(libc::SYS_timer_settime, self.timer, 0, &raw const times, nothing) };
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        // SAFETY: timer_delete(2) takes the number of a timer, which is ours.
        unsafe { libc::syscall(libc::SYS_timer_delete, self.timer) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read as _};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    #[test]
    fn only_the_call_that_is_limited_is_interrupted() {
        process::make_interrupting(libc::SIGURG);
        let limit = Limit::for_this_thread(libc::SIGURG).unwrap();
        let (mut one, _other) = UnixStream::pair().unwrap();
        let read = limit.keep(|| one.read(&mut [0; 1]));
        assert_eq!(read.map_err(|error| error.kind()), Err(ErrorKind::Interrupted));
        assert!(limit.keep(UnixStream::pair).is_ok());
        // It does not tick any more.
        one.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let read = one.read(&mut [0; 1]);
        assert_eq!(read.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    }
}

//! Whether a signal is on its way to a thread that waits for the guard.
//!
//! Where only its end takes a caller out of its wait (`WAIT_KILLABLE_RECV`), a signal that it would take waits too. That it
//! is pending shows in `/proc`; that it is this thread's does not, where the process has others that would take it. Only
//! where that is sure may a call be answered with [`RESTART`](crate::sys::seccomp::RESTART): a thread on which no signal
//! waits would return that number to the program. `workers` asks.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};

use super::target::{self, ProcPath};

/// Threads of a process that are looked at; the signals of one with more wait until its calls are done.
const MAX_THREADS: usize = 128;

/// What `/proc/<tid>/status` says about a thread and its signals, all at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Status {
    state: u8,
    /// Of its process.
    threads: usize,
    /// Signals for the thread, for its process, and those that it does not take now.
    own: u64,
    shared: u64,
    blocked: u64,
    /// How often it has left the processor, by itself and not.
    switches: [u64; 2],
}

impl Status {
    fn of(thread: u32) -> Option<Self> {
        let mut bytes = [0; 4096];
        Self::parse(target::status(thread, &mut bytes)?)
    }

    fn parse(status: &[u8]) -> Option<Self> {
        let field = |name: &[u8]| target::field(status, name);
        let number = |name: &[u8]| field(name)?.parse().ok();
        let set = |name: &[u8]| u64::from_str_radix(field(name)?, 16).ok();
        Some(Self {
            state: *field(b"State:")?.as_bytes().first()?,
            threads: field(b"Threads:")?.parse().ok()?,
            own: set(b"SigPnd:")?,
            shared: set(b"ShdPnd:")?,
            blocked: set(b"SigBlk:")?,
            switches: [number(b"voluntary_ctxt_switches:")?, number(b"nonvoluntary_ctxt_switches:")?],
        })
    }

    const fn has_own(&self) -> bool {
        self.own & !self.blocked != 0
    }

    const fn has_shared(&self) -> bool {
        self.shared & !self.blocked != 0
    }

    /// Whether it has ended, or rests where a signal would wake it.
    const fn is_at_rest(&self) -> bool {
        matches!(self.state, b'S' | b'Z' | b'X')
    }
}

/// Whether `thread`, which waits for the guard, will take a signal as soon as its call returns. A signal for the thread
/// is its own, and so is one for a process that has no other. The kernel has woken some thread for each that is pending and
/// not blocked, and which keeps that mark until it is out of the kernel: where all others rest, it is this one.
///
/// `false` also where it cannot be told. What is said holds if the thread was in one and the same wait meanwhile.
pub fn takes_one(process: u32, thread: u32) -> bool {
    let Some(status) = Status::of(thread) else { return false };
    status.has_own() || status.has_shared() && (status.threads == 1 || all_others_rest(process, thread))
}

/// Whether there was a moment when a signal for the process was pending, `thread` would take it, and no other could be
/// about to: each has rested from before that moment until after it.
fn all_others_rest(process: u32, thread: u32) -> bool {
    let Some(others) = others(process, thread) else { return false };
    let Some(before) = others.iter().map(|other| at_rest(process, *other)).collect::<Option<Vec<_>>>() else {
        return false;
    };
    // The moment. None of the others can have made one more since they were listed.
    let now = Status::of(thread);
    now.is_some_and(|now| now.has_shared() && now.threads == others.len() + 1)
        && others.iter().zip(before).all(|(other, before)| rests_still(*other, before))
}

fn others(process: u32, thread: u32) -> Option<Vec<u32>> {
    let mut path = ProcPath::new();
    write!(path, "/proc/{process}/task").ok()?;
    let listed = fs::read_dir(path.as_str()).ok()?.take(MAX_THREADS + 1);
    let mut threads: Vec<u32> =
        listed.map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect::<Option<_>>()?;
    let all = threads.len();
    threads.retain(|other| *other != thread);
    (all <= MAX_THREADS && threads.len() + 1 == all).then_some(threads)
}

/// How often a thread that rests has left the processor; `None` of one that does not rest.
fn at_rest(process: u32, thread: u32) -> Option<[u64; 2]> {
    let status = Status::of(thread).filter(Status::is_at_rest)?;
    // It could be just about to rest, and see a signal before it does.
    (status.state != b'S' || is_off_the_processor(process, thread)).then_some(status.switches)
}

fn rests_still(thread: u32, before: [u64; 2]) -> bool {
    Status::of(thread).is_some_and(|status| status.is_at_rest() && status.switches == before)
}

/// Whether the kernel says where a thread waits, which it does only of one that is neither running nor about to (proc(5),
/// `syscall`).
fn is_off_the_processor(process: u32, thread: u32) -> bool {
    let mut path = ProcPath::new();
    let _ = write!(path, "/proc/{process}/task/{thread}/syscall");
    let mut first = [0; 1];
    let read = File::open(path.as_str()).and_then(|mut file| file.read(&mut first));
    matches!((read, first), (Ok(1), [b'0'..=b'9' | b'-']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process;
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    #[test]
    fn a_status_is_read() {
        let own = Status::of(process::thread_id()).unwrap();
        assert!(own.state == b'R' && own.threads > 1, "{own:?}");
        let text = b"Name:\tx\nState:\tS (sleeping)\nThreads:\t2\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000002000\n\
                     SigBlk:\t0000000000002000\nvoluntary_ctxt_switches:\t3\nnonvoluntary_ctxt_switches:\t1\n";
        let status = Status::parse(text).unwrap();
        assert!(status.is_at_rest() && !status.has_own() && !status.has_shared());
        assert!(Status { blocked: 0, ..status }.has_shared());
        assert_eq!(Status::parse(&text[..100]), None, "what is not there is not guessed");
    }

    /// Waits until `is` says so.
    fn until(is: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is() {
            assert!(begun.elapsed() < Duration::from_secs(30));
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_thread_rests_or_it_does_not() {
        let own = process::own();
        let ((tell, told), (end, ended)) = (channel(), channel::<()>());
        let sleeper = std::thread::spawn(move || {
            tell.send(process::thread_id()).unwrap();
            ended.recv().unwrap_err();
        });
        let thread = told.recv().unwrap();
        until(|| at_rest(own, thread).is_some());
        let before = at_rest(own, thread).unwrap();
        assert!(rests_still(thread, before));
        assert!(at_rest(own, process::thread_id()).is_none(), "this one runs");
        assert!(!all_others_rest(own, process::thread_id()), "no signal is pending");
        drop(end);
        sleeper.join().unwrap();
        assert!(!rests_still(thread, before), "it has run since, or is gone");
    }

    #[test]
    fn the_others_are_all_there() {
        let listed = others(process::own(), process::thread_id()).unwrap();
        assert!(!listed.contains(&process::thread_id()));
        assert_eq!(others(process::own(), u32::MAX), None, "the thread is one of them");
    }
}

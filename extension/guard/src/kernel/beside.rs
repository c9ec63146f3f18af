//! What must not wait for the thread that answers: the looks at what was let exec, signals, and the runtime's end.
//!
//! A target can hold that thread up, for as long as it likes, in a copy of the target's own memory (whoever changes a
//! large mapping holds the lock of its memory, and takes his time at idle priority). A program that was swapped in ran
//! to its end meanwhile and was never seen. So the other thread looks at it all the same, and stops what should not run;
//! who may be let go on after all is for the supervisor to say. It knows no policy. `threads` calls it.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::verify::{Finding, Verifier};
use super::witness::Witness;
use super::workers::lock;
use crate::sys::process::{self, Ending};

/// How long it waits for the lock before it looks again whether something is due.
const PAUSE: Duration = Duration::from_micros(300);

/// What the thread that waits has for itself.
#[derive(Debug)]
pub(super) struct Beside {
    runtime: u32,
    signals: OwnedFd,
    /// Tells signals for the group; without one all are passed on.
    witness: Option<Witness>,
    trusts_witness: bool,
    verifier: Arc<Mutex<Verifier>>,
    /// Processes that were stopped and wait to be judged.
    held: Vec<u32>,
    ended: Option<Ending>,
}

impl Beside {
    pub(super) const fn new(
        runtime: u32,
        signals: OwnedFd,
        witness: Option<Witness>,
        verifier: Arc<Mutex<Verifier>>,
    ) -> Self {
        Self { runtime, signals, witness, trusts_witness: true, verifier, held: Vec::new(), ended: None }
    }

    /// Where signals arrive.
    pub(super) fn number(&self) -> RawFd {
        self.signals.as_raw_fd()
    }

    /// The lock on what both threads share; `None` where the runtime has ended before it could be had.
    pub(super) fn wait_for<'s, T>(&mut self, shared: &'s Mutex<T>) -> Option<MutexGuard<'s, T>> {
        loop {
            match shared.try_lock() {
                Ok(guard) => return Some(guard),
                Err(TryLockError::Poisoned(poisoned)) => return Some(PoisonError::into_inner(poisoned)),
                Err(TryLockError::WouldBlock) => {}
            }
            std::thread::sleep(PAUSE);
            self.handle_signals();
            if self.ended.is_some() {
                return None;
            }
            self.stop_unexpected();
        }
    }

    /// Stops every process that was found to run what it should not. Again each time: who is stopped can be made to go
    /// on by the end of another.
    fn stop_unexpected(&mut self) {
        let mut verifier = lock(&self.verifier);
        for process in verifier.overdue(Instant::now()) {
            if matches!(verifier.look(process, None), Finding::Unexpected(_) | Finding::Hidden) {
                let _ = process::kill(process, libc::SIGSTOP);
                if !self.held.contains(&process) {
                    self.held.push(process);
                }
            }
        }
    }

    /// The processes that were stopped, to be judged now.
    pub(super) fn take_held(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.held)
    }

    /// Passes signals on to the runtime, and buries the dead.
    pub(super) fn handle_signals(&mut self) {
        while let Some(signal) = process::next_signal(self.signals.as_fd()) {
            if signal != libc::SIGCHLD && !self.was_for_the_group(signal) {
                let _ = process::kill(self.runtime, signal);
            }
        }
        while let Some((pid, ending)) = process::reap() {
            if pid == self.runtime {
                self.ended = Some(ending);
                self.witness.take().map(Witness::end).unwrap_or_default();
            } else {
                lock(&self.verifier).forget(pid);
            }
        }
    }

    /// Whether a signal has reached the runtime without the guard. What cannot be told is passed on: rather twice than not.
    fn was_for_the_group(&mut self, signal: i32) -> bool {
        let Some(witness) = self.witness.as_ref().filter(|_| self.trusts_witness) else { return false };
        let got = witness.has_got(signal);
        if got.is_err() {
            // A late answer would be taken for the next one. It stays till the end, lest its number become another's.
            self.trusts_witness = false;
        }
        got.unwrap_or(false) && process::group_of(self.runtime) == process::group_of(process::own())
    }

    /// The status that the runtime ended with, or its signal.
    pub(super) fn status(&self) -> Option<i32> {
        Some(match self.ended? {
            Ending::Exited(status) => status,
            Ending::Signalled(signal) => {
                process::die_by(signal);
                128 + signal
            }
        })
    }
}

//! What must wait for nobody: signals, and the runtime's end.
//!
//! It asks no target for anything, so that none can hold it up. It knows no policy. `threads` calls it.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::sync::{Arc, Mutex};

use super::lock::lock;
use super::verify::Verifier;
use super::witness::Witness;
use crate::sys::process::{self, Ending};

/// What the thread that waits has for itself.
#[derive(Debug)]
pub(super) struct Beside {
    runtime: u32,
    signals: OwnedFd,
    /// Tells signals for the group; without one all are passed on.
    witness: Option<Witness>,
    trusts_witness: bool,
    verifier: Arc<Mutex<Verifier>>,
    ended: Option<Ending>,
}

impl Beside {
    pub(super) const fn new(
        runtime: u32,
        signals: OwnedFd,
        witness: Option<Witness>,
        verifier: Arc<Mutex<Verifier>>,
    ) -> Self {
        Self { runtime, signals, witness, trusts_witness: true, verifier, ended: None }
    }

    /// Where signals arrive.
    pub(super) fn number(&self) -> RawFd {
        self.signals.as_raw_fd()
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
                if self.witness.as_ref().is_some_and(|witness| witness.pid() == pid) {
                    // Its number may be another's from now on.
                    self.witness = None;
                }
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

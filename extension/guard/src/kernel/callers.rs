//! Who makes a call, and whether what it runs was allowed: found out once, and again after each exec.
//!
//! It decides whether a call is looked at at all; what may come of it is for others to say. `kernel` calls it.

use std::time::Instant;

use ringfence_policy::Role;

use super::Supervisor;
use super::answer::ExpectedExec;
use super::target::{self, Caller};
use super::verify::Finding;
use crate::launch::probe::Reach;
use crate::sys::descriptor::Identity;
use crate::sys::seccomp::Notification;
use crate::sys::{Errno, process};

/// What a look at a caller came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It runs what it may.
    Expected,
    /// It may go on this time, and is looked at again.
    Tolerated,
    /// It has been killed, or cannot be found.
    Refused,
}

impl Supervisor<'_> {
    /// The caller, where it was looked at before and can have become nothing else since: who it is and what it runs
    /// need not be found out again, which costs more than all the rest.
    pub(super) fn recognise(&mut self, notification: &Notification) -> Option<Caller> {
        let thread = notification.thread;
        // The runtime is our child: its number stays its own until it is reaped, and then everything ends.
        if self.runtime_known && (thread == self.runtime || self.is_thread_of_runtime(thread)) {
            return Some(Caller { thread, process: self.runtime, role: Role::Runtime });
        }
        match libc::c_long::from(notification.number) {
            _ if self.reach == Reach::Registry => None,
            // These start with a descriptor of the caller, fetched from nobody else.
            libc::SYS_connect
            | libc::SYS_bind
            | libc::SYS_listen
            | libc::SYS_sendto
            | libc::SYS_sendmsg
            | libc::SYS_sendmmsg => self.acquaintances.presume(thread),
            _ => self.acquaintances.recognise(thread),
        }
    }

    /// Where there are no descriptors of threads, the runtime's are asked for by number.
    fn is_thread_of_runtime(&self, thread: u32) -> bool {
        self.reach == Reach::Registry && process::kill_thread(self.runtime, thread, 0).is_ok()
    }

    /// Whether the caller is still known after a descriptor of it was to be fetched.
    pub(super) fn is_known(&mut self, caller: &Caller) -> bool {
        caller.thread == self.runtime
            || self.reach == Reach::Registry
            || self.acquaintances.knows(caller.thread)
    }

    /// Whether what was read by the caller's number, and after that its descriptor fetched, came from the caller itself:
    /// a descriptor that was kept from before proves that the thread was there all the time.
    pub(super) fn was_read_of(&mut self, caller: &Caller) -> bool {
        self.reach == Reach::FetchByThread && self.acquaintances.knows(caller.thread)
    }

    /// Remembers a caller that runs what it may.
    pub(super) fn get_acquainted(&mut self, notification: &Notification, caller: Caller) {
        let runs_for_good = self.launched && self.verifier().is_settled(caller.process);
        if !runs_for_good {
            return;
        }
        self.runtime_known |= caller.process == self.runtime;
        if self.reach != Reach::Registry
            && self.acquaintances.meet(caller).is_ok()
            && !self.listener.still_waits(notification.id)
        {
            // The number may have been another's already when the descriptor was opened.
            self.acquaintances.part(caller.thread);
        }
    }

    /// What `process` runs is about to change, or was found to be what it may not.
    pub(super) fn part_from(&mut self, process: u32) {
        self.runtime_known &= process != self.runtime;
        self.acquaintances.part_from_process(process);
    }

    /// Who a thread is. On Managed Instances the runtime's own workers count as the runtime.
    pub(super) fn identify(&self, thread: u32) -> Result<Caller, Errno> {
        let mut caller = Caller::identify(thread, self.runtime)?;
        if self.concurrent
            && caller.role == Role::Child
            && target::parent_of(caller.process) == Some(self.runtime)
            && target::executable(caller.process) == Ok(self.runtime_file)
        {
            caller.role = Role::Runtime;
        }
        Ok(caller)
    }

    /// Whether the caller, who waits for an answer, runs what it may; a process that does not is killed.
    pub(super) fn look_at(&mut self, caller: &Caller) -> Standing {
        let finding = self.verifier().look(caller.process, Some(caller.thread));
        self.act_upon(finding, caller)
    }

    fn act_upon(&mut self, finding: Finding, caller: &Caller) -> Standing {
        let goes_on = match finding {
            Finding::Unexpected(file) => self.judge_running(caller, file),
            Finding::Hidden => self.judge_hidden(caller),
            Finding::Expected => {
                self.note_launch();
                return Standing::Expected;
            }
            // A zombie must not fill the table of execs under way. Nobody who waits for an answer is gone.
            Finding::Gone => {
                self.verifier().forget(caller.process);
                return Standing::Refused;
            }
            // It can neither exec nor reach a socket. What it was about to run stays noted: nobody can be looked at in
            // the middle of an exec, and an exec that is forgotten then may have become anything known.
            Finding::Closed => return Standing::Tolerated,
            Finding::Condemned => {
                let _ = process::kill(caller.process, libc::SIGKILL);
                return Standing::Refused;
            }
        };
        if goes_on {
            self.verifier().forget(caller.process);
            return Standing::Tolerated;
        }
        self.verifier().condemn(caller.process);
        self.part_from(caller.process);
        self.wake();
        let _ = process::kill(caller.process, libc::SIGKILL);
        Standing::Refused
    }

    /// The wrappers are through as soon as the runtime's process runs the runtime's file.
    fn note_launch(&mut self) {
        if !self.launched && target::executable(self.runtime) == Ok(self.runtime_file) {
            self.launched = true;
            self.state.publish(true);
        }
    }

    /// Notes an exec that may go ahead. Where too many are under way, those that are over and were not seen yet make room.
    pub(super) fn expect(
        &mut self,
        caller: &Caller,
        file: Identity,
        readable: bool,
    ) -> Result<ExpectedExec, Errno> {
        let noted = self.verifier().expect(caller.process, caller.thread, file, readable);
        if noted != Err(Errno(libc::EAGAIN)) {
            return noted;
        }
        let under_way = self.verifier().under_way();
        for process in under_way {
            self.look_again(process);
        }
        self.verifier().expect(caller.process, caller.thread, file, readable)
    }

    fn look_again(&mut self, process: u32) {
        match self.identify(process) {
            Ok(caller) => {
                let finding = self.verifier().look(process, None);
                self.act_upon(finding, &caller);
            }
            Err(_) => self.verifier().forget(process),
        }
    }

    /// Looks at every process whose time has come.
    pub(super) fn look_at_due(&mut self) {
        loop {
            let due = self.verifier().due(Instant::now());
            let Some(process) = due else { return };
            self.look_again(process);
        }
    }

    /// Judges a process that was stopped because it runs what nobody expected, and lets it go on where it may.
    pub(super) fn judge_held(&mut self, process: u32) {
        self.look_again(process);
        // To one that was killed it means nothing.
        let _ = process::kill(process, libc::SIGCONT);
    }
}

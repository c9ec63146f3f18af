//! Who makes a call, and whether what it runs was allowed: found out once, and again after each exec.
//!
//! It decides whether a call is looked at at all; what may come of it is for others to say. `kernel` calls it.

use std::os::fd::OwnedFd;
use std::time::Instant;

use ringfence_policy::Role;

use super::Supervisor;
use super::answer::ExpectedExec;
use super::numbers::{self, Pinned, Protected};
use super::shares::Account;
use super::target::{self, Caller};
use super::verify::{self, Calling, Expected, Finding, Image, Seen};
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

impl Supervisor {
    /// The caller, where it was looked at before and can have become nothing else since: who it is and what it runs
    /// need not be found out again, which costs more than all the rest.
    pub(super) fn recognise(&mut self, notification: &Notification) -> Option<Caller> {
        let thread = notification.thread;
        // These start with a descriptor of the caller, fetched from nobody else.
        let takes_descriptor = matches!(
            libc::c_long::from(notification.number),
            libc::SYS_connect
                | libc::SYS_bind
                | libc::SYS_listen
                | libc::SYS_sendto
                | libc::SYS_sendmsg
                | libc::SYS_sendmmsg
        );
        let find = || self.acquaintances.find(thread).filter(|_| self.reach != Reach::Registry);
        // The runtime is our child: its number stays its own until it is reaped, and then everything ends.
        if self.acquaintances.include_runtime()
            && (thread == self.runtime || self.is_thread_of_runtime(thread))
        {
            let caller = Caller { thread, process: self.runtime, role: Role::Runtime };
            self.known_as = if takes_descriptor { find() } else { None };
            self.known_as.take_if(|known| known.caller != caller);
            return Some(caller);
        }
        let known = find()?;
        let presumed = takes_descriptor && self.acquaintances.are_threads();
        if !presumed && !self.acquaintances.is_the_same(&known) {
            self.acquaintances.part(&known);
            return None;
        }
        let caller = known.caller;
        self.known_as = Some(known);
        Some(caller)
    }

    /// Where there are no descriptors of threads, the runtime's are asked for by number.
    fn is_thread_of_runtime(&self, thread: u32) -> bool {
        self.reach == Reach::Registry && process::kill_thread(self.runtime, thread, 0).is_ok()
    }

    /// Whether the caller is still known after a descriptor of it was to be fetched.
    pub(super) const fn is_known(&self, caller: &Caller) -> bool {
        caller.thread == self.runtime || matches!(self.reach, Reach::Registry) || self.known_as.is_some()
    }

    /// Whether what was read by the caller's number, and after that its descriptor fetched, came from the caller itself:
    /// a descriptor that was kept from before proves that the thread was there all the time.
    pub(super) const fn was_read_of_caller(&self) -> bool {
        matches!(self.reach, Reach::FetchByThread) && self.known_as.is_some()
    }

    /// Any descriptor of the caller, where `pidfd_getfd(2)` is there. An acquaintance that turns out to be gone is none any
    /// more.
    pub(super) fn fetch(&mut self, caller: &Caller, number: i32) -> Result<OwnedFd, Errno> {
        if self.reach == Reach::Registry {
            return Err(Errno::EPERM);
        }
        let Some(known) = &self.known_as else {
            return self.acquaintances.open(caller)?.fetch(number);
        };
        let fetched = known.fetch(number);
        if matches!(fetched, Err(Errno(libc::ESRCH))) {
            self.acquaintances.part(known);
            self.known_as = None;
        }
        fetched
    }

    /// Remembers a caller that runs what it may.
    pub(super) fn get_acquainted(&mut self, notification: &Notification, caller: Caller) {
        let runs_for_good = || self.facts.launched() && self.verifier().is_settled(caller.process);
        if !runs_for_good() {
            return;
        }
        let still_waits = || self.listener.still_waits(notification.id);
        if caller.process == self.runtime && !self.acquaintances.include_runtime() {
            self.acquaintances.keep_runtime(|| still_waits() && runs_for_good());
        }
        if self.reach == Reach::Registry {
            return;
        }
        if let Ok(known) = self.acquaintances.open(&caller)
            // The number may have been another's already when the descriptor was opened.
            && still_waits()
            && self.acquaintances.keep(&known, runs_for_good)
        {
            self.known_as = Some(known);
        }
    }

    /// What `process` runs is about to change, or was found to be what it may not.
    pub(super) fn part_from(&self, process: u32) {
        self.acquaintances.part_from_process(process, process == self.runtime);
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
    pub(super) fn look_at(&mut self, notification: &Notification, caller: &Caller) -> Standing {
        // One more thread of it.
        if caller.process == self.runtime && self.acquaintances.include_runtime() {
            return Standing::Expected;
        }
        // Before the look, so that nobody is killed for what another one is who has got its number since.
        let pinned = Pinned::of_process(caller.process);
        let still_waits = || self.listener.still_waits(notification.id);
        let calling = Calling { thread: caller.thread, still_waits: &still_waits };
        let seen = verify::look(&self.verifier, caller.process, Some(calling));
        self.act_upon(seen, caller, pinned.ok().as_ref())
    }

    fn act_upon(&mut self, seen: Seen, caller: &Caller, pinned: Option<&Pinned>) -> Standing {
        let goes_on = match seen.finding {
            Finding::Unexpected(file) => match self.judge_running(caller, file) {
                Some(goes_on) => goes_on,
                None => return Standing::Refused,
            },
            Finding::Hidden => self.judge_hidden(caller),
            Finding::Expected => {
                self.note_launch();
                return Standing::Expected;
            }
            // A zombie must not fill the table of execs under way. Nobody who waits for an answer is gone.
            Finding::Gone => {
                self.verifier().forget_seen(caller.process, seen);
                return Standing::Refused;
            }
            // What it runs cannot be told, and by the time that its call is carried out it may be one that can be looked into
            // again. What it was about to run stays noted: nobody can be looked at in the middle of an exec, and an exec that is
            // forgotten then may have become anything known.
            // No program asks for one exec after the other but to confuse.
            Finding::Closed | Finding::Restless => return Standing::Refused,
            Finding::Condemned => {
                self.end(caller, pinned);
                return Standing::Refused;
            }
        };
        if goes_on {
            self.verifier().forget_seen(caller.process, seen);
            return Standing::Tolerated;
        }
        self.verifier().condemn(caller.process, pinned.cloned());
        self.part_from(caller.process);
        self.wake();
        self.end(caller, pinned);
        Standing::Refused
    }

    /// Kills a process for what it runs; the runtime too.
    fn end(&self, caller: &Caller, pinned: Option<&Pinned>) {
        let ours = Protected([self.guard, self.agent, self.witness, 0]);
        numbers::end(pinned, caller.process, ours);
    }

    /// The wrappers are through as soon as the runtime's process runs the runtime's file, and not for one of them.
    fn note_launch(&self) {
        if !self.facts.launched()
            && target::executable(self.runtime) == Ok(self.runtime_file)
            && target::is_past_wrappers(self.runtime, &self.command)
        {
            self.facts.note_launch();
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
        let before = Image::of(caller.process)?;
        let account = Account::of(caller, self.runtime);
        let expected = Expected { account, thread: caller.thread, file, readable };
        let noted = self.verifier().expect(caller.process, before, expected);
        if noted != Err(Errno(libc::EAGAIN)) {
            return noted;
        }
        let under_way = self.verifier().under_way();
        for process in under_way {
            self.look_again(process);
        }
        self.verifier().expect(caller.process, before, expected)
    }

    fn look_again(&mut self, process: u32) {
        match self.identify(process) {
            Ok(caller) => {
                let pinned = Pinned::of_process(process);
                let seen = verify::look(&self.verifier, process, None);
                self.act_upon(seen, &caller, pinned.ok().as_ref());
            }
            Err(_) => self.verifier().forget(process),
        }
    }

    /// Looks at every process whose time has come, and whom nobody else looks at.
    pub(super) fn look_at_due(&mut self) {
        loop {
            let due = self.verifier().due(Instant::now());
            let Some(process) = due else { return };
            self.look_again(process);
            self.verifier().looked_at(process);
        }
    }
}

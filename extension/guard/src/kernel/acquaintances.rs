//! Threads that the supervisor has looked into before, so that it need not find out again who they are and what they run.
//!
//! An acquaintance cannot come to mean another thread: a descriptor of it is kept, which says so when its own is gone
//! (`ESRCH`), and the process's next exec ends the acquaintance. `kernel` decides who becomes one and asks for them;
//! `sockets` and `send` fetch descriptors through it.

use std::os::fd::{AsRawFd as _, OwnedFd};

use super::target::Caller;
use crate::sys::{Errno, descriptor, process};

/// Threads that are remembered, each in the slot that its number gives; a newcomer takes the place of the former.
const SLOTS: usize = 128;

#[derive(Debug)]
struct Known {
    caller: Caller,
    pidfd: OwnedFd,
}

/// Whom a kept descriptor stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// The thread itself (`PIDFD_THREAD`, 6.9).
    Thread,
    /// Its process: that the thread is one of it is asked each time.
    Process,
}

/// The acquaintances.
#[derive(Debug)]
pub struct Acquaintances {
    slots: Vec<Option<Known>>,
    grain: Grain,
}

impl Acquaintances {
    /// None yet.
    #[must_use]
    pub fn new(grain: Grain) -> Self {
        Self { slots: std::iter::repeat_with(|| None).take(SLOTS).collect(), grain }
    }

    fn slot(&mut self, thread: u32) -> Option<&mut Option<Known>> {
        self.slots.get_mut(usize::try_from(thread).ok()? % SLOTS)
    }

    fn known(&mut self, thread: u32) -> Option<&Known> {
        self.slot(thread)?.as_ref().filter(|known| known.caller.thread == thread)
    }

    /// Who `thread` is, where it is the very one that is known by this number.
    pub fn recognise(&mut self, thread: u32) -> Option<Caller> {
        let grain = self.grain;
        let known = self.known(thread)?;
        let caller = known.caller;
        // First that the number is one of the process's threads, then that the process is still the known one, which
        // it then was all the time.
        let same = (grain == Grain::Thread || process::kill_thread(caller.process, thread, 0).is_ok())
            && descriptor::is_alive(known.pidfd.as_raw_fd());
        if !same {
            self.part(thread);
        }
        same.then_some(caller)
    }

    /// Who `thread` is, if it is the one that is known by this number. That it is shows when [`Self::fetch`] succeeds.
    /// Only where threads themselves are known.
    pub fn presume(&mut self, thread: u32) -> Option<Caller> {
        if self.grain == Grain::Process {
            return self.recognise(thread);
        }
        self.known(thread).map(|known| known.caller)
    }

    /// Whether `thread` is known.
    pub fn knows(&mut self, thread: u32) -> bool {
        self.known(thread).is_some()
    }

    /// Makes the acquaintance of `caller`. It must be checked afterwards that it still waits: only then is the
    /// descriptor that was opened by its number its own.
    ///
    /// # Errors
    /// Those of `pidfd_open(2)`.
    pub fn meet(&mut self, caller: Caller) -> Result<(), Errno> {
        let pidfd = self.open(&caller)?;
        if let Some(slot) = self.slot(caller.thread) {
            *slot = Some(Known { caller, pidfd });
        }
        Ok(())
    }

    fn open(&self, caller: &Caller) -> Result<OwnedFd, Errno> {
        match self.grain {
            Grain::Thread => descriptor::pidfd(caller.thread, true),
            Grain::Process => descriptor::pidfd(caller.process, false),
        }
    }

    /// Ends an acquaintance.
    pub fn part(&mut self, thread: u32) {
        if self.knows(thread)
            && let Some(slot) = self.slot(thread)
        {
            *slot = None;
        }
    }

    /// Ends the acquaintance of every thread of a process: it is about to become something else.
    pub fn part_from_process(&mut self, process: u32) {
        for slot in &mut self.slots {
            if slot.as_ref().is_some_and(|known| known.caller.process == process) {
                *slot = None;
            }
        }
    }

    /// A duplicate of descriptor `number` of a caller. An acquaintance that turns out to be gone is none any more.
    ///
    /// # Errors
    /// Those of `pidfd_open(2)` and `pidfd_getfd(2)`: `ESRCH` where the thread or process is gone.
    pub fn fetch(&mut self, caller: &Caller, number: i32) -> Result<OwnedFd, Errno> {
        let Some(known) = self.known(caller.thread).filter(|known| known.caller == *caller) else {
            return descriptor::fetch(self.open(caller)?.as_raw_fd(), number);
        };
        let fetched = descriptor::fetch(known.pidfd.as_raw_fd(), number);
        if matches!(fetched, Err(Errno(libc::ESRCH))) {
            self.part(caller.thread);
        }
        fetched
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_policy::Role;
    use std::process::{Child, Command, Stdio};

    const GRAINS: [Grain; 2] = [Grain::Thread, Grain::Process];

    fn cat() -> Child {
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    }

    fn end(mut child: Child) {
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    fn caller(pid: u32) -> Caller {
        Caller { thread: pid, process: pid, role: Role::Child }
    }

    /// A kernel before 6.9 knows processes only.
    fn met(grain: Grain, child: &Child) -> Option<Acquaintances> {
        let mut acquaintances = Acquaintances::new(grain);
        match acquaintances.meet(caller(child.id())) {
            Err(Errno(libc::EINVAL)) if grain == Grain::Thread => None,
            met => met.map(|()| Some(acquaintances)).unwrap(),
        }
    }

    #[test]
    fn who_was_met_is_recognised_and_its_descriptors_are_had() {
        for grain in GRAINS {
            let child = cat();
            let Some(mut acquaintances) = met(grain, &child) else { continue };
            let known = caller(child.id());
            assert_eq!(acquaintances.recognise(child.id()), Some(known), "{grain:?}");
            assert_eq!(acquaintances.presume(child.id()), Some(known));
            assert!(acquaintances.fetch(&known, 0).is_ok());
            assert_eq!(acquaintances.fetch(&known, 99).unwrap_err(), Errno(libc::EBADF));
            assert_eq!(acquaintances.recognise(std::process::id()), None);
            acquaintances.part_from_process(child.id() + 1);
            assert!(acquaintances.knows(child.id()));
            acquaintances.part_from_process(child.id());
            assert!(!acquaintances.knows(child.id()));
            end(child);
        }
    }

    #[test]
    fn another_thread_by_the_number_of_one_that_is_gone_is_a_stranger() {
        for grain in GRAINS {
            let (gone, number) = (cat(), std::process::id());
            let Some(mut acquaintances) = met(grain, &gone) else { continue };
            // As if the number had come to be ours.
            let slot = usize::try_from(number).unwrap() % SLOTS;
            let mut known = acquaintances.slots.iter_mut().find_map(Option::take).unwrap();
            known.caller = caller(number);
            acquaintances.slots[slot] = Some(known);
            end(gone);
            if grain == Grain::Thread {
                assert_eq!(acquaintances.presume(number), Some(caller(number)), "not known yet");
                let fetched = acquaintances.fetch(&caller(number), 0);
                assert_eq!(fetched.unwrap_err(), Errno(libc::ESRCH), "but seen when it matters");
            }
            assert_eq!(acquaintances.recognise(number), None, "{grain:?}");
            assert!(!acquaintances.knows(number));
            assert!(acquaintances.fetch(&caller(number), 0).is_ok(), "by its own descriptor");
        }
    }

    #[test]
    fn newcomers_take_the_places_of_the_former() {
        let child = cat();
        let mut acquaintances = Acquaintances::new(Grain::Process);
        for nth in 0..1000 {
            let thread = child.id() + nth;
            acquaintances.meet(Caller { thread, ..caller(child.id()) }).unwrap();
        }
        assert_eq!(acquaintances.slots.iter().flatten().count(), SLOTS);
        assert!(!acquaintances.knows(child.id()));
        end(child);
    }
}

//! Threads that the supervisor has looked into before, so that it need not find out again who they are and what they run.
//!
//! An acquaintance cannot come to mean another thread: a descriptor of it is kept, which says so when its own is gone
//! (`ESRCH`), and the process's next exec ends the acquaintance. `callers` decides who becomes one and asks for
//! them; `sockets` fetches descriptors through them.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::lock::lock;
use super::target::Caller;
use crate::sys::{Errno, descriptor, process};

/// Threads that are remembered, each in the slot that its number gives; a newcomer takes the place of the former.
const SLOTS: usize = 128;

/// A thread that was looked into, and a descriptor of it or of its process.
#[derive(Debug, Clone)]
pub struct Acquaintance {
    /// Who it is.
    pub caller: Caller,
    pidfd: Arc<OwnedFd>,
}

impl Acquaintance {
    /// A duplicate of one of its descriptors.
    ///
    /// # Errors
    /// Those of `pidfd_getfd(2)`: `ESRCH` where the thread or process is gone.
    pub fn fetch(&self, number: i32) -> Result<OwnedFd, Errno> {
        descriptor::fetch(self.pidfd.as_raw_fd(), number)
    }
}

/// Whom a kept descriptor stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// The thread itself (`PIDFD_THREAD`, 6.9).
    Thread,
    /// Its process: that the thread is one of it is asked each time.
    Process,
}

/// The acquaintances of all threads that answer calls. Nobody holds their lock while a target is asked for anything.
#[derive(Debug)]
pub struct Acquaintances {
    slots: Mutex<Vec<Option<Acquaintance>>>,
    /// Whether the runtime's process was looked at and has not been let exec since. Written under the lock.
    runtime: AtomicBool,
    grain: Grain,
}

fn slot(slots: &mut [Option<Acquaintance>], thread: u32) -> Option<&mut Option<Acquaintance>> {
    slots.get_mut(usize::try_from(thread).ok()? % SLOTS)
}

impl Acquaintances {
    /// None yet.
    #[must_use]
    pub fn new(grain: Grain) -> Self {
        let slots = std::iter::repeat_with(|| None).take(SLOTS).collect();
        Self { slots: Mutex::new(slots), runtime: AtomicBool::new(false), grain }
    }

    /// Whether all threads of the runtime's process are known.
    pub fn include_runtime(&self) -> bool {
        self.runtime.load(Ordering::Acquire)
    }

    /// Who is known by this number: that it is still the same one shows by [`Self::is_the_same`], or, where threads
    /// themselves are known, when [`Acquaintance::fetch`] succeeds.
    pub fn find(&self, thread: u32) -> Option<Acquaintance> {
        let mut slots = lock(&self.slots);
        slot(&mut slots, thread)?.as_ref().filter(|known| known.caller.thread == thread).cloned()
    }

    /// Whether somebody is known as one thread and not only as one of a process.
    #[must_use]
    pub fn are_threads(&self) -> bool {
        self.grain == Grain::Thread
    }

    /// Whether the thread that has the number now is the very one that is known.
    pub fn is_the_same(&self, known: &Acquaintance) -> bool {
        // First that the number is one of the process's threads, then that the process is still the known one, which
        // it then was all the time.
        let Caller { process, thread, .. } = known.caller;
        (self.grain == Grain::Thread || process::kill_thread(process, thread, 0).is_ok())
            && descriptor::is_alive(known.pidfd.as_raw_fd())
    }

    /// Opens a descriptor of `caller`, by its number. Whether that is its own shows by the caller's still waiting
    /// afterwards.
    ///
    /// # Errors
    /// Those of `pidfd_open(2)`.
    pub fn open(&self, caller: &Caller) -> Result<Acquaintance, Errno> {
        let pidfd = match self.grain {
            Grain::Thread => descriptor::pidfd(caller.thread, true),
            Grain::Process => descriptor::pidfd(caller.process, false),
        };
        Ok(Acquaintance { caller: *caller, pidfd: Arc::new(pidfd?) })
    }

    /// Remembers somebody, if `settled` still says that what runs there cannot become something else; that is asked under
    /// the lock, so that who is let exec meanwhile is parted from afterwards.
    pub fn keep(&self, known: &Acquaintance, settled: impl FnOnce() -> bool) -> bool {
        let mut slots = lock(&self.slots);
        let keeps = settled();
        if let (true, Some(slot)) = (keeps, slot(&mut slots, known.caller.thread)) {
            *slot = Some(known.clone());
        }
        keeps
    }

    /// Remembers all threads of the runtime's process, if `settled`, as for [`Self::keep`].
    pub fn keep_runtime(&self, settled: impl FnOnce() -> bool) {
        let _slots = lock(&self.slots);
        if settled() {
            self.runtime.store(true, Ordering::Release);
        }
    }

    /// Ends an acquaintance.
    pub fn part(&self, known: &Acquaintance) {
        let mut slots = lock(&self.slots);
        let is_it = |kept: &Acquaintance| Arc::ptr_eq(&kept.pidfd, &known.pidfd);
        if let Some(slot) = slot(&mut slots, known.caller.thread)
            && slot.as_ref().is_some_and(is_it)
        {
            *slot = None;
        }
    }

    /// Ends the acquaintance of every thread of a process: it is about to become something else.
    pub fn part_from_process(&self, process: u32, is_runtime: bool) {
        let mut slots = lock(&self.slots);
        if is_runtime {
            self.runtime.store(false, Ordering::Release);
        }
        for slot in slots.iter_mut() {
            if slot.as_ref().is_some_and(|known| known.caller.process == process) {
                *slot = None;
            }
        }
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
        let acquaintances = Acquaintances::new(grain);
        match acquaintances.open(&caller(child.id())) {
            Err(Errno(libc::EINVAL)) if grain == Grain::Thread => return None,
            opened => assert!(acquaintances.keep(&opened.unwrap(), || true)),
        }
        Some(acquaintances)
    }

    #[test]
    fn who_was_met_is_found_and_its_descriptors_are_had() {
        for grain in GRAINS {
            let child = cat();
            let Some(acquaintances) = met(grain, &child) else { continue };
            let known = acquaintances.find(child.id()).unwrap();
            assert_eq!(known.caller, caller(child.id()));
            assert!(acquaintances.is_the_same(&known), "{grain:?}");
            assert!(known.fetch(0).is_ok());
            assert_eq!(known.fetch(99).unwrap_err(), Errno(libc::EBADF));
            assert!(acquaintances.find(std::process::id()).is_none());
            acquaintances.part_from_process(child.id() + 1, false);
            assert!(acquaintances.find(child.id()).is_some());
            acquaintances.part_from_process(child.id(), false);
            assert!(acquaintances.find(child.id()).is_none());
            end(child);
        }
    }

    #[test]
    fn another_thread_by_the_number_of_one_that_is_gone_is_a_stranger() {
        for grain in GRAINS {
            let (gone, number) = (cat(), std::process::id());
            let Some(acquaintances) = met(grain, &gone) else { continue };
            // As if the number had come to be ours.
            let mut known = acquaintances.find(gone.id()).unwrap();
            known.caller = caller(number);
            assert!(acquaintances.keep(&known, || true));
            end(gone);
            let found = acquaintances.find(number).unwrap();
            assert_eq!(found.fetch(0).unwrap_err(), Errno(libc::ESRCH), "{grain:?}: seen when it matters");
            assert!(!acquaintances.is_the_same(&found));
            acquaintances.part(&found);
            assert!(acquaintances.find(number).is_none());
            assert!(acquaintances.open(&caller(number)).unwrap().fetch(0).is_ok(), "by its own descriptor");
        }
    }

    #[test]
    fn who_took_the_place_of_another_is_not_parted_from_in_its_stead() {
        let child = cat();
        let acquaintances = met(Grain::Process, &child).unwrap();
        let former = acquaintances.find(child.id()).unwrap();
        assert!(acquaintances.keep(&acquaintances.open(&caller(child.id())).unwrap(), || true));
        acquaintances.part(&former);
        assert!(acquaintances.find(child.id()).is_some());
        end(child);
    }

    #[test]
    fn who_may_become_something_else_is_not_kept() {
        let acquaintances = Acquaintances::new(Grain::Process);
        let own = caller(std::process::id());
        assert!(!acquaintances.keep(&acquaintances.open(&own).unwrap(), || false));
        assert!(acquaintances.find(own.thread).is_none());
        acquaintances.keep_runtime(|| false);
        assert!(!acquaintances.include_runtime());
        acquaintances.keep_runtime(|| true);
        acquaintances.part_from_process(own.process, false);
        assert!(acquaintances.include_runtime());
        acquaintances.part_from_process(own.process, true);
        assert!(!acquaintances.include_runtime());
    }

    #[test]
    fn newcomers_take_the_places_of_the_former() {
        let child = cat();
        let acquaintances = Acquaintances::new(Grain::Process);
        for nth in 0..1000 {
            let known = acquaintances.open(&caller(child.id())).unwrap();
            let caller = Caller { thread: child.id() + nth, ..known.caller };
            assert!(acquaintances.keep(&Acquaintance { caller, ..known }, || true));
        }
        assert_eq!(lock(&acquaintances.slots).iter().flatten().count(), SLOTS);
        assert!(acquaintances.find(child.id()).is_none());
        end(child);
    }
}

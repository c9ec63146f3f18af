//! Calls that act on other processes: signals, limits, scheduling; and children that put a filter on themselves.
//!
//! Decided on registers alone, so what may happen is left to the kernel. Out of bounds are the guard, the agent, and,
//! for children, the runtime: whoever can stop them can act unseen. A number must mean the same when the kernel reads it
//! again: one that nobody has could be the guard's next thread, and who joins a group changes what `kill(0)` reaches.

use ringfence_policy::{Role, Rule};
use ringfence_records::message::{ActionKind, Kind, Outcome, Report};

use super::Supervisor;
use super::answer::{Answer, RegistersOnly};
use super::exec::low_word;
use super::target::{self, Caller};
use crate::sys::seccomp::Notification;
use crate::sys::{Errno, landlock, process};

const OUT_OF_BOUNDS: RegistersOnly =
    RegistersOnly::because("the target's number is a register, and is not ours");
const OTHER_GROUP: RegistersOnly =
    RegistersOnly::because("the group's number is a register; the groups of ours never change theirs");
const RESTRICTS_ITSELF: RegistersOnly = RegistersOnly::because(
    "operation and flags are registers; a filter without a listener can only take away",
);

/// The last version of Landlock that has rules on files only (6.2).
const LANDLOCK_FOR_FILES: u32 = 3;

impl Supervisor {
    /// Decides a call whose first argument names a process, a thread, or (`groups`) a process group.
    pub(super) fn act_on_other(
        &mut self,
        notification: &Notification,
        caller: &Caller,
        call: &'static str,
        argument: usize,
        groups: bool,
    ) -> Answer {
        let number = low_word(notification.arguments.get(argument).copied().unwrap_or(0));
        let protected = match number {
            -1 if groups => true,
            0 if groups => {
                process::group_of(caller.process).is_none_or(|group| self.holds_protected(group, caller))
            }
            ..0 if groups => self.holds_protected(number.unsigned_abs(), caller),
            ..=0 => false,
            _ => match self.is_protected(number.unsigned_abs(), caller) {
                Ok(protected) => protected,
                Err(error) => return Answer::Fail(error),
            },
        };
        if protected {
            self.refuse(caller, call, b"aimed at the guard, the agent or the runtime");
            return Answer::Fail(Errno::EPERM);
        }
        Answer::Continue(OUT_OF_BOUNDS)
    }

    /// Whether a process group has a member that is out of bounds for the caller.
    fn holds_protected(&self, group: u32, caller: &Caller) -> bool {
        let runtime = if caller.role == Role::Child { self.runtime } else { 0 };
        let members = [self.guard, self.agent, self.witness, runtime];
        members.iter().any(|member| *member != 0 && process::group_of(*member) == Some(group))
    }

    /// Whether a process or thread is out of bounds for the caller; `ESRCH` for a number that nobody has now.
    fn is_protected(&self, number: u32, caller: &Caller) -> Result<bool, Errno> {
        let process = target::process_of(number)?;
        let runtime = caller.role == Role::Child && process == self.runtime;
        Ok([self.guard, self.agent, self.witness].contains(&process) || runtime)
    }

    /// Decides setpgid(2) into a group that is named: nobody joins one that he may not signal. He could be in his own
    /// when a `kill(0)` is looked at, and in that one when it is carried out.
    pub(super) fn join_group(&mut self, notification: &Notification, caller: &Caller) -> Answer {
        let group = low_word(notification.arguments.get(1).copied().unwrap_or(0));
        if group > 0 && self.holds_protected(group.unsigned_abs(), caller) {
            self.refuse(caller, "setpgid", b"into the group of the guard, the agent or the runtime");
            return Answer::Fail(Errno::EPERM);
        }
        Answer::Continue(OTHER_GROUP)
    }

    /// Decides `seccomp(SECCOMP_SET_MODE_FILTER)` without flags.
    pub(super) fn restrict_itself(caller: &Caller) -> Answer {
        if caller.role == Role::Runtime {
            return Answer::Fail(Errno::EPERM);
        }
        Answer::Continue(RESTRICTS_ITSELF)
    }

    /// Tells a program which version of Landlock there is for it: none that knows rules on the network, which what the guard
    /// connects for it would not obey. Programs take what there is and know what they have.
    pub(super) fn tell_landlock_version(notification: &Notification) -> Answer {
        let [attributes, size, ..] = notification.arguments;
        if (attributes, size) != (0, 0) {
            return Answer::Fail(Errno::EINVAL);
        }
        match landlock::version().min(LANDLOCK_FOR_FILES) {
            0 => Answer::Fail(Errno(libc::ENOSYS)),
            version => Answer::Done(version.into()),
        }
    }

    /// Refuses a call that serves attacks only, with a record.
    pub(super) fn refuse(&mut self, caller: &Caller, call: &str, detail: &[u8]) {
        let mut report = Report::new(Kind::Violation, ActionKind::Dangerous);
        report.name = call.as_bytes();
        report.detail = detail;
        report.outcome = Outcome::Blocked;
        self.report(caller, report, Rule::SelfProtection);
    }
}

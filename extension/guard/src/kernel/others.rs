//! Calls that act on other processes: signals, limits, scheduling; and children that put a filter on themselves.
//!
//! Out of bounds are the guard, the agent, and, for children, the runtime: whoever can stop them can act unseen. A number
//! must mean the same when it is used as when it was looked at, so what is aimed at another process by its number the guard
//! carries out itself ([`super::numbers`]). The kernel does the rest: what a caller aims at itself, what names a thread and
//! its process, and what is for a group. The arguments that are copied are [`super::settings`]'s.

use ringfence_policy::{Role, Rule};
use ringfence_records::message::{ActionKind, Kind, Outcome, Report};

use super::answer::{Answer, RegistersOnly};
use super::arguments::low_word;
use super::numbers::{Pinned, Protected};
use super::settings::Setting;
use super::target::{self, Caller};
use super::{Supervisor, rights};
use crate::sys::others::{self, SignalInfo};
use crate::sys::seccomp::Notification;
use crate::sys::{Errno, landlock, memory, process};

pub(super) const OWN: RegistersOnly = RegistersOnly::because(
    "the caller's own process or thread: both numbers stay theirs for as long as it waits",
);
const BELONGS: RegistersOnly = RegistersOnly::because(
    "the process is a register, none of ours, and the kernel signals no thread of another one",
);
const NOBODY: RegistersOnly =
    RegistersOnly::because("a register that is never the number of a process or thread");
const NO_SIGNAL: RegistersOnly =
    RegistersOnly::because("a register that is no signal's number, which the kernel says (EINVAL)");
const WALLED: RegistersOnly = RegistersOnly::because(
    "the second wall keeps the runtime's signals from whoever stands outside, as ours do",
);
const OTHER_GROUP: RegistersOnly =
    RegistersOnly::because("the group's number is a register; the groups of ours never change theirs");
const RESTRICTS_ITSELF: RegistersOnly = RegistersOnly::because(
    "operation and flags are registers; a filter without a listener can only take away",
);

/// Generations that are followed upwards to the guard.
const MAX_GENERATIONS: usize = 64;
/// The last version of Landlock that has rules on files only (6.2).
const LANDLOCK_FOR_FILES: u32 = 3;

/// Whether a call is one by which the guard signals a process or thread for its caller.
pub(super) const fn signals_by_number(call: libc::c_long) -> bool {
    matches!(call, libc::SYS_kill | libc::SYS_tkill | libc::SYS_rt_sigqueueinfo)
}

/// Returns `true` if the caller looks at its own process only, as samplers and debuggers do: it could read the same memory by
/// itself. Another thread's number is not enough: it could be another process's by the time that the kernel reads it.
pub(super) fn is_on_itself(call: libc::c_long, notification: &Notification, caller: &Caller) -> bool {
    let [first, second, ..] = notification.arguments.map(|argument| low_word(argument).unsigned_abs());
    let is_own = |number: u32| number == caller.process || number == caller.thread;
    match call {
        libc::SYS_process_vm_readv | libc::SYS_process_vm_writev => is_own(first),
        libc::SYS_kcmp => is_own(first) && is_own(second),
        _ => false,
    }
}

/// Whether the kernel takes this for a signal, or for the question that 0 is.
const fn is_signal(number: i32) -> bool {
    matches!(number, 0..=64)
}

impl Supervisor {
    /// Decides and carries out kill(2), and with `queues` `rt_sigqueueinfo(2)`.
    pub(super) fn signal_process(
        &mut self,
        notification: &Notification,
        caller: &Caller,
        queues: bool,
    ) -> Answer {
        let [number, signal, info, ..] = notification.arguments;
        let (number, signal) = (low_word(number), low_word(signal));
        if !is_signal(signal) {
            return Answer::Continue(NO_SIGNAL);
        }
        let name = if queues { "rt_sigqueueinfo" } else { "kill" };
        let Some(number) = u32::try_from(number).ok().filter(|number| *number != 0) else {
            return if queues {
                Answer::Continue(NOBODY)
            } else {
                self.signal_group(caller, number.unsigned_abs(), number == -1)
            };
        };
        if let Some(answer) = self.decide_by_number(caller, number, name) {
            return answer;
        }
        let mut copy = others::sent_by(caller.process);
        // The third register of kill(2) is left from before, and may well point to memory.
        if queues && let Err(error) = memory::read_exactly(caller.thread, info, &mut copy) {
            return Answer::Fail(error);
        }
        // The kernel writes it there too.
        if let Some(first) = copy.first_chunk_mut() {
            *first = signal.to_ne_bytes();
        }
        if let Some(done) = self.done_before(notification, &[]) {
            return done;
        }
        let sent = self.deliver(notification, caller, number, signal, &copy);
        self.tell(caller, name, sent)
    }

    /// Decides kill(2) of a group, the caller's own for 0. The kernel carries it out: a group has no threads but processes,
    /// ours are there from the start and change their group for nobody, so that no group becomes one of theirs.
    fn signal_group(&mut self, caller: &Caller, group: u32, all: bool) -> Answer {
        let own = || process::group_of(caller.process);
        let named = if group == 0 { own() } else { Some(group) };
        if all || named.is_none_or(|group| self.holds_protected(group, caller)) {
            return self.tell(caller, "kill", None);
        }
        Answer::Continue(OTHER_GROUP)
    }

    /// Decides and carries out tkill(2). The kernel asks whose thread it is only where it is told whose it should be.
    pub(super) fn signal_thread(&mut self, notification: &Notification, caller: &Caller) -> Answer {
        let [number, signal, ..] = notification.arguments.map(low_word);
        if !is_signal(signal) {
            return Answer::Continue(NO_SIGNAL);
        }
        let Some(number) = u32::try_from(number).ok().filter(|number| *number != 0) else {
            return Answer::Continue(NOBODY);
        };
        if let Some(answer) = self.decide_by_number(caller, number, "tkill") {
            return answer;
        }
        let process = match target::process_of(number) {
            Ok(process) => process,
            Err(error) => return Answer::Fail(error),
        };
        if self.out_of_bounds(caller).has_process(process) {
            return self.tell(caller, "tkill", None);
        }
        if let Some(done) = self.done_before(notification, &[]) {
            return done;
        }
        let vouched = if process == caller.process { Ok(()) } else { self.vouch_for(caller, process) };
        if !self.listener.still_waits(notification.id) {
            return Answer::Elsewhere;
        }
        vouched.and_then(|()| process::kill_thread(process, number, signal)).map(|()| 0).into()
    }

    /// Decides tgkill(2) and `rt_tgsigqueueinfo(2)`, which name the process too: the kernel looks whether the thread is one of
    /// its. So it is none of ours where the process is not, whatever becomes of its number.
    pub(super) fn signal_thread_of(
        &mut self,
        notification: &Notification,
        caller: &Caller,
        name: &'static str,
    ) -> Answer {
        let [process, thread, signal, ..] = notification.arguments.map(low_word);
        if !is_signal(signal) {
            return Answer::Continue(NO_SIGNAL);
        }
        if process <= 0 || thread <= 0 {
            return Answer::Continue(NOBODY);
        }
        let protected = self.out_of_bounds(caller);
        let aims_at_ours = u32::try_from(process).is_ok_and(|process| protected.has_process(process));
        // Refused by the kernel too; but it is an attack, and shows as one.
        let names_ours =
            || u32::try_from(thread).is_ok_and(|thread| thread != 0 && protected.owner(thread).is_some());
        if aims_at_ours || names_ours() {
            return self.tell(caller, name, None);
        }
        Answer::Continue(BELONGS)
    }

    /// Decides and carries out a call that sets limits or scheduling of another process or thread.
    pub(super) fn set_other(
        &mut self,
        notification: &Notification,
        caller: &Caller,
        call: libc::c_long,
    ) -> Answer {
        let name = Setting::name(call);
        let Some(number) = u32::try_from(low_word(Setting::target(notification))).ok().filter(|it| *it != 0)
        else {
            return Answer::Continue(NOBODY);
        };
        if number == caller.process || number == caller.thread {
            return Answer::Continue(OWN);
        }
        let protected = self.out_of_bounds(caller);
        if protected.owner(number).is_some() {
            return self.tell(caller, name, None);
        }
        if self.files.may_serve(caller).is_err() {
            return Answer::Fail(Errno::EPERM);
        }
        let mut setting = match Setting::read(notification, caller.thread) {
            Ok(setting) => setting,
            Err(error) => return Answer::Fail(error),
        };
        if !self.listener.still_waits(notification.id) {
            return Answer::Elsewhere;
        }
        let set = setting.make(number, protected);
        let set =
            set.map(|set| setting.tell(caller.thread, set, || self.listener.still_waits(notification.id)));
        self.tell(caller, name, set)
    }

    /// What comes of a signal for this process or thread, where that is told by its number: whether it is out of bounds, or the
    /// kernel may be left to send it, though it reads the number again later.
    fn decide_by_number(&mut self, caller: &Caller, number: u32, call: &str) -> Option<Answer> {
        if number == caller.process || number == caller.thread {
            return Some(Answer::Continue(OWN));
        }
        if self.out_of_bounds(caller).owner(number).is_some() {
            return Some(self.tell(caller, call, None));
        }
        // A child could reach the runtime's next thread.
        let walled = self.signals_are_walled && caller.role == Role::Runtime;
        walled.then_some(Answer::Continue(WALLED))
    }

    /// Sends a signal to a process that another one names. `None` where it is out of bounds.
    fn deliver(
        &self,
        notification: &Notification,
        caller: &Caller,
        number: u32,
        signal: i32,
        info: &SignalInfo,
    ) -> Option<Result<(), Errno>> {
        let protected = self.out_of_bounds(caller);
        let pinned = Pinned::of(number);
        if pinned.as_ref().is_ok_and(|pinned| protected.has_process(pinned.process)) {
            return None;
        }
        let vouched = pinned.as_ref().map_or(Ok(()), |pinned| self.vouch_for_pinned(caller, pinned));
        let by_number = || protected.act(number, || others::signal(number, signal, Some(info)));
        let gone = Some(Err(Errno(libc::EINTR)));
        match pinned {
            _ if !self.listener.still_waits(notification.id) => gone,
            // It is gone, or a platform has descriptors but nothing to signal them with.
            Ok(pinned) if !pinned.is_there() && !self.needs_vouching(caller) => by_number(),
            Ok(pinned) => Some(vouched.and_then(|()| pinned.signal(signal, Some(info)))),
            Err(_) if !self.needs_vouching(caller) => by_number(),
            Err(Errno(libc::ESRCH)) => Some(Err(Errno(libc::ESRCH))),
            Err(_) => Some(Err(Errno::EPERM)),
        }
    }

    /// Whether the kernel would let the guard signal more than the caller: what this one gave up the guard may have, and the
    /// second wall does not stand around the guard.
    fn needs_vouching(&self, caller: &Caller) -> bool {
        self.signals_are_walled || self.files.may_serve(caller).is_err()
    }

    /// Whether the caller may signal a process; needs a descriptor of it where the kernel does not ask the same of the guard.
    fn vouch_for(&self, caller: &Caller, process: u32) -> Result<(), Errno> {
        if !self.needs_vouching(caller) {
            return Ok(());
        }
        match Pinned::of(process) {
            Ok(pinned) => self.vouch_for_pinned(caller, &pinned),
            Err(Errno(libc::ESRCH)) => Err(Errno(libc::ESRCH)),
            Err(_) => Err(Errno::EPERM),
        }
    }

    fn vouch_for_pinned(&self, caller: &Caller, pinned: &Pinned) -> Result<(), Errno> {
        let shares = self.files.may_serve(caller).is_ok();
        let may = (shares || rights::have_same_users(caller.thread, pinned.process))
            && (!self.signals_are_walled || self.descends(pinned.process));
        if !may {
            return Err(Errno::EPERM);
        }
        if self.needs_vouching(caller) && !pinned.is_there() {
            return Err(Errno(libc::ESRCH));
        }
        Ok(())
    }

    /// Whether a process is one of the function's: where there is Landlock that scopes signals, orphans come to the guard.
    fn descends(&self, process: u32) -> bool {
        let mut ancestor = process;
        for _ in 0..MAX_GENERATIONS {
            match target::parent_of(ancestor) {
                Some(parent) if parent == self.guard => return true,
                Some(parent) if parent > 1 => ancestor = parent,
                _ => return false,
            }
        }
        false
    }

    /// The answer to a call that was carried out, or, with a record, to one that was aimed at who is out of bounds.
    fn tell(&mut self, caller: &Caller, call: &str, done: Option<Result<(), Errno>>) -> Answer {
        if let Some(done) = done {
            return done.map(|()| 0).into();
        }
        self.refuse(caller, call, b"aimed at the guard, the agent or the runtime");
        Answer::Fail(Errno::EPERM)
    }

    /// Who is out of bounds for a caller.
    pub(super) fn out_of_bounds(&self, caller: &Caller) -> Protected {
        let runtime = if caller.role == Role::Child { self.runtime } else { 0 };
        Protected([self.guard, self.agent, self.witness, runtime])
    }

    /// Whether a process group has a member that is out of bounds for the caller.
    fn holds_protected(&self, group: u32, caller: &Caller) -> bool {
        let Protected(members) = self.out_of_bounds(caller);
        members.iter().any(|member| *member != 0 && process::group_of(*member) == Some(group))
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

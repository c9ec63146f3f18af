//! What the library keeps from the program: its two descriptors, and signals at the agent and the guard.
//!
//! It decides by numbers alone, without the policy where the program could blind the protection, and by
//! `self_protection` where it attacks it. `handler` calls it for close, dup, `close_range`, kill and their kin.

use ringfence_policy::{Action, Decision};
use ringfence_records::handoff::covers;
use ringfence_records::message::{ActionKind, Kind, Report};
use ringfence_records::sockets;

use crate::arch::{Flow, number};
use crate::state::{State, speaks};
use crate::sys::{self, Errno};
use crate::{closing, others, pins, report};

const F_GETFD: usize = 1;
const F_SETFD: usize = 2;
const FIONCLEX: usize = 0x5450;
const FIOCLEX: usize = 0x5451;

/// Whether `argument` is one of our descriptors, or one that a call of another thread holds.
fn is_ours(state: &State, argument: usize) -> bool {
    let descriptor = sys::descriptor(argument);
    state.descriptors.iter().any(|own| own.number == descriptor) || pins::is_held(descriptor)
}

/// close(2): our descriptors are not open, as far as the program can tell.
pub(crate) fn close(state: &State, arguments: [usize; 6]) -> Flow {
    let [descriptor, ..] = arguments;
    hide(is_ours(state, descriptor))
}

/// dup2(2) and dup3(2): neither from nor onto our descriptors.
pub(crate) fn dup(state: &State, arguments: [usize; 6]) -> Flow {
    let [from, to, ..] = arguments;
    hide(is_ours(state, from) || is_ours(state, to))
}

/// fcntl(2) and ioctl(2): ours cannot be marked close-on-exec, duplicated or told anything else, by any command. Programs that
/// mark all that /proc lists, as the JDK does before each exec, are told that they have. What is left may aim signals at others.
pub(crate) fn control(state: &State, call: usize, arguments: [usize; 6]) -> Flow {
    let [descriptor, command, ..] = arguments;
    let descriptor = sys::descriptor(descriptor);
    if state.descriptors.iter().any(|own| own.number == descriptor) {
        return match (call, command & 0xffff_ffff) {
            (number::FCNTL, F_GETFD) => Flow::Proceed,
            (number::FCNTL, F_SETFD) | (number::IOCTL, FIONCLEX | FIOCLEX) => Flow::Done(0),
            _ => hide(true),
        };
    }
    let is_refused = u32::try_from(command & 0xffff_ffff).is_ok_and(sockets::is_refused_ioctl);
    if call == number::IOCTL && is_refused && !state.kernel_decides(covers::DANGEROUS) {
        return dangerous(state, "ioctl");
    }
    others::owner(state, call, arguments)
}

const fn hide(ours: bool) -> Flow {
    if ours { Flow::Done(Errno::BADF.result()) } else { Flow::Proceed }
}

/// `close_range(2)`: the ranges around our descriptors. What a kernel without it would leave to the caller is done here.
pub(crate) fn close_range(state: &State, arguments: [usize; 6]) -> Flow {
    let [first, last, flags, ..] = arguments;
    let (Ok(first), Ok(last)) = (u32::try_from(first & 0xffff_ffff), u32::try_from(last & 0xffff_ffff))
    else {
        return Flow::Proceed;
    };
    let mut own = state.descriptors.map(|own| own.number.unsigned_abs());
    own.sort_unstable();
    if pins::any_in(first, last) && sys::descriptor(flags) == 0 {
        closing::close_all(first, last, own);
        return Flow::Done(0);
    }
    if !own.iter().any(|own| (first..=last).contains(own)) {
        return Flow::Proceed;
    }
    let mut result = 0;
    each_gap(first, last, own, |from, to| {
        if result == 0 {
            result = sys::pass(number::CLOSE_RANGE, [from as usize, to as usize, flags, 0, 0, 0]);
        }
    });
    if result == Errno::NOSYS.result() && sys::descriptor(flags) == 0 && first <= last {
        closing::close_all(first, last, own);
        result = 0;
    }
    Flow::Done(result)
}

/// The parts of `first..=last` that hold none of `own`, which is sorted.
fn each_gap(first: u32, last: u32, own: [u32; 2], mut gap: impl FnMut(u32, u32)) {
    let mut next = Some(first);
    for own in own {
        let Some(from) = next.filter(|from| *from <= own && own <= last) else { continue };
        if let Some(to) = own.checked_sub(1).filter(|to| from <= *to) {
            gap(from, to);
        }
        next = own.checked_add(1);
    }
    if let Some(from) = next.filter(|from| *from <= last) {
        gap(from, last);
    }
}

/// The call sends a signal: which process gets it?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// First argument is a process, or `-1` for all; the second the signal.
    Process,
    /// First argument is one thread or process; the second the signal.
    Thread,
    /// First argument is a process, second a thread, third the signal.
    ThreadOfProcess,
    /// First argument is a process descriptor; the second the signal.
    Descriptor,
}

/// kill(2) and its kin, aimed at the agent or the guard. Signal 0 asks only whether they are there.
pub(crate) fn signal(state: &State, how: Signal, name: &'static str, arguments: [usize; 6]) -> Flow {
    let [target, second, third, ..] = arguments;
    let target = sys::descriptor(target);
    let (reaches, signal) = match how {
        Signal::Process => (reaches(state, target), second),
        // Zero and negative numbers are no threads: the kernel says EINVAL or ESRCH.
        Signal::Thread => (target > 0 && reaches(state, target), second),
        Signal::ThreadOfProcess => {
            let thread = sys::descriptor(second);
            (target > 0 && thread > 0 && (reaches(state, target) || reaches(state, thread)), third)
        }
        Signal::Descriptor => return signal_by_descriptor(state, name, target, arguments),
    };
    if reaches && is_signal(signal) { dangerous(state, name) } else { Flow::Proceed }
}

/// Whether the kernel sends anything: signal 0 is a question, and what is above 64 is EINVAL.
fn is_signal(signal: usize) -> bool {
    const LAST: i32 = 64;
    (1..=LAST).contains(&sys::descriptor(signal))
}

/// `pidfd_send_signal(2)`, made by the number of the process that was judged: by the time the kernel looks at the
/// descriptor, another thread may have put the agent's there.
#[inline(never)]
fn signal_by_descriptor(
    state: &State,
    name: &'static str,
    descriptor: i32,
    [_, signal, information, flags, ..]: [usize; 6],
) -> Flow {
    const THREAD_GROUP: i32 = 2;
    if !matches!(sys::descriptor(flags), 0 | THREAD_GROUP) {
        // As a kernel before 6.9 says, which knows no signals to a thread or a group by descriptor.
        return Flow::Done(Errno::INVAL.result());
    }
    let Some(process) = process_of(state, descriptor) else { return Flow::Done(Errno::BADF.result()) };
    if process <= 0 {
        return Flow::Done(Errno::SRCH.result());
    }
    // Two errors that the call by number would not give.
    if information != 0 {
        match sys::word_at(information).map(sys::descriptor) {
            None => return Flow::Done(Errno::FAULT.result()),
            Some(inside) if inside != sys::descriptor(signal) => return Flow::Done(Errno::INVAL.result()),
            Some(_) => {}
        }
    }
    if reaches(state, process)
        && is_signal(signal)
        && let denied @ Flow::Done(_) = dangerous(state, name)
    {
        return denied;
    }
    let (call, process) = (
        if information == 0 { number::KILL } else { number::RT_SIGQUEUEINFO },
        usize::try_from(process).unwrap_or_default(),
    );
    Flow::Done(sys::pass(call, [process, signal, information, 0, 0, 0]))
}

/// Whether a signal to `target` arrives at the agent or the guard: -1 is everybody, 0 the caller's own group, another
/// negative number a group.
pub(crate) fn reaches(state: &State, target: i32) -> bool {
    let protected = [state.handoff.agent_pid, state.handoff.guard_pid];
    reaches_one_of(protected, target, sys::group_of)
}

/// `group_of` answers for process 0 with the caller's own group. 0 among `protected` stands for one that does not
/// exist.
fn reaches_one_of(protected: [u32; 2], target: i32, group_of: impl Fn(u32) -> u32) -> bool {
    let mut existing = protected.into_iter().filter(|pid| *pid != 0);
    match target {
        -1 => true,
        1.. => existing.any(|pid| pid == target.unsigned_abs()),
        _ => {
            let group = if target == 0 { group_of(0) } else { target.unsigned_abs() };
            existing.any(|pid| group_of(pid) == group)
        }
    }
}

/// The process behind a descriptor: from `fdinfo` of one by `pidfd_open(2)`, or a folder `/proc/<pid>`, which
/// `pidfd_send_signal(2)` takes too.
fn process_of(state: &State, descriptor: i32) -> Option<i32> {
    process_of_pidfd(descriptor).or_else(|| process_of_folder(state, descriptor))
}

fn process_of_folder(state: &State, descriptor: i32) -> Option<i32> {
    if sys::identity(descriptor).ok()?.device != state.proc_device {
        return None;
    }
    let (mut link, mut path) = ([0; 32], [0; 256]);
    let link = crate::exec::descriptor_path(descriptor, &mut link);
    folder_line(sys::read_link(sys::CWD, link, &mut path).ok()?)
}

/// The process whose folder `path` is; those of threads are none.
fn folder_line(path: &[u8]) -> Option<i32> {
    let slash = path.iter().rposition(|byte| *byte == b'/')?;
    let (folder, name) = path.split_at_checked(slash + 1)?;
    let digits = core::str::from_utf8(name).ok()?;
    if folder.ends_with(b"/task/") { None } else { digits.parse().ok() }
}

fn process_of_pidfd(descriptor: i32) -> Option<i32> {
    let mut path = [0; 40];
    let mut digits = [0; 12];
    let digits = crate::exec::decimal(descriptor.unsigned_abs(), &mut digits);
    let start = b"/proc/self/fdinfo/";
    path.get_mut(..start.len())?.copy_from_slice(start);
    path.get_mut(start.len()..start.len() + digits.len())?.copy_from_slice(digits);
    let path = path.get(..=start.len() + digits.len())?;
    let file = sys::open_at(sys::CWD, path, sys::O_CLOEXEC).ok()?;
    let mut text = [0; 256];
    let length = sys::read(file.0, &mut text).ok()?;
    pid_line(text.get(..length)?)
}

fn pid_line(text: &[u8]) -> Option<i32> {
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Pid:"))?;
    let digits = line.trim_ascii();
    core::str::from_utf8(digits).ok()?.parse().ok()
}

/// Returns `true` if the call's first argument names the calling process or thread. Another thread's number is not enough:
/// it could be another process's by the time that the kernel reads it.
pub(crate) fn is_itself([target, ..]: [usize; 6]) -> bool {
    let target = sys::descriptor(target).unsigned_abs();
    target == sys::process_id() || target == sys::thread_id()
}

/// A call that only serves attacks.
pub(crate) fn dangerous(state: &State, name: &'static str) -> Flow {
    dangerous_for(state, name, b"")
}

/// The same, with the reason in the record.
#[inline(never)]
pub(crate) fn dangerous_for(state: &State, name: &'static str, detail: &[u8]) -> Flow {
    let verdict = state.verdict(&Action::Dangerous { call: name });
    if speaks(verdict) {
        let mut report = Report::new(Kind::Violation, ActionKind::Dangerous);
        report.name = name.as_bytes();
        report.detail = detail;
        report::violation(state, verdict, &report);
    }
    if verdict.decision == Decision::Deny { Flow::Done(Errno::PERM.result()) } else { Flow::Proceed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pid_is_read_from_fdinfo() {
        assert_eq!(pid_line(b"pos:\t0\nflags:\t02\nPid:\t1234\nNSpid:\t1234\n"), Some(1234));
        assert_eq!(pid_line(b"Pid:\tx\n"), None);
        assert_eq!(pid_line(b"pos:\t0\n"), None);
    }

    #[test]
    fn only_the_folder_of_a_process_stands_for_it() {
        assert_eq!(folder_line(b"/proc/17"), Some(17));
        for none in ["/proc/17/fd", "/proc/17/task/18", "/proc/self", "", "/"] {
            assert_eq!(folder_line(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn signals_to_the_agent_to_its_group_and_to_everybody_reach_it() {
        // The agent, 17, is in group 5; so is the caller, or it is in group 9.
        for (own, target, expected) in [
            (9, 17, true),
            (9, -5, true),
            (9, -1, true),
            (9, 0, false),
            (5, 0, true),
            (9, -17, false),
            (9, 18, false),
            (9, 1, false),
        ] {
            let group_of = |pid| if pid == 0 { own } else { 5 };
            assert_eq!(reaches_one_of([17, 0], target, group_of), expected, "{own} {target}");
        }
    }

    proptest! {
        #[test]
        fn gaps_cover_everything_but_our_own(first in 0..40_u32, length in 0..40_u32, low in 0..60_u32, above in 1..9_u32) {
            let (last, own) = (first + length, [low, low + above]);
            let mut covered = vec![];
            each_gap(first, last, own, |from, to| covered.extend(from..=to));
            let expected: Vec<_> = (first..=last).filter(|fd| !own.contains(fd)).collect();
            prop_assert_eq!(covered, expected);
        }
    }
}

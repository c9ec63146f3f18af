//! Sends what happened to the agent, or prints it where there is none.
//!
//! It decides nothing and changes no verdict: a report that cannot be sent is counted and the count goes with the
//! next. Each report uses a socket of its own, so that forks, closed descriptors and limits of the program leave no
//! state behind; only the runtime, which speaks at every invocation, keeps one ([`channel`]). Everything that judges calls it.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ringfence_policy::{Decision, Rule, Verdict};
use ringfence_records::message::{ActionKind, Kind, Outcome, Report};
use ringfence_records::page::View;
use ringfence_records::record::{Degraded, MAX_VIOLATION, Moment, Record, Scene, Violation};
use ringfence_records::redact::Redactor;
use ringfence_records::time::Timestamp;
use ringfence_records::wire::MAX_MESSAGE;

use crate::channel;
use crate::credentials;
use crate::exec::decimal;
use crate::lineage::Lineage;
use crate::own_stack;
use crate::state::State;
use crate::sys::{self, Errno, Owned};

/// Reports that could not be sent since the last one that was.
static DROPPED: AtomicU32 = AtomicU32::new(0);

/// Whether a request for an event was told before.
static HAS_ASKED: AtomicBool = AtomicBool::new(false);

/// Writes down a verdict other than allow. `report` holds the action and its subject.
pub(crate) fn violation(state: &State, verdict: Verdict, report: &Report<'_>) {
    let outcome = if verdict.decision == Decision::Deny { Outcome::Blocked } else { Outcome::Reported };
    finish(state, report, (Kind::Violation, verdict.rule, outcome));
}

/// Writes down what a rule would deny and is let through all the same.
pub(crate) fn observed(state: &State, verdict: Verdict, report: &Report<'_>) {
    finish(state, report, (report.kind, verdict.rule, Outcome::Reported));
}

/// Says that a protection does not hold.
pub(crate) fn degraded(state: &State, detail: &[u8]) {
    let mut report = Report::new(Kind::Degraded, ActionKind::Dangerous);
    report.detail = detail;
    finish(state, &report, (report.kind, report.rule, report.outcome));
}

/// Sends one of the small notices.
pub(crate) fn notice(state: &State, kind: Kind) {
    deliver_notice(state, Report::new(kind, ActionKind::Dangerous));
}

/// The same for one that has something to say.
pub(crate) fn deliver_notice(state: &State, mut report: Report<'_>) {
    report.pid = sys::process_id();
    report.parent = sys::parent_id();
    report.dropped = take_dropped();
    if !state.handoff.report_address.is_empty() {
        send(state, &report);
    }
}

/// On a stack of its own: the caller's may be small, and there is a copy of the report on it already.
fn finish(state: &State, report: &Report<'_>, verdict: (Kind, Rule, Outcome)) {
    own_stack::with(|| complete(state, report, verdict));
}

/// Adds who acts.
#[inline(never)]
fn complete(state: &State, report: &Report<'_>, (kind, rule, outcome): (Kind, Rule, Outcome)) {
    let mut executable = sys::Buffer::new(256).ok();
    let executable = executable.as_mut().map(sys::Buffer::bytes).unwrap_or_default();
    let lineage = Lineage::of(sys::process_id(), state.handoff.runtime_pid);
    let prints = state.handoff.report_address.is_empty();
    let report = Report {
        kind,
        rule,
        outcome,
        pid: sys::process_id(),
        parent: sys::parent_id(),
        ancestors: lineage.ancestors(),
        chain: lineage.chain(),
        thread: sys::thread_id(),
        exe: sys::read_link(sys::CWD, b"/proc/self/exe\0", executable).unwrap_or_default(),
        dropped: if prints { report.dropped } else { take_dropped() },
        ..*report
    };
    if prints {
        print(state, &report);
    } else {
        send(state, &report);
    }
}

fn take_dropped() -> u32 {
    DROPPED.swap(0, Ordering::Relaxed)
}

#[inline(never)]
fn send(state: &State, report: &Report<'_>) {
    let sent = sys::Buffer::new(MAX_MESSAGE).and_then(|mut buffer| {
        let message = report.encode(buffer.bytes()).ok_or(Errno::INVAL)?;
        let is_first = report.kind == Kind::InvocationOver && !HAS_ASKED.swap(true, Ordering::Relaxed);
        deliver(state, message, is_first)
    });
    if sent.is_err() {
        DROPPED.fetch_add(report.dropped.saturating_add(1), Ordering::Relaxed);
    }
}

/// Sends a message to the socket of this abstract name.
pub(crate) fn deliver_to(name: &[u8], message: &[u8]) -> Result<usize, Errno> {
    let mut address = [0; 110];
    let address = abstract_address(name, &mut address).ok_or(Errno::INVAL)?;
    sys::send_to(sys::report_socket()?.0, message, address)
}

/// `openly`: by a call that the kernel plane is asked about. It learns of the end of init by that.
fn deliver(state: &State, message: &[u8], openly: bool) -> Result<usize, Errno> {
    let mut address = [0; 110];
    let address = abstract_address(state.handoff.report_address, &mut address).ok_or(Errno::INVAL)?;
    if !openly && state.is_runtime() && sys::process_id() == state.handoff.runtime_pid {
        return sys::send_to(channel::to(address)?, message, &[]);
    }
    sys::send_to(sys::report_socket()?.0, message, address)
}

/// `struct sockaddr_un` of an abstract name.
fn abstract_address<'b>(name: &[u8], buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    const AF_UNIX: u16 = 1;
    let end = 3 + name.len();
    buffer.get_mut(..2)?.copy_from_slice(&AF_UNIX.to_ne_bytes());
    buffer.get_mut(3..end)?.copy_from_slice(name);
    buffer.get(..end)
}

/// Without an agent: the record as a line on standard error. The buffer is too large for a stack that may be small.
#[inline(never)]
fn print(state: &State, report: &Report<'_>) {
    let Ok(buffer) = sys::memory_near(0, MAX_VIOLATION) else { return };
    let address = buffer.as_ptr() as usize;
    if let Some(line) = line(state, report, buffer) {
        let log = standard_error_of_runtime(state);
        let _ = sys::write(log.as_ref().map_or(2, |log| log.0), line);
    }
    sys::unmap(address, MAX_VIOLATION);
}

/// A child's own standard error may be a pipe that the function reads: the record belongs into the runtime's.
fn standard_error_of_runtime(state: &State) -> Option<Owned> {
    const APPEND: usize = 0o2000;
    let runtime = state.handoff.runtime_pid;
    if sys::process_id() == runtime {
        return None;
    }
    let (mut path, mut digits, mut used) = ([0; 40], [0; 12], 0);
    for part in [&b"/proc/"[..], decimal(runtime, &mut digits), b"/fd/2\0"] {
        path.get_mut(used..used + part.len())?.copy_from_slice(part);
        used += part.len();
    }
    let flags = sys::O_WRONLY | sys::O_CLOEXEC | sys::O_NONBLOCK | APPEND;
    sys::open_at(sys::CWD, path.get(..used)?, flags).ok()
}

#[inline(never)]
fn line<'b>(state: &State, report: &Report<'_>, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let secrets = credentials::values();
    let redactor = Redactor::new(&secrets);
    let handoff = &state.handoff;
    let scene =
        Scene { redactor: &redactor, function: handoff.function, version: b"", policy: handoff.policy_hash };
    let (seconds, nanoseconds) = sys::now();
    let invocation = View::new(state.words).and_then(|view| view.invocation());
    let mut moment = Moment::new(Timestamp::from_clock(seconds, nanoseconds), state.phase().0);
    if let Some(invocation) = &invocation {
        moment.number = invocation.number;
        moment.request = invocation.request();
    }
    if report.kind == Kind::Degraded {
        return Degraded { scene, moment, part: "process plane", detail: report.detail, count: 1 }
            .line(buffer);
    }
    Violation::new(scene, moment, report).line(buffer)
}

#[cfg(test)]
mod tests {
    use super::abstract_address;

    #[test]
    fn abstract_names_begin_with_a_zero_and_have_no_end_mark() {
        let mut buffer = [0xff; 110];
        buffer[2] = 0;
        assert_eq!(abstract_address(b"ringfence", &mut buffer).unwrap(), b"\x01\0\0ringfence");
        assert_eq!(abstract_address(&[b'x'; 108], &mut buffer), None);
    }
}

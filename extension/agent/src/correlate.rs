//! Which line of the function's code a violation belongs to.
//!
//! Language shims say what they are about to do before they do it. A hint is evidence by code that may be hostile: it
//! adds `code` and `frames` to a record and changes nothing else. Reports put hints in, the emitter asks.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ringfence_records::message::{ActionKind, Report};

/// Most hints that are kept.
const MAX_HINTS: usize = 64;
/// How long a hint can explain a violation.
const LIFETIME: Duration = Duration::from_secs(2);

/// What a shim said.
#[derive(Debug, Clone)]
pub(crate) struct Hint {
    pub(crate) pid: u32,
    thread: u32,
    action: ActionKind,
    name: Vec<u8>,
    path: Vec<u8>,
    address: Option<SocketAddr>,
    /// `file:line`.
    pub(crate) code: Vec<u8>,
    /// Frames up to the handler.
    pub(crate) frames: Vec<Vec<u8>>,
    at: Instant,
}

/// The newest hints.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    newest: VecDeque<Hint>,
}

impl Hints {
    /// Keeps a hint from process `pid`, which the kernel vouches for.
    pub(crate) fn add(&mut self, pid: u32, report: &Report<'_>, at: Instant) {
        self.newest.truncate(MAX_HINTS - 1);
        self.newest.push_front(Hint {
            pid,
            thread: report.thread,
            action: report.action,
            name: report.name.to_vec(),
            path: report.path.to_vec(),
            address: report.address,
            code: report.code.to_vec(),
            frames: report.frames.as_slice().iter().map(|frame| frame.to_vec()).collect(),
            at,
        });
    }

    /// Forgets all of them: what a finished invocation was about to do explains nothing of the next one's.
    pub(crate) fn clear(&mut self) {
        self.newest.clear();
    }

    /// The newest hint that explains `report`: of the same thread or of an ancestor, for the same action. One that names
    /// the same subject goes before newer ones that name another.
    pub(crate) fn explain(&self, report: &Report<'_>, now: Instant) -> Option<&Hint> {
        let fits = |hint: &&Hint| {
            report.descends_from(hint.pid)
                && same_thread(hint, report)
                && same_kind(hint.action, report.action)
                && is_fresh(hint, now)
        };
        let fitting = || self.newest.iter().filter(fits);
        // An ancestor further up spoke of the program between, never of this subject.
        let near = |hint: &&Hint| hint.pid == report.pid || hint.pid == report.parent;
        fitting().find(|hint| near(hint) && names_the_same(hint, report)).or_else(|| fitting().next())
    }

    /// The newest hint, of whatever process, that something is about to look up `name`.
    pub(crate) fn explain_name(&self, name: &[u8], now: Instant) -> Option<&Hint> {
        self.newest.iter().find(|hint| {
            hint.action == ActionKind::Resolve && hint.name.eq_ignore_ascii_case(name) && is_fresh(hint, now)
        })
    }
}

fn is_fresh(hint: &Hint, now: Instant) -> bool {
    now.saturating_duration_since(hint.at) < LIFETIME
}

/// What one thread is about to do says nothing of another thread of its process. Node does not tell threads, and its
/// look-ups and files are the business of others than the one that asks.
fn same_thread(hint: &Hint, report: &Report<'_>) -> bool {
    hint.pid != report.pid || hint.thread == 0 || report.thread == 0 || hint.thread == report.thread
}

/// A shim cannot always tell a connection from a datagram.
fn same_kind(hint: ActionKind, report: ActionKind) -> bool {
    let network = |action| matches!(action, ActionKind::Connect | ActionKind::Send);
    hint == report || (network(hint) && network(report))
}

fn names_the_same(hint: &Hint, report: &Report<'_>) -> bool {
    (!report.path.is_empty() && hint.path == report.path)
        || (report.address.is_some() && hint.address == report.address)
        || (!report.name.is_empty() && hint.name == report.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_records::message::Kind;

    fn hint(action: ActionKind, path: &'static [u8], code: &'static [u8]) -> Report<'static> {
        let mut report = Report::new(Kind::Hint, action);
        report.path = path;
        report.name = path;
        report.code = code;
        report
    }

    fn code(hints: &Hints, report: &Report<'_>, now: Instant) -> Option<Vec<u8>> {
        hints.explain(report, now).map(|hint| hint.code.clone())
    }

    #[test]
    fn the_newest_fitting_hint_explains() {
        let now = Instant::now();
        let mut hints = Hints::default();
        hints.add(7, &hint(ActionKind::Exec, b"/bin/sh", b"a.py:1"), now);
        hints.add(7, &hint(ActionKind::Exec, b"/bin/ls", b"a.py:2"), now);
        hints.add(7, &hint(ActionKind::OpenRead, b"/x", b"a.py:3"), now);
        let mut report = hint(ActionKind::Exec, b"/bin/sh", b"");
        report.parent = 7;
        assert_eq!(code(&hints, &report, now).as_deref(), Some(&b"a.py:1"[..]), "the same subject first");
        report.path = b"/bin/dash";
        report.name = b"";
        assert_eq!(code(&hints, &report, now).as_deref(), Some(&b"a.py:2"[..]));
        report.parent = 8;
        assert_eq!(code(&hints, &report, now), None, "another process explains nothing");
        report.ancestors = [8, 7, 0, 0, 0, 0, 0, 0];
        report.path = b"/bin/sh";
        assert_eq!(
            code(&hints, &report, now).as_deref(),
            Some(&b"a.py:2"[..]),
            "the runtime started sed, sed the shell"
        );
    }

    #[test]
    fn a_hint_is_for_its_own_thread_and_invocation() {
        let now = Instant::now();
        let mut hints = Hints::default();
        let of = |thread, pid| Report { thread, pid, parent: 7, ..hint(ActionKind::Connect, b"", b"a.py:1") };
        hints.add(7, &of(70, 7), now);
        assert!(code(&hints, &of(70, 7), now).is_some());
        assert!(code(&hints, &of(71, 7), now).is_none(), "another thread of the process");
        assert!(code(&hints, &of(0, 7), now).is_some(), "a sender that does not tell threads");
        assert!(code(&hints, &of(90, 9), now).is_some(), "a child has threads of its own");
        hints.clear();
        assert!(code(&hints, &of(70, 7), now).is_none());
    }

    #[test]
    fn old_hints_explain_nothing_and_their_number_is_bounded() {
        let now = Instant::now();
        let mut hints = Hints::default();
        for _ in 0..500 {
            hints.add(7, &hint(ActionKind::Resolve, b"evil.example", b"a.py:1"), now);
        }
        assert_eq!(hints.newest.len(), MAX_HINTS);
        assert!(hints.explain_name(b"EVIL.example", now).is_some());
        assert!(hints.explain_name(b"evil.example", now + LIFETIME).is_none());
    }
}

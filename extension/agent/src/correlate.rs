//! Which line of the function's code a violation belongs to.
//!
//! Language shims say what they are about to do before they do it. A hint is evidence by code that may be hostile: it
//! adds `code` and `frames` to a record and changes nothing else. Reports put hints in, the emitter asks.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ringfence_records::message::{ActionKind, List, Report};

/// Most hints that are kept.
const MAX_HINTS: usize = 64;
/// How long a hint can explain a violation.
const LIFETIME: Duration = Duration::from_secs(2);
/// Most addresses whose names are kept.
const MAX_ANSWERS: usize = 128;
/// How long an address has the name that led to it: longer than clients keep answers.
const ANSWERED_FOR: Duration = Duration::from_hours(1);

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
    /// What wants it, where that is a package or the standard library.
    detail: Vec<u8>,
    arguments: Vec<Vec<u8>>,
    at: Instant,
}

impl Hint {
    /// Adds what the hint knows to the report that it explains; `detail` is what [`Self::detail_of`] makes of both.
    pub(crate) fn add_to<'a>(&'a self, report: &mut Report<'a>, detail: &'a [u8]) {
        report.code = &self.code;
        self.frames.iter().for_each(|frame| report.frames.push(frame));
        report.detail = detail;
    }

    /// What wants the deed, and what the report says itself. A program that is reached by a link has its path there, and
    /// is still the one that was asked for.
    pub(crate) fn detail_of(&self, report: &Report<'_>) -> Vec<u8> {
        match (&*self.detail, report.detail) {
            (own, b"") => own.to_vec(),
            (own, path) if report.action == ActionKind::Exec && !own.is_empty() && path.starts_with(b"/") => {
                [own, b": ", path].concat()
            }
            (_, theirs) => theirs.to_vec(),
        }
    }

    /// Whether this is the start of another program, by a helper of the JVM: `jspawnhelper` executes what was wanted.
    pub(crate) fn is_behind_a_helper(&self, report: &Report<'_>) -> bool {
        report.action == ActionKind::Exec
            && report.path.ends_with(b"/jspawnhelper")
            && !self.path.is_empty()
            && self.path != report.path
    }

    /// Names the program that was wanted in the place of the helper.
    pub(crate) fn name_the_wanted<'a>(&'a self, report: &mut Report<'a>, detail: &'a [u8]) {
        report.detail = detail;
        report.path = &self.path;
        report.arguments = List::new();
        self.arguments.iter().for_each(|argument| report.arguments.push(argument));
    }
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
            detail: report.detail.to_vec(),
            arguments: report.arguments.as_slice().iter().map(|argument| argument.to_vec()).collect(),
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
                && same_kind(hint.action, report)
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

/// What look-ups led to that were reported and answered: their connections are the same deed.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    newest: VecDeque<(IpAddr, Vec<u8>, Instant)>,
}

impl Answers {
    /// Keeps that `name` led to `address`.
    pub(crate) fn add(&mut self, address: IpAddr, name: &[u8], at: Instant) {
        self.newest.retain(|(known, _, _)| *known != address);
        self.newest.truncate(MAX_ANSWERS - 1);
        self.newest.push_front((address, name.to_vec(), at));
    }

    /// The name that led to `address` last.
    pub(crate) fn name_of(&self, address: IpAddr, now: Instant) -> Option<&[u8]> {
        let (_, name, at) = self.newest.iter().find(|(known, _, _)| *known == address)?;
        (now.saturating_duration_since(*at) < ANSWERED_FOR).then_some(name)
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
fn same_kind(hint: ActionKind, report: &Report<'_>) -> bool {
    let network = |action| matches!(action, ActionKind::Connect | ActionKind::Send);
    if report.action == ActionKind::ReadCredential && report.name.starts_with(b"/proc/") {
        // Credentials that are read from a file: the shim saw an open.
        return hint == ActionKind::OpenRead;
    }
    hint == report.action || (network(hint) && network(report.action))
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
    fn credentials_that_are_read_from_a_file_are_explained_by_the_open() {
        let now = Instant::now();
        let mut hints = Hints::default();
        hints.add(7, &hint(ActionKind::OpenRead, b"/proc/self/environ", b"a.py:2"), now);
        hints.add(7, &hint(ActionKind::ReadCredential, b"getenv", b"a.py:1"), now);
        let mut report = hint(ActionKind::ReadCredential, b"", b"");
        (report.pid, report.name) = (7, b"/proc/7/environ");
        assert_eq!(code(&hints, &report, now).as_deref(), Some(&b"a.py:2"[..]));
        report.name = b"AWS_SECRET_ACCESS_KEY";
        assert_eq!(code(&hints, &report, now).as_deref(), Some(&b"a.py:1"[..]));
    }

    #[test]
    fn the_program_that_was_wanted_stands_in_for_the_jvms_helper() {
        let now = Instant::now();
        let mut hints = Hints::default();
        let mut wanted = hint(ActionKind::Exec, b"/usr/bin/tr", b"Handler.java:12");
        wanted.arguments.push(b"/usr/bin/tr");
        wanted.arguments.push(b"a-z");
        hints.add(7, &wanted, now);
        let mut report = hint(ActionKind::Exec, b"/var/lang/lib/jspawnhelper", b"");
        report.parent = 7;
        report.arguments.push(b"17.0");
        let found = hints.explain(&report, now).unwrap();
        assert!(found.is_behind_a_helper(&report));
        let detail = found.detail_of(&report);
        found.add_to(&mut report, &detail);
        found.name_the_wanted(&mut report, b"by way of /var/lang/lib/jspawnhelper");
        assert_eq!((report.path, report.code), (&b"/usr/bin/tr"[..], &b"Handler.java:12"[..]));
        assert_eq!(report.arguments.as_slice(), [&b"/usr/bin/tr"[..], b"a-z"]);
        assert!(!found.is_behind_a_helper(&report));
    }

    #[test]
    fn what_asked_for_a_program_is_told_also_where_a_link_leads_to_it() {
        let now = Instant::now();
        let mut hints = Hints::default();
        let mut wanted = hint(ActionKind::Exec, b"/sbin/ldconfig", b"app.py:4");
        wanted.detail = b"asked for by ctypes.util.find_library";
        hints.add(7, &wanted, now);
        let mut report = hint(ActionKind::Exec, b"/sbin/ldconfig", b"");
        report.parent = 7;
        let detail = |report: &Report<'_>| {
            String::from_utf8(hints.explain(report, now).unwrap().detail_of(report)).unwrap()
        };
        assert_eq!(detail(&report), "asked for by ctypes.util.find_library");
        report.detail = b"/usr/sbin/ldconfig";
        assert_eq!(detail(&report), "asked for by ctypes.util.find_library: /usr/sbin/ldconfig");
        report.detail = b"the file changed between the check and the exec";
        assert_eq!(detail(&report), "the file changed between the check and the exec");
    }

    #[test]
    fn an_address_has_the_name_that_led_to_it_last_and_old_ones_go() {
        let (now, mut answers) = (Instant::now(), Answers::default());
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        answers.add(address(1), b"one.example", now);
        answers.add(address(1), b"other.example", now);
        assert_eq!(answers.name_of(address(1), now), Some(&b"other.example"[..]));
        assert_eq!(answers.name_of(address(2), now), None);
        assert_eq!(answers.name_of(address(1), now + ANSWERED_FOR), None);
        for number in 2..=u32::try_from(MAX_ANSWERS).unwrap() + 1 {
            answers.add(address(number), b"many.example", now);
        }
        assert_eq!((answers.newest.len(), answers.name_of(address(1), now)), (MAX_ANSWERS, None));
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

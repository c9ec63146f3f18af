//! Which records become lines, and when.
//!
//! Violations that are the same within an invocation fold into one line, written when the invocation ends or a second
//! after the first; a token bucket bounds the lines that an attacker can cause, and what it drops is counted in the
//! next line that goes through and in the summary. Each line is numbered and signed ([`seal`]). It knows nothing of how
//! violations come to be.

mod activity;
mod bucket;
mod fold;
mod seal;

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use ringfence_policy::{Phase, Plane, Rule};
use ringfence_records::message::{ActionKind, Outcome, Report};
use ringfence_records::record::{Activity, Degraded, MAX_LINE, Moment, Record, Scene, Violation, subject};
use ringfence_records::redact::Redactor;
use ringfence_records::seal::MAX_SEAL;
use ringfence_records::time::Timestamp;

use crate::clock;
use crate::invocation::Current;
use activity::Deeds;
use bucket::Bucket;
use fold::{Folded, Folds};
use seal::Seal;

/// Most deeds in one line; fewer where they are long.
const DEEDS_IN_A_LINE: usize = 32;
/// How long a violation may wait for others of its kind.
pub(crate) const FOLD_FOR: Duration = Duration::from_secs(1);

/// What is known of the function; fills in as the start goes on.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    pub(crate) function: String,
    pub(crate) version: String,
    pub(crate) policy: String,
}

/// Where lines go: the log stream, or a test's list.
pub(crate) type Sink = Box<dyn FnMut(&[u8])>;

/// Writes lines.
pub(crate) struct Emitter {
    redactor: Redactor<'static>,
    pub(crate) identity: Identity,
    sink: Sink,
    buffer: Vec<u8>,
    /// Made with the first record: until then the agent has no time for it.
    seal: Option<Seal>,
    /// For what guard and agent tell, and apart for what processes of the function say: those may send any number.
    bucket: Bucket,
    claims: Bucket,
    folds: Folds,
    /// Whether deeds that are reported and go ahead are told once (`report.activity`).
    pub(crate) tells_activity: bool,
    deeds: Deeds,
    /// Everyday deeds that were told: what, in which line of code, by which rule, with what outcome.
    everyday: Vec<(Vec<u8>, Vec<u8>, Rule, Outcome)>,
    /// Violations by rule, each counted.
    pub(crate) by_rule: BTreeMap<Rule, u64>,
    /// Lines that were dropped in all.
    pub(crate) lines_dropped: u64,
    untold: u64,
}

/// A sink that writes each line to standard output with one write(2). What cannot be written is lost, not retried:
/// the customer's function must not wait for a log.
pub(crate) fn standard_output() -> Sink {
    Box::new(|line| {
        let _ = nix::unistd::write(io::stdout(), line);
    })
}

impl Emitter {
    /// An emitter that masks these values.
    pub(crate) fn new(secrets: &[Vec<u8>], sink: Sink) -> Self {
        // Once in the agent's life, a few hundred bytes: every record borrows them.
        let secrets: Vec<&'static [u8]> =
            secrets.iter().map(|secret| &*Box::leak(secret.clone().into_boxed_slice())).collect();
        Self {
            redactor: Redactor::new(Box::leak(secrets.into_boxed_slice())),
            identity: Identity::default(),
            sink,
            buffer: Vec::new(),
            seal: None,
            bucket: Bucket::new(Instant::now()),
            claims: Bucket::new(Instant::now()),
            folds: Folds::default(),
            tells_activity: false,
            deeds: Deeds::default(),
            everyday: Vec::new(),
            by_rule: BTreeMap::new(),
            lines_dropped: 0,
            untold: 0,
        }
    }

    /// Takes a violation. True where it is the first that waits, so that the caller must have [`Self::flush`] called within
    /// [`FOLD_FOR`].
    pub(crate) fn violation(&mut self, report: &Report<'_>, current: &Current) -> bool {
        if self.folds.continues_search(report) {
            return false;
        }
        *self.by_rule.entry(report.rule).or_default() += 1;
        let was_empty = self.folds.is_empty() && self.deeds.is_empty();
        if self.tells_activity && Deeds::takes(report) {
            self.deeds.add(report, current);
            return was_empty && !self.deeds.is_empty();
        }
        if self.was_told(report) {
            return false;
        }
        if let Some(crowded_out) = self.folds.add(report, current) {
            self.print_folded(&crowded_out);
        }
        was_empty
    }

    /// Takes a read of credentials back that a hook has reported and now knows to be none, as long as it waits.
    pub(crate) fn take_back(&mut self, report: &Report<'_>) {
        let is_it = |read: &Report<'_>| {
            read.action == ActionKind::ReadCredential
                && (read.pid, read.name, read.code) == (report.pid, report.name, report.code)
        };
        let count = self.folds.take_back(report) + self.deeds.remove(is_it);
        // It was not told, so the next of its kind is.
        let deed = everyday(report);
        self.everyday.retain(|told| *told != deed);
        if let Some(known) = self.by_rule.get_mut(&Rule::CredentialsReads) {
            *known = known.saturating_sub(count);
        }
    }

    /// Takes a reported look-up of `name` back, as long as it waits: its connection says more, and they are one deed.
    pub(crate) fn take_back_lookup(&mut self, name: &[u8]) {
        let is_it = |report: &Report<'_>| {
            report.action == ActionKind::Resolve && report.name.eq_ignore_ascii_case(name)
        };
        let count = self.folds.take_back_lookup(name) + self.deeds.remove(is_it);
        if let Some(known) = self.by_rule.get_mut(&Rule::EgressNames) {
            *known = known.saturating_sub(count);
        }
    }

    /// An invocation has begun, and the platform may have told the runtime sooner than the agent: what came at or
    /// after `since` belongs to it.
    pub(crate) fn begun(&mut self, since: Timestamp, current: &Current) {
        self.folds.belongs_to(since, current);
    }

    /// Writes everything that waits.
    pub(crate) fn flush(&mut self) {
        for folded in self.folds.take() {
            self.print_folded(&folded);
        }
        self.flush_deeds();
    }

    /// Writes the deeds that wait, as many in a line as fit. Where the bucket is empty they wait on.
    fn flush_deeds(&mut self) {
        let mut most = usize::MAX;
        while !self.deeds.is_empty() && most > 0 {
            if most == usize::MAX && !self.claims.take(Instant::now()) {
                return;
            }
            let mut deeds = std::mem::take(&mut self.deeds);
            let mut tried = 0;
            let written = deeds.write_some(most.min(DEEDS_IN_A_LINE), |deeds, dropped| {
                tried = deeds.len();
                let phase = deeds.first().map_or(Phase::Invoke, |deed| deed.phase);
                let moment = Moment::new(clock::now(), phase);
                self.print(|scene| Activity { scene, moment, deeds, dropped })
            });
            self.deeds = deeds;
            most = if written { usize::MAX } else { tried / 2 };
        }
    }

    /// Whether this is a helper of packages, a read of the session token, or tracing, that was told before: once in the
    /// environment's life is enough.
    fn was_told(&mut self, report: &Report<'_>) -> bool {
        const MAX_EVERYDAY: usize = 64;
        let is_one_deed = report.detail == subject::TRACING || subject::is_native_read(report);
        if !subject::is_helper(report) && !subject::is_proof(report) && !is_one_deed {
            return false;
        }
        let deed = everyday(report);
        if self.everyday.contains(&deed) {
            return true;
        }
        if self.everyday.len() < MAX_EVERYDAY {
            self.everyday.push(deed);
        }
        false
    }

    fn print_folded(&mut self, folded: &Folded) {
        let mut is_claim = false;
        folded.with_report(|report| is_claim = report.plane == Plane::Process);
        if !self.admit(is_claim) {
            return;
        }
        let lines_dropped = std::mem::take(&mut self.untold);
        folded.with_report(|report| {
            let (moment, last, count) = (folded.moment(), folded.last, folded.count);
            self.print(|scene| Violation { scene, moment, report, count, last, lines_dropped });
        });
    }

    fn admit(&mut self, is_claim: bool) -> bool {
        let bucket = if is_claim { &mut self.claims } else { &mut self.bucket };
        let admitted = bucket.take(Instant::now());
        if !admitted {
            self.lines_dropped += 1;
            self.untold += 1;
        }
        admitted
    }

    /// Writes a `degraded` record, if the bucket lets it through.
    pub(crate) fn degraded(&mut self, part: &'static str, detail: &str, moment: Moment<'_>) {
        self.print_degraded(part, detail, moment, false);
    }

    /// The same, as a process of the function says it.
    pub(crate) fn degraded_inside(&mut self, detail: &str, moment: Moment<'_>) {
        self.print_degraded("process", detail, moment, true);
    }

    fn print_degraded(&mut self, part: &'static str, detail: &str, moment: Moment<'_>, is_claim: bool) {
        if self.admit(is_claim) {
            self.print(|scene| Degraded { scene, moment, part, detail: detail.as_bytes(), count: 1 });
        }
    }

    /// Writes a record that only the agent itself can cause.
    pub(crate) fn print<'a, R: Record>(&'a mut self, record: impl FnOnce(Scene<'a>) -> R) -> bool {
        let scene = Scene {
            redactor: &self.redactor,
            function: self.identity.function.as_bytes(),
            version: self.identity.version.as_bytes(),
            policy: self.identity.policy.as_bytes(),
        };
        // Grown at the first record: until then the agent does not need the memory.
        self.buffer.resize(MAX_LINE, 0);
        let room = self.buffer.get_mut(..MAX_LINE - MAX_SEAL).unwrap_or_default();
        let record = record(scene);
        let Some(length) = record.line(room).map(<[u8]>::len) else { return false };
        let introduces = record.introduces_key();
        self.buffer.truncate(length);
        self.seal.get_or_insert_with(Seal::new).close(&mut self.buffer, introduces);
        (self.sink)(&self.buffer);
        true
    }
}

/// What an everyday deed is known by. A helper and the X-Ray daemon are the same wherever they are asked for, a read is not.
fn everyday(report: &Report<'_>) -> (Vec<u8>, Vec<u8>, Rule, Outcome) {
    let (subject, code) = match report {
        proof if subject::is_proof(proof) => (proof.name, proof.code),
        one if one.detail == subject::TRACING || subject::is_native_read(one) => (one.detail, &[][..]),
        helper => (helper.path, &[][..]),
    };
    (subject.to_vec(), code.to_vec(), report.rule, report.outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_records::message::{ActionKind, Kind};
    use std::cell::RefCell;
    use std::rc::Rc;

    fn emitter() -> (Emitter, Rc<RefCell<Vec<String>>>) {
        let lines = Rc::new(RefCell::new(Vec::new()));
        let written = Rc::clone(&lines);
        let sink =
            Box::new(move |line: &[u8]| written.borrow_mut().push(String::from_utf8(line.to_vec()).unwrap()));
        (Emitter::new(&[b"a-secret-value".to_vec()], sink), lines)
    }

    fn report(path: &[u8]) -> Report<'_> {
        let mut report = Report::new(Kind::Violation, ActionKind::Exec);
        report.rule = Rule::ProcessShells;
        report.path = path;
        report
    }

    #[test]
    fn the_same_violation_folds_into_one_line() {
        let (mut emitter, lines) = emitter();
        let current = Current::default();
        assert!(emitter.violation(&report(b"/bin/sh"), &current));
        for pid in 0..30 {
            let again = Report { pid, ..report(b"/bin/sh") };
            assert!(!emitter.violation(&again, &current));
        }
        emitter.violation(&report(b"/bin/bash"), &current);
        assert!(lines.borrow().is_empty());
        emitter.flush();
        let lines = lines.borrow();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("\"count\":31,"), "{}", lines[0]);
        assert_eq!(emitter.by_rule.get(&Rule::ProcessShells), Some(&32));
    }

    #[test]
    fn tracing_is_told_once() {
        let (mut emitter, lines) = emitter();
        for (number, code) in [(1, &b"app.py:1"[..]), (1, b"app.py:2"), (2, b"app.py:1")] {
            let mut traces = Report::new(Kind::Violation, ActionKind::Send);
            (traces.rule, traces.code, traces.detail) = (Rule::EgressAllow, code, subject::TRACING);
            emitter.violation(&traces, &Current { number, ..Current::default() });
        }
        emitter.flush();
        assert_eq!(lines.borrow().len(), 1, "{lines:?}");
        assert_eq!(emitter.by_rule.get(&Rule::EgressAllow), Some(&3));
    }

    #[test]
    fn what_a_native_sdk_reads_is_told_once() {
        let (mut emitter, lines) = emitter();
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
            let mut read = Report::new(Kind::Violation, ActionKind::ReadCredential);
            (read.rule, read.name, read.detail) = (Rule::CredentialsReads, name.as_bytes(), subject::NATIVE);
            emitter.violation(&read, &Current::default());
        }
        emitter.flush();
        assert_eq!(lines.borrow().len(), 1, "{lines:?}");
        assert!(
            lines.borrow()[0].contains("of AWS_ACCESS_KEY_ID by native code, an SDK's or not, by"),
            "{lines:?}"
        );
    }

    #[test]
    fn a_search_of_path_is_one_deed_and_another_program_or_process_is_not() {
        let told = |deeds: &[(u32, &[u8], &[u8])]| {
            let (mut emitter, lines) = emitter();
            for (pid, path, argument) in deeds {
                let mut report = Report { pid: *pid, ..report(path) };
                report.outcome = Outcome::Blocked;
                report.arguments.push(argument);
                emitter.violation(&report, &Current::default());
            }
            emitter.flush();
            let counted = emitter.by_rule.get(&Rule::ProcessShells).copied();
            (lines.borrow().len(), counted.unwrap_or_default())
        };
        assert_eq!(told(&[(7, b"/usr/bin/git", b"git"), (7, b"/bin/git", b"git")]), (1, 1));
        let both: [(u32, &[u8], &[u8]); 2] = [(7, b"/usr/bin/git", b"git"), (7, b"/bin/git", b"git")];
        let again = both.map(|(_, path, argument)| (8, path, argument));
        assert_eq!(told(&[both, again].concat()), (1, 2), "by each of two children");
        assert_eq!(told(&[(7, b"/usr/bin/git", b"git"), (7, b"/bin/sh", b"git")]), (2, 2));
        assert_eq!(told(&[(7, b"/usr/bin/git", b"git"), (7, b"/bin/git", b"gut")]), (2, 2));
        assert_eq!(told(&[(7, b"/usr/bin/git", b"git"), (8, b"/bin/git", b"git")]), (2, 2));
    }

    #[test]
    fn a_file_of_every_process_folds_and_the_readers_own_does_not_hide_anothers() {
        let told = |pid, paths: &[&[u8]]| {
            let (mut emitter, lines) = emitter();
            for path in paths {
                emitter.violation(&Report { pid, ..report(path) }, &Current::default());
            }
            emitter.flush();
            lines.take()
        };
        let files: [&[u8]; 4] =
            [b"/proc/3/environ", b"/proc/17/environ", b"/proc/9/environ", b"/proc/9/maps"];
        let lines = told(9, &files);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("/proc/3/environ") && lines[0].contains("\"count\":3,"), "{}", lines[0]);
        let lines = told(3, &files[..3]);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[1].contains("/proc/17/environ"), "{}", lines[1]);
    }

    #[test]
    fn deeds_are_told_once_several_in_a_line_and_attacks_each() {
        let (mut emitter, lines) = emitter();
        emitter.tells_activity = true;
        let current = |number| Current { number, ..Current::default() };
        for number in [1, 1, 2, 3] {
            emitter.violation(&report(b"/usr/bin/a"), &current(number));
            emitter.violation(&report(b"/usr/bin/b"), &current(number));
            let attack = Report { rule: Rule::ProcessFromWritable, ..report(b"/tmp/x") };
            emitter.violation(&attack, &current(number));
            emitter.flush();
        }
        let lines = lines.take();
        let activity: Vec<&String> =
            lines.iter().filter(|line| line.contains("\"kind\":\"activity\"")).collect();
        assert_eq!((activity.len(), lines.len()), (2, 6), "{lines:#?}");
        assert!(activity[0].contains("/usr/bin/a") && activity[0].contains("/usr/bin/b"), "{}", activity[0]);
        assert!(activity[1].contains("\"again\":true"), "{}", activity[1]);
        assert_eq!(emitter.by_rule.get(&Rule::ProcessShells), Some(&8));
    }

    #[test]
    fn deeds_that_find_the_bucket_empty_wait_for_the_next_line() {
        let (mut emitter, lines) = emitter();
        emitter.tells_activity = true;
        while emitter.claims.take(Instant::now()) {}
        emitter.violation(&report(b"/usr/bin/a"), &Current::default());
        emitter.flush();
        assert!(lines.borrow().is_empty());
        emitter.claims = Bucket::new(Instant::now());
        emitter.flush();
        assert_eq!(lines.borrow().len(), 1);
        assert_eq!(emitter.lines_dropped, 0);
    }

    #[test]
    fn long_deeds_are_told_in_several_lines() {
        let (mut emitter, lines) = emitter();
        emitter.tells_activity = true;
        for number in 0..60_u8 {
            let path = [&b"/tmp/"[..], &[b'a' + number % 26; 2], &[b'a' + number / 26; 400]].concat();
            emitter.violation(&report(&path), &Current::default());
        }
        emitter.flush();
        let told: usize = lines.borrow().iter().map(|line| line.matches("\"action\":").count()).sum();
        assert_eq!(told, 60);
        assert!(lines.borrow().iter().all(|line| line.len() <= MAX_LINE));
    }

    #[test]
    fn an_attacker_cannot_cause_more_lines_than_the_bucket_holds() {
        let (mut emitter, lines) = emitter();
        let current = Current::default();
        for number in 0..5000 {
            emitter.violation(&report(format!("/tmp/{number}").as_bytes()), &current);
        }
        emitter.flush();
        let written = lines.borrow().len() as u64;
        assert!((100..=150).contains(&written), "{written}");
        assert_eq!(emitter.lines_dropped + written, 5000);
    }

    #[test]
    fn processes_that_say_much_leave_the_guards_lines_alone() {
        let (mut emitter, lines) = emitter();
        let current = Current::default();
        for number in 0..5000 {
            emitter.violation(&report(format!("/tmp/{number}").as_bytes()), &current);
        }
        emitter.flush();
        let before = lines.borrow().len();
        emitter.violation(&Report { plane: Plane::Kernel, ..report(b"/bin/sh") }, &current);
        emitter.flush();
        emitter.degraded("ledger", "a fault", current.moment(clock::now()));
        assert_eq!(lines.borrow().len(), before + 2);
    }

    #[test]
    fn what_was_dropped_is_told_with_the_next_line() {
        let (mut emitter, lines) = emitter();
        emitter.untold = 7;
        emitter.violation(&report(b"/bin/sh"), &Current::default());
        emitter.flush();
        assert!(lines.borrow()[0].contains("\"linesDropped\":7"));
        assert_eq!(emitter.untold, 0);
    }

    #[test]
    fn what_the_runtime_did_before_the_agent_heard_of_the_invocation_belongs_to_it() {
        let (mut emitter, lines) = emitter();
        let mut current = Current { phase: Phase::Between, ..Current::default() };
        emitter.violation(&report(b"/bin/sh"), &current);
        current.begin("r-1", "");
        emitter.begun(Timestamp(0), &current);
        emitter.flush();
        assert!(lines.borrow()[0].contains("\"requestId\":\"r-1\""), "{:?}", lines.borrow());
    }

    #[test]
    fn a_copy_that_went_to_a_child_is_taken_back() {
        let (mut emitter, lines) = emitter();
        let read = |pid, code| {
            let mut report = Report::new(Kind::Violation, ActionKind::ReadCredential);
            (report.rule, report.pid, report.name, report.code) =
                (Rule::CredentialsReads, pid, b"AWS_SECRET_ACCESS_KEY", code);
            report
        };
        for (pid, code) in [(7, &b"a.py:1"[..]), (8, b"a.py:1"), (7, b"a.py:2")] {
            emitter.violation(&read(pid, code), &Current::default());
        }
        emitter.take_back(&read(7, b"a.py:1"));
        emitter.flush();
        // The first two are one line: the copies of two processes fold, and one of them was for a child.
        assert_eq!(lines.borrow().len(), 1, "{:?}", lines.borrow());
        assert!(lines.borrow()[0].contains("a.py:2"));
        assert_eq!(emitter.by_rule.get(&Rule::CredentialsReads), Some(&1));
    }

    #[test]
    fn a_look_up_that_was_only_reported_is_one_deed_with_its_connection() {
        let (mut emitter, lines) = emitter();
        let lookup = |outcome, name| {
            let mut report = Report::new(Kind::Violation, ActionKind::Resolve);
            (report.rule, report.outcome, report.name) = (Rule::EgressNames, outcome, name);
            report
        };
        emitter.violation(&lookup(Outcome::Reported, b"evil.example"), &Current::default());
        emitter.violation(&lookup(Outcome::Reported, b"other.example"), &Current::default());
        emitter.violation(&lookup(Outcome::Blocked, b"evil.example"), &Current::default());
        emitter.take_back_lookup(b"Evil.example");
        emitter.flush();
        assert_eq!(lines.borrow().len(), 2, "{:?}", lines.borrow());
        assert!(lines.borrow()[0].contains("other.example") && lines.borrow()[1].contains("blocked"));
        assert_eq!(emitter.by_rule.get(&Rule::EgressNames), Some(&2));
    }

    #[test]
    fn a_helper_of_packages_is_told_once() {
        let (mut emitter, lines) = emitter();
        let asked = |detail| Report { rule: Rule::ProcessAllow, detail, ..report(b"/sbin/ldconfig") };
        for number in 0..3 {
            let current = Current { number, ..Current::default() };
            emitter.violation(&asked(b"asked for by ctypes.util.find_library"), &current);
            emitter.flush();
        }
        assert_eq!(lines.borrow().len(), 1);
        emitter.violation(&asked(b""), &Current::default());
        emitter.flush();
        assert_eq!(lines.borrow().len(), 2, "the function itself is another matter");
    }

    #[test]
    fn a_read_of_the_session_token_is_told_once_a_line() {
        let (mut emitter, lines) = emitter();
        let read = |code, name| {
            let mut report = Report::new(Kind::Violation, ActionKind::ReadCredential);
            (report.rule, report.code, report.name) = (Rule::CredentialsReads, code, name);
            report
        };
        let (token, key) = (&b"AWS_SESSION_TOKEN"[..], &b"AWS_SECRET_ACCESS_KEY"[..]);
        emitter.violation(&read(b"app.py:1", token), &Current::default());
        emitter.take_back(&read(b"app.py:1", token));
        for number in 0..3 {
            let current = Current { number, ..Current::default() };
            for (code, name) in [(&b"app.py:1"[..], token), (b"app.py:2", token), (b"app.py:3", key)] {
                emitter.violation(&read(code, name), &current);
            }
            emitter.flush();
        }
        let told = |word: &str| lines.borrow().iter().filter(|line| line.contains(word)).count();
        assert_eq!((told("app.py:1"), told("app.py:2"), told("app.py:3")), (1, 1, 3));
        assert!(lines.borrow().iter().any(|line| line.contains(
            "saw credential read of AWS_SESSION_TOKEN, which the Parameters and Secrets extension asks its callers for, by"
        )));
        assert_eq!(emitter.by_rule.get(&Rule::CredentialsReads), Some(&9), "all are counted");
    }

    #[test]
    fn secrets_of_the_environment_are_masked() {
        let (mut emitter, lines) = emitter();
        emitter.degraded("guard", "key a-secret-value", Current::default().moment(clock::now()));
        assert!(lines.borrow()[0].contains("key [redacted]"));
    }
}

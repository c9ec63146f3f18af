//! The `violation` record: a verdict other than allow.
//!
//! It turns a [`Report`] into a line and into the sentence that starts it. Called by the agent, and by guard and
//! preload library where there is no agent.

use core::fmt::{self, Write};

use super::{Level, MAX_VIOLATION, Moment, PATH, Record, Scene, TEXT, attack, head, severity_of, subject};
use crate::json::{Object, Text};
use crate::message::{ActionKind, Outcome, Report};
use crate::redact::Public;
use crate::time::Timestamp;

/// A violation, perhaps folded from several that were the same.
#[derive(Debug, Clone, Copy)]
pub struct Violation<'a> {
    /// What is the same in every record.
    pub scene: Scene<'a>,
    /// When the first one happened.
    pub moment: Moment<'a>,
    /// The action and its process.
    pub report: &'a Report<'a>,
    /// How often; at least 1.
    pub count: u64,
    /// When the last one happened; shown where there were several.
    pub last: Timestamp,
    /// Lines left out since the last one that went through; shown where there were any.
    pub lines_dropped: u64,
}

impl<'a> Violation<'a> {
    /// A violation that happened once.
    #[must_use]
    pub const fn new(scene: Scene<'a>, moment: Moment<'a>, report: &'a Report<'a>) -> Self {
        Self { scene, moment, report, count: 1, last: moment.time, lines_dropped: 0 }
    }

    fn public(&self, text: &'a [u8]) -> Public<'_> {
        self.scene.redactor.public(text)
    }

    fn message(&self, out: &mut Text<'_>) -> fmt::Result {
        out.plain("ringfence ")?;
        out.plain(match self.report.outcome {
            Outcome::Reported => "saw",
            Outcome::Blocked => "blocked",
            Outcome::Killed => "killed",
            Outcome::Wiped => "wiped",
        })?;
        out.plain(" ")?;
        self.deed(out)?;
        out.plain(" by ")?;
        if self.report.exe.is_empty() {
            out.plain("(unknown process)")?;
        } else {
            out.public(self.public(self.report.exe).base_name())?;
        }
        out.plain(" (")?;
        out.plain(self.report.rule.as_str())?;
        out.plain(")")?;
        if self.count > 1 {
            out.plain(", ")?;
            out.number(self.count)?;
            out.plain(" times")?;
        }
        Ok(())
    }

    fn deed(&self, out: &mut Text<'_>) -> fmt::Result {
        let report = self.report;
        out.plain(match report.action {
            ActionKind::Exec => "exec of ",
            ActionKind::MapExecutable => "executable mapping of ",
            ActionKind::Connect => "connection to ",
            ActionKind::Send => "datagram to ",
            ActionKind::Resolve => "look-up of ",
            ActionKind::Bind => "listening on ",
            ActionKind::OpenRead => "read of ",
            ActionKind::OpenWrite => "write to ",
            ActionKind::ReadCredential => "credential read of ",
            ActionKind::InheritCredentials => "credentials in a child: ",
            ActionKind::Dangerous => "dangerous call ",
            ActionKind::Survive => "process left running: ",
            ActionKind::Residue => "file left behind: ",
            ActionKind::Evaluate => "evaluation of text: ",
            ActionKind::Deserialize => "deserialization of ",
            ActionKind::Native => "native code: ",
            ActionKind::Import => "import from a writable place: ",
        })?;
        match report.action {
            ActionKind::Connect | ActionKind::Send | ActionKind::Bind => self.destination(out),
            ActionKind::Resolve
            | ActionKind::ReadCredential
            | ActionKind::InheritCredentials
            | ActionKind::Evaluate
            | ActionKind::Deserialize
            | ActionKind::Native
            | ActionKind::Dangerous => out.public(self.public(or_unknown(report.name, report.path))),
            _ => out.public(self.public(or_unknown(report.path, report.name))),
        }?;
        // Details that say what it was.
        if report.action == ActionKind::ReadCredential && !report.detail.is_empty() {
            out.plain(" ")?;
            out.public(self.public(report.detail))?;
        }
        if subject::is_proof(report) {
            out.plain(subject::PROOF)?;
        }
        if subject::is_helper(report) || report.detail == subject::TRACING {
            out.plain(", ")?;
            out.public(self.public(report.detail))?;
        }
        Ok(())
    }

    fn destination(&self, out: &mut Text<'_>) -> fmt::Result {
        match (self.report.address, self.report.name) {
            (Some(address), []) => out.display(address),
            (Some(address), name) => {
                out.public(self.public(name))?;
                out.plain(" (")?;
                out.display(address)?;
                out.plain(")")
            }
            (None, name) => out.public(self.public(or_unknown(name, &[]))),
        }
    }

    fn body(&self, out: &mut Object<'_>) -> fmt::Result {
        let report = self.report;
        out.word("kind", "violation")?;
        out.word("action", report.action.as_str())?;
        out.word("verdict", report.outcome.as_str())?;
        out.word("rule", report.rule.as_str())?;
        out.word("plane", report.plane.as_str())?;
        out.object("subject", |out| self.subject(out))?;
        out.object("actor", |out| self.actor(out))?;
        self.moment.write("invocation", &self.scene, out)?;
        self.scene.write(out)?;
        out.word("severity", severity_of(report).as_str())?;
        out.array("attack", |out| {
            attack(report.rule, report.action).iter().try_for_each(|technique| out.word(technique))
        })?;
        subject::policy_line(report, self.scene.redactor, out)?;
        self.tally(out)
    }

    fn subject(&self, out: &mut Object<'_>) -> fmt::Result {
        let report = self.report;
        out.public("path", self.public(report.path), PATH)?;
        let arguments = report.arguments.as_slice();
        if !arguments.is_empty() {
            out.array("argv", |out| {
                let before = core::iter::once(None).chain(arguments.iter().copied().map(Some));
                arguments.iter().zip(before).try_for_each(|(argument, previous)| {
                    out.public(self.scene.redactor.argument(previous, argument), 160)
                })
            })?;
        }
        out.public("name", self.public(report.name), TEXT)?;
        report.address.map_or(Ok(()), |address| out.display("address", address))
    }

    fn actor(&self, out: &mut Object<'_>) -> fmt::Result {
        let report = self.report;
        for (key, value) in [("pid", report.pid), ("parent", report.parent), ("thread", report.thread)] {
            if value != 0 {
                out.number(key, u64::from(value))?;
            }
        }
        out.public("exe", self.public(report.exe), TEXT)?;
        out.public("chain", self.public(report.chain), TEXT)?;
        out.public("code", self.public(report.code), TEXT)?;
        let frames = report.frames.as_slice();
        if frames.is_empty() {
            return Ok(());
        }
        out.array("frames", |out| frames.iter().try_for_each(|frame| out.public(self.public(frame), 160)))
    }

    fn tally(&self, out: &mut Object<'_>) -> fmt::Result {
        out.number("count", self.count)?;
        if self.count > 1 {
            out.display("first", self.moment.time)?;
            out.display("last", self.last)?;
        }
        out.public("detail", self.public(self.report.detail), TEXT)?;
        if self.report.dropped != 0 {
            out.number("messagesDropped", u64::from(self.report.dropped))?;
        }
        if self.lines_dropped == 0 { Ok(()) } else { out.number("linesDropped", self.lines_dropped) }
    }
}

/// What a sentence names: the first of two texts that is there.
fn or_unknown<'a>(first: &'a [u8], second: &'a [u8]) -> &'a [u8] {
    match (first, second) {
        ([], []) => b"(unknown)",
        ([], second) => second,
        (first, _) => first,
    }
}

impl Record for Violation<'_> {
    fn write(&self, out: &mut dyn Write) -> fmt::Result {
        Object::write(out, |out| {
            head(out, self.moment.time, Level::Warn, |out| self.message(out))?;
            out.object("ringfence", |out| self.body(out))
        })
    }
}

const _: () = assert!(MAX_VIOLATION < super::MAX_LINE);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Kind, MAX_ARGUMENTS, MAX_FRAMES};
    use crate::record::testing::{MOMENT, line, scene};
    use crate::redact::Redactor;
    use proptest::prelude::*;
    use ringfence_policy::{Plane, Rule};

    fn exec() -> Report<'static> {
        let mut report = Report::new(Kind::Violation, ActionKind::Exec);
        report.pid = 17;
        report.outcome = Outcome::Blocked;
        report.rule = Rule::ProcessShells;
        report.plane = Plane::Kernel;
        report.path = b"/bin/sh";
        for argument in [&b"sh"[..], b"-c", b"id"] {
            report.arguments.push(argument);
        }
        report.exe = b"/var/lang/bin/python3.13";
        report.code = b"handler.py:12";
        report
    }

    fn shown(report: &Report<'_>) -> String {
        let redactor = Redactor::new(&[]);
        line(&Violation::new(scene(&redactor), MOMENT, report))
    }

    #[test]
    fn an_exec_reads_as_the_documentation_shows_it() {
        insta::assert_snapshot!(shown(&exec()), @r#"{"timestamp":"2026-11-22T01:02:03.456Z","level":"WARN","message":"ringfence blocked exec of /bin/sh by python3.13 (process.shells)","ringfence":{"kind":"violation","action":"exec","verdict":"blocked","rule":"process.shells","plane":"kernel","subject":{"path":"/bin/sh","argv":["sh","-c","id"]},"actor":{"pid":17,"exe":"/var/lang/bin/python3.13","code":"handler.py:12"},"invocation":{"requestId":"8476a536-e9f4-11e8-9739-2dfe598c3fcd","traceId":"1-5bef4de7-ad49b0e87f6ef6c87fc2e700","phase":"invoke","number":3},"function":{"name":"orders","version":"7"},"policy":"sha256:ab12","severity":"high","attack":["T1059.004"],"count":1}}"#);
    }

    #[test]
    fn a_folded_one_says_how_often_and_until_when() {
        let redactor = Redactor::new(&[]);
        let report = exec();
        let mut violation = Violation::new(scene(&redactor), MOMENT, &report);
        violation.count = 40;
        violation.last = Timestamp(MOMENT.time.0 + 900);
        violation.lines_dropped = 2;
        let line = line(&violation);
        assert!(line.contains("(process.shells), 40 times\""), "{line}");
        assert!(line.ends_with(r#""count":40,"first":"2026-11-22T01:02:03.456Z","last":"2026-11-22T01:02:04.356Z","linesDropped":2}}"#), "{line}");
    }

    #[test]
    fn every_action_has_its_sentence() {
        let mut report = Report::new(Kind::Violation, ActionKind::Exec);
        report.rule = Rule::EgressAllow;
        report.path = b"/tmp/x";
        report.name = b"evil.example";
        report.address = Some("203.0.113.9:443".parse().unwrap());
        let mut sentences = String::new();
        for number in 1..=17 {
            report.action = ActionKind::from_number(number).unwrap();
            report.outcome = Outcome::from_number(number % 4 + 1).unwrap();
            let value: serde_json::Value = serde_json::from_str(&shown(&report)).unwrap();
            sentences.push_str(value["message"].as_str().unwrap());
            sentences.push('\n');
        }
        insta::assert_snapshot!(sentences, @r"
        ringfence blocked exec of /tmp/x by (unknown process) (egress.allow)
        ringfence killed executable mapping of /tmp/x by (unknown process) (egress.allow)
        ringfence wiped connection to evil.example (203.0.113.9:443) by (unknown process) (egress.allow)
        ringfence saw datagram to evil.example (203.0.113.9:443) by (unknown process) (egress.allow)
        ringfence blocked look-up of evil.example by (unknown process) (egress.allow)
        ringfence killed listening on evil.example (203.0.113.9:443) by (unknown process) (egress.allow)
        ringfence wiped read of /tmp/x by (unknown process) (egress.allow)
        ringfence saw write to /tmp/x by (unknown process) (egress.allow)
        ringfence blocked credential read of evil.example by (unknown process) (egress.allow)
        ringfence killed credentials in a child: evil.example by (unknown process) (egress.allow)
        ringfence wiped dangerous call evil.example by (unknown process) (egress.allow)
        ringfence saw process left running: /tmp/x by (unknown process) (egress.allow)
        ringfence blocked file left behind: /tmp/x by (unknown process) (egress.allow)
        ringfence killed evaluation of text: evil.example by (unknown process) (egress.allow)
        ringfence wiped deserialization of evil.example by (unknown process) (egress.allow)
        ringfence saw native code: evil.example by (unknown process) (egress.allow)
        ringfence blocked import from a writable place: /tmp/x by (unknown process) (egress.allow)
        ");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_report_is_one_line_of_json_that_fits(texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..1500), 8), count: u64) {
            let redactor = Redactor::new(&[]);
            let mut report = exec();
            [report.path, report.name, report.exe, report.code, report.chain, report.detail] =
                [&texts[0], &texts[1], &texts[2], &texts[3], &texts[4], &texts[5]].map(|text| &text[..]);
            for _ in 0..MAX_ARGUMENTS { report.arguments.push(&texts[6]); }
            for _ in 0..MAX_FRAMES { report.frames.push(&texts[6]); }
            let moment = Moment { request: &texts[7], trace: &texts[7], ..MOMENT };
            let scene = Scene { function: &texts[7], version: &texts[7], policy: &texts[7], ..scene(&redactor) };
            let mut violation = Violation::new(scene, moment, &report);
            violation.count = count;
            let line = line(&violation);
            prop_assert!(line.len() < MAX_VIOLATION, "{}", line.len());
            prop_assert!(!line.contains(['\n', '\r']));
            serde_json::from_str::<serde_json::Value>(&line).unwrap();
        }

        #[test]
        fn a_secret_never_appears(secret in "([a-z][A-Z][0-9][+/=]){5,10}", before in "[ -~]{0,20}") {
            let secrets = [secret.as_bytes()];
            let redactor = Redactor::new(&secrets);
            let text = format!("{before}{secret}");
            let mut report = exec();
            for field in [&mut report.path, &mut report.name, &mut report.exe, &mut report.code, &mut report.chain, &mut report.detail] {
                *field = text.as_bytes();
            }
            report.arguments.push(text.as_bytes());
            report.frames.push(text.as_bytes());
            let line = line(&Violation::new(scene(&redactor), MOMENT, &report));
            prop_assert!(!line.contains(&secret[..15]), "{line}");
        }
    }
}

//! The `activity` record: what was done for the first time in this environment, several deeds in one line.
//!
//! It prints what the emitter of the agent has gathered; which deeds are new is decided there.

use core::fmt::{self, Write};

use super::{Level, Moment, PATH, Record, Scene, TEXT, head, phase_word, subject};
use crate::json::{Array, Object, Text};
use crate::message::Report;
use ringfence_policy::Phase;

/// A deed.
#[derive(Debug, Clone, Copy)]
pub struct Deed<'a> {
    /// The action and its process.
    pub report: &'a Report<'a>,
    /// When it was done.
    pub phase: Phase,
    /// How often since it was last told.
    pub count: u64,
    /// Whether it was told before, and has been done in another invocation now.
    pub again: bool,
}

/// Deeds that were not told before.
#[derive(Debug, Clone, Copy)]
pub struct Activity<'a> {
    /// What is the same in every record.
    pub scene: Scene<'a>,
    /// When it was written.
    pub moment: Moment<'a>,
    /// The deeds.
    pub deeds: &'a [Deed<'a>],
    /// Deeds for which there was no room, since the record before this.
    pub dropped: u64,
}

impl Activity<'_> {
    fn message(&self, out: &mut Text<'_>) -> fmt::Result {
        let new = self.deeds.iter().filter(|deed| !deed.again).count() as u64;
        let again = self.deeds.len() as u64 - new;
        out.plain("ringfence saw ")?;
        out.number(new)?;
        out.plain(if new == 1 { " new deed" } else { " new deeds" })?;
        if again > 0 {
            out.plain(" and ")?;
            out.number(again)?;
            out.plain(" again")?;
        }
        Ok(())
    }

    fn deed(&self, deed: &Deed<'_>, out: &mut Array<'_>) -> fmt::Result {
        let report = deed.report;
        let public = |text| self.scene.redactor.public(text);
        out.object(|out| {
            out.word("action", report.action.as_str())?;
            out.word("rule", report.rule.as_str())?;
            out.object("subject", |out| {
                out.public("path", public(report.path), PATH)?;
                out.public("name", public(report.name), TEXT)?;
                report.address.map_or(Ok(()), |address| out.display("address", address))
            })?;
            out.object("actor", |out| {
                out.public("exe", public(report.exe), TEXT)?;
                out.public("chain", public(report.chain), TEXT)?;
                out.public("code", public(report.code), TEXT)
            })?;
            out.word("phase", phase_word(deed.phase))?;
            subject::policy_line(report, self.scene.redactor, out)?;
            out.public("detail", public(report.detail), TEXT)?;
            out.number("count", deed.count)?;
            if deed.again { out.boolean("again", true) } else { Ok(()) }
        })
    }

    fn body(&self, out: &mut Object<'_>) -> fmt::Result {
        out.word("kind", "activity")?;
        out.array("new", |out| self.deeds.iter().try_for_each(|deed| self.deed(deed, out)))?;
        out.number("dropped", self.dropped)?;
        self.moment.write("invocation", &self.scene, out)?;
        self.scene.write(out)
    }
}

impl Record for Activity<'_> {
    fn write(&self, out: &mut dyn Write) -> fmt::Result {
        Object::write(out, |out| {
            head(out, self.moment.time, Level::Info, |out| self.message(out))?;
            out.object("ringfence", |out| self.body(out))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{ActionKind, Kind};
    use crate::record::testing::{MOMENT, line, scene};
    use crate::redact::Redactor;
    use proptest::prelude::*;
    use ringfence_policy::Rule;

    fn report() -> Report<'static> {
        let mut report = Report::new(Kind::Violation, ActionKind::Exec);
        report.rule = Rule::ProcessAllow;
        report.path = b"/usr/bin/convert";
        report.exe = b"/var/lang/bin/python3.13";
        report.code = b"app.py:3";
        report
    }

    #[test]
    fn several_deeds_are_one_line() {
        let report = report();
        let new = Deed { report: &report, phase: Phase::Invoke, count: 2, again: false };
        let deeds = [new, Deed { count: 7, again: true, ..new }];
        let redactor = Redactor::new(&[]);
        let record = Activity { scene: scene(&redactor), moment: MOMENT, deeds: &deeds, dropped: 0 };
        insta::assert_snapshot!(line(&record), @r#"{"timestamp":"2026-11-22T01:02:03.456Z","level":"INFO","message":"ringfence saw 1 new deed and 1 again","ringfence":{"kind":"activity","new":[{"action":"exec","rule":"process.allow","subject":{"path":"/usr/bin/convert"},"actor":{"exe":"/var/lang/bin/python3.13","code":"app.py:3"},"phase":"invoke","policyLine":{"section":"process","key":"allow","value":"/usr/bin/convert"},"count":2},{"action":"exec","rule":"process.allow","subject":{"path":"/usr/bin/convert"},"actor":{"exe":"/var/lang/bin/python3.13","code":"app.py:3"},"phase":"invoke","policyLine":{"section":"process","key":"allow","value":"/usr/bin/convert"},"count":7,"again":true}],"dropped":0,"invocation":{"requestId":"8476a536-e9f4-11e8-9739-2dfe598c3fcd","traceId":"1-5bef4de7-ad49b0e87f6ef6c87fc2e700","phase":"invoke","number":3},"function":{"name":"orders","version":"7"},"policy":"sha256:ab12"}}"#);
    }

    proptest! {
        #[test]
        fn whatever_is_in_a_deed_it_is_json(path in prop::collection::vec(any::<u8>(), 0..600), name in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut report = report();
            (report.path, report.name, report.detail) = (&path, &name, &name);
            let deed = Deed { report: &report, phase: Phase::Init, count: 1, again: false };
            let redactor = Redactor::new(&[]);
            let record = Activity { scene: scene(&redactor), moment: MOMENT, deeds: &[deed], dropped: 3 };
            let value: serde_json::Value = serde_json::from_str(&line(&record)).unwrap();
            prop_assert_eq!(&value["ringfence"]["new"][0]["action"], "exec");
        }
    }
}

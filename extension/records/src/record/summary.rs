//! The `summary` record: what an environment saw in its life, written at SHUTDOWN.
//!
//! Totals only; the agent keeps them.

use core::fmt::{self, Write};

use super::{Level, Moment, Record, Scene, head};
use crate::json::Object;
use ringfence_policy::Rule;

/// How often a rule was violated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleCount {
    /// The rule.
    pub rule: Rule,
    /// Violations, folded ones counted singly.
    pub count: u64,
}

/// Totals of an environment's life.
#[derive(Debug, Clone, Copy)]
pub struct Summary<'a> {
    /// What is the same in every record.
    pub scene: Scene<'a>,
    /// When.
    pub moment: Moment<'a>,
    /// `SPINDOWN`, `TIMEOUT`, `FAILURE`.
    pub reason: &'a [u8],
    /// Invocations begun.
    pub invocations: u64,
    /// Rules that were violated.
    pub violations: &'a [RuleCount],
    /// Lines that the token bucket left out.
    pub lines_dropped: u64,
    /// Messages that senders could not send.
    pub messages_dropped: u64,
    /// Entries found in /tmp at the ends of invocations.
    pub residue_entries: u64,
    /// Bytes of these.
    pub residue_bytes: u64,
    /// Processes that outlived an invocation.
    pub survivors: u64,
    /// Resident memory of the agent in KiB.
    pub resident_kib: u64,
}

impl Summary<'_> {
    fn total(&self) -> u64 {
        self.violations.iter().fold(0, |sum, rule| sum.saturating_add(rule.count))
    }

    fn body(&self, out: &mut Object<'_>) -> fmt::Result {
        out.word("kind", "summary")?;
        out.public("reason", self.scene.redactor.public(self.reason), 64)?;
        out.number("invocations", self.invocations)?;
        out.object("violations", |out| {
            self.violations.iter().try_for_each(|rule| out.number(rule.rule.as_str(), rule.count))
        })?;
        out.number("linesDropped", self.lines_dropped)?;
        out.number("messagesDropped", self.messages_dropped)?;
        out.object("residue", |out| {
            out.number("count", self.residue_entries)?;
            out.number("bytes", self.residue_bytes)
        })?;
        out.number("survivors", self.survivors)?;
        out.number("residentKib", self.resident_kib)?;
        self.moment.write("invocation", &self.scene, out)?;
        self.scene.write(out)
    }
}

impl Record for Summary<'_> {
    fn write(&self, out: &mut dyn Write) -> fmt::Result {
        Object::write(out, |out| {
            head(out, self.moment.time, Level::Info, |out| {
                out.plain("ringfence saw ")?;
                out.number(self.total())?;
                out.plain(if self.total() == 1 { " violation in " } else { " violations in " })?;
                out.number(self.invocations)?;
                out.plain(if self.invocations == 1 { " invocation" } else { " invocations" })
            })?;
            out.object("ringfence", |out| self.body(out))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::testing::{MOMENT, line, scene};
    use crate::redact::Redactor;

    #[test]
    fn it_adds_up() {
        let redactor = Redactor::new(&[]);
        let record = Summary {
            scene: scene(&redactor),
            moment: MOMENT,
            reason: b"SPINDOWN",
            invocations: 1,
            violations: &[
                RuleCount { rule: Rule::ProcessShells, count: 2 },
                RuleCount { rule: Rule::EgressNames, count: 1 },
            ],
            lines_dropped: 0,
            messages_dropped: 4,
            residue_entries: 5,
            residue_bytes: 6,
            survivors: 7,
            resident_kib: 2048,
        };
        insta::assert_snapshot!(line(&record), @r#"{"timestamp":"2026-11-22T01:02:03.456Z","level":"INFO","message":"ringfence saw 3 violations in 1 invocation","ringfence":{"kind":"summary","reason":"SPINDOWN","invocations":1,"violations":{"process.shells":2,"egress.names":1},"linesDropped":0,"messagesDropped":4,"residue":{"count":5,"bytes":6},"survivors":7,"residentKib":2048,"invocation":{"requestId":"8476a536-e9f4-11e8-9739-2dfe598c3fcd","traceId":"1-5bef4de7-ad49b0e87f6ef6c87fc2e700","phase":"invoke","number":3},"function":{"name":"orders","version":"7"},"policy":"sha256:ab12"}}"#);
    }
}

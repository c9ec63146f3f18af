//! The `degraded` record: a protection that was announced, or that people would expect, does not hold.
//!
//! It only says what and why. Written by the agent about itself and about what others reported, and by the guard
//! where there is no agent.

use core::fmt::{self, Write};

use super::{Level, Moment, Record, Scene, head};
use crate::json::Object;

/// A degradation.
#[derive(Debug, Clone, Copy)]
pub struct Degraded<'a> {
    /// What is the same in every record.
    pub scene: Scene<'a>,
    /// When.
    pub moment: Moment<'a>,
    /// Part of Ringfence: `policy`, `guard`, `telemetry`, `ledger` …
    pub part: &'static str,
    /// What does not hold, why, and what to do about it.
    pub detail: &'a [u8],
    /// How often; at least 1.
    pub count: u64,
}

/// Longest detail: a policy's diagnostics stand here.
const DETAIL: usize = 4096;

impl Record for Degraded<'_> {
    fn write(&self, out: &mut dyn Write) -> fmt::Result {
        let detail = self.scene.redactor.public(self.detail);
        Object::write(out, |out| {
            head(out, self.moment.time, Level::Error, |out| {
                out.plain("ringfence is degraded: ")?;
                out.plain(self.part)?;
                out.plain(": ")?;
                out.public(detail)
            })?;
            out.object("ringfence", |out| {
                out.word("kind", "degraded")?;
                out.word("part", self.part)?;
                out.public("detail", detail, DETAIL)?;
                self.moment.write("invocation", &self.scene, out)?;
                self.scene.write(out)?;
                out.number("count", self.count)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::testing::{MOMENT, line, scene};
    use crate::redact::Redactor;

    #[test]
    fn it_says_what_and_why() {
        let redactor = Redactor::new(&[]);
        let record = Degraded {
            scene: scene(&redactor),
            moment: MOMENT,
            part: "telemetry",
            detail: b"202 NotSupported",
            count: 1,
        };
        insta::assert_snapshot!(line(&record), @r#"{"timestamp":"2026-11-22T01:02:03.456Z","level":"ERROR","message":"ringfence is degraded: telemetry: 202 NotSupported","ringfence":{"kind":"degraded","part":"telemetry","detail":"202 NotSupported","invocation":{"requestId":"8476a536-e9f4-11e8-9739-2dfe598c3fcd","traceId":"1-5bef4de7-ad49b0e87f6ef6c87fc2e700","phase":"invoke","number":3},"function":{"name":"orders","version":"7"},"policy":"sha256:ab12","count":1}}"#);
    }
}

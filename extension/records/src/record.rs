//! The records that users read: one line of JSON each, keys in an order that lets the start of the line tell the
//! story (docs/records.md).
//!
//! It decides how a record reads, and how grave it is; it must not know where lines go, nor fold or drop any. The
//! agent prints through it, and where there is no agent the guard and the preload library do, from a buffer on the
//! stack. Whatever came from outside passes the [`Redactor`].

mod activity;
mod degraded;
mod protection;
mod residue;
mod severity;
pub mod subject;
mod summary;
mod violation;

use core::fmt::{self, Write};

pub use activity::{Activity, Deed};
pub use degraded::Degraded;
pub use protection::{Environment, Protection, RuleStatus};
pub use residue::{Change, Entry, MAX_LISTED, Residue};
pub use severity::{Severity, attack, severity, severity_of};
pub use summary::{RuleCount, Summary};
pub use violation::Violation;

use crate::json::{Line, Object};
use crate::redact::Redactor;
use crate::time::Timestamp;
use ringfence_policy::Phase;

/// Longest line in bytes, its line feed included. No record is longer, whatever is in it.
pub const MAX_LINE: usize = 16 * 1024;
/// Longest violation in bytes: the buffer that a caller without a heap needs.
pub const MAX_VIOLATION: usize = 8 * 1024;

/// Longest text of most kinds in escaped bytes.
const TEXT: usize = 256;
/// Longest path in escaped bytes.
const PATH: usize = 512;
/// Longest message in escaped bytes.
const MESSAGE: usize = 640;

/// What is the same in every record of an environment.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// Masks secrets in everything that comes from outside.
    pub redactor: &'a Redactor<'a>,
    /// Function name; empty where it is not known.
    pub function: &'a [u8],
    /// Function version; empty where it is not known.
    pub version: &'a [u8],
    /// `sha256:…` of the policy; empty where there is none.
    pub policy: &'a [u8],
}

/// When something happened: on the clock, and in the life of the environment.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// Time of the record.
    pub time: Timestamp,
    /// Part of the environment's life.
    pub phase: Phase,
    /// Number of the invocation, from 1; 0 before the first.
    pub number: u64,
    /// Request id; empty outside invocations.
    pub request: &'a [u8],
    /// X-Ray trace id; empty where it is not known.
    pub trace: &'a [u8],
}

impl<'a> Moment<'a> {
    /// A moment outside any invocation.
    #[must_use]
    pub const fn new(time: Timestamp, phase: Phase) -> Self {
        Self { time, phase, number: 0, request: &[], trace: &[] }
    }

    fn write(&self, key: &'static str, scene: &Scene<'a>, out: &mut Object<'_>) -> fmt::Result {
        out.object(key, |out| {
            out.public("requestId", scene.redactor.public(self.request), 160)?;
            out.public("traceId", scene.redactor.public(self.trace), 160)?;
            out.word("phase", phase_word(self.phase))?;
            if self.number == 0 { Ok(()) } else { out.number("number", self.number) }
        })
    }
}

impl Scene<'_> {
    fn write(&self, out: &mut Object<'_>) -> fmt::Result {
        if !self.function.is_empty() {
            out.object("function", |out| {
                out.public("name", self.redactor.public(self.function), 160)?;
                out.public("version", self.redactor.public(self.version), 64)
            })?;
        }
        out.public("policy", self.redactor.public(self.policy), 96)
    }
}

/// The level by which Lambda's log-level filtering places a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Nothing to do.
    Info,
    /// To be looked at.
    Warn,
    /// Protection is not what was asked for.
    Error,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }
}

/// The head that every record has, before its `ringfence` object.
fn head(
    out: &mut Object<'_>,
    time: Timestamp,
    level: Level,
    message: impl FnOnce(&mut crate::json::Text<'_>) -> fmt::Result,
) -> fmt::Result {
    out.display("timestamp", time)?;
    out.word("level", level.as_str())?;
    out.text("message", MESSAGE, message)
}

/// The word that records use for a phase.
#[must_use]
pub const fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Init => "init",
        Phase::Invoke => "invoke",
        Phase::Between => "between",
        Phase::Shutdown => "shutdown",
    }
}

/// Something that writes itself as one line of JSON.
pub trait Record {
    /// Writes the object, without a line feed.
    ///
    /// # Errors
    /// Those of `out`: where it has no room.
    fn write(&self, out: &mut dyn Write) -> fmt::Result;

    /// Returns `true` for the record that carries the environment's public key ([`crate::seal`]).
    fn introduces_key(&self) -> bool {
        false
    }

    /// Writes the line, with its line feed, into `buffer`. `None` where it has no room; a buffer of [`MAX_LINE`]
    /// bytes always has, with [`crate::seal::MAX_SEAL`] to spare.
    fn line<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let mut line = Line::new(buffer);
        self.write(&mut line).ok()?;
        line.finish()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::{MAX_LINE, Moment, Record, Scene};
    use crate::redact::Redactor;
    use crate::time::Timestamp;
    use ringfence_policy::Phase;

    pub(crate) fn scene<'a>(redactor: &'a Redactor<'a>) -> Scene<'a> {
        Scene { redactor, function: b"orders", version: b"7", policy: b"sha256:ab12" }
    }

    pub(crate) const MOMENT: Moment<'static> = Moment {
        time: Timestamp(1_795_309_323_456),
        phase: Phase::Invoke,
        number: 3,
        request: b"8476a536-e9f4-11e8-9739-2dfe598c3fcd",
        trace: b"1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
    };

    pub(crate) fn line(record: &impl Record) -> String {
        let mut buffer = vec![0; MAX_LINE];
        let line = record.line(&mut buffer).expect("a line of at most 16 KiB");
        String::from_utf8(line.to_vec()).unwrap().trim_end_matches('\n').to_owned()
    }
}

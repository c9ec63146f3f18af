//! What is claimed of a rule: which plane serves it, and how well.
//!
//! The guard writes these lines into its `Hello`, the agent adds its own and prints them in the `protection` record. The
//! claim itself is made elsewhere; here is only its form.

use ringfence_policy::{Plane, Rule};

use crate::message::{MAX_TEXT, plane_from, plane_number, tag};
use crate::wire::Writer;

/// How well a rule is served in this environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Coverage {
    /// What it forbids does not happen.
    Enforced = 1,
    /// It is seen and written down.
    Observed = 2,
    /// Nothing here serves it.
    NotCovered = 3,
}

impl Coverage {
    /// The status with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Enforced),
            2 => Some(Self::Observed),
            3 => Some(Self::NotCovered),
            _ => None,
        }
    }

    /// The word that records use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::Observed => "observed",
            Self::NotCovered => "not_covered",
        }
    }
}

/// One line of the guard's account of what it covers: rule, plane (where any), status, and a reason for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoverageLine<'a> {
    /// The rule.
    pub rule: Rule,
    /// Plane that serves it, if one does.
    pub plane: Option<Plane>,
    /// How well.
    pub status: Coverage,
    /// Why, where it is less than enforced, or what is left open. At most [`MAX_TEXT`] bytes.
    pub reason: &'a str,
}

impl<'a> CoverageLine<'a> {
    /// Adds the line to a `Hello` as a [`tag::COVERAGE`] field: rule, plane (0 for none), status, then the reason.
    pub fn write(&self, out: &mut Writer<'_>) {
        let mut field = [0_u8; 3 + MAX_TEXT];
        let reason = self.reason.as_bytes();
        let length = reason.len().min(MAX_TEXT);
        let (head, body) = field.split_at_mut(3);
        head.copy_from_slice(&[self.rule as u8, self.plane.map_or(0, plane_number), self.status as u8]);
        if let (Some(to), Some(from)) = (body.get_mut(..length), reason.get(..length)) {
            to.copy_from_slice(from);
        }
        out.bytes(tag::COVERAGE, field.get(..3 + length).unwrap_or_default(), field.len());
    }

    /// Reads a [`tag::COVERAGE`] field.
    #[must_use]
    pub fn read(value: &'a [u8]) -> Option<Self> {
        let [rule, plane, status, reason @ ..] = value else { return None };
        Some(Self {
            rule: Rule::from_number(*rule)?,
            plane: plane_from(*plane),
            status: Coverage::from_number(*status)?,
            reason: core::str::from_utf8(reason).unwrap_or("(not text)"),
        })
    }
}

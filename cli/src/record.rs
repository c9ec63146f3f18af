//! A record as a log holds it: what the commands that read logs look at.
//!
//! It takes the fields that are there and leaves out those it does not know (docs/records.md), so that records of other
//! versions can be read. It decides nothing.

use serde::Deserialize;

/// One line of the agent.
#[derive(Debug, Deserialize)]
pub(crate) struct Record {
    /// RFC 3339, in UTC.
    #[serde(default)]
    pub(crate) timestamp: String,
    pub(crate) ringfence: Body,
}

/// The record itself.
#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Body {
    pub(crate) kind: String,
    pub(crate) action: String,
    pub(crate) verdict: String,
    pub(crate) rule: String,
    pub(crate) subject: Subject,
    pub(crate) actor: Actor,
    pub(crate) invocation: Invocation,
    pub(crate) function: Function,
    pub(crate) severity: String,
    pub(crate) plane: String,
    /// Techniques of MITRE ATT&CK.
    pub(crate) attack: Vec<String>,
    /// Digest of the policy.
    pub(crate) policy: String,
    /// The environment: the start of its key.
    pub(crate) key: String,
    /// Of `degraded`.
    pub(crate) part: String,
    pub(crate) policy_line: Option<PolicyLine>,
    pub(crate) count: u64,
    pub(crate) detail: String,
    /// Of `protection`.
    pub(crate) rules: Vec<Claim>,
    /// Of `protection`: where the policy came from.
    pub(crate) source: String,
    /// Of `residue`.
    pub(crate) entries: Vec<Entry>,
    /// Of `activity`.
    pub(crate) new: Vec<Told>,
    /// Of `activity`: deeds for which there was no room.
    pub(crate) dropped: u64,
    /// It was one of an `activity` record, which tells a deed when it is new and when it is done again, and not each time.
    #[serde(skip)]
    pub(crate) is_activity: bool,
    /// Lines that the agent held back before this one; of `summary`, in all.
    pub(crate) lines_dropped: u64,
}

/// One deed of an `activity` record.
#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Told {
    action: String,
    rule: String,
    subject: Subject,
    actor: Actor,
    phase: String,
    policy_line: Option<PolicyLine>,
    detail: String,
    count: u64,
}

impl Record {
    /// The record, or what it tells: an `activity` record is as many violations that were reported.
    pub(crate) fn each(self) -> Vec<Self> {
        if self.ringfence.kind != "activity" {
            return vec![self];
        }
        let Self { timestamp, ringfence: body } = self;
        let one = |told: Told| Self {
            timestamp: timestamp.clone(),
            ringfence: Body {
                kind: "violation".to_owned(),
                verdict: "reported".to_owned(),
                action: told.action,
                rule: told.rule,
                subject: told.subject,
                actor: told.actor,
                invocation: Invocation { phase: told.phase, ..Invocation::default() },
                policy_line: told.policy_line,
                detail: told.detail,
                count: told.count,
                function: body.function.clone(),
                policy: body.policy.clone(),
                key: body.key.clone(),
                is_activity: true,
                ..Body::default()
            },
        };
        // What had no room is told as lines are that were held back.
        let rest = Body {
            kind: "activity".to_owned(),
            lines_dropped: body.lines_dropped.saturating_add(body.dropped),
            function: body.function.clone(),
            key: body.key.clone(),
            ..Body::default()
        };
        let rest = Self { timestamp: timestamp.clone(), ringfence: rest };
        body.new.into_iter().map(one).chain([rest]).collect()
    }
}

/// What was acted on.
#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(crate) struct Subject {
    pub(crate) path: String,
    pub(crate) argv: Vec<String>,
    pub(crate) name: String,
    pub(crate) address: String,
}

/// Which process acted.
#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(crate) struct Actor {
    pub(crate) pid: u32,
    pub(crate) exe: String,
    pub(crate) chain: String,
    pub(crate) code: String,
}

impl Actor {
    /// The line of code where it is known, else the executable.
    pub(crate) fn author(&self) -> &str {
        if self.code.is_empty() { &self.exe } else { &self.code }
    }
}

/// In which part of the environment's life.
#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Invocation {
    pub(crate) phase: String,
    pub(crate) request_id: String,
    pub(crate) number: u64,
}

/// In which function.
#[derive(Debug, Deserialize, Default, Clone)]
#[serde(default)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) version: String,
}

/// What to write where to allow the deed.
#[derive(Debug, Deserialize, Clone)]
pub(crate) struct PolicyLine {
    pub(crate) section: String,
    pub(crate) key: String,
    pub(crate) value: String,
}

/// What a `protection` record says of one rule.
#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(crate) struct Claim {
    pub(crate) rule: String,
    pub(crate) status: String,
}

/// A file that an invocation left behind.
#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) change: String,
}

impl Body {
    /// How often it happened: folded repeats are one record.
    pub(crate) fn times(&self) -> u64 {
        self.count.max(1)
    }

    /// The day of a timestamp, `2026-11-22`.
    pub(crate) fn day(timestamp: &str) -> &str {
        timestamp.get(..10).unwrap_or(timestamp)
    }
}

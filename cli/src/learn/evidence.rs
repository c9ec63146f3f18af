//! What the records of a log say that each function did: deeds with how often, when, and by which code.
//!
//! It sorts records into deeds that a line of policy would allow, and into attacks, which no policy should allow unasked. It
//! is bounded: made-up names become shapes first, and of more than [`MAX_DEEDS`] distinct deeds the rest is counted. It must
//! not know how a policy is written.

use std::collections::BTreeMap;

use ringfence_policy::{CREDENTIAL_VARIABLES, Endpoint, PackageName, PathGlob, is_in_writable_place};

use super::shape;
use crate::deed::whole;
use crate::output::plural;
use crate::record::{Body, PolicyLine, Record};

/// Most distinct deeds that are kept of one function.
const MAX_DEEDS: usize = 10_000;
/// Most functions that are told apart.
const MAX_FUNCTIONS: usize = 10_000;
/// Most lines of code that are named with one deed.
const MAX_CODE: usize = 3;
/// Most characters of what an attack did.
const MAX_WHAT: usize = 160;

/// Rules of the pack `baseline` and of Ringfence itself: what they speak of is an attack unless a person says otherwise.
const ATTACKS: [&str; 6] = [
    "process.from_writable",
    "egress.deny",
    "egress.runtime_api",
    "files.deny_read",
    "files.deny_write",
    "self_protection",
];

/// Something that a function did.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deed {
    /// What a line of policy would allow: section, key, value.
    Line { section: String, key: String, value: String },
    /// A file below /tmp was written; the shape of its path.
    Write(String),
    /// A file was left in /tmp; the shape of its path.
    Left(String),
    /// A package read the credentials.
    Package(String),
    /// A rule spoke that has no list of exceptions.
    Rule(String),
    /// A rule of `baseline` spoke; what happened.
    Attack { rule: String, what: String },
    /// No line of policy can be made of it, since the record does not hold all of it.
    Unclear { rule: String, what: String },
}

/// How often, when, and by which code.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) count: u64,
    pub(super) first: String,
    pub(super) last: String,
    pub(super) code: Vec<String>,
    /// Whether it may have been more often.
    pub(super) at_least: bool,
    /// On how many occasions: in different invocations, or at the start of different environments.
    pub(super) occasions: u64,
    occasion: String,
}

impl Seen {
    fn add(&mut self, record: &Record) {
        let day = Body::day(&record.timestamp);
        self.count = self.count.saturating_add(record.ringfence.times());
        self.at_least |= record.ringfence.is_activity;
        if self.first.is_empty() || day < self.first.as_str() {
            day.clone_into(&mut self.first);
        }
        if day > self.last.as_str() {
            day.clone_into(&mut self.last);
        }
        let invocation = &record.ringfence.invocation;
        let occasion =
            if invocation.request_id.is_empty() { &record.timestamp } else { &invocation.request_id };
        if self.occasion != *occasion {
            self.occasion.clone_from(occasion);
            self.occasions += 1;
        }
        let code = record.ringfence.actor.author();
        if !code.is_empty() && !self.code.iter().any(|known| known == code) && self.code.len() < MAX_CODE {
            self.code.push(code.to_owned());
            self.code.sort();
        }
    }

    /// Adds what was seen elsewhere.
    pub(super) fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.occasions += other.occasions;
        self.at_least |= other.at_least;
        if self.first.is_empty() || (!other.first.is_empty() && other.first < self.first) {
            self.first.clone_from(&other.first);
        }
        self.last = std::mem::take(&mut self.last).max(other.last.clone());
        for code in &other.code {
            if !self.code.contains(code) && self.code.len() < MAX_CODE {
                self.code.push(code.clone());
            }
        }
        self.code.sort();
    }
}

/// In how many environments a rule was watched, and in how many it was not.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watch {
    pub(super) watched: u64,
    pub(super) not: u64,
}

/// What is known of one function.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) environments: u64,
    /// Those of them that ran under the pack `learn`, which tells also of what is allowed.
    pub(super) told_all: u64,
    pub(super) records: u64,
    /// Days of the first and the last record.
    pub(super) first: String,
    pub(super) last: String,
    pub(super) watched: BTreeMap<String, Watch>,
    pub(super) deeds: BTreeMap<Deed, Seen>,
    /// Deeds for which there was no room.
    pub(super) dropped: u64,
    /// Lines that the agent held back: it writes so many a second at most.
    pub(super) held_back: u64,
}

impl Function {
    /// Whether this rule was watched in every environment of the log.
    pub(super) fn watches(&self, rule: &str) -> bool {
        self.watched.get(rule).is_some_and(|watch| watch.watched > 0 && watch.not == 0)
    }

    /// What the evidence lacks, a sentence each.
    pub(super) fn incomplete(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.held_back > 0 {
            lines.push(format!(
                "the function did so much at once that {} of log were held back",
                plural(self.held_back, "line")
            ));
        }
        if self.dropped > 0 {
            lines.push(format!(
                "{} were of more distinct deeds than are kept",
                plural(self.dropped, "record")
            ));
        }
        lines
    }

    fn take(&mut self, record: &Record) {
        self.records += 1;
        let day = Body::day(&record.timestamp);
        if self.first.is_empty() || day < self.first.as_str() {
            day.clone_into(&mut self.first);
        }
        if day > self.last.as_str() {
            day.clone_into(&mut self.last);
        }
        let body = &record.ringfence;
        if body.kind != "summary" {
            self.held_back = self.held_back.saturating_add(body.lines_dropped);
        }
        match body.kind.as_str() {
            "protection" => self.take_protection(body),
            "violation" => self.add(deed(body), record),
            "residue" => {
                for entry in body.entries.iter().filter(|entry| entry.change != "deleted") {
                    let deed = whole(&entry.path)
                        .map_or_else(|| unclear(body, &entry.path), |path| Deed::Left(shape::of(path)));
                    self.add(deed, record);
                }
            }
            _ => {}
        }
    }

    fn take_protection(&mut self, body: &Body) {
        self.environments += 1;
        self.told_all += u64::from(body.source == "pack learn");
        for claim in &body.rules {
            let watch = self.watched.entry(claim.rule.clone()).or_default();
            if claim.status == "not_covered" { watch.not += 1 } else { watch.watched += 1 }
        }
    }

    fn add(&mut self, deed: Deed, record: &Record) {
        if !self.deeds.contains_key(&deed) && self.deeds.len() >= MAX_DEEDS {
            self.dropped += 1;
            return;
        }
        self.deeds.entry(deed).or_default().add(record);
    }

    /// Adds what another function did.
    fn merge(&mut self, other: &Self) {
        self.environments += other.environments;
        self.told_all += other.told_all;
        self.records += other.records;
        self.dropped += other.dropped;
        self.held_back = self.held_back.saturating_add(other.held_back);
        for (deed, seen) in &other.deeds {
            self.deeds.entry(deed.clone()).or_default().merge(seen);
        }
        for (rule, watch) in &other.watched {
            let own = self.watched.entry(rule.clone()).or_default();
            own.watched += watch.watched;
            own.not += watch.not;
        }
        if self.first.is_empty() || (!other.first.is_empty() && other.first < self.first) {
            self.first.clone_from(&other.first);
        }
        self.last = std::mem::take(&mut self.last).max(other.last.clone());
    }
}

/// What is known of all functions.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    functions: BTreeMap<String, Function>,
    /// Records that could not be read, or for whose function there was no room.
    pub(super) unread: u64,
}

impl Evidence {
    /// Takes one record, as the agent wrote it.
    pub(super) fn take(&mut self, text: &str) {
        let Ok(record) = serde_json::from_str::<Record>(text) else {
            self.unread += 1;
            return;
        };
        let name = &record.ringfence.function.name;
        if !self.functions.contains_key(name) && self.functions.len() >= MAX_FUNCTIONS {
            self.unread += 1;
            return;
        }
        let function = self.functions.entry(name.clone()).or_default();
        for record in record.each() {
            function.take(&record);
        }
    }

    /// Each function by itself.
    pub(super) fn by_function(&self) -> &BTreeMap<String, Function> {
        &self.functions
    }

    /// All functions as one.
    pub(super) fn together(&self) -> Function {
        let mut all = Function::default();
        for function in self.functions.values() {
            all.merge(function);
        }
        all
    }
}

/// What a violation was.
fn deed(body: &Body) -> Deed {
    let what = what(body);
    if ATTACKS.contains(&body.rule.as_str()) || runs_what_was_written(body) {
        return Deed::Attack { rule: body.rule.clone(), what };
    }
    if let Some(package) = body.detail.rsplit_once("by the package ").map(|(_, package)| package)
        && body.rule == "credentials.reads"
        && PackageName::new(package).is_some()
    {
        return Deed::Package(package.to_owned());
    }
    if let Some(line) = &body.policy_line {
        let value = whole(&line.value).and_then(|value| valid(line, value));
        return value.map_or_else(
            || unclear(body, &what),
            |value| Deed::Line { section: line.section.clone(), key: line.key.clone(), value },
        );
    }
    match (body.rule.as_str(), whole(&body.subject.path)) {
        ("tmp.writes", Some(path)) => Deed::Write(shape::of(path)),
        ("tmp.writes" | "process.allow" | "egress.allow" | "egress.names", _) => unclear(body, &what),
        (rule, _) => Deed::Rule(rule.to_owned()),
    }
}

/// The value as an entry of its list; `None` where the language has no such entry.
fn valid(line: &PolicyLine, value: &str) -> Option<String> {
    match (line.section.as_str(), line.key.as_str()) {
        ("process", "allow") => PathGlob::new(&shape::quoted(value)).map(|glob| glob.as_str().to_owned()),
        ("egress", "allow") => Endpoint::new(value).map(|_| value.to_owned()),
        ("egress", "listen") => matches!(value, "allow" | "loopback").then(|| value.to_owned()),
        ("credentials", "reads_allow_variables") => {
            CREDENTIAL_VARIABLES.contains(&value).then(|| value.to_owned())
        }
        _ => None,
    }
}

fn unclear(body: &Body, what: &str) -> Deed {
    Deed::Unclear { rule: body.rule.clone(), what: what.chars().take(MAX_WHAT).collect() }
}

fn runs_what_was_written(body: &Body) -> bool {
    body.action == "exec" && is_in_writable_place(body.subject.path.as_bytes())
}

/// What happened, in a few words.
fn what(body: &Body) -> String {
    let subject = &body.subject;
    let what = [&subject.path, &subject.name, &subject.address].into_iter().find(|text| !text.is_empty());
    let what = format!("{} {}", body.action, what.map_or("", String::as_str));
    let shown = what.trim_end().chars().filter(|character| !character.is_control()).take(MAX_WHAT);
    // Made-up names would list the same attack again and again.
    shape_in_tmp(&shown.collect::<String>())
}

fn shape_in_tmp(what: &str) -> String {
    match what.split_once(" /tmp/") {
        Some((action, rest)) => format!("{action} {}", shape::of(&format!("/tmp/{rest}"))),
        None => what.to_owned(),
    }
}

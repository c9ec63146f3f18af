//! `ringfence test`: what a policy would have blocked of what the records of a log tell.
//!
//! Judges each deed again under the policy that is given, and counts. What a record means is [`crate::deed`]'s; it must not
//! know how logs are read.

mod output;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use ringfence_policy::{Decision, Mode, Rule};

use crate::deed::Deed;
use crate::logs::{self, Review};
use crate::output::{Output, plural};
use crate::places::{Place, place};
use crate::policy::{Given, printed};
use crate::record::{Body, Record};

/// Most functions that are told apart, and most distinct deeds of one function that are listed.
const MAX_FUNCTIONS: usize = 10_000;
const MAX_DEEDS: usize = 10_000;
/// Most lines of code that are named with one deed.
const MAX_CODE: usize = 3;

/// Say what a policy would have blocked of what happened.
///
/// The logs are those of functions that ran in observe mode, best under the pack `learn`: a log tells of a deed only where a
/// rule of the policy of that run spoke of it. What the log cannot tell is listed.
///
/// Exit status: 0 nothing would be blocked, 1 something would (with --baseline: something more than under OLD), 2 usage or a
/// policy with errors, 3 a file cannot be read.
///
/// Examples:
///   aws logs tail /aws/lambda/orders --since 7d | ringfence test policy.toml --against -
///   ringfence test policy.toml --baseline deployed.toml --against exports/*.gz --output github
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Command {
    /// The policy, or the name of a pack
    #[arg(value_name = "POLICY")]
    policy: PathBuf,
    /// Logs, as `ringfence learn` reads them; - is standard input
    #[arg(long, required = true, num_args = 1.., value_name = "LOG")]
    against: Vec<PathBuf>,
    /// Tell only what this older policy would not have blocked, and what the new one no longer blocks
    #[arg(long, value_name = "OLD")]
    baseline: Option<PathBuf>,
    /// The form of the answer
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

/// Deeds of one kind that the policy treats alike.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    count: u64,
    /// Days of the first and the last.
    first: String,
    last: String,
    code: Vec<String>,
    place: Place,
}

/// What becomes of deeds, and the rule that says so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    rule: Rule,
    what: String,
}

/// What is known of one function.
#[derive(Debug, Default)]
struct Function {
    /// How often something happened that the log tells of.
    deeds: u64,
    blocked: BTreeMap<Finding, Seen>,
    /// With a baseline: what it would have blocked, and the policy does not.
    released: BTreeMap<Finding, Seen>,
    /// Records that do not hold all that is needed.
    unclear: u64,
    /// Distinct deeds for which there was no room.
    dropped: u64,
    /// Lines that the agent held back.
    held_back: u64,
    /// Environments in which a rule was watched, and in which it was not.
    watched: BTreeMap<String, (u64, u64)>,
    environments: u64,
    /// Those of them that ran under the pack `learn`, which tells also of what is allowed.
    told_all: u64,
}

/// The trial of one policy, and of the one that was there before.
struct Trial<'g> {
    policy: &'g Given,
    baseline: Option<&'g Given>,
    functions: BTreeMap<String, Function>,
    unread: u64,
}

impl Command {
    /// Runs the command to its exit status.
    pub(crate) fn run(self) -> ExitCode {
        match self.answer() {
            Ok(status) => status,
            Err((error, status)) => {
                eprintln!("ringfence test: {error}");
                // A policy with errors is no policy that would block something.
                if status == ExitCode::FAILURE { ExitCode::from(2) } else { status }
            }
        }
    }

    fn answer(&self) -> Result<ExitCode, (String, ExitCode)> {
        let policy = Given::open(&self.policy)?;
        let baseline = self.baseline.as_deref().map(Given::open).transpose()?;
        let mut trial =
            Trial { policy: &policy, baseline: baseline.as_ref(), functions: BTreeMap::new(), unread: 0 };
        let mut review = Review::default();
        logs::read(&self.against, &mut review, &mut |record| trial.take(record))
            .map_err(|error| (error, ExitCode::from(3)))?;
        for line in logs::left_out(&review).into_iter().chain(trial.gaps()) {
            eprintln!("ringfence test: {line}");
        }
        if printed(&trial.shown(self.output)) != ExitCode::SUCCESS {
            return Ok(ExitCode::from(3));
        }
        let blocks = trial.functions.values().any(|function| !function.blocked.is_empty());
        Ok(if blocks { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

impl Trial<'_> {
    /// Takes one record, as the agent wrote it.
    fn take(&mut self, text: &str) {
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
            function.take(&record, self.policy, self.baseline);
        }
    }

    /// What the answer does not say, a line each.
    fn gaps(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.unread > 0 {
            lines.push(format!("{} could not be read", plural(self.unread, "record")));
        }
        for (name, function) in &self.functions {
            let name = if name.is_empty() { "this log" } else { name };
            let mut say = |text: String| lines.push(format!("{name}: {text}"));
            if function.environments == 0 {
                say("the log has no start of an environment, so it is not known which rules were watched"
                    .into());
            }
            let others = function.environments - function.told_all;
            if others > 0 {
                say(format!(
                    "{} ran under another policy than the pack learn: what that allowed left no record and is not tried",
                    plural(others, "environment")
                ));
            }
            let unknown: Vec<&str> = self.unwatched(function).collect();
            if !unknown.is_empty() {
                say(format!(
                    "not known for {}: the log is of runs that did not watch this (run with RINGFENCE_POLICY=learn)",
                    unknown.join(", ")
                ));
            }
            if function.unclear > 0 {
                say(format!("not all that is judged is told by {}", plural(function.unclear, "record")));
            }
            if function.held_back > 0 {
                let count = plural(function.held_back, "line");
                say(format!("{count} of log were held back: what they tell is missing"));
            }
            if function.dropped > 0 {
                let count = plural(function.dropped, "record");
                say(format!("no room for {count}: there are more distinct deeds than are listed"));
            }
        }
        if self.functions.is_empty() {
            lines.push("the logs hold no record: nothing was tested".into());
        }
        lines
    }

    /// Rules that the policy enforces and that some environment of the log did not watch.
    fn unwatched<'f>(&'f self, function: &'f Function) -> impl Iterator<Item = &'static str> + 'f {
        let judged = [
            Rule::ProcessAllow,
            Rule::ProcessShells,
            Rule::ProcessFromWritable,
            Rule::ProcessSurvivors,
            Rule::EgressAllow,
            Rule::EgressDeny,
            Rule::EgressListen,
            Rule::TmpResidue,
            Rule::TmpWrites,
            Rule::FilesDenyRead,
            Rule::FilesDenyWrite,
            Rule::CredentialsReads,
            Rule::CodeEvaluate,
            Rule::CodeDeserialize,
            Rule::CodeNative,
            Rule::CodeImports,
        ];
        let uses = self.policy.policy.rules_in_use();
        let enforced =
            move |rule: &Rule| uses.iter().any(|used| used.rule == *rule && used.mode == Mode::Enforce);
        judged.into_iter().filter(enforced).filter(|rule| !function.tells_of(*rule)).map(Rule::as_str)
    }
}

impl Function {
    fn take(&mut self, record: &Record, policy: &Given, baseline: Option<&Given>) {
        let body = &record.ringfence;
        if body.kind != "summary" {
            self.held_back = self.held_back.saturating_add(body.lines_dropped);
        }
        match body.kind.as_str() {
            "protection" => self.take_protection(body),
            "violation" | "residue" => {
                let deeds = Deed::of_record(body);
                self.unclear += u64::from(deeds.is_empty() && body.kind == "violation");
                for deed in deeds {
                    self.judge(record, &deed, policy, baseline);
                }
            }
            _ => {}
        }
    }

    fn take_protection(&mut self, body: &Body) {
        self.environments += 1;
        self.told_all += u64::from(body.source == "pack learn");
        for claim in &body.rules {
            let (watched, not) = self.watched.entry(claim.rule.clone()).or_default();
            if claim.status == "not_covered" { *not += 1 } else { *watched += 1 }
        }
    }

    /// Whether deeds that `rule` speaks of are in the log. Where every program is told, shells are among them.
    fn tells_of(&self, rule: Rule) -> bool {
        let watched = |rule: Rule| {
            let counts = self.watched.get(rule.as_str());
            counts.is_some_and(|(watched, not)| *watched == self.environments && *not == 0)
        };
        watched(rule)
            || match rule {
                Rule::ProcessShells => watched(Rule::ProcessAllow),
                Rule::EgressDeny => watched(Rule::EgressAllow),
                // A list of files that another policy denies tells of no other files.
                _ => false,
            }
    }

    fn judge(&mut self, record: &Record, deed: &Deed, policy: &Given, baseline: Option<&Given>) {
        self.deeds = self.deeds.saturating_add(record.ringfence.times());
        let verdict = deed.verdict(&policy.policy);
        let before = baseline.map(|old| (old, deed.verdict(&old.policy)));
        let denies = |decision| decision == Decision::Deny;
        let (given, rule, is_new) = match before {
            None if denies(verdict.decision) => (policy, verdict.rule, true),
            Some((_, old)) if denies(verdict.decision) && !denies(old.decision) => {
                (policy, verdict.rule, true)
            }
            Some((given, old)) if !denies(verdict.decision) && denies(old.decision) => {
                (given, old.rule, false)
            }
            _ => return,
        };
        let list = if is_new { &mut self.blocked } else { &mut self.released };
        let finding = Finding { rule, what: deed.what.to_string() };
        if !list.contains_key(&finding) && list.len() >= MAX_DEEDS {
            self.dropped += 1;
            return;
        }
        let seen = list.entry(finding).or_insert_with(|| Seen {
            count: 0,
            first: String::new(),
            last: String::new(),
            code: Vec::new(),
            place: place(given, rule, deed),
        });
        seen.add(record);
    }
}

impl Seen {
    fn add(&mut self, record: &Record) {
        let day = Body::day(&record.timestamp);
        self.count = self.count.saturating_add(record.ringfence.times());
        if self.first.is_empty() || day < self.first.as_str() {
            day.clone_into(&mut self.first);
        }
        if day > self.last.as_str() {
            day.clone_into(&mut self.last);
        }
        let code = record.ringfence.actor.author();
        if !code.is_empty() && !self.code.iter().any(|known| known == code) && self.code.len() < MAX_CODE {
            self.code.push(code.to_owned());
            self.code.sort();
        }
    }
}

#[cfg(test)]
mod tests;

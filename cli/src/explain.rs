//! `ringfence explain`: what a policy does about a record or an action, where it says so, and what would change it.
//!
//! It decides how an answer reads. What rules say is [`crate::deed`]'s, where they stand [`crate::places`]', and where they
//! are enforced [`coverage`]'s.

mod coverage;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use ringfence_policy::{Decision, Phase, Role, Rule, Verdict};
use serde_json::{Value, json};

use crate::deed::{Deed, What, phase_word, role_word};
use crate::logs;
use crate::places::{Place, place};
use crate::policy::{Given, printed};
use crate::record::{Body, PolicyLine, Record};

/// Most bytes of records that are read from a file or standard input.
const MAX_INPUT: u64 = 16 * 1024 * 1024;

/// Say what a policy does about a record or an action, and why.
///
/// WHAT is an action ('connect api.example.com:443'), a record, a file with records, or - for standard input. Actions are
/// written as records write them: exec, map-executable, connect, send, resolve, bind, open-read, open-write,
/// read-credential, inherit-credentials, dangerous-call, survive, residue, evaluate, deserialize, native, import.
///
/// Exit status: 0 explained, 1 the policy has errors or there is nothing to explain, 2 usage, 3 a file cannot be read.
///
/// Examples:
///   ringfence explain --policy policy.toml 'connect api.example.com:443' --process child --phase invoke
///   aws logs tail /aws/lambda/orders --since 1h | ringfence explain --policy policy.toml -
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Command {
    /// An action, a record, a file with records; - is standard input
    #[arg(value_name = "WHAT")]
    what: String,
    /// The policy, or the name of a pack. Without it a record is explained by what it says itself
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The process that acts, for an action: runtime, child, or the path of a child's program
    #[arg(long, default_value = "child", value_parser = process)]
    process: Process,
    /// When it acts, for an action
    #[arg(long, value_enum, default_value = "invoke")]
    phase: When,
    /// The form of the answer
    #[arg(long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    /// For people
    Text,
    /// One JSON document a deed, a line each
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    /// The language runtime
    Runtime,
    /// Any process that it starts
    Child,
}

#[derive(Clone, Copy, ValueEnum)]
enum When {
    /// Before the first event
    Init,
    /// While an invocation runs
    Invoke,
    /// Between the end of one invocation and the next event
    Between,
    /// After SHUTDOWN
    Shutdown,
}

/// A deed, and what a record says became of it.
struct Asked {
    deed: Deed,
    told: Option<Told>,
}

/// What a record says.
struct Told {
    verdict: String,
    rule: String,
    line: Option<PolicyLine>,
}

impl Command {
    /// Runs the command to its exit status.
    pub(crate) fn run(self) -> ExitCode {
        match self.answer() {
            Ok(text) => printed(&text),
            Err((error, status)) => {
                eprintln!("ringfence explain: {error}");
                status
            }
        }
    }

    fn answer(&self) -> Result<String, (String, ExitCode)> {
        let given = self.policy.as_deref().map(Given::open).transpose()?;
        let mut out = String::new();
        for asked in self.asked()? {
            match (&given, &asked.told) {
                (Some(given), _) => out.push_str(&explained(given, &asked.deed, self.output)),
                (None, Some(told)) => out.push_str(&retold(&asked.deed, told, self.output)),
                (None, None) => {
                    let hint = "hint: give the policy that is to be asked, --policy FILE";
                    return Err((format!("an action is explained by a policy\n{hint}"), ExitCode::from(2)));
                }
            }
        }
        Ok(out)
    }

    /// What is to be explained.
    fn asked(&self) -> Result<Vec<Asked>, (String, ExitCode)> {
        let text = if self.what.trim_start().starts_with('{') {
            self.what.clone()
        } else if self.what == "-" {
            read(&mut io::stdin()).map_err(|error| unreadable("standard input", &error))?
        } else if Path::new(&self.what).is_file() {
            let opened = fs::File::open(&self.what).and_then(|mut file| read(&mut file));
            opened.map_err(|error| unreadable(&self.what, &error))?
        } else {
            let what = What::parse(&self.what).map_err(|error| (error, ExitCode::from(2)))?;
            let deed = Deed { what, phase: self.phase.into(), role: self.process.into() };
            return Ok(vec![Asked { deed, told: None }]);
        };
        let records = text.lines().flat_map(logs::records_in).collect::<Vec<_>>();
        let asked: Vec<Asked> = records.iter().flat_map(|record| of_record(record)).collect();
        if asked.is_empty() {
            let error = "no record of a violation or of residue was found that tells all that is judged";
            return Err((error.to_owned(), ExitCode::FAILURE));
        }
        Ok(asked)
    }
}

/// No rule tells programs apart yet, so each is a child like any other.
fn process(text: &str) -> Result<Process, String> {
    match text {
        "runtime" => Ok(Process::Runtime),
        "child" => Ok(Process::Child),
        path if path.starts_with('/') => Ok(Process::Child),
        _ => Err("expected runtime, child or an absolute path".to_owned()),
    }
}

impl From<Process> for Role {
    fn from(process: Process) -> Self {
        match process {
            Process::Runtime => Self::Runtime,
            Process::Child => Self::Child,
        }
    }
}

impl From<When> for Phase {
    fn from(when: When) -> Self {
        match when {
            When::Init => Self::Init,
            When::Invoke => Self::Invoke,
            When::Between => Self::Between,
            When::Shutdown => Self::Shutdown,
        }
    }
}

fn read(input: &mut dyn io::Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    input.take(MAX_INPUT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_INPUT {
        return Err(io::Error::other("longer than 16 MiB: `ringfence test` counts what a long log tells"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn unreadable(name: &str, error: &io::Error) -> (String, ExitCode) {
    (format!("{name}: {error}"), ExitCode::from(3))
}

fn of_record(text: &str) -> Vec<Asked> {
    let Ok(record) = serde_json::from_str::<Record>(text) else { return Vec::new() };
    let asked = |record: Record| {
        let Body { verdict, rule, policy_line: line, .. } = &record.ringfence;
        let told = |deed| {
            let told = Told { verdict: verdict.clone(), rule: rule.clone(), line: line.clone() };
            Asked { deed, told: Some(told) }
        };
        Deed::of_record(&record.ringfence).into_iter().map(told).collect::<Vec<_>>()
    };
    record.each().into_iter().flat_map(asked).collect()
}

/// One rule that spoke.
struct Voice {
    rule: Rule,
    decision: Decision,
    place: Place,
}

fn explained(given: &Given, deed: &Deed, form: Form) -> String {
    let verdict = deed.verdict(&given.policy);
    let voice = |opinion: &Verdict| Voice {
        rule: opinion.rule,
        decision: opinion.decision,
        place: place(given, opinion.rule, deed),
    };
    let voices: Vec<Voice> = deed.opinions(&given.policy).iter().map(voice).collect();
    let mut edits: Vec<String> = Vec::new();
    for voice in voices.iter().filter(|voice| voice.decision != Decision::Allow) {
        let edit = edit(deed, voice.rule);
        if !edits.contains(&edit) {
            edits.push(edit);
        }
    }
    match form {
        Form::Json => as_json(given, deed, verdict, &voices, &edits),
        Form::Text => as_text(deed, verdict, &voices, &edits),
    }
}

fn as_text(deed: &Deed, verdict: Verdict, voices: &[Voice], edits: &[String]) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{} {}: {}", deed.what, circumstances(deed), outcome(deed, verdict));
    if voices.is_empty() {
        out.push_str("  no rule of this policy speaks of it\n");
    }
    for voice in voices {
        let _ = writeln!(out, "  {} {}: {}", voice.rule.as_str(), word(voice.decision), voice.place);
    }
    for edit in edits {
        let _ = writeln!(out, "  to change that: {edit}");
    }
    if verdict.rule != Rule::None && verdict.decision != Decision::Allow {
        for (profile, line) in coverage::of(verdict.rule) {
            let _ = writeln!(out, "  in {profile} ({}): {line}", coverage::plane(verdict.rule, profile));
        }
    }
    out
}

fn as_json(given: &Given, deed: &Deed, verdict: Verdict, voices: &[Voice], edits: &[String]) -> String {
    let rules = voices.iter().map(|voice| {
        let place = match &voice.place {
            Place::At { file, line, text } => json!({ "file": file, "line": line, "text": text }),
            Place::Default => Value::Null,
        };
        json!({ "rule": voice.rule.as_str(), "decision": word(voice.decision), "place": place })
    });
    let profiles = coverage::of(verdict.rule).into_iter().map(|(profile, line)| {
        json!({ "profile": profile, "plane": coverage::plane(verdict.rule, profile), "coverage": line })
    });
    let answer = json!({
        "action": deed.what.to_string(),
        "process": role_word(deed.role),
        "phase": phase_word(deed.phase),
        "policy": given.name,
        "decision": word(verdict.decision),
        "rule": verdict.rule.as_str(),
        "rules": rules.collect::<Vec<_>>(),
        "edits": edits,
        "profiles": profiles.collect::<Vec<_>>(),
    });
    format!("{answer}\n")
}

/// What a record says itself, where no policy is given.
fn retold(deed: &Deed, told: &Told, form: Form) -> String {
    let rule = Rule::ALL.into_iter().find(|rule| rule.as_str() == told.rule).unwrap_or(Rule::None);
    let edit = told.line.as_ref().map_or_else(|| edit(deed, rule), added);
    match form {
        Form::Json => format!(
            "{}\n",
            json!({
                "action": deed.what.to_string(),
                "process": role_word(deed.role),
                "phase": phase_word(deed.phase),
                "verdict": told.verdict,
                "rule": told.rule,
                "edits": [edit],
            })
        ),
        Form::Text => format!(
            "{} {}: {} ({})\n  to change that: {edit}\n",
            deed.what,
            circumstances(deed),
            told.verdict,
            told.rule
        ),
    }
}

fn circumstances(deed: &Deed) -> String {
    let process = match deed.role {
        Role::Runtime => "by the runtime",
        Role::Child => "by a child",
    };
    let phase = match deed.phase {
        Phase::Init => "during init",
        Phase::Invoke => "during an invocation",
        Phase::Between => "between invocations",
        Phase::Shutdown => "at shutdown",
    };
    format!("{process} {phase}")
}

const fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allow",
        Decision::Report => "report",
        Decision::Deny => "deny",
    }
}

fn outcome(deed: &Deed, verdict: Verdict) -> String {
    let rule = verdict.rule.as_str();
    match (verdict.decision, &deed.what) {
        (Decision::Allow, _) if verdict.rule == Rule::None => "allowed".to_owned(),
        (Decision::Allow, _) => format!("allowed by {rule}"),
        (Decision::Report, _) => format!("goes ahead and is reported ({rule})"),
        (Decision::Deny, What::Other(Rule::ProcessSurvivors)) => format!("killed and reported ({rule})"),
        (Decision::Deny, What::Residue { .. }) => format!("wiped and reported ({rule})"),
        (Decision::Deny, What::Inherit { .. }) => format!("the child gets none of them ({rule})"),
        (Decision::Deny, _) => format!("blocked and reported ({rule})"),
    }
}

fn added(line: &PolicyLine) -> String {
    let value = toml_edit::Value::from(line.value.as_str());
    if line.key == "listen" {
        format!("write [{}] {} = {value}", line.section, line.key)
    } else {
        format!("add {value} to [{}] {}", line.section, line.key)
    }
}

/// What to change so that `rule` no longer speaks against the deed.
fn edit(deed: &Deed, rule: Rule) -> String {
    if let Some(line) = deed.line(rule) {
        return added(&line);
    }
    let Some((section, key)) = rule.as_str().split_once('.') else {
        return "nothing does: no policy allows this while its mode is enforce".to_owned();
    };
    match rule {
        Rule::ProcessAllow => {
            "nothing does: after its start the runtime may not become another program".to_owned()
        }
        Rule::EgressDeny | Rule::FilesDenyRead | Rule::FilesDenyWrite => {
            format!("take the entry that covers it out of [{section}] {key}")
        }
        Rule::EgressRuntimeApi => "write [egress] runtime_api = \"any\"".to_owned(),
        Rule::CredentialsExpose => "write [credentials] expose = \"environment\"".to_owned(),
        _ => format!("write [{section}] {key} = \"allow\", or \"report\" to have it recorded only"),
    }
}

#[cfg(test)]
mod tests;

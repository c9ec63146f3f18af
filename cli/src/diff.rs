//! `ringfence diff`: what a policy permits and denies that an older one does not.
//!
//! Decides how a difference reads; what is one is the policy crate's to say.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use ringfence_policy::{Change, Date, Difference, Effect, Phase, Role};
use serde_json::{Value, json};

use crate::deed::{phase_word, role_word};
use crate::output::{Annotation, Output, github, plural, sarif};
use crate::policy::{Given, printed, today};

/// Say what a policy newly permits and newly denies.
///
/// Both policies are compared as they hold today, and on each later day on which `enforce_after` of one of them passes.
///
/// Exit status: 0 nothing is newly permitted, 1 something is, 2 usage or a policy with errors, 3 a file cannot be read.
///
/// Examples:
///   ringfence diff deployed.toml policy.toml
///   git show main:policy.toml | ringfence diff - policy.toml --output github
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Command {
    /// The policy that is there, or the name of a pack; - is standard input
    old: PathBuf,
    /// The policy that is to come, or the name of a pack
    new: PathBuf,
    /// The form of the answer
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

/// The difference from one day on.
struct Since {
    /// `None` for today.
    day: Option<Date>,
    difference: Difference,
}

impl Command {
    /// Runs the command to its exit status.
    pub(crate) fn run(self) -> ExitCode {
        match self.answer() {
            Ok(status) => status,
            Err((error, status)) => {
                eprintln!("ringfence diff: {error}");
                if status == ExitCode::FAILURE { ExitCode::from(2) } else { status }
            }
        }
    }

    fn answer(&self) -> Result<ExitCode, (String, ExitCode)> {
        let (old, new) = (Given::open(&self.old)?, Given::open(&self.new)?);
        let all = differences(&old, &new);
        for since in &all {
            for action in &since.difference.unknown {
                eprintln!("ringfence diff: {action}: too many patterns to compare; merge some of them");
            }
        }
        let text = match self.output {
            Output::Text => text(&all),
            Output::Json => format!("{:#}\n", as_json(&all)),
            Output::Github => github(&annotations(&new.name, &all)),
            Output::Sarif => sarif("diff", &annotations(&new.name, &all)),
        };
        if printed(&text) != ExitCode::SUCCESS {
            return Ok(ExitCode::from(3));
        }
        // What could not be compared may permit more.
        let permits = |since: &Since| {
            let changes = &since.difference.changes;
            !since.difference.unknown.is_empty()
                || changes.iter().any(|change| change.effect == Effect::Permitted)
        };
        Ok(if all.iter().any(permits) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// The difference today, and after each day that changes what is enforced; days on which it is the same are left out.
fn differences(old: &Given, new: &Given) -> Vec<Since> {
    let today = today();
    let mut days: Vec<Date> = [&old.written, &new.written]
        .into_iter()
        .filter_map(|policy| policy.enforce_after)
        .filter(|day| *day > today)
        .collect();
    days.sort_unstable();
    days.dedup();
    let mut all: Vec<Since> = Vec::new();
    for day in std::iter::once(None).chain(days.into_iter().map(Some)) {
        let on = day.unwrap_or(today);
        let difference = old.written.effective(on).difference(&new.written.effective(on));
        if all.last().is_none_or(|last| last.difference != difference) {
            all.push(Since { day, difference });
        }
    }
    all
}

fn text(all: &[Since]) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    for since in all {
        if let Some(day) = since.day {
            let _ = writeln!(out, "from {day} on:");
        }
        let changes = &since.difference.changes;
        for (effect, words) in [
            (Effect::Permitted, "newly permitted"),
            (Effect::Denied, "newly denied"),
            (Effect::Reported, "newly reported"),
            (Effect::Unreported, "no longer reported"),
        ] {
            let own: Vec<&Change> = changes.iter().filter(|change| change.effect == effect).collect();
            if own.is_empty() {
                continue;
            }
            let _ = writeln!(out, "{words}: {} of action", plural(own.len() as u64, "kind"));
            for change in own {
                let _ = writeln!(
                    out,
                    "  {} {} ({}): {}",
                    change.action,
                    change.what,
                    change.rule.as_str(),
                    who(&change.who)
                );
            }
        }
        if changes.is_empty() && since.difference.unknown.is_empty() {
            out.push_str("no difference\n");
        }
    }
    out
}

fn as_json(all: &[Since]) -> Value {
    let change = |change: &Change| {
        let who = change
            .who
            .iter()
            .map(|(role, phase)| json!({ "process": role_word(*role), "phase": phase_word(*phase) }));
        json!({
            "effect": effect_word(change.effect),
            "action": change.action,
            "what": change.what,
            "example": change.example,
            "rule": change.rule.as_str(),
            "who": who.collect::<Vec<_>>(),
        })
    };
    let since = |since: &Since| {
        json!({
            "from": since.day.map(|day| day.to_string()),
            "changes": since.difference.changes.iter().map(change).collect::<Vec<_>>(),
            "notCompared": since.difference.unknown,
        })
    };
    Value::Array(all.iter().map(since).collect())
}

fn annotations(file: &str, all: &[Since]) -> Vec<Annotation> {
    let permitted = all.iter().flat_map(|since| {
        let changes = since.difference.changes.iter().filter(|change| change.effect == Effect::Permitted);
        changes.map(move |change| (since.day, change))
    });
    permitted
        .map(|(day, change)| {
            let from = day.map_or_else(String::new, |day| format!(" from {day} on"));
            Annotation {
                level: "error",
                file: file.to_owned(),
                line: 1,
                rule: change.rule.as_str(),
                message: format!(
                    "newly permitted{from}: {} {}, {}",
                    change.action,
                    change.what,
                    who(&change.who)
                ),
            }
        })
        .collect()
}

const fn effect_word(effect: Effect) -> &'static str {
    match effect {
        Effect::Permitted => "permitted",
        Effect::Denied => "denied",
        Effect::Reported => "reported",
        Effect::Unreported => "unreported",
    }
}

/// `every process, always`; `children, init and invoke`.
fn who(who: &[(Role, Phase)]) -> String {
    let phases = |role: Role| -> Vec<&str> {
        who.iter().filter(|(own, _)| *own == role).map(|(_, phase)| phase_word(*phase)).collect()
    };
    let when = |phases: &[&str]| if phases.len() == 4 { "always".to_owned() } else { phases.join(", ") };
    let (runtime, children) = (phases(Role::Runtime), phases(Role::Child));
    match (runtime.is_empty(), children.is_empty()) {
        (false, false) if runtime == children => format!("every process, {}", when(&runtime)),
        (false, false) => format!("the runtime, {}; children, {}", when(&runtime), when(&children)),
        (false, true) => format!("the runtime, {}", when(&runtime)),
        (true, _) => format!("children, {}", when(&children)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    fn given(text: &str) -> Given {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.toml");
        std::fs::write(&file, text).unwrap();
        Given::open(&file).unwrap_or_else(|(error, _)| panic!("{error}"))
    }

    #[test]
    fn a_difference_says_what_for_which_process_and_when() {
        let old = "[process]\nallow = [\"/usr/bin/convert\"]\n[egress]\nallow = [\"*.example.com:443\"]\n";
        let new = "[process]\nallow = [\"/usr/bin/*\"]\n[egress]\nallow = [\"*.example.com:443\", \"10.0.0.0/8:5432\"]\n\
            [code]\nevaluate = \"report\"\n[[rule]]\nwhen = { phase = \"init\" }\negress.allow = []\n";
        assert_snapshot!(text(&differences(&given(old), &given(new))), @"
        newly permitted: 2 kinds of action
          exec /usr/bin/* (process.allow): children, always
          connect 10.0.0.0/8 port 5432 (egress.allow): every process, invoke, between, shutdown
        newly denied: 3 kinds of action
          exec /usr/bin/convert, linked statically (process.uncovered): children, always
          resolve *.example.com (egress.names): every process, init
          connect *.example.com port 443 (egress.names): every process, init
        newly reported: 1 kind of action
          evaluate text of the event as code (code.evaluate): every process, always
        ");
        assert_snapshot!(github(&annotations("policy.toml", &differences(&given(old), &given(new)))), @"
        ::error file=policy.toml,line=1,title=ringfence process.allow::newly permitted: exec /usr/bin/*, children, always
        ::error file=policy.toml,line=1,title=ringfence egress.allow::newly permitted: connect 10.0.0.0/8 port 5432, every process, invoke, between, shutdown
        ");
        assert_eq!(text(&differences(&given(old), &given(old))), "no difference\n");
    }

    #[test]
    fn a_day_that_changes_what_holds_is_told() {
        let old = "process.shells = \"deny\"\n";
        let new = "enforce_after = 2999-01-01\nprocess.shells = \"deny\"\n";
        let all = differences(&given(old), &given(new));
        let shown = text(&all);
        assert!(
            shown.contains("newly permitted") && shown.ends_with("from 2999-01-01 on:\nno difference\n"),
            "{shown}"
        );
        assert_eq!(as_json(&all)[1]["from"], "2999-01-01");
    }
}

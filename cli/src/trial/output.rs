//! The answer of `ringfence test`, as people and as programs read it.
//!
//! It decides how findings read; must not decide what is one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Finding, Seen, Trial};
use crate::output::{Annotation, Output, plural};
use crate::places::Place;

impl Trial<'_> {
    /// The answer in one form.
    pub(super) fn shown(&self, output: Output) -> String {
        match output {
            Output::Text => self.text(),
            Output::Json => format!("{:#}\n", self.json()),
            Output::Github => crate::output::github(&self.annotations()),
            Output::Sarif => crate::output::sarif("test", &self.annotations()),
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        for (name, function) in &self.functions {
            let name = if name.is_empty() { "this log" } else { name };
            let word = if self.baseline.is_some() { "newly blocked" } else { "would be blocked" };
            let _ = writeln!(
                out,
                "{name}: {} {word}, {} of {} that the log tells of",
                plural(function.blocked.len() as u64, "deed"),
                plural(times(&function.blocked), "time"),
                function.deeds
            );
            list(&mut out, &function.blocked);
            if !function.released.is_empty() {
                let _ = writeln!(
                    out,
                    "{name}: {} no longer blocked, {}",
                    plural(function.released.len() as u64, "deed"),
                    plural(times(&function.released), "time")
                );
                list(&mut out, &function.released);
            }
        }
        out
    }

    fn json(&self) -> Value {
        let functions = self.functions.iter().map(|(name, function)| {
            json!({
                "function": name,
                "deeds": function.deeds,
                "environments": function.environments,
                "blocked": values(&function.blocked),
                "released": values(&function.released),
                "notKnown": self.unwatched(function).collect::<Vec<_>>(),
                "unclear": function.unclear,
                "linesDropped": function.held_back,
            })
        });
        json!({ "policy": self.policy.name, "functions": functions.collect::<Vec<_>>() })
    }

    fn annotations(&self) -> Vec<Annotation> {
        let all = self.functions.iter().flat_map(|(name, function)| {
            function.blocked.iter().map(move |(finding, seen)| (name, finding, seen))
        });
        all.map(|(name, finding, seen)| {
            let (file, line) = match &seen.place {
                Place::At { file, line, .. } if *file == self.policy.name => (file.clone(), *line),
                // A pack is named by the first line of the policy.
                _ => (self.policy.name.clone(), 1),
            };
            let of = if name.is_empty() { String::new() } else { format!("{name}: ") };
            Annotation {
                level: "error",
                file,
                line,
                rule: finding.rule.as_str(),
                message: format!("{of}{} would be blocked: {}", finding.what, circumstances(seen)),
            }
        })
        .collect()
    }
}

fn times(list: &BTreeMap<Finding, Seen>) -> u64 {
    list.values().fold(0, |sum, seen| sum.saturating_add(seen.count))
}

fn list(out: &mut String, findings: &BTreeMap<Finding, Seen>) {
    for (finding, seen) in findings {
        let _ = writeln!(out, "  {}: {}", finding.rule.as_str(), finding.what);
        let _ = writeln!(out, "    {}; {}", circumstances(seen), seen.place);
    }
}

fn circumstances(seen: &Seen) -> String {
    let times = plural(seen.count, "time");
    let days =
        if seen.first == seen.last { seen.last.clone() } else { format!("{} to {}", seen.first, seen.last) };
    if seen.code.is_empty() {
        return format!("{times}, {days}");
    }
    format!("{times}, {days}, by {}", seen.code.join(", "))
}

fn values(findings: &BTreeMap<Finding, Seen>) -> Vec<Value> {
    let one = |(finding, seen): (&Finding, &Seen)| {
        let place = match &seen.place {
            Place::At { file, line, .. } => json!({ "file": file, "line": line }),
            Place::Default => Value::Null,
        };
        json!({
            "rule": finding.rule.as_str(),
            "action": finding.what,
            "count": seen.count,
            "first": seen.first,
            "last": seen.last,
            "code": seen.code,
            "place": place,
        })
    };
    findings.iter().map(one).collect()
}

//! Forms in which commands answer: text for people, JSON for programs, annotations for GitHub, SARIF for code scanning.
//!
//! It must not know which command answers.

use clap::ValueEnum;
use serde_json::json;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// One JSON document
    Json,
    /// Annotations of a GitHub workflow
    Github,
    /// SARIF 2.1.0, as code scanning reads it
    Sarif,
}

/// A finding with its place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Annotation {
    /// `error` or `warning`.
    pub(crate) level: &'static str,
    pub(crate) file: String,
    /// From 1.
    pub(crate) line: usize,
    pub(crate) rule: &'static str,
    pub(crate) message: String,
}

/// Workflow commands, one a line (docs.github.com, "Workflow commands for GitHub Actions").
pub(crate) fn github(annotations: &[Annotation]) -> String {
    let property = |text: &str| escaped(text).replace(':', "%3A").replace(',', "%2C");
    let line = |found: &Annotation| {
        let Annotation { level, file, line, rule, message } = found;
        format!(
            "::{level} file={},line={line},title=ringfence {}::{}\n",
            property(file),
            property(rule),
            escaped(message)
        )
    };
    annotations.iter().map(line).collect()
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A log of one run (OASIS, "Static Analysis Results Interchange Format", 2.1.0).
pub(crate) fn sarif(command: &str, annotations: &[Annotation]) -> String {
    let mut rules: Vec<&str> = annotations.iter().map(|found| found.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    let rules: Vec<_> = rules.into_iter().map(|rule| json!({ "id": rule })).collect();
    let result = |found: &Annotation| {
        json!({
            "ruleId": found.rule,
            "level": found.level,
            "message": { "text": found.message },
            "locations": [{ "physicalLocation": {
                "artifactLocation": { "uri": found.file },
                "region": { "startLine": found.line },
            } }],
        })
    };
    let run = json!({
        "tool": { "driver": { "name": format!("ringfence {command}"), "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
        "results": annotations.iter().map(result).collect::<Vec<_>>(),
    });
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    });
    format!("{log:#}\n")
}

/// `1 record`, `2 records`.
pub(crate) fn plural(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_one_line_each_whatever_they_say() {
        let found = Annotation {
            level: "error",
            file: "a,b:c.toml".into(),
            line: 3,
            rule: "egress.allow",
            message: "50% of\nlines".into(),
        };
        assert_eq!(
            github(&[found]),
            "::error file=a%2Cb%3Ac.toml,line=3,title=ringfence egress.allow::50%25 of%0Alines\n"
        );
    }
}

//! `ringfence check`, `show` and `schema`: the policy language for people and for editors. And [`Given`], a policy that a
//! command was given.
//!
//! Decides what is printed where; must not know the language, which is the policy crate's.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use ringfence_policy::{Date, Diagnostic, PACKS, Policy, Severity, schema};

use crate::audit;
use crate::output::{self, Annotation, Output};

/// Longest policy in bytes: what the function's own start accepts.
const POLICY_MAX: u64 = 256 * 1024;

/// Read policies and say what is wrong with them.
///
/// Exit status: 0 usable, 1 a policy has errors, or warnings with --strict, 2 usage, 3 a file cannot be read.
///
/// Examples:
///   ringfence check policy.toml
///   ringfence check --strict --output github policies/*.toml
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Check {
    /// Policies; - is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Take warnings for errors
    #[arg(long)]
    strict: bool,
    /// The form of the answer
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

/// What was found in one file.
struct Checked {
    file: String,
    findings: Vec<Diagnostic>,
    /// What a usable policy is, in a line.
    summary: Option<String>,
}

impl Check {
    /// Runs the command to its exit status.
    pub(crate) fn run(self) -> ExitCode {
        let mut all = Vec::new();
        let mut unreadable = false;
        for file in &self.files {
            let name = file.display().to_string();
            match read(file) {
                Ok(text) => all.push(checked(&name, &text)),
                Err(error) => {
                    eprintln!("ringfence check: {name}: {error}");
                    unreadable = true;
                }
            }
        }
        let status = self.print(&all);
        let failed = |finding: &Diagnostic| self.strict || finding.severity == Severity::Error;
        match status {
            _ if unreadable => ExitCode::from(3),
            status if status != ExitCode::SUCCESS => status,
            _ => ExitCode::from(u8::from(all.iter().flat_map(|checked| &checked.findings).any(failed))),
        }
    }

    /// As text, findings go to standard error and a summary to standard output; the other forms are one document.
    fn print(&self, all: &[Checked]) -> ExitCode {
        let annotations = || -> Vec<Annotation> { all.iter().flat_map(annotations).collect() };
        match self.output {
            Output::Text => {
                for checked in all {
                    let findings: Vec<String> = checked.findings.iter().map(ToString::to_string).collect();
                    match &checked.summary {
                        Some(summary) => {
                            for finding in findings {
                                eprintln!("{finding}\n");
                            }
                            println!("{summary}");
                        }
                        None => eprintln!("{}", findings.join("\n\n")),
                    }
                }
                ExitCode::SUCCESS
            }
            Output::Json => {
                let documents: Vec<_> = all.iter().map(as_json).collect();
                printed(&format!("{:#}\n", serde_json::Value::Array(documents)))
            }
            Output::Github => printed(&output::github(&annotations())),
            Output::Sarif => printed(&output::sarif("check", &annotations())),
        }
    }
}

fn checked(name: &str, text: &str) -> Checked {
    let file = name.to_owned();
    let parsed = match Policy::parse(name, text) {
        Ok(parsed) => parsed,
        Err(findings) => return Checked { file, findings: findings.0, summary: None },
    };
    for rule in parsed.policy.rules_in_use() {
        tracing::debug!(target: "policy", rule = rule.rule.as_str(), mode = rule.mode.as_str(), idle = ?rule.idle, "a rule is in use");
    }
    let mut findings = parsed.warnings;
    findings.extend(audit::findings(name, text, &parsed.policy, today()));
    findings.sort_by_key(|finding| (finding.line, finding.column));
    let packs = if parsed.packs.is_empty() {
        String::new()
    } else {
        format!(", extends {}", parsed.packs.join(", "))
    };
    let verdict = match findings.len() {
        0 => "a good policy".to_owned(),
        1 => "a policy with 1 warning".to_owned(),
        count => format!("a policy with {count} warnings"),
    };
    let rules = parsed.policy.rules_in_use().len();
    Checked { file, findings, summary: Some(format!("{name}: {verdict} ({rules} rules in use{packs})")) }
}

const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

fn as_json(checked: &Checked) -> serde_json::Value {
    let finding = |finding: &Diagnostic| {
        serde_json::json!({
            "severity": word(finding.severity),
            "message": finding.message,
            "line": finding.line,
            "column": finding.column,
            "label": finding.label,
            "hint": finding.hint,
        })
    };
    serde_json::json!({
        "file": checked.file,
        "usable": checked.summary.is_some(),
        "findings": checked.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn annotations(checked: &Checked) -> Vec<Annotation> {
    let one = |finding: &Diagnostic| Annotation {
        level: word(finding.severity),
        file: finding.file.clone(),
        line: finding.line.max(1),
        rule: "policy",
        message: format!("{}: {}; hint: {}", finding.message, finding.label, finding.hint),
    };
    checked.findings.iter().map(one).collect()
}

/// Reads a policy; `-` is standard input.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let input: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    input.take(POLICY_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > POLICY_MAX {
        return Err(io::Error::other("longer than 256 KiB, the most that a policy may have"));
    }
    Ok(text)
}

/// A policy that a command was given: the text, and what it means today.
pub(crate) struct Given {
    /// What it is called in messages: the file, or the pack.
    pub(crate) name: String,
    pub(crate) text: String,
    /// Packs and dates applied.
    pub(crate) policy: Policy,
    /// Packs applied, dates not.
    pub(crate) written: Policy,
    /// The packs that it extends.
    pub(crate) packs: Vec<&'static str>,
}

impl Given {
    /// Reads a policy from a file, from standard input (`-`), or a pack by its name where no such file is.
    ///
    /// # Errors
    /// The text for a person, and the exit status: 1 for a policy with errors, 3 for one that cannot be read.
    pub(crate) fn open(path: &Path) -> Result<Self, (String, ExitCode)> {
        let name = path.display().to_string();
        let pack = PACKS.iter().find(|(known, _)| *known == name && !path.exists());
        let text = match pack {
            Some((_, text)) => (*text).to_owned(),
            None => read(path).map_err(|error| (format!("{name}: {error}"), ExitCode::from(3)))?,
        };
        let parsed =
            Policy::parse(&name, &text).map_err(|findings| (findings.to_string(), ExitCode::FAILURE))?;
        let (written, packs) = (parsed.policy, parsed.packs);
        Ok(Self { name, text, policy: written.effective(today()), written, packs })
    }
}

/// The day in UTC.
pub(crate) fn today() -> Date {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Date::from_unix_seconds(since.as_secs())
}

/// Print the policy that holds today: packs layered in, `enforce_after` applied.
///
/// Exit status: 0 printed, 1 the policy has errors, 3 it cannot be read.
///
/// Examples:
///   ringfence show policy.toml
///   ringfence show web-api
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Show {
    /// The policy, or the name of a pack; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Show {
    /// Runs the command to its exit status.
    pub(crate) fn run(self) -> ExitCode {
        match Given::open(&self.file) {
            Ok(given) => printed(&given.policy.to_toml()),
            Err((error, status)) => {
                eprintln!("ringfence show: {error}");
                status
            }
        }
    }
}

/// Writes to standard output. A reader that has gone (`| head`) is no failure of ours to explain.
pub(crate) fn printed(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(3),
    }
}

/// Prints the schema to standard output.
pub(crate) fn print_schema() -> ExitCode {
    match writeln!(io::stdout(), "{}", schema()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

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
use ringfence_policy::{Date, PACKS, Policy, schema};

/// Longest policy in bytes: what the function's own start accepts.
const POLICY_MAX: u64 = 256 * 1024;

/// Diagnostics go to standard error, a summary to standard output.
#[derive(Args)]
pub(crate) struct Check {
    /// The policy
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Take warnings for errors
    #[arg(long)]
    strict: bool,
}

impl Check {
    /// Runs the command to its exit status.
    pub(crate) fn run(self) -> ExitCode {
        let name = self.file.display().to_string();
        match read(&self.file) {
            Ok(text) => check(&name, &text, self.strict),
            Err(error) => {
                eprintln!("ringfence check: {name}: {error}");
                ExitCode::from(3)
            }
        }
    }
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

fn check(name: &str, text: &str, strict: bool) -> ExitCode {
    match Policy::parse(name, text) {
        Ok(parsed) => {
            for rule in parsed.policy.rules_in_use() {
                tracing::debug!(target: "policy", rule = rule.rule.as_str(), mode = rule.mode.as_str(), idle = ?rule.idle, "a rule is in use");
            }
            for warning in &parsed.warnings {
                eprintln!("{warning}\n");
            }
            let packs = if parsed.packs.is_empty() {
                String::new()
            } else {
                format!(", extends {}", parsed.packs.join(", "))
            };
            let verdict = match parsed.warnings.len() {
                0 => "a good policy".to_owned(),
                1 => "a policy with 1 warning".to_owned(),
                count => format!("a policy with {count} warnings"),
            };
            println!("{name}: {verdict} ({} rules in use{packs})", parsed.policy.rules_in_use().len());
            ExitCode::from(u8::from(strict && !parsed.warnings.is_empty()))
        }
        Err(findings) => {
            eprintln!("{findings}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the schema to standard output.
pub(crate) fn print_schema() -> ExitCode {
    match writeln!(io::stdout(), "{}", schema()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

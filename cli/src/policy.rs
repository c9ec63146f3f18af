//! `ringfence check` and `ringfence schema`: the policy language for people and for editors.
//!
//! Decides what is printed where; must not know the language, which is the policy crate's.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use ringfence_policy::{Policy, schema};

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
        match self.read() {
            Ok(text) => check(&name, &text, self.strict),
            Err(error) => {
                eprintln!("ringfence check: {name}: {error}");
                ExitCode::from(3)
            }
        }
    }

    fn read(&self) -> io::Result<String> {
        let mut text = String::new();
        File::open(&self.file)?.take(POLICY_MAX + 1).read_to_string(&mut text)?;
        if text.len() as u64 > POLICY_MAX {
            return Err(io::Error::other("longer than 256 KiB, the most that a policy may have"));
        }
        Ok(text)
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

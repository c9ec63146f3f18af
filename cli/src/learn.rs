//! `ringfence learn`: a policy from what the records of a log say that a function did.
//!
//! Decides which files are read and written, and the exit status; what a record means is [`evidence`]'s, and what a policy
//! says is [`draft`]'s.

mod draft;
mod evidence;
mod hosts;
mod live;
mod shape;
mod update;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use ringfence_policy::Policy;

use crate::logs::{self, Review};
use crate::output::plural;
use crate::policy::{Given, printed};
use draft::{Draft, Title};
use evidence::{Evidence, Function};
pub(crate) use live::Learner;

/// Write a policy from the records of functions that ran in observe mode.
///
/// Run a function with the pack `learn` (`RINGFENCE_POLICY=learn`): it allows everything and records what it sees. Then give
/// the logs of some days to this command. The policy is printed, or written to DIR with --by function.
///
/// Exit status: 0 there is a policy, 1 the logs have no start of a function that was watched or are too short, 2 usage, 3 a file cannot be
/// read or written.
///
/// Examples:
///   aws logs tail /aws/lambda/orders --since 7d | ringfence learn - >policy.toml
///   ringfence learn --by function --out policies/ exports/*.gz
///   ringfence learn --policy policy.toml --update --tighten 30 exports/*.gz
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Command {
    /// Logs: output of `ringfence local invoke`, `aws logs tail`, `filter-log-events`, Logs Insights, exports (gzip, zstd);
    /// - is standard input
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
    /// One policy for each function, in a file DIR/FUNCTION.toml
    #[arg(long, value_enum, requires = "out")]
    by: Option<By>,
    /// Where the policies of --by go
    #[arg(long, value_name = "DIR", requires = "by")]
    out: Option<PathBuf>,
    /// Take also what a rule of the pack baseline calls an attack
    #[arg(long)]
    accept: bool,
    /// The mode that the policy sets
    #[arg(long, value_enum, default_value = "enforce", conflicts_with = "policy")]
    mode: Mode,
    /// Start from this policy: add what it would deny of what was seen, keep its comments and order
    #[arg(long, value_name = "FILE", conflicts_with_all = ["by", "accept"])]
    policy: Option<PathBuf>,
    /// Also write the result back to the file of --policy
    #[arg(long, requires = "policy")]
    update: bool,
    /// Also take away entries that nothing needed in the last so many days of the log
    #[arg(long, value_name = "DAYS", requires = "policy", value_parser = clap::value_parser!(u32).range(1..))]
    tighten: Option<u32>,
}

/// What gets a policy of its own.
#[derive(Clone, Copy, ValueEnum)]
enum By {
    Function,
}

/// The mode of the policy.
#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    Enforce,
    Observe,
}

impl Mode {
    const fn word(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }
}

impl Command {
    /// Runs the command to its exit status.
    pub(crate) fn run(self) -> ExitCode {
        let mut review = Review::default();
        let mut evidence = Evidence::default();
        if let Err(error) = logs::read(&self.logs, &mut review, &mut |record| evidence.take(record)) {
            return failed(&error);
        }
        warn(&review, &evidence);
        if let Some(file) = &self.policy {
            return self.change(file, &evidence.together()).unwrap_or_else(|(error, status)| {
                eprintln!("ringfence learn: {error}");
                status
            });
        }
        let written = match &self.out {
            Some(folder) => self.write_each(&evidence, folder),
            None => self.print(&evidence.together(), evidence.by_function()),
        };
        written.unwrap_or_else(|error| failed(&error))
    }

    fn print(&self, known: &Function, functions: &BTreeMap<String, Function>) -> Result<ExitCode, String> {
        let name = if functions.len() == 1 { functions.keys().next().map_or("", String::as_str) } else { "" };
        if functions.len() > 1 {
            eprintln!(
                "ringfence learn: {} functions become one policy; --by function --out DIR writes one for each",
                functions.len()
            );
        }
        let Some(draft) = self.draft(known, name)? else { return Ok(ExitCode::FAILURE) };
        io::stdout().write_all(draft.text.as_bytes()).map_err(|error| format!("standard output: {error}"))?;
        Ok(ExitCode::SUCCESS)
    }

    /// Changes an existing policy.
    fn change(&self, file: &Path, known: &Function) -> Result<ExitCode, (String, ExitCode)> {
        let given = Given::open(file)?;
        if known.environments == 0 {
            let hint = "hint: give a log that begins before a cold start";
            let error = format!("the log has no start of an environment (record `protection`)\n{hint}");
            return Err((error, ExitCode::FAILURE));
        }
        let updated =
            update::update(&given, known, self.tighten).map_err(|error| (error, ExitCode::FAILURE))?;
        let refused = draft::policy(known, &Title { function: "", mode: "enforce", accept: false }).refused;
        let refused = refused.into_iter().map(|line| format!("not allowed: {line}"));
        let incomplete = known.incomplete().into_iter().map(|line| format!("incomplete: {line}"));
        for line in updated.changes.iter().chain(&updated.notes).cloned().chain(incomplete).chain(refused) {
            eprintln!("ringfence learn: {line}");
        }
        if updated.changes.is_empty() {
            eprintln!("ringfence learn: nothing to change");
        }
        if self.update && !updated.changes.is_empty() {
            replace(file, &updated.text)
                .map_err(|error| (format!("{}: {error}", file.display()), ExitCode::from(3)))?;
        }
        Ok(printed(&updated.text))
    }

    fn write_each(&self, evidence: &Evidence, folder: &Path) -> Result<ExitCode, String> {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut written = 0;
        for (name, known) in evidence.by_function() {
            let Some(draft) = self.draft(known, name)? else { continue };
            let path = folder.join(format!("{}.toml", file_name(name)));
            fs::write(&path, &draft.text).map_err(|error| format!("{}: {error}", path.display()))?;
            println!("{}", path.display());
            written += 1;
        }
        Ok(if written > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn draft(&self, known: &Function, name: &str) -> Result<Option<Draft>, String> {
        let shown = if name.is_empty() { "this log" } else { name };
        if known.environments == 0 {
            eprintln!(
                "ringfence learn: {shown}: no policy, since the log has no start of an environment (record `protection`)\n\
                 hint: give a log that begins before a cold start"
            );
            return Ok(None);
        }
        let title = Title { function: name, mode: self.mode.word(), accept: self.accept };
        let draft = draft::policy(known, &title);
        // A policy that does not hold what it was made from would be worse than none.
        Policy::parse("the policy", &draft.text)
            .map_err(|findings| format!("{shown}: the policy made of it is not valid: {findings}"))?;
        for line in known.incomplete() {
            eprintln!("ringfence learn: {shown}: the policy is incomplete: {line}");
        }
        for line in &draft.refused {
            let word = if self.accept { "accepted where a key can say so" } else { "not allowed" };
            eprintln!("ringfence learn: {shown}: {word}: {line}");
        }
        Ok(Some(draft))
    }
}

/// Writes a file whole or not at all.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = file.with_file_name(name);
    fs::write(&fresh, text)?;
    fs::set_permissions(&fresh, fs::metadata(file)?.permissions())?;
    fs::rename(&fresh, file)
}

fn failed(error: &str) -> ExitCode {
    eprintln!("ringfence learn: {error}");
    ExitCode::from(3)
}

/// Says what of the logs did not count.
fn warn(review: &Review, evidence: &Evidence) {
    for line in logs::left_out(review) {
        eprintln!("ringfence learn: {line}");
    }
    if evidence.unread > 0 {
        let count = plural(evidence.unread, "record");
        eprintln!(
            "ringfence learn: {count}: left out, since they could not be read or were of too many functions"
        );
    }
}

/// A function's name as the name of a file.
fn file_name(function: &str) -> String {
    let safe = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
    let name: String =
        function.chars().map(|character| if safe(character) { character } else { '_' }).take(140).collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

#[cfg(test)]
mod tests;

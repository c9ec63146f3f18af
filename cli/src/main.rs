//! The command line of Ringfence: parses arguments, calls the crates that do the work, turns errors into exit statuses.
//!
//! Decides what a command is called; must not know how anything is done.

mod audit;
mod deed;
mod diff;
mod explain;
mod help;
mod init;
mod learn;
mod local;
mod logs;
mod output;
mod places;
mod policy;
mod record;
mod review;
mod trial;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runtime protection for AWS Lambda functions.
#[derive(Parser)]
#[command(name = "ringfence", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Read policies and say what is wrong with them
    Check(policy::Check),
    /// Print the policy that holds today, packs and dates applied
    Show(policy::Show),
    /// Print the JSON Schema of the policy language
    Schema,
    /// Write a policy from the records of functions that ran in observe mode
    Learn(learn::Command),
    /// Say what a policy would have blocked of what happened
    Test(trial::Command),
    /// Say what a policy newly permits and newly denies
    Diff(diff::Command),
    /// Say what a policy does about a record or an action, where it says so, and what would change it
    Explain(explain::Command),
    /// Tell what happened as incidents, and which records are forged, missing or doubled
    Review(review::Command),
    /// Write a first policy from the code in a folder
    Init(init::Command),
    /// List the packs: policies to start from
    Packs,
    /// Print completions for a shell
    Completions(help::Completions),
    /// Print the manual page, or write one for each command
    Man(help::Man),
    /// A Lambda service on this machine
    #[command(subcommand)]
    Local(local::Local),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    if let Some(status) = ringfence_local::sandbox::helper(&arguments) {
        return status;
    }
    let log = std::env::var("RINGFENCE_LOG").unwrap_or_default();
    if let Some(trouble) = ringfence_policy::trouble_with_variable("RINGFENCE_LOG", &log) {
        eprintln!("ringfence: {trouble}");
    }
    // No secrets are known here, and none are logged: of variables the names only.
    ringfence_log::start(Some(&log), &[]);
    match Cli::parse().command {
        Command::Check(command) => command.run(),
        Command::Show(command) => command.run(),
        Command::Schema => policy::print_schema(),
        Command::Learn(command) => command.run(),
        Command::Test(command) => command.run(),
        Command::Diff(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::Review(command) => command.run(),
        Command::Init(command) => command.run(),
        Command::Packs => help::print_packs(),
        Command::Completions(command) => command.run(),
        Command::Man(command) => command.run(),
        Command::Local(command) => command.run(),
    }
}

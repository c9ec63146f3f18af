//! `ringfence review`: which records of a log are the agent's own, which are forged, missing or doubled.
//!
//! Decides the exit status; must not know how a line is signed or how logs wrap a record, which [`crate::logs`] does.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::logs::{self, Review};

/// Check that the records in a log are Ringfence's own.
///
/// Exit status: 0 every record is authentic and none is missing, 1 some are forged, missing, doubled or cannot be
/// checked, 3 a log cannot be read.
///
/// Example: `aws logs tail /aws/lambda/orders --since 1d | ringfence review -`
#[derive(Args)]
pub(crate) struct Command {
    /// Logs: output of `ringfence local invoke`, `aws logs tail`, `filter-log-events`; - is standard input
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
}

impl Command {
    /// Runs the command to its exit status.
    pub(crate) fn run(self) -> ExitCode {
        let mut review = Review::default();
        if let Err(error) = logs::read(&self.logs, &mut review, &mut |_| ()) {
            eprintln!("ringfence review: {error}");
            return ExitCode::from(3);
        }
        let report = review.finish();
        print!("{report}");
        if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

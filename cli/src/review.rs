//! `ringfence review`: which records of a log are the agent's own, which are forged, missing or doubled.
//!
//! Decides how the result reads and the exit status; must not know how a line is signed, which is
//! [`authenticity`]'s business, nor how logs wrap a record, which is [`lines`]'.

mod authenticity;
mod lines;
mod ranges;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use authenticity::Review;

/// Longest line of a log in bytes: a CloudWatch event has at most 256 KiB, and escapes may double it.
const MAX_LINE: u64 = 1024 * 1024;

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
        for log in &self.logs {
            if let Err(error) = read(log, &mut review) {
                eprintln!("ringfence review: {}: {error}", log.display());
                return ExitCode::from(3);
            }
        }
        let report = review.finish();
        print!("{report}");
        if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn read(log: &Path, review: &mut Review) -> io::Result<()> {
    if log == Path::new("-") {
        return take_all(io::stdin().lock(), "-", review);
    }
    take_all(BufReader::new(File::open(log)?), &log.display().to_string(), review)
}

fn take_all(mut input: impl BufRead, name: &str, review: &mut Review) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        for found in lines::records(text.trim_end()) {
            review.take(&found, name, number);
        }
    }
    Ok(())
}

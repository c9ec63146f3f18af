//! `ringfence review`: what happened, as incidents, and whether the records of it can be trusted.
//!
//! Decides what is printed where and the exit status. How logs wrap records and how a line is signed is [`crate::logs`]';
//! what an incident is, [`incident`]'s.

mod html;
mod incident;
mod text;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::logs::{self, Review};
use crate::policy::printed;
use incident::Incidents;

/// Tell what happened as incidents, and check that the records are Ringfence's own.
///
/// Violations of one request become one story; stories that are alike, one incident; the worst and the rarest come first.
/// Only signed records are told. What is forged, missing or doubled is listed.
///
/// Exit status: 0 every record is authentic and none is missing, 1 some are forged, missing, doubled or cannot be
/// checked, 2 usage, 3 a file cannot be read or written.
///
/// Examples:
///   aws logs tail /aws/lambda/orders --since 1d | ringfence review -
///   ringfence review --html report.html exports/*.gz
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Command {
    /// Logs: output of `ringfence local invoke`, `aws logs tail`, `filter-log-events`, Logs Insights, exports (gzip, zstd);
    /// - is standard input
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
    /// Write a report for a browser: one file that needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Tell one incident whole
    #[arg(long, value_name = "ID")]
    incident: Option<String>,
    /// The form of the answer
    #[arg(long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people
    Text,
    /// One JSON document
    Json,
}

impl Command {
    /// Runs the command to its exit status.
    pub(crate) fn run(self) -> ExitCode {
        match self.answer() {
            Ok(status) => status,
            Err(error) => {
                eprintln!("ringfence review: {error}");
                ExitCode::from(3)
            }
        }
    }

    fn answer(&self) -> Result<ExitCode, String> {
        let mut review = Review::default();
        let mut incidents = Incidents::default();
        logs::read(&self.logs, &mut review, &mut |record| incidents.take(record))?;
        let ranked = incidents.ranked();
        if let Some(id) = self.incident.as_deref()
            && !ranked.iter().any(|incident| incident.id == id)
        {
            return Err(format!(
                "no incident {id} in these logs\nhint: the first line of each incident has its name"
            ));
        }
        let report = review.finish();
        let authenticity = report.to_string();
        for (count, why) in [
            (incidents.unread, "could not be read"),
            (incidents.dropped, "belong to incidents for which there is no room"),
        ] {
            if count > 0 {
                eprintln!("ringfence review: {count} records {why}");
            }
        }
        if let Some(file) = &self.html {
            let page = html::page(&incidents, &ranked, &authenticity, report.is_clean());
            fs::write(file, page).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        let only = self.incident.as_deref();
        let text = match self.output {
            Form::Json => {
                let mut answer = text::as_json(&incidents, &ranked);
                if let Some(answer) = answer.as_object_mut() {
                    answer.insert("authentic".to_owned(), report.is_clean().into());
                    answer.insert("authenticity".to_owned(), authenticity.clone().into());
                }
                format!("{answer:#}\n")
            }
            Form::Text if only.is_some() => text::text(&incidents, &ranked, only),
            Form::Text => format!("{}\n{authenticity}", text::text(&incidents, &ranked, None)),
        };
        if printed(&text) != ExitCode::SUCCESS {
            return Ok(ExitCode::from(3));
        }
        Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

#[cfg(test)]
mod tests;

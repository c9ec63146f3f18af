//! The log that `RINGFENCE_LOG` turns on: why Ringfence did what it did, line by line on standard error.
//!
//! It decides which events become lines, how a line reads, and when there have been enough. It must not know what an event means:
//! the agent and the command line make them with `tracing`. Records are something else: they are JSON on standard output and
//! signed. A line of the log is plain text that begins with `ringfence log`, so neither is taken for the other.
//!
//! **Never a secret.** Each value goes through the [`Redactor`], which knows the credentials of this environment. Callers log
//! no headers, bodies or values of variables at all.
//!
//! **Bounded.** A line has at most [`MAX_LINE`] bytes, a process writes at most [`MAX_LINES`], and says once that it stops.
//!
//! **Off costs nothing.** Without the variable there is no subscriber, and an event is one load and a branch.

mod line;

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use ringfence_policy::{LogFilter, LogLevel};
use ringfence_records::redact::Redactor;
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

pub use line::MAX_LINE;

/// Most lines of a process. A warm environment at `debug` writes some ten a request.
pub const MAX_LINES: u32 = 5_000;
/// What is written in place of the line after the last.
const ENOUGH: &str =
    "ringfence log ends: 5000 lines are written; the rest of this environment's is left out\n";

/// Starts the log as the variable's value says. Values in `secrets` are masked. Nothing is started if the value is empty, not
/// known, or `off`; which of these is wrong is told by [`ringfence_policy::trouble_with_variable`].
pub fn start(value: Option<&str>, secrets: &[Vec<u8>]) {
    let Some(filter) = value.and_then(LogFilter::parse) else { return };
    if filter.highest() == LogLevel::Off {
        return;
    }
    // Fails only if there is one already: then that one goes on.
    let _ = tracing::subscriber::set_global_default(Log::new(filter, secrets, standard_error));
}

fn standard_error(line: &[u8]) {
    // One call for a line, as other processes write there too. What cannot be written is lost.
    let _ = std::io::stderr().write_all(line);
}

/// Turns events into lines.
struct Log<S> {
    filter: LogFilter,
    redactor: Redactor<'static>,
    begun: Instant,
    lines: AtomicU32,
    sink: S,
}

impl<S: Fn(&[u8]) + 'static> Log<S> {
    fn new(filter: LogFilter, secrets: &[Vec<u8>], sink: S) -> Self {
        // Once in the life of a process: each line borrows them.
        let secrets: Vec<&'static [u8]> = secrets.iter().map(|secret| &*secret.clone().leak()).collect();
        let redactor = Redactor::new(secrets.leak());
        Self { filter, redactor, begun: Instant::now(), lines: AtomicU32::new(0), sink }
    }
}

impl<S: Fn(&[u8]) + Send + Sync + 'static> Subscriber for Log<S> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        level(*metadata.level()) <= self.filter.level_of(metadata.target())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.filter.highest() {
            LogLevel::Off => LevelFilter::OFF,
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        })
    }

    fn event(&self, event: &Event<'_>) {
        let before = self.lines.fetch_add(1, Ordering::Relaxed);
        if before < MAX_LINES {
            (self.sink)(&line::line(event, &self.redactor, self.begun.elapsed()));
        } else {
            if before == MAX_LINES {
                (self.sink)(ENOUGH.as_bytes());
            }
            // Not back to zero by overflow, however many events there are.
            self.lines.store(MAX_LINES.saturating_add(1), Ordering::Relaxed);
        }
    }

    // Lines are made of events alone: durations are fields of them.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn level(level: Level) -> LogLevel {
    match level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG => LogLevel::Debug,
        Level::TRACE => LogLevel::Trace,
    }
}

#[cfg(test)]
mod tests;

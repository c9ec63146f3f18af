//! What `RINGFENCE_LOG` says: how much of its own reasoning Ringfence writes down, part by part.
//!
//! It reads the variable and answers for one part. It must not know what is written, nor where: `ringfence-log` does that.
//! [`crate::trouble_with_variable`] uses it to tell a value that is not known.

/// The parts that can be named in the variable, as log lines have them.
pub const LOG_PARTS: [&str; 14] = [
    "claims",
    "detection",
    "events",
    "fault",
    "guard",
    "ledger",
    "local",
    "platform",
    "policy",
    "records",
    "resolver",
    "start",
    "survivors",
    "telemetry",
];
/// Most entries that are read.
const MAX_ENTRIES: usize = 32;

/// How much is written. Each level has all of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LogLevel {
    /// Nothing.
    #[default]
    Off,
    /// What Ringfence could not do at all.
    Error,
    /// What does not work as announced.
    Warn,
    /// What happened in the life of the environment.
    Info,
    /// Each decision, with its reason.
    Debug,
    /// Each message and each look too.
    Trace,
}

impl LogLevel {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "off" => Self::Off,
            "error" => Self::Error,
            "warn" => Self::Warn,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => return None,
        })
    }
}

/// A value of `RINGFENCE_LOG` that is known to be right: `debug`, or `warn,resolver=trace`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogFilter {
    general: LogLevel,
    parts: Vec<(&'static str, LogLevel)>,
}

impl LogFilter {
    /// Reads a value. `None` if a level or a part in it is not known.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let mut filter = Self::default();
        if value.split(',').count() > MAX_ENTRIES {
            return None;
        }
        for entry in value.split(',').map(str::trim) {
            match entry.split_once('=') {
                None => filter.general = LogLevel::parse(entry)?,
                Some((part, level)) => {
                    let part = LOG_PARTS.into_iter().find(|known| *known == part)?;
                    filter.parts.push((part, LogLevel::parse(level)?));
                }
            }
        }
        Some(filter)
    }

    /// How much this part writes. The last entry for it counts.
    #[must_use]
    pub fn level_of(&self, part: &str) -> LogLevel {
        let own = self.parts.iter().rev().find(|(name, _)| *name == part);
        own.map_or(self.general, |(_, level)| *level)
    }

    /// The most that any part writes.
    #[must_use]
    pub fn highest(&self) -> LogLevel {
        self.parts.iter().map(|(_, level)| *level).fold(self.general, Ord::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_level_is_for_all_parts_and_an_entry_for_its_own() {
        let filter = LogFilter::parse("warn, resolver=trace,ledger=off").unwrap();
        let levels = ["policy", "resolver", "ledger"].map(|part| filter.level_of(part));
        assert_eq!(levels, [LogLevel::Warn, LogLevel::Trace, LogLevel::Off]);
        assert_eq!(filter.highest(), LogLevel::Trace);
        assert_eq!(LogFilter::parse("off").unwrap().highest(), LogLevel::Off);
        assert_eq!(LogFilter::parse("ledger=info").unwrap().level_of("policy"), LogLevel::Off);
    }

    #[test]
    fn a_word_that_is_not_known_makes_the_whole_value_wrong() {
        for value in ["", "loud", "resolvr=debug", "resolver=", "debug,", "=debug"] {
            assert_eq!(LogFilter::parse(value), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(value in "[a-z=, ]{0,80}|.{0,80}") {
            let _ = LogFilter::parse(&value).map(|filter| filter.level_of("resolver"));
        }
    }
}

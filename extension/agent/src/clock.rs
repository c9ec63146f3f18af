//! The wall clock of records, and the day by which `enforce_after` is judged.
//!
//! The only place that reads it.

use std::time::{SystemTime, UNIX_EPOCH};

use ringfence_policy::Date;
use ringfence_records::time::Timestamp;

/// This moment.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_clock(since.as_secs(), since.subsec_nanos())
}

/// This day, UTC.
pub(crate) fn today() -> Date {
    Date::from_unix_seconds(now().0 / 1000)
}

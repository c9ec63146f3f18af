//! A batch of telemetry as the platform posts it: JSON in the form of the developer guide, "Lambda Telemetry API".
//!
//! The body may be forged, so every field may be missing or of another type. It decides nothing; the listener calls it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringfence_records::time::Timestamp;
use serde::Deserialize;

/// One event; only the fields that are used.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(crate) struct Event {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// When it was, where that can be read.
    #[serde(deserialize_with = "moment")]
    pub(crate) time: Option<SystemTime>,
    pub(crate) record: Record,
}

/// `2026-11-30T21:40:12.123Z`, with any number of digits behind the point. Anything else is no time.
fn moment<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let time = value.as_str().and_then(|text| Timestamp::parse(text.as_bytes()));
    Ok(time.map(|time| UNIX_EPOCH + Duration::from_millis(time.0)))
}

/// The record of a `platform.*` event. Function lines are text, so anything else reads as empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) request: String,
    /// The X-Ray header.
    pub(crate) trace: String,
    /// The extension's name.
    pub(crate) name: String,
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let text = |pointer: &str| {
            value.pointer(pointer).and_then(|found| found.as_str()).unwrap_or_default().to_owned()
        };
        Ok(Self { request: text("/requestId"), trace: text("/tracing/value"), name: text("/name") })
    }
}

/// The events of a batch; none where it is not one.
pub(crate) fn parse(body: &[u8]) -> Vec<Event> {
    serde_json::from_slice(body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_batch_gives_its_events() {
        let batch = br#"[{"time":"t","type":"platform.start","record":{"requestId":"r1","version":"1","tracing":{"spanId":"s","type":"X","value":"Root=1-2"}}},
            {"time":"1970-01-01T00:00:01.5Z","type":"platform.runtimeDone","record":{"requestId":"r1","status":"success"}},
            {"time":"t","type":"function","record":"a line"}]"#;
        let events = parse(batch);
        assert_eq!(
            events[0].record,
            Record { request: "r1".to_owned(), trace: "Root=1-2".to_owned(), ..Record::default() }
        );
        assert_eq!((&*events[1].kind, &*events[1].record.request), ("platform.runtimeDone", "r1"));
        assert_eq!(events[1].time, Some(UNIX_EPOCH + Duration::from_millis(1500)));
        assert_eq!((&events[2].record, events[2].time), (&Record::default(), None));
    }

    proptest! {
        #[test]
        fn garbage_gives_no_events(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            assert!(parse(&body).is_empty());
        }
    }
}

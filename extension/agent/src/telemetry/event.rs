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
    use serde_json::json;

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

    /// What AWS's crate reads of a batch: kind, time in milliseconds, request, trace and name of each event.
    fn oracle(batch: &[u8]) -> Vec<(String, i64, [String; 3])> {
        use lambda_extension::{LambdaTelemetry, LambdaTelemetryRecord as R};
        let events: Vec<LambdaTelemetry<serde_json::Value>> = serde_json::from_slice(batch).unwrap();
        let value = |tracing: Option<lambda_extension::TraceContext>| {
            tracing.map(|tracing| tracing.value).unwrap_or_default()
        };
        let known = events.into_iter().map(|event| {
            let (kind, fields) = match event.record {
                R::Function(_) => ("function", [String::new(), String::new(), String::new()]),
                R::Extension(_) => ("extension", [String::new(), String::new(), String::new()]),
                R::PlatformInitStart { .. } => ("platform.initStart", Default::default()),
                R::PlatformInitRuntimeDone { .. } => ("platform.initRuntimeDone", Default::default()),
                R::PlatformInitReport { .. } => ("platform.initReport", Default::default()),
                R::PlatformStart { request_id, tracing, .. } => {
                    ("platform.start", [request_id, value(tracing), String::new()])
                }
                R::PlatformRuntimeDone { request_id, tracing, .. } => {
                    ("platform.runtimeDone", [request_id, value(tracing), String::new()])
                }
                R::PlatformReport { request_id, tracing, .. } => {
                    ("platform.report", [request_id, value(tracing), String::new()])
                }
                R::PlatformExtension { name, .. } => {
                    ("platform.extension", [String::new(), String::new(), name])
                }
                R::PlatformTelemetrySubscription { name, .. } => {
                    ("platform.telemetrySubscription", [String::new(), String::new(), name])
                }
                R::PlatformLogsDropped { .. } => ("platform.logsDropped", Default::default()),
            };
            (kind.to_owned(), event.time.timestamp_millis(), fields)
        });
        known.collect()
    }

    /// A record of each kind, with and without what may be left out.
    fn record() -> impl Strategy<Value = serde_json::Value> {
        let trace = proptest::option::of("[ -~]{0,30}").prop_map(|value| {
            value
                .map(|value| json!({"spanId": "54565fb41ac79632", "type": "X-Amzn-Trace-Id", "value": value}))
        });
        ("[ -~é]{1,36}", trace, 0_usize..13, any::<bool>()).prop_map(|(text, tracing, kind, long)| {
            let spans = json!([{"name": "responseLatency", "start": "2022-08-02T12:01:23.521Z", "durationMs": 23.02}]);
            let metrics = json!({"durationMs": 101.51, "billedDurationMs": 300, "memorySizeMB": 512, "maxMemoryUsedMB": 33,
                "initDurationMs": 116.67, "producedBytes": 276});
            let (kind, mut record) = match kind {
                0 => ("function", json!(text)),
                1 => ("function", json!({"level": "INFO", "requestId": text, "message": {"name": text}})),
                2 => ("extension", json!(text)),
                3 => ("platform.initStart", json!({"initializationType": "on-demand", "phase": "init", "runtimeVersion": text})),
                4 => ("platform.initRuntimeDone", json!({"initializationType": "snap-start", "status": "success", "spans": spans})),
                5 => ("platform.initReport", json!({"initializationType": "provisioned-concurrency", "phase": "invoke",
                    "metrics": {"durationMs": 125.33}, "spans": spans})),
                6 => ("platform.start", json!({"requestId": text, "version": "$LATEST"})),
                7 => ("platform.runtimeDone", json!({"requestId": text, "status": "timeout"})),
                8 => ("platform.runtimeDone", json!({"requestId": text, "status": "error", "errorType": text, "metrics": metrics})),
                9 => ("platform.report", json!({"requestId": text, "status": "failure", "metrics": metrics, "spans": spans})),
                10 => ("platform.extension", json!({"name": text, "state": "Ready", "events": ["INVOKE", "SHUTDOWN"]})),
                11 => ("platform.telemetrySubscription", json!({"name": text, "state": "Subscribed", "types": ["platform"]})),
                _ => ("platform.logsDropped", json!({"reason": text, "droppedRecords": 123, "droppedBytes": 12345})),
            };
            if let (6..=9, Some(tracing)) = (index(kind), tracing) {
                record["tracing"] = tracing;
            }
            if long {
                // A field of a schema to come.
                if let Some(fields) = record.as_object_mut() {
                    fields.insert("toCome".to_owned(), json!([{}, null, 1e300]));
                }
            }
            json!({"type": kind, "record": record})
        })
    }

    /// Where the kinds with a trace stand: they have a request.
    fn index(kind: &str) -> usize {
        if matches!(kind, "platform.start" | "platform.runtimeDone" | "platform.report") { 6 } else { 0 }
    }

    proptest! {
        #[test]
        fn what_awss_crate_reads_is_read_the_same(
            records in proptest::collection::vec((record(), 0_u64..4_102_444_800_000, 0_usize..4), 0..5),
        ) {
            let events: Vec<serde_json::Value> = records
                .into_iter()
                .map(|(mut event, milliseconds, form)| {
                    event["time"] = json!(time(milliseconds, form));
                    event
                })
                .collect();
            let batch = serde_json::to_vec(&events).unwrap();
            let read = parse(&batch).into_iter().map(|event| {
                let since = event.time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map(|since| since.as_millis());
                let since = since.and_then(|since| i64::try_from(since).ok()).unwrap_or(-1);
                (event.kind, since, [event.record.request, event.record.trace, event.record.name])
            });
            // Text of the function is its own, whatever fields it has.
            let read: Vec<_> = read
                .map(|(kind, since, fields)| if kind == "function" { (kind, since, Default::default()) } else { (kind, since, fields) })
                .collect();
            prop_assert_eq!(read, oracle(&batch));
        }
    }

    /// A time as the platform writes it, with more digits or fewer.
    fn time(milliseconds: u64, form: usize) -> String {
        let time = Timestamp(milliseconds).to_string();
        let whole = time.trim_end_matches('Z');
        match form {
            0 => time,
            1 => format!("{whole}000Z"),
            2 => format!("{whole}000000Z"),
            _ => format!("{}Z", whole.trim_end_matches('0').trim_end_matches('.')),
        }
    }

    proptest! {
        #[test]
        fn garbage_gives_no_events(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            assert!(parse(&body).is_empty());
        }
    }
}

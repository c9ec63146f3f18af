//! The log stream: every record of platform, function and extensions in one order, printed and passed to telemetry.
//!
//! Decides the two output forms (one JSON object a line, or what CloudWatch shows); must not know how records come
//! about. Called by every part of the service.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::telemetry::Telemetry;
use crate::clock::rfc3339;
use crate::options::OutputFormat;

/// Where a record comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The platform; the event's name, as in `platform.start`.
    Platform(&'static str),
    /// The function's standard output and error.
    Function,
    /// An extension's.
    Extension,
}

impl Origin {
    /// The telemetry type that subscribers ask for.
    pub(crate) fn subscription(self) -> &'static str {
        match self {
            Self::Platform(_) => "platform",
            Self::Function => "function",
            Self::Extension => "extension",
        }
    }

    fn event(self) -> &'static str {
        if let Self::Platform(name) = self { name } else { self.subscription() }
    }
}

/// What a record says.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Content {
    /// The platform's own fields.
    Fields(Value),
    /// A printed line that is a JSON object, as it was printed.
    Json(Box<RawValue>),
    /// Any other line.
    Text(String),
}

impl From<&Value> for Content {
    fn from(fields: &Value) -> Self {
        Self::Fields(fields.clone())
    }
}

impl Content {
    /// A printed line. JSON with line breaks in it would break the output's lines, so it stays text.
    pub(crate) fn line(line: &str) -> Self {
        let json = line.starts_with('{') && !line.contains('\n');
        match serde_json::from_str::<Box<RawValue>>(line) {
            Ok(raw) if json => Self::Json(raw),
            _ => Self::Text(line.to_owned()),
        }
    }
}

/// A line of the JSON output; its fields in the order of the contract.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a, R> {
    #[serde(rename = "type")]
    kind: &'a str,
    request_id: Option<&'a str>,
    record: &'a R,
}

/// A record as the log stream and telemetry subscribers have it.
#[derive(Serialize)]
struct Event<'a> {
    time: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    record: &'a Content,
}

fn encoded(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The one place that records go through.
pub(crate) struct LogStream {
    output: Mutex<Box<dyn Write + Send>>,
    format: OutputFormat,
    pub(crate) telemetry: Telemetry,
}

impl LogStream {
    pub(crate) fn new(output: Box<dyn Write + Send>, format: OutputFormat, telemetry: Telemetry) -> Self {
        Self { output: Mutex::new(output), format, telemetry }
    }

    /// Adds a record to the stream.
    pub(crate) fn emit(&self, origin: Origin, request_id: Option<&str>, record: impl Into<Content>) {
        let record = &record.into();
        let time = rfc3339(SystemTime::now());
        let event = Event { time: &time, kind: origin.event(), record };
        let line = match self.format {
            OutputFormat::Json => {
                let kind = origin.subscription();
                Some(if matches!(origin, Origin::Platform(_)) {
                    encoded(&Line { kind, request_id, record: &event })
                } else {
                    encoded(&Line { kind, request_id, record })
                })
            }
            OutputFormat::Text => text(origin, record),
        };
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = line {
            let _ = output.write_all(format!("{line}\n").as_bytes());
        }
        self.telemetry.publish(origin.subscription(), &encoded(&event));
    }

    /// Prints a line that is no part of the log stream: `json` or `text`, after the chosen form.
    pub(crate) fn print(&self, json: &impl Serialize, text: &str) {
        let line = if self.format == OutputFormat::Json { encoded(json) } else { text.to_owned() };
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = output.write_all(format!("{line}\n").as_bytes());
        let _ = output.flush();
    }
}

/// What CloudWatch shows in its text format; `None` for events that it does not show.
fn text(origin: Origin, record: &Content) -> Option<String> {
    match (origin, record) {
        (_, Content::Text(line)) => Some(line.clone()),
        (_, Content::Json(raw)) => Some(raw.get().to_owned()),
        (Origin::Platform(event), Content::Fields(fields)) => platform_text(event, fields),
        (_, Content::Fields(fields)) => Some(fields.to_string()),
    }
}

fn platform_text(event: &str, record: &Value) -> Option<String> {
    let field = |name: &str| shown(record.get(name));
    Some(match event {
        "platform.initStart" => format!("INIT_START Runtime Version: {}", field("runtimeVersion")),
        "platform.initReport" if field("status") != "success" => format!(
            "INIT_REPORT Init Duration: {} ms\tPhase: {}\tStatus: {}",
            shown(record.pointer("/metrics/durationMs")),
            field("phase"),
            field("status")
        ),
        "platform.extension" => {
            format!(
                "EXTENSION\tName: {}\tState: {}\tEvents: {}",
                field("name"),
                field("state"),
                field("events")
            )
        }
        "platform.telemetrySubscription" => {
            format!(
                "TELEMETRY\tName: {}\tState: {}\tTypes: {}",
                field("name"),
                field("state"),
                field("types")
            )
        }
        "platform.start" => format!("START RequestId: {} Version: {}", field("requestId"), field("version")),
        "platform.runtimeDone" => format!("END RequestId: {}", field("requestId")),
        "platform.report" => report(record),
        "platform.logsDropped" => format!("LOGS_DROPPED {record}"),
        _ => return None,
    })
}

fn report(record: &Value) -> String {
    let metric = |name: &str| shown(record.get("metrics").and_then(|m| m.get(name)));
    let mut line = format!(
        "REPORT RequestId: {}\tDuration: {} ms\tBilled Duration: {} ms\tMemory Size: {} MB\tMax Memory Used: {} MB",
        shown(record.get("requestId")),
        metric("durationMs"),
        metric("billedDurationMs"),
        metric("memorySizeMB"),
        metric("maxMemoryUsedMB")
    );
    if record.pointer("/metrics/initDurationMs").is_some() {
        let _ = write!(line, "\tInit Duration: {} ms", metric("initDurationMs"));
    }
    if record.get("status").is_some_and(|s| s != "success") {
        let _ = write!(line, "\tStatus: {}", shown(record.get("status")));
    }
    if let Some(kind) = record.get("errorType") {
        let _ = write!(line, "\tError Type: {}", shown(Some(kind)));
    }
    line
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            format!("[{}]", items.iter().map(|v| shown(Some(v))).collect::<Vec<_>>().join(", "))
        }
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn platform_events_read_as_in_the_console() {
        let metrics = json!({"durationMs": 1.5, "billedDurationMs": 2, "memorySizeMB": 512, "maxMemoryUsedMB": 40,
            "initDurationMs": 80.25});
        let events = [
            ("platform.start", json!({"requestId": "r", "version": "$LATEST"})),
            ("platform.runtimeDone", json!({"requestId": "r", "status": "success"})),
            ("platform.report", json!({"requestId": "r", "status": "timeout", "metrics": metrics})),
            ("platform.extension", json!({"name": "e", "state": "Ready", "events": ["INVOKE", "SHUTDOWN"]})),
        ];
        let lines: Vec<_> = events.iter().filter_map(|(e, r)| platform_text(e, r)).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        START RequestId: r Version: $LATEST
        END RequestId: r
        REPORT RequestId: r	Duration: 1.5 ms	Billed Duration: 2 ms	Memory Size: 512 MB	Max Memory Used: 40 MB	Init Duration: 80.25 ms	Status: timeout
        EXTENSION	Name: e	State: Ready	Events: [INVOKE, SHUTDOWN]
        ");
    }

    #[test]
    fn only_objects_become_objects() {
        assert!(
            matches!(Content::line("{\"z\":1,\"a\":2}"), Content::Json(raw) if raw.get() == "{\"z\":1,\"a\":2}")
        );
        for text in ["12", "{broken", "{\"a\":\n1}", "[]"] {
            assert!(matches!(Content::line(text), Content::Text(_)), "{text}");
        }
    }
}

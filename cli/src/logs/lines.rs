//! Finds the records in a line of a log, byte for byte as the agent wrote them: a signature covers bytes.
//!
//! A line is the record itself, a record behind a prefix (`aws logs tail`, an export to S3), a member of an object (the local
//! Lambda, an exported event), of a list of events, of several such objects (a delivery stream), of rows (Logs Insights), or
//! one line of a printed event (the AWS CLI). It does not judge a record.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Deepest nesting of objects around a record.
const MAX_DEPTH: usize = 3;
/// Most records that one line may hold: a page of `filter-log-events` on one line has up to 10,000 events.
const MAX_RECORDS: usize = 10_000;
/// Members that hold a record, or text with one: of the local Lambda, of events, of Logs Insights.
const TEXTS: [&str; 4] = ["record", "message", "@message", "value"];

/// A record, and what the log says of where it came from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    /// The record's JSON without a line feed.
    pub(super) text: Cow<'a, str>,
    /// The log itself says that the function printed it, and not an extension.
    pub(super) by_function: bool,
}

/// The records of a line; most lines have none.
pub(super) fn records(line: &str) -> Vec<Found<'_>> {
    let mut found = Vec::new();
    if !line.contains("ringfence") {
        return found;
    }
    if let Some(text) = member(line) {
        collect(Cow::Owned(text), false, 0, &mut found);
    } else if line.trim_start().starts_with('[') {
        list(line, false, 0, &mut found);
    }
    if found.is_empty()
        && let Some(start) = line.find('{')
    {
        sequence(line.get(start..).unwrap_or_default(), &mut found);
    }
    found
}

/// The text of a member that stands on a line of its own, as the AWS CLI prints events:
/// `"message": "{\"timestamp\"…}",`.
fn member(line: &str) -> Option<String> {
    let line = line.trim().trim_end_matches(',');
    let (_, text) = TEXTS.into_iter().find_map(|name| {
        let rest = line.strip_prefix('"')?.strip_prefix(name)?.strip_prefix('"')?;
        Some((name, rest.trim_start().strip_prefix(':')?.trim_start()))
    })?;
    let text: String = serde_json::from_str(text).ok()?;
    let start = text.find('{')?;
    text.get(start..).map(|record| record.trim_end().to_owned())
}

/// Objects one after the other, as a delivery stream writes them.
fn sequence<'a>(text: &'a str, found: &mut Vec<Found<'a>>) {
    let mut rest = text;
    while !rest.is_empty() && found.len() < MAX_RECORDS {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let Some(Ok(value)) = values.next() else { break };
        collect(Cow::Borrowed(value.get()), false, 0, found);
        let end = values.byte_offset();
        rest = rest.get(end..).unwrap_or_default();
    }
}

/// A list of objects, or of lists of them.
fn list(text: &str, by_function: bool, depth: usize, found: &mut Vec<Found<'_>>) {
    if depth > MAX_DEPTH {
        return;
    }
    for value in serde_json::from_str::<Vec<&RawValue>>(text).unwrap_or_default() {
        if value.get().starts_with('[') {
            list(value.get(), by_function, depth + 1, found);
        } else {
            collect(Cow::Owned(value.get().to_owned()), by_function, depth + 1, found);
        }
    }
}

fn collect<'a>(text: Cow<'a, str>, by_function: bool, depth: usize, found: &mut Vec<Found<'a>>) {
    if depth > MAX_DEPTH || found.len() >= MAX_RECORDS {
        return;
    }
    let Ok(members) = serde_json::from_str::<HashMap<Cow<'_, str>, &RawValue>>(&text) else { return };
    if members.contains_key("ringfence") {
        return found.push(Found { text, by_function });
    }
    let by_function = by_function || members.get("type").is_some_and(|kind| kind.get() == "\"function\"");
    // An object as it stands, or text that holds one; of an export, a list of events.
    for name in TEXTS {
        let Some(value) = members.get(name) else { continue };
        let inner = String::deserialize(*value).unwrap_or_else(|_| value.get().to_owned());
        if inner.contains("ringfence")
            && let Some(start) = inner.find('{')
        {
            let inner = inner.get(start..).unwrap_or_default().trim_end().to_owned();
            collect(Cow::Owned(inner), by_function, depth + 1, found);
        }
    }
    for name in ["events", "logEvents", "results"] {
        if let Some(events) = members.get(name) {
            list(events.get(), by_function, depth, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RECORD: &str =
        r#"{"timestamp":"t","message":"ringfence blocked a","ringfence":{"kind":"violation"}}"#;

    fn texts(line: &str) -> Vec<(String, bool)> {
        records(line).into_iter().map(|found| (found.text.into_owned(), found.by_function)).collect()
    }

    #[test]
    fn a_record_is_found_in_each_form_of_a_log() {
        let quoted = serde_json::to_string(&format!("{RECORD}\n")).unwrap();
        for line in [
            RECORD.to_owned(),
            format!("2026-11-22T01:02:03 2026/11/22/[$LATEST]abc {RECORD}"),
            format!(r#"{{"type":"extension","requestId":null,"record":{RECORD}}}"#),
            format!(r#"{{"timestamp":1,"message":{quoted}}}"#),
            format!(r#"{{"@timestamp":"x","@message":{quoted}}}"#),
            format!(r#"{{"events":[{{"message":{quoted}}}]}}"#),
            format!("            \"message\": {quoted},"),
            format!(r#"  "@message": {quoted}"#),
            format!(
                r#"{{"messageType":"CONTROL_MESSAGE"}}{{"logEvents":[{{"id":"1","message":{quoted}}}]}}"#
            ),
            format!(r#"[[{{"field":"@timestamp","value":"t"}},{{"field":"@message","value":{quoted}}}]]"#),
            format!(r#"{{"results":[[{{"field":"@message","value":{quoted}}}]],"status":"Complete"}}"#),
        ] {
            assert_eq!(texts(&line), [(RECORD.to_owned(), false)], "{line}");
        }
        let forged = format!(r#"{{"type":"function","record":{RECORD}}}"#);
        assert_eq!(texts(&forged), [(RECORD.to_owned(), true)]);
    }

    #[test]
    fn other_lines_have_none() {
        for line in
            ["", "START RequestId: 1", "{\"a\":1}", "ringfence {", "{\"message\":\"ringfence is not here\"}"]
        {
            assert!(records(line).is_empty(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in "[{}\\[\\]\",:a-z\\\\ ]{0,200}") {
            let _ = records(&format!("ringfence {text}"));
            let _ = records(&format!(r#"{{"message":"{text}","ringfence":{text}"#));
            let _ = records(&format!(r#"[[{{"value":"ringfence{text}"}},{text}]]"#));
            let _ = records(&format!(r#""message": "ringfence{text}","#));
        }
    }
}

//! Finds the records in a line of a log, byte for byte as the agent wrote them: a signature covers bytes.
//!
//! A line is the record itself, a record behind a prefix (`aws logs tail`), a member of an object (the local Lambda, an
//! exported event), or a member of a list of events. It does not judge a record.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Deepest nesting of objects around a record.
const MAX_DEPTH: usize = 3;
/// Most records that one line may hold: a page of `filter-log-events` on one line has up to 10,000 events.
const MAX_RECORDS: usize = 10_000;

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
    if line.contains("ringfence")
        && let Some(start) = line.find('{')
    {
        collect(Cow::Borrowed(line.get(start..).unwrap_or_default()), false, 0, &mut found);
    }
    found
}

fn collect<'a>(text: Cow<'a, str>, by_function: bool, depth: usize, found: &mut Vec<Found<'a>>) {
    if depth > MAX_DEPTH || found.len() >= MAX_RECORDS {
        return;
    }
    let Ok(members) = serde_json::from_str::<HashMap<String, &RawValue>>(&text) else { return };
    if members.contains_key("ringfence") {
        return found.push(Found { text, by_function });
    }
    let by_function = by_function || members.get("type").is_some_and(|kind| kind.get() == "\"function\"");
    // An object as it stands, or text that holds one; of an export, a list of events.
    for name in ["record", "message", "@message"] {
        let Some(value) = members.get(name) else { continue };
        let inner = String::deserialize(*value).unwrap_or_else(|_| value.get().to_owned());
        if inner.contains("ringfence")
            && let Some(start) = inner.find('{')
        {
            let inner = inner.get(start..).unwrap_or_default().trim_end().to_owned();
            collect(Cow::Owned(inner), by_function, depth + 1, found);
        }
    }
    let events = members.get("events").or_else(|| members.get("logEvents"));
    for event in events.and_then(|list| Vec::<&RawValue>::deserialize(*list).ok()).unwrap_or_default() {
        collect(Cow::Owned(event.get().to_owned()), by_function, depth + 1, found);
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
        }
    }
}

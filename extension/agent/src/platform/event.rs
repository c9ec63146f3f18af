//! An event of the Extensions API as the platform sends it: JSON in the form of the developer guide.
//!
//! It decides nothing; [`super::Platform`] calls it.

use serde::Deserialize;

/// An event of the Extensions API.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// An invocation begins.
    Invoke {
        request: String,
        /// The X-Ray header.
        trace: String,
        /// When the function times out, in milliseconds since the epoch; 0 where it is not said.
        deadline: u64,
    },
    /// The environment ends.
    Shutdown { reason: String },
    /// One that this version does not know.
    Other,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct WireEvent {
    event_type: String,
    request_id: String,
    deadline_ms: u64,
    shutdown_reason: String,
    tracing: WireTracing,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireTracing {
    value: String,
}

/// Reads the answer to `/event/next`.
///
/// # Errors
/// Those of JSON: the body is no event.
pub(crate) fn parse(body: &[u8]) -> Result<Event, serde_json::Error> {
    let event: WireEvent = serde_json::from_slice(body)?;
    Ok(match &*event.event_type {
        "INVOKE" => Event::Invoke {
            request: event.request_id,
            trace: event.tracing.value,
            deadline: event.deadline_ms,
        },
        "SHUTDOWN" => Event::Shutdown { reason: event.shutdown_reason },
        _ => Event::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn events_are_read_as_the_guide_shows_them() {
        let invoke = br#"{"eventType":"INVOKE","deadlineMs":676051,"requestId":"3da1","invokedFunctionArn":"arn","tracing":{"type":"X-Amzn-Trace-Id","value":"Root=1-5f"}}"#;
        assert_eq!(
            parse(invoke).unwrap(),
            Event::Invoke { request: "3da1".to_owned(), trace: "Root=1-5f".to_owned(), deadline: 676_051 }
        );
        let shutdown = br#"{"eventType":"SHUTDOWN","shutdownReason":"spindown","deadlineMs":676051}"#;
        assert_eq!(parse(shutdown).unwrap(), Event::Shutdown { reason: "spindown".to_owned() });
        assert_eq!(parse(br#"{"eventType":"RESTORE"}"#).unwrap(), Event::Other);
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_not_a_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&body);
        }
    }
}

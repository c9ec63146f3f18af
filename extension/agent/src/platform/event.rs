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
        fn what_awss_crate_reads_is_read_the_same(
            request in "[ -~é]{0,40}", trace in proptest::option::of("[ -~]{0,60}"), deadline: u64,
            reason in proptest::sample::select(&["SPINDOWN", "TIMEOUT", "FAILURE", "spindown"][..]), shutdown: bool,
        ) {
            use lambda_extension::NextEvent;
            let mut event = if shutdown {
                serde_json::json!({"eventType": "SHUTDOWN", "shutdownReason": reason, "deadlineMs": deadline})
            } else {
                serde_json::json!({"eventType": "INVOKE", "deadlineMs": deadline, "requestId": request, "invokedFunctionArn": "arn"})
            };
            if let Some(trace) = trace {
                event["tracing"] = serde_json::json!({"type": "X-Amzn-Trace-Id", "value": trace});
            }
            let body = serde_json::to_vec(&event).unwrap();
            let expected = match serde_json::from_slice::<NextEvent>(&body).unwrap() {
                NextEvent::Invoke(event) => Event::Invoke {
                    request: event.request_id,
                    trace: event.tracing.value,
                    deadline: event.deadline_ms,
                },
                NextEvent::Shutdown(event) => Event::Shutdown { reason: event.shutdown_reason },
            };
            prop_assert_eq!(parse(&body).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_not_a_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&body);
        }
    }
}

//! The Telemetry API, version 2022-07-01: PUT /telemetry.
//!
//! Decides whether a subscription is acceptable: schema, types, buffering limits, destination, and that the extension
//! is registered and the environment still starting. Called by the server's threads.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::extensions_api::identifier;
use super::records::Origin;
use super::runtime_api::refusal;
use super::state::{Shared, Stage};
use super::telemetry::{Subscription, TelemetryMode};
use crate::http::{Request, Response};

/// How often a caller that is never answered is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    schema_version: String,
    types: Vec<String>,
    #[serde(default)]
    buffering: Buffering,
    destination: Destination,
}

/// The defaults are Lambda's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Buffering {
    max_items: usize,
    max_bytes: usize,
    timeout_ms: u64,
}

impl Default for Buffering {
    fn default() -> Self {
        Self { max_items: 10_000, max_bytes: 262_144, timeout_ms: 1_000 }
    }
}

#[derive(Deserialize)]
struct Destination {
    protocol: String,
    #[serde(rename = "URI", alias = "uri")]
    uri: String,
}

/// Answers a subscription. `None`: the connection is to be closed without an answer.
pub(crate) fn handle(shared: &Shared, request: &Request, alive: &dyn Fn() -> bool) -> Option<Response> {
    if request.method != "PUT" {
        return Some(refusal(404, "NotFound", "no such resource"));
    }
    match shared.log.telemetry.mode {
        TelemetryMode::On => Some(subscribe(shared, request).unwrap_or_else(|refused| refused)),
        TelemetryMode::Off => {
            let body = json!({"errorType": "Telemetry.NotSupported", "errorMessage": "Telemetry API is not supported"});
            Some(Response::json(202, &body))
        }
        TelemetryMode::Silent => {
            while alive() && !shared.state().interrupted {
                thread::sleep(LOOK_EVERY);
            }
            None
        }
    }
}

fn subscribe(shared: &Shared, request: &Request) -> Result<Response, Response> {
    let identifier = identifier(request)?;
    let name = {
        let mut state = shared.state();
        let open = state.stage == Stage::Init;
        let extension = state.extension(identifier);
        let name = extension.map(|e| e.name.clone());
        let name =
            name.ok_or_else(|| refusal(403, "Extension.UnknownExtensionIdentifier", "Unknown extension"))?;
        if !open {
            return Err(refusal(
                403,
                "Telemetry.SubscriptionClosed",
                "Telemetry API subscription is closed already",
            ));
        }
        name
    };
    if shared.settings.managed && shared.log.telemetry.is_subscribed(&name) {
        return Err(refusal(500, "Telemetry.AlreadySubscribed", "Telemetry API subscription exists already"));
    }
    let body: Body = serde_json::from_slice(&request.body).map_err(|e| invalid(&e.to_string()))?;
    let subscription = accept(&body, name, shared.settings.managed).map_err(|reason| invalid(&reason))?;
    let record = json!({"name": subscription.name, "state": "Subscribed", "types": subscription.types});
    shared.log.telemetry.subscribe(subscription);
    shared.log.emit(Origin::Platform("platform.telemetrySubscription"), None, &record);
    Ok(Response { status: 200, body: b"OK".to_vec(), ..Response::default() })
}

fn invalid(reason: &str) -> Response {
    refusal(400, "ValidationError", reason)
}

fn accept(body: &Body, name: String, managed: bool) -> Result<Subscription, String> {
    let schemas: &[&str] =
        if managed { &["2025-01-29"] } else { &["2022-07-01", "2022-12-13", "2025-01-29"] };
    if !schemas.contains(&body.schema_version.as_str()) {
        return Err(format!("schemaVersion must be one of {}", schemas.join(", ")));
    }
    let known = |t: &String| matches!(t.as_str(), "platform" | "function" | "extension");
    if body.types.is_empty() || !body.types.iter().all(known) {
        return Err("types are platform, function and extension".into());
    }
    let Buffering { max_items, max_bytes, timeout_ms } = body.buffering;
    if !(1_000..=10_000).contains(&max_items)
        || !(262_144..=1_048_576).contains(&max_bytes)
        || !(25..=30_000).contains(&timeout_ms)
    {
        return Err("buffering: maxItems 1000..10000, maxBytes 262144..1048576, timeoutMs 25..30000".into());
    }
    if !body.destination.protocol.eq_ignore_ascii_case("HTTP") {
        return Err("destination.protocol must be HTTP".into());
    }
    let (port, path) = destination(&body.destination.uri)?;
    Ok(Subscription {
        name,
        types: body.types.clone(),
        destination: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        path,
        max_items,
        max_bytes,
        timeout: Duration::from_millis(timeout_ms),
    })
}

/// Port and path of `http://sandbox.localdomain:PORT/PATH`.
fn destination(uri: &str) -> Result<(u16, String), String> {
    let wrong = || format!("destination.URI must be http://sandbox.localdomain:PORT/, not {uri}");
    let rest = uri.strip_prefix("http://").ok_or_else(wrong)?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (name, port) = host.split_once(':').unwrap_or((host, "80"));
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
    let plain = path.bytes().all(|b| b.is_ascii_graphic());
    if !matches!(name, "sandbox.localdomain" | "sandbox") || !plain {
        return Err(wrong());
    }
    Ok((port, format!("/{path}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(schema: &str, timeout: u64, uri: &str) -> Body {
        serde_json::from_value(json!({"schemaVersion": schema, "types": ["platform", "function"],
            "buffering": {"maxItems": 1000, "maxBytes": 262_144, "timeoutMs": timeout},
            "destination": {"protocol": "HTTP", "URI": uri}}))
        .unwrap()
    }

    #[test]
    fn lambdas_limits_hold() {
        let uri = "http://sandbox.localdomain:4243/secret";
        let accepted = accept(&body("2022-12-13", 25, uri), "e".into(), false).unwrap();
        assert_eq!((accepted.destination.port(), accepted.path.as_str()), (4243, "/secret"));
        assert!(accept(&body("2022-12-13", 24, uri), "e".into(), false).is_err());
        assert!(accept(&body("2022-12-13", 25, uri), "e".into(), true).is_err());
        assert!(accept(&body("2025-01-29", 25, uri), "e".into(), true).is_ok());
        assert!(accept(&body("2025-01-29", 25, "http://evil.example:1/"), "e".into(), true).is_err());
    }

    proptest! {
        #[test]
        fn no_uri_brings_a_line_break_into_the_request(uri in "http://sandbox:[0-9]{1,5}/.*") {
            if let Ok((_, path)) = destination(&uri) {
                prop_assert!(!path.contains(['\r', '\n', ' ']));
            }
        }
    }
}

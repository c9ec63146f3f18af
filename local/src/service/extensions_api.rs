//! The Extensions API, version 2020-01-01: register, event/next, init/error, exit/error.
//!
//! Decides which events an extension gets. Registration closes when initialisation ends, and Managed Instances refuse
//! INVOKE. Called by the server's threads.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::records::Origin;
use super::runtime_api::refusal;
use super::state::{ACCOUNT, Extension, Shared, Stage};
use crate::clock::uuid;
use crate::http::{Request, Response};

/// How often a parked caller's connection is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Lambda's limit for one function.
const EXTENSIONS_MAX: usize = 10;

/// Answers a request below /2020-01-01/extension/. `None`: the connection is to be closed without an answer.
pub(crate) fn handle(
    shared: &Shared,
    request: &Request,
    path: &str,
    alive: &dyn Fn() -> bool,
) -> Option<Response> {
    match (request.method.as_str(), path) {
        ("POST", "register") => Some(register(shared, request)),
        ("GET", "event/next") => next(shared, request, alive),
        ("POST", "init/error" | "exit/error") => Some(error(shared, request)),
        _ => Some(refusal(404, "NotFound", "no such resource")),
    }
}

/// The identifier header's value, or the refusal for its absence.
pub(crate) fn identifier(request: &Request) -> Result<&str, Response> {
    request.header("Lambda-Extension-Identifier").ok_or_else(|| {
        refusal(403, "Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier")
    })
}

fn unknown() -> Response {
    refusal(403, "Extension.UnknownExtensionIdentifier", "Unknown extension")
}

struct Wanted {
    name: String,
    invoke: bool,
    shutdown: bool,
}

fn register(shared: &Shared, request: &Request) -> Response {
    let wanted = match wanted(shared, request) {
        Ok(wanted) => wanted,
        Err(refused) => return refused,
    };
    match shared.change(|state| {
        if state.stage != Stage::Init {
            return Err(refusal(
                403,
                "Extension.RegistrationClosed",
                "Extension registration closed already",
            ));
        }
        enrol(&mut state.extensions, &wanted)
    }) {
        Err(refused) => refused,
        Ok(identifier) => {
            let settings = &shared.settings;
            let mut body = json!({"functionName": settings.function, "functionVersion": "$LATEST",
                "handler": settings.handler});
            if request.header("Lambda-Extension-Accept-Feature").is_some_and(|f| f.contains("accountId")) {
                body.as_object_mut().map(|o| o.insert("accountId".into(), ACCOUNT.into()));
            }
            Response::json(200, &body).with("Lambda-Extension-Identifier", identifier)
        }
    }
}

fn wanted(shared: &Shared, request: &Request) -> Result<Wanted, Response> {
    let bad = |kind: &str, message: &str| refusal(400, kind, message);
    let name = request.header("Lambda-Extension-Name").filter(|n| !n.is_empty() && n.len() <= 128);
    let name =
        name.ok_or_else(|| bad("Extension.InvalidExtensionName", "Invalid extension name"))?.to_owned();
    let body: Value = serde_json::from_slice(&request.body)
        .map_err(|_| bad("InvalidRequestFormat", "the body is not JSON"))?;
    let events: Vec<&str> = body
        .get("events")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if events.iter().any(|e| !matches!(*e, "INVOKE" | "SHUTDOWN")) {
        return Err(bad("Extension.InvalidEventType", "events are INVOKE and SHUTDOWN"));
    }
    let invoke = events.contains(&"INVOKE");
    if invoke && shared.settings.managed {
        return Err(refusal(
            403,
            "Extension.InvalidEventType",
            "INVOKE is not available on Managed Instances",
        ));
    }
    Ok(Wanted { name, invoke, shutdown: events.contains(&"SHUTDOWN") })
}

/// An extension whose file stands in /opt/extensions takes its place there; any other is an internal one.
fn enrol(extensions: &mut Vec<Extension>, wanted: &Wanted) -> Result<String, Response> {
    let known = extensions.iter().position(|e| e.name == wanted.name);
    if known.is_none() {
        if wanted.shutdown {
            return Err(refusal(403, "Extension.InvalidEventType", "internal extensions have no SHUTDOWN"));
        }
        if extensions.len() >= EXTENSIONS_MAX {
            return Err(refusal(403, "Extension.TooManyExtensions", "at most 10 extensions"));
        }
        extensions.push(Extension { name: wanted.name.clone(), ..Extension::default() });
    }
    let place = known.and_then(|i| extensions.get_mut(i));
    let extension = match place {
        Some(extension) => extension,
        None => extensions.last_mut().ok_or_else(unknown)?,
    };
    if extension.identifier.is_some() {
        return Err(refusal(403, "Extension.AlreadyRegistered", "Extension already registered"));
    }
    let identifier = uuid();
    extension.identifier = Some(identifier.clone());
    (extension.invoke, extension.shutdown) = (wanted.invoke, wanted.shutdown);
    Ok(identifier)
}

fn next(shared: &Shared, request: &Request, alive: &dyn Fn() -> bool) -> Option<Response> {
    let identifier = match identifier(request) {
        Ok(identifier) => identifier,
        Err(refused) => return Some(refused),
    };
    let came = shared.change(|state| {
        let extension = state.extension(identifier)?;
        let first = extension.idle_since.is_none();
        extension.waiting = true;
        extension.idle_since = Some(Instant::now());
        Some(first.then(|| ready_record(extension)))
    });
    match came {
        None => return Some(unknown()),
        Some(Some(record)) => shared.log.emit(Origin::Platform("platform.extension"), None, &record),
        Some(None) => {}
    }
    let mut state = shared.state();
    loop {
        let interrupted = state.interrupted;
        let extension = state.extension(identifier)?;
        if interrupted || !alive() {
            extension.waiting = false;
            return None;
        }
        if let Some(event) = extension.events.pop_front() {
            extension.waiting = false;
            drop(state);
            shared.change(|_| ());
            return Some(Response::json(200, &event).with("Lambda-Extension-Event-Identifier", uuid()));
        }
        state = shared.pause(state, LOOK_EVERY);
    }
}

fn ready_record(extension: &Extension) -> Value {
    json!({"name": extension.name, "state": "Ready", "events": extension.subscriptions()})
}

fn error(shared: &Shared, request: &Request) -> Response {
    let identifier = match identifier(request) {
        Ok(identifier) => identifier,
        Err(refused) => return refused,
    };
    let Some(kind) = request.header("Lambda-Extension-Function-Error-Type") else {
        return refusal(400, "Extension.MissingHeader", "Missing Lambda-Extension-Function-Error-Type");
    };
    shared.change(|state| match state.extension(identifier) {
        None => unknown(),
        Some(extension) => {
            extension.error = Some(kind.to_owned());
            Response::json(202, &json!({"status": "OK"}))
        }
    })
}

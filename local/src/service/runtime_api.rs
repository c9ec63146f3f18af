//! The Runtime API, version 2018-06-01: next, response, error, init/error.
//!
//! Decides which caller gets an event and which answer counts. The first caller of /next is the runtime, as on Lambda:
//! nothing here tells an impostor apart. Called by the server's threads.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::state::{Answer, Invocation, Shared, State};
use crate::http::{Request, Response};

/// How often a parked caller's connection is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Answers a request below /2018-06-01/runtime/. `None`: the connection is to be closed without an answer.
pub(crate) fn handle(
    shared: &Shared,
    request: &Request,
    path: &str,
    alive: &dyn Fn() -> bool,
) -> Option<Response> {
    match (request.method.as_str(), path) {
        ("GET", "invocation/next") => next(shared, alive),
        ("POST", "init/error") => Some(init_error(shared, request)),
        ("POST", _) => {
            let (id, verb) = path.strip_prefix("invocation/")?.split_once('/')?;
            match verb {
                "response" => Some(answer(shared, id, request, is_success(request))),
                "error" => Some(answer(shared, id, request, false)),
                _ => Some(refusal(404, "NotFound", "no such resource")),
            }
        }
        _ => Some(refusal(404, "NotFound", "no such resource")),
    }
}

/// The error form of all Lambda's own APIs.
pub(crate) fn refusal(status: u16, kind: &str, message: &str) -> Response {
    Response::json(status, &json!({"errorType": kind, "errorMessage": message}))
}

fn accepted() -> Response {
    Response::json(202, &json!({"status": "OK"}))
}

/// A streamed response may say in its trailer that it failed on the way.
fn is_success(request: &Request) -> bool {
    request.header("Lambda-Runtime-Function-Error-Type").is_none()
}

fn next(shared: &Shared, alive: &dyn Fn() -> bool) -> Option<Response> {
    let mut state = shared.state();
    if shared.settings.concurrency == 1 && state.invocations.values().any(unanswered) {
        return Some(refusal(403, "InvalidStateTransition", "the last event has not been answered"));
    }
    let generation = state.generation;
    let ticket = state.tickets;
    state.tickets += 1;
    state.runtime.parked.push_back(ticket);
    state.runtime.asked_at = Some(Instant::now());
    drop(state);
    shared.change(|state| state.runtime.ready = true);
    let mut state = shared.state();
    loop {
        if state.generation != generation || state.interrupted || !alive() {
            state.runtime.parked.retain(|t| *t != ticket);
            return None;
        }
        if state.runtime.parked.front() == Some(&ticket)
            && let Some(id) = state.offered.pop_front()
        {
            state.runtime.parked.pop_front();
            let response = dispatch(shared, &mut state, &id);
            drop(state);
            shared.change(|_| ());
            return response;
        }
        state = shared.pause(state, LOOK_EVERY);
    }
}

fn unanswered(invocation: &Invocation) -> bool {
    invocation.taken.is_some() && invocation.answer.is_none()
}

fn dispatch(shared: &Shared, state: &mut State, id: &str) -> Option<Response> {
    let invocation = state.invocations.get_mut(id)?;
    invocation.taken = Some(Instant::now());
    let response = Response {
        status: 200,
        headers: vec![("Content-Type".into(), "application/json".into())],
        body: invocation.payload.to_vec(),
    };
    Some(
        response
            .with("Lambda-Runtime-Aws-Request-Id", id)
            .with("Lambda-Runtime-Deadline-Ms", invocation.deadline_ms.to_string())
            .with("Lambda-Runtime-Invoked-Function-Arn", shared.settings.arn())
            .with("Lambda-Runtime-Trace-Id", invocation.trace.clone()),
    )
}

fn answer(shared: &Shared, id: &str, request: &Request, success: bool) -> Response {
    let answer = Answer { success, payload: request.body.clone(), at: Instant::now() };
    shared.change(|state| match state.invocations.get_mut(id) {
        None => refusal(400, "InvalidRequestID", "Invalid request ID"),
        Some(invocation) if invocation.taken.is_none() || invocation.answer.is_some() => {
            refusal(403, "InvalidStateTransition", "not waiting for an answer")
        }
        Some(invocation) => {
            invocation.answer = Some(answer);
            accepted()
        }
    })
}

fn init_error(shared: &Shared, request: &Request) -> Response {
    let kind = request.header("Lambda-Runtime-Function-Error-Type").unwrap_or("Runtime.Unknown");
    let error = serde_json::from_slice(&request.body)
        .unwrap_or_else(|_| json!({"errorType": kind, "errorMessage": Value::Null}));
    shared.change(|state| {
        if state.runtime.ready {
            return refusal(403, "InvalidStateTransition", "initialisation is over");
        }
        state.runtime.init_error = Some(error);
        accepted()
    })
}

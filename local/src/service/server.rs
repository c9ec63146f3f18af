//! The server behind AWS_LAMBDA_RUNTIME_API: one thread a connection, keep-alive, every answer in one write.
//!
//! Decides which API a path belongs to and how many connections there may be. Must not know what the APIs do.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::runtime_api::refusal;
use super::state::Shared;
use super::{extensions_api, runtime_api, telemetry_api};
use crate::http::{Connection, HttpError, Request, Response};

/// Longest body: Lambda's limit for a response (6 MiB and some), and the 20 MiB that a stream may have at first.
const BODY_MAX: usize = 20 * 1024 * 1024;
/// Lambda's limit for a response that is not streamed, in bytes.
const RESPONSE_MAX: usize = 6 * 1024 * 1024 + 100;
/// A thousand processes may hold one each; more are closed at once.
const CONNECTIONS_MAX: usize = 1024;

/// Serves connections on threads of their own until the process ends.
pub(crate) fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let open = Arc::new(AtomicUsize::new(0));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                thread::sleep(Duration::from_millis(10));
                continue;
            };
            if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
                open.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (open, shared) = (Arc::clone(&open), Arc::clone(&shared));
            thread::spawn(move || {
                converse(stream, &shared);
                open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
}

fn converse(stream: TcpStream, shared: &Shared) {
    let _ = stream.set_nodelay(true);
    let mut connection = Connection::new(stream);
    loop {
        let response = match connection.request(BODY_MAX) {
            Ok(Some(request)) => {
                let Some(response) = route(shared, &request, &|| alive(connection.stream())) else { return };
                response
            }
            Ok(None) | Err(HttpError::Io(_)) => return,
            Err(error) => {
                let status = if matches!(error, HttpError::TooLarge) { 413 } else { 400 };
                let _ = connection.respond(&refusal(status, "RequestEntityTooLarge", &error.to_string()));
                return;
            }
        };
        if connection.respond(&response).is_err() {
            return;
        }
    }
}

/// Whether a caller that is kept waiting is still there.
fn alive(stream: &TcpStream) -> bool {
    let mut byte = [0u8; 1];
    let _ = stream.set_nonblocking(true);
    let seen = stream.peek(&mut byte);
    let _ = stream.set_nonblocking(false);
    match seen {
        Ok(length) => length > 0,
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    }
}

fn route(shared: &Shared, request: &Request, alive: &dyn Fn() -> bool) -> Option<Response> {
    let path = request.path.as_str();
    tracing::trace!(target: "local", method = request.method.as_str(), path, body = request.body.len(), "a request came");
    if let Some(rest) = path.strip_prefix("/2018-06-01/runtime/") {
        let streamed = request
            .header("Lambda-Runtime-Function-Response-Mode")
            .is_some_and(|mode| mode.eq_ignore_ascii_case("streaming"));
        if request.body.len() > RESPONSE_MAX && !streamed {
            return Some(refusal(413, "Function.ResponseSizeTooLarge", "the response exceeds 6 MB"));
        }
        return runtime_api::handle(shared, request, rest, alive);
    }
    if let Some(rest) = path.strip_prefix("/2020-01-01/extension/") {
        return extensions_api::handle(shared, request, rest, alive);
    }
    match path {
        "/2022-07-01/telemetry" => telemetry_api::handle(shared, request, alive),
        _ => Some(refusal(404, "NotFound", "no such resource")),
    }
}

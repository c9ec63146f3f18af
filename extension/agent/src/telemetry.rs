//! The Telemetry API's listener: what the platform says about invocations.
//!
//! Code of the function can reach the listener and forge events, so it sits behind a random path and what comes is
//! used to correlate, and as the last resort for the end of an invocation; never for a verdict. The start opens it,
//! the platform posts to it.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringfence_records::message::REPORT_SOCKET_RANDOM;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::agent::Agent;
use crate::detect::Deliveries;
use crate::platform::{Platform, PlatformError};

/// Largest batch in bytes; the subscription asks for a quarter of it.
const MAX_BATCH: usize = 1024 * 1024;
/// Connections at once. The platform needs one.
const MAX_CONNECTIONS: usize = 4;
/// How long a connection may stay without a request that knows the path.
const PATIENCE: Duration = Duration::from_secs(2);
/// Newest schema first; Managed Instances know no other.
const SCHEMAS: [&str; 2] = ["2025-01-29", "2022-12-13"];

/// The listening socket and the path that makes a request the platform's.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    path: String,
    open: Rc<Cell<usize>>,
}

/// One event; only the fields that are used.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(crate) struct Event {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) record: Record,
}

/// The record of a `platform.*` event. Function lines are text, so anything else reads as empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) request: String,
    /// The X-Ray header.
    pub(crate) trace: String,
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let text = |pointer: &str| {
            value.pointer(pointer).and_then(|found| found.as_str()).unwrap_or_default().to_owned()
        };
        Ok(Self { request: text("/requestId"), trace: text("/tracing/value") })
    }
}

impl Listener {
    /// Listens on every address, as the platform may come from another name space.
    ///
    /// # Errors
    /// Those of bind(2) and listen(2), and of reading random bytes.
    pub(crate) async fn open() -> io::Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        Ok(Self { socket, path: format!("/{}", random_name()?), open: Rc::default() })
    }

    fn destination(&self) -> io::Result<String> {
        Ok(format!("http://sandbox.localdomain:{}{}", self.socket.local_addr()?.port(), self.path))
    }

    /// Subscribes. The text says what came of it, for people.
    ///
    /// # Errors
    /// The same, where there will be no telemetry.
    pub(crate) async fn subscribe(&self, platform: &mut Platform) -> Result<String, String> {
        let destination = self.destination().map_err(|error| error.to_string())?;
        let mut refusal = String::new();
        for schema in SCHEMAS {
            match platform.subscribe(schema, &destination).await {
                Ok((StatusCode::OK, _)) => return Ok(format!("subscribed, schema {schema}")),
                Ok((StatusCode::ACCEPTED, reason)) => {
                    return Err(format!("not supported here (202): {reason}"));
                }
                Ok((status, reason)) => refusal = format!("refused ({status}): {reason}"),
                Err(error @ PlatformError::Silent { .. }) => return Err(error.to_string()),
                Err(error) => refusal = error.to_string(),
            }
        }
        Err(refusal)
    }

    /// Whether a connection waits to be accepted (poll(2)).
    pub(crate) fn has_one_waiting(&self) -> bool {
        let mut waiting = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut waiting, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Serves connections for ever.
    pub(crate) async fn serve(self: Rc<Self>, agent: Rc<Agent>) {
        loop {
            match self.socket.accept().await {
                Ok((stream, _)) if self.open.get() < MAX_CONNECTIONS => {
                    count(&agent, |deliveries| {
                        deliveries.accepted += 1;
                        deliveries.open += 1;
                    });
                    spawn_local(Rc::clone(&self).connection(stream, Rc::clone(&agent)));
                }
                Ok(_) => count(&agent, |deliveries| {
                    deliveries.accepted += 1;
                    deliveries.closed += 1;
                }),
                // Out of descriptors, most likely: let others close some.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn connection(self: Rc<Self>, stream: TcpStream, agent: Rc<Agent>) {
        self.open.set(self.open.get() + 1);
        let known = Cell::new(false);
        let service = service_fn(|request| self.answer(request, &agent, &known));
        let mut builder = http1::Builder::new();
        let mut connection =
            std::pin::pin!(builder.max_buf_size(64 * 1024).serve_connection(TokioIo::new(stream), service));
        while timeout(PATIENCE, &mut connection).await.is_err() && known.get() {}
        count(&agent, |deliveries| {
            deliveries.open = deliveries.open.saturating_sub(1);
            deliveries.closed += 1;
        });
        self.open.set(self.open.get().saturating_sub(1));
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        agent: &Agent,
        known: &Cell<bool>,
    ) -> Result<Response<Empty<Bytes>>, Infallible> {
        let mut response = Response::new(Empty::new());
        if request.uri().path() != self.path || request.method() != Method::POST {
            *response.status_mut() = StatusCode::NOT_FOUND;
            return Ok(response);
        }
        known.set(true);
        match Limited::new(request.into_body(), MAX_BATCH).collect().await {
            Ok(body) => agent.telemetry_events(&parse(&body.to_bytes())),
            Err(_) => *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE,
        }
        Ok(response)
    }
}

/// Keeps the account of connections by which others' are told from them.
fn count(agent: &Agent, change: impl FnOnce(&mut Deliveries)) {
    let mut deliveries = agent.deliveries.get();
    change(&mut deliveries);
    agent.deliveries.set(deliveries);
}

/// The events of a batch; none where it is not one.
fn parse(body: &[u8]) -> Vec<Event> {
    serde_json::from_slice(body).unwrap_or_default()
}

/// 32 hexadecimal digits that nobody can guess.
///
/// # Errors
/// Those of getrandom(2).
pub(crate) fn random_name() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(format!("{:0width$x}", u128::from_le_bytes(bytes), width = REPORT_SOCKET_RANDOM))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_connection_shows_before_it_is_accepted() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let listener = Listener::open().await.unwrap();
            assert!(!listener.has_one_waiting());
            let port = listener.socket.local_addr().unwrap().port();
            let _client = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            assert!(listener.has_one_waiting());
            listener.socket.accept().await.unwrap();
            assert!(!listener.has_one_waiting());
        });
    }

    #[test]
    fn a_batch_gives_its_events() {
        let batch = br#"[{"time":"t","type":"platform.start","record":{"requestId":"r1","version":"1","tracing":{"spanId":"s","type":"X","value":"Root=1-2"}}},
            {"time":"t","type":"platform.runtimeDone","record":{"requestId":"r1","status":"success"}},
            {"time":"t","type":"function","record":"a line"}]"#;
        let events = parse(batch);
        assert_eq!(events[0].record, Record { request: "r1".to_owned(), trace: "Root=1-2".to_owned() });
        assert_eq!((&*events[1].kind, &*events[1].record.request), ("platform.runtimeDone", "r1"));
        assert_eq!(events[2].record, Record::default());
    }

    #[test]
    fn names_are_long_and_differ() {
        let (one, two) = (random_name().unwrap(), random_name().unwrap());
        assert_eq!(one.len(), 32);
        assert_ne!(one, two);
    }

    proptest! {
        #[test]
        fn garbage_gives_no_events(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            assert!(parse(&body).is_empty());
        }
    }
}

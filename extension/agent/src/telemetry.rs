//! The Telemetry API's listener: what the platform says about invocations.
//!
//! Code of the function can reach the listener and forge events, so it sits behind a random path and what comes is
//! used to correlate, and as the last resort for the end of an invocation; never for a verdict. The start opens it,
//! the platform posts to it.
//!
//! The path is also what tells the platform's connection from others: no other process knows it. Until a connection has
//! named it, it is a stranger, of whom there may be many, and no HTTP is spoken with it.

mod event;

use std::convert::Infallible;
use std::io::{self, Cursor};
use std::net::{IpAddr, Ipv4Addr};
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
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

pub(crate) use event::Event;

use crate::agent::Agent;
use crate::detect::Deliveries;
use crate::places::{self, Place, Places};
use crate::platform::{Platform, PlatformError};
use crate::random;

/// Largest batch in bytes; the subscription asks for a quarter of it.
const MAX_BATCH: usize = 1024 * 1024;
/// Connections at once that know the path. The platform needs one.
const MAX_KNOWN: usize = 8;
/// Connections at once that have not named it yet: so many may come between the platform's connection and its first
/// request. A process opens some 40 in a millisecond, so this is as long as the platform may be kept from a processor.
const MAX_STRANGERS: usize = 256;
/// How long a stranger may stay.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest beginning of a request, in bytes, in which the path has to be: its first line.
const MAX_FIRST_LINE: usize = 512;
/// Newest schema first; Managed Instances know no other.
const SCHEMAS: [&str; 2] = ["2025-01-29", "2022-12-13"];

/// The listening socket and the path that makes a request the platform's.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    path: String,
    strangers: Rc<Places>,
    known: Rc<Places>,
}

impl Listener {
    /// Listens on every address, as the platform may come from another name space.
    ///
    /// # Errors
    /// Those of bind(2) and listen(2), and of reading random bytes.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = places::listen(Ipv4Addr::UNSPECIFIED)?;
        let (strangers, known) = (Places::new(MAX_STRANGERS), Places::new(MAX_KNOWN));
        Ok(Self { socket, path: format!("/{}", random::name()?), strangers, known })
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
            let answer = platform.subscribe(schema, &destination).await;
            tracing::debug!(target: "telemetry", schema, accepted = matches!(answer, Ok((StatusCode::OK, _))), "subscribed");
            match answer {
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
                Ok((stream, peer)) => {
                    let (listener, counted) = (Rc::clone(&self), Counted::new(&agent));
                    let serve = |place| listener.stranger(stream, place, counted);
                    self.strangers.serve(is_elsewhere(peer.ip()), serve).await;
                }
                // Out of descriptors, most likely: let others close some.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Waits for the path, and for nothing else.
    async fn stranger(self: Rc<Self>, mut stream: TcpStream, place: Place, counted: Counted) {
        let Ok(Ok(Some(beginning))) = timeout(PATIENCE, self.beginning(&mut stream)).await else { return };
        drop(place);
        let listener = Rc::clone(&self);
        self.known.serve(false, |place| listener.platform(stream, beginning, place, counted)).await;
    }

    /// What was read when the path was in it; none where it is not in the first line.
    async fn beginning(&self, stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
        // No memory for one that sends nothing.
        stream.readable().await?;
        let mut read = Vec::with_capacity(MAX_FIRST_LINE);
        loop {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(None);
            }
            if read.windows(self.path.len()).any(|part| part == self.path.as_bytes()) {
                return Ok(Some(read));
            }
            if read.contains(&b'\n') || read.len() >= MAX_FIRST_LINE {
                return Ok(None);
            }
        }
    }

    /// Serves one that knows the path, until it leaves.
    async fn platform(self: Rc<Self>, stream: TcpStream, beginning: Vec<u8>, place: Place, counted: Counted) {
        let (reader, writer) = stream.into_split();
        let stream = tokio::io::join(Cursor::new(beginning).chain(reader), writer);
        let service = service_fn(|request| self.answer(request, &counted.0));
        let mut builder = http1::Builder::new();
        let _ = builder.max_buf_size(64 * 1024).serve_connection(TokioIo::new(stream), service).await;
        drop(place);
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        agent: &Agent,
    ) -> Result<Response<Empty<Bytes>>, Infallible> {
        let mut response = Response::new(Empty::new());
        if request.uri().path() != self.path || request.method() != Method::POST {
            *response.status_mut() = StatusCode::NOT_FOUND;
            return Ok(response);
        }
        match Limited::new(request.into_body(), MAX_BATCH).collect().await {
            Ok(body) => agent.telemetry_events(&event::parse(&body.to_bytes())),
            Err(_) => *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE,
        }
        Ok(response)
    }
}

/// A connection in the account by which others' are told from those to this listener.
struct Counted(Rc<Agent>);

impl Counted {
    fn new(agent: &Rc<Agent>) -> Self {
        count(agent, |deliveries| {
            deliveries.accepted += 1;
            deliveries.open += 1;
        });
        Self(Rc::clone(agent))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        count(&self.0, |deliveries| {
            deliveries.open = deliveries.open.saturating_sub(1);
            deliveries.closed += 1;
        });
    }
}

fn count(agent: &Agent, change: impl FnOnce(&mut Deliveries)) {
    let mut deliveries = agent.deliveries.get();
    change(&mut deliveries);
    agent.deliveries.set(deliveries);
}

/// Whether a peer with this address sits outside this network name space, as the function cannot: an address of this one
/// can be bound, and no process connects from any other (connect(2) finds no route from it). Where all can be bound
/// (`ip_nonlocal_bind`), and where it cannot be tried, no peer does.
fn is_elsewhere(peer: IpAddr) -> bool {
    let bound = std::net::UdpSocket::bind((peer, 0));
    bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_shows_before_it_is_accepted() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let listener = Listener::open().unwrap();
            assert!(!listener.has_one_waiting());
            let port = listener.socket.local_addr().unwrap().port();
            let _client = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            assert!(listener.has_one_waiting());
            listener.socket.accept().await.unwrap();
            assert!(!listener.has_one_waiting());
        });
    }

    #[test]
    fn only_an_address_of_this_machine_is_not_elsewhere() {
        assert!(!is_elsewhere([127, 0, 0, 1].into()) && !is_elsewhere([127, 9, 9, 9].into()));
        assert!(is_elsewhere([192, 0, 2, 1].into()) && is_elsewhere([169, 254, 254, 77].into()));
    }
}

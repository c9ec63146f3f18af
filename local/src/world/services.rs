//! The services behind a world's sockets, each on threads of its own.
//!
//! Decides how a kind of service converses, and takes in what is still on the way when the run ends, so that no count
//! depends on luck. Bounded: connections beyond the limit are counted and closed. Called by the world.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustls::{ServerConnection, StreamOwned};

use super::authority::Identity;
use super::description::Page;
use super::dns::{Query, Zone};
use super::sinks::{Sink, Tap};
use crate::http::{Connection, Request, Response};

/// Connections that are served at the same time, over all services.
const CONNECTIONS_MAX: usize = 256;
/// Longest request body at an HTTP service.
const BODY_MAX: usize = 8 * 1024 * 1024;
/// How long the end of a run waits for connections whose other end is gone.
const SETTLE_PATIENCE: Duration = Duration::from_secs(2);
/// Longest wait for a client that says nothing.
const IDLE_PATIENCE: Duration = Duration::from_mins(2);
/// Longest message over TCP (RFC 1035).
const DNS_MAX: usize = 65_535;

/// What stands behind a socket.
#[derive(Clone)]
pub(crate) enum Service {
    /// Reads and counts.
    Count(Arc<Sink>),
    /// The same under TLS.
    CountTls(Arc<Sink>, Identity),
    /// Static answers, under TLS where there is an identity.
    Http(Arc<Sink>, Option<Identity>, Arc<Vec<Page>>),
    /// An attacker's name server: counts queries, knows no name.
    NameServer(Arc<Sink>),
    /// The sandbox's own resolver.
    Resolver(Arc<Zone>),
}

/// All services of a world.
#[derive(Default)]
pub(crate) struct Services {
    doors: Vec<Arc<Door>>,
    open: Arc<AtomicUsize>,
}

/// A socket and the right to take from it: a thread that takes counts before letting go.
struct Door {
    socket: Socket,
    service: Service,
    turn: Mutex<()>,
    open: Arc<AtomicUsize>,
}

enum Socket {
    Stream(TcpListener),
    Datagram(UdpSocket),
}

impl Services {
    /// Serves a socket from now on.
    pub(crate) fn add(&mut self, udp: bool, socket: OwnedFd, service: Service) -> io::Result<()> {
        let socket = if udp {
            let socket = UdpSocket::from(socket);
            socket.set_nonblocking(true)?;
            Socket::Datagram(socket)
        } else {
            let listener = TcpListener::from(socket);
            listener.set_nonblocking(true)?;
            Socket::Stream(listener)
        };
        let door = Arc::new(Door { socket, service, turn: Mutex::default(), open: Arc::clone(&self.open) });
        self.doors.push(Arc::clone(&door));
        thread::spawn(move || {
            loop {
                door.await_visitor();
                door.take_all();
            }
        });
        Ok(())
    }

    /// Takes in what has arrived, and waits for the connections whose clients have gone.
    pub(crate) fn settle(&self) {
        let deadline = Instant::now() + SETTLE_PATIENCE;
        for door in &self.doors {
            door.take_all();
        }
        while self.open.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Door {
    fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Stream(listener) => listener.as_fd(),
            Socket::Datagram(socket) => socket.as_fd(),
        }
    }

    fn await_visitor(&self) {
        let _ = poll(&mut [PollFd::new(self.descriptor(), PollFlags::POLLIN)], PollTimeout::NONE);
    }

    /// Takes what is there. An error of one client (reset before accept) is no end.
    fn take_all(&self) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        match &self.socket {
            Socket::Datagram(socket) => {
                let mut datagram = vec![0u8; DNS_MAX];
                while let Ok((length, from)) = socket.recv_from(&mut datagram) {
                    if let Some(answer) = self.service.datagram(datagram.get(..length).unwrap_or_default()) {
                        let _ = socket.send_to(&answer, from);
                    }
                }
            }
            Socket::Stream(listener) => {
                while let Ok((stream, _)) = listener.accept() {
                    self.converse(stream);
                }
            }
        }
    }

    fn converse(&self, stream: TcpStream) {
        let number = self.service.visit();
        if self.open.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS_MAX {
            self.open.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        let (service, open) = (self.service.clone(), Arc::clone(&self.open));
        thread::spawn(move || {
            let _ = service.stream(stream, number);
            open.fetch_sub(1, Ordering::AcqRel);
        });
    }
}

impl Service {
    /// Numbers a connection. Name servers count queries instead.
    fn visit(&self) -> usize {
        match self {
            Self::Count(sink) | Self::CountTls(sink, _) | Self::Http(sink, _, _) => sink.visit(),
            Self::NameServer(_) | Self::Resolver(_) => 0,
        }
    }

    /// Counts a datagram and says what is answered.
    fn datagram(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Resolver(zone) => zone.resolve(bytes),
            Self::NameServer(sink) => name_server(sink, bytes),
            Self::Count(sink) | Self::CountTls(sink, _) | Self::Http(sink, _, _) => {
                sink.take(sink.visit(), bytes);
                None
            }
        }
    }

    fn stream(self, stream: TcpStream, number: usize) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(IDLE_PATIENCE))?;
        stream.set_write_timeout(Some(IDLE_PATIENCE))?;
        match self {
            Self::Count(sink) => read_out(Tap::new(stream, sink, number)),
            Self::CountTls(sink, identity) => read_out(under_tls(stream, &sink, identity, number)?),
            Self::Http(sink, None, pages) => serve_pages(Tap::new(stream, sink, number), &pages),
            Self::Http(sink, Some(identity), pages) => {
                serve_pages(under_tls(stream, &sink, identity, number)?, &pages)
            }
            Self::NameServer(sink) => serve_dns(stream, |message| name_server(&sink, message)),
            Self::Resolver(zone) => serve_dns(stream, |message| zone.resolve(message)),
        }
    }
}

fn under_tls(
    stream: TcpStream,
    sink: &Arc<Sink>,
    identity: Identity,
    number: usize,
) -> io::Result<Tap<StreamOwned<ServerConnection, Tap<TcpStream>>>> {
    let session = ServerConnection::new(identity).map_err(io::Error::other)?;
    let wire = Tap::on_wire(stream, Arc::clone(sink));
    Ok(Tap::new(StreamOwned::new(session, wire), Arc::clone(sink), number))
}

fn read_out(mut from: impl Read) -> io::Result<()> {
    io::copy(&mut from, &mut io::sink()).map(drop)
}

fn serve_pages<S: Read + Write>(stream: S, pages: &[Page]) -> io::Result<()> {
    let mut connection = Connection::new(stream);
    while let Ok(Some(request)) = connection.request(BODY_MAX) {
        connection.respond(&find_page(&request, pages))?;
    }
    Ok(())
}

fn find_page(request: &Request, pages: &[Page]) -> Response {
    let fits = |page: &&Page| {
        let path = match page.path.strip_suffix('*') {
            Some(start) => request.path.starts_with(start),
            None => request.path == page.path,
        };
        path && page.wanted.iter().all(|(name, value)| request.header(name) == Some(value.as_str()))
    };
    match pages.iter().find(fits) {
        None => Response { status: 404, ..Response::default() },
        Some(page) => Response {
            status: page.status,
            headers: page.headers.iter().map(|(n, v)| (n.clone(), v.clone())).collect(),
            body: page.body.clone(),
        },
    }
}

/// An attacker's name server: whatever is asked has arrived. What is no query counts as it is.
fn name_server(sink: &Sink, message: &[u8]) -> Option<Vec<u8>> {
    if let Some(query) = Query::parse(message) {
        sink.take_query(message.len(), &query.name);
        Some(query.answer(None))
    } else {
        sink.take(sink.visit(), message);
        None
    }
}

/// DNS over TCP: each message after its length in two bytes.
fn serve_dns(mut stream: TcpStream, answer: impl Fn(&[u8]) -> Option<Vec<u8>>) -> io::Result<()> {
    loop {
        let mut length = [0u8; 2];
        stream.read_exact(&mut length)?;
        let mut message = Vec::new();
        let wanted = u64::from(u16::from_be_bytes(length));
        (&mut stream).take(wanted).read_to_end(&mut message)?;
        let Some(reply) = answer(&message) else { return Ok(()) };
        let mut framed = u16::try_from(reply.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
        framed.extend(reply);
        stream.write_all(&framed)?;
    }
}

//! The guard's conversation with the agent: Hello, Welcome, and the state page that comes with it.
//!
//! It decides whom to believe (a process of our own user or root on the control socket), never what a rule means. A
//! missing agent is known at once, a silent one after [`PATIENCE`]. `launch` calls it.

use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use ringfence_policy::Plane;
use ringfence_records::message::{self, CoverageLine, Kind, tag};
use ringfence_records::wire::{self, Message, Writer};

use super::environments;
use crate::sys::descriptor::{Wait, poll};
use crate::sys::{Errno, process, socket};

/// How long the agent is waited for, in milliseconds.
const PATIENCE: i32 = 200;

/// Why there is no agent to work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// Nobody listens on the control socket.
    #[error("no agent: connect: {0}")]
    Missing(Errno),
    /// Somebody else's process does.
    #[error("no agent: the control socket belongs to user {0}")]
    Stranger(u32),
    /// It was there, and the conversation failed.
    #[error("agent: {call}: {error}")]
    Broken {
        /// What was tried.
        call: &'static str,
        /// How it failed.
        error: Errno,
    },
    /// It did not answer in time, or not with what it should.
    #[error("agent: no welcome within {PATIENCE} ms")]
    Silent,
}

/// What the guard tells of itself.
#[derive(Debug, Clone, Default)]
pub struct Hello<'a> {
    /// `sha256:…` of the policy.
    pub policy_hash: &'a str,
    /// Where the policy came from.
    pub policy_source: &'a str,
    /// The runtime's process id.
    pub runtime: u32,
    /// The guard's, where it stays the parent; else 0.
    pub guard: u32,
    /// The process that tells the guard for whom a signal is; 0 where there is none.
    pub witness: u32,
    /// Strongest plane.
    pub strongest: Option<Plane>,
    /// Rule by rule, what is covered.
    pub coverage: &'a [CoverageLine<'a>],
    /// What was tried and found.
    pub probes: &'a [String],
    /// The runtime's executable.
    pub executable: &'a [u8],
    /// Name servers that the resolver stands in for.
    pub name_servers: &'a [SocketAddr],
    /// Why the start is refused; empty where it is not.
    pub refused: &'a str,
    /// Why the preload library will not be in the runtime; empty where it will.
    pub no_preload: &'a str,
    /// Whether the runtime's client may have connections to its API that it does not use.
    pub spare: bool,
}

impl Hello<'_> {
    fn encode<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let mut out = Writer::new(buffer, Kind::Hello as u8)?;
        out.number(tag::PID, self.runtime);
        out.number(tag::PARENT, self.guard);
        out.number(tag::WITNESS, self.witness);
        out.byte(tag::STRONGEST, message::plane_number(self.strongest.unwrap_or(Plane::Process)));
        for (tag, text) in [
            (tag::POLICY_HASH, self.policy_hash.as_bytes()),
            (tag::POLICY_SOURCE, self.policy_source.as_bytes()),
            (tag::EXE, self.executable),
            (tag::REFUSED, self.refused.as_bytes()),
            (tag::NO_PRELOAD, self.no_preload.as_bytes()),
        ] {
            if !text.is_empty() {
                out.bytes(tag, text, message::MAX_TEXT);
            }
        }
        if self.spare {
            out.byte(tag::SPARE, 1);
        }
        for server in self.name_servers.iter().take(ringfence_records::handoff::MAX_NAME_SERVERS) {
            out.bytes(tag::NAME_SERVER, &message::encode_address(*server), message::ADDRESS_LENGTH);
        }
        self.coverage.iter().for_each(|line| line.write(&mut out));
        self.probes.iter().for_each(|line| out.bytes(tag::PROBE, line.as_bytes(), message::MAX_ARGUMENT));
        Some(out.finish())
    }
}

/// An agent that has welcomed us.
#[derive(Debug)]
pub struct Agent {
    /// The control connection.
    pub connection: OwnedFd,
    /// The agent's process id.
    pub pid: u32,
    /// Abstract name of the report socket.
    pub report_address: Vec<u8>,
    /// Port of the guarded resolver on 127.0.0.1; 0 for none.
    pub resolver_port: u16,
    /// The platform's own Runtime API, if the agent knows it as an address.
    pub runtime_api: Option<SocketAddr>,
    /// The state page.
    pub state: OwnedFd,
}

/// A connection to the agent, before the greeting.
#[derive(Debug)]
pub struct Door {
    connection: OwnedFd,
    /// Bytes of the socket's abstract name.
    pub name_length: usize,
}

impl Door {
    /// Knocks: connects to the agent of this environment. Its socket is named for the Runtime API; where a wrapper has
    /// rewritten that address, it is the agent that was started by the same platform process.
    ///
    /// # Errors
    /// [`AgentError::Missing`] at once where there is none, [`AgentError::Stranger`] where it is not ours.
    pub fn find(runtime_api: &str) -> Result<Self, AgentError> {
        let name = [message::CONTROL_SOCKET, runtime_api.as_bytes()].concat();
        let named = Self::connect(&name);
        // Also another environment of this machine may have its API where this one's proxy listens.
        let is_ours = |(_, peer): &(Self, u32)| environments::distance(*peer).is_some();
        if runtime_api.is_empty() || named.as_ref().is_ok_and(is_ours) {
            return named.map(|(door, _)| door);
        }
        match Self::find_by_ancestry(&name) {
            Some(door) => Ok(door),
            // Its processes may be numbered in another namespace: then the name is all there is.
            None => named.map(|(door, _)| door),
        }
    }

    /// The agent whose parent is the nearest ancestor of this process; none where two are equally near.
    fn find_by_ancestry(except: &[u8]) -> Option<Self> {
        let mut nearest: Option<(usize, Vec<Self>)> = None;
        for name in environments::other_control_sockets(except) {
            let Ok((door, peer)) = Self::connect(&name) else { continue };
            let Some(distance) = environments::distance(peer) else { continue };
            match &mut nearest {
                Some((known, _)) if *known < distance => {}
                Some((known, doors)) if *known == distance => doors.push(door),
                _ => nearest = Some((distance, vec![door])),
            }
        }
        let (_, mut doors) = nearest?;
        doors.pop().filter(|_| doors.is_empty())
    }

    /// A connection to the socket of this abstract name, and the process that listens there.
    fn connect(name: &[u8]) -> Result<(Self, u32), AgentError> {
        let connection = socket::create(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_NONBLOCK, 0)
            .map_err(AgentError::Missing)?;
        socket::connect(connection.as_fd(), &abstract_address(name)).map_err(AgentError::Missing)?;
        let peer = socket::peer(connection.as_fd()).map_err(AgentError::Missing)?;
        if peer.user != process::user() && peer.user != 0 {
            return Err(AgentError::Stranger(peer.user));
        }
        Ok((Self { connection, name_length: name.len() }, peer.pid))
    }

    /// Says who we are and waits for the answer.
    ///
    /// # Errors
    /// [`AgentError::Silent`] after [`PATIENCE`], [`AgentError::Broken`] where the connection is.
    pub fn greet(self, hello: &Hello<'_>) -> Result<Agent, AgentError> {
        self.say(hello)?;
        let mut wait = [Wait::readable(self.connection.as_raw_fd())];
        poll(&mut wait, PATIENCE).map_err(|error| AgentError::Broken { call: "poll", error })?;
        let mut buffer = [0_u8; wire::MAX_MESSAGE];
        match socket::receive(self.connection.as_fd(), &mut buffer) {
            Ok((length, Some(state))) => {
                let welcome = buffer.get(..length).unwrap_or_default();
                welcomed(self.connection, welcome, state).ok_or(AgentError::Silent)
            }
            Ok(_) | Err(Errno(libc::EAGAIN)) => Err(AgentError::Silent),
            Err(error) => Err(AgentError::Broken { call: "recvmsg", error }),
        }
    }

    /// Says who we are and expects no answer: for a start that is refused.
    ///
    /// # Errors
    /// [`AgentError::Broken`] where it cannot be sent.
    pub fn say(&self, hello: &Hello<'_>) -> Result<(), AgentError> {
        let mut buffer = [0_u8; wire::MAX_MESSAGE];
        let data = hello.encode(&mut buffer).unwrap_or_default();
        let parcel = socket::Parcel { data, flags: libc::MSG_DONTWAIT, ..socket::Parcel::default() };
        socket::send(self.connection.as_fd(), &parcel)
            .map(drop)
            .map_err(|error| AgentError::Broken { call: "sendmsg", error })
    }
}

fn welcomed(connection: OwnedFd, bytes: &[u8], state: OwnedFd) -> Option<Agent> {
    let message = Message::parse(bytes).filter(|message| message.kind == Kind::Welcome as u8)?;
    let mut agent =
        Agent { connection, pid: 0, report_address: Vec::new(), resolver_port: 0, runtime_api: None, state };
    for (tag, value) in message.fields() {
        match tag {
            tag::PID => agent.pid = wire::number(value)?,
            tag::REPORT_ADDRESS if value.len() <= 107 => agent.report_address = value.to_vec(),
            tag::RESOLVER_PORT => agent.resolver_port = port(value)?,
            tag::RUNTIME_API => agent.runtime_api = message::decode_address(value),
            _ => {}
        }
    }
    Some(agent)
}

/// A port, as two or as four bytes.
fn port(value: &[u8]) -> Option<u16> {
    match value {
        [low, high] => Some(u16::from_le_bytes([*low, *high])),
        _ => wire::number(value).and_then(|number| u16::try_from(number).ok()),
    }
}

/// The socket address of an abstract name (unix(7)): the family, a zero byte, the name.
#[must_use]
pub fn abstract_address(name: &[u8]) -> Vec<u8> {
    [&u16::try_from(libc::AF_UNIX).unwrap_or(1).to_ne_bytes()[..], &[0], name].concat()
}

//! connect(2) and bind(2): judged on a copy of the address, carried out by the guard on the pinned socket.
//!
//! Never handed back to the kernel with the target's pointers, whatever the family: the address could be another one
//! by then. Name servers are replaced by the guarded resolver on the way.

use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use ringfence_policy::{Action, Decision, Destination, Phase, Role, Rule, Transport, Verdict};
use ringfence_records::message::{ActionKind, CONTROL_SOCKET, Kind, Outcome, Report, is_agents_name};
use ringfence_records::page;
use ringfence_records::record::subject;

use super::Supervisor;
use super::address::{
    Encoded, GivenAddress, Internet, MAX_ADDRESS, canonical, family, is_internet, is_link_local_v6,
};
use super::answer::Answer;
use super::api_connections::Candidate;
use super::arguments::low_word;
use super::exec::as_seen_by;
use super::local_bind;
use super::lock::lock;
use super::rights;
use super::sockets::{Missing, Pinned};
use super::target::Caller;
use super::workers::Task;
use crate::sys::limit::Limit;
use crate::sys::seccomp::Notification;
use crate::sys::{Errno, descriptor, socket};
use crate::text::Text;

/// Names that one address can have.
const MAX_NAMES: usize = 32;
/// Where a path stands in a `struct sockaddr_un`.
const UNIX_PATH: usize = 2;

/// What [`super::api_connections`] asks of a socket.
fn candidate(socket: &Pinned, is_heard: bool) -> Result<Candidate, Errno> {
    let blocks = descriptor::status_flags(socket.file.as_fd())? & libc::O_NONBLOCK == 0;
    Ok(Candidate { inode: socket.inode()?, blocks, is_heard })
}

/// An address as the kernel takes it, longest of all families.
pub(super) type KernelAddress = Text<MAX_ADDRESS>;

impl Supervisor {
    /// Decides and carries out connect(2).
    pub(super) fn connect(&mut self, notification: &Notification, caller: &Caller) -> Answer {
        let [number, address, length, ..] = notification.arguments;
        let number = low_word(number);
        let prepared = GivenAddress::read(caller.thread, address, length)
            .map_err(Missing::Fails)
            .and_then(|given| Ok((given, self.pin(caller, number)?)));
        let (given, socket) = match prepared {
            Ok(prepared) => prepared,
            Err(Missing::Fails(error)) => return Answer::Fail(error),
            Err(Missing::Connected) => return Answer::Fail(Errno(libc::EISCONN)),
            Err(Missing::Foreign) => return Answer::Fail(Errno::EPERM),
        };
        if !self.was_read_of_caller() && !self.listener.still_waits(notification.id) {
            return Answer::Elsewhere;
        }
        match self.judge_connect(caller, number, &socket, given.as_bytes()) {
            Ok(address) => self.carry_out_connect(notification, caller, socket, address.as_bytes()),
            Err(error) => Answer::Fail(error),
        }
    }

    fn judge_connect(
        &mut self,
        caller: &Caller,
        number: i32,
        socket: &Pinned,
        given: &[u8],
    ) -> Result<KernelAddress, Errno> {
        let mut out = KernelAddress::new();
        // The family of the address will do: the kernel takes it on no socket where it would mean something else.
        let domain = if is_internet(given) { libc::AF_INET6 } else { socket.domain()? };
        match (domain, family(given)) {
            (libc::AF_INET | libc::AF_INET6, _) => match Internet::parse(given, domain, false)? {
                Internet::Unspecified => out.push(Encoded::unspecified().as_bytes()),
                Internet::At(address) => {
                    let to = self.judge_internet(caller, number, socket, address, ActionKind::Connect)?;
                    out.push(to.as_bytes());
                }
            },
            (libc::AF_UNIX, Some(libc::AF_UNIX)) => return self.judge_unix(caller, given),
            // Anything else (AF_UNSPEC, netlink) reaches nothing beyond the host.
            _ => out.push(given),
        }
        Ok(out)
    }

    /// Judges a destination on an internet socket; the address to use instead of the given one.
    pub(super) fn judge_internet(
        &mut self,
        caller: &Caller,
        number: i32,
        socket: &Pinned,
        given: SocketAddr,
        action: ActionKind,
    ) -> Result<Encoded, Errno> {
        let target = canonical(given);
        if is_link_local_v6(target.ip()) {
            return Err(Errno(libc::ENETUNREACH));
        }
        if self.resolver.is_none() && self.name_servers.contains(&target) {
            // Without an agent nobody judges names, which its absence is reported for; addresses are judged still.
            return Ok(Encoded::like(given, target));
        }
        let target = self.resolver.filter(|_| self.name_servers.contains(&target)).unwrap_or(target);
        // What was judged and not what was given: the unspecified address is another one on a socket that is bound.
        let encoded = Encoded::like(given, target);
        let runtime_api = self.leads_to_api(target);
        let mut names = [0; MAX_NAMES];
        let found =
            page::View::new(self.state.page.words()).map_or(0, |view| view.names(target.ip(), &mut names));
        // Held until this one is counted, or two threads could make a second one at once.
        let api_connections = Arc::clone(&self.api_connections);
        let mut api_connections = runtime_api.then(|| lock(&api_connections));
        let second_connection = match &api_connections {
            Some(known) => known.are_there(
                caller,
                candidate(socket, self.sees_requests)?,
                Self::answers_apart(caller.process),
            ),
            None => false,
        };
        let destination = Destination {
            address: target.ip(),
            port: target.port(),
            transport: if socket.is_stream() { Transport::Stream } else { Transport::Datagram },
            names: names.get(..found).unwrap_or_default(),
            runtime_api,
            own_service: self.resolver == Some(target),
            second_connection,
        };
        let mut context = self.context(caller);
        // An extension that is a thread of the runtime's process may connect after the runtime has asked for its first event. A
        // runtime that the platform starts again within an invocation is in its own init until it asks.
        let is_starting = self.sees_requests && !self.facts.invoked();
        let in_init = runtime_api && (is_starting || self.published().0 == Phase::Init);
        let mut speaker = *caller;
        if runtime_api {
            speaker.role = self.role_at_api(caller);
            context.role = speaker.role;
            context.phase = if in_init { Phase::Init } else { context.phase };
        }
        let verdict = self.policy.verdict(&Action::Connect(destination), &context);
        if action == ActionKind::Connect && verdict.rule == Rule::EgressAllow {
            let allows =
                |probe| self.policy.verdict(&Action::Connect(probe), &context).decision == Decision::Allow;
            match verdict.decision {
                Decision::Allow => {}
                _ if !destination.as_probe().is_some_and(allows) => {}
                Decision::Report => return Ok(encoded),
                Decision::Deny => return Ok(Encoded::like(given, SocketAddr::new(target.ip(), 0))),
            }
        }
        if let (Some(known), true) = (&mut api_connections, verdict.decision != Decision::Deny) {
            if speaker.role == Role::Runtime {
                if !self.facts.invoked() || in_init {
                    known.take_stock(caller.process);
                }
                if !self.sees_requests {
                    // Without the library's word: its first request may be for an event, of which the agent hears later.
                    self.facts.note_invocation();
                }
            }
            if socket.is_stream() {
                known.remember(&speaker, number, candidate(socket, self.sees_requests)?, in_init);
            }
        }
        // A report asks for who the caller is, and may be written.
        drop(api_connections);
        let asks = action == ActionKind::Connect && destination.as_probe().is_some();
        self.note_destination(caller, action, target, verdict, if asks { subject::WAY } else { b"" })?;
        Ok(encoded)
    }

    /// Reports a verdict on an address, and turns a denial into the call's error.
    pub(super) fn note_internet(
        &mut self,
        caller: &Caller,
        action: ActionKind,
        address: SocketAddr,
        verdict: Verdict,
    ) -> Result<(), Errno> {
        self.note_destination(caller, action, address, verdict, b"")
    }

    fn note_destination(
        &mut self,
        caller: &Caller,
        action: ActionKind,
        address: SocketAddr,
        verdict: Verdict,
        detail: &[u8],
    ) -> Result<(), Errno> {
        if verdict.decision == Decision::Allow {
            return Ok(());
        }
        let mut report = Report::new(Kind::Violation, action);
        (report.address, report.detail) = (Some(address), detail);
        let denied = verdict.decision == Decision::Deny;
        report.outcome = if denied { Outcome::Blocked } else { Outcome::Reported };
        self.report(caller, report, verdict.rule);
        match (denied, action) {
            (false, _) => Ok(()),
            (true, ActionKind::Connect) => Err(Errno::EACCES),
            (true, _) => Err(Errno::EPERM),
        }
    }

    /// Resolves an AF_UNIX address as the caller would; the agent's control socket is out of bounds.
    pub(super) fn judge_unix(&mut self, caller: &Caller, given: &[u8]) -> Result<KernelAddress, Errno> {
        // Who may connect, and as whom, the kernel tells by the guard.
        self.files.may_serve(caller)?;
        let mut out = KernelAddress::new();
        let path = given.get(UNIX_PATH..).unwrap_or_default();
        match path.first() {
            Some(0) if path.get(1..).is_some_and(|name| name.starts_with(CONTROL_SOCKET)) => {
                self.refuse(caller, "connect", b"the agent's control socket");
                return Err(Errno(libc::ECONNREFUSED));
            }
            None | Some(0) => out.push(given),
            Some(_) => return unix_path(caller, given),
        }
        Ok(out)
    }

    fn carry_out_connect(
        &mut self,
        call: &Notification,
        caller: &Caller,
        socket: Pinned,
        address: &[u8],
    ) -> Answer {
        let may_wait = socket.kind != libc::SOCK_DGRAM
            && matches!(family(address), Some(libc::AF_INET | libc::AF_INET6 | libc::AF_UNIX));
        let connected = match &self.limit {
            _ if !may_wait => socket::connect(socket.file.as_fd(), address),
            Some(limit) if !socket.is_blocking() => connect_at_once(limit, &socket, address),
            _ => {
                let task = Task::Connect { address: address.to_vec(), release: socket.kept_as };
                return self.leave_to_worker(call, caller, socket.file, task).unwrap_or_else(Answer::Fail);
            }
        };
        let streaming = matches!(connected, Ok(()) | Err(Errno(libc::EINPROGRESS | libc::EISCONN)));
        if streaming && socket.is_stream() && family(address) != Some(libc::AF_UNSPEC) {
            self.release(&socket);
        }
        connected.map(|()| 0).into()
    }

    /// Decides and carries out bind(2).
    pub(super) fn bind(&mut self, notification: &Notification, caller: &Caller) -> Answer {
        let [number, address, length, ..] = notification.arguments;
        let prepared = GivenAddress::read(caller.thread, address, length)
            .map_err(Missing::Fails)
            .and_then(|given| Ok((given, self.pin(caller, low_word(number))?)));
        let (given, socket) = match prepared {
            Ok(prepared) => prepared,
            Err(Missing::Fails(error)) => return Answer::Fail(error),
            Err(Missing::Connected | Missing::Foreign) => return Answer::Fail(Errno::EINVAL),
        };
        if !self.listener.still_waits(notification.id) {
            return Answer::Elsewhere;
        }
        self.judge_bind(caller, &socket, given.as_bytes())
            .and_then(|address| self.carry_out_bind(notification, caller, &socket, address.as_bytes()))
            .map(|()| 0)
            .into()
    }

    fn carry_out_bind(
        &self,
        call: &Notification,
        caller: &Caller,
        socket: &Pinned,
        address: &[u8],
    ) -> Result<(), Errno> {
        let bind = || match socket::bind(socket.file.as_fd(), address) {
            Err(Errno(libc::EADDRINUSE)) => {
                // The address may be held by a socket that only the registry still knows.
                self.sweep_for(caller);
                socket::bind(socket.file.as_fd(), address)
            }
            bound => bound,
        };
        let bound = if local_bind::is_path(address) {
            let place = (socket.file.as_fd(), address);
            let waits = || self.listener.still_waits(call.id);
            local_bind::in_place_of(caller, place, self.own_folder, waits, bind)
        } else {
            bind()
        };
        if bound.is_ok() {
            self.note_bound(socket);
        }
        bound
    }

    fn judge_bind(&mut self, caller: &Caller, socket: &Pinned, given: &[u8]) -> Result<KernelAddress, Errno> {
        let mut out = KernelAddress::new();
        let domain = socket.domain()?;
        if matches!(domain, libc::AF_INET | libc::AF_INET6) {
            let Internet::At(address) = Internet::parse(given, domain, domain == libc::AF_INET)? else {
                return Err(Errno::EINVAL);
            };
            if rights::needs_privilege(address.port()) {
                self.files.may_serve(caller)?;
            }
            let action = Action::Bind { address: address.ip().to_canonical(), port: address.port() };
            let verdict = self.policy.verdict(&action, &self.context(caller));
            self.note_internet(caller, ActionKind::Bind, address, verdict)?;
            out.push(Encoded::new(address).as_bytes());
            return Ok(out);
        }
        match given.get(UNIX_PATH..) {
            Some([0, name @ ..]) if domain == libc::AF_UNIX && is_agents_name(name) => {
                self.refuse(caller, "bind", b"the agent's name");
                Err(Errno::EPERM)
            }
            Some([first, ..]) if domain == libc::AF_UNIX && *first != 0 => {
                self.files.may_serve(caller)?;
                if *first == b'/' {
                    return unix_path(caller, given);
                }
                out.push(given);
                Ok(out)
            }
            _ => {
                out.push(given);
                Ok(out)
            }
        }
    }
}

/// Connects a socket that does not wait. Another thread of the target may have made it one that does since that was looked
/// at, and everybody's calls would wait for it here.
fn connect_at_once(limit: &Limit, socket: &Pinned, address: &[u8]) -> Result<(), Errno> {
    match limit.keep(|| socket::connect(socket.file.as_fd(), address)) {
        Err(Errno(libc::EINTR)) if family(address) == Some(libc::AF_UNIX) => Err(Errno(libc::EAGAIN)),
        Err(Errno(libc::EINTR)) => Err(Errno(libc::EINPROGRESS)),
        connected => connected,
    }
}

/// An AF_UNIX address with a path as the caller would resolve it. Which socket that is matters to no rule, so a path
/// that changes meanwhile changes nothing.
fn unix_path(caller: &Caller, given: &[u8]) -> Result<KernelAddress, Errno> {
    const LONGEST: usize = 107;
    let path = given.get(UNIX_PATH..).unwrap_or_default();
    let path = path.split(|byte| *byte == 0).next().unwrap_or(path);
    let path = as_seen_by(caller, path, None)?;
    if path.as_bytes().len() > LONGEST {
        return Err(Errno(libc::ENAMETOOLONG));
    }
    let mut out = KernelAddress::new();
    out.push(given.get(..UNIX_PATH).unwrap_or_default());
    out.push(path.as_bytes_with_nul());
    Ok(out)
}

//! listen(2): a stream that was bound to no port, or not at all, is open to everybody only now, so it is a bind too.
//!
//! Asked about where there are rules for binds; the guard makes the call on the pinned socket. `kernel` calls it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;

use ringfence_policy::Action;
use ringfence_records::message::ActionKind;

use super::Supervisor;
use super::address::{Encoded, Internet, MAX_ADDRESS};
use super::answer::Answer;
use super::arguments::low_word;
use super::sockets::{Missing, Pinned};
use super::target::Caller;
use crate::sys::seccomp::Notification;
use crate::sys::{Errno, socket};

impl Supervisor {
    /// Decides and carries out listen(2).
    pub(super) fn listen(&mut self, notification: &Notification, caller: &Caller) -> Answer {
        let [number, backlog, ..] = notification.arguments;
        let socket = match self.pin(caller, low_word(number)) {
            Ok(socket) => socket,
            Err(Missing::Fails(error)) => return Answer::Fail(error),
            Err(Missing::Connected | Missing::Foreign) => return Answer::Fail(Errno::EINVAL),
        };
        if !self.listener.still_waits(notification.id) {
            return Answer::Elsewhere;
        }
        let judged = self.judge_listen(caller, &socket);
        let listens = judged.and_then(|()| socket::listen(socket.file.as_fd(), low_word(backlog)));
        // Also where it does not: it may have got a port.
        self.note_bound(&socket);
        listens.map(|()| 0).into()
    }

    /// What is listened on is judged, not what was bound: a bind to any port of any address passes as a client's.
    fn judge_listen(&mut self, caller: &Caller, socket: &Pinned) -> Result<(), Errno> {
        let domain = socket.domain()?;
        if !matches!(domain, libc::AF_INET | libc::AF_INET6) {
            return Ok(());
        }
        let address = bound(socket, domain)?;
        let action = Action::Bind { address: address.ip().to_canonical(), port: address.port() };
        let verdict = self.policy.verdict(&action, &self.context(caller));
        self.note_internet(caller, ActionKind::Bind, address, verdict)
    }
}

/// Where a socket is bound; one that is not gets a port now, as listen(2) would give it one.
fn bound(socket: &Pinned, domain: i32) -> Result<SocketAddr, Errno> {
    let file = socket.file.as_fd();
    let mut name = [0; MAX_ADDRESS];
    if let Internet::At(address) = Internet::parse(socket::name(file, &mut name)?, domain, false)?
        && address.port() != 0
    {
        return Ok(address);
    }
    let everywhere = match domain {
        libc::AF_INET => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        _ => Ipv6Addr::UNSPECIFIED.into(),
    };
    socket::bind(file, Encoded::new(SocketAddr::new(everywhere, 0)).as_bytes())?;
    match Internet::parse(socket::name(file, &mut name)?, domain, false)? {
        Internet::At(address) => Ok(address),
        Internet::Unspecified => Err(Errno::EINVAL),
    }
}

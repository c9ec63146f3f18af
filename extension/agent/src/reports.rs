//! The report socket: what preload library and language shims say.
//!
//! Any process inside the function can write to it, so the kernel's word for the sender (`SCM_CREDENTIALS`) replaces the
//! message's own. What neither library nor hook can say is refused ([`claim`]); the rest is evidence, never a verdict.
//! The agent drains it whenever order matters.

use std::io::{self, ErrorKind, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::socket::sockopt::{PassCred, ReceiveTimestampns};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use ringfence_records::claim;
use ringfence_records::message::{Kind, REPORT_SOCKET, Report};
use ringfence_records::wire::MAX_MESSAGE;
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use crate::agent::Agent;

/// Datagrams that are taken at one go, so that a flood cannot keep the agent from everything else.
const MAX_AT_ONCE: usize = 512;

/// The bound socket.
#[derive(Debug)]
pub(crate) struct Reports(UnixDatagram);

/// Binds the report socket under a name that ends in `random`; gives the name too.
///
/// # Errors
/// Those of bind(2).
pub(crate) fn bind(random: &str) -> io::Result<(Reports, String)> {
    let name = format!("{}{random}", String::from_utf8_lossy(REPORT_SOCKET));
    let socket =
        std::os::unix::net::UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes())?)?;
    socket.set_nonblocking(true)?;
    // Where it fails, senders are taken at their word and marked as unverified.
    let _ = setsockopt(&socket, PassCred, &true);
    // When a message was sent, however late it is read.
    let _ = setsockopt(&socket, ReceiveTimestampns, &true);
    Ok((Reports(UnixDatagram::from_std(socket)?), name))
}

/// Takes datagrams for ever.
pub(crate) async fn serve(agent: Rc<Agent>) {
    while agent.reports.0.readable().await.is_ok() {
        drain(&agent);
        tokio::task::yield_now().await;
    }
}

/// Takes what is there; how many there were.
pub(crate) fn drain(agent: &Agent) -> usize {
    let mut buffer = [0; MAX_MESSAGE];
    (0..MAX_AT_ONCE).take_while(|_| take_one(agent, &mut buffer)).count()
}

fn take_one(agent: &Agent, buffer: &mut [u8]) -> bool {
    let socket = &agent.reports.0;
    let received = socket.try_io(Interest::READABLE, || receive(socket.as_fd().as_raw_fd(), buffer));
    let Received { length, sender, sent } = match received {
        Ok(received) => received,
        // Also where tokio has not heard yet that something is there: then the kernel is asked directly.
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            match receive(socket.as_fd().as_raw_fd(), buffer) {
                Ok(received) => received,
                Err(_) => return false,
            }
        }
        Err(_) => return false,
    };
    match buffer.get(..length).and_then(Report::decode) {
        Some(report) => take(agent, report, sender, sent),
        None => agent.count_garbage(),
    }
    true
}

/// A datagram: its length, and what the kernel says of it.
struct Received {
    length: usize,
    sender: Option<u32>,
    sent: Option<SystemTime>,
}

fn receive(socket: i32, buffer: &mut [u8]) -> io::Result<Received> {
    let mut parts = [IoSliceMut::new(buffer)];
    let mut space = nix::cmsg_space!(nix::sys::socket::UnixCredentials, nix::sys::time::TimeSpec);
    let message = recvmsg::<()>(socket, &mut parts, Some(&mut space), MsgFlags::MSG_DONTWAIT)?;
    let mut received = Received { length: message.bytes, sender: None, sent: None };
    for attached in message.cmsgs().into_iter().flatten() {
        match attached {
            ControlMessageOwned::ScmCredentials(credentials) => {
                received.sender = u32::try_from(credentials.pid()).ok().filter(|pid| *pid != 0);
            }
            ControlMessageOwned::ScmTimestampns(time) => {
                received.sent = UNIX_EPOCH.checked_add(Duration::from(time));
            }
            _ => {}
        }
    }
    Ok(received)
}

fn take(agent: &Agent, mut report: Report<'_>, sender: Option<u32>, sent: Option<SystemTime>) {
    // In the kernel plane the guard sends on behalf of those it supervises: then the kernel names the guard, which has
    // compared the message's own word with the sender.
    let guard = agent.ours().guard;
    let pid = sender.filter(|pid| *pid != guard).unwrap_or(report.pid);
    let forged = report.pid != 0 && report.pid != pid;
    if forged && report.kind == Kind::Violation {
        report.detail = b"the sender gave another process id than its own";
    }
    report.pid = pid;
    // Lost messages are the sender's own count: it may say less, but not any number.
    report.dropped = report.dropped.min(claim::MAX_DROPPED);
    tracing::trace!(target: "records", kind = ?report.kind, rule = report.rule.as_str(), pid, "a message came");
    if let Some(why) = claim::forgery(&report) {
        return agent.impersonation(pid, why);
    }
    match report.kind {
        Kind::Hint => agent.take_hint(&report),
        Kind::RuntimeUp => agent.runtime_up(pid),
        Kind::HookUp => agent.hook_up(pid, &report),
        Kind::AtWork => agent.runtime_serves(pid),
        Kind::InvocationOver => agent.asks_for_more(pid, report.request),
        Kind::Answered => agent.answered(pid, report.request, sent),
        _ => agent.take_claim(&report),
    }
}

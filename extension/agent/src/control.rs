//! The control socket: the guard says what it is and what it covers, and gets the state page.
//!
//! It is bound before the agent registers, so the guard finds it without a race. One guard for each life of the agent:
//! a second is an impersonation unless the first is gone. It must not judge what the guard reports.

mod hello;
mod socket;

use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use ringfence_policy::{Plane, Rule};
use ringfence_records::message::{ADDRESS_LENGTH, ActionKind, Kind, Report, encode_address, tag};
use ringfence_records::wire::{MAX_MESSAGE, Writer};
use tokio::task::spawn_local;
use tokio::time::timeout;

pub(crate) use hello::Hello;
pub(crate) use socket::{Bound, Connection, Listener, bind, listen};

use crate::agent::Agent;

/// Connections that are served at once; one is the guard's.
const MAX_CONNECTIONS: usize = 8;
/// How long a connection may take to say Hello.
const PATIENCE: Duration = Duration::from_secs(2);

/// Accepts connections for ever.
pub(crate) async fn serve(agent: Rc<Agent>, listener: Rc<Listener>) {
    let open = Rc::new(());
    loop {
        match listener.accept().await {
            Ok(connection) if Rc::strong_count(&open) <= MAX_CONNECTIONS => {
                let (agent, held) = (Rc::clone(&agent), Rc::clone(&open));
                spawn_local(async move {
                    one(&agent, Rc::new(connection)).await;
                    drop(held);
                });
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn one(agent: &Rc<Agent>, connection: Rc<Connection>) {
    let Ok(peer) = getsockopt(&connection.as_ref(), PeerCredentials) else { return };
    let peer_pid = u32::try_from(peer.pid()).unwrap_or(0);
    let mut buffer = [0; MAX_MESSAGE];
    // A guard of another environment that looks for its own agent says nothing and goes: that is no attack.
    let Ok(Ok(length @ 1..)) = timeout(PATIENCE, connection.receive(&mut buffer)).await else { return };
    if peer.uid() != nix::unistd::getuid().as_raw() {
        return agent.impersonation(peer_pid, "a process of another user connected to the control socket");
    }
    let Some(hello) = buffer.get(..length).and_then(Hello::decode) else {
        return agent.impersonation(peer_pid, "something that is no guard connected to the control socket");
    };
    log(&hello, peer_pid);
    if !agent.admit_guard(&connection) {
        return agent.impersonation(peer_pid, "a second guard said Hello while the first is alive");
    }
    let welcomed = welcome(&connection, agent);
    // One that refuses the start is gone by now.
    let stays = hello.refused.is_none();
    agent.guard_arrived(hello);
    if let Err(error) = welcomed
        && stays
    {
        agent.degraded("guard", &format!("the guard could not be welcomed: {error}"));
    }
    follow(agent, &connection, peer_pid).await;
    tracing::debug!(target: "guard", peer_pid, "the guard has closed its connection");
    agent.guard_left(&connection);
}

/// Sends the Welcome with the state page.
///
/// # Errors
/// Those of sendmsg(2).
fn welcome(connection: &Connection, agent: &Agent) -> io::Result<()> {
    let mut buffer = [0; MAX_MESSAGE];
    let mut out = Writer::new(&mut buffer, Kind::Welcome as u8).ok_or(io::ErrorKind::InvalidInput)?;
    out.number(tag::PID, std::process::id());
    out.bytes(tag::REPORT_ADDRESS, agent.report_name.as_bytes(), 128);
    out.number(tag::RESOLVER_PORT, u32::from(agent.resolver_port));
    if let Some(api) = agent.settings.api_address() {
        out.bytes(tag::RUNTIME_API, &encode_address(api), ADDRESS_LENGTH);
    }
    connection.send_with(out.finish(), agent.page.as_fd())
}

/// What the guard says, for `RINGFENCE_LOG`.
fn log(hello: &Hello, peer_pid: u32) {
    tracing::info!(
        target: "guard",
        peer_pid,
        runtime = hello.runtime_pid,
        strongest = hello.strongest.map(Plane::as_str),
        without_preload = hello.no_preload,
        program = %String::from_utf8_lossy(&hello.runtime),
        refused = hello.refused.as_deref(),
        "a guard says Hello"
    );
    for line in hello.coverage() {
        tracing::debug!(
            target: "claims",
            rule = line.rule.as_str(),
            claimed = ?line.status,
            plane = line.plane.map(Plane::as_str),
            reason = line.reason,
            "the guard claims a rule"
        );
    }
    for probe in &hello.probes {
        tracing::debug!(target: "guard", probe = %String::from_utf8_lossy(probe), "the guard has tried");
    }
}

/// Takes the guard's reports until it closes the connection.
async fn follow(agent: &Rc<Agent>, connection: &Connection, peer_pid: u32) {
    let mut buffer = [0; MAX_MESSAGE];
    while let Ok(length @ 1..) = connection.receive(&mut buffer).await {
        take(agent, buffer.get(..length).unwrap_or_default(), peer_pid);
    }
}

/// Takes what the guard has already sent, without waiting.
pub(crate) fn drain(agent: &Agent, connection: &Connection) {
    let mut buffer = [0; MAX_MESSAGE];
    while let Some(length @ 1..) = connection.try_receive(&mut buffer) {
        take(agent, buffer.get(..length).unwrap_or_default(), 0);
    }
}

fn take(agent: &Agent, message: &[u8], peer_pid: u32) {
    // Hints travel by the other socket; take those first that were sent before this report.
    agent.drain_reports();
    match Report::decode(message) {
        Some(report) => agent.take_report(&report),
        None => agent.impersonation(peer_pid, "the guard's connection carried something that is no report"),
    }
}

/// The report of an attack on the protection's own channels.
pub(crate) fn impersonation(pid: u32, detail: &'static str) -> Report<'static> {
    let mut report = Report::new(Kind::Violation, ActionKind::Dangerous);
    report.rule = Rule::SelfProtection;
    report.plane = Plane::Platform;
    report.outcome = ringfence_records::message::Outcome::Blocked;
    report.pid = pid;
    report.name = b"impersonation";
    report.detail = detail.as_bytes();
    report
}

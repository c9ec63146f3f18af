//! The guarded resolver: the function's only name server.
//!
//! Guard and preload library send every look-up here. It asks the policy about the name, refuses or forwards, and ties
//! each address of an answer to the name patterns that allow it **before** the answer goes out, so that the
//! connection that follows is judged by its name. It does not decide about connections.

mod forward;
mod memory;
mod names;
mod packet;
mod servers;

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ringfence_policy::{Decision, Plane, Rule, Verdict, embedded};
use ringfence_records::message::{ActionKind, Kind, Outcome, Report};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

pub(crate) use servers::system_servers;

use crate::agent::Agent;
use crate::detect;
use crate::places::{self, Place, Places};
use memory::Memory;
use names::Machine;
use packet::Question;

/// Queries by UDP in flight at once. A further one takes the place of the oldest, whose client asks again: names that
/// no server answers for take long, others milliseconds.
const MAX_IN_FLIGHT: usize = 128;
/// TCP connections at once. A further one takes the place of one that asks nothing, else of the oldest.
const MAX_CONNECTIONS: usize = 64;
/// How long a TCP client may stay silent.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the refusal of a denied name waits for the name's addresses.
const CLOSING_TAKES: Duration = Duration::from_millis(500);
/// Tries to find a port that is free for both transports.
const PORT_TRIES: usize = 16;

/// The bound sockets.
#[derive(Debug)]
pub(crate) struct Sockets {
    datagrams: UdpSocket,
    streams: TcpListener,
    in_flight: Rc<Places>,
    connections: Rc<Places>,
    machine: Machine,
    memory: RefCell<Memory>,
}

/// The other end of a query, by which its process can be found.
#[derive(Debug, Clone, Copy)]
struct Client {
    address: SocketAddr,
    /// Whether it came by TCP.
    is_stream: bool,
}

/// Binds UDP and TCP on one free port of loopback.
///
/// # Errors
/// Those of bind(2).
pub(crate) async fn bind() -> io::Result<Sockets> {
    let mut refused = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..PORT_TRIES {
        let streams = places::listen(Ipv4Addr::LOCALHOST)?;
        match UdpSocket::bind(streams.local_addr()?).await {
            Ok(datagrams) => {
                let (in_flight, connections) = (Places::new(MAX_IN_FLIGHT), Places::new(MAX_CONNECTIONS));
                let (machine, memory) = (Machine::this(), RefCell::default());
                return Ok(Sockets { datagrams, streams, in_flight, connections, machine, memory });
            }
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

impl Sockets {
    /// The port of both.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub(crate) fn port(&self) -> io::Result<u16> {
        Ok(self.datagrams.local_addr()?.port())
    }

    /// Answers datagrams for ever.
    pub(crate) async fn serve_datagrams(self: Rc<Self>, agent: Rc<Agent>) {
        let mut buffer = [0; packet::MAX_DATAGRAM];
        loop {
            // An error here is an ICMP message about an earlier answer: nothing to do.
            let Ok((length, client)) = self.datagrams.recv_from(&mut buffer).await else { continue };
            let query = buffer.get(..length).unwrap_or_default().to_vec();
            let (sockets, agent) = (Rc::clone(&self), Rc::clone(&agent));
            let serve = |place| async move {
                let asker = Client { address: client, is_stream: false };
                if let Some(answer) = sockets.answer(&agent, &query, asker).await {
                    let _ = sockets.datagrams.send_to(&answer, client).await;
                }
                drop::<Place>(place);
            };
            self.in_flight.serve(false, serve).await;
        }
    }

    /// Answers connections for ever.
    pub(crate) async fn serve_streams(self: Rc<Self>, agent: Rc<Agent>) {
        loop {
            match self.streams.accept().await {
                Ok((stream, address)) => {
                    let (sockets, agent) = (Rc::clone(&self), Rc::clone(&agent));
                    let client = Client { address, is_stream: true };
                    let serve = |place| async move {
                        let _ = sockets.connection(stream, &agent, client, &place).await;
                    };
                    self.connections.serve(false, serve).await;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Answers the queries of one connection, one after the other (RFC 7766 allows it).
    async fn connection(
        &self,
        mut stream: TcpStream,
        agent: &Rc<Agent>,
        client: Client,
        place: &Place,
    ) -> io::Result<()> {
        loop {
            let length = usize::from(timeout(PATIENCE, stream.read_u16()).await??);
            if length > packet::MAX_DATAGRAM {
                return Ok(());
            }
            let mut query = vec![0; length];
            timeout(PATIENCE, stream.read_exact(&mut query)).await??;
            place.keep(true);
            let Some(answer) = self.answer(agent, &query, client).await else { return Ok(()) };
            let framed = packet::framed(&answer);
            timeout(PATIENCE, stream.write_all(&framed)).await??;
            place.keep(false);
        }
    }

    /// The answer to a query; none where it is not worth one.
    async fn answer(&self, agent: &Rc<Agent>, query: &[u8], client: Client) -> Option<Vec<u8>> {
        let question = match Question::parse(query) {
            Ok(question) => question,
            Err(code) => return packet::refusal(query, code),
        };
        let (verdict, patterns) = self.judge(agent, &question);
        tracing::debug!(
            target: "resolver",
            name = %String::from_utf8_lossy(question.name.as_slice()),
            kind = question.kind,
            decision = ?verdict.decision,
            rule = verdict.rule.as_str(),
            patterns = patterns.len(),
            "a look-up is judged"
        );
        if verdict.decision != Decision::Allow {
            self.tell(agent, &question, verdict, client);
        }
        if verdict.decision == Decision::Deny {
            if verdict.rule == Rule::EgressDeny {
                self.close(agent, &question.name).await;
            }
            return packet::forbidden(query, &question);
        }
        if names::is_loopback(&question.name) {
            return packet::loopback(query, &question);
        }
        let servers = agent.name_servers();
        let begun = Instant::now();
        let answer = forward::forward(query, &question, &servers, client.is_stream).await;
        tracing::debug!(
            target: "resolver",
            servers = servers.len(),
            answered = answer.is_some(),
            took_ms = begun.elapsed().as_millis(),
            "a look-up is forwarded"
        );
        let Some(answer) = answer else {
            let name = question.name.as_slice();
            self.memory.borrow_mut().was_not_answered(self.machine.without_search(name), name, question.kind);
            return packet::refusal(query, packet::SERVER_FAILURE);
        };
        if verdict.decision == Decision::Allow {
            self.open(agent, &answer);
        }
        self.keep(agent, &patterns, &answer);
        if verdict.decision == Decision::Report {
            agent.led_to(question.name.as_slice(), packet::addresses(&answer));
        }
        Some(answer)
    }

    /// What is to be done with a look-up, and the name patterns that its answer is tied to.
    fn judge(&self, agent: &Agent, question: &Question) -> (Verdict, Vec<u16>) {
        let name = question.name.as_slice();
        let (verdict, own) = agent.judge_name(name);
        // A name that the policy denies is denied, whatever leads to it.
        if verdict.decision == Decision::Allow || verdict.rule != Rule::EgressNames {
            return (verdict, own);
        }
        let allowed = |patterns: &[u16]| {
            let verdict = Verdict { decision: Decision::Allow, rule: Rule::EgressNames };
            (verdict, patterns.iter().chain(&own).copied().collect())
        };
        if let Some(host) = names::host_of_service(name, question.kind)
            && let (Verdict { decision: Decision::Allow, .. }, patterns) = agent.judge_name(host)
        {
            return allowed(&patterns);
        }
        if let Some(patterns) = self.memory.borrow().patterns(name, Instant::now()) {
            return allowed(patterns);
        }
        let is_own = names::is_loopback(name) || self.machine.is_called(name);
        let known = || names::address_of_reverse(name).is_some_and(|address| agent.page.has_name(address));
        if is_own || known() { allowed(&[]) } else { (verdict, own) }
    }

    /// Closes the addresses of a denied name, before its refusal goes out. The resolver asks for them itself, for names that
    /// the policy has letter by letter: what is asked for carries nothing out.
    async fn close(&self, agent: &Agent, name: &[u8]) {
        let Some(pattern) = agent.closing_pattern(name) else { return };
        if !self.memory.borrow_mut().may_close(name, Instant::now()) {
            return;
        }
        let servers = agent.name_servers();
        let asked = async {
            for kind in [packet::TYPE_A, packet::TYPE_AAAA] {
                let query = packet::asking(name, kind);
                let Ok(question) = Question::parse(&query) else { return };
                let Some(answer) = forward::forward(&query, &question, &servers, false).await else {
                    continue;
                };
                for address in packet::addresses(&answer).filter(|address| is_outside(*address, agent)) {
                    if !agent.page.has_name(address) && self.memory.borrow_mut().close(address, pattern) {
                        agent.page.editor().add_name(address, pattern);
                    }
                }
            }
        };
        // What has been closed until then stays so.
        let _ = timeout(CLOSING_TAKES, asked).await;
    }

    /// Opens addresses that a denied name shares with one that is not: hosts of a network of caches have many names.
    fn open(&self, agent: &Agent, answer: &[u8]) {
        for address in packet::addresses(answer) {
            for pattern in self.memory.borrow_mut().open(address) {
                agent.page.editor().remove_name(address, pattern);
            }
        }
    }

    /// Ties what an answer leads to to the patterns, before the answer goes out.
    fn keep(&self, agent: &Agent, patterns: &[u16], answer: &[u8]) {
        if patterns.is_empty() {
            return;
        }
        for address in packet::addresses(answer).filter(|address| is_outside(*address, agent)) {
            for pattern in patterns {
                agent.page.editor().add_name(address, *pattern);
            }
        }
        for name in packet::targets(answer) {
            self.memory.borrow_mut().learn(&name, patterns, Instant::now());
        }
    }

    /// Tells a look-up once, whatever number of questions it takes.
    fn tell(&self, agent: &Agent, question: &Question, verdict: Verdict, client: Client) {
        let (name, now) = (question.name.as_slice(), Instant::now());
        let key = self.machine.without_search(name);
        if !self.memory.borrow_mut().begins_lookup(key, name, question.kind, now) {
            return;
        }
        let mut report = Report::new(Kind::Violation, ActionKind::Resolve);
        report.rule = verdict.rule;
        report.plane = Plane::Platform;
        report.name = name;
        report.outcome =
            if verdict.decision == Decision::Deny { Outcome::Blocked } else { Outcome::Reported };
        agent.take_resolution(&report, || {
            let may_search = self.memory.borrow_mut().may_search(now);
            if may_search { detect::holder_of(client.address, client.is_stream) } else { None }
        });
    }
}

/// Whether an address may be tied to a name. One that leads back to this machine or to the platform may not: a name
/// that is allowed would open it (DNS rebinding).
fn is_outside(address: IpAddr, agent: &Agent) -> bool {
    !leads_to(address).any(|address| is_inside(address) || agent.settings.api_host() == Some(address))
}

/// An address, and the IPv4 addresses that it may stand for where there is a translator (NAT64).
fn leads_to(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let address = address.to_canonical();
    embedded(address).map(IpAddr::V4).chain([address])
}

fn is_inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_answer_leads_inside_by_a_translator_either() {
        let leads_inside = |address: &str| leads_to(address.parse().unwrap()).any(is_inside);
        for address in
            ["169.254.169.254", "::ffff:127.0.0.1", "::1", "64:ff9b::169.254.169.254", "2002:7f00:1::"]
        {
            assert!(leads_inside(address), "{address}");
        }
        assert!(!leads_inside("64:ff9b::192.0.2.1") && !leads_inside("2001:db8::1"));
    }
}

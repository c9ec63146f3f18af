//! connect(2), bind(2) and the sends that name a destination: judged on a copy of the address, and made with it.
//!
//! `address` parses, this module asks the policy and acts, `message` takes messages apart. `handler` calls it. Where
//! the kernel plane decides, only what helps it remains: sends without a name become plain sendto(2).

mod address;
mod answer;
mod control;
mod message;

pub(crate) use answer::{recvfrom, recvmsg};
pub(crate) use message::{sendmmsg, sendmsg};

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use ringfence_policy::{Action, Decision, Destination, Role, Rule, Transport, Verdict};
use ringfence_records::handoff::covers;
use ringfence_records::message::{ActionKind, CONTROL_SOCKET, Kind, Report, is_agents_name};
use ringfence_records::page::View;
use ringfence_records::record::subject;
use ringfence_records::sockets;

use crate::arch::{Flow, number};
use crate::state::{State, speaks};
use crate::sys::{self, Errno};
use crate::{files, own, poller, report, runtime_api, scope};
use address::{Address, Copied};

/// Name patterns of one address that are looked at; an address with more is rare and judged by these.
const MAX_NAMES: usize = 16;
const MSG_FASTOPEN: usize = 0x2000_0000;
const SO_TYPE: usize = 3;
const SOCK_STREAM: i32 = 1;
const DNS: u16 = 53;

/// connect(2).
#[inline(never)]
pub(crate) fn connect(state: &State, arguments: [usize; 6]) -> Flow {
    let [socket, address, length, ..] = arguments;
    let Some(copy) = Copied::read(address, length) else { return Flow::Proceed };
    let socket = sys::descriptor(socket);
    match copy.parse(false) {
        Address::Unix(name) if is_control_socket(name) => own::dangerous(state, "connect"),
        // With the copy, since another thread may turn the address into one of the internet meanwhile.
        // Another way out of the machine than those that rules speak of: AF_VSOCK leads to its host.
        Address::Other if state.rules.egress && !copy.is_harmless() => own::dangerous(state, "connect"),
        Address::Unix(_) | Address::Other => Flow::Done(connect_copy(state, socket, arguments, &copy)),
        Address::Internet(to) => connect_internet(state, socket, to, &copy, arguments),
    }
}

fn connect_internet(
    state: &State,
    socket: i32,
    to: SocketAddr,
    copy: &Copied,
    arguments: [usize; 6],
) -> Flow {
    let Some(judged) = judge(state, socket, to, ActionKind::Connect) else {
        return Flow::Done(Errno::ACCES.result());
    };
    let mut copy = *copy;
    if let Some(instead) = judged.instead {
        copy.set(instead);
    }
    let result = connect_copy(state, socket, arguments, &copy);
    if judged.runtime_api && is_connected(result) {
        match state.role() {
            Role::Runtime => runtime_api::remember(state, socket),
            Role::Child => poller::remember(socket),
        }
    }
    Flow::Done(result)
}

/// Connects to the copy. A signal may end the call before the kernel plane has taken it up; EINTR would then tell
/// the program that the connection is being made (connect(2)), and it would wait for one that was never begun. Other
/// sockets than TCP's do not go on by themselves: there it is the program's to hear of where the call has waited.
fn connect_copy(state: &State, socket: i32, arguments: [usize; 6], copy: &Copied) -> isize {
    const TCP_CLOSE: u8 = 7;
    loop {
        let begun = sys::milliseconds();
        let result = with_copy(number::CONNECT, arguments, copy);
        let interrupted = result == Errno::INTR.result() && state.kernel_decides(covers::EGRESS);
        if !interrupted
            || sys::tcp_state(socket).map_or_else(|| sys::has_waited(begun), |tcp| tcp != TCP_CLOSE)
        {
            return result;
        }
    }
}

/// Connected, or on the way there.
const fn is_connected(result: isize) -> bool {
    const EINPROGRESS: isize = -115;
    result == 0 || result == EINPROGRESS
}

/// AF_UNIX is free, but for the agent's control socket, which is the guard's.
fn is_control_socket(name: &[u8]) -> bool {
    name.strip_prefix(b"\0").is_some_and(|name| name.starts_with(CONTROL_SOCKET))
}

/// connect(2) or bind(2) with a copy of the address.
fn with_copy(call: usize, arguments: [usize; 6], copy: &Copied) -> isize {
    let [socket, ..] = arguments;
    let (pointer, length) = copy.raw();
    let arguments = [socket, pointer, length, 0, 0, 0];
    if call == number::BIND { sys::pass_whole(call, arguments) } else { sys::pass(call, arguments) }
}

/// What an allowed destination needs.
struct Judged {
    /// Where to go instead: the guarded resolver for a name server, loopback where no address is given, which the kernel
    /// would take for that of the socket where it is bound.
    instead: Option<SocketAddr>,
    runtime_api: bool,
}

/// The verdict on a destination; `None` where it is denied.
fn judge(state: &State, socket: i32, to: SocketAddr, kind: ActionKind) -> Option<Judged> {
    let canonical = SocketAddr::new(canonical(to.ip()), to.port());
    let instead = to.ip().to_canonical().is_unspecified().then_some(canonical);
    let runtime_api = state.leads_to_api(canonical);
    let resolves = is_name_server(state, canonical) || state.handoff.resolver == Some(canonical);
    if scope::refuses_destination(state, canonical, resolves, kind) {
        return None;
    }
    if let Some(resolver) = state.handoff.resolver.filter(|_| is_name_server(state, canonical)) {
        return Some(Judged { instead: Some(resolver), runtime_api: false });
    }
    if state.handoff.resolver.is_none() && is_name_server(state, canonical) {
        // Nobody could resolve anything otherwise; the guard has said that names are not covered.
        return Some(Judged { instead, runtime_api: false });
    }
    if state.rules.egress || (runtime_api && state.runs_poller_for_another()) {
        let (verdict, asks) = verdict(state, socket, canonical, runtime_api);
        let asks = asks.filter(|_| kind == ActionKind::Connect);
        if asks == Some(Asks::Allowed) {
            let nowhere = (verdict.decision == Decision::Deny).then(|| SocketAddr::new(canonical.ip(), 0));
            return Some(Judged { instead: nowhere.or(instead), runtime_api });
        }
        if speaks(verdict) {
            let mut report = Report::new(Kind::Violation, kind);
            report.address = Some(canonical);
            report.detail = if asks.is_some() { subject::WAY } else { b"" };
            report::violation(state, verdict, &report);
        }
        if verdict.decision == Decision::Deny {
            return None;
        }
    }
    Some(Judged { instead, runtime_api })
}

/// What a connect(2) is that may only ask which way leads somewhere.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// An entry covers the address.
    Allowed,
    /// None does.
    Other,
}

/// The verdict, and where it is none that allows: whether a connect(2) would only ask which way leads there.
#[inline(never)]
fn verdict(state: &State, socket: i32, to: SocketAddr, runtime_api: bool) -> (Verdict, Option<Asks>) {
    let mut names = [0; MAX_NAMES];
    let found = View::new(state.words).map_or(0, |view| view.names(to.ip(), &mut names));
    let transport = match sys::socket_option(socket, SO_TYPE) {
        Ok(SOCK_STREAM) | Err(_) => Transport::Stream,
        Ok(_) => Transport::Datagram,
    };
    let destination = Destination {
        address: to.ip(),
        port: to.port(),
        transport,
        names: names.get(..found).unwrap_or_default(),
        runtime_api,
        own_service: state.handoff.resolver.is_some_and(|resolver| resolver == to),
        second_connection: runtime_api && runtime_api::is_second(state, socket),
    };
    let action = Action::Connect(destination);
    if runtime_api {
        return (runtime_api::verdict_on(state, &action), None);
    }
    let verdict = state.verdict(&action);
    if verdict.decision == Decision::Allow || verdict.rule != Rule::EgressAllow {
        return (verdict, None);
    }
    let may = |probe| state.verdict(&Action::Connect(probe)).decision == Decision::Allow;
    let asks = destination.as_probe().map(|probe| if may(probe) { Asks::Allowed } else { Asks::Other });
    (verdict, asks)
}

/// IPv4-mapped IPv6 as IPv4; the unspecified address as loopback, where the kernel sends it.
fn canonical(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        address if address.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        address => address,
    }
}

fn is_name_server(state: &State, to: SocketAddr) -> bool {
    to.port() == DNS
        && state.handoff.name_servers.iter().flatten().any(|server| canonical(server.ip()) == to.ip())
}

/// bind(2).
#[inline(never)]
pub(crate) fn bind(state: &State, arguments: [usize; 6]) -> Flow {
    let [_, address, length, ..] = arguments;
    let Some(copy) = Copied::read(address, length) else { return Flow::Proceed };
    match copy.parse(true) {
        Address::Unix([0, name @ ..]) if is_agents_name(name) => return own::dangerous(state, "bind"),
        Address::Unix(_) => {}
        _ if !state.rules.bind && !files::holds_writes(state) => return Flow::Proceed,
        _ => {}
    }
    if files::makes_denied(state, copy.path()) {
        return Flow::Done(Errno::ACCES.result());
    }
    if !state.rules.bind {
        return Flow::Done(with_copy(number::BIND, arguments, &copy));
    }
    let Address::Internet(local) = copy.parse(true).owned() else {
        return Flow::Done(with_copy(number::BIND, arguments, &copy));
    };
    let local = SocketAddr::new(local.ip().to_canonical(), local.port());
    if bind_denied(state, local, local.port()) {
        return Flow::Done(Errno::ACCES.result());
    }
    Flow::Done(with_copy(number::BIND, arguments, &copy))
}

/// listen(2): a socket that nobody has bound, or bound to any address at a port of the kernel's choice, would open that
/// port to everybody. Every other was judged when it was bound.
#[inline(never)]
pub(crate) fn listen(state: &State, arguments: [usize; 6]) -> Flow {
    let [socket, ..] = arguments;
    runtime_api::note_server(state);
    if !state.rules.bind {
        return Flow::Proceed;
    }
    let mut buffer = [0; 128];
    let Ok(name) = sys::socket_name(sys::descriptor(socket), &mut buffer) else { return Flow::Proceed };
    let Some(copy) = Copied::read(name.as_ptr() as usize, name.len()) else { return Flow::Proceed };
    let Address::Internet(local) = copy.parse(true).owned() else { return Flow::Proceed };
    let local = SocketAddr::new(local.ip().to_canonical(), local.port());
    // Port 0 is free to bind, since clients do; to listen there is to take some port.
    if local.ip().is_unspecified() && bind_denied(state, local, local.port().max(1)) {
        return Flow::Done(Errno::ACCES.result());
    }
    Flow::Proceed
}

/// Whether `local` may not be bound, if its port were `port`; writes the verdict down.
fn bind_denied(state: &State, local: SocketAddr, port: u16) -> bool {
    let verdict = state.verdict(&Action::Bind { address: local.ip(), port });
    if speaks(verdict) {
        let mut report = Report::new(Kind::Violation, ActionKind::Bind);
        report.address = Some(local);
        report::violation(state, verdict, &report);
    }
    verdict.decision == Decision::Deny
}

/// sendto(2).
#[inline(never)]
pub(crate) fn sendto(state: &State, arguments: [usize; 6]) -> Flow {
    let [socket, data, size, flags, address, length] = arguments;
    if refuses_fast_open(state, flags) {
        return Flow::Done(Errno::OPNOTSUPP.result());
    }
    // A connected socket takes an address and goes on to its peer (send(2)).
    let flow = runtime_api::outgoing(state, socket, data, size);
    if address == 0 || flow != Flow::Proceed {
        return flow;
    }
    match named(state, sys::descriptor(socket), address, length) {
        Named::Proceed => Flow::Proceed,
        Named::Denied => Flow::Done(Errno::PERM.result()),
        Named::Copy(copy) => {
            let (pointer, length) = copy.raw();
            Flow::Done(sys::pass(number::SENDTO, [socket, data, size, flags, pointer, length]))
        }
        Named::Peer => Flow::Done(sys::pass(number::SENDTO, [socket, data, size, flags, 0, 0])),
    }
}

/// setsockopt(2): options that send packets elsewhere than where the socket is connected, or connect by themselves.
#[inline(never)]
pub(crate) fn option(state: &State, arguments: [usize; 6]) -> Flow {
    let [_, level, option, ..] = arguments;
    if state.rules.egress && sockets::is_refused(sys::descriptor(level), sys::descriptor(option)) {
        return own::dangerous(state, "setsockopt");
    }
    Flow::Proceed
}

/// TCP Fast Open sends data before any connect is seen.
fn refuses_fast_open(state: &State, flags: usize) -> bool {
    flags & MSG_FASTOPEN != 0 && (state.rules.egress || state.kernel_decides(covers::EGRESS))
}

/// What becomes of a send with a destination.
enum Named {
    Proceed,
    Denied,
    /// Send to this copy of the address, which nobody can change any more.
    Copy(Copied),
    /// Send to where the socket is connected: TCP passes an address over.
    Peer,
}

fn named(state: &State, socket: i32, address: usize, length: usize) -> Named {
    let Some(mut copy) = Copied::read(address, length) else { return Named::Proceed };
    match copy.parse(true).owned() {
        // As for connect: a family that leads out another way than rules speak of.
        Address::Other
            if state.rules.egress
                && !copy.is_harmless()
                && own::dangerous(state, "sendto") != Flow::Proceed =>
        {
            Named::Denied
        }
        Address::Internet(_) if sys::socket_option(socket, SO_TYPE) == Ok(SOCK_STREAM) => Named::Peer,
        Address::Internet(to) => match judge(state, socket, to, ActionKind::Send) {
            None => Named::Denied,
            Some(judged) => {
                if let Some(instead) = judged.instead {
                    copy.set(instead);
                }
                Named::Copy(copy)
            }
        },
        Address::Unix(_) | Address::Other => Named::Copy(copy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_judged_in_one_form() {
        let table = [
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("0.0.0.0", "127.0.0.1"),
            ("::", "127.0.0.1"),
            ("::ffff:0.0.0.0", "127.0.0.1"),
            ("2001:db8::1", "2001:db8::1"),
        ];
        for (given, expected) in table {
            assert_eq!(canonical(given.parse().unwrap()), expected.parse::<IpAddr>().unwrap(), "{given}");
        }
    }
}

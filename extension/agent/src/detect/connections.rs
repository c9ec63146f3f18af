//! Connections and listeners that no plane stopped.
//!
//! Each socket is looked at once. Where the policy would not allow it to some process, its owner is looked for: only what a
//! process of the function holds counts, since other extensions connect too. What is closed already has no owner; it
//! counts if no other process could have it. [`super`] asks where a counter of the kernel has moved.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use ringfence_policy::{Decision, Role, Transport, Verdict};
use ringfence_records::clients::SPARE_CONNECTIONS;
use ringfence_records::message::ActionKind;

use super::gates::News;
use super::processes::role;
use super::sockets::{self, Socket, State};
use super::{Detector, Finding, MAX_REMEMBERED, Scene};
use crate::proc;

const FOUND_OPEN: &[u8] = b"found open: no plane stopped it";
const FOUND_CLOSED: &[u8] = b"found after it was closed: no plane stopped it, and its process is not known";
const FOUND_LISTENING: &[u8] = b"found listening: no plane stopped it";
/// How many threads Node's pool is to have: a variable of the function, which extensions are given too.
const POOL_SIZE: &str = "UV_THREADPOOL_SIZE";
const DEFAULT_POOL: usize = 4;
const LARGEST_POOL: usize = 1024;
/// How many connections an extension inside the function's process keeps: one asks for events, and its client may have spare
/// ones.
pub(super) const OF_AN_EXTENSION: usize = 1 + SPARE_CONNECTIONS;
/// Where names are looked up.
const DNS: u16 = 53;

impl Detector {
    /// Looks at the tables in which something has moved.
    pub(super) fn look_at_sockets(&mut self, news: News, scene: &Scene<'_>, found: &mut Vec<Finding>) {
        if !news.streams && !news.datagrams {
            return;
        }
        let listed = sockets::read(&self.proc, news.streams, news.datagrams);
        let is_anothers = |socket: &Socket| {
            is_held(socket) && !is_ours(socket) && leads_out(socket) && !came_in(socket, &listed)
        };
        self.is_shared |= listed.iter().any(is_anothers);
        self.look_at_held(&listed, news, scene, found);
        if news.streams {
            self.look_at_closed(&listed, scene, found);
            self.has_seen_streams = true;
            self.ends = listed.iter().map(Socket::ends).collect();
        }
    }

    fn look_at_held(&mut self, listed: &[Socket], news: News, scene: &Scene<'_>, found: &mut Vec<Finding>) {
        let held: HashMap<u64, &Socket> = listed
            .iter()
            .filter(|socket| is_ours(socket))
            .map(|socket| (self.state.hash_one(socket), socket))
            .collect();
        let was_read = |transport| if transport == Transport::Stream { news.streams } else { news.datagrams };
        self.judged.retain(|key, transport| held.contains_key(key) || !was_read(*transport));
        let awaited = self.awaited(listed, scene);
        let is_awaited = |socket: &Socket| awaited.contains(&socket.inode);
        let suspects: Vec<&Socket> = held
            .iter()
            .filter(|(key, socket)| !self.judged.contains_key(key) && is_suspect(socket, listed, scene))
            .filter(|(_, socket)| !is_look_up(socket, scene))
            .map(|(_, socket)| *socket)
            .collect();
        let (put_off, suspects): (Vec<&Socket>, Vec<&Socket>) =
            suspects.into_iter().partition(|socket| is_awaited(socket));
        if !suspects.is_empty() {
            self.judge_held(&suspects, listed, scene, found);
        }
        if !put_off.is_empty() && self.put_off.is_empty() {
            let mut told = Vec::new();
            self.judge_held(&put_off, listed, scene, &mut told);
            self.put_off = told;
        }
        let looked_at = held.into_iter().filter(|(_, socket)| !is_awaited(socket));
        self.judged.extend(looked_at.map(|(key, socket)| (key, socket.transport)));
    }

    /// Connections to the API that were made between the end of init and the first look: an extension inside the function's
    /// process connects then, and so can code of the first invocation. How many such extensions there are, telemetry tells a
    /// little later; so long these wait.
    fn awaited(&mut self, listed: &[Socket], scene: &Scene<'_>) -> HashSet<u64> {
        let is_awaited = |socket: &&Socket| {
            is_ours(socket)
                && scene.judge.is_api(socket.remote)
                && self.of_start.contains(&socket.inode)
                && !self.of_init.contains(&socket.inode)
        };
        let awaited: HashSet<u64> = listed.iter().filter(is_awaited).map(|socket| socket.inode).collect();
        self.awaits_extensions = self.internal_extensions.is_none() && !awaited.is_empty();
        if let (Some(extensions), false) = (self.internal_extensions, awaited.is_empty()) {
            let is_kept = |socket: &&Socket| {
                is_ours(socket) && scene.judge.is_api(socket.remote) && self.of_start.contains(&socket.inode)
            };
            let kept = listed.iter().filter(is_kept).count();
            let expected = self.client_connections + extensions * OF_AN_EXTENSION;
            self.api_connections = self.api_connections.max(kept.min(expected));
        }
        if self.awaits_extensions { awaited } else { HashSet::new() }
    }

    fn judge_held(
        &self,
        suspects: &[&Socket],
        listed: &[Socket],
        scene: &Scene<'_>,
        found: &mut Vec<Finding>,
    ) {
        let api: Vec<&Socket> =
            listed.iter().filter(|socket| is_ours(socket) && scene.judge.is_api(socket.remote)).collect();
        let wanted = suspects.iter().chain(&api).map(|socket| socket.inode).collect();
        let owners =
            sockets::owners(&self.proc, self.census.watched.iter().map(|watched| watched.id), &wanted);
        let is_runtimes = |socket: &Socket| owners.get(&socket.inode) == Some(&scene.ours.runtime);
        // Those of the runtime's client, as far as they were there before.
        let known = |socket: &Socket| {
            self.of_init.contains(&socket.inode) || self.judged.contains_key(&self.state.hash_one(socket))
        };
        let mut kept = api.iter().filter(|socket| is_runtimes(socket) && known(socket)).count();
        for socket in suspects {
            let Some(owner) = owners.get(&socket.inode) else { continue };
            let by_runtime = *owner == scene.ours.runtime;
            let is_api = scene.judge.is_api(socket.remote);
            let is_counted = is_api && by_runtime && !known(socket);
            let is_second = is_counted && kept >= self.api_connections;
            kept += usize::from(is_counted);
            let scene = scene.since_init(self.of_init.contains(&socket.inode));
            // The program that a shell runtime asks by is the runtime to its API.
            let is_pollers =
                || !scene.poller.is_empty() && proc::executable(&self.proc, *owner) == scene.poller;
            let speaks = by_runtime || (is_api && is_pollers());
            let verdict = verdict(socket, &scene, role(speaks), is_second);
            if verdict.decision != Decision::Allow {
                found.push(Finding {
                    process: proc::read(&self.proc, *owner),
                    ..finding(socket, verdict, by_runtime)
                });
            }
        }
    }

    /// The sockets of the function's processes, at the end of init.
    pub(super) fn take_stock_of_sockets(&mut self) {
        let processes = self.census.watched.iter().map(|watched| watched.id);
        self.of_init =
            sockets::held(&self.proc, processes).map(|(inode, _)| inode).take(MAX_REMEMBERED).collect();
    }

    /// What the kernel still remembers of connections that are over (`TIME_WAIT`, for a minute), where no other extension
    /// and no other user of the network could have made them.
    fn look_at_closed(&self, listed: &[Socket], scene: &Scene<'_>, found: &mut Vec<Finding>) {
        if self.census.has_neighbours || self.is_shared || nix::unistd::geteuid().is_root() {
            return;
        }
        let scene = &scene.since_init(!self.has_seen_streams);
        let is_new = |socket: &Socket| {
            socket.state == State::Closed
                && leads_out(socket)
                && !came_in(socket, listed)
                && !self.ends.contains(&socket.ends())
                && !self.former.contains(&socket.ends())
        };
        for socket in listed.iter().filter(|socket| is_new(socket) && !is_look_up(socket, scene)) {
            let by_runtime = verdict(socket, scene, Role::Runtime, false);
            let by_child = verdict(socket, scene, Role::Child, false);
            if by_runtime.decision != Decision::Allow && by_child.decision != Decision::Allow {
                found.push(Finding { detail: FOUND_CLOSED, ..finding(socket, by_runtime, false) });
            }
        }
    }
}

/// Whether this process itself holds a connection to this address.
pub(crate) fn holds_connection(process: u32, to: SocketAddr) -> bool {
    let proc = Path::new("/proc");
    let listed = sockets::read(proc, true, false);
    let wanted: HashSet<u64> = listed
        .iter()
        .filter(|socket| is_held(socket) && socket.remote == to)
        .map(|socket| socket.inode)
        .collect();
    !sockets::owners(proc, std::iter::once(process), &wanted).is_empty()
}

/// How many connections a client keeps to its API. Node's has one for answers, one for answers that are streamed, and
/// since version 4 one for each thread of the interpreter's pool: /proc does not tell which thread made one. Other
/// clients may have some that they do not use (`spare`).
pub(super) fn kept_to_api(runtime: &[u8], spare: bool) -> usize {
    if runtime.ends_with(b"/node") {
        return 2 + pool_size(std::env::var(POOL_SIZE).ok().as_deref());
    }
    if spare { 1 + SPARE_CONNECTIONS } else { 1 }
}

/// As libuv takes it.
fn pool_size(set: Option<&str>) -> usize {
    set.map_or(DEFAULT_POOL, |set| set.trim().parse().unwrap_or(1).clamp(1, LARGEST_POOL))
}

/// Whether it leads to a name server: a runtime that the planes do not see looks its names up there, allowed ones too.
fn is_look_up(socket: &Socket, scene: &Scene<'_>) -> bool {
    socket.remote.port() == DNS && (scene.name_servers)().contains(&socket.remote)
}

fn is_ours(socket: &Socket) -> bool {
    is_held(socket) && socket.is_own
}

const fn is_held(socket: &Socket) -> bool {
    socket.inode != 0 && matches!(socket.state, State::Open | State::Listens)
}

/// Whether the policy would not allow it to the runtime, or to a child. The Runtime API's are counted.
fn is_suspect(socket: &Socket, listed: &[Socket], scene: &Scene<'_>) -> bool {
    if came_in(socket, listed) {
        return false;
    }
    let denied = |role| verdict(socket, scene, role, false).decision != Decision::Allow;
    scene.judge.is_api(socket.remote) || denied(Role::Runtime) || denied(Role::Child)
}

/// Whether it is the near end of a connection that came in.
fn came_in(socket: &Socket, listed: &[Socket]) -> bool {
    let listens = |other: &Socket| other.state == State::Listens && other.local.port() == socket.local.port();
    matches!(socket.state, State::Open | State::Closed) && listed.iter().any(listens)
}

fn verdict(socket: &Socket, scene: &Scene<'_>, role: Role, is_second: bool) -> Verdict {
    match socket.state {
        State::Listens => scene.judge.listener(socket.local, role),
        _ => scene.judge.connection(socket.remote, socket.transport, role, is_second),
    }
}

/// Whether it leads out of this machine, and not to a service of the platform beside it.
fn leads_out(socket: &Socket) -> bool {
    match socket.remote.ip() {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    }
}

fn finding(socket: &Socket, verdict: Verdict, by_runtime: bool) -> Finding {
    let listens = socket.state == State::Listens;
    Finding {
        verdict,
        action: if listens { ActionKind::Bind } else { ActionKind::Connect },
        path: Vec::new(),
        address: Some(if listens { socket.local } else { socket.remote }),
        process: None,
        by_runtime,
        detail: if listens { FOUND_LISTENING } else { FOUND_OPEN },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_as_large_as_libuv_makes_it() {
        let sizes = [None, Some("8"), Some("0"), Some("many"), Some("5000"), Some("-1")].map(pool_size);
        assert_eq!(sizes, [4, 8, 1, 1, 1024, 1]);
    }

    #[test]
    fn only_nodes_client_keeps_more_than_one() {
        assert_eq!(kept_to_api(b"/var/lang/bin/python3.13", false), 1);
        assert!(kept_to_api(b"/var/lang/bin/node", false) >= 3);
        assert_eq!(kept_to_api(b"/var/task/bootstrap", true), 3);
        assert_eq!(kept_to_api(b"/var/task/bootstrap", false), 1);
    }
}

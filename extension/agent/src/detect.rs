//! What got past the planes: found afterwards in /proc, by what it leaves there.
//!
//! Code that makes system calls of its own is not seen by the process plane. What it starts, connects and maps stands in
//! the process table, in `/proc/net` and in the lists of mappings, and is judged there by the same policy as if it had
//! been seen. What stood there when init ended may stay. It finds; what is done about it and what is written down is
//! decided by [`crate::lifecycle`].
//!
//! A look costs some microseconds where the kernel's counters ([`gates`]) have not moved.

mod census;
mod connections;
mod gates;
mod image;
mod judge;
mod mappings;
mod processes;
mod script;
mod sockets;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ringfence_policy::{Decision, Mode, Plane, Rule, Transport, Verdict};
use ringfence_records::message::{ActionKind, Outcome, Report};

pub(crate) use connections::holds_connection;
pub(crate) use gates::Deliveries;
pub(crate) use judge::Judge;

use crate::policy::Rules;
use crate::proc::{self, Process};
use crate::survivors::Ours;
use census::Census;
use gates::Gates;
use sockets::Socket;

/// The process that holds the other end of a connection or of a datagram that came to the agent. Reads all sockets and looks
/// at descriptors of all processes, so callers limit how often.
pub(crate) fn holder_of(other_end: SocketAddr, is_stream: bool) -> Option<Process> {
    let proc = Path::new("/proc");
    let is_it = |socket: &Socket| {
        let ip = socket.local.ip();
        let fits = ip == other_end.ip() || ip.is_unspecified();
        fits && socket.local.port() == other_end.port() && socket.inode != 0
    };
    let inode = sockets::read(proc, is_stream, !is_stream).iter().find(|socket| is_it(socket))?.inode;
    let holder = sockets::owners(proc, proc::ids(proc), &HashSet::from([inode])).remove(&inode)?;
    proc::read(proc, holder)
}

/// Most findings of one look.
const MAX_FOUND: usize = 32;
/// Most things that are remembered as told, or as gone ahead.
const MAX_REMEMBERED: usize = 1024;
/// What is looked for, by the rules that speak of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Checks {
    exec: bool,
    egress: bool,
    mappings: bool,
}

impl Checks {
    /// Nothing is looked for.
    pub(crate) const NONE: Self = Self { exec: false, egress: false, mappings: false };

    /// What no stronger plane sees for sure: in the kernel plane the guard sees every exec and every socket.
    pub(crate) fn new(rules: &Rules, strongest: Plane) -> Self {
        let unseen = strongest != Plane::Kernel;
        let is_used = |check: Self| {
            let mut uses = rules.uses.iter().filter(|rule_use| rule_use.mode != Mode::Off);
            uses.any(|rule_use| check.look_for(rule_use.rule))
        };
        Self {
            exec: unseen && is_used(Self { exec: true, ..Self::NONE }),
            egress: unseen && is_used(Self { egress: true, ..Self::NONE }),
            mappings: is_used(Self { mappings: true, ..Self::NONE }),
        }
    }

    /// Whether what breaks the rule is looked for.
    pub(crate) const fn look_for(self, rule: Rule) -> bool {
        match rule {
            Rule::ProcessAllow | Rule::ProcessShells | Rule::ProcessUncovered => self.exec,
            Rule::ProcessFromWritable => self.exec || self.mappings,
            Rule::EgressAllow | Rule::EgressDeny | Rule::EgressListen | Rule::EgressRuntimeApi => self.egress,
            _ => false,
        }
    }

    pub(crate) const fn without_egress(self) -> Self {
        Self { egress: false, ..self }
    }

    pub(crate) const fn are_none(self) -> bool {
        !self.exec && !self.egress && !self.mappings
    }
}

/// What a look needs to know.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    /// The program that asks for events in the runtime's place; empty if there is none.
    pub(crate) poller: &'a [u8],
    pub(crate) judge: Judge<'a>,
    pub(crate) checks: Checks,
    pub(crate) ours: Ours,
    /// Whether the runtime's client may have connections to its API that it does not use.
    pub(crate) spare: bool,
    /// The platform's connections to the agent.
    pub(crate) deliveries: Deliveries,
    /// Whether one more waits to be accepted.
    pub(crate) delivery_waits: &'a dyn Fn() -> bool,
    /// The name servers that the agent itself asks.
    pub(crate) name_servers: &'a dyn Fn() -> Vec<SocketAddr>,
}

impl Scene<'_> {
    /// The same for something that may be as old as init, whose own rules then count too.
    fn since_init(&self, since_init: bool) -> Self {
        Self { judge: Judge { since_init, ..self.judge }, ..*self }
    }
}

/// Something that no plane saw and the policy does not allow.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    pub(crate) action: ActionKind,
    /// The file, of mappings.
    pub(crate) path: Vec<u8>,
    pub(crate) address: Option<SocketAddr>,
    /// Whose it is, where that is known.
    pub(crate) process: Option<Process>,
    /// Whether it is the runtime itself.
    pub(crate) by_runtime: bool,
    pub(crate) detail: &'static [u8],
}

/// Looks, and remembers what it has seen.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each named where it is set")]
#[derive(Debug)]
pub(crate) struct Detector {
    proc: PathBuf,
    state: RandomState,
    gates: Gates,
    census: Census,
    /// Whether init is over: from then on what is new counts.
    begun: bool,
    /// Executions that were told, so that a fork of one is not taken for an innocent one.
    condemned: HashSet<u64>,
    /// Mapped files that were looked at, by image.
    mapped: HashSet<u64>,
    /// Connections that the runtime's client keeps to its API.
    client_connections: usize,
    /// The same with those of extensions inside the function's process.
    api_connections: usize,
    /// Extensions inside the function's own process; none until telemetry has told all that registered.
    internal_extensions: Option<usize>,
    /// Whether a connection to the API waits for that word.
    awaits_extensions: bool,
    /// What is told of it where no extension has made it. The process may be gone by then.
    put_off: Vec<Finding>,
    /// Inodes of the sockets that were open when init ended.
    of_init: HashSet<u64>,
    /// Inodes of the sockets that the runtime's process held when the first invocation began.
    of_start: HashSet<u64>,
    /// Open sockets that were looked at.
    judged: HashMap<u64, Transport>,
    /// The ends of the connections that were there at the last look.
    ends: HashSet<(SocketAddr, SocketAddr)>,
    /// The ends of those that were there before the runtime was.
    former: HashSet<(SocketAddr, SocketAddr)>,
    /// Whether connections were looked at before.
    has_seen_streams: bool,
    /// Whether another user's sockets lead out of this machine: then the owner of a closed one is not known.
    is_shared: bool,
    /// What other planes reported and let go ahead, so that it is not told twice.
    gone_ahead: HashSet<u64>,
    /// Whether a process could not be looked at.
    has_unreadable: bool,
}

impl Detector {
    /// Has seen nothing yet.
    pub(crate) fn new() -> Self {
        let proc = PathBuf::from("/proc");
        Self {
            gates: Gates::new(&proc),
            proc,
            state: RandomState::new(),
            census: Census::default(),
            begun: false,
            condemned: HashSet::new(),
            mapped: HashSet::new(),
            client_connections: 1,
            api_connections: 1,
            internal_extensions: None,
            awaits_extensions: false,
            put_off: Vec::new(),
            of_init: HashSet::new(),
            of_start: HashSet::new(),
            judged: HashMap::new(),
            ends: HashSet::new(),
            former: HashSet::new(),
            has_seen_streams: false,
            is_shared: false,
            gone_ahead: HashSet::new(),
            has_unreadable: false,
        }
    }

    /// The agent has started, and the runtime has not: connections that the kernel still remembers were made by an earlier
    /// generation of this environment, and what names their addresses had is not known any more.
    pub(crate) fn forget_former(&mut self) {
        if gates::has_closed(&self.proc) {
            self.former = sockets::read(&self.proc, true, false).iter().map(Socket::ends).collect();
        }
    }

    /// Init is over: what is there now may stay.
    ///
    /// `unseen`: no plane has seen what the runtime started. The end of init is known late then, so a program of the first
    /// invocation may be there already: what the policy denies in both phases is found by the next look.
    pub(crate) fn begin(&mut self, scene: &Scene<'_>, unseen: bool) {
        if scene.checks.are_none() || scene.ours.runtime == 0 {
            return;
        }
        self.begun = true;
        let runtime = proc::executable(&self.proc, scene.ours.runtime);
        self.client_connections = connections::kept_to_api(&runtime, scene.spare);
        self.api_connections = self.client_connections;
        self.gates.begin(scene.checks.egress, scene.deliveries, scene.delivery_waits);
        self.census.begin(&self.proc, &scene.ours, &self.state);
        if scene.checks.egress {
            self.take_stock_of_sockets();
        }
        for watched in &mut self.census.watched {
            watched.extent = mappings::extent(&self.proc, watched.id).unwrap_or_default();
            watched.code = mappings::code_size(&self.proc, watched.id).unwrap_or_default();
            if unseen && watched.id != scene.ours.runtime {
                watched.image = None;
            }
        }
    }

    /// The first invocation begins. An extension in the runtime's process may have connected to the API after the runtime
    /// asked for its first event.
    pub(crate) fn begin_invocations(&mut self, scene: &Scene<'_>) {
        if self.begun && scene.checks.egress {
            let runtime = std::iter::once(scene.ours.runtime);
            let held = sockets::held(&self.proc, runtime).map(|(inode, _)| inode);
            self.of_start = held.take(MAX_REMEMBERED).collect();
        }
    }

    /// All extensions have registered, so many of them inside the function's own process. Returns whether a look was put off
    /// until that was known.
    pub(crate) fn extensions_are_known(&mut self, internal: usize) -> bool {
        let known = *self.internal_extensions.get_or_insert(internal);
        if self.client_connections > 1 {
            // Where the runtime's client may keep a pool, so may those of extensions.
            let expected = self.client_connections + known * connections::OF_AN_EXTENSION;
            self.api_connections = self.api_connections.max(expected);
        }
        if known > 0 {
            self.put_off.clear();
        }
        self.awaits_extensions
    }

    /// What was put off and is due. It is not looked at again.
    fn due(&mut self) -> Vec<Finding> {
        if self.internal_extensions.is_none() || self.put_off.is_empty() {
            return Vec::new();
        }
        self.awaits_extensions = false;
        self.of_init.extend(self.of_start.drain());
        std::mem::take(&mut self.put_off)
    }

    /// Another plane has written down something that went ahead.
    pub(crate) fn note(&mut self, report: &Report<'_>) {
        if report.outcome != Outcome::Reported
            || report.plane == Plane::Platform
            || self.gone_ahead.len() >= MAX_REMEMBERED
        {
            return;
        }
        let subjects = [report.path, report.detail].into_iter().filter(|subject| !subject.is_empty());
        let paths = subjects.map(|subject| self.state.hash_one(without_mark(subject)));
        let address = report.address.map(|address| self.state.hash_one(address));
        let keys: Vec<u64> = paths.chain(address).collect();
        self.gone_ahead.extend(keys);
    }

    /// Looks at what has changed since the last time.
    pub(crate) fn look(&mut self, scene: &Scene<'_>) -> Vec<Finding> {
        if !self.begun || scene.checks.are_none() {
            return Vec::new();
        }
        let mut news = self.gates.news(scene.checks.egress, scene.deliveries, scene.delivery_waits);
        news.streams |= self.awaits_extensions && self.internal_extensions.is_some();
        if news.started {
            self.census.renew(&self.proc, &scene.ours);
        }
        let mut found = self.due();
        self.look_at_processes(scene, &mut found);
        self.look_at_sockets(news, scene, &mut found);
        found.retain(|finding| !self.was_told_elsewhere(finding));
        found.truncate(MAX_FOUND);
        found
    }

    /// Whether a process could not be looked at so far.
    pub(crate) const fn has_unreadable(&self) -> bool {
        self.has_unreadable
    }

    /// Whether another plane reported it when it let it go ahead. What that plane would have stopped is news.
    fn was_told_elsewhere(&self, finding: &Finding) -> bool {
        let exe = finding.process.as_ref().map(|process| process.exe.as_slice()).unwrap_or_default();
        let path = if finding.action == ActionKind::Exec { exe } else { &finding.path };
        let key = match finding.address {
            Some(address) => self.state.hash_one(address),
            None => self.state.hash_one(without_mark(path)),
        };
        finding.verdict.decision == Decision::Report && self.gone_ahead.contains(&key)
    }
}

/// A path as it was before its file was removed: the kernel marks those in /proc.
fn without_mark(path: &[u8]) -> &[u8] {
    path.strip_suffix(b" (deleted)").unwrap_or(path)
}

#[cfg(test)]
mod tests;

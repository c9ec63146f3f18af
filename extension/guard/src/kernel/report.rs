//! Where the supervisor's violations go: to the agent over the control connection, or to standard error.
//!
//! Sending never blocks: what the agent does not take is counted and the count goes with the next message. Standard
//! error is bounded by a budget that refills, since log lines are money. It decides nothing.

use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use ringfence_records::message::{Kind, Report};
use ringfence_records::page;
use ringfence_records::record::Moment;
use ringfence_records::wire;

use super::target::{self, Caller};
use super::workers::lock;
use crate::notice;
use crate::sys::Errno;
use crate::sys::map::StatePage;
use crate::sys::socket::{self, Parcel};
use crate::text::Text;

/// Lines that may go to standard error at once.
const BURST: u32 = 100;
/// Milliseconds in which one more line is earned.
const REFILL: u128 = 100;
/// Processes that a chain names.
const MAX_CHAIN: usize = 8;

/// Sends reports; a handle, of which each thread has one.
#[derive(Debug, Clone)]
pub struct Reporter {
    outlet: Arc<Mutex<Outlet>>,
    runtime: u32,
}

#[derive(Debug)]
struct Outlet {
    agent: Option<OwnedFd>,
    state: StatePage,
    policy: String,
    dropped: u32,
    budget: u32,
    refilled: Instant,
}

impl Reporter {
    /// A reporter; without an agent it prints.
    #[must_use]
    pub fn new(agent: Option<OwnedFd>, state: StatePage, policy: String, runtime: u32) -> Self {
        let outlet = Outlet { agent, state, policy, dropped: 0, budget: BURST, refilled: Instant::now() };
        Self { outlet: Arc::new(Mutex::new(outlet)), runtime }
    }

    /// The number of the agent's connection, to see its end.
    #[must_use]
    pub fn agent(&self) -> Option<RawFd> {
        lock(&self.outlet).agent.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Takes what the agent says, which is nothing but its end: from then on standard error.
    pub fn listen(&self) {
        lock(&self.outlet).listen();
    }

    /// Sends a report about `caller`, with who it is filled in.
    pub fn send(&self, caller: &Caller, report: &Report<'_>) {
        let mut exe = [0; 256];
        let exe = target::link(caller.process, format_args!("exe"), &mut exe).unwrap_or_default();
        let mut line = [0; MAX_CHAIN];
        let chain = chain(caller.process, self.runtime, &mut line);
        let mut full = *report;
        full.pid = caller.process;
        full.thread = caller.thread;
        full.parent = target::parent_of(caller.process).unwrap_or(0);
        full.exe = exe;
        full.chain = chain.as_bytes();
        full.ancestors.iter_mut().zip(line.iter().skip(1)).for_each(|(slot, pid)| *slot = *pid);
        lock(&self.outlet).send(&mut full);
    }

    /// Says that a protection does not hold.
    pub fn degraded(&self, detail: &str) {
        lock(&self.outlet).degraded(detail);
    }
}

impl Outlet {
    fn listen(&mut self) {
        let Some(agent) = &self.agent else { return };
        match socket::receive(agent.as_fd(), &mut [0; 64]) {
            Ok((1.., _)) | Err(Errno(libc::EAGAIN | libc::EINTR)) => {}
            Ok((0, _)) | Err(_) => self.lose_agent(),
        }
    }

    fn lose_agent(&mut self) {
        self.agent = None;
        notice::degraded("the agent closed its connection");
    }

    fn send(&mut self, report: &mut Report<'_>) {
        report.dropped = self.dropped;
        if self.deliver(report) {
            self.dropped = 0;
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    fn degraded(&mut self, detail: &str) {
        let mut report = Report::new(Kind::Degraded, ringfence_records::message::ActionKind::Dangerous);
        report.plane = ringfence_policy::Plane::Kernel;
        report.detail = detail.as_bytes();
        report.pid = std::process::id();
        if self.hand_to_agent(&report).is_none() && self.may_print() {
            notice::degraded(detail);
        }
    }

    /// Whether the agent has taken a report; `None` where there is none, or none any more.
    fn hand_to_agent(&mut self, report: &Report<'_>) -> Option<bool> {
        let agent = self.agent.as_ref()?;
        let mut buffer = [0; wire::MAX_MESSAGE];
        let Some(data) = report.encode(&mut buffer) else { return Some(false) };
        let parcel = Parcel { data, flags: libc::MSG_DONTWAIT, ..Parcel::default() };
        match socket::send(agent.as_fd(), &parcel) {
            // Its end was not heard of yet; this report is the first that is printed.
            Err(Errno(libc::EPIPE | libc::ECONNRESET | libc::ENOTCONN)) => {
                self.lose_agent();
                None
            }
            sent => Some(sent.is_ok()),
        }
    }

    fn deliver(&mut self, report: &Report<'_>) -> bool {
        if let Some(taken) = self.hand_to_agent(report) {
            return taken;
        }
        if !self.may_print() {
            return false;
        }
        let invocation = page::View::new(self.state.words()).and_then(|view| view.invocation());
        let mut moment = Moment::new(notice::now(), ringfence_policy::Phase::Invoke);
        if let Some(invocation) = &invocation {
            moment = Moment {
                phase: invocation.phase,
                number: invocation.number,
                request: invocation.request(),
                ..moment
            };
        }
        notice::violation(report, moment, self.policy.as_bytes())
    }

    fn may_print(&mut self) -> bool {
        let earned = u32::try_from(self.refilled.elapsed().as_millis() / REFILL).unwrap_or(BURST);
        if earned > 0 {
            self.budget = self.budget.saturating_add(earned).min(BURST);
            self.refilled = Instant::now();
        }
        let may = self.budget > 0;
        self.budget = self.budget.saturating_sub(1);
        may
    }
}

/// `python3.13 > sh > curl`: the processes from the runtime down to `process`, by the names of their executables.
/// `pids` gets their numbers, the process's own first.
fn chain(process: u32, runtime: u32, pids: &mut [u32; MAX_CHAIN]) -> Text<256> {
    let mut used = 0;
    let mut next = Some(process);
    while let (Some(pid), Some(slot)) = (next, pids.get_mut(used)) {
        *slot = pid;
        used += 1;
        next = (pid != runtime).then(|| target::parent_of(pid)).flatten().filter(|parent| *parent > 1);
    }
    let mut text = Text::new();
    for (index, pid) in pids.iter().take(used).rev().enumerate() {
        let mut exe = [0; 256];
        let exe = target::link(*pid, format_args!("exe"), &mut exe).unwrap_or(b"?");
        let name = exe.rsplit(|byte| *byte == b'/').next().unwrap_or(exe);
        let _ = text.write_all(if index == 0 { b"" } else { b" > " });
        text.push(name);
    }
    text
}

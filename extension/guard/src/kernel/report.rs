//! Where the supervisor's violations go: to the agent over the control connection, or to standard error.
//!
//! Sending never blocks: what the agent does not take is counted and the count goes with the next message. Standard
//! error, which the function may fill, is written outside of all locks, and bounded by a budget that refills, since log
//! lines are money. It decides nothing.

use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Instant;

use ringfence_records::message::{Kind, Report};
use ringfence_records::page;
use ringfence_records::record::Moment;
use ringfence_records::wire;

use super::lock::lock;
use super::target::{self, Caller};
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
    /// The number of the agent's connection; -1 without one. It is read without the lock.
    agent: Arc<AtomicI32>,
    state: StatePage,
    policy: Arc<str>,
    runtime: u32,
}

/// Where reports go. Whoever has its lock waits for nobody.

#[derive(Debug)]
struct Outlet {
    agent: Option<OwnedFd>,
    number: Arc<AtomicI32>,
    /// Whether the agent's end is still to be told.
    loss_untold: bool,
    dropped: u32,
    budget: u32,
    refilled: Instant,
}

impl Reporter {
    /// A reporter; without an agent it prints.
    #[must_use]
    pub fn new(agent: Option<OwnedFd>, state: StatePage, policy: String, runtime: u32) -> Self {
        let number = Arc::new(AtomicI32::new(agent.as_ref().map_or(-1, AsRawFd::as_raw_fd)));
        let outlet = Outlet {
            agent,
            number: Arc::clone(&number),
            loss_untold: false,
            dropped: 0,
            budget: BURST,
            refilled: Instant::now(),
        };
        let outlet = Arc::new(Mutex::new(outlet));
        Self { outlet, agent: number, state, policy: policy.into(), runtime }
    }

    /// The number of the agent's connection, to see its end.
    #[must_use]
    pub fn agent(&self) -> Option<RawFd> {
        Some(self.agent.load(Ordering::Acquire)).filter(|number| *number >= 0)
    }

    /// Takes what the agent says, which is nothing but its end: from then on standard error. Whether somebody should
    /// [`Self::tell_loss`]. Waits for nobody: where somebody else is at it, it is to be done again.
    #[must_use]
    pub fn listen(&self) -> bool {
        let mut outlet = match self.outlet.try_lock() {
            Ok(outlet) => outlet,
            Err(TryLockError::Poisoned(outlet)) => outlet.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        outlet.listen();
        outlet.loss_untold
    }

    /// Says that the agent is gone, if that is still to be said.
    pub fn tell_loss(&self) {
        let untold = std::mem::take(&mut lock(&self.outlet).loss_untold);
        if untold {
            notice::degraded("the agent closed its connection");
        }
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
        self.deliver(&mut full);
    }

    fn deliver(&self, report: &mut Report<'_>) {
        let mut outlet = lock(&self.outlet);
        report.dropped = std::mem::take(&mut outlet.dropped);
        let fate = outlet.hand_over(report);
        drop(outlet);
        self.tell_loss();
        let arrived = match fate {
            Fate::Taken => true,
            Fate::Lost => false,
            Fate::ToPrint => self.print(report),
        };
        if !arrived {
            let mut outlet = lock(&self.outlet);
            outlet.dropped = outlet.dropped.saturating_add(report.dropped).saturating_add(1);
        }
    }

    fn print(&self, report: &Report<'_>) -> bool {
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

    /// Says that a protection does not hold.
    pub fn degraded(&self, detail: &str) {
        let mut report = Report::new(Kind::Degraded, ringfence_records::message::ActionKind::Dangerous);
        report.plane = ringfence_policy::Plane::Kernel;
        report.detail = detail.as_bytes();
        report.pid = std::process::id();
        let fate = lock(&self.outlet).hand_over(&report);
        self.tell_loss();
        if fate == Fate::ToPrint {
            notice::degraded(detail);
        }
    }
}

/// What becomes of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The agent has it.
    Taken,
    /// It is for standard error.
    ToPrint,
    /// There is no room for it.
    Lost,
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
        self.number.store(-1, Ordering::Release);
        self.loss_untold = true;
    }

    fn hand_over(&mut self, report: &Report<'_>) -> Fate {
        match self.hand_to_agent(report) {
            Some(true) => Fate::Taken,
            None if self.may_print() => Fate::ToPrint,
            Some(false) | None => Fate::Lost,
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

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_records::message::ActionKind;
    use std::os::unix::net::UnixStream;

    fn reporter(agent: Option<OwnedFd>) -> Reporter {
        let page = crate::launch::pages::State::own(false).unwrap().page;
        Reporter::new(agent, page, String::new(), 1)
    }

    #[test]
    fn who_waits_for_everything_waits_for_no_report() {
        let (agent, own) = UnixStream::pair().unwrap();
        let reporter = reporter(Some(own.into()));
        assert!(reporter.agent().is_some() && !reporter.listen());
        drop(agent);
        let held = lock(&reporter.outlet);
        // Would wait for ever if they waited.
        assert!(reporter.agent().is_some() && !reporter.listen());
        drop(held);
        assert!(reporter.listen(), "its end is still to be told");
        assert!(reporter.agent().is_none());
        reporter.tell_loss();
        assert!(!reporter.listen());
    }

    #[test]
    fn what_is_lost_is_counted() {
        let reporter = reporter(None);
        lock(&reporter.outlet).budget = 0;
        let mut report = Report::new(Kind::Violation, ActionKind::Connect);
        for lost in 1..4 {
            lock(&reporter.outlet).refilled = Instant::now();
            reporter.deliver(&mut report);
            assert_eq!(lock(&reporter.outlet).dropped, lost);
        }
    }
}

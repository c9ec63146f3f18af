//! The agent's state, and what happens to it: the one place where the parts meet.
//!
//! Everything runs on one thread; each part sits in a cell of its own, borrowed for the length of a call and never
//! across an await. The sockets' tasks call in here; [`crate::lifecycle`] drives invocations through it.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use ringfence_policy::{Decision, Phase, Rule, Verdict};
use ringfence_records::message::{ActionKind, Kind, Report};
use ringfence_records::record::subject;
use ringfence_records::time::Timestamp;
use tokio::sync::Notify;

use crate::clock;
use crate::control::{self, Connection, Hello};
use crate::correlate::Hints;
use crate::detect::{Deliveries, Detector};
use crate::emit::{Emitter, FOLD_FOR};
use crate::hook::HookWord;
use crate::invocation::{Current, trace_id};
use crate::ledger::Ledger;
use crate::page::StatePage;
use crate::policy::Rules;
use crate::proc::Process;
use crate::reports::{self, Reports};
use crate::resolver;
use crate::settings::Settings;
use crate::survivors::{Ours, Survivors};
use crate::telemetry::{Event, Listener};

/// Most `degraded` records in the agent's life, of its own and from inside the function each.
const DEGRADED_TELLINGS: u32 = 64;

/// Longest request id in bytes that is kept; Lambda's have 36.
const MAX_REQUEST: usize = 64;
/// Later than any moment.
const NEVER: Timestamp = Timestamp(u64::MAX);

/// Why an invocation is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// The runtime asks for the next event.
    Runtime,
    /// The platform says so.
    Telemetry,
}

/// What is known of the guard and the runtime.
#[derive(Debug, Default)]
pub(crate) struct Guarded {
    pub(crate) hello: Option<Hello>,
    connection: Option<Rc<Connection>>,
    /// The preload library runs in the runtime: it will tell when an invocation is over.
    pub(crate) preloaded: bool,
    /// What the language hook has said in the runtime's process.
    pub(crate) hook: Option<HookWord>,
}

/// Counters for the summary.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) invocations: Cell<u64>,
    pub(crate) messages_dropped: Cell<u64>,
    pub(crate) residue_entries: Cell<u64>,
    pub(crate) residue_bytes: Cell<u64>,
    pub(crate) survivors: Cell<u64>,
    garbage: Cell<u64>,
    degraded: Cell<u32>,
    degraded_inside: Cell<u32>,
}

/// Adds to a counter.
pub(crate) fn add(counter: &Cell<u64>, more: u64) {
    counter.set(counter.get().saturating_add(more));
}

/// The agent.
pub(crate) struct Agent {
    pub(crate) settings: Settings,
    /// Many invocations at once, none of them told to extensions (Managed Instances).
    pub(crate) managed: Cell<bool>,
    pub(crate) page: StatePage,
    pub(crate) reports: Reports,
    pub(crate) report_name: String,
    /// 0 where there is no resolver.
    pub(crate) resolver_port: u16,
    pub(crate) rules: OnceCell<Rules>,
    pub(crate) emitter: RefCell<Emitter>,
    pub(crate) current: RefCell<Current>,
    pub(crate) guarded: RefCell<Guarded>,
    pub(crate) ledger: RefCell<Option<Ledger>>,
    pub(crate) survivors: RefCell<Survivors>,
    pub(crate) detector: RefCell<Detector>,
    pub(crate) totals: Totals,
    /// Set when the running invocation is over, with why.
    pub(crate) over: Cell<Option<Over>>,
    /// Whether the runtime itself has said that the current invocation is over.
    pub(crate) said: Cell<bool>,
    /// The request that the runtime has answered before the agent heard of it.
    early: RefCell<Vec<u8>>,
    /// The request whose end the platform has told before the agent heard of it, or a past one's.
    done_early: RefCell<String>,
    /// When the runtime last asked for an event: what it does after that belongs to the next invocation.
    pub(crate) quiet_since: Cell<Timestamp>,
    /// Whether an invocation is being settled: that takes messages in, and one of them may ask for it again.
    pub(crate) settling: Cell<bool>,
    /// Rings when `over` is set, a guard arrives or telemetry settles.
    pub(crate) news: Notify,
    /// Rings when a violation waits to be written.
    pub(crate) waiting: Notify,
    /// What became of the subscription, once it is known; `Ok` where events will come.
    pub(crate) telemetry: OnceCell<Result<String, String>>,
    /// Where telemetry comes.
    pub(crate) listener: OnceCell<Rc<Listener>>,
    /// Connections to the telemetry listener.
    pub(crate) deliveries: Cell<Deliveries>,
    /// Whether it was told that a process cannot be looked at.
    pub(crate) told_unreadable: Cell<bool>,
    /// Whether the account of the start has been given.
    pub(crate) accounted: Cell<bool>,
    hints: RefCell<Hints>,
    servers: OnceCell<Vec<SocketAddr>>,
}

impl Agent {
    /// An agent that has bound its sockets and knows nothing yet.
    pub(crate) fn new(
        settings: Settings,
        page: StatePage,
        (reports, report_name): (Reports, String),
        resolver_port: u16,
        emitter: Emitter,
    ) -> Self {
        Self {
            managed: Cell::new(settings.is_managed()),
            settings,
            page,
            reports,
            report_name,
            resolver_port,
            rules: OnceCell::new(),
            emitter: RefCell::new(emitter),
            current: RefCell::default(),
            guarded: RefCell::default(),
            ledger: RefCell::default(),
            survivors: RefCell::new(Survivors::new()),
            detector: RefCell::new(Detector::new()),
            totals: Totals::default(),
            over: Cell::new(None),
            said: Cell::new(false),
            early: RefCell::default(),
            done_early: RefCell::default(),
            quiet_since: Cell::new(NEVER),
            settling: Cell::new(false),
            news: Notify::new(),
            waiting: Notify::new(),
            telemetry: OnceCell::new(),
            listener: OnceCell::new(),
            deliveries: Cell::default(),
            told_unreadable: Cell::new(false),
            accounted: Cell::new(false),
            hints: RefCell::default(),
            servers: OnceCell::new(),
        }
    }

    /// Tells that something does not work as announced. Bounded: a fault that repeats cannot fill the log.
    pub(crate) fn degraded(&self, part: &'static str, detail: &str) {
        self.totals.degraded.set(self.totals.degraded.get().saturating_add(1));
        if self.totals.degraded.get() <= DEGRADED_TELLINGS {
            let current = self.current.borrow();
            self.emitter.borrow_mut().degraded(part, detail, current.moment(clock::now()));
        }
    }

    /// The same, told from inside the function. Counted apart: whoever forges these must not silence the agent's own.
    fn degraded_inside(&self, detail: &str) {
        let told = &self.totals.degraded_inside;
        told.set(told.get().saturating_add(1));
        if told.get() <= DEGRADED_TELLINGS {
            let current = self.current.borrow();
            self.emitter.borrow_mut().degraded("process", detail, current.moment(clock::now()));
        }
    }

    /// Takes a report as it is, with the hint that explains it.
    pub(crate) fn take_report(&self, report: &Report<'_>) {
        add(&self.totals.messages_dropped, u64::from(report.dropped));
        match report.kind {
            Kind::Violation => {
                self.detector.borrow_mut().note(report);
                self.violation(report);
            }
            Kind::Degraded => self.degraded_inside(&String::from_utf8_lossy(report.detail)),
            _ => self.count_garbage(),
        }
    }

    /// Writes a violation, with the hint that explains it.
    pub(crate) fn violation(&self, report: &Report<'_>) {
        let hints = self.hints.borrow();
        let helper = [subject::BY_WAY, report.path].concat();
        let mut report = *report;
        if report.code.is_empty()
            && let Some(hint) = hints.explain(&report, Instant::now())
        {
            hint.add_to(&mut report);
            if hint.is_behind_a_helper(&report) {
                hint.name_the_wanted(&mut report, &helper);
            }
        }
        if report.address.is_some_and(is_tracing_daemon) && report.detail.is_empty() {
            report.detail = subject::TRACING;
        }
        self.record(&report);
    }

    /// Takes a violation of a name. The resolver sees the other end of the query only, so a hint says more; without one the
    /// process that holds that end is looked for.
    pub(crate) fn take_resolution(&self, report: &Report<'_>, holder: impl FnOnce() -> Option<Process>) {
        self.drain_reports();
        let process;
        let hints = self.hints.borrow();
        let guarded = self.guarded.borrow();
        let mut report = *report;
        if let Some(hint) = hints.explain_name(report.name, Instant::now()) {
            report.pid = hint.pid;
            report.code = &hint.code;
            hint.frames.iter().for_each(|frame| report.frames.push(frame));
            if let Some(hello) = guarded.hello.as_ref().filter(|hello| hello.runtime_pid == hint.pid) {
                report.exe = &hello.runtime;
            }
        } else if let Some(found) = holder() {
            process = found;
            (report.pid, report.parent) = (process.id, process.parent);
            report.exe = &process.exe;
        }
        self.record(&report);
    }

    pub(crate) fn record(&self, report: &Report<'_>) {
        let first = self.emitter.borrow_mut().violation(report, &self.current.borrow());
        if first {
            self.waiting.notify_one();
        }
    }

    /// Writes waiting violations a second after the first of them; for ever.
    pub(crate) async fn flush_in_time(self: Rc<Self>) {
        loop {
            self.waiting.notified().await;
            tokio::time::sleep(FOLD_FOR).await;
            self.emitter.borrow_mut().flush();
        }
    }

    /// Keeps a hint.
    pub(crate) fn take_hint(&self, report: &Report<'_>) {
        if report.action == ActionKind::InheritCredentials {
            // A copy of the environment that was reported has gone to a child: that is judged at its exec.
            return self.emitter.borrow_mut().take_back(report);
        }
        self.hints.borrow_mut().add(report.pid, report, Instant::now());
    }

    /// What was about to happen has happened, or never will.
    pub(crate) fn forget_hints(&self) {
        self.hints.borrow_mut().clear();
    }

    /// Something came that is no message.
    pub(crate) fn count_garbage(&self) {
        add(&self.totals.garbage, 1);
        if self.totals.garbage.get() == 1 {
            self.degraded("reports", "something that is no message came to the report socket; told once");
        }
    }

    /// Takes every datagram that is there.
    pub(crate) fn drain_reports(&self) {
        reports::drain(self);
    }

    /// Takes everything that was sent until now, by either socket.
    pub(crate) fn drain(&self) {
        self.drain_reports();
        let connection = self.guarded.borrow().connection.clone();
        if let Some(connection) = connection {
            control::drain(self, &connection);
        }
    }

    /// An attack on the agent's own channels.
    pub(crate) fn impersonation(&self, pid: u32, detail: &'static str) {
        self.record(&control::impersonation(pid, detail));
    }

    /// Whether a guard may come in: none has yet, or the one that has is gone with its process.
    pub(crate) fn admit_guard(&self, connection: &Rc<Connection>) -> bool {
        let mut guarded = self.guarded.borrow_mut();
        let alive = guarded.hello.as_ref().is_some_and(|hello| {
            let pid = if hello.guard_pid == 0 { hello.runtime_pid } else { hello.guard_pid };
            is_alive(pid)
        });
        if guarded.connection.is_some() || alive {
            return false;
        }
        guarded.connection = Some(Rc::clone(connection));
        true
    }

    /// A guard has said Hello.
    pub(crate) fn guard_arrived(&self, hello: Hello) {
        let other_policy = self.rules.get().is_some_and(|rules| rules.hash != hello.policy_hash);
        if other_policy && !hello.policy_hash.is_empty() {
            self.degraded(
                "policy",
                "guard and agent do not have the same policy; names are not tied to addresses",
            );
        }
        self.guarded.borrow_mut().hello = Some(hello);
        self.give_account_when_complete();
    }

    /// The guard's connection is closed: at exec in the process plane, at its death in the kernel plane.
    pub(crate) fn guard_left(&self, connection: &Rc<Connection>) {
        let mut guarded = self.guarded.borrow_mut();
        if guarded.connection.as_ref().is_some_and(|known| Rc::ptr_eq(known, connection)) {
            guarded.connection = None;
        }
    }

    /// The runtime's own executable runs, with the preload library in it.
    pub(crate) fn runtime_up(&self, pid: u32) {
        if !self.is_runtime(pid) && !self.managed.get() {
            return self.impersonation(pid, "a process that is not the runtime said that it is");
        }
        // Another start of its executable: the hook of the one before says nothing of this one.
        self.guarded.borrow_mut().hook = None;
        self.guarded.borrow_mut().preloaded = true;
        self.current.borrow_mut().launched = true;
        self.publish();
    }

    /// Whether the function's init lasts, as far as is known.
    pub(crate) fn is_in_init(&self) -> bool {
        self.current.borrow().phase == Phase::Init && self.quiet_since.get() == NEVER
    }

    /// A language hook is in. Children of the runtime's language say so too: that is no matter. Once init is over, code of
    /// the function could say it.
    pub(crate) fn hook_up(&self, pid: u32, report: &Report<'_>) {
        if !self.is_runtime(pid) || !self.is_in_init() {
            return;
        }
        self.guarded.borrow_mut().hook = Some(HookWord::of(report));
        self.give_account_when_complete();
    }

    /// The runtime asks for the next event, and `answered` is the request that it answered last: that one is over.
    pub(crate) fn runtime_asks_for_more(&self, pid: u32, answered: &[u8]) {
        if self.managed.get() {
            // Many workers ask, and nothing ends.
            return;
        }
        if !self.is_runtime(pid) {
            return self
                .impersonation(pid, "a process that is not the runtime said that the invocation is over");
        }
        self.guarded.borrow_mut().preloaded = true;
        let phase = self.current.borrow().phase;
        match phase {
            Phase::Init if self.quiet_since.get() == NEVER => self.init_is_over(),
            // A runtime whose answers were not seen names none.
            Phase::Invoke if answered.is_empty() || answered == self.current.borrow().request.as_bytes() => {
                self.said.set(true);
                self.end(Over::Runtime);
            }
            Phase::Between
                if !answered.is_empty() && answered == self.current.borrow().request.as_bytes() =>
            {
                // It said so before, and goes on all the same: what it did since is settled too. Where it was the
                // platform that said so, all is settled, and what is there now may be the next invocation's.
                if self.said.replace(true) {
                    self.settle();
                }
            }
            // Answered before the agent has heard that it began, or asked again: the next invocation's id tells.
            _ => self.early.replace(answered.to_vec()).clear(),
        }
    }

    /// Forgets the end of the last invocation. The one that begins now may be over already.
    pub(crate) fn reset_end(&self) {
        let early = std::mem::take(&mut *self.early.borrow_mut());
        let done = std::mem::take(&mut *self.done_early.borrow_mut());
        let request = &self.current.borrow().request;
        let said = !early.is_empty() && early == request.as_bytes();
        let done = !done.is_empty() && done == *request;
        self.said.set(said);
        self.over.set(if said { Some(Over::Runtime) } else { done.then_some(Over::Telemetry) });
    }

    fn is_runtime(&self, pid: u32) -> bool {
        self.guarded.borrow().hello.as_ref().is_some_and(|hello| hello.runtime_pid == pid && pid != 0)
    }

    /// What runs and lies about now may stay.
    pub(crate) fn init_is_over(&self) {
        self.forget_hints();
        self.quiet_since.set(clock::now());
        if let Some(ledger) = self.ledger.borrow_mut().as_mut() {
            ledger.forget();
        }
        self.survivors.borrow_mut().know_all();
        self.begin_detection();
        self.give_account_when_complete();
    }

    fn end(&self, over: Over) {
        if self.over.replace(Some(over)).is_none() {
            self.quiet_since.set(clock::now());
        }
        self.news.notify_waiters();
    }

    /// Takes a batch of telemetry.
    pub(crate) fn telemetry_events(&self, events: &[Event]) {
        for event in events {
            match &*event.kind {
                "platform.start" => self.telemetry_start(event),
                "platform.runtimeDone" => self.telemetry_done(&event.record.request),
                _ => {}
            }
        }
    }

    /// The word on a request that the agent has not heard of yet is kept: nobody says it again.
    fn telemetry_done(&self, request: &str) {
        if request == self.current.borrow().request {
            self.end(Over::Telemetry);
        } else if request.len() <= MAX_REQUEST {
            request.clone_into(&mut self.done_early.borrow_mut());
        }
    }

    fn telemetry_start(&self, event: &Event) {
        if self.managed.get() {
            add(&self.totals.invocations, 1);
        }
        let mut current = self.current.borrow_mut();
        if current.request == event.record.request && current.trace.is_empty() {
            trace_id(&event.record.trace).clone_into(&mut current.trace);
        }
    }

    /// Publishes the state of the invocation.
    pub(crate) fn publish(&self) {
        self.page.editor().publish(&self.current.borrow().published());
    }

    /// What the policy says about a name.
    pub(crate) fn judge_name(&self, name: &[u8]) -> (Verdict, Vec<u16>) {
        let phase = self.current.borrow().phase;
        let Some(rules) = self.rules.get() else {
            return (Verdict { decision: Decision::Allow, rule: Rule::None }, Vec::new());
        };
        let (verdict, patterns) = rules.resolve(name, phase);
        // Indices of another policy would allow what this one does not.
        let same = self.guarded.borrow().hello.as_ref().is_none_or(|hello| hello.policy_hash == rules.hash);
        (verdict, if same { patterns } else { Vec::new() })
    }

    /// The real name servers.
    pub(crate) fn name_servers(&self) -> Vec<SocketAddr> {
        let told =
            self.guarded.borrow().hello.as_ref().map(|hello| hello.name_servers.clone()).unwrap_or_default();
        if told.is_empty() { self.servers.get_or_init(resolver::system_servers).clone() } else { told }
    }

    /// The processes that belong to the protection and the runtime.
    pub(crate) fn ours(&self) -> Ours {
        let guarded = self.guarded.borrow();
        let of = |take: fn(&Hello) -> u32| guarded.hello.as_ref().map_or(0, take);
        Ours {
            agent: std::process::id(),
            platform: std::os::unix::process::parent_id(),
            guard: of(|hello| hello.guard_pid),
            witness: of(|hello| hello.witness_pid),
            runtime: of(|hello| hello.runtime_pid),
        }
    }
}

/// Whether the X-Ray daemon listens here. The platform has it at this address in every environment.
fn is_tracing_daemon(address: SocketAddr) -> bool {
    const DAEMON: (std::net::Ipv4Addr, u16) = (std::net::Ipv4Addr::new(169, 254, 100, 1), 2000);
    address == SocketAddr::from(DAEMON)
}

/// Whether a process with this number is there.
pub(crate) fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0);
    pid.is_some_and(|pid| {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) != Err(nix::errno::Errno::ESRCH)
    })
}

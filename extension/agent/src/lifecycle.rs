//! The agent's life: start, invocations, shutdown.
//!
//! It decides what happens when: everything that can wait happens after the register request is on its way, and what
//! belongs to the end of an invocation happens before the agent asks for the next. How each thing is done is the
//! business of its own module. `main` runs it.

mod account;
mod detection;
mod words;

use std::cell::Cell;
use std::net::TcpStream;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use ringfence_policy::{Phase, Residue};
use ringfence_records::time::Timestamp;
use std::os::fd::AsFd;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::agent::{Agent, Over, add, is_alive};
use crate::budget::{Budget, END_OF_INVOCATION};
use crate::clock;
use crate::invocation::{Current, trace_id};
use crate::ledger::{Ledger, Upto};
use crate::platform::{Event, Platform, PlatformError};
use crate::policy::Rules;
use crate::poller::{EndKnown, Poller};
use crate::supervise::supervise;
use crate::survivors::ticks_at;
use crate::telemetry::Listener;

/// How often a runtime that says nothing is looked after while it works.
const LOOK_AFTER: Duration = Duration::from_millis(100);
/// When the first look for what got past the planes is taken during an invocation; then after twice as long, up to
/// [`LOOK_AFTER`]. A look costs some 20 µs: short invocations have none, long ones 0.02 % of a processor.
const FIRST_LOOK: Duration = Duration::from_millis(10);
/// How long the agent stays with an invocation beyond its deadline, for the platform to end it, and beyond the platform's
/// word, for the runtime's own.
const GRACE: Duration = Duration::from_millis(20);
/// How much sooner than the agent the runtime may have heard of an invocation, where CPU time is short.
const LEAD: Duration = Duration::from_secs(1);
/// For what an earlier generation of the environment has left in /tmp, while the platform answers.
const START: Duration = Duration::from_millis(100);
const TOO_SHORT: &str = "the end of an invocation takes longer than 20 ms: what is left of its residue and survivors is settled at the next end; told once";
/// How long a Managed Instance's start may take before the account is given without its guard.
const MANAGED_START: Duration = Duration::from_secs(3);

/// Registers, and lives until SHUTDOWN. Where registering is impossible it stays, doing nothing: an extension that
/// exits fails the function.
pub(crate) async fn live(agent: Rc<Agent>, connection: Option<TcpStream>) {
    let mut platform = Platform::new(agent.settings.api.clone(), connection);
    if let Err(error) = register(&agent, &mut platform).await {
        agent.degraded(
            "registration",
            &format!("the agent is not registered and sees no invocations: {error}"),
        );
        std::future::pending::<()>().await;
    }
    subscribe(&agent, &mut platform).await;
    if agent.managed.get() {
        supervise(&agent, "protection", |agent| async move {
            sleep(MANAGED_START).await;
            agent.give_account();
        });
    }
    follow(&agent, platform).await;
}

/// Follows events until SHUTDOWN. A panic costs one event; after several the agent only keeps the platform going.
async fn follow(agent: &Rc<Agent>, platform: Platform) {
    let platform = Rc::new(Mutex::new(platform));
    let over = Rc::new(Cell::new(false));
    let (shared, done) = (Rc::clone(&platform), Rc::clone(&over));
    let following = supervise(agent, "events", move |agent| {
        let (platform, done) = (Rc::clone(&shared), Rc::clone(&done));
        async move {
            events(&agent, &mut *platform.lock().await).await;
            done.set(true);
        }
    });
    let _ = following.await;
    if !over.get() {
        keep_going(&mut *platform.lock().await).await;
    }
}

/// Asks for events and does nothing with them, so that the function runs as it would without protection.
pub(crate) async fn keep_going(platform: &mut Platform) {
    loop {
        match platform.next().await {
            Ok(Event::Shutdown { .. }) => return,
            Ok(_) => {}
            Err(_) => sleep(Duration::from_secs(1)).await,
        }
    }
}

/// The request is out already; the policy is read and /tmp looked at while the platform answers.
async fn register(agent: &Rc<Agent>, platform: &mut Platform) -> Result<(), PlatformError> {
    let preparing = supervise(agent, "start", |agent| async move {
        agent.prepare();
    });
    let name = agent.settings.name.clone();
    let mut result = platform.register(&name, agent.managed.get()).await;
    if matches!(result, Err(PlatformError::Refused { .. })) && !agent.managed.get() {
        // Managed Instances refuse INVOKE; perhaps this is one and does not say so.
        agent.managed.set(true);
        result = platform.register(&name, true).await;
    }
    let _ = preparing.await;
    let function = result?;
    let mut emitter = agent.emitter.borrow_mut();
    emitter.identity.function = function.function_name;
    emitter.identity.version = function.function_version;
    Ok(())
}

async fn subscribe(agent: &Rc<Agent>, platform: &mut Platform) {
    let outcome = match Listener::open() {
        Ok(listener) => {
            let listener = Rc::new(listener);
            let _ = agent.listener.set(Rc::clone(&listener));
            let serving = Rc::clone(&listener);
            supervise(agent, "telemetry", move |agent| Rc::clone(&serving).serve(agent));
            listener.subscribe(platform).await
        }
        Err(error) => Err(format!("no listener: {error}")),
    };
    match &outcome {
        Ok(text) => tracing::info!(target: "telemetry", outcome = text.as_str(), "events will come"),
        Err(reason) => tracing::info!(target: "telemetry", reason = reason.as_str(), "no events will come"),
    }
    let _ = agent.telemetry.set(outcome);
}

/// Asks for events until SHUTDOWN.
async fn events(agent: &Rc<Agent>, platform: &mut Platform) {
    let mut failures = 0_u32;
    loop {
        match next_event(agent, platform).await {
            Ok(Event::Invoke { request, trace, deadline }) => {
                failures = 0;
                agent.begin(&request, &trace);
                agent.deadline.set(deadline);
                agent.wait_for_the_end(deadline).await;
            }
            Ok(Event::Shutdown { reason }) => return agent.shut_down(&reason),
            Ok(Event::Other) => {}
            Err(error) => {
                failures = failures.saturating_add(1);
                if failures == 1 {
                    agent.degraded("events", &error.to_string());
                }
                // 50 ms, doubling to 3 s: the platform may be gone, and that must keep no process busy.
                sleep(Duration::from_millis(50 << failures.min(6))).await;
            }
        }
    }
}

/// Waits for the next event. Where nothing tells the end of an invocation, it is asked for while the invocation runs, and
/// what gets past the planes is looked for meanwhile.
async fn next_event(agent: &Rc<Agent>, platform: &mut Platform) -> Result<Event, PlatformError> {
    let mut next = std::pin::pin!(platform.next());
    let mut pause = FIRST_LOOK;
    while agent.is_unheld() {
        if let Ok(event) = timeout(pause, &mut next).await {
            return event;
        }
        agent.drain();
        agent.detect();
        pause = (pause * 2).min(LOOK_AFTER);
    }
    next.await
}

impl Agent {
    /// Whether an invocation runs whose end nothing tells in time.
    fn is_unheld(&self) -> bool {
        self.current.borrow().phase == Phase::Invoke
            && self.over.get().is_none()
            && self.is_running(self.deadline.get())
    }

    /// What can wait until the register request is sent.
    fn prepare(&self) {
        self.detector.borrow_mut().forget_former();
        self.settings.trouble.iter().for_each(|trouble| self.degraded("variables", trouble));
        let begun = Instant::now();
        let rules = Rules::find(&self.settings);
        tracing::info!(
            target: "policy",
            source = rules.source.as_str(),
            hash = rules.hash.as_str(),
            mode = rules.mode.as_str(),
            rules = rules.uses.len(),
            took_us = micros(begun),
            "the policy is read"
        );
        let mut emitter = self.emitter.borrow_mut();
        emitter.identity.policy.clone_from(&rules.hash);
        emitter.tells_activity = rules.activity;
        drop(emitter);
        if let Some((refuse, message)) = &rules.failure {
            let consequence =
                if *refuse { "the start is refused" } else { "the baseline is observed instead" };
            self.degraded("policy", &format!("{consequence}: {message}"));
        }
        let watches = rules.residue != Residue::Allow && !self.managed.get();
        let _ = self.rules.set(rules);
        if watches {
            self.open_ledger();
        }
    }

    fn open_ledger(&self) {
        let (begun, budget) = (Instant::now(), Budget::new(START));
        match Ledger::open(&self.settings.tmp, &budget) {
            Ok(mut ledger) => {
                ledger.mark_by(self.page.as_fd());
                *self.ledger.borrow_mut() = Some(ledger);
            }
            Err(error) => self.degraded("ledger", &format!("/tmp cannot be watched: {error}")),
        }
        // An earlier generation of this environment may have left something: the platform does not clear /tmp.
        let settle = Settle { upto: None, enforce: true, budget: &budget };
        self.settle_residue(settle, &self.current.borrow());
        tracing::debug!(target: "ledger", took_us = micros(begun), "/tmp is watched");
        self.tell_if_short(&budget);
    }

    /// An invocation begins.
    fn begin(&self, request: &str, trace: &str) {
        // What was sent before belongs to what was before.
        self.drain();
        self.end_launch();
        self.end_init_untold();
        if self.current.borrow().phase == Phase::Init {
            self.begin_detection_of_invocations();
        }
        if self.current.borrow().phase == Phase::Invoke {
            // Its end was not told when it came: this one may be at work already.
            self.detect();
            *self.previous.borrow_mut() = Some(self.current.borrow().clone());
        }
        self.current.borrow_mut().begin(request, trace_id(trace));
        self.publish();
        tracing::debug!(
            target: "events",
            number = self.current.borrow().number,
            request,
            over = ?self.over.get(),
            "an invocation begins"
        );
        // Something that happened long before is not the invocation's.
        let lead = Timestamp(clock::now().0.saturating_sub(to_millis(LEAD)));
        self.reset_end();
        let since = self.quiet_since.get().max(lead);
        self.emitter.borrow_mut().begun(since, &self.current.borrow());
        add(&self.totals.invocations, 1);
        if let Some(Over::Telemetry(time)) = self.over.get() {
            let current = self.current.borrow().clone();
            self.settle_afterwards(time, &current);
        }
    }

    /// An event is there, so the runtime runs. Its children learn that first: the rest of a beginning takes milliseconds, in which
    /// the program that a static runtime starts at once would count as a wrapper.
    fn end_launch(&self) {
        if !std::mem::replace(&mut self.current.borrow_mut().launched, true) {
            self.publish();
        }
    }

    /// Waits until the invocation is over where the runtime tells that, and does what belongs there. Where nothing tells,
    /// the platform would only wait for us.
    async fn wait_for_the_end(&self, deadline: u64) {
        if !self.asking.borrow().poller.tells() {
            return;
        }
        let mut pause = FIRST_LOOK;
        while self.over.get().is_none() && self.is_running(deadline) {
            let patience = Self::patience(deadline).min(pause);
            if timeout(patience, self.news.notified()).await.is_err() {
                self.drain();
                self.detect();
                pause = (pause * 2).min(LOOK_AFTER);
            }
        }
        self.wait_for_the_runtimes_word().await;
        let begun = Instant::now();
        self.settle();
        tracing::debug!(target: "events", over = ?self.over.get(), took_us = micros(begun), "an invocation is settled");
        self.current.borrow_mut().phase = Phase::Between;
        self.publish();
    }

    /// The platform says that an invocation is over when it is answered; the runtime does when it asks for the next, which
    /// comes right after. What it does in between belongs to the invocation.
    async fn wait_for_the_runtimes_word(&self) {
        if !matches!(self.over.get(), Some(Over::Telemetry(_))) {
            return;
        }
        let word = async {
            while !self.said.get() {
                self.news.notified().await;
            }
        };
        let _ = timeout(GRACE, word).await;
    }

    fn is_running(&self, deadline: u64) -> bool {
        let in_time = deadline == 0 || clock::now().0 < deadline.saturating_add(to_millis(GRACE));
        let runtime = self.ours().runtime;
        in_time && (runtime == 0 || is_alive(runtime))
    }

    fn patience(deadline: u64) -> Duration {
        let left = deadline.saturating_add(to_millis(GRACE)).saturating_sub(clock::now().0);
        let left = if deadline == 0 { LOOK_AFTER } else { Duration::from_millis(left.max(1)) };
        left.min(LOOK_AFTER)
    }

    /// What belongs to the end of an invocation whose runtime has told it.
    pub(crate) fn settle(&self) {
        let poller = self.asking.borrow().poller;
        let answered = self.asking.borrow().answered_at(self.current.borrow().request.as_bytes());
        match (poller, answered) {
            (Poller::Child, Some(time)) => self.settle_upto(Some(Upto::Mark(time))),
            // The answer was not seen: what is there may be the next invocation's, and is settled with that one.
            (Poller::Child, None) => self.settle_upto(None),
            _ => self.settle_upto(Some(Upto::Now)),
        }
    }

    /// The same; `None`: nothing that could be the next invocation's is touched.
    fn settle_upto(&self, upto: Option<Upto>) {
        if self.settling.replace(true) {
            return;
        }
        let _settling = Settling(&self.settling);
        self.drain();
        // What is done after a forged end is settled in a race with the next event: no time for anything else first.
        let in_a_race = self.current.borrow().phase == Phase::Between;
        if !in_a_race {
            self.detect();
        }
        if let Some(upto) = upto {
            let budget = Budget::new(END_OF_INVOCATION);
            let settle = Settle { upto: Some(upto), enforce: true, budget: &budget };
            // Where only the platform has told the end, what has answered may still be at work.
            if self.said.get() || matches!(upto, Upto::Now) {
                self.settle_survivors(settle, &self.current.borrow());
            }
            self.settle_residue(settle, &self.current.borrow());
            self.tell_if_short(&budget);
        }
        if in_a_race {
            self.detect();
        }
        self.forget_hints();
        self.emitter.borrow_mut().flush();
    }

    /// The platform has told that an invocation is over, and the next may be at work: what is surely older than that is
    /// told, with the invocation that it belongs to.
    fn settle_afterwards(&self, time: Option<SystemTime>, current: &Current) {
        let Some(time) = time.filter(|_| self.end_known() == EndKnown::Afterwards) else { return };
        self.detect();
        let budget = Budget::new(END_OF_INVOCATION);
        let settle = Settle { upto: Some(Upto::Time(time)), enforce: false, budget: &budget };
        self.settle_survivors(settle, current);
        self.settle_residue(settle, current);
        self.tell_if_short(&budget);
        self.emitter.borrow_mut().flush();
    }

    /// Says once that the time for the end of an invocation was too short.
    fn tell_if_short(&self, budget: &Budget) {
        if budget.was_short() && !self.told_short.replace(true) {
            self.degraded("invocation", TOO_SHORT);
        }
    }

    /// Nothing comes after: all that is there is the last invocation's.
    fn settle_for_good(&self) {
        match self.end_known() {
            EndKnown::Exactly => self.settle_upto(Some(Upto::Now)),
            EndKnown::Afterwards => {
                let current = self.current.borrow().clone();
                self.settle_afterwards(Some(SystemTime::now() + GRACE), &current);
            }
            EndKnown::Never => self.detect(),
        }
    }

    /// The environment ends. Everything here is quick: the platform gives 300 ms.
    fn shut_down(&self, reason: &str) {
        tracing::info!(target: "events", reason, "the environment ends");
        self.give_account();
        if self.current.borrow().phase == Phase::Invoke {
            self.settle_for_good();
        }
        self.drain();
        // What telemetry has not told by now, it will not tell.
        if self.detector.borrow_mut().extensions_are_known(self.internal_extensions.get()) {
            self.detect();
        }
        self.current.borrow_mut().phase = Phase::Shutdown;
        self.publish();
        self.summarize(reason);
    }
}

/// How much of what is there is settled, and how.
#[derive(Clone, Copy)]
pub(super) struct Settle<'a> {
    /// `None`: what an earlier generation left.
    pub(super) upto: Option<Upto>,
    /// Whether it is wiped and killed, not only told.
    pub(super) enforce: bool,
    pub(super) budget: &'a Budget,
}

impl Settle<'_> {
    /// The start time of processes that are not older, where not all are.
    fn before(self) -> Option<u64> {
        match self.upto {
            Some(Upto::Mark(time) | Upto::Time(time)) => Some(ticks_at(time)),
            _ => None,
        }
    }
}

/// Ends the mark that an invocation is being settled, after a panic too.
struct Settling<'a>(&'a Cell<bool>);

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// For the log: microseconds since then.
fn micros(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn to_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

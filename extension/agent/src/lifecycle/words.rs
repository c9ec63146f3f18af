//! What is heard of init's end and of an invocation's: from the runtime, from processes that it has ask, from telemetry.
//!
//! It decides which word is believed and what it ends. What belongs to an end is done by [`super`]; which process asks
//! for events is told in [`crate::poller`]. The sockets' tasks call it.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use ringfence_policy::{
    Action, Context, Decision, Destination, Phase, Plane, Role, Rule, RuleUse, Transport,
};

use ringfence_records::message::{ActionKind, Kind, Outcome, Report};
use ringfence_records::page::FileId;

use crate::agent::{Agent, NEVER, Over, add};
use crate::budget::Budget;
use crate::clock;
use crate::detect::holds_connection;
use crate::hook::HookWord;
use crate::invocation::{Current, trace_id};
use crate::poller::{Answer, Poller};
use crate::telemetry::Event;

/// For what init has left to be looked at, once.
const END_OF_INIT: std::time::Duration = std::time::Duration::from_millis(100);
/// Where layers have their extensions.
const EXTENSIONS: &str = "/opt/extensions";
/// How many extensions Lambda lets register (quotas of AWS Lambda).
const MAX_EXTENSIONS: usize = 10;
/// Longest request id in bytes that is kept; Lambda's have 36.
const MAX_REQUEST: usize = 64;
const SECOND_ANSWER: &[u8] = b"an event was answered twice: the first answer counts";
const NOT_THE_RUNTIME: &str = "a process that is not the runtime said that the invocation is over";

impl Agent {
    /// The runtime's own executable runs, with the preload library in it.
    pub(crate) fn runtime_up(&self, pid: u32) {
        if !self.is_runtime(pid) && !self.managed.get() {
            return self.impersonation(pid, "a process that is not the runtime said that it is");
        }
        // Another start of its executable: the hook of the one before says nothing of this one.
        self.guarded.borrow_mut().hook = None;
        tracing::debug!(target: "guard", pid, "the preload library is in the runtime");
        self.current.borrow_mut().launched = true;
        self.publish();
    }

    /// A language hook is in. Children of the runtime's language say so too: that is no matter. Once init is over, code of
    /// the function could say it.
    pub(crate) fn hook_up(&self, pid: u32, report: &Report<'_>) {
        let is_in_init = self.current.borrow().phase == Phase::Init && self.quiet_since.get() == NEVER;
        if self.is_runtime(pid) && is_in_init {
            tracing::debug!(target: "guard", pid, "a language hook is in the runtime");
            self.guarded.borrow_mut().hook = Some(HookWord::of(report));
        }
    }

    /// The runtime's process listens: it serves, and the library sees its calls.
    pub(crate) fn runtime_serves(&self, pid: u32) {
        if !self.is_runtime(pid) {
            return self.impersonation(pid, "a process that is not the runtime said that it serves");
        }
        if self.quiet_since.get() == NEVER {
            self.asking.borrow_mut().serves = true;
            self.current.borrow_mut().launched = true;
            self.publish();
        }
    }

    /// A process asks for the next event, and `answered` is the request that it answered last: that one is over.
    pub(crate) fn asks_for_more(&self, pid: u32, answered: &[u8]) {
        if self.managed.get() {
            // Many workers ask, and nothing ends.
            return;
        }
        let believed = self.believes(pid);
        tracing::trace!(target: "events", pid, believed, poller = ?self.asking.borrow().poller, "a process asks for an event");
        if !believed {
            return;
        }
        let answered = self.asking.borrow_mut().asks(pid, answered);
        let phase = self.current.borrow().phase;
        let is_current = answered == self.current.borrow().request.as_bytes();
        match phase {
            Phase::Init if self.quiet_since.get() == NEVER => self.init_is_over(),
            // A runtime whose answers were not seen names none.
            Phase::Invoke if answered.is_empty() || is_current => {
                self.said.set(true);
                self.end(Over::Runtime);
            }
            Phase::Between if !answered.is_empty() && is_current => {
                // It said so before, and goes on all the same: what it did since is settled too. Where it was the
                // platform that said so, all is settled, and what is there now may be the next invocation's.
                if self.said.replace(true) {
                    self.settle();
                }
            }
            // Answered before the agent has heard that it began, or asked again: the next invocation's id tells.
            _ => self.early.replace(answered).clear(),
        }
    }

    /// A process that the runtime has started answers an invocation: what comes after is the next one's.
    pub(crate) fn answered(&self, pid: u32, request: &[u8], time: Option<SystemTime>) {
        let is_childs = self.asking.borrow().poller == Poller::Child;
        if !is_childs || request.len() > MAX_REQUEST {
            return;
        }
        if self.asking.borrow_mut().claims_answer(request) {
            self.tell_second_answer(pid);
        }
        // A process that has ended since is believed: on a busy machine many have. The last word counts, which is the
        // runtime's own, since the request for the next event comes after it.
        let is_gone = std::fs::read_link(format!("/proc/{pid}/exe"))
            .is_err_and(|error| error.kind() == ErrorKind::NotFound);
        if !is_gone && !self.may_ask(pid) {
            return;
        }
        if let Some(time) = time {
            self.asking.borrow_mut().answer = Some(Answer { request: request.to_vec(), time });
        }
    }

    /// A command that the runtime itself has started by the program that it asks with may have answered in its place. The
    /// platform takes the first answer only, so the runtime's own shows that there was another.
    fn tell_second_answer(&self, pid: u32) {
        let is_rule = |each: &RuleUse| each.rule == Rule::EgressRuntimeApi;
        if !self.rules.get().is_some_and(|rules| rules.uses.iter().any(is_rule)) {
            return;
        }
        let mut report = Report::new(Kind::Violation, ActionKind::Send);
        report.rule = Rule::EgressRuntimeApi;
        report.plane = Plane::Platform;
        report.outcome = Outcome::Reported;
        report.pid = pid;
        report.address = self.settings.api_address();
        report.detail = SECOND_ANSWER;
        let exe = self.asking.borrow().exe.clone();
        report.exe = &exe;
        self.violation(&report);
    }

    /// Whether the word of this process counts; tells where it is no honest one. The runtime's counts for itself. That of
    /// another counts where the runtime itself has said nothing, and the policy lets the process speak to the API.
    fn believes(&self, pid: u32) -> bool {
        let (poller, in_init) = (self.asking.borrow().poller, self.quiet_since.get() == NEVER);
        if self.is_runtime(pid) {
            if in_init {
                self.asking.borrow_mut().poller = Poller::Runtime;
            }
            // Where its first request was not seen, its later word could be anything.
            return in_init || poller.tells();
        }
        let is_childs = poller == Poller::Child || (poller == Poller::Unknown && in_init);
        if !self.may_ask(pid) || (!is_childs && poller == Poller::Runtime && !self.lets_children_ask()) {
            self.impersonation(pid, NOT_THE_RUNTIME);
            return false;
        }
        if is_childs && poller == Poller::Unknown {
            self.asking.borrow_mut().poller = Poller::Child;
            self.let_poller_through(pid);
        }
        is_childs
    }

    /// The planes let the program that asks first go on asking. Which one may ask first they have judged: it is a runtime that is
    /// no runtime of the platform's own, or the runtime's executable behind a wrapper that has forked.
    fn let_poller_through(&self, pid: u32) {
        if let Ok(program) = std::fs::metadata(format!("/proc/{pid}/exe")) {
            self.page.editor().set_poller(FileId { device: program.dev(), inode: program.ino() });
        }
    }

    /// Whether a process of the function may ask for events. Where the policy keeps that to the runtime, a program that
    /// did it in init is the runtime's way to ask.
    fn may_ask(&self, pid: u32) -> bool {
        if !self.survivors.borrow().is_of_the_function(pid, &self.ours()) {
            return false;
        }
        let exe = crate::proc::executable(Path::new("/proc"), pid);
        let mut asking = self.asking.borrow_mut();
        if asking.exe.is_empty() && self.quiet_since.get() == NEVER {
            asking.exe.clone_from(&exe);
        }
        self.lets_children_ask() || (!exe.is_empty() && asking.exe == exe)
    }

    fn lets_children_ask(&self) -> bool {
        let (Some(rules), Some(api)) = (self.rules.get(), self.settings.api_address()) else { return false };
        let strongest = self.guarded.borrow().hello.as_ref().and_then(|hello| hello.strongest);
        let context = Context {
            phase: Phase::Invoke,
            role: Role::Child,
            strongest: strongest.unwrap_or(Plane::Platform),
            launched: true,
        };
        let destination = Destination {
            address: api.ip(),
            port: api.port(),
            transport: Transport::Stream,
            names: &[],
            runtime_api: true,
            own_service: false,
            second_connection: false,
        };
        rules.judge(&Action::Connect(destination), context).decision != Decision::Deny
    }

    /// Forgets the end of the last invocation. The one that begins now may be over already.
    pub(crate) fn reset_end(&self) {
        let early = std::mem::take(&mut *self.early.borrow_mut());
        let done = self.done_early.borrow_mut().take();
        let request = &self.current.borrow().request;
        let said = !early.is_empty() && early == request.as_bytes();
        let done = done.filter(|(done, _)| !done.is_empty() && done == request);
        self.said.set(said);
        self.over.set(if said { Some(Over::Runtime) } else { done.map(|(_, time)| Over::Telemetry(time)) });
    }

    fn is_runtime(&self, pid: u32) -> bool {
        self.guarded.borrow().hello.as_ref().is_some_and(|hello| hello.runtime_pid == pid && pid != 0)
    }

    /// Init is over and nothing has told so: which process asks for events then?
    pub(crate) fn end_init_untold(&self) {
        if self.quiet_since.get() != NEVER {
            return;
        }
        let ours = self.ours();
        let asks_itself = ours.runtime == 0
            || self.settings.api_address().is_some_and(|api| holds_connection(ours.runtime, api));
        self.asking.borrow_mut().poller = if asks_itself { Poller::Unseen } else { Poller::Elsewhere };
        self.init_is_over();
    }

    /// What runs and lies about now may stay.
    fn init_is_over(&self) {
        tracing::info!(target: "events", poller = ?self.asking.borrow().poller, end = ?self.end_known(), "init is over");
        self.forget_hints();
        self.quiet_since.set(clock::now());
        let parted = self.asking.borrow().poller == Poller::Child;
        if let Some(ledger) = self.ledger.borrow_mut().as_mut() {
            ledger.forget(parted, &Budget::new(END_OF_INIT));
        }
        self.survivors.borrow_mut().know_all(&self.ours());
        self.begin_detection();
        self.give_account();
    }

    fn end(&self, over: Over) {
        if self.over.get().is_none() {
            tracing::debug!(target: "events", told_by = ?over, "the invocation is over");
            self.over.set(Some(over));
            self.quiet_since.set(clock::now());
        }
        self.news.notify_waiters();
    }

    /// Takes a batch of telemetry.
    pub(crate) fn telemetry_events(&self, events: &[Event]) {
        for event in events {
            tracing::trace!(target: "telemetry", kind = event.kind, request = event.record.request, "an event came");
            match &*event.kind {
                "platform.initRuntimeDone" => self.telemetry_init_done(),
                "platform.extension" => self.telemetry_extension(&event.record.name),
                "platform.start" => self.telemetry_start(event),
                "platform.runtimeDone" => self.telemetry_done(&event.record.request, event.time),
                _ => {}
            }
        }
    }

    /// Where the runtime's request was not seen, this is the first to tell that init is over.
    fn telemetry_init_done(&self) {
        self.drain();
        if !self.managed.get() && self.current.borrow().phase == Phase::Init {
            self.end_init_untold();
        }
    }

    /// The word on a request that the agent has not heard of yet is kept: nothing says it again.
    fn telemetry_done(&self, request: &str, time: Option<SystemTime>) {
        let is_this = |current: &Current| current.request == request;
        let previous = self.previous.borrow_mut().take_if(|previous| is_this(previous));
        if let Some(previous) = previous {
            self.settle_afterwards(time, &previous);
        } else if is_this(&self.current.borrow()) {
            self.end(Over::Telemetry(time));
            let current = self.current.borrow().clone();
            self.settle_afterwards(time, &current);
        } else if request.len() <= MAX_REQUEST {
            *self.done_early.borrow_mut() = Some((request.to_owned(), time));
        }
    }

    /// One whose name is no file of a layer has registered from inside the function's process.
    fn telemetry_extension(&self, name: &str) {
        let is_name = !name.is_empty() && !name.contains('/');
        if is_name && !Path::new(EXTENSIONS).join(name).exists() {
            self.internal_extensions
                .set(self.internal_extensions.get().saturating_add(1).min(MAX_EXTENSIONS));
        }
    }

    /// The platform begins no invocation before it has told of all extensions.
    fn telemetry_start(&self, event: &Event) {
        let is_awaited = self.detector.borrow_mut().extensions_are_known(self.internal_extensions.get());
        if is_awaited {
            self.detect();
        }
        if self.managed.get() {
            add(&self.totals.invocations, 1);
        }
        let mut current = self.current.borrow_mut();
        if current.request == event.record.request && current.trace.is_empty() {
            trace_id(&event.record.trace).clone_into(&mut current.trace);
        }
    }
}

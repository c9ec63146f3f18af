//! The supervisor's threads: one takes calls and answers them, one waits for everything else, and others stand by.
//!
//! The first does nothing but that, so it needs not ask whether there is a call before it takes one. The one that waits
//! forwards signals, hears of the runtime's end and of the agent's, and sees to it that there is always a thread that takes
//! calls and one that looks at processes ([`super::crew`]); it asks no target for anything. Where there can be no second thread
//! the one does it all. `kernel` calls it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Supervisor;
use super::answer::Answer;
use super::beside::Beside;
use super::crew::{Crew, MAX_IDLE, Place, Ticket, Work};
use super::numbers;
use super::processor::wants_processor;
use super::shares::Account;
use super::target::Caller;
use super::undelivered::digest;
use super::workers::{CALL_OFF, Job, LOOK, Task};
use crate::sys::Errno;
use crate::sys::descriptor::{Alarm, Timer, Wait, poll};
use crate::sys::limit::Limit;
use crate::sys::process;
use crate::sys::seccomp::Notification;

/// Bytes of stack of the threads that answer; what they do not touch costs nothing.
const STACK: usize = 512 * 1024;
/// Threads from the start: one that takes calls, and others to take its place where the function has left no room for more.
const MEMBERS: usize = MAX_IDLE + 1;

/// Supervises until the runtime has ended. Returns the status to end with.
pub(super) fn run(mut supervisor: Supervisor, beside: Beside) -> i32 {
    let crew = Arc::new(Crew::new());
    supervisor.crew = Some(Arc::clone(&crew));
    // Without an alarm this thread could not be told that there is something to look at.
    let alone = supervisor.alarm.is_none() || !start(&crew, &supervisor, true);
    for _ in 1..MEMBERS {
        let _ = !alone && start(&crew, &supervisor, true);
    }
    crew.appoint_receiver();
    let mut watch = Watch { supervisor, crew, beside, alone, looked_at_workers: Instant::now() };
    if alone {
        watch.supervisor.crew = None;
        watch.supervisor.answers_from_now_on();
    }
    loop {
        if let Some(status) = watch.attend_once() {
            return status;
        }
    }
}

/// What the thread that waits for everything but calls needs for that.
struct Watch {
    supervisor: Supervisor,
    crew: Arc<Crew>,
    beside: Beside,
    /// Whether there is no other thread, so that this one takes calls too.
    alone: bool,
    looked_at_workers: Instant,
}

impl Watch {
    /// Waits until there is something to do, and does it. The status to end with, once the runtime has ended.
    fn attend_once(&mut self) -> Option<i32> {
        let supervisor = &self.supervisor;
        let calls = if self.alone { supervisor.listener.number() } else { -1 };
        let agent = supervisor.reporter.agent().unwrap_or(-1);
        let alarm = supervisor.alarm.as_deref().map_or(-1, Alarm::number);
        let timer = self.crew.timer().map_or(-1, Timer::number);
        let mut waits = [calls, self.beside.number(), agent, alarm, timer].map(Wait::readable);
        poll(&mut waits, self.patience()).ok()?;
        let [calls, signals, agent, alarm, timer] = waits;
        if signals.ready() {
            self.beside.handle_signals();
            if let Some(status) = self.beside.status() {
                return Some(status);
            }
        }
        if agent.ready() || agent.closed() {
            self.listen();
        }
        if let (true, Some(alarm)) = (alarm.ready(), &supervisor.alarm) {
            alarm.reset();
        }
        if let (true, Some(timer)) = (timer.ready(), self.crew.timer()) {
            timer.reset();
        }
        if calls.ready()
            && let Ok(notification) = self.supervisor.listener.receive()
        {
            self.supervisor.answer(&notification);
            if self.supervisor.registry.takes_wish_for_sweep() {
                self.supervisor.sweep();
            }
        }
        self.look();
        None
    }

    /// Hears of the agent's end. Another thread says so, since standard error may keep it waiting.
    fn listen(&self) {
        let supervisor = &self.supervisor;
        if !supervisor.reporter.listen() {
            return;
        }
        if self.alone {
            supervisor.reporter.tell_loss();
        } else {
            self.crew.have_loss_told(|| start(&self.crew, supervisor, false));
        }
    }

    /// How long to wait, in milliseconds.
    fn patience(&self) -> i32 {
        const TICK_MILLISECONDS: i32 = 5;
        let now = Instant::now();
        // Whoever looks at processes does so for all whose time has come.
        let looks = if self.crew.is_looking() { None } else { self.supervisor.verifier().patience(now) };
        let ticks = (self.crew.needs_clock() || self.crew.is_looking()).then_some(TICK_MILLISECONDS);
        let sweeps = self.supervisor.registry.patience(now);
        [looks, ticks, sweeps, self.supervisor.workers.patience()].into_iter().flatten().min().unwrap_or(-1)
    }

    fn look(&mut self) {
        let supervisor = &self.supervisor;
        let staff = || start(&self.crew, supervisor, false);
        if !self.alone {
            self.crew.look(|thread| supervisor.account_in_runtime(thread), wants_processor, staff);
        }
        let now = Instant::now();
        if now.duration_since(self.looked_at_workers) >= Duration::from_millis(LOOK.unsigned_abs().into()) {
            self.looked_at_workers = now;
            if self.alone {
                supervisor.workers.interrupt_abandoned();
            } else if supervisor.workers.patience().is_some() {
                self.crew.have_waiting_looked_at(staff);
            }
            for member in self.crew.abandoned(|id| supervisor.listener.still_waits(id)) {
                let _ = process::kill_thread(process::own(), member, CALL_OFF);
            }
        }
        if supervisor.registry.takes_look(now) {
            if self.alone {
                supervisor.sweep();
            } else {
                supervisor.order_sweep();
            }
        }
        if supervisor.verifier().is_due(now) {
            if self.alone {
                self.supervisor.look_at_due();
            } else {
                self.crew.have_processes_looked_at(staff);
            }
        }
    }
}

/// Starts one more thread, which finds out what there is to do; `early` before the function can keep it from anything.
fn start(crew: &Arc<Crew>, supervisor: &Supervisor, early: bool) -> bool {
    let mut member = Member { crew: Arc::clone(crew), supervisor: supervisor.another() };
    numbers::start_thread(STACK, move || member.serve(early))
}

/// A thread that answers.
struct Member {
    crew: Arc<Crew>,
    supervisor: Supervisor,
}

impl Member {
    fn serve(&mut self, early: bool) {
        self.supervisor.answers_from_now_on();
        if early {
            self.supervisor.stat = File::open("/proc/thread-self/stat").ok().map(Arc::new);
        }
        let thread = process::thread_id();
        let mut done = None;
        while let Some(work) = self.crew.next(thread, done.take()) {
            match work {
                Work::Receive => match self.receive(thread) {
                    Some(ticket) => done = Some(ticket),
                    None => return,
                },
                Work::Answer(call, ticket) => {
                    done = Some(ticket);
                    if self.supervisor.listener.still_waits(call.id) {
                        self.supervisor.answer(&call);
                    }
                }
                Work::Learn => self.learn(),
                Work::Look => {
                    // A panic is a bug of ours; the process is looked at again by its next call.
                    let _ = catch_unwind(AssertUnwindSafe(|| self.supervisor.look_at_due()));
                    self.crew.have_looked();
                }
                Work::LookAtWaiting => {
                    let workers = &self.supervisor.workers;
                    let _ = catch_unwind(AssertUnwindSafe(|| workers.interrupt_abandoned()));
                    self.crew.have_watched();
                }
                Work::TellLoss => self.supervisor.reporter.tell_loss(),
                Work::Sweep => {
                    let _ = catch_unwind(AssertUnwindSafe(|| self.supervisor.sweep()));
                }
            }
        }
    }

    /// Takes calls until another thread does; the last call then. `None` where nobody is left who could make one.
    fn receive(&mut self, thread: u32) -> Option<Ticket> {
        self.crew.receives(thread, self.supervisor.stat.clone());
        loop {
            let call = match self.supervisor.listener.receive() {
                Ok(call) => call,
                Err(_) if self.may_receive() => continue,
                Err(_) => return None,
            };
            let ticket = self.crew.begin(&call, self.supervisor.alarm.as_deref());
            if !self.crew.is_careful() || !self.hands_on(ticket, &call) {
                self.supervisor.answer(&call);
            }
            if !self.crew.end(ticket) {
                return Some(ticket);
            }
            if self.supervisor.registry.takes_wish_for_sweep() {
                self.supervisor.order_sweep();
            }
        }
    }

    /// Whether somebody else sees to a call.
    fn hands_on(&self, ticket: Ticket, call: &Notification) -> bool {
        let runtime = self.supervisor.account_in_runtime(call.thread);
        let account_of = || self.supervisor.account_of(call.thread);
        let staff = || start(&self.crew, &self.supervisor, false);
        match self.crew.place((ticket, call), runtime, account_of, staff) {
            Place::Here => false,
            Place::Elsewhere => true,
            Place::Nowhere => {
                let _ = self.supervisor.listener.fail(call.id, Errno(libc::EAGAIN));
                true
            }
        }
    }

    /// Finds out whose calls keep threads.
    fn learn(&self) {
        let mut tried = Vec::new();
        while let Some((ticket, caller)) = self.crew.unknown(&tried) {
            tried.push(ticket);
            self.crew.learn(ticket, self.supervisor.account_of(caller));
        }
    }

    /// Waits for the next call after one was gone before it could be taken. False where nobody is left who could make one.
    fn may_receive(&self) -> bool {
        let mut waits = [Wait::readable(self.supervisor.listener.number())];
        while poll(&mut waits, -1).is_ok() {
            let [wait] = waits;
            if wait.ready() || wait.closed() {
                return wait.ready();
            }
        }
        true
    }
}

impl Supervisor {
    /// Whose share a call of this thread takes; to find out may take its time. A worker on Managed Instances counts as a child
    /// here: what it runs is not looked at.
    fn account_of(&self, thread: u32) -> Account {
        let caller = Caller::identify(thread, self.runtime);
        caller.map_or(Account::Tree(0), |caller| Account::of(&caller, self.runtime))
    }

    /// The same for a thread of the runtime, without waiting for anybody; `None` for others.
    fn account_in_runtime(&self, thread: u32) -> Option<Account> {
        let is_its = thread == self.runtime || process::kill_thread(self.runtime, thread, 0).is_ok();
        is_its.then_some(Account::Runtime(self.runtime))
    }

    /// Has another thread sweep the sockets that are kept. Whether there is one for it.
    pub(super) fn order_sweep(&self) -> bool {
        self.crew.as_ref().is_some_and(|crew| crew.have_sockets_swept(|| start(crew, self, false)))
    }

    /// Has the other thread look again what there is to wait for.
    pub(super) fn wake(&self) {
        if let Some(alarm) = &self.alarm {
            alarm.ring();
        }
    }

    /// Has a worker do what may wait.
    pub(super) fn leave_to_worker(
        &self,
        call: &Notification,
        caller: &Caller,
        socket: OwnedFd,
        task: Task,
    ) -> Result<Answer, Errno> {
        let content = match &task {
            Task::Send { data, .. } => digest(data),
            Task::Connect { .. } | Task::Open { .. } => 0,
        };
        let account = Account::of(caller, self.runtime);
        let since = Instant::now();
        let job = Job { call: *call, process: caller.process, account, content, since, socket, task };
        if self.workers.submit(job)? {
            self.wake();
        }
        Ok(Answer::Elsewhere)
    }

    /// What has become of a send that its caller makes again, because a signal took it out of its wait. It must not be
    /// carried out twice.
    pub(super) fn done_before(&self, call: &Notification, data: &[u8]) -> Option<Answer> {
        if self.waits_killable {
            return None;
        }
        // In this order: what is not at work any more is kept by then.
        if self.workers.take_over(call, digest(data)) {
            return Some(Answer::Elsewhere);
        }
        self.undelivered.take(call, data).map(Answer::Done)
    }

    /// Ends a send on a stream whose other end is closed, with the signal that goes with it.
    pub(super) fn end_broken(&self, call: &Notification, caller: &Caller, outcome: Answer) -> Answer {
        let raise = || process::kill_thread(caller.process, caller.thread, libc::SIGPIPE);
        if self.waits_killable {
            // It comes when the call has returned.
            let _ = raise();
            return outcome;
        }
        // Here it would take the caller out of its wait, to make the call again.
        if outcome.send(&self.listener, call).is_ok() {
            let _ = raise();
        }
        Answer::Elsewhere
    }

    /// Says that the calling thread is one that answers. Where it can have no limit, workers do what might wait.
    fn answers_from_now_on(&mut self) {
        self.limit = Limit::for_this_thread(CALL_OFF).ok();
        self.own_folder = process::unshare_working_folder();
    }

    fn answer(&mut self, notification: &Notification) {
        // A panic is a bug of ours: the call fails, and the function's other calls are still answered.
        let answer = catch_unwind(AssertUnwindSafe(|| self.decide(notification)))
            .unwrap_or(Answer::Fail(Errno::EPERM));
        let gone = answer.send(&self.listener, notification) == Err(Errno::ENOENT);
        if let (true, Answer::Done(value)) = (gone, answer) {
            self.keep_result(notification, value);
        }
    }
}

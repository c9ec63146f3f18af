//! The supervisor's two threads: one takes calls and answers them, the other waits for everything else.
//!
//! The first does nothing but that, so it needs not ask whether there is a call before it takes one. The other forwards
//! signals, hears of the runtime's end and of the agent's, and looks at processes and workers when it is time. What both
//! need is behind one lock; what must not wait for it is in `beside`. Where there can be no second thread the one does
//! it all. `kernel` calls it.

use std::os::fd::{OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::Supervisor;
use super::answer::Answer;
use super::beside::Beside;
use super::shares::Account;
use super::target::Caller;
use super::undelivered::digest;
use super::workers::{CALL_OFF, Job, Task, lock};
use crate::sys::Errno;
use crate::sys::descriptor::{Alarm, Wait, poll};
use crate::sys::limit::Limit;
use crate::sys::process;
use crate::sys::seccomp::{Listener, Notification};

/// Bytes of stack of the thread that answers; what it does not touch costs nothing.
const STACK: usize = 512 * 1024;

/// Supervises until the runtime has ended. Returns the status to end with.
pub(super) fn run(supervisor: Supervisor<'static>, mut beside: Beside) -> i32 {
    let shared = Arc::new(Mutex::new(supervisor));
    let alone = start(&shared).is_err();
    if alone {
        lock(&shared).answers_from_now_on();
    }
    loop {
        if attend_once(&shared, &mut beside, alone).is_none()
            && let Some(status) = beside.status()
        {
            return status;
        }
    }
}

/// Waits until there is something to do, and does it. `None` where the runtime has ended.
fn attend_once(shared: &Mutex<Supervisor<'_>>, beside: &mut Beside, alone: bool) -> Option<()> {
    let (mut waits, patience) = beside.wait_for(shared)?.waits(alone, beside.number());
    if poll(&mut waits, patience).is_err() {
        return Some(());
    }
    let [calls, signals, agent, alarm] = waits;
    if signals.ready() {
        beside.handle_signals();
    }
    let mut supervisor = beside.wait_for(shared)?;
    let held = beside.take_held();
    supervisor.attend([calls, agent, alarm], held);
    drop(supervisor);
    beside.status().is_none().then_some(())
}

/// Starts the thread that takes calls.
fn start(shared: &Arc<Mutex<Supervisor<'static>>>) -> Result<(), Errno> {
    let listener = {
        let supervisor = lock(shared);
        // Without an alarm the other thread could not be told that there is something to look at.
        supervisor.alarm.as_ref().ok_or(Errno(libc::EMFILE))?;
        Arc::clone(&supervisor.listener)
    };
    let shared = Arc::clone(shared);
    std::thread::Builder::new().stack_size(STACK).spawn(move || answer_all(&listener, &shared))?;
    Ok(())
}

fn answer_all(listener: &Listener, shared: &Mutex<Supervisor<'_>>) {
    lock(shared).answers_from_now_on();
    loop {
        match listener.receive() {
            Ok(notification) => lock(shared).answer(&notification),
            Err(_) if may_receive(listener) => {}
            Err(_) => return,
        }
    }
}

/// Waits for the next call after one was gone before it could be taken. False where nobody is left who could make one.
fn may_receive(listener: &Listener) -> bool {
    let mut waits = [Wait::readable(listener.number())];
    while poll(&mut waits, -1).is_ok() {
        let [wait] = waits;
        if wait.ready() || wait.closed() {
            return wait.ready();
        }
    }
    true
}

impl Supervisor<'_> {
    /// What to wait for besides calls (or with them, where this thread takes them too), and how long in milliseconds.
    fn waits(&self, alone: bool, signals: RawFd) -> ([Wait; 4], i32) {
        let listener = if alone { self.listener.number() } else { -1 };
        let agent = self.reporter.agent().map_or(-1, std::os::fd::AsRawFd::as_raw_fd);
        let alarm = self.alarm.as_ref().map_or(-1, Alarm::number);
        let patience = match (self.verifier().patience(Instant::now()), self.workers.patience()) {
            (Some(one), Some(other)) => one.min(other),
            (one, other) => one.or(other).unwrap_or(-1),
        };
        ([listener, signals, agent, alarm].map(Wait::readable), patience)
    }

    /// Does what there is to do besides calls; `held` are processes that wait to be judged.
    fn attend(&mut self, [calls, agent, alarm]: [Wait; 3], held: Vec<u32>) {
        if calls.ready()
            && let Ok(notification) = self.listener.receive()
        {
            self.answer(&notification);
        }
        if agent.ready() || agent.closed() {
            self.reporter.listen();
        }
        if let (true, Some(alarm)) = (alarm.ready(), &self.alarm) {
            alarm.reset();
        }
        for process in held {
            self.judge_held(process);
        }
        self.look_at_due();
        self.workers.interrupt_abandoned();
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

    /// Says that the calling thread is the one that answers. Where it can have no limit, workers do what might wait.
    fn answers_from_now_on(&mut self) {
        self.limit = Limit::for_this_thread(CALL_OFF).ok();
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

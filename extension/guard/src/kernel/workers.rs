//! Threads for what may wait: a blocking connect or send on behalf of a target.
//!
//! They are started when first needed and bounded in number, and nobody may take all of them ([`super::shares`]); what does
//! not fit into the queue is refused for the moment. A worker carries out one call that was decided already, answers, and
//! knows no policy. A call whose caller has a signal to take is called off, as the kernel would break it off.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ringfence_records::handoff::WAITS_FOR;

use super::address;
use super::lock::lock;
use super::numbers;
use super::open;
use super::registry::Registry;
use super::shares::Account;
use super::signals;
use super::undelivered::Undelivered;
use crate::sys::seccomp::{Listener, Notification};
use crate::sys::socket::{self, Parcel};
use crate::sys::{Errno, process, seccomp};

/// Dead hosts hold a thread each for up to two minutes, and those behind them must not wait for that.
const MAX_THREADS: usize = 128;
const MAX_QUEUED: usize = 256;
/// Descriptors in messages that wait, of all together.
const MAX_DESCRIPTORS: usize = 64;
const STACK: usize = 64 * 1024;
/// Interrupts a worker's call, and one of the answering thread's that waits though it should not. Nothing else sends it to
/// the guard.
pub const CALL_OFF: i32 = libc::SIGURG;
/// How often it is looked whether somebody still waits for the workers, and has no signal to take, in milliseconds.
pub const LOOK: i32 = 100;
/// How long a call has waited before a signal ends it.
const AGE: Duration = Duration::from_millis(WAITS_FOR);
/// How long nobody looks for signals after somebody did, whatever else there is to do.
const REST: Duration = Duration::from_millis(50);
/// How long signals are looked for at one time; others have their turn at the next.
const LOOK_FOR: Duration = Duration::from_millis(2);

/// What a worker does.
#[derive(Debug)]
pub enum Task {
    /// connect(2).
    Connect {
        /// Address as the kernel takes it.
        address: Vec<u8>,
        /// Inode to let go from the registry once it is connected, for streams.
        release: Option<u64>,
    },
    /// One sendmsg(2).
    Send {
        /// Address as the kernel takes it; may be empty.
        address: Vec<u8>,
        /// The data.
        data: Vec<u8>,
        /// Control messages as the kernel takes them; may be empty.
        control: Vec<u8>,
        /// The descriptors that they pass, which live until it is sent.
        held: Vec<OwnedFd>,
        /// `MSG_*`.
        flags: i32,
        /// Whether SIGPIPE is raised in the caller where the other end is closed.
        raises: bool,
    },
    /// open(2) of a pinned file.
    Open {
        /// `O_*`.
        flags: i32,
        /// Whether the target's descriptor is closed at exec.
        close_on_exec: bool,
    },
}

impl Task {
    /// Whether it is begun by being made at all, and goes on when a signal has ended the call: a program would wait for a
    /// connection that nobody makes.
    fn goes_on(&self) -> bool {
        let address = if let Self::Connect { address, .. } = self { address.as_slice() } else { &[] };
        matches!(address::family(address), Some(libc::AF_INET | libc::AF_INET6))
    }

    /// Descriptors that are held besides the socket.
    const fn descriptors(&self) -> usize {
        match self {
            Self::Send { held, .. } => held.len(),
            Self::Connect { .. } | Self::Open { .. } => 0,
        }
    }
}

/// A task, for whom, and on which socket.
#[derive(Debug)]
pub struct Job {
    /// The call to answer.
    pub call: Notification,
    /// Its caller's process.
    pub process: u32,
    /// Whose share of the workers it takes.
    pub account: Account,
    /// The [`digest`](super::undelivered::digest) of what it sends.
    pub content: u64,
    /// Since when its caller waits.
    pub since: Instant,
    /// The target's socket, or the file that it opens.
    pub socket: OwnedFd,
    /// What to do.
    pub task: Task,
}

/// Somebody who waits.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    call: Notification,
    process: u32,
    since: Instant,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    busy: Vec<Busy>,
    /// Whose turn it is to be looked at for signals, and when somebody was last.
    turn: usize,
    looked: Option<Instant>,
    /// Calls whose callers are being looked at for signals.
    looked_at: Vec<u64>,
}

impl Queue {
    /// The next job of somebody who has not their share of threads at work.
    fn next(&mut self, thread: u32) -> Option<Job> {
        let at_work = || self.busy.iter().map(|busy| busy.account);
        let at = self.jobs.iter().position(|job| job.account.may_take_one(at_work(), MAX_THREADS))?;
        let job = self.jobs.remove(at)?;
        let &Job { call, process, account, content, since, .. } = &job;
        let raises = matches!(job.task, Task::Send { raises: true, .. });
        let descriptors = job.task.descriptors();
        let called_off = None;
        self.busy.push(Busy {
            thread,
            call,
            process,
            account,
            content,
            raises,
            descriptors,
            since,
            called_off,
        });
        Some(job)
    }

    /// All who wait; another one first each time.
    fn waiting(&self) -> Vec<Waiting> {
        let at_work = self.busy.iter();
        let at_work = at_work.map(|&Busy { call, process, since, .. }| Waiting { call, process, since });
        let queued = self.jobs.iter();
        let queued = queued.map(|&Job { call, process, since, .. }| Waiting { call, process, since });
        let mut waiting: Vec<_> = at_work.chain(queued).collect();
        if !waiting.is_empty() {
            let first = self.turn % waiting.len();
            waiting.rotate_left(first);
        }
        waiting
    }

    /// All who wait, and whether it is time to look for their signals: there may be other reasons to come here every moment.
    fn begin_look(&mut self, now: Instant) -> (Vec<Waiting>, bool) {
        let is_time = self.looked.is_none_or(|looked| now.duration_since(looked) >= REST);
        let waiting = self.waiting();
        self.looked_at.retain(|known| waiting.iter().any(|waiting| waiting.call.id == *known));
        if is_time {
            self.looked = Some(now);
            // Now and not at the end: who is kept waiting does not come there, and the next one would begin at the same.
            self.turn = self.turn.wrapping_add(1);
        }
        (waiting, is_time)
    }

    /// Whether nobody else looks at the caller of a call, who may keep him waiting; [`Self::end_look_at`] ends that.
    fn begin_look_at(&mut self, call: u64) -> bool {
        let is_free = !self.looked_at.contains(&call);
        if is_free {
            self.looked_at.push(call);
        }
        is_free
    }

    fn end_look_at(&mut self, call: u64) {
        self.looked_at.retain(|known| *known != call);
    }

    fn has_room_for(&self, account: Account) -> bool {
        account.may_take_one(self.jobs.iter().map(|job| job.account), MAX_QUEUED)
    }

    /// Whether so many more descriptors may be held: others need them too.
    fn may_hold(&self, descriptors: usize) -> bool {
        let waiting: usize = self.jobs.iter().map(|job| job.task.descriptors()).sum();
        let at_work: usize = self.busy.iter().map(|busy| busy.descriptors).sum();
        descriptors == 0 || waiting + at_work + descriptors <= MAX_DESCRIPTORS
    }
}

/// Why a call is called off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CalledOff {
    /// Its caller was taken out of its wait, or has died.
    Abandoned,
    /// Its caller takes a signal as soon as the call returns.
    Signalled,
}

/// A worker at work.
#[derive(Debug, Clone, Copy)]
struct Busy {
    thread: u32,
    call: Notification,
    process: u32,
    account: Account,
    content: u64,
    raises: bool,
    descriptors: usize,
    since: Instant,
    called_off: Option<CalledOff>,
}

impl Busy {
    /// Whether `call` asks for the same again.
    fn is_asked_again(&self, call: &Notification, content: u64) -> bool {
        (self.call.thread, self.call.number, self.call.arguments)
            == (call.thread, call.number, call.arguments)
            && self.content == content
    }
}

/// Prepares the signal by which a worker is called off.
pub fn prepare() {
    process::make_interrupting(CALL_OFF);
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    listener: Arc<Listener>,
    registry: Arc<Registry>,
    undelivered: Undelivered,
    waits_killable: bool,
}

/// The workers.
#[derive(Debug, Clone)]
pub struct Workers(Arc<Shared>);

impl Workers {
    /// Workers that answer through `listener`; no thread is started yet.
    #[must_use]
    pub fn new(listener: Arc<Listener>, registry: Arc<Registry>, undelivered: Undelivered) -> Self {
        let waits_killable = seccomp::waits_killable();
        let queue = Mutex::new(Queue { jobs: VecDeque::with_capacity(MAX_QUEUED), ..Queue::default() });
        Self(Arc::new(Shared {
            queue,
            work: Condvar::new(),
            listener,
            registry,
            undelivered,
            waits_killable,
        }))
    }

    /// Hands a job over. Returns whether there was none before.
    ///
    /// # Errors
    /// `EAGAIN` where too many wait already, or no thread can be started.
    pub fn submit(&self, job: Job) -> Result<bool, Errno> {
        let mut queue = lock(&self.0.queue);
        if !queue.has_room_for(job.account) || !queue.may_hold(job.task.descriptors()) {
            return Err(Errno(libc::EAGAIN));
        }
        if queue.idle <= queue.jobs.len() && queue.threads < MAX_THREADS && self.start() {
            queue.threads += 1;
        }
        if queue.threads == 0 {
            return Err(Errno(libc::EAGAIN));
        }
        let were_idle = queue.jobs.is_empty() && queue.busy.is_empty();
        queue.jobs.push_back(job);
        drop(queue);
        self.0.work.notify_one();
        Ok(were_idle)
    }

    /// Whether this call is being carried out already, for its caller that was taken out of its wait by a signal and
    /// makes it again: then the outcome goes to this one.
    #[must_use]
    pub fn take_over(&self, call: &Notification, content: u64) -> bool {
        let mut queue = lock(&self.0.queue);
        let same = queue.busy.iter_mut().find(|busy| busy.is_asked_again(call, content));
        same.map(|busy| (busy.call, busy.called_off) = (*call, None)).is_some()
    }

    /// Calls off work for which nobody waits any more, and what a signal would break off without the guard.
    pub fn interrupt_abandoned(&self) {
        let begun = Instant::now();
        let (waiting, signals_due) = lock(&self.0.queue).begin_look(begun);
        let signals_due = signals_due && self.0.waits_killable;
        // First what asks no target for anything.
        for Waiting { call, .. } in &waiting {
            if !self.0.listener.still_waits(call.id) {
                self.0.call_off(call.id, CalledOff::Abandoned);
            }
        }
        let mut looked = 0_usize;
        for Waiting { call, process, since } in waiting {
            if !signals_due || begun.elapsed() >= LOOK_FOR {
                break;
            }
            looked += 1;
            if since.elapsed() < AGE || !lock(&self.0.queue).begin_look_at(call.id) {
                continue;
            }
            let signalled = signals::takes_one(process, call.thread);
            lock(&self.0.queue).end_look_at(call.id);
            // It must be this wait in which the signal was seen.
            if signalled && self.0.listener.still_waits(call.id) {
                self.0.call_off(call.id, CalledOff::Signalled);
            }
        }
        let mut queue = lock(&self.0.queue);
        queue.turn = queue.turn.wrapping_add(looked.saturating_sub(1));
        drop(queue);
        self.0.registry.look_after();
    }

    /// When to look at the workers again, in milliseconds; `None` while they are idle.
    #[must_use]
    pub fn patience(&self) -> Option<i32> {
        let queue = lock(&self.0.queue);
        let somebody_waits = !queue.busy.is_empty() || !queue.jobs.is_empty();
        drop(queue);
        (somebody_waits || self.0.registry.watches()).then_some(LOOK)
    }

    fn start(&self) -> bool {
        let shared = Arc::clone(&self.0);
        numbers::start_thread(STACK, move || shared.work())
    }
}

impl Shared {
    fn work(&self) {
        loop {
            let thread = process::thread_id();
            let job = self.next(thread);
            // A panic is a bug of ours; the target gets an error and the thread lives on.
            let done =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.see_through(thread, &job)));
            drop(job);
            self.answer(thread, done.unwrap_or(Err(Errno::EPERM)));
        }
    }

    /// Calls one call off, be it at work or in the queue.
    fn call_off(&self, id: u64, why: CalledOff) {
        let mut queue = lock(&self.queue);
        if let Some(busy) = queue.busy.iter_mut().find(|busy| busy.call.id == id) {
            busy.called_off = Some(why);
            // Where it comes before the worker waits it is missed, and sent again at the next look.
            let _ = process::kill_thread(process::own(), busy.thread, CALL_OFF);
            return;
        }
        let in_queue = |job: &Job| job.call.id == id && !(why == CalledOff::Signalled && job.task.goes_on());
        let job = queue.jobs.iter().position(in_queue).and_then(|at| queue.jobs.remove(at));
        // To close its socket may wait (`SO_LINGER`).
        drop(queue);
        if let Some(job) = job {
            let _ = self.listener.fail(id, broken_off(&job, why));
        }
    }

    /// The call that a thread is at work for now, and whether that is called off.
    fn at_work_for(&self, thread: u32) -> Option<(Notification, Option<CalledOff>)> {
        let queue = lock(&self.queue);
        queue.busy.iter().find(|busy| busy.thread == thread).map(|busy| (busy.call, busy.called_off))
    }

    /// Answers the call that the thread was at work for, or keeps the outcome for the case that it is made again. All
    /// under the lock, so that it is always either taken over or found done.
    fn answer(&self, thread: u32, done: Result<i64, Errno>) {
        let mut queue = lock(&self.queue);
        let Some(at) = queue.busy.iter().position(|busy| busy.thread == thread) else { return };
        let Busy { call, process, content, raises, .. } = queue.busy.swap_remove(at);
        let raise = || process::kill_thread(process, call.thread, libc::SIGPIPE);
        let broken = raises && done == Err(Errno(libc::EPIPE)) && self.listener.still_waits(call.id);
        if broken && self.waits_killable {
            // It comes when the call has returned; older kernels would take the caller out of its wait.
            let _ = raise();
        }
        let answered = match done {
            Ok(value) => self.listener.succeed(call.id, value),
            Err(error) => self.listener.fail(call.id, error),
        };
        if broken && !self.waits_killable {
            let _ = raise();
        }
        if let (Ok(value), Err(Errno::ENOENT)) = (done, answered) {
            self.undelivered.remember_digest(&call, content, value);
        }
        if !queue.jobs.is_empty() {
            // One of somebody who had their share at work may have its turn now.
            self.work.notify_one();
        }
    }

    /// The next job, from when on the thread is at work.
    fn next(&self, thread: u32) -> Job {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(job) = queue.next(thread) {
                return job;
            }
            queue.idle += 1;
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle = queue.idle.saturating_sub(1);
        }
    }

    /// Carries a job out until it is done or called off. A signal that was meant for what the thread did before breaks
    /// nothing off.
    fn see_through(&self, thread: u32, job: &Job) -> Result<i64, Errno> {
        if !self.listener.still_waits(job.call.id) {
            return Err(Errno(libc::EINTR));
        }
        loop {
            // Made at least once, so that what goes on by itself has begun.
            let done = self.carry_out(job);
            if done != Err(Errno(libc::EINTR)) {
                return done;
            }
            match self.at_work_for(thread) {
                Some((_, Some(why))) => {
                    if let Task::Connect { release: Some(inode), .. } = job.task {
                        self.registry.watch(inode);
                    }
                    return Err(broken_off(job, why));
                }
                Some((call, None)) if self.listener.still_waits(call.id) => {}
                _ => return done,
            }
        }
    }

    fn carry_out(&self, job: &Job) -> Result<i64, Errno> {
        match &job.task {
            Task::Connect { address, release } => {
                let connected = socket::connect(job.socket.as_fd(), address);
                if let (Ok(()) | Err(Errno(libc::EISCONN)), Some(inode)) = (connected, *release) {
                    self.registry.release(inode);
                }
                connected.map(|()| 0)
            }
            Task::Send { address, data, control, flags, .. } => {
                let parcel = Parcel { address, data, control, flags: *flags };
                let sent = socket::send(job.socket.as_fd(), &parcel);
                sent.map(|sent| i64::try_from(sent).unwrap_or(0))
            }
            Task::Open { flags, close_on_exec } => {
                open::open_waiting(&self.listener, job.call.id, &job.socket, *flags, *close_on_exec)
            }
        }
    }
}

/// What a call comes to that was broken off before it came to anything, as socket(7) and signal(7) have it: with a time limit
/// `EINTR` whatever the handler. Where nobody waits any more it reaches nobody.
fn broken_off(job: &Job, why: CalledOff) -> Errno {
    let has_limit = match job.task {
        Task::Connect { .. } | Task::Send { .. } => !socket::waits_for_ever(job.socket.as_fd()),
        Task::Open { .. } => false,
    };
    if why == CalledOff::Signalled && !has_limit { seccomp::RESTART } else { Errno(libc::EINTR) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(account: Account, content: u64) -> Job {
        let socket = socket::create(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap();
        let task = Task::Connect { address: Vec::new(), release: None };
        let mut call = Notification::default();
        call.thread = 7;
        Job { call, process: 7, account, content, since: Instant::now(), socket, task }
    }

    #[test]
    fn nobody_takes_all_the_threads() {
        let mut queue = Queue::default();
        (0..200).for_each(|_| queue.jobs.push_back(job(Account::Tree(2), 0)));
        queue.jobs.push_back(job(Account::Runtime(1), 0));
        let taken: Vec<_> = (0..200).map_while(|thread| queue.next(thread)).collect();
        assert_eq!(taken.len(), 49);
        assert_eq!(taken.last().map(|job| job.account), Some(Account::Runtime(1)), "though it came last");
        queue.busy.remove(0);
        assert_eq!(queue.next(0).map(|job| job.account), Some(Account::Tree(2)), "when one is done");
    }

    #[test]
    fn nobody_takes_all_the_room() {
        let (runtime, mut queue) = (Account::Runtime(1), Queue::default());
        for tree in 1..500 {
            while queue.has_room_for(Account::Tree(tree)) {
                queue.jobs.push_back(job(Account::Tree(tree), 0));
            }
        }
        assert!(queue.jobs.len() == 192 && queue.has_room_for(runtime));
        (0..64).for_each(|_| queue.jobs.push_back(job(runtime, 0)));
        assert!(!queue.has_room_for(runtime));
    }

    #[test]
    fn who_looks_for_signals_begins_where_nobody_else_does() {
        let mut queue = Queue::default();
        (1..4).for_each(|id| {
            let mut job = job(Account::Tree(2), 0);
            job.call.id = id;
            queue.jobs.push_back(job);
        });
        let first = |queue: &mut Queue| {
            queue.looked = None;
            queue.begin_look(Instant::now()).0[0].call.id
        };
        assert_eq!(
            [(); 4].map(|()| first(&mut queue)),
            [1, 2, 3, 1],
            "though none of them has come to an end"
        );
        assert!(queue.begin_look_at(1) && queue.begin_look_at(2));
        assert!(!queue.begin_look_at(1), "somebody is kept waiting there");
        queue.end_look_at(1);
        assert!(queue.begin_look_at(1));
    }

    #[test]
    fn messages_that_wait_hold_few_descriptors() {
        let mut queue = Queue::default();
        let mut with = |count| {
            let held =
                (0..count).map(|_| socket::create(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap()).collect();
            let task =
                Task::Send { address: vec![], data: vec![], control: vec![], held, flags: 0, raises: false };
            queue.jobs.push_back(Job { task, ..job(Account::Runtime(1), 0) });
            queue.may_hold(1)
        };
        assert!(with(40) && with(23) && !with(1));
        queue.next(1);
        assert!(!queue.may_hold(1), "one that is at work holds them still");
        assert!(queue.may_hold(0));
    }

    #[test]
    fn a_call_that_is_made_again_is_known_by_what_it_sends() {
        let mut queue = Queue::default();
        queue.jobs.push_back(job(Account::Runtime(7), 42));
        let busy = queue.next(1).map(|_| queue.busy[0]).unwrap();
        let mut again = busy.call;
        again.id = 9;
        assert!(busy.is_asked_again(&again, 42) && !busy.is_asked_again(&again, 43));
        again.arguments[0] = 1;
        assert!(!busy.is_asked_again(&again, 42));
    }
}

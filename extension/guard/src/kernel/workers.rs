//! Threads for what may wait: a blocking connect or send on behalf of a target.
//!
//! They are started when first needed and bounded in number, and nobody may take all of them ([`super::shares`]); what does
//! not fit into the queue is refused for the moment. A worker carries out one call that was decided already, answers, and
//! knows no policy.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::open;
use super::registry::Registry;
use super::shares::Account;
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
/// How often it is looked whether somebody still waits for the workers, in milliseconds.
pub const LOOK: i32 = 100;

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
    /// The target's socket, or the file that it opens.
    pub socket: OwnedFd,
    /// What to do.
    pub task: Task,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    busy: Vec<Busy>,
}

impl Queue {
    /// The next job of somebody who has not their share of threads at work.
    fn next(&mut self, thread: u32) -> Option<Job> {
        let at_work = || self.busy.iter().map(|busy| busy.account);
        let at = self.jobs.iter().position(|job| job.account.may_take_one(at_work(), MAX_THREADS))?;
        let job = self.jobs.remove(at)?;
        let &Job { call, process, account, content, .. } = &job;
        let raises = matches!(job.task, Task::Send { raises: true, .. });
        let descriptors = job.task.descriptors();
        self.busy.push(Busy { thread, call, process, account, content, raises, descriptors });
        Some(job)
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

/// The content of a mutex, whether or not a thread died with it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

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
        same.map(|busy| busy.call = *call).is_some()
    }

    /// Calls off work for which nobody waits any more: the target was interrupted or has died.
    pub fn interrupt_abandoned(&self) {
        let queue = lock(&self.0.queue);
        for busy in queue.busy.iter().filter(|busy| !self.0.listener.still_waits(busy.call.id)) {
            let _ = process::kill_thread(process::own(), busy.thread, CALL_OFF);
        }
    }

    /// When to look at the workers again, in milliseconds; `None` while they are idle.
    #[must_use]
    pub fn patience(&self) -> Option<i32> {
        let queue = lock(&self.0.queue);
        (!queue.busy.is_empty() || !queue.jobs.is_empty()).then_some(LOOK)
    }

    fn start(&self) -> bool {
        let shared = Arc::clone(&self.0);
        std::thread::Builder::new().stack_size(STACK).spawn(move || shared.work()).is_ok()
    }
}

impl Shared {
    fn work(&self) {
        loop {
            let thread = process::thread_id();
            let job = self.next(thread);
            // A panic is a bug of ours; the target gets an error and the thread lives on.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.carry_out(job)));
            self.answer(thread, done.unwrap_or(Err(Errno::EPERM)));
        }
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

    fn carry_out(&self, job: Job) -> Result<i64, Errno> {
        if !self.listener.still_waits(job.call.id) {
            return Err(Errno(libc::EINTR));
        }
        match job.task {
            Task::Connect { address, release } => {
                let connected = socket::connect(job.socket.as_fd(), &address);
                if let (Ok(()) | Err(Errno(libc::EISCONN)), Some(inode)) = (connected, release) {
                    self.registry.release(inode);
                }
                connected.map(|()| 0)
            }
            Task::Send { address, data, control, held, flags, .. } => {
                let parcel = Parcel { address: &address, data: &data, control: &control, flags };
                let sent = socket::send(job.socket.as_fd(), &parcel);
                drop(held);
                sent.map(|sent| i64::try_from(sent).unwrap_or(0))
            }
            Task::Open { flags, close_on_exec } => {
                open::open_waiting(&self.listener, job.call.id, &job.socket, flags, close_on_exec)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(account: Account, content: u64) -> Job {
        let socket = socket::create(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap();
        let task = Task::Connect { address: Vec::new(), release: None };
        let mut call = Notification::default();
        call.thread = 7;
        Job { call, process: 7, account, content, socket, task }
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

//! Threads for what may wait: a blocking connect or send on behalf of a target.
//!
//! They are started when first needed and bounded in number; what does not fit into the queue is refused for the
//! moment. A worker carries out one call that was decided already, answers, and knows no policy.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::open;
use super::registry::Registry;
use crate::sys::seccomp::Listener;
use crate::sys::socket::{self, Parcel};
use crate::sys::{Errno, process};

/// Dead hosts hold a thread each for up to two minutes, and those behind them must not wait for that.
const MAX_THREADS: usize = 128;
const MAX_QUEUED: usize = 256;
const STACK: usize = 64 * 1024;
/// Interrupts a worker's call. Nothing else sends it to the guard.
const CALL_OFF: i32 = libc::SIGURG;
/// How often it is looked whether somebody still waits for the workers, in milliseconds.
const LOOK: i32 = 100;

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
        /// `MSG_*`.
        flags: i32,
    },
    /// open(2) of a pinned file.
    Open {
        /// `O_*`.
        flags: i32,
        /// Whether the target's descriptor is closed at exec.
        close_on_exec: bool,
    },
}

/// A task, for whom, and on which socket.
#[derive(Debug)]
pub struct Job {
    /// The notification to answer.
    pub id: u64,
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

/// A worker at work.
#[derive(Debug, Clone, Copy)]
struct Busy {
    thread: u32,
    id: u64,
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
    registry: Arc<Mutex<Registry>>,
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
    pub fn new(listener: Arc<Listener>, registry: Arc<Mutex<Registry>>) -> Self {
        let queue = Mutex::new(Queue { jobs: VecDeque::with_capacity(MAX_QUEUED), ..Queue::default() });
        Self(Arc::new(Shared { queue, work: Condvar::new(), listener, registry }))
    }

    /// Hands a job over. Returns whether there was none before.
    ///
    /// # Errors
    /// `EAGAIN` where too many wait already, or no thread can be started.
    pub fn submit(&self, job: Job) -> Result<bool, Errno> {
        let mut queue = lock(&self.0.queue);
        if queue.jobs.len() >= MAX_QUEUED {
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

    /// Calls off work for which nobody waits any more: the target was interrupted or has died.
    pub fn interrupt_abandoned(&self) {
        let queue = lock(&self.0.queue);
        for busy in queue.busy.iter().filter(|busy| !self.0.listener.still_waits(busy.id)) {
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
            let id = job.id;
            // A panic is a bug of ours; the target gets an error and the thread lives on.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.carry_out(job)));
            lock(&self.queue).busy.retain(|busy| busy.thread != thread);
            let _ = match done {
                Ok(Ok(value)) => self.listener.succeed(id, value),
                Ok(Err(error)) => self.listener.fail(id, error),
                Err(_) => self.listener.fail(id, Errno::EPERM),
            };
        }
    }

    /// The next job, from when on the thread is at work.
    fn next(&self, thread: u32) -> Job {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                queue.busy.push(Busy { thread, id: job.id });
                return job;
            }
            queue.idle += 1;
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle = queue.idle.saturating_sub(1);
        }
    }

    fn carry_out(&self, job: Job) -> Result<i64, Errno> {
        if !self.listener.still_waits(job.id) {
            return Err(Errno(libc::EINTR));
        }
        match job.task {
            Task::Connect { address, release } => {
                let connected = socket::connect(job.socket.as_fd(), &address);
                if let (Ok(()) | Err(Errno(libc::EISCONN)), Some(inode)) = (connected, release) {
                    lock(&self.registry).release(inode);
                }
                connected.map(|()| 0)
            }
            Task::Send { address, data, flags } => {
                let parcel = Parcel { address: &address, data: &data, control: &[], flags };
                socket::send(job.socket.as_fd(), &parcel).map(|sent| i64::try_from(sent).unwrap_or(0))
            }
            Task::Open { flags, close_on_exec } => {
                open::open_waiting(&self.listener, job.id, &job.socket, flags, close_on_exec)
            }
        }
    }
}

//! Telemetry: which process subscribed to what, and the delivery of batches.
//!
//! Decides when a batch is full and what is dropped when a subscriber does not take it. One thread a subscriber,
//! a bounded queue each. Called by the log stream (publish) and the Telemetry API (subscribe).

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use crate::clock::rfc3339;

/// Records that a subscriber may be behind before the oldest are dropped.
const QUEUE_MAX: usize = 20_000;
/// Records of the init phase that a late subscriber still gets.
const BACKLOG_MAX: usize = 1_000;
/// How long a subscriber may take for one batch.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(1);

/// Connects to an address of the sandbox.
type Connector = Box<dyn Fn(SocketAddr) -> io::Result<TcpStream> + Send + Sync>;

/// How the Telemetry API behaves, for tests of its users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TelemetryMode {
    /// As on Lambda.
    #[default]
    On,
    /// As the Runtime Interface Emulator's classic mode: 202 `NotSupported`.
    Off,
    /// A subscription is never answered.
    Silent,
}

/// A subscription as the API accepted it.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) name: String,
    pub(crate) types: Vec<String>,
    pub(crate) destination: SocketAddr,
    pub(crate) path: String,
    pub(crate) max_items: usize,
    pub(crate) max_bytes: usize,
    pub(crate) timeout: Duration,
}

/// All subscribers of the environment.
#[derive(Default)]
pub(crate) struct Telemetry {
    pub(crate) mode: TelemetryMode,
    hub: Mutex<Hub>,
    connector: Arc<OnceLock<Connector>>,
}

#[derive(Default)]
struct Hub {
    subscribers: Vec<Arc<Subscriber>>,
    /// What was published since the environment began to start.
    backlog: Vec<(&'static str, String)>,
}

struct Subscriber {
    subscription: Subscription,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    records: VecDeque<String>,
    bytes: usize,
    since: Option<Instant>,
    dropped: (usize, usize),
    delivering: bool,
    hurry: bool,
    closed: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Telemetry {
    pub(crate) fn new(mode: TelemetryMode) -> Self {
        Self { mode, ..Self::default() }
    }

    /// Says how addresses of the sandbox are reached. Only the first call counts.
    pub(crate) fn connect_with(&self, connector: Connector) {
        let _ = self.connector.set(connector);
    }

    /// Passes a record to every subscriber of its type.
    pub(crate) fn publish(&self, kind: &'static str, event: &str) {
        let mut hub = locked(&self.hub);
        for subscriber in &hub.subscribers {
            subscriber.offer(kind, event);
        }
        if hub.backlog.len() < BACKLOG_MAX {
            hub.backlog.push((kind, event.to_owned()));
        }
    }

    /// Adds a subscriber, which also gets what was published since the environment began to start. A second
    /// subscription of an extension replaces its first.
    pub(crate) fn subscribe(&self, subscription: Subscription) {
        let subscriber =
            Arc::new(Subscriber { subscription, queue: Mutex::default(), changed: Condvar::new() });
        let mut hub = locked(&self.hub);
        for (kind, event) in &hub.backlog {
            subscriber.offer(kind, event);
        }
        let name = &subscriber.subscription.name;
        for earlier in hub.subscribers.extract_if(.., |s| s.subscription.name == *name) {
            earlier.close();
        }
        hub.subscribers.push(Arc::clone(&subscriber));
        drop(hub);
        let connector = Arc::clone(&self.connector);
        thread::spawn(move || subscriber.deliver(&connector));
    }

    pub(crate) fn is_subscribed(&self, name: &str) -> bool {
        locked(&self.hub).subscribers.iter().any(|s| s.subscription.name == name)
    }

    /// A new environment begins: old subscribers are gone, and so is what they could have been told.
    pub(crate) fn begin(&self) {
        let mut hub = locked(&self.hub);
        for subscriber in hub.subscribers.drain(..) {
            subscriber.close();
        }
        hub.backlog.clear();
    }

    /// Delivers what waits, at most until `deadline`.
    pub(crate) fn hurry(&self, deadline: Instant) {
        let subscribers = locked(&self.hub).subscribers.clone();
        for subscriber in subscribers {
            subscriber.hurry(deadline);
        }
    }
}

impl Subscriber {
    fn close(&self) {
        locked(&self.queue).closed = true;
        self.changed.notify_all();
    }

    fn offer(&self, kind: &str, event: &str) {
        if !self.subscription.types.iter().any(|t| t == kind) {
            return;
        }
        let text = event.to_owned();
        let mut queue = locked(&self.queue);
        queue.bytes += text.len();
        queue.records.push_back(text);
        queue.since.get_or_insert_with(Instant::now);
        while queue.records.len() > QUEUE_MAX {
            let lost = queue.records.pop_front().map_or(0, |r| r.len());
            queue.bytes -= lost;
            queue.dropped = (queue.dropped.0 + 1, queue.dropped.1 + lost);
        }
        drop(queue);
        self.changed.notify_all();
    }

    fn hurry(&self, deadline: Instant) {
        let mut queue = locked(&self.queue);
        queue.hurry = true;
        self.changed.notify_all();
        while (queue.delivering || !queue.records.is_empty()) && !queue.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            queue = self.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.hurry = false;
    }

    fn deliver(&self, connector: &OnceLock<Connector>) {
        while let Some(batch) = self.next_batch() {
            let count = batch.len();
            let body = format!("[{}]", batch.join(","));
            let sent = self.send(connector, &body);
            let mut queue = locked(&self.queue);
            queue.delivering = false;
            if sent.is_err() {
                queue.dropped = (queue.dropped.0 + count, queue.dropped.1 + body.len());
            }
            drop(queue);
            self.changed.notify_all();
        }
    }

    /// Waits until a batch is full or old enough; `None` when the subscriber is gone.
    fn next_batch(&self) -> Option<Vec<String>> {
        let limits = &self.subscription;
        let mut queue = locked(&self.queue);
        loop {
            if queue.closed {
                return None;
            }
            let full = queue.records.len() >= limits.max_items || queue.bytes >= limits.max_bytes;
            let age = queue.since.map(|since| since.elapsed());
            let left = age.map(|age| limits.timeout.saturating_sub(age));
            if !queue.records.is_empty() && (full || queue.hurry || left.is_some_and(|l| l.is_zero())) {
                return Some(take(&mut queue, limits));
            }
            let patience = left.unwrap_or(Duration::from_mins(1));
            queue = self.changed.wait_timeout(queue, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn send(&self, connector: &OnceLock<Connector>, body: &str) -> io::Result<()> {
        let connect = connector.get().ok_or(io::ErrorKind::NotConnected)?;
        let mut stream = connect(self.subscription.destination)?;
        stream.set_read_timeout(Some(DELIVERY_PATIENCE))?;
        stream.set_write_timeout(Some(DELIVERY_PATIENCE))?;
        stream.set_nodelay(true)?;
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: sandbox.localdomain:{}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.subscription.path,
            self.subscription.destination.port(),
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = [0u8; 1024];
        if stream.read(&mut answer)? == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

fn take(queue: &mut Queue, limits: &Subscription) -> Vec<String> {
    let mut batch = Vec::new();
    if queue.dropped.0 > 0 {
        let record = json!({"reason": "Consumer seems to have fallen behind", "droppedRecords": queue.dropped.0,
            "droppedBytes": queue.dropped.1});
        let now = rfc3339(SystemTime::now());
        batch.push(json!({"time": now, "type": "platform.logsDropped", "record": record}).to_string());
        queue.dropped = (0, 0);
    }
    let mut bytes = 0;
    while batch.len() < limits.max_items && (bytes < limits.max_bytes || batch.is_empty()) {
        let Some(record) = queue.records.pop_front() else { break };
        queue.bytes -= record.len();
        bytes += record.len();
        batch.push(record);
    }
    queue.since = (!queue.records.is_empty()).then(Instant::now);
    queue.delivering = true;
    batch
}

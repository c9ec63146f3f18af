//! Where the environment stands: its generation, its extensions, its runtime, its invocations.
//!
//! Decides nothing by itself: plain data behind one lock, with a condition variable that every change signals.
//! The APIs write into it, the life cycle waits on it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::records::LogStream;
use crate::sandbox::Exit;

/// What the function's configuration says.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) function: String,
    pub(crate) handler: String,
    pub(crate) memory_mb: u32,
    pub(crate) timeout: Duration,
    pub(crate) concurrency: usize,
    /// Managed Instances: SHUTDOWN only, telemetry 2025-01-29 only.
    pub(crate) managed: bool,
    pub(crate) runtime_version: String,
}

impl Settings {
    pub(crate) fn arn(&self) -> String {
        format!("arn:aws:lambda:eu-west-1:{ACCOUNT}:function:{}", self.function)
    }
}

/// The account that the local function belongs to: the one of AWS's own examples.
pub(crate) const ACCOUNT: &str = "123456789012";

/// What the environment is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Stage {
    #[default]
    Down,
    Init,
    Up,
    ShuttingDown,
}

/// One registered or expected extension.
#[derive(Debug, Default)]
pub(crate) struct Extension {
    pub(crate) name: String,
    /// What it identifies itself with, given at registration.
    pub(crate) identifier: Option<String>,
    /// The sandbox's name for its process; `None` for an internal extension.
    pub(crate) process: Option<u32>,
    pub(crate) invoke: bool,
    pub(crate) shutdown: bool,
    /// It waits in /event/next.
    pub(crate) waiting: bool,
    /// When it last came to /event/next.
    pub(crate) idle_since: Option<Instant>,
    pub(crate) events: VecDeque<Value>,
    pub(crate) exit: Option<Exit>,
    /// The error type that it reported on /init/error or /exit/error.
    pub(crate) error: Option<String>,
}

impl Extension {
    /// It has nothing left to do.
    pub(crate) fn idle(&self) -> bool {
        self.waiting && self.events.is_empty()
    }

    pub(crate) fn subscriptions(&self) -> Vec<&'static str> {
        let invoke = self.invoke.then_some("INVOKE");
        invoke.into_iter().chain(self.shutdown.then_some("SHUTDOWN")).collect()
    }
}

/// The runtime process.
#[derive(Debug, Default)]
pub(crate) struct Runtime {
    pub(crate) process: Option<u32>,
    pub(crate) exit: Option<Exit>,
    /// Callers of /next that wait, in the order in which they came.
    pub(crate) parked: VecDeque<u64>,
    /// It has called /next in this generation.
    pub(crate) ready: bool,
    /// When it last did.
    pub(crate) asked_at: Option<Instant>,
    pub(crate) init_error: Option<Value>,
}

/// What the runtime said about an invocation.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) success: bool,
    pub(crate) payload: Vec<u8>,
    pub(crate) at: Instant,
}

/// One invocation that has not ended.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) payload: Arc<Vec<u8>>,
    /// Set when it is offered to the runtime.
    pub(crate) deadline_ms: u64,
    pub(crate) trace: String,
    /// When a runtime took it.
    pub(crate) taken: Option<Instant>,
    pub(crate) answer: Option<Answer>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) generation: u64,
    pub(crate) stage: Stage,
    pub(crate) extensions: Vec<Extension>,
    pub(crate) runtime: Runtime,
    /// Request ids that wait for a runtime.
    pub(crate) offered: VecDeque<String>,
    pub(crate) invocations: BTreeMap<String, Invocation>,
    /// The run was asked to end.
    pub(crate) interrupted: bool,
    pub(crate) tickets: u64,
}

impl State {
    /// The request id that a printed line belongs to: that of the only running invocation, or where several run, the
    /// one that a JSON line names.
    pub(crate) fn request_of(&self, line: &str) -> Option<String> {
        let mut ids = self.invocations.keys();
        match (ids.next(), ids.next()) {
            (only, None) => only.cloned(),
            _ => named_request(line).filter(|id| self.invocations.contains_key(id)),
        }
    }

    pub(crate) fn extension(&mut self, identifier: &str) -> Option<&mut Extension> {
        self.extensions.iter_mut().find(|e| e.identifier.as_deref() == Some(identifier))
    }

    /// Notes the end of a process of this generation.
    pub(crate) fn note_exit(&mut self, exit: Exit) {
        if self.runtime.process == Some(exit.id) {
            self.runtime.exit = Some(exit);
        }
        for extension in self.extensions.iter_mut().filter(|e| e.process == Some(exit.id)) {
            extension.exit = Some(exit);
        }
    }
}

/// Where structured log lines of functions, and Ringfence's own records, have the request id.
fn named_request(line: &str) -> Option<String> {
    let json: Value = serde_json::from_str(line).ok()?;
    let places = ["/requestId", "/AWSRequestId", "/ringfence/invocation/requestId"];
    places.iter().find_map(|place| json.pointer(place)?.as_str().map(str::to_owned))
}

/// Why a wait ended without what was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    TimedOut,
    Interrupted,
}

/// What all threads of the service share.
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    pub(crate) settings: Settings,
    pub(crate) log: LogStream,
}

impl Shared {
    pub(crate) fn new(settings: Settings, log: LogStream) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), settings, log }
    }

    /// The state, for reading or for a change that no thread waits for.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes every thread that waits.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.changed.notify_all();
        result
    }

    /// Waits until `check` gives something, at most until `deadline`.
    pub(crate) fn wait<T>(
        &self,
        deadline: Instant,
        mut check: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, Waited> {
        let mut state = self.state();
        loop {
            if let Some(found) = check(&mut state) {
                return Ok(found);
            }
            if state.interrupted {
                return Err(Waited::Interrupted);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Waited::TimedOut);
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a change, at most as long as given. A handler that parks a client uses it to look after the connection.
    pub(crate) fn pause<'a>(&self, state: MutexGuard<'a, State>, at_most: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, at_most).unwrap_or_else(PoisonError::into_inner).0
    }
}

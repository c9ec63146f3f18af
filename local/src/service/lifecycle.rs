//! The life of the environment: init, invocations, resets, shutdown.
//!
//! Decides when init is over, what fails an invocation and what follows a failure, in the order in which Lambda does
//! it. Every wait has a deadline. Called by the run; acts through the sandbox, watches the shared state.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::launch::Launch;
use super::pipes::{Form, Pipes};
use super::records::Origin;
use super::state::{Extension, Runtime, Shared, Stage, State, Waited};
use crate::sandbox::Sandbox;
use crate::sandbox::plan::StartPlan;

/// Lambda's limit for the init phase; after it, init is tried again within the first invocation.
const INIT_LIMIT: Duration = Duration::from_secs(10);
/// Lambda's limit for the shutdown phase in all.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);
/// The runtime's part of it, where there are extensions.
const RUNTIME_SHUTDOWN: Duration = Duration::from_millis(300);
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// Why an environment is shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Spindown,
    Timeout,
    Failure,
}

impl Reason {
    fn text(self) -> &'static str {
        match self {
            Self::Spindown => "SPINDOWN",
            Self::Timeout => "TIMEOUT",
            Self::Failure => "FAILURE",
        }
    }
}

/// What broke the environment.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) reason: Reason,
    /// errorType and errorMessage, as the caller of the function gets them.
    pub(crate) error: Value,
}

impl Fault {
    pub(crate) fn kind(&self) -> &str {
        self.error.get("errorType").and_then(Value::as_str).unwrap_or_default()
    }
}

/// The environment of one run.
pub(crate) struct Lifecycle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) pipes: Arc<Pipes>,
    launch: Launch,
    names: AtomicU32,
    /// Starting and stopping excludes invocations.
    pub(crate) gate: RwLock<()>,
    /// The thread that finds the environment down starts it; the others wait here, not at the gate, which invocations hold.
    starting: Mutex<()>,
    /// Peak over the run, in KiB.
    peak: AtomicU64,
}

impl Lifecycle {
    pub(crate) fn new(shared: Arc<Shared>, sandbox: Arc<Sandbox>, pipes: Arc<Pipes>, launch: Launch) -> Self {
        let (names, peak) = (AtomicU32::new(0), AtomicU64::new(0));
        Self { shared, sandbox, pipes, launch, names, gate: RwLock::new(()), starting: Mutex::new(()), peak }
    }

    /// The most memory that the environment was seen to use, in MB.
    pub(crate) fn peak_mb(&self) -> u64 {
        let now = self.sandbox.memory_kib().unwrap_or(0);
        self.peak.fetch_max(now, Ordering::Relaxed).max(now).div_ceil(1024)
    }

    /// Brings the environment up when it is not. Returns how long init took, `None` for a warm environment.
    pub(crate) fn ensure_up(&self, retry: bool) -> Result<Option<Duration>, Fault> {
        let up = || self.shared.state().stage == Stage::Up;
        if up() {
            return Ok(None);
        }
        let _first = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        if up() {
            return Ok(None);
        }
        let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let (limit, phase) =
            if retry { (self.shared.settings.timeout, "invoke") } else { (INIT_LIMIT, "init") };
        let begun = Instant::now();
        let result = self.init(begun + limit, phase);
        self.pipes.flush();
        let took = begun.elapsed();
        self.init_report(phase, took, result.as_ref().err());
        match result {
            Ok(()) => Ok(Some(took)),
            Err(fault) => {
                self.shut_down(fault.reason);
                Err(fault)
            }
        }
    }

    fn init(&self, deadline: Instant, phase: &'static str) -> Result<(), Fault> {
        let settings = &self.shared.settings;
        self.shared.log.telemetry.begin();
        self.shared.change(|state| begin(state, &self.launch.extensions));
        self.platform(
            "platform.initStart",
            &json!({"initializationType": self.kind(), "phase": phase,
            "runtimeVersion": settings.runtime_version, "functionName": settings.function,
            "functionVersion": "$LATEST", "instanceMaxMemory": u64::from(settings.memory_mb) << 20}),
        );
        for name in &self.launch.extensions {
            self.start_extension(name)?;
        }
        self.await_init(deadline, |state| state.extensions.iter().all(|e| e.identifier.is_some()))?;
        self.start_runtime()?;
        let runtime = self.await_init(deadline, |state| state.runtime.ready);
        self.pipes.flush();
        let status = if runtime.is_ok() { "success" } else { "error" };
        self.platform(
            "platform.initRuntimeDone",
            &json!({"initializationType": self.kind(), "phase": phase,
            "status": status}),
        );
        runtime?;
        self.await_init(deadline, |state| state.extensions.iter().all(Extension::idle))?;
        self.shared.change(|state| state.stage = Stage::Up);
        Ok(())
    }

    fn kind(&self) -> &'static str {
        if self.shared.settings.managed { "lambda-managed-instances" } else { "on-demand" }
    }

    fn platform(&self, event: &'static str, record: &Value) {
        self.shared.log.emit(Origin::Platform(event), None, record);
    }

    fn init_report(&self, phase: &str, took: Duration, fault: Option<&Fault>) {
        let mut record = json!({"initializationType": self.kind(), "phase": phase, "status": "success",
            "metrics": {"durationMs": milliseconds(took)}});
        if let (Some(fault), Some(fields)) = (fault, record.as_object_mut()) {
            fields.insert("status".into(), status(fault.reason).into());
            fields.insert("errorType".into(), fault.kind().into());
        }
        self.platform("platform.initReport", &record);
    }

    fn start_extension(&self, name: &str) -> Result<(), Fault> {
        let process = self.names.fetch_add(1, Ordering::Relaxed);
        self.shared.change(|state| {
            for extension in state.extensions.iter_mut().filter(|e| e.name == name) {
                extension.process = Some(process);
            }
        });
        let plan = self.launch.extension(name, &self.shared.settings);
        let started = self.start(process, plan, Origin::Extension);
        started.map_err(|e| crash("Extension.LaunchError", &format!("{name}: {e}")))
    }

    fn start_runtime(&self) -> Result<(), Fault> {
        let process = self.names.fetch_add(1, Ordering::Relaxed);
        self.shared.change(|state| state.runtime.process = Some(process));
        let started = self.start(process, self.launch.runtime(&self.shared.settings), Origin::Function);
        started.map_err(|e| crash("Runtime.InvalidEntrypoint", &e.to_string()))
    }

    /// Starts a process and has everything read that it writes.
    fn start(&self, process: u32, plan: StartPlan, origin: Origin) -> std::io::Result<()> {
        tracing::debug!(target: "local", process, program = plan.argv.first(), variables = plan.env.len(), "a process is started");
        let written = self.sandbox.spawn(process, plan)?;
        self.pipes.add(written.output, origin, Form::Lines)?;
        self.pipes.add(written.errors, origin, Form::Lines)?;
        written.log.map_or(Ok(()), |log| self.pipes.add(log, origin, Form::Frames))
    }

    fn await_init(&self, deadline: Instant, done: impl Fn(&State) -> bool) -> Result<(), Fault> {
        let waited = self.shared.wait(deadline, |state| {
            if let Some(fault) = fault(state) {
                return Some(Err(fault));
            }
            done(state).then_some(Ok(()))
        });
        match waited {
            Ok(result) => result,
            Err(Waited::TimedOut) => {
                let seconds = self.shared.settings.timeout.as_secs_f64();
                Err(Fault {
                    reason: Reason::Timeout,
                    ..crash("Sandbox.Timedout", &format!("Task timed out after {seconds:.2} seconds"))
                })
            }
            Err(Waited::Interrupted) => Err(crash("Sandbox.Interrupted", "interrupted")),
        }
    }

    /// Ends the environment in Lambda's order: the runtime, then the extensions, then whatever is left.
    pub(crate) fn shut_down(&self, reason: Reason) {
        let begun = Instant::now();
        let (runtime, external) = self.shared.change(|state| {
            state.stage = Stage::ShuttingDown;
            (state.runtime.process, state.extensions.iter().any(|e| e.process.is_some()))
        });
        if let Some(process) = runtime {
            self.end_runtime(process, reason == Reason::Spindown && external, begun);
        }
        if external {
            self.end_extensions(reason, begun + SHUTDOWN_LIMIT);
        }
        let _ = self.sandbox.kill_all();
        self.pipes.flush();
        self.shared.log.telemetry.begin();
        self.shared.change(|state| {
            let (generation, interrupted) = (state.generation + 1, state.interrupted);
            let invocations = std::mem::take(&mut state.invocations);
            *state = State { generation, invocations, interrupted, ..State::default() };
        });
    }

    fn end_runtime(&self, process: u32, gently: bool, begun: Instant) {
        if gently {
            let _ = self.sandbox.signal(process, SIGTERM);
            let ended = |state: &mut State| state.runtime.exit.is_some().then_some(());
            let _ = self.shared.wait(begun + RUNTIME_SHUTDOWN, ended);
        }
        let _ = self.sandbox.signal(process, SIGKILL);
        self.pipes.flush();
    }

    fn end_extensions(&self, reason: Reason, deadline: Instant) {
        self.shared.log.telemetry.hurry(Instant::now() + Duration::from_millis(200));
        let left = deadline.saturating_duration_since(Instant::now());
        let deadline_ms = crate::clock::epoch_ms(std::time::SystemTime::now() + left);
        let event =
            json!({"eventType": "SHUTDOWN", "shutdownReason": reason.text(), "deadlineMs": deadline_ms});
        self.shared.change(|state| {
            for extension in state.extensions.iter_mut().filter(|e| e.shutdown) {
                extension.events.push_back(event.clone());
            }
        });
        let _ = self.shared.wait(deadline, |state| {
            let mut told = state.extensions.iter().filter(|e| e.shutdown && e.process.is_some());
            told.all(|e| e.exit.is_some()).then_some(())
        });
    }
}

/// A fresh environment: the extensions that have to register, and nothing else known.
fn begin(state: &mut State, extensions: &[String]) {
    state.generation += 1;
    state.stage = Stage::Init;
    state.runtime = Runtime::default();
    let expected = extensions.iter().map(|name| Extension { name: name.clone(), ..Extension::default() });
    state.extensions = expected.collect();
}

/// What is wrong with a running environment: outside shutdown no process may end.
pub(crate) fn fault(state: &State) -> Option<Fault> {
    for extension in &state.extensions {
        if let Some(kind) = &extension.error {
            return Some(crash(kind, &format!("Extension {} reported an error", extension.name)));
        }
        if let Some(exit) = extension.exit {
            return Some(crash("Extension.Crash", &format!("Extension {} exited: {exit}", extension.name)));
        }
    }
    if let Some(error) = &state.runtime.init_error {
        return Some(Fault { reason: Reason::Failure, error: error.clone() });
    }
    let exit = state.runtime.exit?;
    Some(crash("Runtime.ExitError", &format!("Error: Runtime exited with error: {exit}")))
}

fn crash(kind: &str, message: &str) -> Fault {
    Fault { reason: Reason::Failure, error: json!({"errorType": kind, "errorMessage": message}) }
}

/// The word that platform records have for a reason.
pub(crate) fn status(reason: Reason) -> &'static str {
    match reason {
        Reason::Spindown => "success",
        Reason::Timeout => "timeout",
        Reason::Failure => "error",
    }
}

/// Milliseconds with three decimals.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

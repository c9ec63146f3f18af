//! One invocation, from the event to the last extension's /next, and the records about it.
//!
//! Decides between success, error and timeout, and whether the environment survives. Called by the run, from several
//! threads at once on Managed Instances.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use serde_json::{Value, json};

use super::lifecycle::{Fault, Lifecycle, Reason, fault, milliseconds, status};
use super::records::Origin;
use super::state::{Answer, Invocation, Stage, State, Waited};
use crate::clock::{epoch_ms, rfc3339, uuid};

/// How an invocation ended, as the caller sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) request_id: String,
    /// success, error or timeout.
    pub(crate) status: &'static str,
    pub(crate) payload: Value,
    pub(crate) init: Option<Duration>,
    pub(crate) duration: Duration,
    pub(crate) post_runtime: Duration,
    pub(crate) max_memory_mb: u64,
}

/// The `response` line of the JSON output; its fields in the order of the contract.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResponseLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    request_id: &'a str,
    status: &'static str,
    payload: &'a Value,
    init_ms: Option<f64>,
    duration_ms: f64,
    post_runtime_ms: f64,
    #[serde(rename = "maxMemoryMB")]
    max_memory_mb: u64,
}

impl Outcome {
    pub(crate) fn line(&self) -> ResponseLine<'_> {
        ResponseLine {
            kind: "response",
            request_id: &self.request_id,
            status: self.status,
            payload: &self.payload,
            init_ms: self.init.map(milliseconds),
            duration_ms: milliseconds(self.duration),
            post_runtime_ms: milliseconds(self.post_runtime),
            max_memory_mb: self.max_memory_mb,
        }
    }
}

/// What came of the runtime's part.
enum Ended {
    Answered(Answer),
    Broken(Fault),
}

impl Lifecycle {
    /// Invokes the function with one event.
    pub(crate) fn invoke(&self, event: Vec<u8>) -> Outcome {
        let first = self.ensure_up(false);
        let request_id = uuid();
        let begun = Instant::now();
        self.open(&request_id, event);
        self.record("platform.start", &request_id, &json!({"requestId": request_id, "version": "$LATEST"}));
        let up = match first {
            Ok(init) => Ok(init),
            Err(_) if self.shared.state().interrupted => first,
            Err(_) => self.ensure_up(true),
        };
        let outcome = match up {
            Err(fault) => self.never_ran(&request_id, &fault, begun),
            Ok(init) => self.run(&request_id, init, begun),
        };
        self.shared.change(|state| state.invocations.remove(&request_id));
        outcome
    }

    fn open(&self, request_id: &str, event: Vec<u8>) {
        // A trace of its own for each invocation, as on Lambda: functions tell invocations apart by it.
        let own: String = request_id.chars().filter(char::is_ascii_hexdigit).take(24).collect();
        let trace = format!("Root=1-{:08x}-{own:0>24};Parent={:016x};Sampled=0", 0x6a00_0000, 1);
        let invocation =
            Invocation { payload: Arc::new(event), deadline_ms: 0, trace, taken: None, answer: None };
        self.shared.change(|state| state.invocations.insert(request_id.to_owned(), invocation));
    }

    fn run(&self, request_id: &str, init: Option<Duration>, begun: Instant) -> Outcome {
        let deadline = Instant::now() + self.shared.settings.timeout;
        let shared_gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        self.offer(request_id);
        let ended = self.await_answer(request_id, deadline);
        let ready = match &ended {
            Ended::Answered(answer) => self.await_runtime(answer, deadline),
            Ended::Broken(_) => Ok(Instant::now()),
        };
        let done_at = *ready.as_ref().unwrap_or(&Instant::now());
        self.pipes.flush();
        let (word, payload, duration) = self.runtime_done(request_id, &ended, begun, done_at);
        let (after, post_runtime) = match (ended, ready) {
            (Ended::Answered(_), Ok(_)) => self.await_extensions(done_at, deadline),
            (Ended::Broken(fault), _) | (_, Err(fault)) => (Some(fault), Duration::ZERO),
        };
        self.pipes.flush();
        let max_memory_mb = self.peak_mb();
        drop(shared_gate);
        let outcome = Outcome {
            request_id: request_id.to_owned(),
            status: word,
            payload,
            init,
            duration,
            post_runtime,
            max_memory_mb,
        };
        self.report(&outcome, done_at.elapsed(), after.as_ref());
        if let Some(fault) = after {
            self.reset(fault.reason);
        }
        outcome
    }

    /// Hands the event to the runtime and tells the extensions.
    fn offer(&self, request_id: &str) {
        let arn = self.shared.settings.arn();
        let deadline_ms = epoch_ms(SystemTime::now() + self.shared.settings.timeout);
        self.shared.change(|state| {
            let Some(invocation) = state.invocations.get_mut(request_id) else { return };
            invocation.deadline_ms = deadline_ms;
            let event = json!({"eventType": "INVOKE", "deadlineMs": invocation.deadline_ms, "requestId": request_id,
                "invokedFunctionArn": arn,
                "tracing": {"type": "X-Amzn-Trace-Id", "value": invocation.trace}});
            for extension in state.extensions.iter_mut().filter(|e| e.invoke) {
                extension.events.push_back(event.clone());
            }
            state.offered.push_back(request_id.to_owned());
        });
    }

    fn await_answer(&self, request_id: &str, deadline: Instant) -> Ended {
        let waited = self.shared.wait(deadline, |state| {
            let answer = state.invocations.get(request_id).and_then(|i| i.answer.clone());
            answer.map(Ended::Answered).or_else(|| broken(state).map(Ended::Broken))
        });
        waited.unwrap_or_else(|why| {
            self.shared.change(|state| state.offered.retain(|id| id != request_id));
            Ended::Broken(self.timed_out(why, request_id))
        })
    }

    fn timed_out(&self, why: Waited, request_id: &str) -> Fault {
        if why == Waited::Interrupted {
            let error = json!({"errorType": "Sandbox.Interrupted", "errorMessage": "interrupted"});
            return Fault { reason: Reason::Failure, error };
        }
        let seconds = self.shared.settings.timeout.as_secs_f64();
        let now = rfc3339(SystemTime::now());
        let message = format!("{now} {request_id} Task timed out after {seconds:.2} seconds");
        Fault {
            reason: Reason::Timeout,
            error: json!({"errorType": "Sandbox.Timedout", "errorMessage": message}),
        }
    }

    /// Waits until the runtime that answered asks for the next event: its part of the invocation ends there, as on
    /// Lambda. Where several invocations run at the same time, with the answer.
    fn await_runtime(&self, answer: &Answer, deadline: Instant) -> Result<Instant, Fault> {
        if self.shared.settings.concurrency > 1 {
            return Ok(answer.at);
        }
        let waited = self.shared.wait(deadline, |state| {
            let asked = if state.runtime.parked.is_empty() { None } else { state.runtime.asked_at };
            broken(state).map(Err).or(asked.map(Ok))
        });
        waited.unwrap_or_else(|why| Err(self.timed_out(why, "")))
    }

    /// Waits until the extensions are ready for the next event: what broke meanwhile, and the time from the end of the
    /// runtime's part until the last one was done.
    fn await_extensions(&self, since: Instant, deadline: Instant) -> (Option<Fault>, Duration) {
        let rest = self.shared.wait(deadline, |state| {
            if let Some(fault) = broken(state) {
                return Some(Some(fault));
            }
            let mut told = state.extensions.iter().filter(|e| e.invoke);
            told.all(super::state::Extension::idle).then_some(None)
        });
        let state = self.shared.state();
        let told = state.extensions.iter().filter(|e| e.invoke);
        let last = told.filter_map(|e| e.idle_since).max();
        let post = last.map_or(Duration::ZERO, |last| last.saturating_duration_since(since));
        drop(state);
        match rest {
            Ok(fault) => (fault, post),
            Err(why) => (Some(self.timed_out(why, "")), post),
        }
    }

    /// The END of the runtime's part: status, payload and duration.
    fn runtime_done(
        &self,
        id: &str,
        ended: &Ended,
        begun: Instant,
        done_at: Instant,
    ) -> (&'static str, Value, Duration) {
        let taken = self.shared.state().invocations.get(id).and_then(|i| i.taken).unwrap_or(begun);
        let (word, payload, bytes) = match ended {
            Ended::Answered(answer) => {
                let word = if answer.success { "success" } else { "error" };
                (word, payload(&answer.payload), answer.payload.len())
            }
            Ended::Broken(fault) => (status(fault.reason), with_request_id(&fault.error, id), 0),
        };
        let duration = done_at.saturating_duration_since(taken);
        // Lambda's word for a runtime that died is failure; error is what the function itself reported.
        let shown =
            if matches!(ended, Ended::Broken(f) if f.reason == Reason::Failure) { "failure" } else { word };
        self.record(
            "platform.runtimeDone",
            id,
            &json!({"requestId": id, "status": shown,
            "metrics": {"durationMs": milliseconds(duration), "producedBytes": bytes}}),
        );
        (word, payload, duration)
    }

    fn never_ran(&self, request_id: &str, fault: &Fault, begun: Instant) -> Outcome {
        let outcome = Outcome {
            request_id: request_id.to_owned(),
            status: status(fault.reason),
            payload: with_request_id(&fault.error, request_id),
            init: None,
            duration: begun.elapsed(),
            post_runtime: Duration::ZERO,
            max_memory_mb: self.peak_mb(),
        };
        self.report(&outcome, Duration::ZERO, Some(fault));
        outcome
    }

    fn report(&self, outcome: &Outcome, overhead: Duration, fault: Option<&Fault>) {
        let whole = outcome.duration + overhead;
        let billed = (whole + outcome.init.unwrap_or_default()).as_secs_f64() * 1e3;
        let mut record = json!({"requestId": outcome.request_id, "status": outcome.status,
            "metrics": {"durationMs": milliseconds(whole), "billedDurationMs": billed.ceil(),
                "memorySizeMB": self.shared.settings.memory_mb, "maxMemoryUsedMB": outcome.max_memory_mb}});
        if let (Some(init), Some(metrics)) =
            (outcome.init, record.pointer_mut("/metrics").and_then(Value::as_object_mut))
        {
            metrics.insert("initDurationMs".into(), json!(milliseconds(init)));
        }
        if let (Some(fault), Some(fields)) = (fault, record.as_object_mut()) {
            fields.insert("status".into(), status(fault.reason).into());
            fields.insert("errorType".into(), fault.kind().into());
        }
        self.record("platform.report", &outcome.request_id, &record);
    }

    /// Shuts a broken environment down, once however many invocations it broke. Parallel invocations of Managed
    /// Instances outlive a neighbour's time limit.
    fn reset(&self, reason: Reason) {
        let parallel = self.shared.settings.concurrency > 1;
        let generation = self.shared.state().generation;
        let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let state = self.shared.state();
        let current = state.generation == generation && state.stage == Stage::Up;
        let broken = fault(&state).is_some();
        drop(state);
        if current && (broken || !parallel) {
            self.shut_down(reason);
        }
    }

    fn record(&self, event: &'static str, request_id: &str, record: &Value) {
        self.shared.log.emit(Origin::Platform(event), Some(request_id), record);
    }
}

/// What ended an environment that was up.
fn broken(state: &State) -> Option<Fault> {
    fault(state).or_else(|| {
        (state.stage != Stage::Up).then(|| Fault {
            reason: Reason::Failure,
            error: json!({"errorType": "Sandbox.Failure", "errorMessage": "the environment was shut down"}),
        })
    })
}

/// JSON where it is JSON, text otherwise.
fn payload(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

/// Lambda names the request in the message of an error that the function did not report itself.
fn with_request_id(error: &Value, id: &str) -> Value {
    let mut error = error.clone();
    if let Some(message) = error.get_mut("errorMessage")
        && let Some(text) = message.as_str()
        && text.starts_with("Error: ")
    {
        *message = format!("RequestId: {id} {text}").into();
    }
    error
}

//! Tasks that may not take the agent down: a panic is caught, told, and the task started again, a few times.
//!
//! It must not know what a task does. The start hands every task to it.

use std::any::Any;
use std::rc::Rc;

use tokio::task::{JoinError, JoinHandle, spawn_local};

use crate::agent::Agent;

/// Starts of a task after panics; then what it did stays undone, and has been reported as such.
const RESTARTS: usize = 3;

/// Runs the task that `make` makes, and again after a panic.
pub(crate) fn supervise<F>(
    agent: &Rc<Agent>,
    part: &'static str,
    make: impl Fn(Rc<Agent>) -> F + 'static,
) -> JoinHandle<()>
where
    F: Future<Output = ()> + 'static,
{
    let agent = Rc::clone(agent);
    spawn_local(async move {
        for _ in 0..=RESTARTS {
            match spawn_local(make(Rc::clone(&agent))).await {
                Ok(()) => return,
                Err(error) => agent.degraded(part, &describe(error)),
            }
        }
        agent.degraded(part, "given up after several panics; what it guards is no longer guarded");
    })
}

fn describe(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => format!("a task panicked and is started again: {}", message(&*panic)),
        Err(_) => "a task was cancelled and is started again".to_owned(),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}

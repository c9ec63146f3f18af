//! The first milliseconds: what has to be there before the agent registers, and nothing else.
//!
//! The platform starts the runtime, and with it the guard, only after every extension has registered. So whatever is
//! bound here is found there without a race.

use std::io;
use std::rc::Rc;

use crate::agent::Agent;
use crate::control;
use crate::emit::{Emitter, standard_output};
use crate::lifecycle;
use crate::page::{PageError, StatePage};
use crate::reports;
use crate::resolver;
use crate::settings::Settings;
use crate::supervise::supervise;
use crate::telemetry::random_name;

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
enum StartError {
    /// No report socket.
    #[error("the report socket cannot be bound: {0}")]
    Reports(#[from] io::Error),
    /// No state page.
    #[error(transparent)]
    Page(#[from] PageError),
}

/// Runs the agent until SHUTDOWN.
pub(crate) async fn run(settings: Settings) {
    let mut emitter = Emitter::new(&settings.secrets, standard_output());
    match prepare(&settings).await {
        Ok(parts) => serve(settings, parts, emitter).await,
        Err(error) => {
            let current = crate::invocation::Current::default();
            emitter.degraded("start", &error.to_string(), current.moment(crate::clock::now()));
            without_agent(&settings).await;
        }
    }
}

/// What is bound before registering.
struct Parts {
    control: io::Result<control::Listener>,
    reports: (reports::Reports, String),
    resolver: io::Result<resolver::Sockets>,
    page: StatePage,
}

async fn prepare(settings: &Settings) -> Result<Parts, StartError> {
    Ok(Parts {
        control: control::bind(&settings.api),
        reports: reports::bind(&random_name()?)?,
        resolver: resolver::bind().await,
        page: StatePage::new()?,
    })
}

async fn serve(settings: Settings, parts: Parts, emitter: Emitter) {
    let port = parts.resolver.as_ref().ok().and_then(|sockets| sockets.port().ok()).unwrap_or(0);
    let agent = Rc::new(Agent::new(settings, parts.page, parts.reports, port, emitter));
    agent.publish();
    if !agent.page.sealed {
        agent.degraded(
            "page",
            "the kernel cannot seal the state page (before 5.1): the function could change it",
        );
    }
    let life = supervise(&agent, "start", lifecycle::live);
    match parts.control {
        Ok(listener) => {
            let listener = Rc::new(listener);
            supervise(&agent, "control", move |agent| control::serve(agent, Rc::clone(&listener)));
        }
        Err(error) => agent.degraded("control", &format!("the guard cannot be reached: {error}")),
    }
    supervise(&agent, "reports", reports::serve);
    supervise(&agent, "emit", Agent::flush_in_time);
    match parts.resolver {
        Ok(sockets) => serve_names(&agent, sockets),
        Err(error) => agent.degraded("resolver", &format!("names cannot be guarded: {error}")),
    }
    let _ = life.await;
}

fn serve_names(agent: &Rc<Agent>, sockets: resolver::Sockets) {
    let datagrams = Rc::new(sockets);
    let streams = Rc::clone(&datagrams);
    supervise(agent, "resolver", move |agent| Rc::clone(&datagrams).serve_datagrams(agent));
    supervise(agent, "resolver", move |agent| Rc::clone(&streams).serve_streams(agent));
}

/// Registers and does nothing else, so that the function runs as it would without protection.
async fn without_agent(settings: &Settings) {
    let mut platform = crate::platform::Platform::new(settings.api.clone());
    if platform.register(&settings.name, settings.is_managed()).await.is_ok() {
        return lifecycle::keep_going(&mut platform).await;
    }
    std::future::pending::<()>().await;
}

//! The first milliseconds: what has to be there before a guard is welcomed.
//!
//! The register request is on its way already ([`crate::early`]). The guard finds the control socket and waits for its
//! welcome, which comes when the rest is made.

use std::cell::Cell;
use std::io;
use std::net::TcpStream;
use std::rc::Rc;

use crate::agent::Agent;
use crate::control;
use crate::early::Early;
use crate::emit::{Emitter, standard_output};
use crate::lifecycle;
use crate::page::{PageError, StatePage};
use crate::random;
use crate::reports;
use crate::resolver;
use crate::settings::Settings;
use crate::supervise::supervise;

/// What the log says where the user has switched everything off.
const OFF: &str = "RINGFENCE=off: nothing is protected";

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
pub(crate) async fn run(settings: Settings, early: Early) {
    let mut emitter = Emitter::new(&settings.secrets, standard_output());
    let connection = early.connection;
    if settings.off {
        let current = crate::invocation::Current::default();
        emitter.degraded("agent", OFF, current.moment(crate::clock::now()));
        drop(early.control);
        return without_agent(&settings, connection).await;
    }
    match prepare(early.control).await {
        Ok(parts) => serve(settings, parts, connection, emitter).await,
        Err(error) => {
            let current = crate::invocation::Current::default();
            emitter.degraded("start", &error.to_string(), current.moment(crate::clock::now()));
            without_agent(&settings, connection).await;
        }
    }
}

/// What a guard needs.
struct Parts {
    control: io::Result<control::Listener>,
    reports: (reports::Reports, String),
    resolver: io::Result<resolver::Sockets>,
    page: StatePage,
}

async fn prepare(control: io::Result<control::Bound>) -> Result<Parts, StartError> {
    Ok(Parts {
        control: control.and_then(control::listen),
        reports: reports::bind(&random::name()?)?,
        resolver: resolver::bind().await,
        page: StatePage::new()?,
    })
}

async fn serve(settings: Settings, parts: Parts, connection: Option<TcpStream>, emitter: Emitter) {
    let port = parts.resolver.as_ref().ok().and_then(|sockets| sockets.port().ok()).unwrap_or(0);
    tracing::info!(
        target: "start",
        initialization = settings.initialization,
        managed = settings.is_managed(),
        resolver_port = port,
        page_sealed = parts.page.sealed,
        "the agent has its sockets"
    );
    let agent = Rc::new(Agent::new(settings, parts.page, parts.reports, port, emitter));
    agent.publish();
    if !agent.page.sealed {
        agent.degraded(
            "page",
            "the kernel cannot seal the state page (before 5.1): the function could change it",
        );
    }
    let connection = Rc::new(Cell::new(connection));
    let life = supervise(&agent, "start", move |agent| lifecycle::live(agent, connection.take()));
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
async fn without_agent(settings: &Settings, connection: Option<TcpStream>) {
    let mut platform = crate::platform::Platform::new(settings.api.clone(), connection);
    if platform.register(&settings.name, settings.is_managed()).await.is_ok() {
        return lifecycle::keep_going(&mut platform).await;
    }
    std::future::pending::<()>().await;
}

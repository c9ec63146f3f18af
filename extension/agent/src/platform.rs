//! The Extensions API: registration, the next event, the telemetry subscription.
//!
//! It turns answers into types and refusals into errors; what follows from an event is decided by
//! [`crate::lifecycle`]. Paths and fields are those of the developer guide, "Lambda Extensions API" and "Lambda
//! Telemetry API".

mod event;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use serde::Deserialize;
use tokio::time::{sleep, timeout};

pub(crate) use event::Event;

use crate::answer::Answer;
use crate::early;
use crate::http::{Client, HttpError};

const IDENTIFIER: &str = "lambda-extension-identifier";
/// How long an answer may take, other than that to /next.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an API that cannot be reached is tried for registering: some start extensions while they still come up, and
/// without a registration the function would never start. Init has ten seconds.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait before the second try; then twice as long each time, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(50);
/// How long the answer to a subscription may take: init waits for it, and can do without.
const TELEMETRY_PATIENCE: Duration = Duration::from_secs(1);
/// Longest text of a refusal that is kept.
const MAX_REASON: usize = 200;

/// Why the platform did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlatformError {
    /// The request or its answer did not get through.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It answered with another status than expected.
    #[error("the platform answered {status} to {request}: {reason}")]
    Refused { request: &'static str, status: u16, reason: String },
    /// It did not answer in time.
    #[error("the platform did not answer {request} in time")]
    Silent { request: &'static str },
    /// The answer is not what the guide says.
    #[error("the platform's answer to {request} is not understood: {reason}")]
    Answer { request: &'static str, reason: String },
}

/// What registering tells about the function.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Function {
    pub(crate) function_name: String,
    pub(crate) function_version: String,
}

/// A registered (or not yet registered) extension.
#[derive(Debug)]
pub(crate) struct Platform {
    client: Client,
    identifier: String,
    /// Where the register request went out already.
    early: Option<TcpStream>,
}

impl Platform {
    /// A client of the API at `address`; on the connection `early` the register request went out already.
    pub(crate) const fn new(address: String, early: Option<TcpStream>) -> Self {
        Self { client: Client::new(address), identifier: String::new(), early }
    }

    /// Registers under `name`; for INVOKE too, unless `managed`.
    ///
    /// # Errors
    /// [`PlatformError`]: without a registration there are no events.
    pub(crate) async fn register(&mut self, name: &str, managed: bool) -> Result<Function, PlatformError> {
        const REQUEST: &str = "register";
        if let Some(connection) = self.early.take()
            && let Ok(Ok((answer, usable))) = timeout(PATIENCE, early::answer(connection)).await
        {
            if let Some(connection) = usable {
                self.client.adopt(connection).await;
            }
            return self.registered(REQUEST, &answer);
        }
        let give_up = Instant::now() + START_PATIENCE;
        let mut wait = FIRST_WAIT;
        loop {
            let headers = [("lambda-extension-name", name)];
            let body = early::events(managed).to_owned();
            let send = self.client.send(Method::POST, "/2020-01-01/extension/register", &headers, body);
            match timeout(PATIENCE, send).await.map_err(|_| PlatformError::Silent { request: REQUEST })? {
                Err(HttpError::Connect(error)) if Instant::now() < give_up => {
                    tracing::debug!(target: "platform", %error, "the Extensions API cannot be reached yet");
                    sleep(wait).await;
                }
                answer => return self.registered(REQUEST, &answer?),
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    fn registered(&mut self, request: &'static str, answer: &Answer) -> Result<Function, PlatformError> {
        tracing::debug!(target: "platform", request, status = answer.status.as_u16(), "the platform has answered");
        expect(request, answer)?;
        let identifier = answer.headers.get(IDENTIFIER).and_then(|value| value.to_str().ok());
        identifier.unwrap_or_default().clone_into(&mut self.identifier);
        Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
    }

    /// Says that the extension is done and waits for the next event.
    ///
    /// # Errors
    /// [`PlatformError`]; asking again is right.
    pub(crate) async fn next(&mut self) -> Result<Event, PlatformError> {
        const REQUEST: &str = "next";
        let headers = [(IDENTIFIER, &*self.identifier)];
        let answer = self
            .client
            .send(Method::GET, "/2020-01-01/extension/event/next", &headers, String::new())
            .await?;
        expect(REQUEST, &answer)?;
        event::parse(&answer.body)
            .map_err(|error| PlatformError::Answer { request: REQUEST, reason: error.to_string() })
    }

    /// Asks for telemetry to be posted to `destination`. The answer's status and text are the caller's to judge.
    ///
    /// # Errors
    /// [`PlatformError`] where there is no answer.
    pub(crate) async fn subscribe(
        &mut self,
        schema: &str,
        destination: &str,
    ) -> Result<(StatusCode, String), PlatformError> {
        const REQUEST: &str = "telemetry";
        let headers = [(IDENTIFIER, &*self.identifier)];
        let body = format!(
            r#"{{"schemaVersion":"{schema}","types":["platform"],"buffering":{{"maxItems":1000,"maxBytes":262144,"timeoutMs":25}},"destination":{{"protocol":"HTTP","URI":"{destination}"}}}}"#
        );
        let send = self.client.send(Method::PUT, "/2022-07-01/telemetry", &headers, body);
        let answer = timeout(TELEMETRY_PATIENCE, send)
            .await
            .map_err(|_| PlatformError::Silent { request: REQUEST })??;
        Ok((answer.status, reason(&answer)))
    }
}

fn expect(request: &'static str, answer: &Answer) -> Result<(), PlatformError> {
    if answer.status == StatusCode::OK {
        return Ok(());
    }
    Err(PlatformError::Refused { request, status: answer.status.as_u16(), reason: reason(answer) })
}

fn reason(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).chars().take(MAX_REASON).collect()
}

//! One HTTP/1.1 connection to the Extensions API, opened again when it breaks.
//!
//! It bounds what comes back and knows nothing of what it means. [`crate::platform`] speaks through it.

use std::io;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use crate::answer::Answer;

/// Largest answer in bytes: an INVOKE event is a few hundred.
const MAX_ANSWER: usize = 64 * 1024;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// The API's address cannot be reached.
    #[error("cannot reach the Extensions API: {0}")]
    Connect(#[from] io::Error),
    /// The connection broke, or what came is no HTTP.
    #[error("the Extensions API's answer is broken: {0}")]
    Protocol(#[from] hyper::Error),
    /// The request cannot be made: a header's value is not allowed.
    #[error("the request is malformed: {0}")]
    Request(#[from] hyper::http::Error),
    /// The answer is too large or ended early.
    #[error("the answer's body is too large or ended early")]
    Body,
}

/// A connection that is opened when it is needed.
#[derive(Debug)]
pub(crate) struct Client {
    address: String,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// A client of `address`, `host:port`.
    pub(crate) const fn new(address: String) -> Self {
        Self { address, sender: None }
    }

    /// Sends a request and waits for the whole answer, for as long as it takes.
    ///
    /// # Errors
    /// [`HttpError`]; the next request opens a new connection.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: String,
    ) -> Result<Answer, HttpError> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.address);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request =
            if body.is_empty() { request } else { request.header(CONTENT_TYPE, "application/json") };
        // Taken out until the answer is whole: a caller that gives up waiting must not leave it to the next request.
        let mut sender = self.connected().await?;
        let response = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|_| HttpError::Body)?;
        self.sender = Some(sender);
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }

    /// Goes on with a connection that was opened elsewhere.
    pub(crate) async fn adopt(&mut self, stream: TcpStream) {
        self.sender = handshake(stream).await.ok();
    }

    async fn connected(&mut self) -> Result<SendRequest<Full<Bytes>>, HttpError> {
        if let Some(mut sender) = self.sender.take()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let mut sender = connect(&self.address).await?;
        sender.ready().await?;
        Ok(sender)
    }
}

async fn connect(address: &str) -> Result<SendRequest<Full<Bytes>>, HttpError> {
    let stream = TcpStream::connect(address).await?;
    // Not fatal: it only makes a request later by the delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    handshake(stream).await
}

async fn handshake(stream: TcpStream) -> Result<SendRequest<Full<Bytes>>, HttpError> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    spawn_local(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

//! One HTTP/1.1 connection to the Extensions API, opened again when it breaks.
//!
//! It bounds what comes back and knows nothing of what it means. [`crate::platform`] speaks through it.

use std::io;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::http::request::Builder;
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::spawn_local;

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

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
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

    /// Opens the connection, if it is not open.
    ///
    /// # Errors
    /// [`HttpError::Connect`]; sending tries again.
    pub(crate) async fn open(&mut self) -> Result<(), HttpError> {
        self.connected().await.map(|_| ())
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
        let result = self.exchange(request, body).await;
        if result.is_err() {
            self.sender = None;
        }
        result
    }

    async fn exchange(&mut self, request: Builder, body: String) -> Result<Answer, HttpError> {
        let request =
            if body.is_empty() { request } else { request.header(CONTENT_TYPE, "application/json") };
        let request = request.body(Full::new(Bytes::from(body)))?;
        let response = self.connected().await?.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|_| HttpError::Body)?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }

    async fn connected(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, HttpError> {
        let open = self.sender.take().filter(|sender| !sender.is_closed());
        let mut sender = match open {
            Some(sender) => sender,
            None => connect(&self.address).await?,
        };
        sender.ready().await?;
        Ok(self.sender.insert(sender))
    }
}

async fn connect(address: &str) -> Result<SendRequest<Full<Bytes>>, HttpError> {
    let stream = TcpStream::connect(address).await?;
    // Not fatal: it only makes a request later by the delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    spawn_local(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

//! The first half-millisecond: the control socket is bound and the register request is on its way before anything else
//! is made, the event loop included.
//!
//! The platform starts the runtime, and with it the guard, once every extension has registered; so only the control
//! socket has to be there before. `main` begins it; [`crate::platform`] reads the answer and goes on with the same
//! connection. Where anything here fails, registering takes the ordinary way.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tokio::io::AsyncReadExt;

use crate::answer::{self, Answer};
use crate::control;
use crate::settings::Settings;

/// How long the connection may take: the API is on this machine.
const PATIENCE: Duration = Duration::from_secs(1);
/// Largest answer in bytes; a registration's is a few hundred.
const MAX_ANSWER: usize = 16 * 1024;

/// The body of a registration.
pub(crate) const fn events(managed: bool) -> &'static str {
    if managed { r#"{"events":["SHUTDOWN"]}"# } else { r#"{"events":["INVOKE","SHUTDOWN"]}"# }
}

/// What `main` has begun.
#[derive(Debug)]
pub(crate) struct Early {
    /// The bound control socket.
    pub(crate) control: io::Result<control::Bound>,
    /// The connection on which the register request went out.
    pub(crate) connection: Option<TcpStream>,
}

impl Early {
    /// Binds the control socket, then sends the register request without waiting for its answer.
    pub(crate) fn begin(settings: &Settings) -> Self {
        let control = control::bind(&settings.api);
        let connection = send(settings).ok();
        // With one processor the platform waits for it until we stop: it is to have the request now, and we have time.
        std::thread::yield_now();
        Self { control, connection }
    }
}

fn send(settings: &Settings) -> io::Result<TcpStream> {
    let address: SocketAddr =
        settings.api.parse().map_err(|_| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
    let mut connection = TcpStream::connect_timeout(&address, PATIENCE)?;
    let body = events(settings.is_managed());
    let request = format!(
        "POST /2020-01-01/extension/register HTTP/1.1\r\nHost: {}\r\nLambda-Extension-Name: {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        settings.api,
        settings.name,
        body.len()
    );
    if settings.name.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    connection.write_all(request.as_bytes())?;
    connection.set_nonblocking(true)?;
    // Not fatal: it only makes a request later by the delayed acknowledgement.
    let _ = connection.set_nodelay(true);
    Ok(connection)
}

/// Reads the answer. The connection comes back where it can be used on: the answer ended where it said it would.
///
/// # Errors
/// Those of reading, and `InvalidData` where what comes is no HTTP answer or too large.
pub(crate) async fn answer(connection: TcpStream) -> io::Result<(Answer, Option<tokio::net::TcpStream>)> {
    let mut connection = tokio::net::TcpStream::from_std(connection)?;
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if connection.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if bytes.len() > MAX_ANSWER {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if let Some((answer, usable)) = answer::parse(&bytes)? {
            return Ok((answer, usable.then_some(connection)));
        }
    }
}

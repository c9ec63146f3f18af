//! The first half-millisecond: the control socket is bound and the register request is on its way before anything else
//! is made, the event loop included.
//!
//! The platform starts the runtime, and with it the guard, once every extension has registered; so only the control
//! socket has to be there before. `main` begins it; [`crate::platform`] reads the answer and goes on with the same
//! connection. Where anything here fails, registering takes the ordinary way.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{StatusCode, body::Bytes};
use tokio::io::AsyncReadExt;

use crate::control;
use crate::http::Answer;
use crate::settings::Settings;

/// How long the connection may take: the API is on this machine.
const PATIENCE: Duration = Duration::from_secs(1);
/// Largest answer in bytes; a registration's is a few hundred.
const MAX_ANSWER: usize = 16 * 1024;
/// Most header fields of an answer.
const MAX_FIELDS: usize = 32;

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
        if let Some((answer, usable)) = parse(&bytes)? {
            return Ok((answer, usable.then_some(connection)));
        }
    }
}

/// The answer, once it is whole, and whether the connection stands behind its last byte. An answer without a length is
/// taken by its head alone: what counts is the identifier in it.
fn parse(bytes: &[u8]) -> io::Result<Option<(Answer, bool)>> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let parsed = head.parse(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    let httparse::Status::Complete(start) = parsed else { return Ok(None) };
    let mut headers = HeaderMap::new();
    for field in head.headers.iter() {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(field.name.as_bytes()), HeaderValue::from_bytes(field.value))
        {
            headers.append(name, value);
        }
    }
    let status = StatusCode::from_u16(head.code.unwrap_or(0))
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    let number = |value: &HeaderValue| value.to_str().ok()?.parse::<usize>().ok();
    let length = headers.get(hyper::header::CONTENT_LENGTH).and_then(number);
    let rest = bytes.get(start..).unwrap_or_default();
    match length {
        Some(length) if rest.len() < length => Ok(None),
        Some(length) => {
            let body = Bytes::copy_from_slice(rest.get(..length).unwrap_or_default());
            Ok(Some((Answer { status, headers, body }, rest.len() == length)))
        }
        None => Ok(Some((Answer { status, headers, body: Bytes::new() }, false))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_answer_is_read_when_it_is_whole_and_the_connection_kept_where_it_ends() {
        let text = b"HTTP/1.1 200 OK\r\nLambda-Extension-Identifier: 7e0c\r\nContent-Length: 2\r\n\r\n{}";
        for end in 0..text.len() {
            assert!(parse(&text[..end]).unwrap().is_none(), "{end}");
        }
        let (answer, usable) = parse(text).unwrap().unwrap();
        assert_eq!((answer.status, &answer.body[..], usable), (StatusCode::OK, &b"{}"[..], true));
        assert_eq!(answer.headers["lambda-extension-identifier"], "7e0c");
        let more = [&text[..], b"HTTP"].concat();
        assert!(!parse(&more).unwrap().unwrap().1, "bytes behind the answer: not to be used on");
    }

    #[test]
    fn an_answer_without_a_length_counts_by_its_head() {
        let text = b"HTTP/1.1 200 OK\r\nLambda-Extension-Identifier: 7e0c\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n";
        let (answer, usable) = parse(text).unwrap().unwrap();
        assert_eq!((answer.status, usable), (StatusCode::OK, false));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..60) {
            let _ = parse(&bytes);
            let mut text = b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\nx".to_vec();
            text.splice(at.min(text.len()).., bytes);
            let _ = parse(&text);
        }
    }
}

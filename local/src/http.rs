//! HTTP/1.1 as a server speaks it: bounded requests in, one write for head and body out.
//!
//! Decides what is a request and how long it may be; must not know any API. Two writes would cost 40 ms of delayed
//! acknowledgement each and drown every measurement. Called by the API server and by the HTTP hosts of a world.

use std::io::{self, Read, Write};

/// Longest head in bytes.
const HEAD_MAX: usize = 64 * 1024;
/// Longest line of a chunked body's framing.
const LINE_MAX: usize = 8 * 1024;
const HEADERS_MAX: usize = 96;

/// A complete request.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Request {
    /// GET, POST, …
    pub method: String,
    /// The path without its query.
    pub path: String,
    /// Names as sent; trailers of a chunked body follow the head's.
    pub headers: Vec<(String, String)>,
    /// The body, decoded when it was chunked.
    pub body: Vec<u8>,
}

impl Request {
    /// The first value of a header, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// An answer.
#[derive(Debug, Default, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers besides Content-Length.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// An answer with a JSON body.
    #[must_use]
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        let kind = ("Content-Type".to_owned(), "application/json".to_owned());
        Self { status, headers: vec![kind], body: body.to_string().into_bytes() }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status)).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend(format!("{name}: {value}\r\n").bytes());
        }
        bytes.extend(format!("Content-Length: {}\r\n\r\n", self.body.len()).bytes());
        bytes.extend(&self.body);
        bytes
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        413 => "Payload Too Large",
        500 => "Internal Server Error",
        _ => "Status",
    }
}

/// Why a request could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not HTTP/1.x, or a broken body.
    #[error("malformed request")]
    Malformed,
    /// Head or body beyond its limit.
    #[error("request too large")]
    TooLarge,
}

/// A connection and what was read ahead of it.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    ahead: Vec<u8>,
    received: u64,
}

impl<S: Read + Write> Connection<S> {
    /// Takes over a stream. Time limits are the stream's own.
    pub fn new(stream: S) -> Self {
        Self { stream, ahead: Vec::new(), received: 0 }
    }

    /// Bytes read from the stream so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// What was read and not used: all of it after a malformed request.
    pub fn unused(&self) -> &[u8] {
        &self.ahead
    }

    /// The stream itself.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Reads the next request; `None` at the end of the connection.
    ///
    /// # Errors
    /// [`HttpError`]; the connection is of no use afterwards.
    pub fn request(&mut self, body_max: usize) -> Result<Option<Request>, HttpError> {
        let Some((mut request, used)) = self.head()? else { return Ok(None) };
        self.ahead.drain(..used);
        if request.header("Expect").is_some_and(|v| v.eq_ignore_ascii_case("100-continue")) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if request.header("Transfer-Encoding").is_some_and(|v| v.to_ascii_lowercase().contains("chunked")) {
            self.chunks(&mut request, body_max)?;
        } else if let Some(length) = request.header("Content-Length") {
            let length: usize = length.trim().parse().map_err(|_| HttpError::Malformed)?;
            if length > body_max {
                return Err(HttpError::TooLarge);
            }
            request.body = self.exactly(length)?;
        }
        Ok(Some(request))
    }

    /// Sends an answer in one write.
    ///
    /// # Errors
    /// The stream's.
    pub fn respond(&mut self, response: &Response) -> io::Result<()> {
        self.stream.write_all(&response.bytes())?;
        self.stream.flush()
    }

    fn head(&mut self) -> Result<Option<(Request, usize)>, HttpError> {
        loop {
            if let Some(found) = parse_head(&self.ahead)? {
                return Ok(Some(found));
            }
            if self.ahead.len() > HEAD_MAX {
                return Err(HttpError::TooLarge);
            }
            if !self.more()? {
                return if self.ahead.is_empty() { Ok(None) } else { Err(HttpError::Malformed) };
            }
        }
    }

    fn more(&mut self) -> io::Result<bool> {
        let mut chunk = [0u8; 16 * 1024];
        let length = self.stream.read(&mut chunk)?;
        self.ahead.extend(chunk.get(..length).unwrap_or_default());
        self.received += length as u64;
        Ok(length > 0)
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, HttpError> {
        while self.ahead.len() < length {
            if !self.more()? {
                return Err(HttpError::Malformed);
            }
        }
        Ok(self.ahead.drain(..length).collect())
    }

    fn line(&mut self) -> Result<String, HttpError> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.ahead.drain(..end + 2).take(end).collect();
                return String::from_utf8(line).map_err(|_| HttpError::Malformed);
            }
            if self.ahead.len() > LINE_MAX || !self.more()? {
                return Err(HttpError::Malformed);
            }
        }
    }

    fn chunks(&mut self, request: &mut Request, body_max: usize) -> Result<(), HttpError> {
        loop {
            let line = self.line()?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let length = usize::from_str_radix(digits, 16).map_err(|_| HttpError::Malformed)?;
            if length > body_max.saturating_sub(request.body.len()) {
                return Err(HttpError::TooLarge);
            }
            if length == 0 {
                return self.trailers(request);
            }
            let chunk = self.exactly(length)?;
            request.body.extend(chunk);
            if self.exactly(2)? != b"\r\n" {
                return Err(HttpError::Malformed);
            }
        }
    }

    fn trailers(&mut self, request: &mut Request) -> Result<(), HttpError> {
        for _ in 0..HEADERS_MAX {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(());
            }
            let (name, value) = line.split_once(':').ok_or(HttpError::Malformed)?;
            request.headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        Err(HttpError::TooLarge)
    }
}

fn parse_head(bytes: &[u8]) -> Result<Option<(Request, usize)>, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let used = match head.parse(bytes) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(HttpError::TooLarge),
        Err(_) => return Err(HttpError::Malformed),
    };
    let path = head.path.unwrap_or_default();
    let headers =
        head.headers.iter().map(|h| (h.name.to_owned(), String::from_utf8_lossy(h.value).into_owned()));
    let request = Request {
        method: head.method.unwrap_or_default().to_owned(),
        path: path.split('?').next().unwrap_or_default().to_owned(),
        headers: headers.collect(),
        body: Vec::new(),
    };
    Ok(Some((request, used)))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    /// Reads from one buffer, writes into nothing.
    struct Script(Cursor<Vec<u8>>);

    impl Read for Script {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let few = to.len().min(7);
            self.0.read(&mut to[..few])
        }
    }

    impl Write for Script {
        fn write(&mut self, from: &[u8]) -> io::Result<usize> {
            Ok(from.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn connection(text: &[u8]) -> Connection<Script> {
        Connection::new(Script(Cursor::new(text.to_vec())))
    }

    #[test]
    fn two_requests_on_one_connection() {
        let mut c = connection(
            b"POST /a?q=1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: x\r\n\r\n",
        );
        let first = c.request(10).unwrap().unwrap();
        assert_eq!((first.path.as_str(), first.body.as_slice()), ("/a", b"abc".as_slice()));
        assert_eq!(c.request(10).unwrap().unwrap().header("HOST"), Some("x"));
        assert!(c.request(10).unwrap().is_none());
    }

    #[test]
    fn a_chunked_body_brings_its_trailers() {
        let mut c = connection(
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nKind: Late\r\n\r\n",
        );
        let request = c.request(10).unwrap().unwrap();
        assert_eq!(request.body, b"abcde");
        assert_eq!(request.header("kind"), Some("Late"));
    }

    #[test]
    fn a_body_beyond_the_limit_is_refused_in_both_forms() {
        let long = b"POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n01234567890";
        assert!(matches!(connection(long).request(10), Err(HttpError::TooLarge)));
        let chunked =
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n6\r\n012345\r\n0\r\n\r\n";
        assert!(matches!(connection(chunked).request(10), Err(HttpError::TooLarge)));
    }

    proptest! {
        #[test]
        fn garbage_ends_and_stays_within_bounds(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let mut c = connection(&bytes);
            while let Ok(Some(request)) = c.request(100) {
                prop_assert!(request.body.len() <= 100);
            }
        }

        #[test]
        fn garbage_after_a_chunked_head_too(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let mut text = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            text.extend(&bytes);
            let mut c = connection(&text);
            while let Ok(Some(request)) = c.request(100) {
                prop_assert!(request.body.len() <= 100);
            }
        }
    }
}

//! What arrived at each service of a world: connections, bytes, and the first of them.
//!
//! Decides what counts and how it is printed. Called by the services and, for forwarded queries, by the resolver.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// How much of what arrived is kept, in bytes.
const KEPT: usize = 4096;

/// The counter of one service.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) transport: &'static str,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    bytes: u64,
    wire_bytes: u64,
    connections: usize,
    /// The first bytes of each connection, in the order in which they were accepted.
    data: Vec<Vec<u8>>,
    kept: usize,
}

/// The `sink` line of the JSON output.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SinkLine {
    #[serde(rename = "type")]
    kind: &'static str,
    host: String,
    port: u16,
    bytes: u64,
    data: String,
    transport: &'static str,
    connections: usize,
    /// Only where `data` is not text: base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    /// Only of TLS: what came before decryption, handshakes included.
    #[serde(skip_serializing_if = "Option::is_none")]
    wire_bytes: Option<u64>,
}

impl std::fmt::Display for SinkLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SINK {}:{}/{}\tBytes: {}\t", self.host, self.port, self.transport, self.bytes)?;
        write!(f, "Connections: {}\tData: {:?}", self.connections, self.data)
    }
}

impl Sink {
    pub(crate) fn new(host: &str, port: u16, transport: &'static str) -> Self {
        Self { host: host.to_owned(), port, transport, counted: Mutex::default() }
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a connection, a datagram or a query, and gives it its number.
    pub(crate) fn visit(&self) -> usize {
        let mut counted = self.counted();
        counted.connections += 1;
        if counted.data.len() < KEPT {
            counted.data.push(Vec::new());
        }
        counted.connections - 1
    }

    /// Notes what arrived over the connection with this number.
    pub(crate) fn take(&self, connection: usize, bytes: &[u8]) {
        let mut counted = self.counted();
        counted.bytes += bytes.len() as u64;
        counted.keep(connection, bytes);
    }

    /// Notes a query: `length` bytes arrived, the name is what they said.
    pub(crate) fn take_query(&self, length: usize, name: &str) {
        let number = self.visit();
        let mut counted = self.counted();
        counted.bytes += length as u64;
        counted.keep(number, format!("{name}\n").as_bytes());
    }

    /// The state as a line of output.
    pub(crate) fn line(&self) -> SinkLine {
        let counted = self.counted();
        let data = counted.data.concat();
        let text = String::from_utf8(data.clone()).or_else(|e| {
            // The cut at 4 KiB may go through a character.
            let cut = e.utf8_error().valid_up_to();
            if cut + 4 > KEPT {
                Ok(String::from_utf8_lossy(e.as_bytes().get(..cut).unwrap_or_default()).into_owned())
            } else {
                Err(())
            }
        });
        let (data, encoding) = match text {
            Ok(text) if self.transport == "dns" => (text.trim_end().to_owned(), None),
            Ok(text) => (text, None),
            Err(()) => (base64(&data), Some("base64")),
        };
        SinkLine {
            kind: "sink",
            host: self.host.clone(),
            port: self.port,
            bytes: counted.bytes,
            data,
            transport: self.transport,
            connections: counted.connections,
            encoding,
            wire_bytes: (counted.wire_bytes > 0).then_some(counted.wire_bytes),
        }
    }
}

impl Counted {
    /// Keeps bytes while there is room, over all connections.
    fn keep(&mut self, connection: usize, bytes: &[u8]) {
        let room = bytes.len().min(KEPT.saturating_sub(self.kept));
        if let Some(part) = self.data.get_mut(connection) {
            part.extend(bytes.iter().take(room));
            self.kept += room;
        }
    }
}

/// A stream whose reads are counted.
pub(crate) struct Tap<S> {
    pub(crate) stream: S,
    sink: Arc<Sink>,
    connection: usize,
    wire: bool,
}

impl<S> Tap<S> {
    /// Counts what is read as what arrived.
    pub(crate) fn new(stream: S, sink: Arc<Sink>, connection: usize) -> Self {
        Self { stream, sink, connection, wire: false }
    }

    /// Counts what is read as what came over the wire, encrypted.
    pub(crate) fn on_wire(stream: S, sink: Arc<Sink>) -> Self {
        Self { stream, sink, connection: 0, wire: true }
    }
}

impl<S: Read> Read for Tap<S> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let length = self.stream.read(to)?;
        if self.wire {
            self.sink.counted().wire_bytes += length as u64;
        } else {
            self.sink.take(self.connection, to.get(..length).unwrap_or_default());
        }
        Ok(length)
    }
}

impl<S: Write> Write for Tap<S> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.stream.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let value = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let digit = ALPHABET.get((value >> (18 - 6 * i) & 63) as usize).copied().unwrap_or(b'=');
            text.push(if i > group.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let pairs = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, code) in pairs {
            assert_eq!(base64(plain.as_bytes()), code);
        }
    }

    #[test]
    fn only_the_beginning_is_kept_but_everything_counted() {
        let sink = Sink::new("h", 1, "tcp");
        let number = sink.visit();
        sink.take(number, "ä".repeat(3000).as_bytes());
        sink.take(number, b"x");
        let line = sink.line();
        assert_eq!((line.bytes, line.encoding), (6001, None));
        assert_eq!(line.data.len(), 4096);
    }

    #[test]
    fn bytes_that_are_no_text_are_encoded() {
        let sink = Sink::new("h", 1, "tcp");
        let number = sink.visit();
        sink.take(number, &[0xff, 0x00]);
        assert_eq!(sink.line().encoding, Some("base64"));
    }
}

//! HTTP heads: the answer to the register request, and requests to the local Lambda.
#![no_main]

#[path = "../../extension/agent/src/answer.rs"]
#[expect(dead_code, reason = "the agent's own module, whose fields are not read here")]
mod answer;
#[path = "../../local/src/http.rs"]
#[expect(dead_code, reason = "the local Lambda's own module, of which not everything is called here")]
mod http;

use std::io::{self, Cursor, Read, Write};

use http::Connection;
use libfuzzer_sys::fuzz_target;

/// A stream that is read and swallows what is written.
struct Stream<'a>(Cursor<&'a [u8]>);

impl Read for Stream<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // Piece by piece: a head may come in any number of parts.
        let room = into.len().min(7);
        self.0.read(&mut into[..room])
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some((_, true))) = answer::parse(bytes) {
        // An answer that ends the bytes is not whole without the last one.
        let shorter = answer::parse(&bytes[..bytes.len() - 1]);
        assert!(!matches!(shorter, Ok(Some((_, true)))));
    }
    let mut connection = Connection::new(Stream(Cursor::new(bytes)));
    while let Ok(Some(request)) = connection.request(64 * 1024) {
        assert!(request.body.len() <= 64 * 1024);
        let _ = request.header("Content-Length");
    }
    assert!(connection.received() <= bytes.len() as u64);
});

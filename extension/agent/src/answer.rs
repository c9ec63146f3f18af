//! An HTTP answer, and how the first one is read: that to the register request, before hyper is set up.
//!
//! Everything is bounded by the bytes that came. It decides nothing; [`crate::early`] calls it.

use std::io;

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

/// Most header fields of an answer.
const MAX_FIELDS: usize = 32;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The answer, once it is whole, and whether the connection stands behind its last byte. An answer without a length is
/// taken by its head alone: what counts is the identifier in it.
///
/// # Errors
/// `InvalidData` if the bytes are no HTTP answer.
pub(crate) fn parse(bytes: &[u8]) -> io::Result<Option<(Answer, bool)>> {
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

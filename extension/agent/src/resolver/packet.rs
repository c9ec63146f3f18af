//! Just enough of DNS messages (RFC 1035, section 4): the question, and the addresses of an answer.
//!
//! Written here and not taken from a library because it stands on the security path, needs a fiftieth of what a
//! library brings into the cold start, and has to be strict where a library is lenient: one question, no compression
//! in it, no byte in a name that a policy could not hold. Everything is bounded by the message's length.

use std::net::IpAddr;

/// Response codes (RFC 1035, section 4.1.1).
pub(super) const FORMAT_ERROR: u8 = 1;
pub(super) const SERVER_FAILURE: u8 = 2;
pub(super) const NOT_IMPLEMENTED: u8 = 4;
pub(super) const REFUSED: u8 = 5;

const HEAD: usize = 12;
const MAX_NAME: usize = 255;
const CLASS_INTERNET: u16 = 1;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
/// Most records of an answer that are looked at.
const MAX_RECORDS: usize = 512;

/// What a query asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// Lower case, without the final dot; empty for the root.
    pub(super) name: Vec<u8>,
    /// The question section as it stands in the query.
    section: Vec<u8>,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

impl Question {
    /// Reads a query.
    ///
    /// # Errors
    /// The response code that the client gets.
    pub(super) fn parse(query: &[u8]) -> Result<Self, u8> {
        let flags = u16_at(query, 2).ok_or(FORMAT_ERROR)?;
        let is_answer = flags & 0x8000 != 0;
        let operation = flags >> 11 & 0xf;
        if operation != 0 {
            return Err(NOT_IMPLEMENTED);
        }
        if is_answer || u16_at(query, 4) != Some(1) {
            return Err(FORMAT_ERROR);
        }
        Self::read(query).ok_or(FORMAT_ERROR)
    }

    fn read(message: &[u8]) -> Option<Self> {
        let (mut name, mut at) = (Vec::new(), HEAD);
        loop {
            let length = usize::from(*message.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            // Above 63 stand compression pointers, which have no place in the only question.
            let label = message.get(at..at + length).filter(|_| length <= 63)?;
            at += length;
            if !name.is_empty() {
                name.push(b'.');
            }
            name.extend(label.iter().map(u8::to_ascii_lowercase));
            if !label.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'.') || name.len() > MAX_NAME {
                return None;
            }
        }
        let section = message.get(HEAD..at + 4)?.to_vec();
        Some(Self { name, section })
    }

    /// Whether `answer` answers this question, asked with `id`.
    pub(super) fn is_answered_by(&self, answer: &[u8], id: u16) -> bool {
        let same_head = u16_at(answer, 0) == Some(id)
            && u16_at(answer, 2).is_some_and(|flags| flags & 0x8000 != 0)
            && u16_at(answer, 4) == Some(1);
        let question = answer.get(HEAD..HEAD + self.section.len());
        same_head && question.is_some_and(|found| found.eq_ignore_ascii_case(&self.section))
    }
}

/// An answer without records that carries `code`. `None` where there is not even an id to answer.
pub(super) fn refusal(query: &[u8], code: u8) -> Option<Vec<u8>> {
    let id = query.get(..2)?;
    let question = Question::read(query);
    let recursion = query.get(2).copied().unwrap_or(0) & 0x79;
    let mut answer = Vec::with_capacity(HEAD + 64);
    answer.extend_from_slice(id);
    answer.extend_from_slice(&[0x80 | recursion, 0x80 | code]);
    answer.extend_from_slice(&[0, u8::from(question.is_some()), 0, 0, 0, 0, 0, 0]);
    answer.extend(question.into_iter().flat_map(|question| question.section));
    Some(answer)
}

/// A message with its length in front, as TCP carries it.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend(message.iter().take(usize::from(length)));
    framed
}

/// The same message under another id.
pub(super) fn with_id(message: &[u8], id: u16) -> Vec<u8> {
    let mut renamed = message.to_vec();
    if let Some(room) = renamed.get_mut(..2) {
        room.copy_from_slice(&id.to_be_bytes());
    }
    renamed
}

/// The id of a message; 0 where it is too short.
pub(super) fn id(message: &[u8]) -> u16 {
    u16_at(message, 0).unwrap_or(0)
}

/// The addresses in the answer section, whatever names a chain of aliases led through.
pub(super) fn addresses(answer: &[u8]) -> impl Iterator<Item = IpAddr> {
    Addresses::new(answer)
}

/// The message is cut short or holds what no message may.
struct Malformed;

struct Addresses<'a> {
    message: &'a [u8],
    at: usize,
    left: usize,
}

impl<'a> Addresses<'a> {
    fn new(message: &'a [u8]) -> Self {
        let questions = usize::from(u16_at(message, 4).unwrap_or(0));
        let left = usize::from(u16_at(message, 6).unwrap_or(0)).min(MAX_RECORDS);
        let behind = (0..questions.min(1)).try_fold(HEAD, |at, _| skip_name(message, at).map(|at| at + 4));
        match behind {
            Some(at) if questions <= 1 => Self { message, at, left },
            _ => Self { message, at: HEAD, left: 0 },
        }
    }

    /// Reads one record: where it holds an address, that. `Err` ends the reading.
    fn record(&mut self) -> Result<Option<IpAddr>, Malformed> {
        let head = skip_name(self.message, self.at).ok_or(Malformed)?;
        let field = |at| u16_at(self.message, head + at).ok_or(Malformed);
        let (kind, class, length) = (field(0)?, field(2)?, usize::from(field(8)?));
        let data = self.message.get(head + 10..head + 10 + length).ok_or(Malformed)?;
        self.at = head + 10 + length;
        if class != CLASS_INTERNET {
            return Ok(None);
        }
        Ok(match kind {
            TYPE_A => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
            TYPE_AAAA => <[u8; 16]>::try_from(data).ok().map(|octets| IpAddr::from(octets).to_canonical()),
            _ => None,
        })
    }
}

impl Iterator for Addresses<'_> {
    type Item = IpAddr;

    fn next(&mut self) -> Option<IpAddr> {
        while let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            if let Some(address) = self.record().ok()? {
                return Some(address);
            }
        }
        None
    }
}

/// The place behind a name. Pointers are not followed, so there is no loop to fall into.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = *message.get(at)?;
        match length >> 6 {
            0 if length == 0 => return Some(at + 1),
            0 => at += 1 + usize::from(length),
            3 => return message.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
        let mut message = id.to_be_bytes().to_vec();
        message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        for label in name.split('.').filter(|label| !label.is_empty()) {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend_from_slice(label.as_bytes());
        }
        message.push(0);
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&[0, 1]);
        message
    }

    /// An answer to `query`: an alias, then these addresses behind it.
    pub(crate) fn reply(query: &[u8], addresses: &[[u8; 4]]) -> Vec<u8> {
        let mut message = query.to_vec();
        message[2] |= 0x80;
        message[7] = u8::try_from(addresses.len() + 1).unwrap();
        message.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 4, 1, b'x', 0xc0, 12]);
        for address in addresses {
            message.extend_from_slice(&[1, b'x', 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4]);
            message.extend_from_slice(address);
        }
        message
    }

    #[test]
    fn a_question_is_read_in_lower_case() {
        let message = query(7, "Api.Example.COM", 1);
        let question = Question::parse(&message).unwrap();
        assert_eq!(question.name, b"api.example.com");
        assert!(question.is_answered_by(&reply(&message, &[]), 7));
        assert!(!question.is_answered_by(&reply(&message, &[]), 8), "another id");
        assert!(!question.is_answered_by(&message, 7), "a query is no answer");
        assert!(!question.is_answered_by(&reply(&query(7, "evil.example", 1), &[]), 7), "another question");
    }

    #[test]
    fn odd_questions_are_refused() {
        let mut two = query(7, "a.example", 1);
        two[5] = 2;
        assert_eq!(Question::parse(&two), Err(FORMAT_ERROR));
        let mut update = query(7, "a.example", 1);
        update[2] = 5 << 3;
        assert_eq!(Question::parse(&update), Err(NOT_IMPLEMENTED));
        let mut pointer = query(7, "a", 1);
        pointer[12] = 0xc0;
        assert_eq!(Question::parse(&pointer), Err(FORMAT_ERROR));
        let dotted = query(7, "a b.example", 1);
        assert_eq!(Question::parse(&dotted), Err(FORMAT_ERROR), "no policy could name it");
    }

    #[test]
    fn addresses_behind_an_alias_are_found() {
        let answer = reply(&query(7, "a.example", 1), &[[203, 0, 113, 1], [203, 0, 113, 2]]);
        let found: Vec<String> = addresses(&answer).map(|address| address.to_string()).collect();
        assert_eq!(found, ["203.0.113.1", "203.0.113.2"]);
    }

    #[test]
    fn a_refusal_answers_the_question_that_was_asked() {
        let message = query(7, "a.example", 1);
        let answer = refusal(&message, REFUSED).unwrap();
        assert!(Question::parse(&message).unwrap().is_answered_by(&answer, 7));
        assert_eq!(answer[3] & 0xf, REFUSED);
        assert_eq!(refusal(b"x", REFUSED), None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Question::parse(&bytes);
            let _ = refusal(&bytes, REFUSED);
            prop_assert!(addresses(&bytes).count() <= bytes.len());
        }

        #[test]
        fn damaged_answers_never_panic(flip in 0..200_usize, value: u8) {
            let mut answer = reply(&query(7, "a.example", 1), &[[203, 0, 113, 1]]);
            let at = flip % answer.len();
            answer[at] = value;
            let _ = addresses(&answer).count();
        }
    }
}

//! Just enough of DNS messages (RFC 1035, section 4): the question, the addresses of an answer, and the names that it leads to.
//!
//! Written here and not taken from a library because it stands on the security path, needs a fiftieth of what a
//! library brings into the cold start, and has to be strict where a library is lenient: one question, no compression
//! in it, no byte in a name that a policy could not hold. Everything is bounded by the message's length.

use std::net::IpAddr;

/// Response codes (RFC 1035, section 4.1.1).
pub(super) const FORMAT_ERROR: u8 = 1;
pub(super) const SERVER_FAILURE: u8 = 2;
/// "There is no such name." The refusal of the policy, since every client takes it for final: after REFUSED glibc and Go ask
/// again and speak of a temporary failure, musl waits for its time limit, and getnameinfo(3) fails instead of giving the number.
pub(super) const NAME_ERROR: u8 = 3;
pub(super) const NOT_IMPLEMENTED: u8 = 4;

/// Largest query or answer over UDP in bytes.
pub(super) const MAX_DATAGRAM: usize = 4096;
const HEAD: usize = 12;
const MAX_NAME: usize = 255;
const CLASS_INTERNET: u16 = 1;
pub(super) const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
pub(super) const TYPE_TXT: u16 = 16;
pub(super) const TYPE_AAAA: u16 = 28;
pub(super) const TYPE_SRV: u16 = 33;
const TYPE_OPT: u16 = 41;
pub(super) const TYPE_SVCB: u16 = 64;
pub(super) const TYPE_HTTPS: u16 = 65;
/// Most records of an answer that are looked at.
const MAX_RECORDS: usize = 512;
/// Most names that an answer may lead to.
const MAX_TARGETS: usize = 64;
/// Most pointers of one name.
const MAX_POINTERS: usize = 16;
/// Seconds for which an answer about this machine may be kept.
const LOOPBACK_TTL: u32 = 60;

/// What a query asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// Lower case, without the final dot; empty for the root.
    pub(super) name: Vec<u8>,
    /// The type of the records (RFC 1035, section 3.2.2).
    pub(super) kind: u16,
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
        Some(Self { name, kind: u16_at(message, at)?, section })
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

/// A query for the records of one type of a name.
pub(super) fn asking(name: &[u8], kind: u16) -> Vec<u8> {
    let mut query = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split(|byte| *byte == b'.') {
        query.push(u8::try_from(label.len()).unwrap_or(0));
        query.extend_from_slice(label);
    }
    query.push(0);
    query.extend_from_slice(&kind.to_be_bytes());
    query.extend_from_slice(&[0, 1]);
    query
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

/// The same for a name that the policy forbids; clients that understand it are told so (RFC 8914).
pub(super) fn forbidden(query: &[u8], question: &Question) -> Option<Vec<u8>> {
    /// Extended DNS error 15, "Blocked", as an option in an OPT record for 1,232 bytes.
    const BLOCKED: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\x1c\0\x0f\0\x18\0\x0fringfence egress.names";
    let mut answer = refusal(query, NAME_ERROR)?;
    let behind = query.get(HEAD + question.section.len()..)?;
    if u16_at(query, 10) == Some(1) && behind.first() == Some(&0) && u16_at(behind, 1) == Some(TYPE_OPT) {
        answer.extend_from_slice(BLOCKED);
        if let Some(additional) = answer.get_mut(11) {
            *additional = 1;
        }
    }
    Some(answer)
}

/// The answer about a name of this machine itself: its loopback address.
pub(super) fn loopback(query: &[u8], question: &Question) -> Option<Vec<u8>> {
    let address: &[u8] = match question.kind {
        TYPE_A => &[127, 0, 0, 1],
        TYPE_AAAA => &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        _ => &[],
    };
    let mut answer = refusal(query, 0)?;
    if let (Some(count), Ok(length), false) =
        (answer.get_mut(7), u16::try_from(address.len()), address.is_empty())
    {
        *count = 1;
        // A pointer to the name in the question.
        answer.extend_from_slice(&[0xc0, 12]);
        answer.extend_from_slice(&question.kind.to_be_bytes());
        answer.extend_from_slice(&CLASS_INTERNET.to_be_bytes());
        answer.extend_from_slice(&LOOPBACK_TTL.to_be_bytes());
        answer.extend_from_slice(&length.to_be_bytes());
        answer.extend_from_slice(address);
    }
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
    Records::new(answer).filter_map(|record| match record.kind {
        TYPE_A => <[u8; 4]>::try_from(record.data).ok().map(IpAddr::from),
        TYPE_AAAA => <[u8; 16]>::try_from(record.data).ok().map(|octets| IpAddr::from(octets).to_canonical()),
        _ => None,
    })
}

/// The names that an answer leads to, in lower case: those of aliases, and of the hosts that serve.
pub(super) fn targets(answer: &[u8]) -> Vec<Vec<u8>> {
    let named = |record: Record<'_>| {
        let before = match record.kind {
            TYPE_CNAME => 0,
            // Priority, weight and port.
            TYPE_SRV => 6,
            // Priority.
            TYPE_SVCB | TYPE_HTTPS => 2,
            _ => return None,
        };
        name_at(answer, record.at + before).filter(|name| !name.is_empty())
    };
    Records::new(answer).filter_map(named).take(MAX_TARGETS).collect()
}

/// A name that may be compressed (RFC 1035, section 4.1.4). Pointers lead backwards only, so there is no loop.
fn name_at(message: &[u8], at: usize) -> Option<Vec<u8>> {
    let (mut name, mut at, mut pointers) = (Vec::new(), at, 0);
    loop {
        let length = usize::from(*message.get(at)?);
        match length >> 6 {
            0 if length == 0 => return Some(name),
            0 => {
                let label = message.get(at + 1..at + 1 + length)?;
                if !name.is_empty() {
                    name.push(b'.');
                }
                name.extend(label.iter().map(u8::to_ascii_lowercase));
                if name.len() > MAX_NAME || !label.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'.')
                {
                    return None;
                }
                at += 1 + length;
            }
            3 => {
                let to = usize::from(u16_at(message, at)? & 0x3fff);
                pointers += 1;
                if to >= at || pointers > MAX_POINTERS {
                    return None;
                }
                at = to;
            }
            _ => return None,
        }
    }
}

/// The message is cut short or holds what no message may.
struct Malformed;

/// A record of the Internet's class.
struct Record<'a> {
    kind: u16,
    /// Where its data begins in the message.
    at: usize,
    data: &'a [u8],
}

/// The records of the answer section.
struct Records<'a> {
    message: &'a [u8],
    at: usize,
    left: usize,
}

impl<'a> Records<'a> {
    fn new(message: &'a [u8]) -> Self {
        let questions = usize::from(u16_at(message, 4).unwrap_or(0));
        let left = usize::from(u16_at(message, 6).unwrap_or(0)).min(MAX_RECORDS);
        let behind = (0..questions.min(1)).try_fold(HEAD, |at, _| skip_name(message, at).map(|at| at + 4));
        match behind {
            Some(at) if questions <= 1 => Self { message, at, left },
            _ => Self { message, at: HEAD, left: 0 },
        }
    }

    /// Reads one record, `None` if it is of another class. `Err` ends the reading.
    fn record(&mut self) -> Result<Option<Record<'a>>, Malformed> {
        let head = skip_name(self.message, self.at).ok_or(Malformed)?;
        let field = |at| u16_at(self.message, head + at).ok_or(Malformed);
        let (kind, class, length) = (field(0)?, field(2)?, usize::from(field(8)?));
        let data = self.message.get(head + 10..head + 10 + length).ok_or(Malformed)?;
        self.at = head + 10 + length;
        Ok((class == CLASS_INTERNET).then_some(Record { kind, at: head + 10, data }))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        while let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            if let Some(record) = self.record().ok()? {
                return Some(record);
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
        let question = Question::parse(&message).unwrap();
        let answer = forbidden(&message, &question).unwrap();
        assert!(question.is_answered_by(&answer, 7));
        assert_eq!((answer[3] & 0xf, answer.len()), (NAME_ERROR, message.len()));
        assert_eq!(refusal(b"x", NAME_ERROR), None);
    }

    #[test]
    fn a_client_that_understands_it_is_told_why() {
        let mut message = query(7, "a.example", 1);
        message[11] = 1;
        message.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
        let answer = forbidden(&message, &Question::parse(&message).unwrap()).unwrap();
        assert_eq!((answer[3] & 0xf, answer[11]), (NAME_ERROR, 1));
        assert!(answer.ends_with(b"\0\x0f\0\x18\0\x0fringfence egress.names"), "{answer:?}");
        // The record's length and the option's are those of what follows.
        let record = query(7, "a.example", 1).len();
        assert_eq!(u16_at(&answer, record + 9).map(usize::from), Some(answer.len() - record - 11));
        assert_eq!(u16_at(&answer, record + 13).map(usize::from), Some(answer.len() - record - 15));
    }

    #[test]
    fn this_machine_has_its_loopback_addresses() {
        for (kind, expected) in [(TYPE_A, vec!["127.0.0.1"]), (TYPE_AAAA, vec!["::1"]), (TYPE_TXT, vec![])] {
            let message = query(7, "app.localhost", kind);
            let question = Question::parse(&message).unwrap();
            let answer = loopback(&message, &question).unwrap();
            assert_eq!((question.is_answered_by(&answer, 7), answer[3]), (true, 0x80));
            let found: Vec<_> = addresses(&answer).map(|address| address.to_string()).collect();
            assert_eq!(found, expected, "{kind}");
        }
    }

    #[test]
    fn names_that_an_answer_leads_to_are_found() {
        let mut answer = query(7, "db.example", TYPE_SRV);
        answer[2] |= 0x80;
        answer[7] = 3;
        // SRV 0 5 27017 Shard.db.example, an alias back to x, HTTPS 1 cdn.
        answer.extend_from_slice(b"\xc0\x0c\0\x21\0\x01\0\0\0\x09\0\x0e\0\0\0\x05\x69\x89\x05Shard\xc0\x0c");
        answer.extend_from_slice(b"\xc0\x0c\0\x05\0\x01\0\0\0\x09\0\x03\x01x\0");
        answer.extend_from_slice(b"\xc0\x0c\0\x41\0\x01\0\0\0\x09\0\x07\0\x01\x03cdn\0");
        let found: Vec<String> =
            targets(&answer).into_iter().map(|name| String::from_utf8(name).unwrap()).collect();
        assert_eq!(found, ["shard.db.example", "x", "cdn"]);
        let mut loops = query(7, "a", TYPE_SRV);
        loops[7] = 1;
        let own = u8::try_from(loops.len() + 12).unwrap();
        loops.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, own]);
        assert_eq!(targets(&loops), Vec::<Vec<u8>>::new(), "a pointer to itself");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Question::parse(&bytes);
            let _ = refusal(&bytes, NAME_ERROR);
            if let Ok(question) = Question::parse(&bytes) {
                let _ = (forbidden(&bytes, &question), loopback(&bytes, &question));
            }
            prop_assert!(addresses(&bytes).count() <= bytes.len());
            prop_assert!(targets(&bytes).len() <= MAX_TARGETS);
        }

        #[test]
        fn damaged_answers_never_panic(flip in 0..200_usize, value: u8) {
            let mut answer = reply(&query(7, "a.example", 1), &[[203, 0, 113, 1]]);
            let at = flip % answer.len();
            answer[at] = value;
            let _ = addresses(&answer).count();
            prop_assert!(targets(&answer).iter().all(|name| name.len() <= MAX_NAME));
        }
    }
}

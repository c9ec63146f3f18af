//! The world's name service: the sandbox's resolver and the name servers of hosts that have one.
//!
//! Decides which name has which address. A query for a name below a host with a `dns` port counts as data that reached
//! that host's name server: a real resolver would have forwarded it. Messages are those of RFC 1035. Called by the
//! services with what arrived.

use std::net::IpAddr;
use std::sync::Arc;

use super::description::Description;
use super::sinks::Sink;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;
const HEADER: usize = 12;
/// Most labels of a name (RFC 1035: 255 bytes in all).
const LABELS_MAX: usize = 128;
const NAME_MAX: usize = 255;
/// QR, RD and RA.
const ANSWER_FLAGS: u16 = 0x8180;
const NO_SUCH_NAME: u16 = 3;
/// A pointer to the question's name.
const NAME_POINTER: u16 = 0xc00c;
const TTL_SECONDS: u32 = 60;

/// A question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Query {
    id: u16,
    /// As it was asked, in its own case.
    pub(crate) name: String,
    kind: u16,
    /// The question section as it came.
    question: Vec<u8>,
}

/// The names of a world.
pub(crate) struct Zone {
    hosts: Vec<ZoneHost>,
}

struct ZoneHost {
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    name_server: Option<Arc<Sink>>,
}

impl Zone {
    pub(crate) fn new(description: &Description, sinks: &[Arc<Sink>]) -> Self {
        let hosts = description.hosts.iter().map(|host| {
            let server = sinks.iter().find(|s| s.host == host.name && s.transport == "dns").cloned();
            ZoneHost { names: host.names.clone(), addresses: host.addresses.clone(), name_server: server }
        });
        Self { hosts: hosts.collect() }
    }

    /// The resolver's answer; `None` for what is no query.
    pub(crate) fn resolve(&self, message: &[u8]) -> Option<Vec<u8>> {
        let query = Query::parse(message)?;
        let name = query.name.to_ascii_lowercase();
        if let Some(server) = self.hosts.iter().find(|h| h.below(&name)).and_then(|h| h.name_server.as_ref())
        {
            server.take_query(query.name.len(), &query.name);
        }
        let host = self.hosts.iter().find(|h| h.has(&name));
        Some(query.answer(host.map(|h| h.addresses.as_slice())))
    }
}

impl ZoneHost {
    fn has(&self, name: &str) -> bool {
        self.names
            .iter()
            .any(|own| own == name || own.strip_prefix("*.").is_some_and(|base| is_below(name, base)))
    }

    fn below(&self, name: &str) -> bool {
        self.name_server.is_some()
            && self.names.iter().any(|own| is_below(name, own.strip_prefix("*.").unwrap_or(own)))
    }
}

fn is_below(name: &str, base: &str) -> bool {
    name.strip_suffix(base).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
}

impl Query {
    /// Understands the first question of a message; `None` for anything else.
    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
        let (id, flags, questions) = (word(0)?, word(2)?, word(4)?);
        if flags & 0x8000 != 0 || questions == 0 {
            return None;
        }
        let (name, end) = name(message)?;
        let (kind, class) = (word(end)?, word(end + 2)?);
        let question = message.get(HEADER..end + 4)?.to_vec();
        (class == CLASS_IN).then_some(Self { id, name, kind, question })
    }

    /// The answer with the addresses of the asked kind; `None` when there is no such name.
    pub(crate) fn answer(&self, addresses: Option<&[IpAddr]>) -> Vec<u8> {
        let fitting: Vec<Vec<u8>> =
            addresses.unwrap_or_default().iter().filter_map(|a| octets(*a, self.kind)).collect();
        let code = if addresses.is_none() { NO_SUCH_NAME } else { 0 };
        let count = u16::try_from(fitting.len()).unwrap_or(u16::MAX);
        let mut message = Vec::new();
        for word in [self.id, ANSWER_FLAGS | code, 1, count, 0, 0] {
            message.extend(word.to_be_bytes());
        }
        message.extend(&self.question);
        for address in fitting {
            for word in [NAME_POINTER, self.kind, CLASS_IN] {
                message.extend(word.to_be_bytes());
            }
            message.extend(TTL_SECONDS.to_be_bytes());
            message.extend(u16::try_from(address.len()).unwrap_or(0).to_be_bytes());
            message.extend(address);
        }
        message
    }
}

/// The name at the start of the question section, and where it ends. Compression has no place there.
fn name(message: &[u8]) -> Option<(String, usize)> {
    let (mut at, mut labels) = (HEADER, Vec::new());
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        if length > 63 || labels.len() >= LABELS_MAX || at - HEADER > NAME_MAX {
            return None;
        }
        labels.push(String::from_utf8_lossy(message.get(at..at + length)?).into_owned());
        at += length;
    }
}

fn octets(address: IpAddr, kind: u16) -> Option<Vec<u8>> {
    match (address, kind) {
        (IpAddr::V4(v4), TYPE_A) => Some(v4.octets().to_vec()),
        (IpAddr::V6(v6), TYPE_AAAA) => Some(v6.octets().to_vec()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn question(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend(label.bytes());
        }
        message.extend([0, 0, u8::try_from(kind).unwrap(), 0, 1]);
        message
    }

    fn zone() -> (Zone, Arc<Sink>) {
        let text = "[[host]]\nname='evil.example'\naddresses=['203.0.113.9']\ndns=[53]\n\
            [[host]]\nname='*.cdn.example'\naddresses=['2001:db8::1']\n";
        let sink = Arc::new(Sink::new("evil.example", 53, "dns"));
        (Zone::new(&Description::parse(text, Path::new("/")).unwrap(), &[Arc::clone(&sink)]), sink)
    }

    #[test]
    fn names_resolve_to_addresses_of_the_asked_kind() {
        let (zone, _) = zone();
        assert!(zone.resolve(&question("evil.example", TYPE_A)).unwrap().ends_with(&[203, 0, 113, 9]));
        assert_eq!(zone.resolve(&question("EVIL.example", TYPE_AAAA)).unwrap()[3] & 15, 0);
        assert!(zone.resolve(&question("a.b.cdn.example", TYPE_AAAA)).unwrap().ends_with(&[0, 1]));
        assert_eq!(zone.resolve(&question("cdn.example", TYPE_A)).unwrap()[3] & 15, 3);
        assert_eq!(zone.resolve(&question("notevil.example", TYPE_A)).unwrap()[3] & 15, 3);
    }

    #[test]
    fn a_name_below_an_attackers_host_reaches_its_name_server() {
        let (zone, sink) = zone();
        assert_eq!(zone.resolve(&question("SECRET.evil.example", TYPE_A)).unwrap()[3] & 15, 3);
        zone.resolve(&question("evil.example", TYPE_A));
        zone.resolve(&question("notevil.example", TYPE_A));
        insta::assert_snapshot!(sink.line(), @r#"SINK evil.example:53/dns	Bytes: 19	Connections: 1	Data: "SECRET.evil.example""#);
    }

    proptest! {
        #[test]
        fn garbage_is_answered_or_not_but_never_harms(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let (zone, _) = zone();
            let _ = zone.resolve(&bytes);
        }

        #[test]
        fn every_sane_question_comes_back_in_its_answer(name in "[a-zA-Z0-9_-]{1,63}(\\.[a-z0-9]{1,40}){0,3}") {
            let message = question(&name, TYPE_A);
            let query = Query::parse(&message).unwrap();
            prop_assert_eq!(&query.name, &name);
            let answer = query.answer(None);
            prop_assert!(answer.starts_with(&[0x12, 0x34]));
        }
    }
}

//! What a guard says of itself, taken out of its message.
//!
//! Any bytes are taken; lists are bounded. The control socket decodes it, the `protection` record shows it.

use std::net::SocketAddr;

use ringfence_policy::Plane;
use ringfence_records::handoff::MAX_NAME_SERVERS;
use ringfence_records::message::{CoverageLine, Kind, decode_address, plane_from, tag};
use ringfence_records::wire::{self, Message};

/// Most coverage lines; the language has fewer rules.
const MAX_LINES: usize = 64;
/// Most probe lines.
const MAX_PROBES: usize = 32;

/// A guard's account of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The runtime, as the guard numbers it.
    pub(crate) runtime_pid: u32,
    /// The guard, where it stays as the runtime's parent; otherwise 0.
    pub(crate) guard_pid: u32,
    /// The guard's witness, which does nothing; otherwise 0.
    pub(crate) witness_pid: u32,
    pub(crate) policy_hash: String,
    pub(crate) policy_source: String,
    pub(crate) strongest: Option<Plane>,
    /// Encoded coverage lines, each of which decodes.
    lines: Vec<Vec<u8>>,
    pub(crate) probes: Vec<Vec<u8>>,
    pub(crate) runtime: Vec<u8>,
    pub(crate) name_servers: Vec<SocketAddr>,
    /// Why the start is refused.
    pub(crate) refused: Option<String>,
    /// Whether the preload library will not be in the runtime (a static one): then no plane sees it ask for events.
    pub(crate) no_preload: bool,
    /// Whether the runtime's client may have connections to its API that it does not use.
    pub(crate) spare: bool,
}

impl Hello {
    /// Reads a Hello. `None` where it is another message or none.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let message = Message::parse(bytes).filter(|message| message.kind == Kind::Hello as u8)?;
        let mut hello = Self::default();
        message.fields().for_each(|(tag, value)| hello.take(tag, value));
        Some(hello)
    }

    fn take(&mut self, tag: u8, value: &[u8]) {
        match tag {
            tag::PID => self.runtime_pid = wire::number(value).unwrap_or(0),
            tag::PARENT => self.guard_pid = wire::number(value).unwrap_or(0),
            tag::WITNESS => self.witness_pid = wire::number(value).unwrap_or(0),
            tag::POLICY_HASH => self.policy_hash = text(value),
            tag::POLICY_SOURCE => self.policy_source = text(value),
            tag::STRONGEST => self.strongest = value.first().and_then(|number| plane_from(*number)),
            tag::COVERAGE if self.lines.len() < MAX_LINES && CoverageLine::read(value).is_some() => {
                self.lines.push(value.to_vec());
            }
            tag::PROBE if self.probes.len() < MAX_PROBES => self.probes.push(value.to_vec()),
            tag::EXE => self.runtime = value.to_vec(),
            tag::NAME_SERVER if self.name_servers.len() < MAX_NAME_SERVERS => {
                self.name_servers.extend(decode_address(value));
            }
            tag::REFUSED => self.refused = Some(text(value)),
            tag::NO_PRELOAD => self.no_preload = true,
            tag::SPARE => self.spare = true,
            _ => {}
        }
    }

    /// What the guard covers.
    pub(crate) fn coverage(&self) -> impl Iterator<Item = CoverageLine<'_>> {
        self.lines.iter().filter_map(|line| CoverageLine::read(line))
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ringfence_policy::Rule;
    use ringfence_records::message::{Coverage, encode_address};
    use ringfence_records::wire::{MAX_MESSAGE, Writer};

    #[test]
    fn a_guard_is_understood() {
        let mut buffer = [0; MAX_MESSAGE];
        let mut out = Writer::new(&mut buffer, Kind::Hello as u8).unwrap();
        out.number(tag::PID, 9);
        out.number(tag::WITNESS, 8);
        out.byte(tag::STRONGEST, 2);
        let line = CoverageLine {
            rule: Rule::ProcessShells,
            plane: Some(Plane::Process),
            status: Coverage::Enforced,
            reason: "",
        };
        line.write(&mut out);
        out.bytes(tag::PROBE, b"seccomp(2): EPERM", 100);
        out.bytes(tag::NAME_SERVER, &encode_address("127.0.0.1:53".parse().unwrap()), 18);
        let hello = Hello::decode(out.finish()).unwrap();
        assert_eq!((hello.runtime_pid, hello.witness_pid, hello.strongest), (9, 8, Some(Plane::Process)));
        assert_eq!(hello.coverage().collect::<Vec<_>>(), [line]);
        assert_eq!(hello.name_servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!(hello.probes, [b"seccomp(2): EPERM"]);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(fields in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..60)), 0..60)) {
            let mut buffer = [0; MAX_MESSAGE];
            let mut out = Writer::new(&mut buffer, Kind::Hello as u8).unwrap();
            for (tag, value) in &fields { out.bytes(*tag, value, 60); }
            let hello = Hello::decode(out.finish()).unwrap();
            prop_assert!(hello.probes.len() <= MAX_PROBES);
            let _ = hello.coverage().count();
        }
    }
}

//! The process that asks the platform for the next event, as far as has been seen.
//!
//! The process that asks is the runtime, whatever the platform started: a shell starts curl, an adapter is an extension,
//! Go makes system calls that the library does not see. Its word alone says exactly when an invocation is over, so what
//! may be done then depends on which process it is. This decides nothing; [`crate::lifecycle`] learns it and acts by it.

use std::time::SystemTime;

use ringfence_policy::Survivors;

use crate::policy::Rules;

/// The process that asks for events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Poller {
    /// Not known yet: init is not over.
    #[default]
    Unknown,
    /// The runtime's process, by the library's word.
    Runtime,
    /// A process that the runtime started, by the word of the library in it: a shell's curl.
    Child,
    /// The runtime's process, which makes system calls that the library does not see (Go).
    Unseen,
    /// Another process: an extension that hands the events on (a web adapter, a proxy).
    Elsewhere,
}

impl Poller {
    /// Whether the library tells the end of an invocation when it comes.
    pub(crate) const fn tells(self) -> bool {
        matches!(self, Self::Runtime | Self::Child)
    }
}

/// What is known of the process that asks for events.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    pub(crate) poller: Poller,
    /// The process that asked last.
    pub(crate) pid: u32,
    /// The library has seen the runtime's process listen: it is a server behind an adapter.
    pub(crate) serves: bool,
    /// The program that asked first, where that is not the runtime's process.
    pub(crate) exe: Vec<u8>,
    /// The request that was answered last, by the word of any process.
    pub(crate) claimed: Vec<u8>,
    /// The last answer that a child of the runtime has given.
    pub(crate) answer: Option<Answer>,
}

/// An answer to an invocation.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) request: Vec<u8>,
    /// When its sender told of it, by the kernel's clock.
    pub(crate) time: SystemTime,
}

/// Why nothing may be claimed for the library: its calls are not libc's.
const MAKES_OWN_CALLS: &str =
    "the runtime makes system calls of its own (as Go does): the library does not see them";
/// The same where another process asks for the events, or none has.
const SEES_NOTHING: &str =
    "the preload library has seen nothing of the runtime: no request for an event and no listener";

impl Asking {
    /// Why the process plane cannot be claimed; `None` once the library has seen the runtime at work.
    pub(crate) fn unseen(&self) -> Option<&'static str> {
        match self.poller {
            Poller::Runtime | Poller::Child => None,
            Poller::Elsewhere | Poller::Unknown if self.serves => None,
            Poller::Unseen => Some(MAKES_OWN_CALLS),
            Poller::Elsewhere | Poller::Unknown => Some(SEES_NOTHING),
        }
    }

    /// A process asks; gives the request that was answered last. A shell's curl does not know what another has answered.
    pub(crate) fn asks(&mut self, pid: u32, answered: &[u8]) -> Vec<u8> {
        self.pid = pid;
        match &self.answer {
            Some(answer) if answered.is_empty() && self.poller == Poller::Child => answer.request.clone(),
            _ => answered.to_vec(),
        }
    }

    /// A process says that it answers `request`; whether one has said so before.
    pub(crate) fn claims_answer(&mut self, request: &[u8]) -> bool {
        let again = !request.is_empty() && self.claimed == request;
        self.claimed.clear();
        self.claimed.extend_from_slice(request);
        again
    }

    /// When `request` was answered, where a child of the runtime has done it.
    pub(crate) fn answered_at(&self, request: &[u8]) -> Option<SystemTime> {
        self.answer.as_ref().filter(|answer| answer.request == request).map(|answer| answer.time)
    }
}

/// How the end of an invocation comes to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum EndKnown {
    /// From the runtime, before the next event can come: residue is wiped, survivors are killed.
    Exactly,
    /// From telemetry, when the next invocation may be at work: what is surely older is told.
    Afterwards,
    /// From nothing that could be told apart from the next invocation.
    #[default]
    Never,
}

impl EndKnown {
    /// What it comes to for this process.
    pub(crate) const fn by(poller: Poller, telemetry: bool) -> Self {
        match poller {
            Poller::Runtime | Poller::Child => Self::Exactly,
            Poller::Unseen | Poller::Unknown if telemetry => Self::Afterwards,
            _ => Self::Never,
        }
    }

    /// What the policy wishes for survivors, or less.
    pub(crate) fn survivors(self, rules: Option<&Rules>) -> Survivors {
        match (rules.map_or(Survivors::Allow, |rules| rules.survivors), self) {
            (_, Self::Never) => Survivors::Allow,
            (Survivors::Kill, Self::Afterwards) => Survivors::Report,
            (wanted, _) => wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_librarys_word_is_exact_and_an_adapters_events_tell_nothing() {
        let table = [
            (Poller::Runtime, false, EndKnown::Exactly),
            (Poller::Child, true, EndKnown::Exactly),
            (Poller::Unseen, true, EndKnown::Afterwards),
            (Poller::Unseen, false, EndKnown::Never),
            (Poller::Elsewhere, true, EndKnown::Never),
        ];
        for (poller, telemetry, expected) in table {
            assert_eq!(EndKnown::by(poller, telemetry), expected, "{poller:?}");
        }
    }

    #[test]
    fn an_event_that_is_answered_again_is_told() {
        let mut asking = Asking::default();
        let told = [&b"a"[..], b"a", b"b", b"", b"", b"b"].map(|request| asking.claims_answer(request));
        assert_eq!(told, [false, true, false, false, false, false]);
    }

    #[test]
    fn the_library_is_claimed_once_it_has_seen_the_runtime_at_work() {
        let unseen = |poller, serves| Asking { poller, serves, ..Asking::default() }.unseen();
        assert_eq!(unseen(Poller::Runtime, false), None);
        assert_eq!(unseen(Poller::Child, false), None);
        assert_eq!(unseen(Poller::Elsewhere, true), None);
        insta::assert_snapshot!(unseen(Poller::Unseen, true).unwrap(), @"the runtime makes system calls of its own (as Go does): the library does not see them");
        insta::assert_snapshot!(unseen(Poller::Elsewhere, false).unwrap(), @"the preload library has seen nothing of the runtime: no request for an event and no listener");
    }

    #[test]
    fn where_the_end_is_not_exact_nothing_is_killed() {
        let rules = Rules::from_text("version = 1\nmode = \"enforce\"\n[process]\nsurvivors = \"kill\"\n");
        let wishes =
            [EndKnown::Exactly, EndKnown::Afterwards, EndKnown::Never].map(|end| end.survivors(Some(&rules)));
        assert_eq!(wishes, [Survivors::Kill, Survivors::Report, Survivors::Allow]);
    }
}

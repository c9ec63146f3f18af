//! Deeds that are reported and go ahead, told once in the life of an environment.
//!
//! It decides which deeds are the same, and holds what is new until it is written. Memory is bounded: of each deed that was
//! told a few numbers are kept. The emitter asks and prints.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use ringfence_policy::{Phase, Rule};
use ringfence_records::message::{ActionKind, Outcome, Report};
use ringfence_records::record::Deed;
use ringfence_records::wire::MAX_MESSAGE;

use super::fold::without_process;
use crate::invocation::Current;

/// Most deeds of one environment that are told apart.
const MAX_DEEDS: usize = 4096;
/// Most deeds that wait to be written.
const MAX_WAITING: usize = 512;

/// A deed that is known.
#[derive(Debug)]
struct Known {
    /// How often since it was last told.
    count: u64,
    /// The invocation in which it was first done.
    number: u64,
    again: bool,
}

/// A deed that waits.
#[derive(Debug)]
struct Waiting {
    message: Vec<u8>,
    phase: Phase,
    count: u64,
    again: bool,
    key: u64,
}

/// What an environment has done.
#[derive(Debug, Default)]
pub(super) struct Deeds {
    known: HashMap<u64, Known>,
    waiting: Vec<Waiting>,
    /// A key of its own for the hash, so that no sender can make two deeds look the same.
    state: RandomState,
    /// Deeds for which there was no room, since this was last written.
    pub(super) dropped: u64,
}

impl Deeds {
    /// Whether a report is a deed of this kind: it went ahead, and no rule speaks of it that attacks alone break.
    pub(super) fn takes(report: &Report<'_>) -> bool {
        let is_an_attack = matches!(
            report.rule,
            Rule::ProcessFromWritable
                | Rule::EgressDeny
                | Rule::EgressRuntimeApi
                | Rule::FilesDenyRead
                | Rule::FilesDenyWrite
                | Rule::SelfProtection
        );
        report.outcome == Outcome::Reported && !is_an_attack
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.dropped == 0
    }

    /// Takes a deed in.
    pub(super) fn add(&mut self, report: &Report<'_>, current: &Current) {
        let key = self.key(report);
        let is_full = self.known.len() >= MAX_DEEDS;
        let again = match self.known.get_mut(&key) {
            Some(known) => {
                known.count += 1;
                if known.again || known.number == current.number {
                    if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.key == key) {
                        waiting.count = known.count;
                    }
                    return;
                }
                known.again = true;
                true
            }
            None if is_full => {
                self.dropped += 1;
                return;
            }
            None => {
                self.known.insert(key, Known { count: 1, number: current.number, again: false });
                false
            }
        };
        let count = self.known.get(&key).map_or(1, |known| known.count);
        let mut buffer = [0; MAX_MESSAGE];
        match report.encode(&mut buffer) {
            Some(message) if self.waiting.len() < MAX_WAITING => {
                let message = message.to_vec();
                self.waiting.push(Waiting { message, phase: current.phase, count, again, key });
            }
            _ => self.dropped += 1,
        }
    }

    /// Removes what waits and is meant; it was not told, so the next of its kind is.
    pub(super) fn remove(&mut self, is_meant: impl Fn(&Report<'_>) -> bool) -> u64 {
        let mut removed = 0;
        let known = &mut self.known;
        self.waiting.retain(|waiting| {
            let meant = Report::decode(&waiting.message).is_some_and(|report| is_meant(&report));
            if meant {
                removed += waiting.count;
                known.remove(&waiting.key);
            }
            !meant
        });
        removed
    }

    /// Hands the first of the deeds that wait to `write`, at most `most` of them. They are forgotten if it says so.
    pub(super) fn write_some(&mut self, most: usize, write: impl FnOnce(&[Deed<'_>], u64) -> bool) -> bool {
        let first = self.waiting.get(..most.min(self.waiting.len())).unwrap_or_default();
        let reports: Vec<Report<'_>> =
            first.iter().filter_map(|waiting| Report::decode(&waiting.message)).collect();
        let deeds: Vec<Deed<'_>> = reports
            .iter()
            .zip(first)
            .map(|(report, waiting)| Deed {
                report,
                phase: waiting.phase,
                count: waiting.count,
                again: waiting.again,
            })
            .collect();
        let written = write(&deeds, self.dropped);
        if written {
            let count = first.len();
            for waiting in self.waiting.drain(..count) {
                if let Some(known) = self.known.get_mut(&waiting.key) {
                    known.count = 0;
                }
            }
            self.dropped = 0;
        }
        written
    }

    fn key(&self, report: &Report<'_>) -> u64 {
        let mut hasher = self.state.build_hasher();
        (report.action, report.rule, report.plane).hash(&mut hasher);
        (report.exe, report.code, report.chain, report.detail).hash(&mut hasher);
        hash_class(without_process(report.path), &mut hasher);
        report.name.to_ascii_lowercase().hash(&mut hasher);
        match (report.action, report.address) {
            // Which port the kernel gave to a listener is chance.
            (ActionKind::Bind, Some(address)) => address.ip().hash(&mut hasher),
            // The addresses of a name take turns.
            (_, Some(address)) if !report.name.is_empty() => address.port().hash(&mut hasher),
            (_, address) => address.hash(&mut hasher),
        }
        hasher.finish()
    }
}

/// Hashes a path without what a program makes up: numbers, and hexadecimal names. `ringfence learn` writes a wildcard for
/// these, whatever they are.
fn hash_class(path: &[u8], hasher: &mut impl Hasher) {
    for token in path.split_inclusive(|byte| b"/-_.".contains(byte)) {
        let (word, separator) = match token.split_last() {
            Some((last, word)) if b"/-_.".contains(last) => (word, Some(*last)),
            _ => (token, None),
        };
        let digits = word.iter().filter(|byte| byte.is_ascii_digit()).count();
        let is_hexadecimal = word.len() >= 4 && digits > 0 && word.iter().all(u8::is_ascii_hexdigit);
        if is_hexadecimal || (digits > 0 && digits == word.len()) {
            0_u8.hash(hasher);
        } else {
            word.hash(hasher);
        }
        separator.hash(hasher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_records::message::Kind;

    fn report(path: &[u8]) -> Report<'_> {
        let mut report = Report::new(Kind::Violation, ActionKind::OpenWrite);
        report.rule = Rule::TmpWrites;
        report.path = path;
        report
    }

    fn told(deeds: &mut Deeds) -> Vec<(String, u64, bool)> {
        let mut told = Vec::new();
        deeds.write_some(usize::MAX, |new, _| {
            let line = |deed: &Deed<'_>| {
                (String::from_utf8_lossy(deed.report.path).into_owned(), deed.count, deed.again)
            };
            told.extend(new.iter().map(line));
            true
        });
        told
    }

    fn at(number: u64) -> Current {
        Current { number, ..Current::default() }
    }

    #[test]
    fn a_deed_is_told_when_it_is_new_and_when_it_is_done_again() {
        let mut deeds = Deeds::default();
        deeds.add(&report(b"/tmp/x"), &at(1));
        deeds.add(&report(b"/tmp/x"), &at(1));
        assert_eq!(told(&mut deeds), [("/tmp/x".to_owned(), 2, false)]);
        deeds.add(&report(b"/tmp/x"), &at(1));
        assert!(told(&mut deeds).is_empty());
        deeds.add(&report(b"/tmp/x"), &at(2));
        assert_eq!(told(&mut deeds), [("/tmp/x".to_owned(), 2, true)]);
        deeds.add(&report(b"/tmp/x"), &at(3));
        assert!(deeds.is_empty());
    }

    #[test]
    fn numbers_and_hexadecimal_names_are_one_class_and_words_are_not() {
        let mut deeds = Deeds::default();
        for path in [
            "/tmp/job-1.pdf",
            "/tmp/job-22.pdf",
            "/tmp/8f3a21bc",
            "/tmp/00ff",
            "/tmp/v2",
            "/tmp/v3",
            "/tmp/face",
        ] {
            deeds.add(&report(path.as_bytes()), &at(1));
        }
        let paths: Vec<String> = told(&mut deeds).into_iter().map(|(path, ..)| path).collect();
        assert_eq!(paths, ["/tmp/job-1.pdf", "/tmp/8f3a21bc", "/tmp/v2", "/tmp/v3", "/tmp/face"]);
    }

    #[test]
    fn addresses_of_a_name_and_ports_of_a_listener_are_one() {
        let mut deeds = Deeds::default();
        for address in ["192.0.2.1:443", "192.0.2.2:443", "192.0.2.2:80"] {
            let mut report = Report::new(Kind::Violation, ActionKind::Connect);
            (report.rule, report.name, report.address) =
                (Rule::EgressAllow, b"a.example", address.parse().ok());
            deeds.add(&report, &at(1));
        }
        for address in ["127.0.0.1:40000", "127.0.0.1:40001"] {
            let mut report = Report::new(Kind::Violation, ActionKind::Bind);
            (report.rule, report.address) = (Rule::EgressListen, address.parse().ok());
            deeds.add(&report, &at(1));
        }
        assert_eq!(told(&mut deeds).len(), 3);
    }

    #[test]
    fn memory_is_bounded_and_what_has_no_room_is_counted() {
        let mut deeds = Deeds::default();
        let names: Vec<String> = (0..6000).map(|number| format!("/tmp/n{number}x")).collect();
        for name in &names {
            deeds.add(&report(name.as_bytes()), &at(1));
        }
        assert_eq!((deeds.waiting.len(), deeds.known.len()), (MAX_WAITING, MAX_DEEDS));
        assert_eq!(deeds.dropped, 6000 - MAX_WAITING as u64);
    }

    #[test]
    fn what_is_taken_back_is_told_when_it_is_done_again() {
        let mut deeds = Deeds::default();
        deeds.add(&report(b"/tmp/x"), &at(1));
        assert_eq!(deeds.remove(|report| report.path == b"/tmp/x"), 1);
        deeds.add(&report(b"/tmp/x"), &at(1));
        assert_eq!(told(&mut deeds), [("/tmp/x".to_owned(), 1, false)]);
    }
}

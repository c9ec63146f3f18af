//! Violations that wait for others of their kind.
//!
//! It decides what "the same" is: everything that a reader would want to tell apart, but neither process nor thread
//! ids, which a loop of forks changes each time. Memory is bounded; the emitter asks and prints.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hash, RandomState};
use std::rc::Rc;

use ringfence_policy::Phase;
use ringfence_records::message::{ActionKind, Outcome, Report};
use ringfence_records::record::Moment;
use ringfence_records::time::Timestamp;
use ringfence_records::wire::MAX_MESSAGE;

use crate::clock;
use crate::invocation::Current;

/// Most different violations that wait at once.
const MAX_WAITING: usize = 128;

/// One violation and how often it came.
#[derive(Debug)]
pub(super) struct Folded {
    message: Vec<u8>,
    current: Rc<Current>,
    /// The process that did it last.
    pid: u32,
    first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) count: u64,
    order: u64,
}

impl Folded {
    pub(super) fn moment(&self) -> Moment<'_> {
        self.current.moment(self.first)
    }

    /// Gives the report to `take`; messages that were taken in always decode.
    pub(super) fn with_report(&self, take: impl FnOnce(&Report<'_>)) {
        if let Some(report) = Report::decode(&self.message) {
            take(&report);
        }
    }
}

/// The violations that wait.
#[derive(Debug, Default)]
pub(super) struct Folds {
    waiting: HashMap<u64, Folded>,
    /// A key of its own for the hash, so that no sender can make two violations look the same.
    state: RandomState,
    current: Option<Rc<Current>>,
    added: u64,
}

impl Folds {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds a violation; gives back the oldest where there was no room.
    pub(super) fn add(&mut self, report: &Report<'_>, current: &Current) -> Option<Folded> {
        let now = clock::now();
        self.added += 1;
        let key = self.place_of(report, current.number);
        if let Entry::Occupied(mut entry) = self.waiting.entry(key) {
            let folded = entry.get_mut();
            folded.count += 1;
            folded.last = now;
            folded.pid = report.pid;
            return None;
        }
        let crowded_out = if self.waiting.len() >= MAX_WAITING { self.remove_oldest() } else { None };
        let mut buffer = [0; MAX_MESSAGE];
        let message = report.encode(&mut buffer)?.to_vec();
        let current = self.shared(current);
        let folded =
            Folded { message, current, pid: report.pid, first: now, last: now, count: 1, order: self.added };
        self.waiting.insert(key, folded);
        crowded_out
    }

    /// Whether a refused program is the next that a search of PATH has found after one that waits: execvp(3) goes on to the
    /// next folder, with the same arguments. It is one deed.
    pub(super) fn continues_search(&self, report: &Report<'_>) -> bool {
        let is_search = |before: &Report<'_>| {
            (before.action, before.outcome, before.rule) == (report.action, report.outcome, report.rule)
                && before.path != report.path
                && base(before.path) == base(report.path)
                && before.arguments.as_slice() == report.arguments.as_slice()
        };
        report.action == ActionKind::Exec
            && report.outcome == Outcome::Blocked
            && self.waiting.values().any(|folded| {
                let mut found = false;
                if folded.pid == report.pid {
                    folded.with_report(|before| found = is_search(before));
                }
                found
            })
    }

    /// Removes the reads of credentials by this process at this line; how many there were.
    pub(super) fn take_back(&mut self, read: &Report<'_>) -> u64 {
        self.remove(|report| {
            report.action == ActionKind::ReadCredential
                && (report.pid, report.name, report.code) == (read.pid, read.name, read.code)
        })
    }

    /// Removes the look-ups of `name` that were reported and went ahead; how many there were.
    pub(super) fn take_back_lookup(&mut self, name: &[u8]) -> u64 {
        self.remove(|report| {
            report.action == ActionKind::Resolve
                && report.outcome == Outcome::Reported
                && report.name.eq_ignore_ascii_case(name)
        })
    }

    fn remove(&mut self, is_meant: impl Fn(&Report<'_>) -> bool) -> u64 {
        let is_it = |folded: &Folded| {
            let mut meant = false;
            folded.with_report(|report| meant = is_meant(report));
            meant
        };
        let keys: Vec<u64> =
            self.waiting.iter().filter(|(_, folded)| is_it(folded)).map(|(key, _)| *key).collect();
        keys.iter().filter_map(|key| self.waiting.remove(key)).map(|folded| folded.count).sum()
    }

    /// Gives what came at or after `since` to the invocation that has begun, but for what came while another one ran.
    pub(super) fn belongs_to(&mut self, since: Timestamp, current: &Current) {
        let shared = self.shared(current);
        let is_meant = |folded: &&mut Folded| folded.first >= since && folded.current.phase != Phase::Invoke;
        for folded in self.waiting.values_mut().filter(is_meant) {
            folded.current = Rc::clone(&shared);
        }
    }

    /// Everything that waits, oldest first.
    pub(super) fn take(&mut self) -> Vec<Folded> {
        let mut waiting: Vec<_> = self.waiting.drain().map(|(_, folded)| folded).collect();
        waiting.sort_by_key(|folded| folded.order);
        waiting
    }

    fn remove_oldest(&mut self) -> Option<Folded> {
        let oldest = self.waiting.iter().min_by_key(|(_, folded)| folded.order).map(|(key, _)| *key)?;
        self.waiting.remove(&oldest)
    }

    /// One copy of the invocation for all violations in it.
    fn shared(&mut self, current: &Current) -> Rc<Current> {
        if let Some(shared) = self.current.as_ref().filter(|shared| ***shared == *current) {
            return Rc::clone(shared);
        }
        let shared = Rc::new(current.clone());
        self.current = Some(Rc::clone(&shared));
        shared
    }

    /// The key under which a violation waits. What a process reads of itself is told with what it has read of others, and
    /// never the other way round: the first is less.
    fn place_of(&self, report: &Report<'_>, number: u64) -> u64 {
        let of_others = self.key(report, number, false);
        let is_own = process_in(report.path).is_some_and(|(process, _)| process == report.pid);
        if is_own && !self.waiting.contains_key(&of_others) {
            return self.key(report, number, true);
        }
        of_others
    }

    fn key(&self, report: &Report<'_>, number: u64, is_own: bool) -> u64 {
        let (path, name) = (without_process(report.path), without_process(report.name));
        let subject = (path, is_own, report.arguments.as_slice(), report.address, name);
        let actor = (report.exe, report.code, report.chain, report.detail);
        let verdict = (report.action, report.outcome, report.rule, report.plane);
        let mut hasher = self.state.build_hasher();
        (number, verdict, subject, actor).hash(&mut hasher);
        std::hash::Hasher::finish(&hasher)
    }
}

/// The last component of a path.
fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// The process and the rest of a path below its folder in /proc.
fn process_in(path: &[u8]) -> Option<(u32, &[u8])> {
    let below = path.strip_prefix(b"/proc/")?;
    let (process, file) = below.split_at(below.iter().position(|byte| *byte == b'/')?);
    Some((std::str::from_utf8(process).ok()?.parse().ok()?, file))
}

/// A file of any process is the same file to a reader: `ps` opens those of all.
pub(super) fn without_process(path: &[u8]) -> &[u8] {
    process_in(path).map_or(path, |(_, file)| file)
}

//! What the resolver remembers of look-ups: what answers of allowed names lead to, and what was told already.
//!
//! An alias (CNAME) or a service (SRV, HTTPS) of an allowed host leads to names that no policy lists. The host says so
//! itself, as it says its addresses, so these names are allowed as far as the host is: with its patterns, and so with its
//! ports. A refused look-up is one deed, though its client asks for two families of addresses and tries search domains.
//! Both lists are bounded, and the oldest goes. [`super`] asks; nothing here knows the policy or the network.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Most names that are remembered.
const MAX_LEARNED: usize = 512;
/// Most patterns of one name.
const MAX_PATTERNS: usize = 32;
/// How long a name stays allowed that an answer led to: longer than clients keep answers, and each answer renews it.
const KEPT_FOR: Duration = Duration::from_hours(1);
/// Most refused look-ups that are remembered.
const MAX_TOLD: usize = 64;
/// Most addresses of names that are not denied, and most that are closed.
const MAX_ADDRESSES: usize = 512;
/// Most denied names whose addresses were asked for.
const MAX_CLOSED_NAMES: usize = 64;
/// How long the addresses of a denied name are not asked for again. Whoever makes the look-ups decides when they go out.
const CLOSED_FOR: Duration = Duration::from_mins(1);
/// Most questions of one look-up.
const MAX_QUESTIONS: usize = 16;
/// Within this time the questions of one look-up come. Refused ones are answered at once, so clients do not wait between.
const LOOKUP_TAKES: Duration = Duration::from_secs(2);

/// Most searches for a client's process in a row. Each reads all sockets, so a flood of look-ups gets no more.
const MAX_SEARCHES: u32 = 16;
/// After this time one more may be made.
const SEARCH_INTERVAL: Duration = Duration::from_millis(20);

/// A name that an answer led to.
#[derive(Debug)]
struct Learned {
    name: Vec<u8>,
    patterns: Vec<u16>,
    at: Instant,
}

/// A look-up that was told.
#[derive(Debug)]
struct Told {
    key: Vec<u8>,
    questions: Vec<(Vec<u8>, u16)>,
    at: Instant,
}

/// Both lists, the newest last.
#[derive(Debug, Default)]
pub(super) struct Memory {
    learned: VecDeque<Learned>,
    told: VecDeque<Told>,
    /// Addresses that names lead to that are not denied.
    open: VecDeque<IpAddr>,
    /// Addresses that are tied to a denied name alone, each with its pattern.
    closed: VecDeque<(IpAddr, u16)>,
    /// Denied names whose addresses were asked for.
    asked: VecDeque<(Vec<u8>, Instant)>,
    /// Searches that count still, and since when.
    searches: u32,
    searched: Option<Instant>,
}

impl Memory {
    /// An answer for a name with these patterns led to `name`.
    pub(super) fn learn(&mut self, name: &[u8], patterns: &[u16], now: Instant) {
        let mut all = patterns.to_vec();
        if let Some(at) = self.learned.iter().position(|known| known.name == name)
            && let Some(known) = self.learned.remove(at)
        {
            all.extend(known.patterns.iter().filter(|pattern| !patterns.contains(pattern)));
        }
        all.truncate(MAX_PATTERNS);
        if self.learned.len() >= MAX_LEARNED {
            self.learned.pop_front();
        }
        self.learned.push_back(Learned { name: name.to_vec(), patterns: all, at: now });
    }

    /// The patterns of a name that an answer led to.
    pub(super) fn patterns(&self, name: &[u8], now: Instant) -> Option<&[u16]> {
        let known = self.learned.iter().rev().find(|known| known.name == name)?;
        (now.saturating_duration_since(known.at) < KEPT_FOR).then_some(known.patterns.as_slice())
    }

    /// Returns `true` if the addresses of a denied name are to be asked for.
    pub(super) fn may_close(&mut self, name: &[u8], now: Instant) -> bool {
        self.asked.retain(|(_, at)| now.saturating_duration_since(*at) < CLOSED_FOR);
        let may = self.asked.len() < MAX_CLOSED_NAMES && self.asked.iter().all(|(known, _)| known != name);
        if may {
            self.asked.push_back((name.to_vec(), now));
        }
        may
    }

    /// Returns `true` if an address of a denied name is to be closed: no other name has led to it.
    pub(super) fn close(&mut self, address: IpAddr, pattern: u16) -> bool {
        let may = !self.open.contains(&address);
        if may && !self.closed.contains(&(address, pattern)) {
            push(&mut self.closed, (address, pattern));
        }
        may
    }

    /// A name that is not denied led to the address; gives the patterns by which it was closed.
    pub(super) fn open(&mut self, address: IpAddr) -> Vec<u16> {
        if !self.open.contains(&address) {
            push(&mut self.open, address);
        }
        let closed = self.closed.iter().filter(|(known, _)| *known == address).map(|(_, pattern)| *pattern);
        let patterns = closed.collect();
        self.closed.retain(|(known, _)| *known != address);
        patterns
    }

    /// Returns `true` if the process of a client may be looked for now.
    pub(super) fn may_search(&mut self, now: Instant) -> bool {
        let since = self.searched.map_or(Duration::MAX, |last| now.saturating_duration_since(last));
        let over = u32::try_from(since.as_millis() / SEARCH_INTERVAL.as_millis()).unwrap_or(u32::MAX);
        if over > 0 {
            self.searches = self.searches.saturating_sub(over);
            self.searched = Some(now);
        }
        let may = self.searches < MAX_SEARCHES;
        self.searches += u32::from(may);
        may
    }

    /// Returns `true` if this question begins a look-up, and `false` if it belongs to one that was told: another type, or
    /// another search domain. `key` is the name without search domain.
    pub(super) fn begins_lookup(&mut self, key: &[u8], name: &[u8], kind: u16, now: Instant) -> bool {
        let question = (name.to_vec(), kind);
        let fresh =
            |told: &&mut Told| told.key == key && now.saturating_duration_since(told.at) < LOOKUP_TAKES;
        if let Some(told) = self.told.iter_mut().find(fresh) {
            let is_new = told.questions.contains(&question) || told.questions.len() >= MAX_QUESTIONS;
            if is_new {
                told.questions.clear();
                told.at = now;
            }
            told.questions.push(question);
            return is_new;
        }
        if self.told.len() >= MAX_TOLD {
            self.told.pop_front();
        }
        self.told.push_back(Told { key: key.to_vec(), questions: vec![question], at: now });
        true
    }

    /// Forgets a question that no server has answered: its client asks it again, and that is the same look-up.
    pub(super) fn was_not_answered(&mut self, key: &[u8], name: &[u8], kind: u16) {
        let is_it = |question: &(Vec<u8>, u16)| question.0 == name && question.1 == kind;
        for told in self.told.iter_mut().filter(|told| told.key == key) {
            told.questions.retain(|question| !is_it(question));
        }
    }
}

/// Adds to a list of addresses; the oldest goes.
fn push<T>(list: &mut VecDeque<T>, value: T) {
    if list.len() >= MAX_ADDRESSES {
        list.pop_front();
    }
    list.push_back(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_is_closed_until_another_name_leads_to_it() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let [shared, own]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        assert!(memory.may_close(b"evil.example", now) && !memory.may_close(b"evil.example", now));
        assert!(memory.may_close(b"evil.example", now + CLOSED_FOR), "it may have moved");
        assert!(memory.close(shared, 3) && memory.close(shared, 3) && memory.close(own, 3));
        assert_eq!(memory.open(shared), [3]);
        assert!(memory.open(shared).is_empty() && !memory.close(shared, 3) && memory.close(own, 3));
    }

    #[test]
    fn what_an_allowed_host_leads_to_has_its_patterns_for_a_while() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        memory.learn(b"shard.example", &[3], now);
        memory.learn(b"shard.example", &[5], now);
        assert_eq!(memory.patterns(b"shard.example", now), Some(&[5, 3][..]));
        assert_eq!(memory.patterns(b"other.example", now), None);
        assert_eq!(memory.patterns(b"shard.example", now + KEPT_FOR), None);
    }

    #[test]
    fn a_lookup_is_told_once_though_it_asks_several_times() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let mut asks = |name: &str, kind, after| {
            let name = name.as_bytes();
            let key = name.strip_suffix(b".internal").unwrap_or(name);
            memory.begins_lookup(key, name, kind, now + Duration::from_millis(after))
        };
        let first =
            [asks("evil.example", 1, 0), asks("evil.example", 28, 1), asks("evil.example.internal", 1, 2)];
        assert_eq!(first, [true, false, false]);
        assert!(!asks("evil.example.internal", 28, 3));
        assert!(asks("other.example", 1, 4), "another name");
        assert!(asks("evil.example", 1, 5), "the same question again is another look-up");
        assert!(!asks("evil.example", 28, 6));
        assert!(asks("evil.example", 65, 5000), "much later");
    }

    #[test]
    fn what_no_server_answers_is_asked_again_in_the_same_lookup() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let name = b"down.example";
        assert!(memory.begins_lookup(name, name, 1, now));
        assert!(!memory.begins_lookup(name, name, 28, now));
        memory.was_not_answered(name, name, 1);
        assert!(!memory.begins_lookup(name, name, 1, now), "after a server's failure");
        assert!(memory.begins_lookup(name, name, 28, now), "which this one had not");
    }

    #[test]
    fn a_flood_of_lookups_gets_few_searches() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let mut searches = |after: u64, times: usize| {
            (0..times).filter(|_| memory.may_search(now + Duration::from_millis(after))).count()
        };
        assert_eq!(searches(0, 100), 16);
        assert_eq!(searches(10, 100), 0);
        assert_eq!(searches(45, 100), 2);
        assert_eq!(searches(5000, 100), 16);
    }

    proptest! {
        #[test]
        fn it_stays_small(names in proptest::collection::vec((any::<u16>(), any::<u16>()), 0..2000)) {
            let (mut memory, now) = (Memory::default(), Instant::now());
            for (name, kind) in names {
                memory.learn(&name.to_be_bytes(), &[kind], now);
                memory.begins_lookup(&name.to_be_bytes(), &name.to_be_bytes(), kind, now);
            }
            prop_assert!(memory.learned.len() <= MAX_LEARNED && memory.told.len() <= MAX_TOLD);
            prop_assert!(memory.learned.iter().all(|known| known.patterns.len() <= MAX_PATTERNS));
            prop_assert!(memory.told.iter().all(|told| told.questions.len() <= MAX_QUESTIONS));
        }
    }
}

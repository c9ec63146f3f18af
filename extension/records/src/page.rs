//! The state page: what changes while the environment lives and every process must know without asking.
//!
//! The agent creates it (a memfd of [`SIZE`] bytes, sealed with `F_SEAL_FUTURE_WRITE` where the kernel has it, 5.1),
//! keeps the only writable mapping, and hands the descriptor to the guard, from which every process of the function
//! inherits it read-only. Phase, invocation and the addresses that the guarded resolver has answered stand in it.
//! The page is made of 32-bit words, each read and written atomically; groups of words have a sequence counter that
//! is odd while the agent writes. A reader that meets no even counter in a few tries reports "unknown", which is
//! the strictest reading.
//!
//! ```text
//! word 0..2    magic                      word 8..40    request id, 128 bytes, zero-padded
//! word 2       version                    word 1024..   names: 1024 slots of 8 words:
//! word 3       sequence of words 4..40                  0..4 address (IPv6, big endian bytes), 4 pattern index + 1
//! word 4       phase                                    (0: empty slot), 5..8 reserved
//! word 5       launched (0 or 1)
//! word 6, 7    invocation number, low and high
//! word 40      1 where words 41..45 hold the device and inode of the program that asks for a shell runtime's events
//! ```

use core::net::IpAddr;
use core::sync::atomic::{AtomicU32, Ordering, fence};

use ringfence_policy::Phase;

use crate::message::octets;

/// Size of the page in bytes.
pub const SIZE: usize = 36 * 1024;
/// Words in the page.
pub const WORDS: usize = SIZE / 4;
/// Longest request id in bytes.
pub const MAX_REQUEST_ID: usize = 128;
/// Version of the layout.
pub const VERSION: u32 = 1;

const MAGIC: [u32; 2] = [u32::from_le_bytes(*b"RNGF"), u32::from_le_bytes(*b"PAGE")];
const WORD_VERSION: usize = 2;
const WORD_SEQUENCE: usize = 3;
const WORD_PHASE: usize = 4;
const WORD_LAUNCHED: usize = 5;
const WORD_NUMBER: usize = 6;
const WORD_REQUEST: usize = 8;
const REQUEST_WORDS: usize = MAX_REQUEST_ID / 4;
const WORD_HAS_POLLER: usize = 40;
const WORD_POLLER: usize = 41;
const NAMES: usize = 1024;
const SLOTS: usize = 1024;
const SLOT_WORDS: usize = 8;
/// Slots that a look-up tries; a table so full that an address finds none of them evicts.
const PROBES: usize = 16;
const TRIES: usize = 8;

/// Where words are stored: the agent's mapping, or a plain array in tests.
pub trait Store {
    /// Stores `value` as word `index` with release ordering. Out of range is ignored.
    fn store(&self, index: usize, value: u32);
    /// Loads word `index` with acquire ordering; 0 out of range.
    fn load(&self, index: usize) -> u32;
}

impl Store for [AtomicU32] {
    fn store(&self, index: usize, value: u32) {
        if let Some(word) = self.get(index) {
            word.store(value, Ordering::Release);
        }
    }

    fn load(&self, index: usize) -> u32 {
        self.get(index).map_or(0, |word| word.load(Ordering::Acquire))
    }
}

/// The invocation as the page tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invocation {
    /// Part of the environment's life.
    pub phase: Phase,
    /// Whether the runtime's own executable has started (see `Context::launched`).
    pub launched: bool,
    /// Counts from 1; 0 before the first.
    pub number: u64,
    request: [u8; MAX_REQUEST_ID],
    request_length: usize,
}

impl Invocation {
    /// An invocation with no request yet.
    #[must_use]
    pub const fn new(phase: Phase) -> Self {
        Self { phase, launched: false, number: 0, request: [0; MAX_REQUEST_ID], request_length: 0 }
    }

    /// The same with this request id, cut to [`MAX_REQUEST_ID`] bytes.
    #[must_use]
    pub fn with_request(mut self, request: &[u8]) -> Self {
        let request = request.get(..MAX_REQUEST_ID).unwrap_or(request);
        self.request = [0; MAX_REQUEST_ID];
        if let Some(room) = self.request.get_mut(..request.len()) {
            room.copy_from_slice(request);
            self.request_length = request.len();
        }
        self
    }

    /// The request id; empty where there is none.
    #[must_use]
    pub fn request(&self) -> &[u8] {
        self.request.get(..self.request_length).unwrap_or_default()
    }
}

/// A file, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    /// Its device.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
}

/// Writes the page. Only the agent (and a guard without agent) does.
#[derive(Debug)]
pub struct Editor<'s, S: Store + ?Sized> {
    store: &'s S,
}

impl<'s, S: Store + ?Sized> Editor<'s, S> {
    /// Wraps a mapping and writes the head of the page.
    pub fn new(store: &'s S) -> Self {
        store.store(WORD_VERSION, VERSION);
        for (index, word) in MAGIC.into_iter().enumerate() {
            store.store(index, word);
        }
        Self { store }
    }

    /// Publishes the state of the invocation.
    pub fn publish(&self, invocation: &Invocation) {
        let sequence = self.store.load(WORD_SEQUENCE) | 1;
        self.store.store(WORD_SEQUENCE, sequence);
        fence(Ordering::SeqCst);
        self.store.store(WORD_PHASE, phase_number(invocation.phase));
        self.store.store(WORD_LAUNCHED, u32::from(invocation.launched));
        let number = invocation.number.to_le_bytes();
        for (index, word) in words(&number).chain(words(&invocation.request)).enumerate() {
            self.store.store(WORD_NUMBER + index, word);
        }
        fence(Ordering::SeqCst);
        self.store.store(WORD_SEQUENCE, sequence.wrapping_add(1));
    }

    /// Publishes the program that asks for events in the runtime's place: `curl` of a runtime that is a shell. Once.
    pub fn set_poller(&self, program: FileId) {
        let bytes = [program.device.to_le_bytes(), program.inode.to_le_bytes()];
        for (index, word) in bytes.iter().flat_map(|half| words(half)).enumerate() {
            self.store.store(WORD_POLLER + index, word);
        }
        fence(Ordering::SeqCst);
        self.store.store(WORD_HAS_POLLER, 1);
    }

    /// Ties an address to a name pattern of the policy. Must be called before the answer goes to the client.
    ///
    /// An address whose slots are all taken by others evicts one of them: a later connection to that one is then
    /// judged without its name, which is stricter, never looser.
    pub fn add_name(&self, address: IpAddr, pattern: u16) {
        let wanted = address_words(address);
        let entry = u32::from(pattern) + 1;
        let mut place = None;
        for slot in probe(&wanted) {
            let taken = self.store.load(slot + 4);
            if taken == 0 {
                place = Some(slot);
                break;
            }
            if taken == entry
                && (0..4).all(|index| Some(self.store.load(slot + index)) == wanted.get(index).copied())
            {
                return;
            }
        }
        let evicted = usize::from(pattern) % PROBES;
        let Some(slot) = place.or_else(|| probe(&wanted).nth(evicted)) else { return };
        self.fill(slot, wanted, entry);
    }

    /// Unties a name pattern from an address. Its slots stay taken, by no address that is ever looked for: an empty one
    /// would hide those behind it.
    pub fn remove_name(&self, address: IpAddr, pattern: u16) {
        let wanted = address_words(address);
        let entry = u32::from(pattern) + 1;
        for slot in probe(&wanted) {
            let is_its =
                (0..4).all(|index| Some(self.store.load(slot + index)) == wanted.get(index).copied());
            if is_its && self.store.load(slot + 4) == entry {
                self.fill(slot, [0; 4], entry);
            }
        }
    }

    fn fill(&self, slot: usize, address: [u32; 4], entry: u32) {
        self.store.store(slot + 4, 0);
        fence(Ordering::SeqCst);
        for (index, word) in address.into_iter().enumerate() {
            self.store.store(slot + index, word);
        }
        fence(Ordering::SeqCst);
        self.store.store(slot + 4, entry);
    }
}

/// Reads the page.
#[derive(Debug, Clone, Copy)]
pub struct View<'s, S: Store + ?Sized> {
    store: &'s S,
}

impl<'s, S: Store + ?Sized> View<'s, S> {
    /// Wraps a mapping. `None` where it is not a state page of this version.
    #[must_use]
    pub fn new(store: &'s S) -> Option<Self> {
        let head = [store.load(0), store.load(1)];
        (head == MAGIC && store.load(WORD_VERSION) == VERSION).then_some(Self { store })
    }

    /// Phase and launch state alone: two loads, for the hot path. Unknown reads as [`Phase::Invoke`], launched.
    #[must_use]
    pub fn phase(&self) -> (Phase, bool) {
        (phase_from(self.store.load(WORD_PHASE)), self.store.load(WORD_LAUNCHED) != 0)
    }

    /// The program that asks for events in the runtime's place, once there is one.
    #[must_use]
    pub fn poller(&self) -> Option<FileId> {
        let long = |index: usize| {
            u64::from(self.store.load(WORD_POLLER + index))
                | u64::from(self.store.load(WORD_POLLER + index + 1)) << 32
        };
        (self.store.load(WORD_HAS_POLLER) == 1).then(|| FileId { device: long(0), inode: long(2) })
    }

    /// The whole invocation; `None` where the agent kept writing during every try.
    #[must_use]
    pub fn invocation(&self) -> Option<Invocation> {
        (0..TRIES).find_map(|_| self.try_invocation())
    }

    fn try_invocation(&self) -> Option<Invocation> {
        let before = self.store.load(WORD_SEQUENCE);
        let (phase, launched) = self.phase();
        let mut request = [0; MAX_REQUEST_ID];
        for (index, room) in request.chunks_exact_mut(4).enumerate() {
            room.copy_from_slice(&self.store.load(WORD_REQUEST + index).to_le_bytes());
        }
        let number =
            u64::from(self.store.load(WORD_NUMBER)) | u64::from(self.store.load(WORD_NUMBER + 1)) << 32;
        fence(Ordering::SeqCst);
        if before & 1 == 1 || self.store.load(WORD_SEQUENCE) != before {
            return None;
        }
        let request_length = request.iter().position(|byte| *byte == 0).unwrap_or(MAX_REQUEST_ID);
        Some(Invocation { phase, launched, number, request, request_length })
    }

    /// The name patterns that the guarded resolver has tied to an address, written to `into`; returns how many.
    #[must_use]
    pub fn names(&self, address: IpAddr, into: &mut [u16]) -> usize {
        let wanted = address_words(address);
        let mut found = 0;
        for slot in probe(&wanted) {
            let entry = self.store.load(slot + 4);
            if entry == 0 {
                break;
            }
            let same = (0..4).all(|index| Some(self.store.load(slot + index)) == wanted.get(index).copied());
            fence(Ordering::SeqCst);
            if !same || self.store.load(slot + 4) != entry {
                continue;
            }
            if let (Some(room), Ok(pattern)) = (into.get_mut(found), u16::try_from(entry - 1)) {
                *room = pattern;
                found += 1;
            }
        }
        found
    }
}

const fn phase_number(phase: Phase) -> u32 {
    match phase {
        Phase::Init => 1,
        Phase::Invoke => 2,
        Phase::Between => 3,
        Phase::Shutdown => 4,
    }
}

const fn phase_from(number: u32) -> Phase {
    match number {
        1 => Phase::Init,
        3 => Phase::Between,
        4 => Phase::Shutdown,
        _ => Phase::Invoke,
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks_exact(4).map(|chunk| chunk.try_into().map_or(0, u32::from_le_bytes))
}

fn address_words(address: IpAddr) -> [u32; 4] {
    let mut out = [0; 4];
    for (word, value) in out.iter_mut().zip(words(&octets(address))) {
        *word = value;
    }
    out
}

/// First words of the slots where an address may stand, in the order of the search (FNV-1a over its words).
fn probe(address: &[u32; 4]) -> impl Iterator<Item = usize> + use<> {
    let hash = address
        .iter()
        .fold(0x811c_9dc5_u32, |hash, word| (hash ^ word ^ (word >> 15)).wrapping_mul(0x0100_0193));
    let first = (hash ^ (hash >> 16)) as usize;
    (0..PROBES).map(move |step| NAMES + (first + step) % SLOTS * SLOT_WORDS)
}

const _: () = assert!(NAMES + SLOTS * SLOT_WORDS <= WORDS);
const _: () = assert!(WORD_REQUEST + REQUEST_WORDS <= WORD_HAS_POLLER && WORD_POLLER + 4 <= NAMES);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn page() -> Vec<AtomicU32> {
        (0..WORDS).map(|_| AtomicU32::new(0)).collect()
    }

    #[test]
    fn what_is_published_is_read() {
        let words = page();
        assert!(View::new(&words[..]).is_none());
        let editor = Editor::new(&words[..]);
        let mut invocation =
            Invocation::new(Phase::Between).with_request(b"8476a536-e9f4-11e8-9739-2dfe598c3fcd");
        invocation.number = 1 << 40;
        invocation.launched = true;
        editor.publish(&invocation);
        assert_eq!(View::new(&words[..]).unwrap().invocation(), Some(invocation));
    }

    #[test]
    fn the_program_that_asks_for_events_is_read_as_it_was_written() {
        let words = page();
        let editor = Editor::new(&words[..]);
        let view = View::new(&words[..]).unwrap();
        assert_eq!(view.poller(), None);
        let program = FileId { device: 1 << 33 | 7, inode: u64::MAX };
        editor.set_poller(program);
        assert_eq!(view.poller(), Some(program));
    }

    #[test]
    fn a_page_that_is_being_written_reads_as_unknown() {
        let words = page();
        let editor = Editor::new(&words[..]);
        editor.publish(&Invocation::new(Phase::Init));
        words[WORD_SEQUENCE].fetch_or(1, Ordering::SeqCst);
        assert_eq!(View::new(&words[..]).unwrap().invocation(), None);
    }

    #[test]
    fn an_unknown_phase_reads_as_the_strictest() {
        assert_eq!(phase_from(0), Phase::Invoke);
        assert_eq!(phase_from(77), Phase::Invoke);
    }

    proptest! {
        #[test]
        fn the_last_name_is_always_found(names in proptest::collection::vec((any::<[u8; 4]>(), 0..300_u16), 1..2000)) {
            let words = page();
            let editor = Editor::new(&words[..]);
            let view = View::new(&words[..]).unwrap();
            for (address, pattern) in names {
                let address = IpAddr::from(address);
                editor.add_name(address, pattern);
                let mut found = [0; 16];
                let count = view.names(address, &mut found);
                prop_assert!(found[..count].contains(&pattern));
            }
        }

        #[test]
        fn what_is_untied_is_tied_no_more_and_hides_nothing(names in proptest::collection::vec((any::<[u8; 4]>(), 0_u16..5), 1..40), at: prop::sample::Index) {
            let words = page();
            let editor = Editor::new(&words[..]);
            let view = View::new(&words[..]).unwrap();
            let tied = |address: [u8; 4]| {
                let mut found = [0; 16];
                let count = view.names(address.into(), &mut found);
                found[..count].to_vec()
            };
            for (address, pattern) in &names {
                editor.add_name((*address).into(), *pattern);
            }
            let (address, pattern) = names[at.index(names.len())];
            let before: Vec<_> = names.iter().map(|(address, _)| (*address, tied(*address))).collect();
            editor.remove_name(address.into(), pattern);
            for (other, mut patterns) in before {
                patterns.retain(|each| other != address || *each != pattern);
                prop_assert_eq!(tied(other), patterns);
            }
        }

        #[test]
        fn garbage_never_panics(garbage in proptest::collection::vec(any::<u32>(), 0..64)) {
            let words: Vec<_> = MAGIC.into_iter().chain([VERSION]).chain(garbage).map(AtomicU32::new).collect();
            let view = View::new(&words[..]).unwrap();
            let _ = view.invocation();
            let _ = view.names([203, 0, 113, 1].into(), &mut [0; 2]);
        }
    }
}

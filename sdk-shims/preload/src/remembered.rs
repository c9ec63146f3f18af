//! Files that were opened for reading and judged as allowed, without a record: known again without asking for a name.
//!
//! Asking /proc for the name of what was opened is the dearest part of an open. The verdict depends on the name and on
//! who asks when; a name stays the same while the file's fingerprint does and no folder moves. So a small table of
//! hashes says "this one, in this phase, was allowed". What cannot be shown to keep its name is never put in; what is
//! not found is judged by its name as ever. `files` asks; nothing here knows the policy.
//!
//! Why no name changes unseen:
//! - *rename, link, unlink, another file in the same inode* move the ctime, and files come in only when theirs is a
//!   second old, by a clock that was read before the name was;
//! - *a folder above it moves*: on a read-only mount none does; elsewhere only this process itself could do it
//!   ([`Move`]), since a process that has children, or is one, remembers nothing there ([`note_company`]);
//! - *another mount of the same file* has another number in the fingerprint.
//!
//! Contents play no part, so writes through a mapping, which need not move the ctime, do not matter. Nor does a
//! mount(2) by somebody who may: he can give any file any name.
//!
//! One word an entry and one atomic access each: no lock, nothing torn, whatever a signal or a vfork child does. The
//! words are wiped from a fork, which has another role in the policy, and only the process itself puts words in.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ringfence_policy::Phase;

use crate::arch::number;
use crate::fingerprint::{EmptyPath, Fingerprint, Place};
use crate::{shielded, sys};

/// Two pages. A power of two.
const ENTRIES: usize = 1024;
/// The low bits of an entry say what is known, the others are the hash.
const TAG: u64 = 3;
/// Not a file but a path, as it was written: opened once. Says nothing of what it leads to.
const SEEN: u64 = 1;
/// Nothing to be remembered, where it lies.
const UNFIT: u64 = 2;
/// Allowed, and nothing to be written down.
const ALLOWED: u64 = 3;

/// Renames that go on, in the low bits; above them, how many have been.
static MOVES: AtomicU64 = AtomicU64::new(0);
const ONE_MOVE: u64 = 1 << 20;

/// Whether other processes of the function may rename folders.
static COMPANY: AtomicBool = AtomicBool::new(false);

/// There are, or may soon be, other processes of the function. What is known of writable places is forgotten.
pub(crate) fn note_company() {
    if !COMPANY.swap(true, Ordering::SeqCst) {
        MOVES.fetch_add(ONE_MOVE, Ordering::SeqCst);
    }
}

/// clone(2): whatever is no thread is company.
pub(crate) fn note_clone(flags: usize) {
    const CLONE_THREAD: usize = 0x1_0000;
    if flags & CLONE_THREAD == 0 {
        note_company();
    }
}

/// A rename while it goes on: nothing is known meanwhile, and nothing that was known before it afterwards.
#[derive(Debug)]
pub(crate) struct Move;

impl Move {
    pub(crate) fn begin() -> Self {
        MOVES.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Move {
    fn drop(&mut self) {
        MOVES.fetch_add(ONE_MOVE - 1, Ordering::SeqCst);
    }
}

/// How many moves there have been; `None` during one.
fn moves() -> Option<u64> {
    let moves = MOVES.load(Ordering::SeqCst);
    moves.is_multiple_of(ONE_MOVE).then_some(moves)
}

/// When a file is opened, as far as verdicts depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct When {
    pub(crate) phase: Phase,
    pub(crate) launched: bool,
}

impl When {
    const fn bits(self) -> u64 {
        self.phase as u64 * 2 + self.launched as u64
    }
}

/// The table, and what it is keyed by.
#[derive(Debug)]
pub(crate) struct Remembered {
    entries: &'static [AtomicU64],
    seeds: [u64; 2],
    path: EmptyPath,
    /// The process that may put words in.
    owner: u32,
}

/// What was found about a file that was just opened, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    hash: u64,
    tag: u64,
    moves: u64,
    when: When,
    /// Seconds, read before the name is asked for; only where nothing is known.
    now: u64,
}

impl Asked {
    /// Whether the file may be read, with nothing to be written down.
    pub(crate) const fn is_allowed(&self) -> bool {
        self.tag == ALLOWED
    }
}

impl Remembered {
    /// An empty table; `None` where something that it needs is not to be had. `descriptor` is any that is open.
    pub(crate) fn new(descriptor: i32) -> Option<Self> {
        let path = EmptyPath::of_kernel(descriptor)?;
        let seeds = random()?;
        let memory = sys::memory_near(0, ENTRIES * size_of::<u64>()).ok()?;
        let (start, length) = (memory.as_ptr() as usize, memory.len());
        if !is_wiped_from_forks(start, length) {
            sys::unmap(start, length);
            return None;
        }
        shielded::add(start, length);
        Some(Self { entries: sys::as_atomic_words(memory), seeds, path, owner: sys::process_id() })
    }

    /// Whether a path was opened before, and from now on it was. Most are opened once only, and the system call that
    /// [`Self::ask`] makes would be wasted on them.
    pub(crate) fn has_seen(&self, path: &[u8]) -> bool {
        let hash = self.folded(path.chunks(size_of::<u64>()).map(word));
        let Some(entry) = self.entry(hash) else { return false };
        let seen = entry.load(Ordering::Relaxed) == hash | SEEN;
        if !seen {
            entry.store(hash | SEEN, Ordering::Relaxed);
        }
        seen
    }

    /// What is known of a file that was just opened; `None` where it is none that can be known.
    pub(crate) fn ask(&self, opened: i32, when: When) -> Option<Asked> {
        let moves = moves()?;
        let file = Fingerprint::of(opened, self.path).ok()?;
        if !file.is_file_of_one_name() {
            return None;
        }
        let hash = self.hash(&file, when, moves);
        let entry = self.entry(hash)?.load(Ordering::Relaxed);
        let tag = if entry & !TAG == hash { entry & TAG } else { 0 };
        let now = if tag == 0 { sys::now().0 } else { 0 };
        Some(Asked { hash, tag, moves, when, now })
    }

    /// Remembers a file whose name was asked for after `asked` and is allowed, without a record.
    pub(crate) fn keep(&self, opened: i32, asked: &Asked) {
        if asked.tag == 0
            && let (Some(tag), Some(entry)) = (self.settled(opened, asked), self.entry(asked.hash))
        {
            entry.store(asked.hash | tag, Ordering::Relaxed);
        }
    }

    /// What to put down on a file; `None` where that cannot be told yet.
    fn settled(&self, opened: i32, asked: &Asked) -> Option<u64> {
        let file = Fingerprint::of(opened, self.path).ok()?;
        let same = self.hash(&file, asked.when, asked.moves) == asked.hash;
        if !same || !file.is_settled(asked.now) || sys::process_id() != self.owner {
            return None;
        }
        let fit = match Place::of(opened) {
            Place::Unknown => false,
            Place::Writable => !COMPANY.load(Ordering::SeqCst),
            Place::ReadOnly => true,
        };
        Some(if fit { ALLOWED } else { UNFIT })
    }

    fn entry(&self, hash: u64) -> Option<&AtomicU64> {
        let index = usize::try_from(hash >> TAG.count_ones()).ok()? % ENTRIES;
        self.entries.get(index)
    }

    /// With seeds that nobody outside knows, so that nobody can look for two files that are taken for each other.
    fn hash(&self, file: &Fingerprint, when: When, moves: u64) -> u64 {
        // Moves are whole multiples of ONE_MOVE.
        self.folded(file.words().into_iter().chain([moves | when.bits()]))
    }

    fn folded(&self, words: impl Iterator<Item = u64>) -> u64 {
        let [start, factor] = self.seeds;
        folded(words.fold(start, |hash, word| folded(hash ^ word, factor)), factor) & !TAG
    }
}

/// Up to eight bytes as a word.
fn word(bytes: &[u8]) -> u64 {
    let whole = <[u8; 8]>::try_from(bytes).map(u64::from_le_bytes);
    whole.unwrap_or_else(|_| bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)))
}

/// Both halves of a product: each bit of either factor reaches all of the result.
fn folded(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    let [low, high] = [product, product >> 64].map(|half| u64::try_from(half & u128::from(u64::MAX)));
    low.unwrap_or_default() ^ high.unwrap_or_default()
}

/// Two random words, the second odd.
fn random() -> Option<[u64; 2]> {
    const GRND_NONBLOCK: usize = 1;
    let mut words = [0_u64; 2];
    let length = size_of_val(&words);
    let arguments = [words.as_mut_ptr() as usize, length, GRND_NONBLOCK, 0, 0, 0];
    let filled = sys::check(sys::pass(number::GETRANDOM, arguments)).ok()?;
    let [one, other] = words;
    (filled == length).then_some([one, other | 1])
}

/// Linux 4.14 and later.
fn is_wiped_from_forks(start: usize, length: usize) -> bool {
    const MADV_WIPEONFORK: usize = 18;
    sys::check(sys::pass(number::MADVISE, [start, length, MADV_WIPEONFORK, 0, 0, 0])).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::tests::{folders, made_of, settle};
    use proptest::prelude::*;
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::path::Path;

    const INVOKE: When = When { phase: Phase::Invoke, launched: true };

    fn table() -> Remembered {
        Remembered::new(File::open("/").unwrap().as_raw_fd()).unwrap()
    }

    /// Opens a file whose name is allowed, not for the first time; what was known before.
    fn open(table: &Remembered, path: &Path, when: When) -> Option<u64> {
        let file = File::open(path).unwrap();
        let asked = table.ask(file.as_raw_fd(), when)?;
        table.keep(file.as_raw_fd(), &asked);
        Some(asked.tag)
    }

    /// Moves and company are the process's, so these tests are one.
    #[test]
    fn a_file_is_known_once_it_was_judged_and_for_as_long_as_its_name_must_be_the_same() {
        let table = table();
        let folder = folders("remembered").remove(0);
        let [file, strange] = ["file", "strange"].map(|name| folder.join(name));
        std::fs::write(&strange, "").unwrap();
        std::fs::write(&file, "").unwrap();
        let opens = |count| -> Vec<_> { (0..count).map(|_| open(&table, &file, INVOKE)).collect() };
        assert_eq!(opens(4), [Some(0); 4], "it is too young");
        settle(&file);
        assert_eq!(opens(3), [Some(0), Some(ALLOWED), Some(ALLOWED)]);

        assert_eq!(open(&table, &file, When { phase: Phase::Between, ..INVOKE }), Some(0), "another phase");
        assert_eq!(open(&table, &file, When { launched: false, ..INVOKE }), Some(0), "before the launch");
        assert_eq!(opens(1), [Some(ALLOWED)]);

        let moving = Move::begin();
        assert_eq!(opens(1), [None], "something moves");
        drop(moving);
        assert_eq!(opens(3), [Some(0), Some(ALLOWED), Some(ALLOWED)], "something has moved");

        note_clone(0x1_0000);
        assert_eq!(opens(1), [Some(ALLOWED)], "a thread is no company");
        note_clone(0);
        assert_eq!(opens(4), [Some(0), Some(UNFIT), Some(UNFIT), Some(UNFIT)], "others may move its folder");
        note_company();
        assert_eq!(opens(1), [Some(UNFIT)], "nothing new");

        assert_eq!(open(&table, Path::new("/dev/null"), INVOKE), None);
        assert_eq!(open(&table, &folder, INVOKE), None);
        std::fs::hard_link(&file, folder.join("second")).unwrap();
        assert_eq!(opens(1), [None], "which of its names was it?");
        let anothers = Remembered { owner: 1, ..table };
        let opens: Vec<_> = (0..3).map(|_| open(&anothers, &strange, INVOKE)).collect();
        assert_eq!(opens, [Some(0); 3], "a child of vfork: it has another role");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn another_file_than_the_one_that_was_asked_about_is_not_put_in() {
        let table = table();
        let file = File::open("/").unwrap();
        let asked = Asked { hash: 4 << 2, tag: 0, moves: 0, when: INVOKE, now: u64::MAX };
        table.keep(file.as_raw_fd(), &asked);
        assert_eq!(table.entry(asked.hash).unwrap().load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_path_is_seen_from_the_second_time_on_and_stands_for_no_file() {
        let table = table();
        let paths: [&[u8]; 4] = [b"", b"/a", b"/etc/hostname", b"/etc/hostnamE"];
        for path in paths {
            assert!(!table.has_seen(path) && table.has_seen(path), "{path:?}");
        }
        let tags = table.entries.iter().map(|entry| entry.load(Ordering::Relaxed) & TAG);
        assert!(tags.filter(|tag| *tag != 0).all(|tag| tag == SEEN));
    }

    #[test]
    fn a_fork_begins_with_nothing() {
        let table = table();
        let start = table.entries.as_ptr() as usize;
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let holds = |line: &str| {
            let bounds = line.split_once(' ').and_then(|(range, _)| range.split_once('-'))?;
            let bound = |text| usize::from_str_radix(text, 16).ok();
            Some((bound(bounds.0)?..bound(bounds.1)?).contains(&start))
        };
        let mut lines = maps.lines().skip_while(|line| holds(line) != Some(true));
        let flags = lines.find(|line| line.starts_with("VmFlags:")).unwrap();
        assert!(flags.split(' ').any(|flag| flag == "wf"), "{flags}");
    }

    proptest! {
        #[test]
        fn every_bit_of_what_is_asked_changes_the_hash(
            words in any::<[u64; 5]>(), start in any::<u64>(), factor in any::<u64>(), bit in 0..64_u32
        ) {
            let seeds = [start, factor | 1];
            let table = Remembered { entries: &[], seeds, path: EmptyPath::Null, owner: 0 };
            let hash = |words| table.hash(&made_of(words), INVOKE, 0);
            for index in 0..words.len() {
                let mut others = words;
                others[index] ^= 1 << bit;
                prop_assert_ne!(hash(words), hash(others));
            }
            prop_assert_ne!(hash(words), table.hash(&made_of(words), INVOKE, 1 << bit.max(20)));
        }
    }
}

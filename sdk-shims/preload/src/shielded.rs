//! Memory that the program must leave as it is: patched text, the stubs, the library itself and its pages.
//!
//! Pure Python can call mprotect, mmap or madvise through ctypes and put libc's own text back: then nothing would be
//! seen any more. This module knows the ranges and says whether a call touches one; `memory_calls` asks.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::sys;

/// libc, the loader, libpthread and librt with their stubs, the library, two pages, and some objects loaded later.
const MAX_RANGES: usize = 64;

/// Start and end of each range; the end is stored last, and 0 means none.
static RANGES: [[AtomicUsize; 2]; MAX_RANGES] =
    [const { [AtomicUsize::new(0), AtomicUsize::new(0)] }; MAX_RANGES];
static USED: AtomicUsize = AtomicUsize::new(0);

/// What stays shielded for the life of the process. On a page of its own, which is made read-only: whoever writes over the
/// list (with ctypes, say) could undo the rest.
#[repr(C, align(4096))]
struct Kept([[AtomicUsize; 2]; MAX_RANGES]);

static KEPT: Kept = Kept([const { [AtomicUsize::new(0), AtomicUsize::new(0)] }; MAX_RANGES]);

/// What is shielded by now stays so. Only the constructor calls it, once.
pub(crate) fn keep_for_good() {
    let (start, length) = (&raw const KEPT as usize, size_of::<Kept>());
    add(start, length);
    for ([from, to], [start, end]) in KEPT.0.iter().zip(&RANGES) {
        from.store(start.load(Ordering::Acquire), Ordering::Release);
        to.store(end.load(Ordering::Acquire), Ordering::Release);
    }
    // Where it fails, it stays writable, as everything else of ours in this process.
    let _ = sys::protect(start, length, sys::Use::Read);
}

/// Whether any byte from `start` to `end` lies in the range.
fn overlaps([from, to]: &[AtomicUsize; 2], start: usize, end: usize) -> bool {
    start < to.load(Ordering::Acquire) && from.load(Ordering::Acquire) < end
}

/// Whether `start..start + length` may be unmapped: not what is shielded for good. A text that was loaded later may go, and
/// is forgotten: what is mapped there next is none of ours.
pub(crate) fn may_go(start: usize, length: usize) -> bool {
    let end = start.saturating_add(length);
    if KEPT.0.iter().any(|range| overlaps(range, start, end)) {
        return false;
    }
    let gone = |[from, to]: &[AtomicUsize; 2]| {
        start <= from.load(Ordering::Acquire) && to.load(Ordering::Acquire) <= end
    };
    let used = USED.load(Ordering::Acquire).min(MAX_RANGES);
    let found = RANGES.iter().take(used).filter(|range| overlaps(range, start, end) && gone(range));
    found.for_each(|[_, to]| to.store(0, Ordering::Release));
    true
}

/// Shields a range. One too many is not shielded: its text can be put back, as text that was never patched.
pub(crate) fn add(start: usize, length: usize) {
    let index = USED.fetch_add(1, Ordering::AcqRel);
    if let Some([from, to]) = RANGES.get(index) {
        from.store(start, Ordering::Release);
        to.store(start.saturating_add(length), Ordering::Release);
    }
}

/// Whether any byte of `start..start + length` is shielded. A wrapping range is none that the kernel takes.
pub(crate) fn touches(start: usize, length: usize) -> bool {
    let end = start.saturating_add(length);
    let used = USED.load(Ordering::Acquire).min(MAX_RANGES);
    KEPT.0.iter().chain(RANGES.iter().take(used)).any(|range| overlaps(range, start, end))
}

/// Where a text came from: its file and the offset in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) offset: usize,
}

/// Texts that were mapped and patched after the start, with their sources; the start is stored last, and 0 is none.
struct Later {
    start: AtomicUsize,
    end: AtomicUsize,
    device: AtomicU64,
    inode: AtomicU64,
    offset: AtomicUsize,
}

static LATER: [Later; MAX_RANGES] = [const {
    Later {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        device: AtomicU64::new(0),
        inode: AtomicU64::new(0),
        offset: AtomicUsize::new(0),
    }
}; MAX_RANGES];
static LATER_USED: AtomicUsize = AtomicUsize::new(0);

/// Remembers where a shielded text came from. One too many cannot be mapped again.
pub(crate) fn came_from(start: usize, length: usize, source: Source) {
    if let Some(text) = LATER.get(LATER_USED.fetch_add(1, Ordering::AcqRel)) {
        text.end.store(start.saturating_add(length), Ordering::Relaxed);
        text.device.store(source.device, Ordering::Relaxed);
        text.inode.store(source.inode, Ordering::Relaxed);
        text.offset.store(source.offset, Ordering::Relaxed);
        text.start.store(start, Ordering::Release);
    }
}

/// Whether mapping `length` bytes of `source` at `start` would put the same bytes there that were patched.
pub(crate) fn is_same_again(start: usize, length: usize, source: Source) -> bool {
    let end = start.saturating_add(length);
    LATER.iter().any(|text| {
        let known = Source {
            device: text.device.load(Ordering::Relaxed),
            inode: text.inode.load(Ordering::Relaxed),
            offset: text.offset.load(Ordering::Relaxed),
        };
        let there = text.start.load(Ordering::Acquire);
        there == start && there != 0 && end <= text.end.load(Ordering::Relaxed) && known == source
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_part_of_the_same_file_may_come_again() {
        let source = Source { device: 1, inode: 2, offset: 0x3000 };
        came_from(0x50_0000, 0x2000, source);
        assert!(is_same_again(0x50_0000, 0x2000, source));
        assert!(is_same_again(0x50_0000, 0x1000, source));
        for (start, length, other) in [
            (0x50_0000, 0x3000, source),
            (0x50_1000, 0x1000, source),
            (0x50_0000, 0x2000, Source { inode: 3, ..source }),
            (0x50_0000, 0x2000, Source { offset: 0, ..source }),
            (0, 0, Source { device: 0, inode: 0, offset: 0 }),
        ] {
            assert!(!is_same_again(start, length, other), "{start:x} {length:x} {other:?}");
        }
    }

    #[test]
    fn a_text_that_was_loaded_later_is_forgotten_when_it_goes_and_what_is_kept_cannot_go() {
        add(0x60_0000, 0x1000);
        keep_for_good();
        assert!(!may_go(0x5f_f000, 0x2000) && touches(0x60_0000, 1));
        assert!(!may_go(&raw const KEPT as usize, 1), "the list itself");
        add(0x61_0000, 0x2000);
        assert!(may_go(0x61_0000, 0x1000) && touches(0x61_0000, 1), "a part of it went");
        assert!(may_go(0x60_f000, 0x4000));
        assert!(!touches(0x61_0000, 0x2000));
    }

    #[test]
    fn a_range_is_touched_by_any_byte_of_it() {
        add(0x7000, 0x1000);
        for (start, length, expected) in [
            (0x7000, 1, true),
            (0x7fff, 1, true),
            (0x6000, 0x1001, true),
            (0x6000, 0x1000, false),
            (0x8000, 0x1000, false),
            (0x7000, 0, false),
            (0x6000, usize::MAX, true),
        ] {
            assert_eq!(touches(start, length), expected, "{start:x} {length:x}");
        }
    }
}

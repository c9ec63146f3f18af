//! Memory that the program must leave as it is: patched text, the stubs, the library itself and its pages.
//!
//! Pure Python can call mprotect, mmap or madvise through ctypes and put libc's own text back: then nothing would be
//! seen any more. This module knows the ranges and says whether a call touches one; `memory_calls` asks.

use core::sync::atomic::{AtomicUsize, Ordering};

/// libc, the loader, libpthread and librt with their stubs, the library, two pages, and some objects loaded later.
const MAX_RANGES: usize = 64;

/// Start and end of each range; the end is stored last, and 0 means none.
static RANGES: [[AtomicUsize; 2]; MAX_RANGES] =
    [const { [AtomicUsize::new(0), AtomicUsize::new(0)] }; MAX_RANGES];
static USED: AtomicUsize = AtomicUsize::new(0);

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
    RANGES
        .iter()
        .take(used)
        .any(|[from, to]| start < to.load(Ordering::Acquire) && from.load(Ordering::Acquire) < end)
}

#[cfg(test)]
mod tests {
    use super::*;

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

//! Calls that change memory: refused where they would undo the library, reported where they make new code.
//!
//! mprotect(2), madvise(2) and mremap(2) run often, so the question here is a few compares. Code made in memory is
//! what just-in-time compilers do; in a program that is none it is how machine code of an attacker comes in. It is
//! reported, once per process, and not refused: nobody can list all honest compilers. `handler` calls it.

use core::sync::atomic::{AtomicBool, Ordering};

use ringfence_policy::{Action, Decision, Origin};
use ringfence_records::message::{ActionKind, Kind, Report};

use crate::arch::{self, Flow, number};
use crate::state::State;
use crate::{own, report, shielded};

const PROT_EXEC: usize = 4;
const SHM_REMAP: usize = 0o40_000;
const MREMAP_FIXED: usize = 2;
/// `MREMAP_MAYMOVE`, `_FIXED` and `_DONTUNMAP`.
const MREMAP_FLAGS: usize = 7;
/// Page-wise: a call's length is rounded up.
const PAGE: usize = 4096;

/// Judges a call other than mmap(2).
pub(crate) fn change(state: &State, call: usize, arguments: [usize; 6]) -> Flow {
    let [address, length, third, flags, target, _] = arguments;
    let (name, undoes) = match call {
        // Takes its ranges from memory, and acts on other processes too.
        number::PROCESS_MADVISE => ("process_madvise", !keeps(flags)),
        // Page faults that the program answers itself; what is moved out of a page is gone from it.
        number::USERFAULTFD => ("userfaultfd", true),
        // The length of the segment is not known here, and it replaces whatever is in its way.
        number::SHMAT => ("shmat", third & SHM_REMAP != 0),
        // What the kernel refuses with an error of its own.
        _ if !is_range(address, length) => return Flow::Proceed,
        number::MPROTECT | number::PKEY_MPROTECT => ("mprotect", touches(address, length)),
        number::MADVISE => ("madvise", !keeps(third) && touches(address, length)),
        number::REMAP_FILE_PAGES => ("remap_file_pages", touches(address, length)),
        number::MREMAP if third == 0 || low(flags) & !MREMAP_FLAGS != 0 => return Flow::Proceed,
        number::MREMAP => {
            // Without the flag the fifth argument is whatever its register held.
            let moves_onto = flags & MREMAP_FIXED != 0 && touches(target, third);
            ("mremap", touches(address, length.max(1)) || moves_onto)
        }
        // Another mapping could be put there by a hint.
        number::MUNMAP => ("munmap", !shielded::may_go(arch::untagged(address), whole_pages(length))),
        _ => return Flow::Proceed,
    };
    if undoes {
        return own::dangerous(state, name);
    }
    if matches!(call, number::MPROTECT | number::PKEY_MPROTECT) && third & PROT_EXEC != 0 {
        made_code(state);
    }
    Flow::Proceed
}

const fn low(argument: usize) -> usize {
    argument & 0xffff_ffff
}

/// Whether the kernel takes this as a range at all: pages, and an end that is a number.
fn is_range(address: usize, length: usize) -> bool {
    let address = arch::untagged(address);
    let end = length.checked_next_multiple_of(PAGE).and_then(|length| address.checked_add(length));
    address.is_multiple_of(PAGE) && end.is_some_and(|end| end <= arch::END_OF_USER_SPACE)
}

/// Whether a new mapping of `length` bytes at exactly `address` would take the place of something shielded.
pub(crate) fn replaces(address: usize, length: usize) -> bool {
    touches(address, length)
}

fn touches(address: usize, length: usize) -> bool {
    shielded::touches(arch::untagged(address), whole_pages(length))
}

fn whole_pages(length: usize) -> usize {
    length.checked_next_multiple_of(PAGE).unwrap_or(usize::MAX)
}

/// Advice after which every page holds what it held, here and in forks: access patterns (0 to 3), `MADV_DOFORK`,
/// merging and huge pages (12 to 15), core dumps (16, 17), `MADV_COLD`, `_PAGEOUT`, `_POPULATE_READ`,
/// `_COLLAPSE`. All other advice, also what later kernels take, may discard a page, hide it from a fork or guard it.
const fn keeps(advice: usize) -> bool {
    matches!(low(advice), 0..=3 | 11..=17 | 20..=22 | 25)
}

/// Whether a new executable area is as large as those in which callbacks are kept: one page for ctypes
/// (`malloc_closure.c` of `CPython`), 64 KiB or a multiple for libffi (`dlmmap` in its `closures.c`). Honest programs
/// have these, so code that hides in such an area is not noticed here.
pub(crate) const fn is_for_callbacks(length: usize) -> bool {
    length == PAGE || (length != 0 && length.is_multiple_of(1 << 16))
}

/// The process has made, or is about to make, memory executable that is no file's.
pub(crate) fn made_code(state: &State) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !state.rules.map || state.compiles || TOLD.load(Ordering::Relaxed) {
        return;
    }
    let verdict = state.verdict(&Action::MapExecutable { path: PATH, origin: Origin::Memory });
    if verdict.decision == Decision::Allow || TOLD.swap(true, Ordering::Relaxed) {
        return;
    }
    let mut report = Report::new(Kind::Violation, ActionKind::MapExecutable);
    report.path = PATH;
    report.detail = b"memory made executable by a program that is no compiler; told once per process";
    report::observed(state, verdict, &report);
}

const PATH: &[u8] = b"(anonymous memory)";

/// Whether the program at `path` is known to compile at run time.
pub(crate) fn is_compiler(path: &[u8]) -> bool {
    const STARTS: [&[u8]; 16] = [
        b"node",
        b"java",
        b"dotnet",
        b"mono",
        b"ruby",
        b"php",
        b"luajit",
        b"pypy",
        b"deno",
        b"bun",
        b"chrom",
        b"headless",
        b"firefox",
        b"julia",
        b"qemu",
        b"bootstrap",
    ];
    let base = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    STARTS.iter().any(|start| base.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_are_known_by_their_names() {
        assert!(is_compiler(b"/var/lang/bin/node"));
        assert!(is_compiler(b"/tmp/chromium"));
        assert!(!is_compiler(b"/usr/bin/python3.11"));
        assert!(!is_compiler(b"/usr/bin/sed"));
    }

    #[test]
    fn areas_of_callbacks_are_known_by_their_size() {
        assert!(is_for_callbacks(0x1000) && is_for_callbacks(0x2_0000));
        assert!(!is_for_callbacks(0x2000) && !is_for_callbacks(0));
    }

    #[test]
    fn advice_that_is_not_known_to_keep_a_page_is_taken_for_one_that_does_not() {
        let kept: Vec<usize> = (0..1000).filter(|advice| keeps(*advice)).collect();
        assert_eq!(kept, [0, 1, 2, 3, 11, 12, 13, 14, 15, 16, 17, 20, 21, 22, 25]);
        assert!(keeps((1 << 32) + 14), "MADV_HUGEPAGE, of which the kernel looks at the low half");
    }

    #[test]
    fn what_the_kernel_takes_for_no_range_is_left_to_it() {
        assert!(is_range(0x1000, 1) && is_range(0x1000, 0));
        for (address, length) in [(1, 1), (0x1000, usize::MAX), (usize::MAX - 4095, 4096), (1 << 60, 1)] {
            assert!(!is_range(address, length), "{address:x} {length:x}");
        }
    }
}

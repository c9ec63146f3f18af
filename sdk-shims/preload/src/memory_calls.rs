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
use crate::{own, report, shielded, sys};

const PROT_EXEC: usize = 4;
const SHM_REMAP: usize = 0o40_000;
const MREMAP_FIXED: usize = 2;
/// Page-wise: a call's length is rounded up.
const PAGE: usize = 4096;

/// Judges a call other than mmap(2).
pub(crate) fn change(state: &State, call: usize, arguments: [usize; 6]) -> Flow {
    let [address, length, third, flags, target, _] = arguments;
    let (name, undoes) = match call {
        number::MPROTECT | number::PKEY_MPROTECT => ("mprotect", touches(address, length)),
        number::MADVISE => ("madvise", discards(third) && touches(address, length)),
        number::MREMAP => {
            // Without the flag the fifth argument is whatever its register held.
            let moves_onto = flags & MREMAP_FIXED != 0 && touches(target, third);
            ("mremap", touches(address, length.max(1)) || moves_onto)
        }
        // Another mapping could be put there by a hint.
        number::MUNMAP => ("munmap", !shielded::may_go(arch::untagged(address), whole_pages(length))),
        number::SHMAT => ("shmat", third & SHM_REMAP != 0 && touches(length, PAGE)),
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

/// `MADV_DONTNEED`, `_FREE`, `_REMOVE` and `_DONTNEED_LOCKED`: the pages are the file's again, or zero.
const fn discards(advice: usize) -> bool {
    matches!(advice & 0xffff_ffff, 4 | 8 | 9 | 24)
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

/// The executable of this process, for [`is_compiler`].
pub(crate) fn compiles() -> bool {
    let mut path = [0; 512];
    sys::read_link(sys::CWD, b"/proc/self/exe\0", &mut path).is_ok_and(is_compiler)
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
    fn only_advice_that_discards_matters() {
        assert!(discards(4));
        assert!(!discards(3));
        assert!(!discards(14), "MADV_HUGEPAGE");
    }
}

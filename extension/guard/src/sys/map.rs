//! The state page mapped into the guard.
#![allow(unsafe_code, reason = "wraps mmap(2)")]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::AtomicU32;

use ringfence_records::page;

use super::Errno;

/// A shared mapping of the state page; lives until the process ends.
#[derive(Debug, Clone, Copy)]
pub struct StatePage {
    words: &'static [AtomicU32],
}

impl StatePage {
    /// Maps `file`, which must hold at least [`page::SIZE`] bytes, for reading only or for writing too.
    ///
    /// # Errors
    /// `EINVAL` for a file that is too short, or the error of mmap(2).
    pub fn map(file: BorrowedFd<'_>, writable: bool) -> Result<Self, Errno> {
        let length = std::fs::File::from(file.try_clone_to_owned()?).metadata()?.len();
        if length < page::SIZE as u64 {
            return Err(Errno::EINVAL);
        }
        let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), page::SIZE, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        // SAFETY: the mapping is page-aligned, `page::SIZE` bytes long, is never unmapped, and is only accessed as
        // atomics. A file that is truncated behind our back (an agent that did not seal it) raises SIGBUS: the agent
        // seals it against shrinking, and it is the only other process with the right to.
        let words = unsafe { std::slice::from_raw_parts(start.cast::<AtomicU32>(), page::WORDS) };
        Ok(Self { words })
    }

    /// The words, for `page::View` and `page::Editor`.
    #[must_use]
    pub const fn words(self) -> &'static [AtomicU32] {
        self.words
    }
}

//! What differs between processors: raw system calls, the entry from a patched site, the shapes of sites, and numbers.
//!
//! Decides nothing about policy. One module per processor offers the same items; the rest of the crate names no
//! register and no instruction.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

/// Sites of aarch64 are found and replaced by plain arithmetic on bytes: it is tested wherever tests run.
#[cfg(all(test, not(target_arch = "aarch64")))]
#[path = "aarch64/sites.rs"]
mod sites_of_aarch64;

#[cfg(target_arch = "aarch64")]
use aarch64 as here;
#[cfg(target_arch = "x86_64")]
use x86_64 as here;

pub(crate) use here::{
    DISTANCES, END_OF_USER_SPACE, O_NOFOLLOW, O_TMPFILE, REACH, STUB_ROOM, WORD_OF_MODE, call_on,
    entry_address, environment_of_libc, find_sites, guards_branches, jump, link_list_of_libc, number,
    publish_text, site_at, syscall, thread_pointer, thread_pointer_of_clone, untagged, write_stub,
};

/// What becomes of a system call that came through a patched site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The site's own instruction makes the call, with the caller's registers.
    Proceed,
    /// The call is over; this is its result as the kernel would give it (`-errno` for errors).
    Done(isize),
}

/// A place where a call can be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Site {
    /// Offset in the text of the anchor: what becomes a jump.
    pub(crate) anchor: usize,
    /// Offset of the system-call instruction.
    pub(crate) call: usize,
    /// Number of the call; `None` where it is known only when it runs.
    pub(crate) number: Option<usize>,
}

/// A stub that is to be written: where a site's anchor jumps to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stub<'t> {
    /// Where it will stand.
    pub(crate) address: usize,
    /// The text from the anchor up to the system-call instruction; empty where the instruction is the anchor.
    pub(crate) carried: &'t [u8],
    /// The text from the system-call instruction on.
    #[cfg_attr(
        target_arch = "aarch64",
        allow(dead_code, reason = "an instruction's room is enough for a branch")
    )]
    pub(crate) rest: &'t [u8],
    /// Address of the system-call instruction.
    pub(crate) call: usize,
    /// Address of the eight bytes that hold the entry's address.
    pub(crate) entry_slot: usize,
}

//! What differs between processors: raw system calls, the entry from a patched site, and the shapes of sites.
//!
//! Decides nothing about policy. One module per processor offers the same items; the rest of the crate names no
//! register. Only `x86_64` is written; another processor brings the same six items.

#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{
    STUB_ROOM, Site, entry_address, environment_of_libc, find_sites, link_list_of_libc, number, syscall,
    write_stub,
};

/// What becomes of a system call that came through a patched site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The site's own instruction makes the call, with the caller's registers.
    Proceed,
    /// The call is over; this is its result as the kernel would give it (`-errno` for errors).
    Done(isize),
}

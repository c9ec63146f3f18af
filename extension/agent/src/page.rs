//! The state page's only writable mapping.
//!
//! It makes the memfd, maps it, and takes from every other process the right to write it; what stands in the page is
//! decided by [`ringfence_records::page`]. The start makes one, invocations and the resolver write through it.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::Ordering;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use ringfence_records::page::{self, Editor, Store, View};
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory};

/// Why there is no state page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    /// `memfd_create(2)`, ftruncate(2) or reopening failed.
    #[error("the state page cannot be made: {0}")]
    Create(#[from] io::Error),
    /// mmap(2) failed.
    #[error("the state page cannot be mapped: {0}")]
    Map(#[from] vm_memory::mmap::MmapRegionError),
}

/// The page, mapped.
#[derive(Debug)]
pub(crate) struct StatePage {
    region: MmapRegion,
    /// What others get: opened for reading.
    shared: File,
    /// Whether the kernel refuses every later writable mapping (`F_SEAL_FUTURE_WRITE`, 5.1).
    pub(crate) sealed: bool,
}

impl StatePage {
    /// Makes the page. Its content is ready for readers when this returns.
    ///
    /// # Errors
    /// [`PageError`] where the kernel refuses a memfd or its mapping.
    pub(crate) fn new() -> Result<Self, PageError> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create("ringfence-state", flags).map_err(io::Error::from)?);
        file.set_len(page::SIZE as u64)?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        // A second description that is read-only by itself. Without /proc the seal alone has to do.
        let shared = File::open(path).or_else(|_| file.try_clone())?;
        let region = MmapRegion::from_file(FileOffset::new(file, 0), page::SIZE)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_FUTURE_WRITE;
        // Only now: the seal lets the mapping that exists be, and no other come after it.
        let mapped = region.file_offset().map(FileOffset::file);
        let sealed = mapped.is_some_and(|file| fcntl(file, FcntlArg::F_ADD_SEALS(seals)).is_ok());
        let page = Self { region, shared, sealed };
        let _ = page.editor();
        Ok(page)
    }

    /// Whether an address is tied to a name.
    pub(crate) fn has_name(&self, address: IpAddr) -> bool {
        View::new(self).is_some_and(|view| view.names(address, &mut [0; 1]) > 0)
    }

    /// Writes the page.
    pub(crate) fn editor(&self) -> Editor<'_, Self> {
        Editor::new(self)
    }
}

impl AsFd for StatePage {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.as_fd()
    }
}

impl Store for StatePage {
    fn store(&self, index: usize, value: u32) {
        // Out of range is ignored, as the trait asks.
        let _ = self.region.as_volatile_slice().store(value, index.saturating_mul(4), Ordering::Release);
    }

    fn load(&self, index: usize) -> u32 {
        self.region.as_volatile_slice().load(index.saturating_mul(4), Ordering::Acquire).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_policy::Phase;
    use ringfence_records::page::Invocation;
    use std::io::Write;

    #[test]
    fn what_is_published_stands_in_the_file_that_others_map() {
        let page = StatePage::new().unwrap();
        page.editor().publish(&Invocation::new(Phase::Between).with_request(b"abc"));
        assert_eq!(View::new(&page).unwrap().invocation().unwrap().request(), b"abc");
        let other = MmapRegion::<()>::build(
            Some(FileOffset::new(page.shared.try_clone().unwrap(), 0)),
            page::SIZE,
            1, // PROT_READ
            1, // MAP_SHARED
        )
        .unwrap();
        let word: u32 = other.as_volatile_slice().load(4 * 4, Ordering::Acquire).unwrap();
        assert_eq!(word, 3, "phase between");
    }

    #[test]
    fn nobody_else_can_write_it() {
        let page = StatePage::new().unwrap();
        assert!(page.sealed);
        assert!(page.shared.try_clone().unwrap().write_all(b"x").is_err(), "the descriptor is read-only");
        let path = format!("/proc/self/fd/{}", page.shared.as_raw_fd());
        let reopened = File::options().write(true).read(true).open(path).unwrap();
        assert!((&reopened).write_all(b"x").is_err(), "write(2) is sealed off");
        let mapped = MmapRegion::<()>::from_file(FileOffset::new(reopened, 0), page::SIZE);
        assert!(mapped.is_err(), "so is a writable mapping");
    }
}

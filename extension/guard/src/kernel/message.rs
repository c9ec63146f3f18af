//! A `struct msghdr` of the target, and what stands near it.
//!
//! What a message is made of mostly lies beside its header, on the caller's stack: it is copied along with it, which
//! saves a system call each. It decides nothing, and everything is still copied once only. `send` calls it.

use super::address::GivenAddress;
use super::address::MAX_ADDRESS;
use crate::sys::{Errno, memory};

/// Bytes of a `struct msghdr`.
pub(super) const HEADER: usize = 56;
/// What is copied at most in one go.
const AROUND: usize = 512;
const PAGE: u64 = 4096;

/// A stretch of the target's memory, copied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vicinity {
    pub thread: u32,
    start: u64,
    bytes: [u8; AROUND],
    length: usize,
}

impl Vicinity {
    /// Copies `length` bytes at `address`, and what stands around them in the same page.
    fn of(thread: u32, address: u64, length: usize) -> Result<Self, Errno> {
        let end = address.checked_add(length as u64).ok_or(Errno::EFAULT)?;
        let (page, room) = (address - address % PAGE, (AROUND - length) as u64 / 2);
        // The last page of all ends where no number does; nobody has memory there.
        let page_end = page.checked_add(PAGE).ok_or(Errno::EFAULT)?;
        // Bytes beyond the page may not be there though these are.
        let (start, end) = if end <= page_end {
            (address.saturating_sub(room).max(page), end.saturating_add(room).min(page_end))
        } else {
            (address, end)
        };
        let mut copied = Self { thread, start, bytes: [0; AROUND], length: 0 };
        copied.length = usize::try_from(end - start).unwrap_or(0);
        let room = copied.bytes.get_mut(..copied.length).ok_or(Errno::EFAULT)?;
        memory::read_exactly(thread, start, room)?;
        Ok(copied)
    }

    fn get(&self, address: u64, length: usize) -> Option<&[u8]> {
        let from = usize::try_from(address.checked_sub(self.start)?).ok()?;
        self.bytes.get(..self.length)?.get(from..from.checked_add(length)?)
    }

    /// Fills `into` from `address`: from the copy where it is in there.
    ///
    /// # Errors
    /// As [`memory::read_exactly`].
    pub(super) fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Errno> {
        match self.get(address, into.len()) {
            Some(copied) => into.copy_from_slice(copied),
            None => memory::read_exactly(self.thread, address, into)?,
        }
        Ok(())
    }
}

/// A `struct msghdr` of the target.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub near: Vicinity,
    name: u64,
    name_length: u64,
    pub pieces: u64,
    pub piece_count: u64,
    pub control: u64,
    pub control_length: u64,
}

impl Header {
    pub(super) fn read(thread: u32, address: u64) -> Result<Self, Errno> {
        let near = Vicinity::of(thread, address, HEADER)?;
        let bytes = near.get(address, HEADER).ok_or(Errno::EFAULT)?;
        Ok(Self {
            near,
            name: long(bytes, 0),
            name_length: long(bytes, 8) & u64::from(u32::MAX),
            pieces: long(bytes, 16),
            piece_count: long(bytes, 24),
            control: long(bytes, 32),
            control_length: long(bytes, 40),
        })
    }

    /// The address; `None` where there is none.
    pub(super) fn address(&self) -> Result<Option<GivenAddress>, Errno> {
        if self.name == 0 || self.name_length == 0 {
            return Ok(None);
        }
        // The kernel cuts an address that is too long here, unlike in sendto(2).
        let length = self.name_length.min(MAX_ADDRESS as u64);
        GivenAddress::copied(length, |room| self.near.read(self.name, room)).map(Some)
    }
}

/// Eight bytes as a number.
pub(super) fn long(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn near_or_far_the_same_is_read(at in 0_usize..16_000, from in 0_usize..16_000, length in 0_usize..600) {
            let memory: Vec<u8> = (0..20_000_u32).map(|byte| byte.to_le_bytes()[0] ^ byte.to_le_bytes()[1]).collect();
            let base = memory.as_ptr().addr() as u64;
            let near = Vicinity::of(std::process::id(), base + at as u64, HEADER).unwrap();
            prop_assert_eq!(near.get(base + at as u64, HEADER), Some(&memory[at..at + HEADER]));
            let mut into = vec![0; length];
            near.read(base + from as u64, &mut into).unwrap();
            prop_assert_eq!(&into[..], &memory[from..from + length]);
        }

        #[test]
        fn no_address_is_too_odd(address: u64) {
            if let Ok(near) = Vicinity::of(std::process::id(), address, HEADER) {
                prop_assert!(near.get(address, HEADER).is_some());
            }
        }
    }

    #[test]
    fn where_nothing_is_there_is_no_header() {
        let own = std::process::id();
        for address in [u64::MAX - 8, u64::MAX - 100, u64::MAX - 4095, u64::MAX - 5000] {
            assert_eq!(Vicinity::of(own, address, HEADER).unwrap_err(), Errno::EFAULT);
        }
        assert_eq!(Vicinity::of(own, 8, HEADER).unwrap_err(), Errno::EFAULT);
    }
}

//! The target's memory: copied once into ours, and in one case (the lengths of sendmmsg) written.
//!
//! `process_vm_readv(2)` first; where it is refused, `/proc/<pid>/mem`.
#![allow(unsafe_code, reason = "wraps process_vm_readv(2) and pread(2)")]

use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use super::{Errno, check};
use crate::text::Text;

/// Copies from `address` of process or thread `pid` as much as can be read, at most the length of `into`.
///
/// A read that begins in mapped memory and runs into unmapped memory is short; one that begins there is an error.
///
/// # Errors
/// `EFAULT` where nothing is mapped, `EPERM`, `ENOSYS` or `ESRCH` where the target cannot be read.
pub fn read(pid: u32, address: u64, into: &mut [u8]) -> Result<&[u8], Errno> {
    match read_directly(pid, address, into) {
        Ok(length) => Ok(into.get(..length).unwrap_or_default()),
        Err(Errno(libc::ENOSYS | libc::EPERM)) => {
            let length = read_by_file(pid, address, into)?;
            Ok(into.get(..length).unwrap_or_default())
        }
        Err(error) => Err(error),
    }
}

/// Copies exactly the length of `into`.
///
/// # Errors
/// As [`read`]; `EFAULT` for a short read.
pub fn read_exactly(pid: u32, address: u64, into: &mut [u8]) -> Result<(), Errno> {
    let wanted = into.len();
    if wanted == 0 {
        return Ok(());
    }
    (read(pid, address, into)?.len() == wanted).then_some(()).ok_or(Errno::EFAULT)
}

/// A stretch of the target's memory: where it begins, and its length.
pub type Piece = (u64, usize);

/// Copies `pieces` one after the other into `into`, whose length must be theirs, in one call where that may be had.
///
/// # Errors
/// As [`read_exactly`]; `EINVAL` for more pieces than the kernel takes (1024).
pub fn read_pieces(pid: u32, pieces: &[Piece], into: &mut [u8]) -> Result<(), Errno> {
    match read_pieces_directly(pid, pieces, into) {
        Ok(length) => (length == into.len()).then_some(()).ok_or(Errno::EFAULT),
        Err(Errno(libc::ENOSYS | libc::EPERM)) => {
            let mut used = 0;
            for (address, length) in pieces {
                let room = into.get_mut(used..used + length).ok_or(Errno::EFAULT)?;
                read_exactly(pid, *address, room)?;
                used += length;
            }
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn read_pieces_directly(pid: u32, pieces: &[Piece], into: &mut [u8]) -> Result<usize, Errno> {
    let remote: Vec<_> = pieces
        .iter()
        .filter(|(_, length)| *length > 0)
        .map(|(address, length)| remote(*address, *length))
        .collect::<Result<_, _>>()?;
    if remote.is_empty() {
        return Ok(0);
    }
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let pid = libc::pid_t::try_from(pid).map_err(|_| Errno(libc::ESRCH))?;
    let count = libc::c_ulong::try_from(remote.len()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the local vector describes `into`, which is valid for writes; the remote ones, of which there are as many
    // as is said, are only claims about another process, which the kernel checks.
    check(unsafe { libc::process_vm_readv(pid, &raw const local, 1, remote.as_ptr(), count, 0) }
        as libc::c_long)
}

fn read_directly(pid: u32, address: u64, into: &mut [u8]) -> Result<usize, Errno> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = remote(address, into.len())?;
    let pid = libc::pid_t::try_from(pid).map_err(|_| Errno(libc::ESRCH))?;
    // SAFETY: the local vector describes `into`, which is valid for writes; the remote one is only a claim about
    // another process, which the kernel checks.
    check(unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) } as libc::c_long)
}

fn remote(address: u64, length: usize) -> Result<libc::iovec, Errno> {
    let address = usize::try_from(address).map_err(|_| Errno::EFAULT)?;
    Ok(libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: length })
}

fn read_by_file(pid: u32, address: u64, into: &mut [u8]) -> Result<usize, Errno> {
    let mut path = Text::<32>::new();
    let _ = write!(path, "/proc/{pid}/mem");
    let file = std::fs::File::open(path.as_str())?;
    match file.read_at(into, place(address)) {
        Ok(0) => Err(Errno::EFAULT),
        Ok(length) => Ok(length),
        Err(error) if error.raw_os_error() == Some(libc::EIO) => Err(Errno::EFAULT),
        Err(error) => Err(error.into()),
    }
}

/// Writes `bytes` at `address` of process `pid`.
///
/// Only for results that a caller cannot do without: the target may be gone by then, so check the notification last.
///
/// # Errors
/// As [`read`].
pub fn write(pid: u32, address: u64, bytes: &[u8]) -> Result<(), Errno> {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = remote(address, bytes.len())?;
    let target = libc::pid_t::try_from(pid).map_err(|_| Errno(libc::ESRCH))?;
    // SAFETY: the local vector describes `bytes` and is only read; the kernel checks the remote one.
    let returned =
        check(unsafe { libc::process_vm_writev(target, &raw const local, 1, &raw const remote, 1, 0) }
            as libc::c_long);
    match returned {
        Ok(length) if length == bytes.len() => Ok(()),
        Ok(_) => Err(Errno::EFAULT),
        Err(Errno(libc::ENOSYS | libc::EPERM)) => write_by_file(pid, address, bytes),
        Err(error) => Err(error),
    }
}

fn write_by_file(pid: u32, address: u64, bytes: &[u8]) -> Result<(), Errno> {
    let mut path = Text::<32>::new();
    let _ = write!(path, "/proc/{pid}/mem");
    let file = std::fs::OpenOptions::new().write(true).open(path.as_str())?;
    file.write_all_at(bytes, place(address)).map_err(Errno::from)
}

/// Where in `/proc/<pid>/mem` an address is. On arm64 programs may keep a tag in its top byte (Linux's
/// tagged-address-abi); `process_vm_readv(2)` drops it like every call does, but here it would be part of an offset, or its sign.
const fn place(address: u64) -> u64 {
    if cfg!(target_arch = "aarch64") { without_tag(address) } else { address }
}

const fn without_tag(address: u64) -> u64 {
    // Bit 55 tells user from kernel addresses; the kernel extends it, so that no tag turns one into the other.
    ((address << 8).cast_signed() >> 8).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_no_part_of_an_address_and_makes_no_kernel_address_one_of_a_user() {
        for tag in [0x00, 0x01, 0x7f, 0x80, 0xb5, 0xff] {
            assert_eq!(without_tag(tag << 56 | 0xffff_8000_1234), 0xffff_8000_1234);
            assert_eq!(without_tag(tag << 56 | 0xff_8000_0000_0000), 0xffff_8000_0000_0000);
        }
        let kept = 0xb500_ffff_8000_1234;
        assert_eq!(place(kept) == kept, cfg!(target_arch = "x86_64"));
    }

    #[test]
    fn both_ways_read_and_write_the_same() {
        let (own, bytes, mut other) = (std::process::id(), *b"here", *b"....");
        let (from, to) = (bytes.as_ptr().addr() as u64, other.as_mut_ptr().expose_provenance() as u64);
        let mut into = [0; 4];
        assert_eq!((read_directly(own, from, &mut into), into), (Ok(4), bytes));
        into = [0; 4];
        assert_eq!((read_by_file(own, from, &mut into), into), (Ok(4), bytes));
        write_by_file(own, to, &bytes).unwrap();
        assert_eq!(std::hint::black_box(&other), &bytes);
        assert_eq!(read_by_file(own, 8, &mut into), Err(Errno::EFAULT));
    }

    #[test]
    fn pieces_are_read_in_their_order_and_all_or_none() {
        let own = std::process::id();
        let (one, other) = (*b"ab", *b"cde");
        let at = |bytes: &[u8]| bytes.as_ptr().addr() as u64;
        let mut into = [0; 5];
        read_pieces(own, &[(at(&one), 2), (8, 0), (at(&other), 3)], &mut into).unwrap();
        assert_eq!(&into, b"abcde");
        assert_eq!(read_pieces(own, &[(at(&one), 2), (8, 3)], &mut into), Err(Errno::EFAULT));
        assert_eq!(read_pieces(own, &[(8, 0)], &mut []), Ok(()));
        let many = vec![(at(&one), 1); 1024];
        assert_eq!(read_pieces(own, &many, &mut [0; 1024]), Ok(()));
    }
}

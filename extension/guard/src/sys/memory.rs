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
    match file.read_at(into, address) {
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
    file.write_all_at(bytes, address).map_err(Errno::from)
}

#[cfg(test)]
mod tests {
    use super::*;

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

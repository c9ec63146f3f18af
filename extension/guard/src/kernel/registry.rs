//! The sockets that the guard has made for the function, found again by their inode.
//!
//! It serves platforms without `pidfd_getfd(2)`: socket(2) is asked about, the guard makes the socket, puts a duplicate
//! into the target and keeps one. What is done on the kept one is done on the same open file description, whatever
//! the target's table says meanwhile. A duplicate of a connected stream would hide the end of the connection from the
//! peer, so those are let go. It must not know addresses or policy.

use std::collections::VecDeque;
use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use super::shares::Account;
use crate::sys::{Errno, descriptor, socket};

/// Sockets that are kept at most, of a thousand descriptors that there may be; workers need the most of the others.
const MAX_KEPT: usize = 384;
/// Sockets from which on unused ones are looked for when one is added.
const SWEEP_FROM: usize = 32;
/// How many times as long as a sweep that found nothing there is none after it.
const SWEEPS_IN_VAIN: u32 = 20;
/// Connected streams that are remembered.
const MAX_CONNECTED: usize = 512;
/// Processes and descriptors that a sweep looks at, so that it ends whatever the function does.
const MAX_LOOKS: usize = 65_536;
/// A sweep that took as long as this is not made again for so many times as long as it took.
const LONG: Duration = Duration::from_millis(20);
const REST: u32 = 8;

/// How long a stream is kept for a connect that a signal broke off and that may be made again after its handler.
const PATIENCE: Duration = Duration::from_secs(1);
/// When a stream whose connect was broken off will not connect by itself any more (`tcp_syn_retries`).
const HOPELESS: Duration = Duration::from_mins(3);

#[derive(Debug)]
struct Kept {
    inode: u64,
    account: Account,
    socket: OwnedFd,
}

/// The registry.
#[derive(Debug, Default)]
pub struct Registry {
    kept: VecDeque<Kept>,
    connected: VecDeque<u64>,
    /// Streams whose connect was broken off, and when: they may connect by themselves.
    broken_off: Vec<(u64, Instant)>,
    swept_at: usize,
    rests_until: Option<Instant>,
    in_vain_until: Option<Instant>,
}

impl Registry {
    /// Keeps a socket that `account` has made.
    ///
    /// # Errors
    /// The error of fstat(2); `EMFILE` where its share is full of sockets in use.
    pub fn keep(&mut self, socket: OwnedFd, account: Account) -> Result<(), Errno> {
        let inode = descriptor::status(socket.as_fd())?.identity.inode;
        if !self.has_room_for(account) {
            self.make_room_for(account)?;
        } else if self.kept.len() >= SWEEP_FROM.max(self.swept_at.saturating_mul(2)) {
            self.sweep();
        }
        self.connected.retain(|known| *known != inode);
        self.kept.push_back(Kept { inode, account, socket });
        Ok(())
    }

    /// Sweeps for somebody whose share is full. That takes its time, and who holds on to what he has must not have it done
    /// again and again.
    fn make_room_for(&mut self, account: Account) -> Result<(), Errno> {
        let begun = Instant::now();
        let again = self.in_vain_until.is_some_and(|until| begun < until);
        if again && !account.is_runtime() {
            return Err(Errno(libc::EMFILE));
        }
        self.sweep();
        if self.has_room_for(account) {
            return Ok(());
        }
        self.in_vain_until = Some(Instant::now() + begun.elapsed() * SWEEPS_IN_VAIN);
        Err(Errno(libc::EMFILE))
    }

    fn has_room_for(&self, account: Account) -> bool {
        account.may_take_one(self.kept.iter().map(|kept| kept.account), MAX_KEPT)
    }

    /// A duplicate of the socket with this inode.
    ///
    /// # Errors
    /// `ENOENT` for a socket that is not kept, `EMFILE` where the guard has no descriptor left.
    pub fn find(&self, inode: u64) -> Result<OwnedFd, Errno> {
        let kept = self.kept.iter().find(|kept| kept.inode == inode).ok_or(Errno::ENOENT)?;
        kept.socket.try_clone().map_err(Errno::from)
    }

    /// Lets a stream go that is, or is about to be, connected.
    pub fn release(&mut self, inode: u64) {
        self.kept.retain(|kept| kept.inode != inode);
        self.broken_off.retain(|(known, _)| *known != inode);
        if self.connected.len() >= MAX_CONNECTED {
            self.connected.pop_front();
        }
        self.connected.push_back(inode);
    }

    /// Notes that the connect of a stream was broken off. It is to be let go as soon as it is connected all the same, but
    /// not before the call may have been made again.
    pub fn watch(&mut self, inode: u64) {
        self.broken_off.retain(|(known, _)| *known != inode);
        self.broken_off.push((inode, Instant::now()));
    }

    /// Whether there are streams to look after.
    #[must_use]
    pub fn watches(&self) -> bool {
        !self.broken_off.is_empty()
    }

    /// Lets those go that have connected by themselves.
    pub fn look_after(&mut self) {
        let kept = &self.kept;
        let of = |inode: u64| kept.iter().find(|kept| kept.inode == inode);
        self.broken_off.retain(|(inode, since)| of(*inode).is_some() && since.elapsed() < HOPELESS);
        let done = self.broken_off.iter().filter(|(inode, since)| {
            since.elapsed() >= PATIENCE
                && of(*inode).is_some_and(|kept| socket::has_peer(kept.socket.as_fd()))
        });
        let done: Vec<_> = done.map(|(inode, _)| *inode).collect();
        for inode in done {
            self.release(inode);
        }
    }

    /// Whether a stream was let go because it was connected.
    #[must_use]
    pub fn was_connected(&self, inode: u64) -> bool {
        self.connected.contains(&inode)
    }

    /// Lets go what no process but the guard holds any more, for a call that may have failed because of it. Not again
    /// before a while, if that took long: the function decides how many descriptors there are to look at, and how often it
    /// makes such calls.
    pub fn sweep_now_and_then(&mut self) {
        let begun = Instant::now();
        if self.rests_until.is_some_and(|until| begun < until) {
            return;
        }
        self.sweep();
        let took = begun.elapsed();
        self.rests_until = (took >= LONG).then(|| Instant::now() + took * REST);
    }

    fn sweep(&mut self) {
        if self.kept.is_empty() {
            return;
        }
        let held = inodes_in_use();
        self.kept.retain(|kept| held.contains(&kept.inode));
        self.swept_at = self.kept.len();
    }
}

/// Inodes of the sockets that other processes hold, as far as they may be seen; sorted is not needed for so few.
fn inodes_in_use() -> std::collections::HashSet<u64> {
    let own = std::process::id().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = processes.filter(|entry| {
        let name = entry.file_name();
        name.as_encoded_bytes().iter().all(u8::is_ascii_digit) && name.to_str() != Some(&own)
    });
    let descriptors =
        processes.flat_map(|process| fs::read_dir(process.path().join("fd")).into_iter().flatten());
    descriptors
        .take(MAX_LOOKS)
        .flatten()
        .filter_map(|entry| socket_inode(fs::read_link(entry.path()).ok()?.as_os_str().as_encoded_bytes()))
        .collect()
}

/// The inode in `socket:[12345]`.
#[must_use]
pub fn socket_inode(link: &[u8]) -> Option<u64> {
    let digits = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket;

    const RUNTIME: Account = Account::Runtime(1);

    fn udp() -> OwnedFd {
        socket::create(libc::AF_INET, libc::SOCK_DGRAM, 0).unwrap()
    }

    #[test]
    fn a_socket_is_found_by_its_inode() {
        let mut registry = Registry::default();
        let socket = udp();
        let inode = descriptor::status(socket.as_fd()).unwrap().identity.inode;
        registry.keep(socket, RUNTIME).unwrap();
        let found = registry.find(inode).unwrap();
        assert_eq!(descriptor::status(found.as_fd()).unwrap().identity.inode, inode);
        assert_eq!(registry.find(inode + 1).unwrap_err(), Errno::ENOENT);
        registry.release(inode);
        assert!(registry.find(inode).is_err() && registry.was_connected(inode));
    }

    #[test]
    fn what_nobody_holds_is_swept_so_that_it_never_fills() {
        let mut registry = Registry::default();
        for _ in 0..MAX_KEPT * 2 {
            registry.keep(udp(), RUNTIME).unwrap();
        }
        assert!(registry.kept.len() <= SWEEP_FROM);
    }

    #[test]
    fn sockets_of_others_leave_room_for_the_runtime() {
        let mut registry = Registry::default();
        for account in (1..100).map(Account::Tree) {
            while registry.has_room_for(account) {
                registry.kept.push_back(Kept { inode: 1, account, socket: udp() });
            }
        }
        assert_eq!(registry.kept.len(), MAX_KEPT / 4 * 3);
        registry.in_vain_until = Some(Instant::now() + Duration::from_mins(1));
        assert_eq!(registry.keep(udp(), Account::Tree(1)), Err(Errno(libc::EMFILE)), "not looked for again");
        assert!(registry.has_room_for(RUNTIME));
    }

    #[test]
    fn links_of_other_files_are_no_sockets() {
        assert_eq!(socket_inode(b"socket:[42]"), Some(42));
        assert!(
            [&b"pipe:[42]"[..], b"socket:[x]", b"", b"socket:["]
                .iter()
                .all(|link| socket_inode(link).is_none())
        );
    }
}

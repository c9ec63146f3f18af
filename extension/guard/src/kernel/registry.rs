//! The sockets that the guard has made for the function, found again by their inode.
//!
//! It serves platforms without `pidfd_getfd(2)`: socket(2) is asked about, the guard makes the socket, puts a duplicate
//! into the target and keeps one. What is done on the kept one is done on the same open file description, whatever
//! the target's table says meanwhile. A duplicate of a connected stream would hide the end of the connection from the
//! peer, so those are let go. It must not know addresses or policy.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::lock::lock;
use super::processor::wants_processor;
use super::shares::Account;
use super::target;
use crate::sys::{Errno, descriptor, socket};

/// Sockets that are kept at most, of a thousand descriptors that there may be; workers need the most of the others.
const MAX_KEPT: usize = 384;
/// Sockets from which on unused ones are looked for when one is added.
const SWEEP_FROM: usize = 32;
/// How many times as long as a sweep that found nothing there is none after it.
const SWEEPS_IN_VAIN: u32 = 20;
/// Connected streams that are remembered.
const MAX_CONNECTED: usize = 512;
/// Descriptors that a sweep looks at, so that it ends whatever the function does: as many as Lambda lets it have, 1024 in
/// each of 1024 processes.
const MAX_LOOKS: usize = 1 << 20;
/// A sweep that looked at as many descriptors and processes as this (some 20 ms of CPU time) is not made again for the same
/// account for so many times as long as it took. How long it took alone says nothing where others work too.
const MANY: usize = 2048;
const REST: u32 = 8;
const MAX_RESTS: usize = 64;
/// Sweeps at one time. There is another one as soon as all are held up, each by a process that it asked so long ago.
const MAX_SWEEPS: usize = 8;
const HELD_UP: Duration = Duration::from_millis(20);
/// How long a call waits for a sweep while all are held up, and while one gets on.
const MAX_WAIT: Duration = Duration::from_millis(50);
const MAX_WAIT_IN_ALL: Duration = Duration::from_millis(500);
/// How often a call that waits looks whether they are.
const STEP: Duration = Duration::from_millis(5);
/// Looks after which a sweep says again where it is.
const LOOKS_AT_ONCE: usize = 256;

/// How long it takes at least until it is seen that nobody holds a bound socket any more: its clients wait meanwhile. And how
/// many times as long as a sweep there is none for that reason.
const BOUND_LOOK: Duration = Duration::from_secs(1);
const BOUND_REST: u32 = 50;

/// How long a stream is kept for a connect that a signal broke off and that may be made again after its handler.
const PATIENCE: Duration = Duration::from_secs(1);
/// When a stream whose connect was broken off will not connect by itself any more (`tcp_syn_retries`).
const HOPELESS: Duration = Duration::from_mins(3);

#[derive(Debug)]
struct Kept {
    inode: u64,
    account: Account,
    socket: OwnedFd,
    /// The sweep that was the last to begin when the target got it; none may have seen it while it has not.
    since: Option<u64>,
    /// Whether others may reach it by its address, which it has for as long as it is kept.
    bound: bool,
}

/// The sockets, for all threads that answer. Nobody holds their lock while a target is asked for anything.
#[derive(Debug, Default)]
pub struct Registry {
    sockets: Mutex<Sockets>,
    swept: Condvar,
    wants_sweep: AtomicBool,
}

#[derive(Debug, Default)]
struct Sockets {
    kept: VecDeque<Kept>,
    connected: VecDeque<u64>,
    sweeps: u64,
    under_way: Vec<UnderWay>,
    /// The last to begin of those that have ended, and what it took.
    ended: (u64, Cost),
    /// Streams whose connect was broken off, and when: they may connect by themselves.
    broken_off: Vec<(u64, Instant)>,
    swept_at: usize,
    /// For whom there is no sweep for a while.
    rests: VecDeque<(Account, Instant)>,
    in_vain_until: Option<Instant>,
    /// When it is time to look whether somebody still holds those that are bound.
    next_look: Option<Instant>,
}

impl Sockets {
    fn has_room_for(&self, account: Account) -> bool {
        account.may_take_one(self.kept.iter().map(|kept| kept.account), MAX_KEPT)
    }

    fn find(&self, inode: u64) -> Option<&Kept> {
        self.kept.iter().find(|kept| kept.inode == inode)
    }

    /// Lets a socket go, which is returned: to close it may wait (`SO_LINGER`), and must not while the lock is held.
    #[must_use]
    fn release(&mut self, inode: u64) -> Option<Kept> {
        let at = self.kept.iter().position(|kept| kept.inode == inode);
        let released = at.and_then(|at| self.kept.remove(at));
        self.broken_off.retain(|(known, _)| *known != inode);
        if self.connected.len() >= MAX_CONNECTED {
            self.connected.pop_front();
        }
        self.connected.push_back(inode);
        released
    }

    /// Whether a sweep may begin: one is enough, unless it is held up.
    fn may_sweep(&self) -> bool {
        self.under_way.len() < MAX_SWEEPS && self.under_way.iter().all(UnderWay::is_held_up)
    }

    /// Says when it is time to look at bound sockets, after a sweep that took so long.
    fn look_after_a_while(&mut self, took: Duration) {
        let is_any_bound = self.kept.iter().any(|kept| kept.bound);
        self.next_look = is_any_bound.then(|| Instant::now() + BOUND_LOOK.max(took * BOUND_REST));
    }

    fn begin_sweep(&mut self, stat: Option<Arc<File>>) -> Option<u64> {
        if !self.may_sweep() {
            return None;
        }
        self.sweeps += 1;
        self.under_way.push(UnderWay { number: self.sweeps, stat, process: 0, since: Instant::now() });
        Some(self.sweeps)
    }

    /// Says that a sweep is about to ask a process. False where another one is held up there.
    fn begin_to_ask(&mut self, sweep: u64, process: u32) -> bool {
        let others = self.under_way.iter().filter(|other| other.number != sweep);
        if others.filter(|other| other.process == process).any(UnderWay::is_held_up) {
            return false;
        }
        if let Some(own) = self.under_way.iter_mut().find(|own| own.number == sweep) {
            (own.process, own.since) = (process, Instant::now());
        }
        true
    }
}

/// What a sweep has taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    time: Duration,
    looks: usize,
}

/// A sweep that is under way.
#[derive(Debug)]
struct UnderWay {
    number: u64,
    /// Who makes it, by its own `/proc/thread-self/stat`, if it has that open.
    stat: Option<Arc<File>>,
    /// The process that it asks, and since when.
    process: u32,
    since: Instant,
}

impl UnderWay {
    /// Whether it is held up by something else than the want of a processor.
    fn is_held_up(&self) -> bool {
        self.since.elapsed() >= HELD_UP && !self.stat.as_deref().is_some_and(wants_processor)
    }
}

impl Registry {
    fn sockets(&self) -> MutexGuard<'_, Sockets> {
        lock(&self.sockets)
    }

    /// Keeps a socket that `account` has made, and that its target is about to get: [`Self::note_received`] says when it has,
    /// or will not.
    ///
    /// # Errors
    /// The error of fstat(2); `EMFILE` where its share is full of sockets in use.
    pub fn keep(&self, socket: OwnedFd, account: Account, family: &Family<'_>) -> Result<u64, Errno> {
        let inode = descriptor::status(socket.as_fd())?.identity.inode;
        let Err(kept) = self.add(Kept { inode, account, socket, since: None, bound: false }) else {
            return Ok(inode);
        };
        let took = self.make_room_for(account, family)?;
        let Err(_kept) = self.add(kept) else { return Ok(inode) };
        self.sockets().in_vain_until = Some(Instant::now() + took * SWEEPS_IN_VAIN);
        Err(Errno(libc::EMFILE))
    }

    /// Adds a socket, if there is room for it.
    fn add(&self, kept: Kept) -> Result<(), Kept> {
        let mut sockets = self.sockets();
        if !sockets.has_room_for(kept.account) {
            return Err(kept);
        }
        if sockets.kept.len() >= SWEEP_FROM.max(sockets.swept_at.saturating_mul(2)) {
            self.wants_sweep.store(true, Ordering::Release);
        }
        sockets.connected.retain(|known| *known != kept.inode);
        sockets.kept.push_back(kept);
        Ok(())
    }

    /// Whether somebody should make a [`Self::sweep`] that no call waits for; once.
    pub fn takes_wish_for_sweep(&self) -> bool {
        self.wants_sweep.load(Ordering::Acquire) && self.wants_sweep.swap(false, Ordering::AcqRel)
    }

    /// Notes that the target has got a socket, or will not get it.
    pub fn note_received(&self, inode: u64) {
        let mut sockets = self.sockets();
        let sweeps = sockets.sweeps;
        if let Some(kept) = sockets.kept.iter_mut().find(|kept| kept.inode == inode) {
            kept.since = Some(sweeps);
        }
    }

    /// Notes that a socket is bound, or listens, so that its end is to be seen soon. Whether it is the first.
    #[must_use]
    pub fn note_bound(&self, inode: u64) -> bool {
        let mut sockets = self.sockets();
        if let Some(kept) = sockets.kept.iter_mut().find(|kept| kept.inode == inode) {
            kept.bound = true;
        }
        let is_first = sockets.next_look.is_none();
        if is_first {
            sockets.look_after_a_while(Duration::ZERO);
        }
        is_first && sockets.next_look.is_some()
    }

    /// How long until it is time for a sweep because of bound sockets, in milliseconds; `None` where there are none.
    #[must_use]
    pub fn patience(&self, now: Instant) -> Option<i32> {
        let left = self.sockets().next_look?.saturating_duration_since(now);
        // Rounded up, or there would be a wake-up too early each time.
        Some(i32::try_from(left.as_millis()).unwrap_or(i32::MAX).saturating_add(1))
    }

    /// Whether it is time for that; once.
    #[must_use]
    pub fn takes_look(&self, now: Instant) -> bool {
        let mut sockets = self.sockets();
        let is_due = sockets.next_look.is_some_and(|next| next <= now);
        if is_due {
            sockets.look_after_a_while(Duration::ZERO);
        }
        is_due
    }

    /// Has a sweep made for somebody whose share is full. That takes its time, which is returned, and who holds on to what he
    /// has must not have it done again and again.
    fn make_room_for(&self, account: Account, family: &Family<'_>) -> Result<Duration, Errno> {
        let begun = Instant::now();
        let again = self.sockets().in_vain_until.is_some_and(|until| begun < until);
        if again && !account.is_runtime() {
            return Err(Errno(libc::EMFILE));
        }
        Ok(self.have_swept(family).map_or_else(|| begun.elapsed(), |cost| cost.time))
    }

    /// Has a sweep made that begins after this, and waits for it a while. What it took; `None` where it has not ended in
    /// time.
    fn have_swept(&self, family: &Family<'_>) -> Option<Cost> {
        let begun = Instant::now();
        let mut sockets = self.sockets();
        let asked = sockets.sweeps;
        loop {
            let mut gets_on = sockets.under_way.len() < MAX_SWEEPS;
            if sockets.ended.0 <= asked && sockets.may_sweep() {
                drop(sockets);
                match family.order {
                    // It may still want a processor to begin on.
                    Some(order) => gets_on = order(),
                    None => self.sweep(family, None),
                }
                sockets = self.sockets();
            }
            if sockets.ended.0 > asked {
                return Some(sockets.ended.1);
            }
            let patience = if gets_on { MAX_WAIT_IN_ALL } else { MAX_WAIT };
            if begun.elapsed() >= patience {
                return None;
            }
            sockets = self.swept.wait_timeout(sockets, STEP).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A duplicate of the socket with this inode; `None` for a stream that was let go because it was connected.
    ///
    /// # Errors
    /// `ENOENT` for a socket that is not kept, `EMFILE` where the guard has no descriptor left.
    pub fn find(&self, inode: u64) -> Result<Option<OwnedFd>, Errno> {
        let sockets = self.sockets();
        match sockets.find(inode) {
            Some(kept) => Ok(Some(kept.socket.try_clone()?)),
            None if sockets.connected.contains(&inode) => Ok(None),
            None => Err(Errno::ENOENT),
        }
    }

    /// Lets a stream go that is, or is about to be, connected.
    pub fn release(&self, inode: u64) {
        let released = self.sockets().release(inode);
        drop(released);
    }

    /// Notes that the connect of a stream was broken off. It is to be let go as soon as it is connected all the same, but
    /// not before the call may have been made again.
    pub fn watch(&self, inode: u64) {
        let mut sockets = self.sockets();
        sockets.broken_off.retain(|(known, _)| *known != inode);
        sockets.broken_off.push((inode, Instant::now()));
    }

    /// Whether there are streams to look after.
    #[must_use]
    pub fn watches(&self) -> bool {
        !self.sockets().broken_off.is_empty()
    }

    /// Lets those go that have connected by themselves.
    pub fn look_after(&self) {
        let watched: Vec<_> = {
            let mut sockets = self.sockets();
            let Sockets { kept, broken_off, .. } = &mut *sockets;
            let of = |inode: u64| kept.iter().find(|kept| kept.inode == inode);
            broken_off.retain(|(inode, since)| of(*inode).is_some() && since.elapsed() < HOPELESS);
            let old = broken_off.iter().filter(|(_, since)| since.elapsed() >= PATIENCE);
            old.filter_map(|(inode, _)| Some((*inode, of(*inode)?.socket.try_clone().ok()?))).collect()
        };
        for (inode, socket) in watched {
            // A call on the socket that is kept waiting keeps this one waiting too.
            if socket::has_peer(socket.as_fd()) {
                self.release(inode);
            }
        }
    }

    /// Lets go what no process but the guard holds any more, for a call of `account` that may have failed because of it. Not
    /// again before a while, if that took long: the function decides how many descriptors there are to look at, and how often
    /// it makes such calls.
    pub fn sweep_now_and_then(&self, account: Account, family: &Family<'_>) {
        let begun = Instant::now();
        let mut sockets = self.sockets();
        sockets.rests.retain(|(_, until)| begun < *until);
        if sockets.kept.is_empty() || sockets.rests.iter().any(|(resting, _)| *resting == account) {
            return;
        }
        drop(sockets);
        let rest = match self.have_swept(family) {
            Some(cost) if cost.looks < MANY => return,
            Some(cost) => cost.time * REST,
            None => begun.elapsed() * REST,
        };
        let mut sockets = self.sockets();
        if sockets.rests.len() >= MAX_RESTS {
            sockets.rests.pop_front();
        }
        sockets.rests.push_back((account, Instant::now() + rest));
    }

    /// Lets go what no process but the guard holds any more, as far as they may be asked, unless somebody is at it: not what a
    /// target got since this began.
    pub fn sweep(&self, family: &Family<'_>, stat: Option<Arc<File>>) {
        let this = self.sockets().begin_sweep(stat);
        if let Some(this) = this {
            self.carry_out(this, family);
        }
    }

    fn carry_out(&self, this: u64, family: &Family<'_>) {
        let begun = Instant::now();
        let may_ask = |process| self.sockets().begin_to_ask(this, process);
        let held = Holders::look(family.runtime, &(family.under_way)(), MAX_LOOKS, may_ask);
        let mut sockets = self.sockets();
        let stays = |kept: &Kept| kept.since.is_none_or(|since| since >= this) || held.may_hold(kept);
        let (stay, gone): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut sockets.kept).into_iter().partition(stays);
        sockets.kept = stay;
        sockets.swept_at = sockets.kept.len();
        // Only a stream that connected by itself has something to wait for (`SO_LINGER`).
        let may_wait = |gone: &Kept| sockets.broken_off.iter().any(|(inode, _)| *inode == gone.inode);
        let (last, gone): (Vec<Kept>, Vec<Kept>) = gone.into_iter().partition(may_wait);
        drop(sockets);
        // Whoever waits wants what they hold.
        drop(gone);
        let mut sockets = self.sockets();
        sockets.under_way.retain(|sweep| sweep.number != this);
        let cost = Cost { time: begun.elapsed(), looks: held.looks };
        sockets.ended = sockets.ended.max((this, cost));
        sockets.look_after_a_while(cost.time);
        drop(sockets);
        self.swept.notify_all();
        drop(last);
    }
}

/// The processes of the function, as a sweep needs to know them.
pub struct Family<'f> {
    /// The runtime.
    pub runtime: u32,
    /// Tells those whose exec is under way.
    pub under_way: &'f dyn Fn() -> Vec<u32>,
    /// Has another thread make a sweep, so that none that answers is held up by one: whether there is one for it. Not where
    /// there are no others.
    pub order: Option<&'f dyn Fn() -> bool>,
}

/// Who holds sockets.
#[derive(Debug, Default)]
struct Holders {
    inodes: HashSet<u64>,
    /// Trees with a process that was not asked.
    unasked: Vec<Account>,
    looks: usize,
    /// Whether not all were looked at, so that anybody may hold anything.
    cut_short: bool,
}

impl Holders {
    /// Asks all processes but the guard, as far as they may be seen, about `limit` descriptors at most. One whose exec is
    /// `under_way`, and that waits uninterruptibly, is not asked, since it can have that take as long as it likes (Linux 6.18
    /// needs the lock of an exec to read a link): what its tree has made counts as held then. Nor is one that `may_ask`
    /// says not to ask.
    fn look(runtime: u32, under_way: &[u32], limit: usize, may_ask: impl Fn(u32) -> bool) -> Self {
        let own = std::process::id();
        let mut found = Self::default();
        for process in numbers_in("/proc").filter(|process| *process != own) {
            let is_held = under_way.contains(&process) && target::waits_uninterruptibly(process);
            if is_held || !may_ask(process) {
                found.unasked.push(Account::of_process(process, runtime));
                continue;
            }
            found.looks += 1;
            found.ask(process, limit, &|| {
                may_ask(process);
            });
            if found.cut_short {
                break;
            }
        }
        found
    }

    /// Asks a process. Its first thread may have ended before the others, and shows no descriptors then.
    fn ask(&mut self, process: u32, limit: usize, get_on: &dyn Fn()) {
        if self.look_into(format!("/proc/{process}/fd"), limit, get_on) || self.cut_short {
            return;
        }
        let task = format!("/proc/{process}/task");
        let others = numbers_in(&task).filter(|thread| *thread != process);
        for thread in others {
            if self.look_into(format!("{task}/{thread}/fd"), limit, get_on) || self.cut_short {
                return;
            }
        }
    }

    /// Looks at the descriptors in a folder. Whether there are any.
    fn look_into(&mut self, folder: String, limit: usize, get_on: &dyn Fn()) -> bool {
        let before = self.looks;
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if self.looks >= limit {
                self.cut_short = true;
                break;
            }
            self.looks += 1;
            if self.looks.is_multiple_of(LOOKS_AT_ONCE) {
                get_on();
            }
            let link = fs::read_link(entry.path()).ok();
            let inode = link.and_then(|link| socket_inode(link.as_os_str().as_encoded_bytes()));
            self.inodes.extend(inode);
        }
        self.looks > before
    }

    /// Whether somebody holds a socket, or may do so.
    fn may_hold(&self, kept: &Kept) -> bool {
        self.cut_short || self.inodes.contains(&kept.inode) || self.unasked.contains(&kept.account)
    }
}

/// The numbers by which what is in a folder of `/proc` is called.
fn numbers_in(folder: &str) -> impl Iterator<Item = u32> {
    let listed = fs::read_dir(folder).into_iter().flatten().flatten();
    listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
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

    fn family() -> Family<'static> {
        Family { runtime: std::process::id(), under_way: &Vec::new, order: None }
    }

    fn udp() -> OwnedFd {
        socket::create(libc::AF_INET, libc::SOCK_DGRAM, 0).unwrap()
    }

    impl Registry {
        fn keeps(&self, socket: OwnedFd) -> u64 {
            let inode = self.keep(socket, RUNTIME, &family()).unwrap();
            self.note_received(inode);
            inode
        }
    }

    #[test]
    fn a_socket_is_found_by_its_inode() {
        let registry = Registry::default();
        let inode = registry.keeps(udp());
        let found = registry.find(inode).unwrap().unwrap();
        assert_eq!(descriptor::status(found.as_fd()).unwrap().identity.inode, inode);
        assert_eq!(registry.find(inode + 1).unwrap_err(), Errno::ENOENT);
        registry.release(inode);
        assert!(registry.find(inode).unwrap().is_none(), "let go because it was connected");
    }

    #[test]
    fn what_nobody_holds_is_swept_when_it_is_time() {
        let registry = Registry::default();
        for _ in 0..MAX_KEPT * 2 {
            registry.keeps(udp());
            if registry.takes_wish_for_sweep() {
                registry.sweep(&family(), None);
            }
        }
        assert!(registry.sockets().kept.len() <= SWEEP_FROM);
        assert!(!registry.takes_wish_for_sweep());
    }

    #[test]
    fn a_share_that_is_full_of_what_nobody_holds_is_swept_at_once() {
        let registry = Registry::default();
        for _ in 0..MAX_KEPT * 2 {
            registry.keeps(udp());
        }
        assert!(registry.sockets().kept.len() < MAX_KEPT);
    }

    #[test]
    fn a_sweep_leaves_what_has_just_been_made() {
        let registry = Registry::default();
        let pending = registry.keep(udp(), RUNTIME, &family()).unwrap();
        registry.sweep(&family(), None);
        assert!(registry.find(pending).is_ok(), "its target has it not yet");
        // As if a sweep had begun before.
        registry.note_received(pending);
        registry.sockets().kept[0].since = Some(2);
        registry.sweep(&family(), None);
        assert!(registry.find(pending).is_ok());
        registry.sweep(&family(), None);
        assert!(registry.find(pending).is_err());
    }

    #[test]
    fn a_sweep_that_was_cut_short_lets_nothing_go() {
        let kept = Kept { inode: 1, account: RUNTIME, socket: udp(), since: Some(0), bound: false };
        let all = Holders::look(std::process::id(), &[], MAX_LOOKS, |_| true);
        assert!(!all.cut_short && !all.may_hold(&kept));
        let few = Holders::look(std::process::id(), &[], 3, |_| true);
        assert!(few.looks == 3 && few.may_hold(&kept));
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_still_holds_its_sockets() {
        const SCRIPT: &str = "import ctypes, socket, sys, threading
kept = socket.socket()
threading.Thread(target=sys.stdin.read).start()
print(kept.fileno(), flush=True)
ctypes.CDLL(None).syscall(ctypes.c_long(int(sys.argv[1])), ctypes.c_long(0))";
        let mut child = std::process::Command::new("/usr/bin/python3")
            .args(["-c", SCRIPT, &libc::SYS_exit.to_string()])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let told = &mut std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(told, &mut line).unwrap();
        let process = child.id();
        let begun = Instant::now();
        while fs::read_dir(format!("/proc/{process}/fd")).unwrap().next().is_some() {
            assert!(begun.elapsed() < Duration::from_secs(30), "its first thread does not end");
            std::thread::yield_now();
        }
        let mut found = Holders::default();
        found.ask(process, MAX_LOOKS, &|| ());
        assert_eq!(found.inodes.len(), 1);
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    impl Sockets {
        /// As if a sweep had been asking a process for long, by a thread that waits.
        fn is_held_up(&mut self, stat: &Arc<File>, process: u32) {
            let since = Instant::now().checked_sub(HELD_UP).unwrap();
            let sweep = self.under_way.last_mut().unwrap();
            (sweep.stat, sweep.process, sweep.since) = (Some(Arc::clone(stat)), process, since);
        }
    }

    fn own_stat() -> Arc<File> {
        Arc::new(File::open("/proc/thread-self/stat").unwrap())
    }

    /// What tells of a thread that waits until the sender is gone.
    fn waiting_thread() -> (Arc<File>, std::sync::mpsc::Sender<()>) {
        let (sender, receiver) = std::sync::mpsc::channel();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            tell.send(own_stat()).unwrap();
            receiver.recv()
        });
        let stat = told.recv().unwrap();
        while wants_processor(&stat) {
            std::thread::yield_now();
        }
        (stat, sender)
    }

    #[test]
    fn one_sweep_is_enough_unless_it_is_held_up() {
        let (waits, _alive) = waiting_thread();
        let mut sockets = Sockets::default();
        assert_eq!(sockets.begin_sweep(None), Some(1));
        assert_eq!(sockets.begin_sweep(None), None);
        sockets.is_held_up(&own_stat(), 7);
        assert_eq!(sockets.begin_sweep(None), None, "it only wants a processor");
        sockets.is_held_up(&waits, 7);
        assert_eq!(sockets.begin_sweep(None), Some(2));
        assert!(!sockets.begin_to_ask(2, 7), "that would hold it up too");
        assert!(sockets.begin_to_ask(2, 8));
        let more = (0..100).map_while(|_| {
            sockets.is_held_up(&waits, 8);
            sockets.begin_sweep(None)
        });
        assert_eq!(more.count(), MAX_SWEEPS - 2);
    }

    #[test]
    fn a_call_has_a_sweep_that_began_after_it_or_waits_no_longer_for_one() {
        let (waits, _alive) = waiting_thread();
        let registry = Arc::new(Registry::default());
        let unused = registry.keeps(udp());
        for _ in 0..MAX_SWEEPS {
            assert!(registry.sockets().begin_sweep(None).is_some());
            registry.sockets().is_held_up(&waits, 7);
        }
        let begun = Instant::now();
        registry.sweep_now_and_then(RUNTIME, &family());
        assert!(begun.elapsed() >= MAX_WAIT && registry.find(unused).is_ok(), "all are held up");
        registry.sockets().under_way.clear();
        registry.sockets().rests.clear();
        let this = registry.sockets().begin_sweep(None).unwrap();
        let other = Arc::clone(&registry);
        let waits = std::thread::spawn(move || other.sweep_now_and_then(RUNTIME, &family()));
        registry.carry_out(this, &family());
        waits.join().unwrap();
        assert!(registry.find(unused).is_err());
    }

    #[test]
    fn the_end_of_a_bound_socket_is_looked_for_until_it_is_there() {
        let registry = Registry::default();
        let (inode, other) = (registry.keeps(udp()), registry.keeps(udp()));
        let now = Instant::now();
        assert!(registry.patience(now).is_none() && !registry.takes_look(now), "no use");
        assert!(registry.note_bound(inode) && !registry.note_bound(other));
        let patience = registry.patience(now).unwrap();
        assert!(patience > 0 && Duration::from_millis(patience.unsigned_abs().into()) <= 2 * BOUND_LOOK);
        assert!(!registry.takes_look(now));
        let later = now + 2 * BOUND_LOOK;
        assert!(registry.takes_look(later) && registry.patience(now).is_some());
        registry.sweep(&family(), None);
        assert!(registry.find(inode).is_err() && registry.patience(later).is_none());
    }

    #[test]
    fn who_orders_a_sweep_waits_for_it_and_makes_none_himself() {
        let registry = Arc::new(Registry::default());
        let unused = registry.keeps(udp());
        let nobody = Family { order: Some(&|| false), ..family() };
        registry.sweep_now_and_then(RUNTIME, &nobody);
        assert!(registry.find(unused).is_ok(), "there is nobody to make it");
        registry.sockets().rests.clear();
        let order = || {
            let other = Arc::clone(&registry);
            std::thread::spawn(move || other.sweep(&family(), None));
            true
        };
        while registry.have_swept(&Family { order: Some(&order), ..family() }).is_none() {}
        assert!(registry.find(unused).is_err());
    }

    #[test]
    fn what_a_socket_held_is_free_when_the_sweep_has_ended() {
        let registry = Arc::new(Registry::default());
        let order = || {
            let other = Arc::clone(&registry);
            std::thread::spawn(move || other.sweep(&family(), None));
            true
        };
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let mut taken = OwnedFd::from(taken);
        for _ in 0..50 {
            registry.keeps(taken);
            (0..20).for_each(|_| {
                registry.keeps(udp());
            });
            while registry.have_swept(&Family { order: Some(&order), ..family() }).is_none() {}
            taken = std::net::UdpSocket::bind(address).unwrap().into();
        }
    }

    #[test]
    fn many_at_one_time_get_no_more_than_their_share() {
        let registry = Registry::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| while registry.keep(udp(), Account::Tree(1), &family()).is_ok() {});
            }
        });
        assert_eq!(registry.sockets().kept.len(), 144);
    }

    #[test]
    fn sockets_of_others_leave_room_for_the_runtime() {
        let registry = Registry::default();
        let mut sockets = registry.sockets();
        for account in (1..100).map(Account::Tree) {
            while sockets.has_room_for(account) {
                sockets.kept.push_back(Kept {
                    inode: 1,
                    account,
                    socket: udp(),
                    since: Some(0),
                    bound: false,
                });
            }
        }
        assert_eq!(sockets.kept.len(), MAX_KEPT / 4 * 3);
        assert!(sockets.has_room_for(RUNTIME));
        sockets.in_vain_until = Some(Instant::now() + Duration::from_mins(1));
        drop(sockets);
        let kept = registry.keep(udp(), Account::Tree(1), &family());
        assert_eq!(kept, Err(Errno(libc::EMFILE)), "not looked for again");
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

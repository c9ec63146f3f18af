//! Scopes: what the function's own code forbids itself for a while, kept for each thread.
//!
//! The language hooks say which limits hold for the thread that runs ([`request`]); everything that judges asks whether
//! one does. Limits are inherited by threads, forks and programs that are started under them. It knows nothing of the
//! policy, and can only ever add to what that denies. Where no scope holds, a question costs one load.

use core::net::IpAddr;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use ringfence_policy::{Decision, Rule, Verdict};
use ringfence_records::message::{ActionKind, Kind, Report};

use crate::arch;
use crate::report;
use crate::state::State;
use crate::sys::{self, Errno};

/// What can be limited; each is a bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Reading and writing below /tmp.
    Tmp = 1,
    /// Connections, datagrams and look-ups beyond this machine.
    Egress = 2,
    /// Starting programs.
    Children = 4,
}

impl Limit {
    const ALL: u32 = 7;

    /// The rule that records name, as the hooks do.
    const fn rule(self) -> Rule {
        match self {
            Self::Tmp => Rule::TmpWrites,
            Self::Egress => Rule::EgressAllow,
            Self::Children => Rule::ProcessAllow,
        }
    }

    const fn detail(self) -> &'static [u8] {
        match self {
            Self::Tmp => b"by a scope of the function (tmp)",
            Self::Egress => b"by a scope of the function (egress)",
            Self::Children => b"by a scope of the function (children)",
        }
    }
}

/// Threads that can be limited at one time.
const MAX_THREADS: usize = 256;

/// The limits of one thread, known by its thread pointer, which a fork keeps and vfork(2) shares. A slot is written by its
/// own thread, or by the one that makes it before it runs; that one may also loosen what it has given, at any time.
struct Slot {
    thread: AtomicUsize,
    /// The limits in the lowest bits; above them how often they were set, so that nobody loosens what is new.
    word: AtomicU32,
    /// The thread whose limits these are a copy of; 0 where they are the thread's own. Written before `word`.
    maker: AtomicUsize,
}

impl Slot {
    const SET_ONCE: u32 = Limit::ALL + 1;

    fn limits(&self) -> u32 {
        self.word.load(Ordering::Relaxed) & Limit::ALL
    }

    fn set(&self, limits: u32, maker: usize) {
        self.maker.store(maker, Ordering::Release);
        let mut word = self.word.load(Ordering::Relaxed);
        while let Err(other) = self.replace(word, limits) {
            word = other;
        }
    }

    /// Loosens to `limits` what is a copy of the limits of `maker`.
    fn loosen(&self, limits: u32, maker: usize) {
        let word = self.word.load(Ordering::Acquire);
        if word & Limit::ALL & !limits != 0 && self.maker.load(Ordering::Acquire) == maker {
            // Where it has changed since, the thread has set limits of its own.
            let _ = self.replace(word, word & limits & Limit::ALL);
        }
    }

    fn replace(&self, word: u32, limits: u32) -> Result<(), u32> {
        let next = (word & !Limit::ALL).wrapping_add(Self::SET_ONCE) | limits;
        self.word.compare_exchange(word, next, Ordering::AcqRel, Ordering::Acquire)?;
        match (word & Limit::ALL, limits) {
            (0, 0) => {}
            (0, _) => _ = ACTIVE.fetch_add(1, Ordering::Release),
            (_, 0) => _ = ACTIVE.fetch_sub(1, Ordering::Release),
            _ => {}
        }
        Ok(())
    }
}

static SLOTS: [Slot; MAX_THREADS] =
    [const { Slot { thread: AtomicUsize::new(0), word: AtomicU32::new(0), maker: AtomicUsize::new(0) } };
        MAX_THREADS];
/// Slots with limits, and one more where the whole process is limited: 0 where no scope holds anywhere.
static ACTIVE: AtomicU32 = AtomicU32::new(0);
/// Limits of the whole process, for good.
static WHOLE: AtomicU32 = AtomicU32::new(0);
/// What the first request named itself by; later ones must name the same.
static KEY: AtomicU32 = AtomicU32::new(0);

/// Marks a request: kill(2) with a signal that no kernel knows. Every language can make that call without native code of
/// its own, and where this library is not, it fails.
const REQUEST: usize = 0x5246_0000;
const REQUEST_MASK: usize = 0xffff_0000;
/// The request is for the whole process.
const FOR_ALL: usize = 0x8000;

/// Whether this kill(2) is a hook's request.
pub(crate) const fn is_request(signal: usize) -> bool {
    signal & REQUEST_MASK == REQUEST
}

/// The same by raise(3), which is tgkill(2), for Java, where of all the arguments of kill(2) only one is free: from the top
/// this mark, 26 bits of key, one that the request is for the whole process, and three of limits.
const RAISED: usize = 0x4000_0000;
const RAISED_MASK: usize = 0xc000_0000;
const RAISED_FOR_ALL: usize = 8;

/// Whether this tgkill(2) or tkill(2) is a hook's request.
pub(crate) const fn is_raised_request(signal: usize) -> bool {
    signal & RAISED_MASK == RAISED
}

/// Takes such a request. What it takes from the thread's limits it takes from those of the threads that have them from
/// this one, too: a scope of Java's ends for all at once.
pub(crate) fn raised_request(signal: usize) -> isize {
    let key = (signal & !RAISED_MASK & 0xffff_ffff) >> 4 | RAISED;
    let limits = signal & Limit::ALL as usize;
    if signal & RAISED_FOR_ALL != 0 {
        return request(key, REQUEST | FOR_ALL | limits);
    }
    let answer = request(key, REQUEST | limits);
    if answer == 0 {
        loosen_copies(arch::thread_pointer(), u32::try_from(limits).unwrap_or(0));
    }
    answer
}

/// Takes a hook's request. `key` keeps others from loosening a scope by the way: it is no secret from code that reads
/// this process's memory.
pub(crate) fn request(key: usize, signal: usize) -> isize {
    let key = u32::try_from(key & 0xffff_ffff).unwrap_or(0);
    let known =
        KEY.compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed).unwrap_or_else(|known| known);
    if key == 0 || (known != 0 && known != key) {
        return Errno::PERM.result();
    }
    let limits = u32::try_from(signal & 0xff).unwrap_or(0) & Limit::ALL;
    if signal & FOR_ALL != 0 {
        limit_all(limits);
        return 0;
    }
    if limit(arch::thread_pointer(), limits, 0) { 0 } else { Errno::NOSPC.result() }
}

/// Limits the whole process, in addition to what limits it already.
pub(crate) fn limit_all(limits: u32) {
    let limits = limits & Limit::ALL;
    if limits != 0 && WHOLE.fetch_or(limits, Ordering::Relaxed) == 0 {
        ACTIVE.fetch_add(1, Ordering::Release);
    }
}

/// Sets the limits of a thread, which are its own or a copy of its maker's; false where there is no room.
fn limit(thread: usize, limits: u32, maker: usize) -> bool {
    let known = slot_of(thread);
    if let Some(slot) = known {
        slot.set(limits, maker);
        if limits == 0 {
            let _ = slot.thread.compare_exchange(thread, 0, Ordering::Release, Ordering::Relaxed);
        }
        return true;
    }
    limits == 0 || take_slot(thread, limits, maker)
}

/// The limits that threads have as a copy of this one's become no stricter than these. A thread that has told of a scope
/// of its own since is left to itself.
fn loosen_copies(maker: usize, limits: u32) {
    for slot in &SLOTS {
        slot.loosen(limits, maker);
    }
}

/// Takes a free slot, or else one whose thread has been loosened and may be gone.
fn take_slot(thread: usize, limits: u32, maker: usize) -> bool {
    let take = |slot: &&Slot, from: usize| {
        slot.thread.compare_exchange(from, thread, Ordering::Acquire, Ordering::Relaxed).is_ok()
    };
    let free = SLOTS.iter().find(|slot| take(slot, 0)).or_else(|| {
        SLOTS.iter().find(|slot| slot.limits() == 0 && take(slot, slot.thread.load(Ordering::Relaxed)))
    });
    if let Some(slot) = free {
        slot.set(limits, maker);
    }
    free.is_some()
}

fn slot_of(thread: usize) -> Option<&'static Slot> {
    SLOTS.iter().find(|slot| slot.thread.load(Ordering::Relaxed) == thread)
}

/// The limits of the thread that runs.
pub(crate) fn limits() -> u32 {
    if ACTIVE.load(Ordering::Relaxed) == 0 {
        return 0;
    }
    let own = slot_of(arch::thread_pointer()).map_or(0, Slot::limits);
    own | WHOLE.load(Ordering::Relaxed)
}

/// Whether the thread that runs is limited so.
pub(crate) fn holds(limit: Limit) -> bool {
    limits() & limit as u32 != 0
}

/// clone(2): a new thread is limited as the one that makes it. Also where that has no limits: the pointer may be one
/// that a thread of long ago had.
pub(crate) fn spread(flags: usize, thread: usize) {
    const CLONE_VM: usize = 0x100;
    const CLONE_VFORK: usize = 0x4000;
    const CLONE_SETTLS: usize = 0x8_0000;
    if ACTIVE.load(Ordering::Relaxed) == 0
        || flags & (CLONE_VM | CLONE_VFORK | CLONE_SETTLS) != CLONE_VM | CLONE_SETTLS
    {
        return;
    }
    // Copies of a thread that ended in a scope are not the new one's to loosen.
    SLOTS
        .iter()
        .filter(|slot| slot.maker.load(Ordering::Relaxed) == thread)
        .for_each(|slot| slot.maker.store(0, Ordering::Release));
    let own = slot_of(arch::thread_pointer());
    let limits = own.map_or(0, Slot::limits);
    let maker = own.map_or(0, |slot| slot.maker.load(Ordering::Relaxed));
    // Without room the new thread is limited by the policy alone, as every other.
    let _ = limit(thread, limits, if maker == 0 { arch::thread_pointer() } else { maker });
}

/// The same for clone3(2), which takes a `struct clone_args`.
pub(crate) fn spread_by_structure(arguments: usize) {
    const THREAD_POINTER: usize = 7 * size_of::<usize>();
    if ACTIVE.load(Ordering::Relaxed) != 0
        && let (Some(flags), Some(thread)) =
            (sys::word_at(arguments), sys::word_at(arguments.wrapping_add(THREAD_POINTER)))
    {
        spread(flags, thread);
    }
}

/// Whether the thread may not open `path`; written down where it may not.
pub(crate) fn refuses_path(state: &State, path: &[u8], action: ActionKind) -> bool {
    let in_tmp = path.strip_prefix(b"/tmp").is_some_and(|rest| matches!(rest.first(), None | Some(b'/')));
    if !in_tmp || !holds(Limit::Tmp) {
        return false;
    }
    tell(state, Limit::Tmp, &Report { path, ..Report::new(Kind::Violation, action) });
    true
}

/// Whether the thread may not send to `address`. Loopback stays open, but for those who pass look-ups on; so does the
/// Runtime API, which the platform may put on another address.
pub(crate) fn refuses_destination(
    state: &State,
    to: core::net::SocketAddr,
    resolves: bool,
    action: ActionKind,
) -> bool {
    if !holds(Limit::Egress) || (is_local(to.ip()) && !resolves) || state.handoff.runtime_api == Some(to) {
        return false;
    }
    tell(state, Limit::Egress, &Report { address: Some(to), ..Report::new(Kind::Violation, action) });
    true
}

const fn is_local(address: IpAddr) -> bool {
    address.is_loopback()
}

/// Writes a refusal down.
#[inline(never)]
pub(crate) fn tell(state: &State, limit: Limit, report: &Report<'_>) {
    let verdict = Verdict { decision: Decision::Deny, rule: limit.rule() };
    report::violation(state, verdict, &Report { detail: limit.detail(), ..*report });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table is one for the process, so its tests are one.
    #[test]
    fn limits_are_the_threads_own_spread_to_those_it_makes_and_need_the_key() {
        const THREAD: usize = 0x0008_0100;
        assert_eq!(limits(), 0);
        assert_eq!(request(0, REQUEST | 1), Errno::PERM.result(), "no key");
        assert_eq!(request(77, REQUEST | 3), 0);
        assert!(holds(Limit::Tmp) && holds(Limit::Egress) && !holds(Limit::Children));
        assert_eq!(request(78, REQUEST), Errno::PERM.result(), "another key");
        assert_eq!(std::thread::spawn(limits).join().unwrap(), 0, "libc is not patched here");
        spread(THREAD, 0x10);
        assert_eq!(slot_of(0x10).unwrap().limits(), 3);
        assert_eq!(request(77, REQUEST), 0);
        spread(THREAD, 0x10);
        assert!(slot_of(0x10).is_none(), "the pointer is another thread's now");
        assert_eq!((limits(), ACTIVE.load(Ordering::Relaxed)), (0, 0));
        spread(THREAD, 0x20);
        assert!(slot_of(0x20).is_none());

        a_raised_request_loosens_copies_too(77);

        for thread in 1..=MAX_THREADS {
            assert!(limit(thread * 64, 1, 0));
        }
        assert!(!limit(1, 1, 0), "there is no room");
        slot_of(64).unwrap().set(1, 3);
        loosen_copies(3, 0);
        assert!(limit(1, 1, 0) && slot_of(64).is_none(), "that one was loosened, and may be gone");
        assert!(limit(1, 0, 0) && limit(64, 1, 0));
        for thread in 1..=MAX_THREADS {
            assert!(limit(thread * 64, 0, 0));
        }
        assert_eq!(ACTIVE.load(Ordering::Relaxed), 0);
        limit_all(4);
        assert_eq!(request(77, REQUEST), 0);
        assert_eq!(std::thread::spawn(limits).join().unwrap(), 4, "of all threads, and for good");
    }

    /// Part of the test above.
    fn a_raised_request_loosens_copies_too(first_key: u32) {
        const THREAD: usize = 0x0008_0100;
        let limits_of = |thread| slot_of(thread).map_or(0, Slot::limits);
        let raised = |key: usize, limits: usize| raised_request(RAISED | key << 4 | limits);
        assert_eq!(raised(77, 1), Errno::PERM.result(), "the key is of 26 bits, with the mark");
        KEY.store(0, Ordering::Relaxed);
        assert_eq!(raised(77, 3), 0);
        spread(THREAD, 0x10);
        assert_eq!(raised(77, 7), 0);
        assert_eq!((limits(), limits_of(0x10)), (7, 3), "tightened is only the thread itself");
        assert!(limit(0x10, 3, 0), "this one tells of a scope of its own");
        spread(THREAD, 0x20);
        assert_eq!(raised(77, 1), 0);
        assert_eq!((limits_of(0x10), limits_of(0x20)), (3, 1));
        spread(THREAD, arch::thread_pointer());
        assert_eq!(raised(77, 0), 0);
        assert_eq!(limits_of(0x20), 1, "the thread that made it is gone; another has its place");
        assert!(limit(0x10, 0, 0) && limit(0x20, 0, 0));
        limits_that_are_new_are_not_loosened();
        assert_eq!(ACTIVE.load(Ordering::Relaxed), 0);
        KEY.store(first_key, Ordering::Relaxed);
    }

    /// Two threads set and loosen the same slot: what is told last by its own thread holds, and the count stays right.
    fn limits_that_are_new_are_not_loosened() {
        const THREAD: usize = 0x30;
        std::thread::scope(|scope| {
            let loosens = scope.spawn(|| (0..20_000).for_each(|_| loosen_copies(9, 0)));
            for _ in 0..20_000 {
                assert!(limit(THREAD, 3, 9));
                assert!(limit(THREAD, 5, 0));
                assert_eq!(slot_of(THREAD).unwrap().limits(), 5);
                assert!(limit(THREAD, 0, 0));
            }
            loosens.join().unwrap();
        });
        assert_eq!(ACTIVE.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn requests_are_no_signals() {
        assert!(is_request(REQUEST | 7) && is_request(REQUEST | FOR_ALL));
        assert!(is_raised_request(RAISED | 7) && is_raised_request(0x7fff_ffff));
        assert!((0..=64).all(|signal| !is_request(signal) && !is_raised_request(signal)));
        assert!(!is_raised_request(0xffff_ffff) && !is_raised_request(0xffff_ffff_ffff_ffff));
    }
}

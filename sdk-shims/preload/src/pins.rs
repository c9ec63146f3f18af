//! Descriptors that the library holds for the length of one call, and that no other thread may close or replace.
//!
//! What is judged by a descriptor and then used by its number has to be the same file at both times. The program's threads
//! share the numbers; `own` keeps them from these. Whoever replaces one before it is held is judged by what it is then.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::sys::{self, Owned};

/// Threads that can hold one at the same time.
const MAX_PINS: usize = 128;

/// Process and descriptor of each pin; a fork has its parent's entries, which are none of its own.
static PINS: [AtomicU64; MAX_PINS] = [const { AtomicU64::new(0) }; MAX_PINS];

/// How many there are, those of a parent included: a question costs one load where there is none.
static HELD: AtomicU32 = AtomicU32::new(0);

/// Whether another thread has the same descriptors, as far as is known.
static SHARED: AtomicBool = AtomicBool::new(false);

pub(crate) const CLONE_FILES: usize = 0x400;

/// clone(2) with these flags is about to be made.
pub(crate) fn note_clone(flags: usize) {
    if flags & CLONE_FILES != 0 {
        SHARED.store(true, Ordering::Relaxed);
    }
}

/// Threads of this libc begin unseen: there may be some at any time.
pub(crate) fn note_unseen_clones() {
    SHARED.store(true, Ordering::Relaxed);
}

pub(crate) fn are_shared() -> bool {
    SHARED.load(Ordering::Relaxed)
}

/// A descriptor of the program that stays what it is until this goes out of scope.
pub(crate) struct Hold {
    place: &'static AtomicU64,
}

impl Hold {
    /// Holds `descriptor`; `None` where too many are held.
    pub(crate) fn new(descriptor: i32) -> Option<Self> {
        let entry = entry(descriptor)?;
        let free = |place: &&AtomicU64| {
            let there = place.load(Ordering::Relaxed);
            let usable = there == 0 || process_of(there) != sys::process_id();
            usable && place.compare_exchange(there, entry, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let place = PINS.iter().find(free)?;
        HELD.fetch_add(1, Ordering::Release);
        Some(Self { place })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.place.store(0, Ordering::Release);
        HELD.fetch_sub(1, Ordering::Release);
    }
}

/// A descriptor of ours that stays what it is until it goes out of scope, when it is closed: last, since until then its number
/// is nobody else's.
pub(crate) struct Pin {
    _held: Hold,
    file: Owned,
}

impl Pin {
    /// Holds `file`; `None` where too many are held.
    pub(crate) fn new(file: Owned) -> Option<Self> {
        Some(Self { _held: Hold::new(file.0)?, file })
    }

    pub(crate) const fn number(&self) -> i32 {
        self.file.0
    }
}

fn entry(descriptor: i32) -> Option<u64> {
    u32::try_from(descriptor).ok().map(|number| u64::from(sys::process_id()) << 32 | u64::from(number))
}

fn process_of(entry: u64) -> u32 {
    u32::try_from(entry >> 32).unwrap_or(0)
}

/// Whether a thread of this process holds the descriptor.
pub(crate) fn is_held(descriptor: i32) -> bool {
    let number = descriptor.cast_unsigned();
    any_in(number, number)
}

/// Whether one is held from `first` to `last`.
pub(crate) fn any_in(first: u32, last: u32) -> bool {
    HELD.load(Ordering::Acquire) != 0
        && PINS.iter().map(|place| place.load(Ordering::Acquire)).any(|entry| {
            entry != 0
                && (u64::from(first)..=u64::from(last)).contains(&(entry & 0xffff_ffff))
                && process_of(entry) == sys::process_id()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_held_as_long_as_it_lives_and_closed_then() {
        let file = sys::open_at(sys::CWD, b"/\0", sys::O_PATH | sys::O_CLOEXEC).unwrap();
        let pin = Pin::new(file).unwrap();
        let number = pin.number();
        assert!(is_held(number) && !is_held(number + 1));
        assert!(sys::identity(number).is_ok());
        drop(pin);
        assert!(!is_held(number));
    }

    #[test]
    fn the_pins_of_a_parent_are_none_of_a_forks() {
        let parents = u64::from(sys::process_id() + 1) << 32 | 0x270f;
        let last = PINS.last().unwrap();
        last.store(parents, Ordering::Release);
        HELD.fetch_add(1, Ordering::Release);
        assert!(!is_held(0x270f));
        HELD.fetch_sub(1, Ordering::Release);
        last.store(0, Ordering::Release);
    }
}

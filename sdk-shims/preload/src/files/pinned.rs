//! Opens that give away nothing before the verdict, not even for a moment.
//!
//! Who opens first and closes what is denied leaves another thread time to read or write by the descriptor's number. So
//! the file is pinned first (`O_PATH`, which gives nothing away), judged, and opened by way of the pin, which nobody can
//! replace meanwhile (`pins`). What does not exist yet is made and nothing else. `files` calls it and gives the verdict.

use super::{LONGEST, Open, resolve_new, terminated};
use crate::arch::{Flow, number};
use crate::exec::descriptor_path;
use crate::pins::{self, Pin};
use crate::state::State;
use crate::sys::{self, Errno};

/// Pins and creations that are tried: each fails only where somebody makes or removes the file in between.
const MAX_TRIES: usize = 16;

/// What became of an open.
pub(super) enum Outcome {
    Over(Flow),
    /// A new file, or another than was judged.
    Unjudged(i32),
}

/// Whether an open is made here: where it changes something, or somebody else shares the descriptors. `openat2` has a
/// resolution of its own; the kernel plane sees opens that write itself; without /proc nothing can be asked or opened so.
pub(super) fn is_held(state: &State, open: &Open, changes: bool) -> bool {
    let makes_only = open.flags & (sys::O_CREAT | sys::O_EXCL) == sys::O_CREAT | sys::O_EXCL;
    let unnamed = open.flags & sys::O_TMPFILE == sys::O_TMPFILE;
    let elsewhere = (open.writes() && state.handoff.kernel_covers != 0) || state.proc_device == 0;
    (changes || pins::are_shared()) && !(makes_only || unnamed || elsewhere || open.number == number::OPENAT2)
}

/// Makes the open where `verdict`, which is asked with the pin, has nothing against it.
#[inline(never)]
pub(super) fn open(open: &Open, verdict: impl Fn(i32) -> Option<Flow>) -> Outcome {
    for _ in 0..MAX_TRIES {
        let flags = sys::O_PATH | sys::O_CLOEXEC | (open.flags & sys::O_NOFOLLOW);
        let answer = match sys::open_raw(open.directory, open.path, flags) {
            Ok(file) => {
                let Some(pin) = Pin::new(file) else { return over(Errno::NFILE) };
                let Ok(file) = sys::identity(pin.number()) else { return over(Errno::ACCES) };
                let denied = verdict(pin.number());
                return denied.map_or_else(|| by_pin(open, &pin, file), Outcome::Over);
            }
            Err(Errno::NOENT) if open.flags & sys::O_CREAT != 0 => made(open),
            Err(error) => return over(error),
        };
        match sys::check(answer) {
            Ok(opened) => return Outcome::Unjudged(sys::descriptor(opened)),
            Err(Errno::EXIST) => {}
            Err(error) => return over(error),
        }
    }
    over(Errno::ACCES)
}

const fn over(error: Errno) -> Outcome {
    Outcome::Over(Flow::Done(error.result()))
}

/// Opens what is pinned. A link that may not be followed is pinned itself: ELOOP, as it should be.
fn by_pin(open: &Open, pin: &Pin, judged: sys::Identity) -> Outcome {
    let mut link = [0; 32];
    let link = descriptor_path(pin.number(), &mut link).as_ptr() as usize;
    let flags = open.flags & !(sys::O_CREAT | sys::O_EXCL | sys::O_NOFOLLOW);
    let result = sys::pass(number::OPENAT, [super::HERE, link, flags, 0, 0, 0]);
    let Ok(opened) = sys::check(result).map(sys::descriptor) else {
        return Outcome::Over(Flow::Done(result));
    };
    // A call that was on the way when the pin was held could still have replaced it.
    if sys::identity(opened).is_ok_and(|opened| opened.is_same_file(&judged)) {
        return Outcome::Over(Flow::Done(result));
    }
    Outcome::Unjudged(opened)
}

/// Makes the file: at the path, or where a link there leads that dangles.
fn made(open: &Open) -> isize {
    let [first, second, third, fourth, ..] = open.arguments;
    let mode = match open.number {
        number::OPENAT => fourth,
        number::CREAT => second,
        _ => third,
    };
    let make = |directory: usize, path: usize| {
        sys::pass(number::OPENAT, [directory, path, open.flags | sys::O_EXCL, mode, 0, 0])
    };
    let directory = if open.number == number::OPENAT { first } else { super::HERE };
    let result = make(directory, open.path);
    if result != Errno::EXIST.result() || open.flags & sys::O_NOFOLLOW != 0 {
        return result;
    }
    led_to(open, |path| make(super::HERE, path)).unwrap_or(result)
}

/// Calls `make` with the path that does not exist yet, behind links; `None` where there is none.
fn led_to(open: &Open, make: impl FnOnce(usize) -> isize) -> Option<isize> {
    let (mut room, mut path) = (sys::Buffer::new(LONGEST).ok()?, sys::Buffer::new(LONGEST + 1).ok()?);
    let length = resolve_new(open.directory, sys::string_at(open.path, LONGEST)?, room.bytes())?;
    let path = terminated(room.bytes().get(..length)?, path.bytes())?;
    Some(make(path.as_ptr() as usize))
}

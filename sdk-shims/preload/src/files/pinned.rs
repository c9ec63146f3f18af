//! Opens that give away nothing before the verdict, not even for a moment.
//!
//! Who opens first and closes what is denied leaves another thread time to read or write by the descriptor's number. So
//! the file is pinned first (`O_PATH`, which gives nothing away), judged, and opened by way of the pin, which nobody can
//! replace meanwhile (`pins`). What does not exist yet is made and nothing else. `files` calls it and gives the verdict.

use super::{LONGEST, Open, new_denied, pin_denied, place_of_new, unnamed_denied};
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

/// Rules on writing, where they are held here.
pub(super) struct Writes<'s> {
    pub(super) state: &'s State,
    pub(super) is_judged: bool,
}

impl Writes<'_> {
    fn deny(&self, pin: i32) -> bool {
        self.is_judged && pin_denied(self.state, pin)
    }
}

/// Makes the open where `verdict`, which is asked with the pin, has nothing against it, and no rule on writing.
#[inline(never)]
pub(super) fn open(open: &Open, writes: &Writes<'_>, verdict: impl Fn(i32) -> Option<Flow>) -> Outcome {
    let makes_only = open.flags & (sys::O_CREAT | sys::O_EXCL) == sys::O_CREAT | sys::O_EXCL;
    if let Some(opened) = made_unasked(open, writes) {
        return Outcome::Unjudged(opened);
    }
    // A file that must be new is not made behind a link.
    let nofollow = if makes_only { sys::O_NOFOLLOW } else { open.flags & sys::O_NOFOLLOW };
    for _ in 0..MAX_TRIES {
        let flags = sys::O_PATH | sys::O_CLOEXEC | nofollow;
        let answer = match sys::open_raw(open.directory, open.path, flags) {
            Ok(file) => {
                let Some(pin) = Pin::new(file) else { return over(Errno::NFILE) };
                if open.flags & sys::O_TMPFILE == sys::O_TMPFILE {
                    return unnamed(open, writes, &pin);
                }
                if makes_only {
                    return over(Errno::EXIST);
                }
                let Ok(file) = sys::identity(pin.number()) else { return over(Errno::ACCES) };
                if writes.deny(pin.number()) {
                    return over(Errno::ACCES);
                }
                let denied = verdict(pin.number());
                return denied.map_or_else(|| by_pin(open, writes, &pin, file), Outcome::Over);
            }
            Err(Errno::NOENT) if open.flags & sys::O_CREAT != 0 => match made(open, writes, nofollow == 0) {
                Ok(answer) => answer,
                Err(error) => return over(error),
            },
            Err(error) => return over(error),
        };
        match sys::check(answer) {
            Ok(opened) => return Outcome::Unjudged(sys::descriptor(opened)),
            Err(Errno::EXIST) if !makes_only => {}
            Err(error) => return over(error),
        }
    }
    over(Errno::ACCES)
}

/// A file without a name, in the folder that is pinned.
fn unnamed(open: &Open, writes: &Writes<'_>, folder: &Pin) -> Outcome {
    if writes.is_judged && unnamed_denied(writes.state, folder.number()) {
        return over(Errno::ACCES);
    }
    let mut link = [0; 32];
    let link = descriptor_path(folder.number(), &mut link).as_ptr() as usize;
    let flags = open.flags & !sys::O_NOFOLLOW;
    Outcome::Over(Flow::Done(sys::pass(number::OPENAT, [super::HERE, link, flags, mode_of(open), 0, 0])))
}

const fn over(error: Errno) -> Outcome {
    Outcome::Over(Flow::Done(error.result()))
}

/// Opens what is pinned. A link that may not be followed is pinned itself: ELOOP, as it should be.
fn by_pin(open: &Open, writes: &Writes<'_>, pin: &Pin, judged: sys::Identity) -> Outcome {
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
    if writes.is_judged {
        sys::close(opened);
        return over(Errno::ACCES);
    }
    Outcome::Unjudged(opened)
}

fn mode_of(open: &Open) -> usize {
    let [_, second, third, fourth, ..] = open.arguments;
    match open.number {
        number::OPENAT => fourth,
        number::CREAT => second,
        _ => third,
    }
}

/// Makes the file where no rule on writing cares for its name, so that its folder need not be known. What `O_EXCL` makes is new, so
/// nothing that is there is opened. `None` where it cannot be made so: most often, because there is a file.
fn made_unasked(open: &Open, writes: &Writes<'_>) -> Option<i32> {
    if writes.is_judged || open.flags & sys::O_CREAT == 0 {
        return None;
    }
    let directory = sys::argument(open.directory);
    let arguments = [directory, open.path, open.flags | sys::O_EXCL, mode_of(open), 0, 0];
    sys::check(sys::pass(number::OPENAT, arguments)).ok().map(sys::descriptor)
}

/// Makes the file and nothing else: in the folder that the path leads to, or where a link there leads that dangles.
fn made(open: &Open, writes: &Writes<'_>, follow: bool) -> Result<isize, Errno> {
    let path = sys::string_at(open.path, LONGEST).ok_or(Errno::NAMETOOLONG)?;
    if path.ends_with(b"/") {
        return Err(Errno::ISDIR);
    }
    let (folder, name) = place_of_new(open.directory, path, follow).ok_or(Errno::NOENT)?;
    let folder = Pin::new(folder).ok_or(Errno::NFILE)?;
    if writes.is_judged && new_denied(writes.state, folder.number(), &name) {
        return Err(Errno::ACCES);
    }
    let at = usize::try_from(folder.number()).map_err(|_| Errno::BADF)?;
    let flags = open.flags | sys::O_EXCL | sys::O_NOFOLLOW;
    let name = name.terminated().as_ptr() as usize;
    Ok(sys::pass(number::OPENAT, [at, name, flags, mode_of(open), 0, 0]))
}

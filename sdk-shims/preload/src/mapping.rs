//! mmap(2) of files as code: judged by where the file lives, and its sites patched before anyone runs it.
//!
//! Of files, mappings that ask for execution are looked at; of anonymous memory only that it becomes code, which
//! `memory_calls` writes down. `handler` calls it.

use ringfence_policy::{Action, Decision, Origin};
use ringfence_records::message::{ActionKind, Kind, Report};

use crate::arch::{Flow, number};
use crate::exec::{descriptor_path, origin_of};
use crate::loaded::{self, Text};
use crate::pins::{self, Hold};
use crate::shielded::{self, Source};
use crate::state::{State, speaks};
use crate::sys::{self, Errno};
use crate::{handler, memory_calls, own, patch, report};

const PROT_EXEC: usize = 4;
const MAP_FIXED: usize = 0x10;
const MAP_FIXED_NOREPLACE: usize = 0x10_0000;
const MAP_ANONYMOUS: usize = 0x20;
const MAP_PRIVATE: usize = 2;
/// Largest text that is searched for sites: reading more would cost a cold start more than it finds.
const MAX_SEARCHED: usize = 1 << 20;

/// Judges, makes and patches a mapping.
pub(crate) fn map(state: &State, arguments: [usize; 6]) -> Flow {
    let [address, length, protection, flags, file, offset] = arguments;
    let meets = address != 0 && memory_calls::replaces(address, length);
    if flags & MAP_FIXED != 0 && meets && !guards(arguments) {
        return own::dangerous(state, "mmap");
    }
    // Nothing comes to be where something of ours belongs, even where that is gone: neither by a hint nor at an exact place.
    if meets && flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) == MAP_FIXED_NOREPLACE {
        return Flow::Done(Errno::EXIST.result());
    }
    let hint = if meets && flags & MAP_FIXED == 0 { 0 } else { address };
    let arguments = [hint, length, protection, flags, file, offset];
    if protection & PROT_EXEC == 0 {
        return if hint == address { Flow::Proceed } else { Flow::Done(sys::pass(number::MMAP, arguments)) };
    }
    if flags & MAP_ANONYMOUS != 0 {
        if !memory_calls::is_for_callbacks(length) {
            memory_calls::made_code(state);
        }
        return if hint == address { Flow::Proceed } else { Flow::Done(sys::pass(number::MMAP, arguments)) };
    }
    let file = sys::descriptor(file);
    // Another thread could put another file there once this one is judged. A call of its that is on the way already shows in
    // what stands there afterwards.
    let held = pins::are_shared().then(|| (Hold::new(file), sys::identity(file)));
    if state.rules.map && denied(state, file) {
        return Flow::Done(Errno::ACCES.result());
    }
    let result = sys::pass(number::MMAP, arguments);
    let Ok(address) = sys::check(result) else { return Flow::Done(result) };
    if let Some((hold, judged)) = held
        && (hold.is_none() || !is_still(file, judged))
    {
        sys::unmap(address, length);
        return Flow::Done(Errno::ACCES.result());
    }
    if flags & MAP_PRIVATE != 0 && (length <= MAX_SEARCHED || holds_libc(file)) {
        let guarded = protection & sys::PROT_BTI != 0;
        let patched = patch_mapping(arguments, Text { address, length, guarded });
        // A refusal leaves another object as the program asked for it: its own sites then go unseen. A second libc has all
        // of them.
        if patched.is_err() && holds_libc(file) {
            let refused = own::dangerous_for(state, "mmap", b"a second libc whose calls would not be seen");
            if refused != Flow::Proceed {
                sys::unmap(address, length);
                return refused;
            }
        }
    }
    Flow::Done(result)
}

fn is_still(file: i32, judged: Result<sys::Identity, Errno>) -> bool {
    judged.is_ok_and(|judged| sys::identity(file).is_ok_and(|now| now.is_same_file(&judged)))
}

/// Whether the file is a libc or a loader: a second one (dlmopen, a copy mapped by hand) is searched at any length.
#[inline(never)]
fn holds_libc(file: i32) -> bool {
    let (mut link, mut path) = ([0; 32], [0; 4096]);
    sys::read_link(sys::CWD, descriptor_path(file, &mut link), &mut path).is_ok_and(loaded::is_libc)
}

/// Whether this is how glibc asks for landing pads (aarch64) in an object that it has just mapped: the same part of
/// the file once more, guarded. It is patched again.
fn guards([address, length, protection, flags, file, offset]: [usize; 6]) -> bool {
    const GUARDED: usize = PROT_EXEC | sys::PROT_BTI;
    protection & GUARDED == GUARDED
        && flags & (MAP_PRIVATE | MAP_ANONYMOUS) == MAP_PRIVATE
        && source_of(file, offset).is_some_and(|source| shielded::is_same_again(address, length, source))
}

fn source_of(file: usize, offset: usize) -> Option<Source> {
    let file = sys::identity(sys::descriptor(file)).ok()?;
    Some(Source { device: file.device, inode: file.inode, offset })
}

/// Patches what lies in the file: pages behind its end cannot be read.
#[inline(never)]
fn patch_mapping([.., file, offset]: [usize; 6], text: Text) -> Result<usize, Errno> {
    let size = usize::try_from(sys::identity(sys::descriptor(file))?.size).map_err(|_| Errno::INVAL)?;
    let length = text.length.min(size.saturating_sub(offset));
    if length == 0 {
        return Ok(0);
    }
    let patched = patch::patch(Text { length, ..text }, handler::wants)?;
    if patched > 0
        && let Some(source) = source_of(file, offset)
    {
        shielded::came_from(text.address, text.length, source);
    }
    Ok(patched)
}

/// On its own, so that its buffer is not on the stack of every other call.
#[inline(never)]
fn denied(state: &State, file: i32) -> bool {
    let (mut link, mut path) = ([0; 32], [0; 4096]);
    let Ok(path) = sys::read_link(sys::CWD, descriptor_path(file, &mut link), &mut path) else {
        return false;
    };
    let origin = origin_of(path);
    if origin == Origin::ReadOnly {
        return false;
    }
    let verdict = state.verdict(&Action::MapExecutable { path, origin });
    if speaks(verdict) {
        let mut report = Report::new(Kind::Violation, ActionKind::MapExecutable);
        report.path = path;
        report::violation(state, verdict, &report);
    }
    verdict.decision == Decision::Deny
}

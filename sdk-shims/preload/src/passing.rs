//! What a program that is started now inherits, and what a process does that has not inherited it.
//!
//! An exec in a process that enforces passes on two descriptors, the library, and the inodes that the descriptors have
//! ([`VARIABLE`]). A process that finds this variable and not those files was started under the policy and cannot be held
//! to it: it looks for the files in its ancestors, and ends where it finds none. Before the runtime's launch nothing of
//! this applies, nor in observe mode. `exec` asks before a program starts, `start` in the constructor.

use ringfence_policy::{Action, Decision, Rule};
use ringfence_records::claim::{NO_HANDOFF, NO_LIBRARY, NO_PAGE};
use ringfence_records::message::{ActionKind, Kind, Outcome, Report};
use ringfence_records::wire::MAX_MESSAGE;

use crate::exec::decimal;
use crate::state::{Descriptor, State};
use crate::sys::{self, Errno, Owned};
use crate::{lineage, report};

/// The variable that says which files the two descriptors are: `handoff,state`, inodes in decimal.
pub(crate) const VARIABLE: &[u8] = b"RINGFENCE_INODES";
/// Status of a process that ends because it is not protected: what shells give for a command that cannot be executed.
const STATUS: usize = 126;
/// Ancestors in which descriptors are looked for.
const MAX_ANCESTORS: usize = 8;

/// Whether a process that cannot be held to the policy may not run at all.
pub(crate) fn is_enforced(state: &State) -> bool {
    let launched = state.context().launched;
    launched && state.verdict(&Action::Dangerous { call: "exec" }).decision == Decision::Deny
}

/// Descriptors as a program that is started now inherits them, or what is missing. For a stack of the library's own.
///
/// # Errors
/// The reason for the record.
pub(crate) fn prepare(state: &State) -> Result<[Descriptor; 2], &'static [u8]> {
    if !has_library(state) {
        return Err(NO_LIBRARY);
    }
    let [handoff, page] = state.descriptors;
    let page = kept(page).or_else(|| of_an_ancestor(page)).ok_or(NO_PAGE)?;
    let handoff = kept(handoff).or_else(|| made_anew(state)).ok_or(NO_HANDOFF)?;
    Ok([handoff, page])
}

/// The number, where it is still the same file, with close-on-exec off.
fn kept(own: Descriptor) -> Option<Descriptor> {
    const F_GETFD: usize = 1;
    const F_SETFD: usize = 2;
    let identity = sys::identity(own.number).ok()?;
    if sys::control(own.number, F_GETFD, 0).ok()? != 0 {
        sys::control(own.number, F_SETFD, 0).ok()?;
    }
    (identity.inode == own.inode).then_some(own)
}

/// The handoff from memory.
fn made_anew(state: &State) -> Option<Descriptor> {
    let file = sys::memory_file(b"ringfence-handoff\0", state.handoff_bytes).ok()?;
    let inode = sys::identity(file.0).ok()?.inode;
    Some(Descriptor { number: file.keep(), inode })
}

/// Whether a program that is started here finds this library by its path: not behind another root or mount.
fn has_library(state: &State) -> bool {
    let mut path = [0; 1024];
    let Some(known) = state.library else { return true };
    let found = state.own_path(&mut path).and_then(identity_at);
    found.is_some_and(|found| found.is_same_file(&known))
}

/// What lies at `path`, which ends in NUL.
pub(crate) fn identity_at(path: &[u8]) -> Option<sys::Identity> {
    sys::identity(sys::open_at(sys::CWD, path, sys::O_PATH | sys::O_CLOEXEC).ok()?.0).ok()
}

/// The file, opened by the number that an ancestor has it under: a parent without this library may have closed it.
pub(crate) fn of_an_ancestor(wanted: Descriptor) -> Option<Descriptor> {
    let mut next = sys::parent_id();
    for _ in 0..MAX_ANCESTORS {
        if next <= 1 {
            return None;
        }
        if let Some(file) = opened(next, wanted) {
            return Some(Descriptor { number: file.keep(), ..wanted });
        }
        next = lineage::parent_of(next)?;
    }
    None
}

/// The file out of the way of the program's own, where an ancestor has it.
fn opened(process: u32, wanted: Descriptor) -> Option<Owned> {
    const F_DUPFD: usize = 0;
    let (mut path, mut used) = ([0; 48], 0);
    let (mut first, mut second) = ([0; 12], [0; 12]);
    let number = decimal(wanted.number.unsigned_abs(), &mut second);
    for part in [b"/proc/", decimal(process, &mut first), b"/fd/", number, b"\0"] {
        path.get_mut(used..used + part.len())?.copy_from_slice(part);
        used += part.len();
    }
    let low = sys::open_at(sys::CWD, path.get(..used)?, sys::O_CLOEXEC).ok()?;
    if sys::identity(low.0).ok()?.inode != wanted.inode {
        return None;
    }
    let above = usize::try_from(wanted.number).ok()?;
    sys::control(low.0, F_DUPFD, above).ok().map(|number| Owned(sys::descriptor(number)))
}

/// `RINGFENCE_INODES` as the constructor reads it; `None` for anything else.
pub(crate) fn inodes(value: &str) -> Option<[u64; 2]> {
    let (handoff, page) = value.split_once(',')?;
    Some([handoff.parse().ok()?, page.parse().ok()?])
}

/// A number in decimal digits.
pub(crate) fn long_decimal(mut number: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut start = buffer.len();
    while let Some(slot) = start.checked_sub(1).and_then(|at| buffer.get_mut(at)) {
        *slot = b'0' + u8::try_from(number % 10).unwrap_or(0);
        start -= 1;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    buffer.get(start..).unwrap_or_default()
}

/// The last word of a process that may not run unprotected: a line on standard error, a record by the agent, the end.
pub(crate) fn end(report_address: &[u8], detail: &'static [u8]) -> ! {
    const BEFORE: &[u8] = b"ringfence: this program was ended before it began: ";
    for part in [BEFORE, detail, b"\n"] {
        let _ = sys::write(2, part);
    }
    let _ = tell(report_address, detail);
    sys::exit(STATUS)
}

fn tell(report_address: &[u8], detail: &[u8]) -> Result<(), Errno> {
    let mut executable = sys::Buffer::new(256)?;
    let mut report = Report::new(Kind::Violation, ActionKind::Dangerous);
    report.rule = Rule::SelfProtection;
    report.outcome = Outcome::Blocked;
    report.name = b"exec";
    report.pid = sys::process_id();
    report.parent = sys::parent_id();
    report.thread = sys::thread_id();
    report.exe = sys::read_link(sys::CWD, b"/proc/self/exe\0", executable.bytes()).unwrap_or_default();
    report.path = report.exe;
    report.detail = detail;
    let mut buffer = sys::Buffer::new(MAX_MESSAGE)?;
    let message = report.encode(buffer.bytes()).ok_or(Errno::INVAL)?;
    report::deliver_to(report_address, message).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn inodes_are_read_strictly() {
        assert_eq!(inodes("17,18446744073709551615"), Some([17, u64::MAX]));
        for wrong in ["", "17", "17,", ",18", "17,18,19", "-1,2", "17,18446744073709551616"] {
            assert_eq!(inodes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_file_is_found_in_an_ancestor_and_by_its_inode_only() {
        let file = std::fs::File::open("/etc/passwd").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        let inode = sys::identity(number).unwrap().inode;
        let found = opened(sys::process_id(), Descriptor { number, inode }).unwrap();
        assert!(found.0 >= number && sys::identity(found.0).unwrap().inode == inode);
        assert!(opened(sys::process_id(), Descriptor { number, inode: inode + 1 }).is_none());
    }

    proptest! {
        #[test]
        fn long_numbers_are_written_in_full(number: u64) {
            let (mut buffer, expected) = ([0; 20], number.to_string());
            prop_assert_eq!(long_decimal(number, &mut buffer), expected.as_bytes());
        }
    }
}

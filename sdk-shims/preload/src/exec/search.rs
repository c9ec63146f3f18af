//! Variables that tell the loader of a child which libraries to load, and from where.
//!
//! What they name is mapped before the preload library can look at mappings of that process, so it is judged here, as
//! an executable mapping. A denied variable is left out and written down. `environment` asks.

use ringfence_policy::{Action, Decision, Origin};
use ringfence_records::message::{ActionKind, Kind, Report};

use super::{descriptor_path, origin_of};
use crate::report;
use crate::state::{State, speaks};
use crate::sys;

/// Longest value that is taken apart; a longer one is judged as if it led to a writable place.
const LONGEST: usize = 8192;
/// Longest item.
const PATH: usize = 1024;

/// Whether the loader takes libraries, or places of libraries, from the variable. `LD_PRELOAD` is judged where ours is
/// put in front of it.
pub(super) fn is_search(name: &[u8]) -> bool {
    matches!(name, b"LD_AUDIT" | b"LD_LIBRARY_PATH")
}

/// Whether a child may not have the variable `name` with the value at `value`.
pub(super) fn denied(state: &State, name: &[u8], value: usize) -> bool {
    if !state.rules.map {
        return false;
    }
    let Some(value) = sys::string_at(value, LONGEST) else {
        return judged(state, name, b"", Origin::Writable);
    };
    let places = name == b"LD_LIBRARY_PATH";
    if value.is_empty() {
        return false;
    }
    items(value, places).any(|item| item_denied(state, name, item, places))
}

/// Apart as glibc takes them (`:`, `;`, for libraries a blank), and as musl does (`:`, a new line, for libraries any blank).
fn items(value: &[u8], places: bool) -> impl Iterator<Item = &[u8]> {
    value.split(move |byte| {
        matches!(byte, b':' | b';' | b'\n') || (!places && (byte.is_ascii_whitespace() || *byte == 0x0b))
    })
}

fn item_denied(state: &State, name: &[u8], item: &[u8], places: bool) -> bool {
    // A name without a slash is looked for in the usual places; an empty place is the working directory.
    if !places && !item.contains(&b'/') {
        return false;
    }
    let item = if item.is_empty() { b"." } else { item };
    let (mut room, mut link, mut resolved) = ([0; PATH], [0; 32], [0; PATH]);
    // What the loader puts in for $ORIGIN and $LIB is not known here: judged by what stands before, where nothing leads back
    // behind that.
    let (fixed, unknown) =
        item.iter().position(|byte| *byte == b'$').map_or((item, &[][..]), |at| item.split_at(at));
    if unknown.split(|byte| *byte == b'/').any(|name| name == b"..") || leads_through_writable(fixed, places)
    {
        return judged(state, name, item, Origin::Writable);
    }
    let Some(place) = room.get_mut(..fixed.len()) else { return judged(state, name, b"", Origin::Writable) };
    place.copy_from_slice(fixed);
    let Some(path) = room.get(..=fixed.len()) else { return judged(state, name, fixed, Origin::Writable) };
    let opened = sys::open_at(sys::CWD, path, sys::O_PATH | sys::O_CLOEXEC);
    let origin = match &opened {
        Ok(file) => sys::read_link(sys::CWD, descriptor_path(file.0, &mut link), &mut resolved)
            .map_or(Origin::Writable, |resolved| place_of(resolved, places)),
        // Nothing there yet: what matters is who could put something there.
        Err(_) if fixed.starts_with(b"/") && !leads_about(fixed) => place_of(fixed, places),
        Err(_) => Origin::Writable,
    };
    origin != Origin::ReadOnly && judged(state, name, item, origin)
}

fn leads_about(path: &[u8]) -> bool {
    path.starts_with(b"/proc/")
        || path.starts_with(b"/dev/")
        || path.split(|byte| *byte == b'/').any(|name| name == b"..")
}

/// Whether the function decides where `path` leads: any folder on the way could be another, or a link, when the loader gets
/// there. Links of the image lead where the image says.
#[inline(never)]
fn leads_through_writable(path: &[u8], is_folder: bool) -> bool {
    let (Ok(mut room), mut length) = (sys::Buffer::new(2 * PATH), 0) else { return true };
    let walked = room.bytes();
    if !path.starts_with(b"/") {
        let (here, _) = walked.split_at_mut(PATH);
        match sys::read_link(sys::CWD, b"/proc/self/cwd\0", here) {
            Ok(here) if here.starts_with(b"/") => length = here.len(),
            _ => return true,
        }
        if is_place_writable(walked.get(..length).unwrap_or_default()) {
            return true;
        }
    }
    let mut names = path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).peekable();
    while let Some(name) = names.next() {
        if name == b".." {
            let before = walked.get(..length).unwrap_or_default();
            length = before.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            continue;
        }
        // The last name of a file is the file.
        let enters = is_folder || names.peek().is_some();
        let Some([slash, room @ ..]) = walked.get_mut(length..length + 1 + name.len()) else { return true };
        *slash = b'/';
        room.copy_from_slice(name);
        length += 1 + name.len();
        if enters && is_place_writable(walked.get(..length).unwrap_or_default()) {
            return true;
        }
    }
    false
}

/// Whether what lies in the folder is the function's, or a process's.
fn is_place_writable(folder: &[u8]) -> bool {
    place_of(folder, true) != Origin::ReadOnly || [&b"/proc"[..], b"/dev"].contains(&folder)
}

/// The origin of a file, or of what lies in a folder.
fn place_of(path: &[u8], is_folder: bool) -> Origin {
    if !is_folder {
        return origin_of(path);
    }
    let mut inside = [0; PATH + 8];
    let end = path.len();
    match inside.get_mut(..end) {
        Some(room) => room.copy_from_slice(path),
        None => return Origin::Writable,
    }
    if let Some(room) = inside.get_mut(end..end + 2) {
        room.copy_from_slice(b"/x");
    }
    inside.get(..end + 2).map_or(Origin::Writable, origin_of)
}

fn judged(state: &State, name: &[u8], item: &[u8], origin: Origin) -> bool {
    let verdict = state.verdict(&Action::MapExecutable { path: item, origin });
    if speaks(verdict) {
        let mut report = Report::new(Kind::Violation, ActionKind::MapExecutable);
        report.path = item;
        report.name = name;
        report.detail = b"in a variable that a child's loader obeys";
        report::violation(state, verdict, &report);
    }
    verdict.decision == Decision::Deny
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_judged_by_what_lies_in_them() {
        assert_eq!(place_of(b"/tmp", true), Origin::Writable);
        assert_eq!(place_of(b"/tmp/lib", true), Origin::Writable);
        assert_eq!(place_of(b"/tmp/lib/x.so", false), Origin::Writable);
    }

    #[test]
    fn a_way_through_a_writable_place_is_the_functions() {
        for (path, is_folder, expected) in [
            ("/usr/lib", true, false),
            ("/usr/bin/../lib/", true, false),
            ("/usr/lib/x.so", false, false),
            ("/tmp/link", true, true),
            ("/usr/../tmp/link/..", true, true),
            ("/tmp", true, true),
            ("/proc/self/cwd/lib", true, true),
            ("/dev/fd/3", false, true),
            ("/", true, false),
        ] {
            assert_eq!(leads_through_writable(path.as_bytes(), is_folder), expected, "{path}");
        }
    }

    #[test]
    fn items_end_where_any_loader_ends_them() {
        let count = |value: &[u8], places| items(value, places).count();
        assert_eq!(count(b"/a:/b;/c\n/d", true), 4);
        assert_eq!(count(b"/a b", true), 1);
        assert_eq!(count(b"/a /b\t/c\n/d\x0b/e\x0c/f\r/g:/h", false), 8);
    }

    #[test]
    fn paths_that_lead_about_are_never_trusted() {
        assert!(leads_about(b"/proc/self/cwd/lib"));
        assert!(leads_about(b"/opt/../tmp/lib"));
        assert!(!leads_about(b"/opt/lib"));
    }
}

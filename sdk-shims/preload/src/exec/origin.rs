//! Where a file lives, as far as rules care.
//!
//! Places that the function can write are known by name; for users other than root the directory is asked as well.
//! Exec and executable mappings call it.

use ringfence_policy::{Origin, is_in_writable_place};

use crate::sys;

/// The origin of the file that `/proc/self/fd/N` calls `resolved`.
pub(crate) fn origin_of(resolved: &[u8]) -> Origin {
    match by_name(resolved) {
        Origin::ReadOnly if !sys::is_root() && in_writable_directory(resolved) => Origin::Writable,
        origin => origin,
    }
}

fn by_name(resolved: &[u8]) -> Origin {
    if resolved.starts_with(b"/memfd:") {
        Origin::Memory
    } else if resolved.ends_with(b" (deleted)") {
        Origin::Deleted
    } else if is_in_writable_place(resolved) {
        Origin::Writable
    } else {
        Origin::ReadOnly
    }
}

/// Whether this user could put another file in its place.
fn in_writable_directory(resolved: &[u8]) -> bool {
    const LONGEST: usize = 1024;
    let mut path = [0; LONGEST];
    let Some(slash) = resolved.iter().rposition(|byte| *byte == b'/') else { return true };
    let directory = resolved.get(..slash.max(1)).unwrap_or_default();
    let Some(room) = path.get_mut(..directory.len()) else { return true };
    room.copy_from_slice(directory);
    path.get(..=directory.len()).is_none_or(sys::may_write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writable_places_are_known_by_name() {
        let table = [
            ("/usr/bin/convert", Origin::ReadOnly),
            ("/tmp/x", Origin::Writable),
            ("/tmpx/x", Origin::ReadOnly),
            ("/dev/shm/x", Origin::Writable),
            ("/mnt/efs/x", Origin::Writable),
            ("/memfd:x (deleted)", Origin::Memory),
            ("/usr/bin/x (deleted)", Origin::Deleted),
        ];
        for (path, origin) in table {
            assert_eq!(by_name(path.as_bytes()), origin, "{path}");
        }
    }
}

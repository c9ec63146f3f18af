//! What proc(5) says of processes.
//!
//! Reads and parses, decides nothing; anything that is missing or odd reads as "no such process".

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Most bytes of a command line that are read.
const MAX_COMMAND: u64 = 1024;
/// Most bytes of `status` that are read; it has some 1,500.
const MAX_STATUS: u64 = 4096;
/// Most bytes of a list of mappings that are read; a large program has some 200 KiB.
const MAX_MAPS: u64 = 4 << 20;
/// Bytes of a page; the same on every machine that Lambda has, by its documentation of memory sizes.
const PAGE_KIB: u64 = 4;

/// What is in a process's `stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) id: u32,
    pub(crate) parent: u32,
    /// Ticks after boot.
    pub(crate) started: u64,
    pub(crate) is_dead: bool,
}

/// A process, for the record.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) id: u32,
    pub(crate) parent: u32,
    pub(crate) started: u64,
    pub(crate) is_dead: bool,
    /// Whether it runs as our user.
    pub(crate) is_own: bool,
    /// What it calls itself; at exec the kernel sets it to the file's base name.
    pub(crate) name: Vec<u8>,
    /// Executable; empty where it cannot be read.
    pub(crate) exe: Vec<u8>,
    /// Executable of its parent; empty where it cannot be read.
    pub(crate) parent_exe: Vec<u8>,
    /// Command line, split.
    pub(crate) arguments: Vec<Vec<u8>>,
}

/// The numbers of all processes.
pub(crate) fn ids(proc: &Path) -> impl Iterator<Item = u32> + use<> {
    let entries = std::fs::read_dir(proc).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The number that was given out last, the fifth field of `loadavg`. Threads take numbers too.
pub(crate) fn last_id(proc: &Path) -> Option<u32> {
    let text = limited(&proc.join("loadavg"), MAX_COMMAND)?;
    std::str::from_utf8(&text).ok()?.split_ascii_whitespace().nth(4)?.parse().ok()
}

/// Reads `stat`.
pub(crate) fn stat(proc: &Path, id: u32) -> Option<Stat> {
    let text = limited(&proc.join(id.to_string()).join("stat"), MAX_COMMAND)?;
    parse_stat(&text)
}

/// Reads everything.
pub(crate) fn read(proc: &Path, id: u32) -> Option<Process> {
    let place = proc.join(id.to_string());
    let found = stat(proc, id)?;
    let name = limited(&place.join("comm"), 64).unwrap_or_default();
    let command = limited(&place.join("cmdline"), MAX_COMMAND).unwrap_or_default();
    Some(Process {
        id,
        parent: found.parent,
        started: found.started,
        is_dead: found.is_dead,
        is_own: is_own(&place),
        name: name.trim_ascii_end().to_vec(),
        exe: executable(proc, id),
        parent_exe: executable(proc, found.parent),
        arguments: split(&command),
    })
}

/// Whether the preload library is mapped into it: then it is the function's, whatever its parent is by now. Programs of
/// other extensions do not have it.
pub(crate) fn has_library(proc: &Path, id: u32) -> bool {
    const LIBRARY: &[u8] = b"/libringfence.so";
    let maps = limited(&proc.join(id.to_string()).join("maps"), MAX_MAPS).unwrap_or_default();
    maps.windows(LIBRARY.len()).any(|part| part == LIBRARY)
}

/// Whether more filters of seccomp(2) are on it than on the agent (`Seccomp_filters`, Linux 5.9): then the guard's is.
pub(crate) fn is_filtered_more(proc: &Path, id: u32) -> bool {
    let filters = |place: PathBuf| {
        let status = limited(&place.join("status"), MAX_STATUS).unwrap_or_default();
        let status = String::from_utf8_lossy(&status);
        let line = status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:"));
        line.and_then(|count| count.trim().parse::<u32>().ok()).unwrap_or(0)
    };
    filters(proc.join(id.to_string())) > filters(proc.join("self"))
}

/// Its executable; empty where it cannot be read.
pub(crate) fn executable(proc: &Path, id: u32) -> Vec<u8> {
    let link = std::fs::read_link(proc.join(id.to_string()).join("exe")).unwrap_or_default();
    link.as_os_str().as_bytes().to_vec()
}

/// The folder of a process that is not dumpable belongs to root, so its status is asked instead.
pub(crate) fn is_own(place: &Path) -> bool {
    let own = nix::unistd::getuid().as_raw();
    if place.symlink_metadata().is_ok_and(|metadata| metadata.uid() == own) {
        return true;
    }
    let status = limited(&place.join("status"), MAX_COMMAND).unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    line.and_then(|ids| ids.split_whitespace().next()).and_then(|id| id.parse().ok()) == Some(own)
}

/// At most `most` bytes of a file.
pub(crate) fn limited(path: &Path, most: u64) -> Option<Vec<u8>> {
    // Room for nearly all of these files, so that it takes two reads.
    let mut content = Vec::with_capacity(1024);
    std::fs::File::open(path).ok()?.take(most).read_to_end(&mut content).ok()?;
    Some(content)
}

fn split(command: &[u8]) -> Vec<Vec<u8>> {
    command.split(|byte| *byte == 0).filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect()
}

/// `17 (name) S 1 …`: the name may hold anything, so the fields are counted from its last parenthesis.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let id =
        std::str::from_utf8(text.get(..text.iter().position(|byte| *byte == b' ')?)?).ok()?.parse().ok()?;
    let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    // Field 22; three are consumed before, and the iterator stands at field 5.
    let started = fields.nth(17)?.parse().ok()?;
    Some(Stat { id, parent, started, is_dead: matches!(state, "Z" | "X" | "x") })
}

/// Resident memory of this process in KiB; 0 where it is not known.
pub(crate) fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split_whitespace().nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
    pages * PAGE_KIB
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_cannot_forge_the_fields_behind_it() {
        let text = b"17 (evil) Z 1 (x) S 9 17 17 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4711 8192 100 0";
        assert_eq!(parse_stat(text), Some(Stat { id: 17, parent: 9, started: 4711, is_dead: false }));
    }

    #[test]
    fn a_started_process_moves_the_last_number() {
        let before = last_id(Path::new("/proc")).unwrap();
        assert!(std::process::Command::new("true").status().unwrap().success());
        assert_ne!(last_id(Path::new("/proc")).unwrap(), before);
    }

    #[test]
    fn this_process_is_found_in_proc() {
        let own = stat(Path::new("/proc"), std::process::id()).unwrap();
        assert_eq!(own.id, std::process::id());
        assert!(ids(Path::new("/proc")).any(|id| id == own.id));
        assert!(resident_kib() > 100);
    }

    #[test]
    fn a_process_with_the_library_is_known_by_its_mappings() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("17")).unwrap();
        let maps = place.path().join("17/maps");
        std::fs::write(&maps, "7f00-7f01 r-xp 0 fe:00 1 /opt/ringfence/lib/libringfence.so\n").unwrap();
        assert!(has_library(place.path(), 17));
        std::fs::write(&maps, "7f00-7f01 r-xp 0 fe:00 1 /usr/lib/libc.so.6\n").unwrap();
        assert!(!has_library(place.path(), 17) && !has_library(place.path(), 18));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_stat(&text);
        }
    }
}

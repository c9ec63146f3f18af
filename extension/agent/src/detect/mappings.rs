//! Executable mappings of files, as `/proc/<pid>/maps` lists them.
//!
//! It parses and tells files that the function could have made from those of the image; what may be mapped is decided
//! elsewhere. [`super`] asks where a process's amount of code has changed, since reading the list costs far more.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use nix::unistd::AccessFlags;
use ringfence_policy::{Origin, is_in_writable_place};

use crate::proc;

/// Most bytes of a list that are read: some 10,000 mappings.
const MAX_LIST: u64 = 1024 * 1024;
/// Most files of one process that are told.
const MAX_FILES: usize = 32;

/// How much memory a process has mapped: total and private writable, in pages (`statm`).
pub(super) type Extent = (u64, u64);

/// A cheap sign that mappings have changed.
pub(super) fn extent(proc: &Path, id: u32) -> Option<Extent> {
    let text = proc::limited(&proc.join(id.to_string()).join("statm"), 128)?;
    let mut fields = std::str::from_utf8(&text).ok()?.split_ascii_whitespace();
    Some((fields.next()?.parse().ok()?, fields.nth(4)?.parse().ok()?))
}

/// KiB of files that are mapped executable and not writable (`VmLib` of `status`).
pub(super) fn code_size(proc: &Path, id: u32) -> Option<u64> {
    let text = proc::limited(&proc.join(id.to_string()).join("status"), 4096)?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find_map(|line| line.strip_prefix("VmLib:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The files that are mapped executable and are not of the image, each once.
pub(super) fn planted(proc: &Path, id: u32) -> Vec<(Vec<u8>, Origin)> {
    let mut text = Vec::new();
    let Ok(file) = File::open(proc.join(id.to_string()).join("maps")) else { return Vec::new() };
    let _ = file.take(MAX_LIST).read_to_end(&mut text);
    let mut found: Vec<(Vec<u8>, Origin)> = Vec::new();
    let mut last: &[u8] = &[];
    for path in text.split(|byte| *byte == b'\n').filter_map(executable_file) {
        // A file's mappings stand next to each other.
        if path == std::mem::replace(&mut last, path) || found.iter().any(|(known, _)| known == path) {
            continue;
        }
        let origin = origin_of(path);
        if origin != Origin::ReadOnly && found.len() < MAX_FILES {
            found.push((path.to_vec(), origin));
        }
    }
    found
}

/// `7f12-7f13 r-xp 00000000 08:01 1234  /tmp/x.so`: the path, where it is a file's and executable.
fn executable_file(line: &[u8]) -> Option<&[u8]> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let permissions = fields.nth(1)?;
    let path = fields.nth(3)?.trim_ascii_start();
    // Shared anonymous memory is shown as a file; the process plane counts it as memory too.
    let is_file =
        path.starts_with(b"/") && !path.starts_with(b"/dev/zero") && !path.starts_with(b"/anon_hugepage");
    (permissions.get(2) == Some(&b'x') && is_file).then_some(path)
}

/// Where a file lives, by the process plane's rule: places that the function can write are known by name, and for users
/// other than root the directory is asked as well.
pub(super) fn origin_of(path: &[u8]) -> Origin {
    match by_name(path) {
        Origin::ReadOnly if !nix::unistd::geteuid().is_root() && in_writable_directory(path) => {
            Origin::Writable
        }
        origin => origin,
    }
}

fn by_name(path: &[u8]) -> Origin {
    if path.starts_with(b"/memfd:") {
        Origin::Memory
    } else if path.ends_with(b" (deleted)") {
        Origin::Deleted
    } else if is_in_writable_place(path) {
        Origin::Writable
    } else {
        Origin::ReadOnly
    }
}

fn in_writable_directory(path: &[u8]) -> bool {
    let slash = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let directory = path.get(..slash.max(1)).unwrap_or_default();
    nix::unistd::access(directory, AccessFlags::W_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn executable_files_are_told_from_memory_and_data() {
        let lines: [(&[u8], Option<&[u8]>); 6] = [
            (b"7f12-7f13 r-xp 00000000 08:01 1234                   /tmp/x y.so", Some(b"/tmp/x y.so")),
            (b"7f12-7f13 rwxs 00000000 00:01 12 /memfd:x (deleted)", Some(b"/memfd:x (deleted)")),
            (b"7f12-7f13 rw-p 00000000 08:01 1234 /tmp/data", None),
            (b"7f12-7f13 r-xp 00000000 00:00 0 [vdso]", None),
            (b"7f12-7f13 rwxp 00000000 00:00 0 ", None),
            (b"7f12-7f13 rwxs 00000000 00:01 9 /dev/zero (deleted)", None),
        ];
        for (line, expected) in lines {
            assert_eq!(executable_file(line), expected, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn places_that_the_function_can_write_are_known() {
        let table = [
            ("/usr/bin/convert", Origin::ReadOnly),
            ("/tmp/x", Origin::Writable),
            ("/tmpx/x", Origin::ReadOnly),
            ("/mnt/efs/x", Origin::Writable),
            ("/memfd:x (deleted)", Origin::Memory),
            ("/usr/bin/x (deleted)", Origin::Deleted),
        ];
        for (path, origin) in table {
            assert_eq!(by_name(path.as_bytes()), origin, "{path}");
        }
    }

    #[test]
    fn this_process_has_an_extent_and_code() {
        let proc = Path::new("/proc");
        let (total, private) = extent(proc, std::process::id()).unwrap();
        assert!(total > private && private > 0);
        assert!(code_size(proc, std::process::id()).unwrap() > 0);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(line in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = executable_file(&line);
            let _ = by_name(&line);
        }
    }
}

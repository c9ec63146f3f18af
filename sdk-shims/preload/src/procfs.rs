//! Names of files in a procfs: one and the same file has several, and may be mounted elsewhere too.
//!
//! Text and one question to the kernel; it judges nothing. `files` asks.

use crate::sys;

/// Whether `opened` lies in a procfs, wherever that is mounted.
pub(crate) fn is_procfs(opened: i32) -> bool {
    const PROC_SUPER_MAGIC: u64 = 0x9fa0;
    sys::filesystem(opened).is_ok_and(|kind| kind == PROC_SUPER_MAGIC)
}

/// Rewrites a path inside a procfs, wherever it is mounted, to `/proc/<pid>/<file>`, threads' files to those of their
/// process; returns the new length.
pub(crate) fn canonical_proc(buffer: &mut [u8], length: usize) -> usize {
    const PROC: &[u8] = b"/proc";
    let Some(path) = buffer.get(..length) else { return length };
    let Some((start, digits)) = process_component(path) else { return length };
    let tail = path.get(start + digits..).unwrap_or_default();
    let skip = thread_prefix(tail);
    let kept = length - start - digits - skip;
    if start < PROC.len() {
        return length;
    }
    // The process, then what follows it, moved to the front.
    buffer.copy_within(start..start + digits, PROC.len());
    buffer.copy_within(start + digits + skip..length, PROC.len() + digits);
    if let Some(head) = buffer.get_mut(..PROC.len()) {
        head.copy_from_slice(PROC);
    }
    PROC.len() + digits + kept
}

/// Start and length of the first component that is a number, with its slash: `/17`.
pub(crate) fn process_component(path: &[u8]) -> Option<(usize, usize)> {
    let mut start = 0;
    while start < path.len() {
        let rest = path.get(start + 1..)?;
        let length = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        let name = rest.get(..length)?;
        if !name.is_empty() && name.iter().all(u8::is_ascii_digit) {
            return Some((start, length + 1));
        }
        start += length + 1;
    }
    None
}

/// Length of `/task/<tid>` at the start of `tail`, where something follows it.
fn thread_prefix(tail: &[u8]) -> usize {
    const TASK: &[u8] = b"/task/";
    let Some(rest) = tail.strip_prefix(TASK) else { return 0 };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits > 0 && rest.get(digits) == Some(&b'/') { TASK.len() + digits } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(path: &str) -> String {
        let mut buffer = [0; 128];
        buffer[..path.len()].copy_from_slice(path.as_bytes());
        let length = canonical_proc(&mut buffer, path.len());
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn procfs_is_called_the_same_wherever_it_is_mounted() {
        assert_eq!(canonical("/proc/17/environ"), "/proc/17/environ");
        assert_eq!(canonical("/proc/17/task/18/environ"), "/proc/17/environ");
        assert_eq!(canonical("/mnt/other/17/environ"), "/proc/17/environ");
        assert_eq!(canonical("/proc/17/task"), "/proc/17/task");
        assert_eq!(canonical("/proc/sys/kernel/ostype"), "/proc/sys/kernel/ostype");
        assert_eq!(canonical("/17/environ"), "/17/environ");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(path in proptest::collection::vec(prop_oneof![Just(b'/'), Just(b'1'), any::<u8>()], 0..60)) {
            let mut buffer = [0; 64];
            buffer[..path.len()].copy_from_slice(&path);
            prop_assert!(canonical_proc(&mut buffer, path.len()) <= buffer.len());
        }
    }
}

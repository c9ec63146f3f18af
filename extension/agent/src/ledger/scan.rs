//! Reading directories and times without following links.
//!
//! Errors read as "nothing there": what vanishes during a scan is no news. The ledger calls it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringfence_records::record::Change;

use super::Child;

/// What is in a directory.
pub(super) fn children(path: &Path) -> impl Iterator<Item = Child> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| (entry.file_name(), entry.file_type().is_ok_and(|kind| kind.is_dir())))
}

/// Whether a path's inode changed at or after `since`.
pub(super) fn changed_since(path: &Path, since: SystemTime) -> bool {
    use std::os::unix::fs::MetadataExt;
    // One tick of the kernel's coarse clock, which dates inodes.
    const TICK: Duration = Duration::from_millis(10);
    let Ok(metadata) = path.symlink_metadata() else { return false };
    let seconds = Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or(0));
    let nanoseconds = Duration::from_nanos(u64::try_from(metadata.ctime_nsec()).unwrap_or(0));
    UNIX_EPOCH + seconds + nanoseconds + TICK >= since
}

/// The paths below `path` that a ledger knows.
pub(super) fn below<'a>(
    changes: &'a BTreeMap<PathBuf, Change>,
    path: &'a Path,
) -> impl Iterator<Item = &'a PathBuf> {
    let after = (std::ops::Bound::Excluded(path), std::ops::Bound::Unbounded);
    changes.range::<Path, _>(after).map(|(known, _)| known).take_while(move |known| known.starts_with(path))
}

//! Reading directories and times without following links.
//!
//! Errors read as "nothing there": what vanishes during a scan is no news. The ledger calls it.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringfence_records::record::Change;

use super::Child;

/// What is in a directory.
pub(super) fn children(path: &Path) -> impl Iterator<Item = Child> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| (entry.file_name(), entry.file_type().is_ok_and(|kind| kind.is_dir())))
}

/// What happened to a path at or after `since`, as far as its inode tells. The birth of an inode (statx(2), btime)
/// tells new from changed; where the file system does not know it, a file that changed counts as new, and a directory
/// as nothing: it changes with each file in it.
pub(super) fn change_since(path: &Path, since: SystemTime) -> Option<Change> {
    // One tick of the kernel's coarse clock, which dates inodes.
    const TICK: Duration = Duration::from_millis(10);
    let metadata = path.symlink_metadata().ok()?;
    let born = metadata.created().map(|born| born + TICK >= since);
    match (born, changed_since(&metadata, since, TICK)) {
        (Ok(true), _) => Some(Change::Created),
        (_, false) => None,
        (Ok(false), true) if metadata.is_dir() => None,
        (Ok(false), true) => Some(Change::Changed),
        (Err(_), true) => (!metadata.is_dir()).then_some(Change::Created),
    }
}

fn changed_since(metadata: &Metadata, since: SystemTime, tick: Duration) -> bool {
    use std::os::unix::fs::MetadataExt;
    let seconds = Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or(0));
    let nanoseconds = Duration::from_nanos(u64::try_from(metadata.ctime_nsec()).unwrap_or(0));
    UNIX_EPOCH + seconds + nanoseconds + tick >= since
}

/// The paths below `path` that a ledger knows.
pub(super) fn below<'a>(
    changes: &'a BTreeMap<PathBuf, Change>,
    path: &'a Path,
) -> impl Iterator<Item = &'a PathBuf> {
    let after = (std::ops::Bound::Excluded(path), std::ops::Bound::Unbounded);
    changes.range::<Path, _>(after).map(|(known, _)| known).take_while(move |known| known.starts_with(path))
}

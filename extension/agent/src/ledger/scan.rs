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

/// One tick of the kernel's coarse clock, which dates inodes.
const TICK: Duration = Duration::from_millis(10);

/// What happened to a path at or after `since`, as far as its inode tells. The birth of an inode (statx(2), btime)
/// tells new from changed; where the file system does not know it, a file that changed counts as new, and a directory
/// as nothing: it changes with each file in it.
pub(super) fn change_since(path: &Path, since: SystemTime) -> Option<Change> {
    let times = Times::of(path)?;
    let born = times.born.map(|born| born + TICK >= since);
    match (born, times.changed + TICK >= since) {
        (Some(true), _) => Some(Change::Created),
        (_, false) => None,
        (Some(false), true) if times.is_directory => None,
        (Some(false), true) => Some(Change::Changed),
        (None, true) => (!times.is_directory).then_some(Change::Created),
    }
}

/// Whether a path's inode was surely there before `time`. Where the file system does not know births, the last change has
/// to be older.
pub(super) fn was_there(path: &Path, time: SystemTime) -> bool {
    Times::of(path).is_some_and(|times| times.born.unwrap_or(times.changed) + TICK < time)
}

struct Times {
    born: Option<SystemTime>,
    changed: SystemTime,
    is_directory: bool,
}

impl Times {
    /// By statx(2), which the standard library does not offer on musl.
    fn of(path: &Path) -> Option<Self> {
        use rustix::fs::{AtFlags, CWD, FileType, Statx, StatxFlags, statx};
        let wanted = StatxFlags::BTIME | StatxFlags::CTIME | StatxFlags::TYPE;
        let found: Statx = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, wanted).ok()?;
        let knows = found.stx_mask & StatxFlags::BTIME.bits() != 0;
        let moment = |seconds: i64, nanoseconds: u32| {
            let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            UNIX_EPOCH + seconds + Duration::from_nanos(nanoseconds.into())
        };
        Some(Self {
            born: knows.then(|| moment(found.stx_btime.tv_sec, found.stx_btime.tv_nsec)),
            changed: moment(found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec),
            is_directory: FileType::from_raw_mode(found.stx_mode.into()) == FileType::Directory,
        })
    }
}

/// The paths below `path` that a ledger knows.
pub(super) fn below<'a>(
    changes: &'a BTreeMap<PathBuf, Change>,
    path: &'a Path,
) -> impl Iterator<Item = &'a PathBuf> {
    let after = (std::ops::Bound::Excluded(path), std::ops::Bound::Unbounded);
    changes.range::<Path, _>(after).map(|(known, _)| known).take_while(move |known| known.starts_with(path))
}

//! The ledger of /tmp: what each invocation created, changed and deleted.
//!
//! It follows changes by inotify(7), so that its cost is proportional to what changed and idle files cost nothing.
//! It decides what happened to a path, not whether it may stay: [`crate::residue`] asks for the account at the end of
//! an invocation.
//!
//! What it cannot see: writes through a descriptor or mapping that was opened before and is not closed by the end of
//! the invocation, and changes through a hard link outside /tmp. A file that is created is always seen, whatever
//! happens to it later. Files that other extensions leave in /tmp look like the function's.

mod scan;
pub(crate) mod wipe;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use ringfence_records::message::INIT_IS_OVER;
use ringfence_records::record::Change;

/// Most paths that are kept in detail; more are counted, and found again by a scan.
pub(crate) const MAX_PATHS: usize = 20_000;
/// Most directories that are watched. The system's own limit is `fs.inotify.max_user_watches`.
const MAX_WATCHES: usize = 8_000;

/// The preload library's mark of the end of init: made and removed once, and a file like any other after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Awaited,
    There,
    Gone,
}

/// What has changed since the last account.
#[derive(Debug)]
pub(crate) struct Ledger {
    root: PathBuf,
    inotify: Inotify,
    directories: HashMap<WatchDescriptor, PathBuf>,
    changes: BTreeMap<PathBuf, Change>,
    beyond: u64,
    lost: bool,
    mark: Mark,
    since: SystemTime,
    trouble: Option<String>,
}

/// The changes of an invocation, by path relative to the ledger's root.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// At most [`MAX_PATHS`].
    pub(crate) changes: BTreeMap<PathBuf, Change>,
    /// Changes beyond these.
    pub(crate) beyond: u64,
}

impl Account {
    /// Whether there may be more than it holds.
    pub(crate) fn is_full(&self) -> bool {
        self.beyond > 0 || self.changes.len() >= MAX_PATHS
    }
}

impl Ledger {
    /// Watches everything below `root`. What is there already counts as created: an earlier generation left it.
    ///
    /// # Errors
    /// Where inotify is not to be had or `root` cannot be watched.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let mut ledger = Self {
            root: root.to_owned(),
            inotify,
            directories: HashMap::new(),
            changes: BTreeMap::new(),
            beyond: 0,
            lost: false,
            mark: Mark::Awaited,
            since: SystemTime::now(),
            trouble: None,
        };
        ledger.watch(PathBuf::new())?;
        ledger.scan(PathBuf::new());
        Ok(ledger)
    }

    /// Reads what has happened.
    pub(crate) fn update(&mut self) {
        loop {
            match self.inotify.read_events() {
                Ok(events) => events.into_iter().for_each(|event| self.take(event)),
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Init is over, what it made may stay: forgets what has happened up to its mark, or up to here without one.
    pub(crate) fn forget(&mut self) {
        self.update();
        if self.mark == Mark::Awaited {
            self.forget_all();
        }
    }

    fn forget_all(&mut self) {
        self.changes.clear();
        (self.beyond, self.lost) = (0, false);
        self.since = SystemTime::now();
    }

    /// The account since the last one.
    pub(crate) fn account(&mut self) -> Account {
        self.update();
        if std::mem::take(&mut self.lost) {
            self.find_again();
        }
        Account { changes: std::mem::take(&mut self.changes), beyond: std::mem::take(&mut self.beyond) }
    }

    /// The account of what did not fit into the last one.
    pub(crate) fn rest(&mut self) -> Account {
        self.lost = true;
        self.account()
    }

    /// Forgets deletions, which the agent itself caused; what somebody created meanwhile stays.
    pub(crate) fn forget_deletions(&mut self) {
        self.update();
        self.changes.retain(|_, change| *change != Change::Deleted);
    }

    /// Something that went wrong since the last call, for people.
    pub(crate) fn trouble(&mut self) -> Option<String> {
        self.trouble.take()
    }

    fn take(&mut self, event: InotifyEvent) {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            self.lost = true;
            self.trouble = Some("inotify's queue ran over; /tmp is scanned instead".to_owned());
        }
        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            self.directories.remove(&event.wd);
        }
        let (Some(directory), Some(name)) = (self.directories.get(&event.wd), event.name) else { return };
        let path = directory.join(name);
        if self.mark != Mark::Gone && path == Path::new(INIT_IS_OVER) {
            return self.take_mark(event.mask.contains(AddWatchFlags::IN_DELETE));
        }
        let directory = event.mask.contains(AddWatchFlags::IN_ISDIR);
        if event.mask.intersects(AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO) {
            self.appeared(path, directory);
        } else if event.mask.intersects(AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM) {
            self.vanished(path, directory);
        } else {
            self.note(path, Change::Changed);
        }
    }

    fn take_mark(&mut self, gone: bool) {
        if self.mark == Mark::Awaited {
            self.forget_all();
        }
        self.mark = if gone { Mark::Gone } else { Mark::There };
    }

    fn appeared(&mut self, path: PathBuf, directory: bool) {
        self.note(path.clone(), Change::Created);
        if directory {
            // The watch first, then the scan: what appears in between is seen twice, and never missed.
            match self.watch(path.clone()) {
                Ok(()) => self.scan(path),
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                Err(error) => self.blind(&path, error),
            }
        }
    }

    fn vanished(&mut self, path: PathBuf, directory: bool) {
        if directory {
            self.unwatch(&path);
            let below: Vec<PathBuf> = scan::below(&self.changes, &path).cloned().collect();
            for path in below {
                self.note(path, Change::Deleted);
            }
        }
        self.note(path, Change::Deleted);
    }

    /// Merges a change with what is known of the path.
    fn note(&mut self, path: PathBuf, change: Change) {
        let full = self.changes.len() >= MAX_PATHS;
        let known = self.changes.get(&path).copied();
        let merged = match (known, change) {
            (Some(Change::Created), Change::Deleted) => None,
            (Some(Change::Created), _) => Some(Change::Created),
            (Some(Change::Deleted), Change::Created) => Some(Change::Changed),
            (_, change) => Some(change),
        };
        match merged {
            None => drop(self.changes.remove(&path)),
            Some(_) if known.is_none() && full => {
                self.beyond += 1;
                self.lost = true;
            }
            Some(change) => drop(self.changes.insert(path, change)),
        }
    }

    fn watch(&mut self, path: PathBuf) -> Result<(), Errno> {
        if self.directories.len() >= MAX_WATCHES {
            return Err(Errno::ENOSPC);
        }
        let flags = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ONLYDIR
            | AddWatchFlags::IN_DONT_FOLLOW;
        let descriptor = self.inotify.add_watch(&self.root.join(&path), flags)?;
        self.directories.insert(descriptor, path);
        Ok(())
    }

    fn unwatch(&mut self, path: &Path) {
        let gone: Vec<WatchDescriptor> = self
            .directories
            .iter()
            .filter(|(_, directory)| directory.starts_with(path))
            .map(|(descriptor, _)| *descriptor)
            .collect();
        for descriptor in gone {
            self.directories.remove(&descriptor);
            let _ = self.inotify.rm_watch(descriptor);
        }
    }

    fn blind(&mut self, path: &Path, error: Errno) {
        self.lost = true;
        self.trouble = Some(format!("{} cannot be watched: {error}", self.root.join(path).display()));
    }

    /// Notes everything below `path` as created, and watches its directories.
    fn scan(&mut self, path: PathBuf) {
        let mut waiting = vec![path];
        while let Some(directory) = waiting.pop() {
            for (name, is_directory) in scan::children(&self.root.join(&directory)) {
                let path = directory.join(name);
                if is_directory && self.watch(path.clone()).is_ok() {
                    waiting.push(path.clone());
                }
                self.note(path, Change::Created);
            }
        }
    }

    /// Finds by their change times what no event has told. ctime cannot be set back by the function.
    fn find_again(&mut self) {
        let mut waiting = vec![PathBuf::new()];
        while let Some(directory) = waiting.pop() {
            for (name, is_directory) in scan::children(&self.root.join(&directory)) {
                let path = directory.join(name);
                if is_directory {
                    let _ = self.watch(path.clone());
                    waiting.push(path.clone());
                }
                if self.changes.contains_key(&path) || self.changes.len() >= MAX_PATHS {
                    continue;
                }
                if let Some(change) = scan::change_since(&self.root.join(&path), self.since) {
                    self.changes.insert(path, change);
                }
            }
        }
    }
}

/// A name and whether it is a directory (not a link to one).
type Child = (OsString, bool);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let root = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(root.path()).unwrap();
        (root, ledger)
    }

    fn told(ledger: &mut Ledger) -> Vec<(String, Change)> {
        let changes = ledger.account().changes;
        changes.into_iter().map(|(path, change)| (path.display().to_string(), change)).collect()
    }

    fn entry(path: &str, change: Change) -> (String, Change) {
        (path.to_owned(), change)
    }

    #[test]
    fn what_an_earlier_generation_left_counts_as_created() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("d")).unwrap();
        fs::write(root.path().join("d/old"), "x").unwrap();
        let mut ledger = Ledger::open(root.path()).unwrap();
        assert_eq!(told(&mut ledger), [entry("d", Change::Created), entry("d/old", Change::Created)]);
        fs::write(root.path().join("d/old"), "y").unwrap();
        assert_eq!(told(&mut ledger), [entry("d/old", Change::Changed)], "its directories are watched");
    }

    #[test]
    fn changes_are_told_once_and_merged() {
        let (root, mut ledger) = ledger();
        let path = |name: &str| root.path().join(name);
        fs::write(path("kept"), "1").unwrap();
        fs::write(path("gone"), "1").unwrap();
        fs::remove_file(path("gone")).unwrap();
        symlink("/etc/passwd", path("link")).unwrap();
        assert_eq!(told(&mut ledger), [entry("kept", Change::Created), entry("link", Change::Created)]);
        fs::set_permissions(path("kept"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::remove_file(path("link")).unwrap();
        assert_eq!(told(&mut ledger), [entry("kept", Change::Changed), entry("link", Change::Deleted)]);
        assert_eq!(told(&mut ledger), []);
    }

    #[test]
    fn a_first_invocation_that_was_quicker_than_the_agent_keeps_its_residue() {
        let (root, mut ledger) = ledger();
        fs::write(root.path().join("of-init"), "1").unwrap();
        fs::write(root.path().join(INIT_IS_OVER), "").unwrap();
        fs::remove_file(root.path().join(INIT_IS_OVER)).unwrap();
        fs::write(root.path().join("of-the-first"), "1").unwrap();
        ledger.forget();
        assert_eq!(told(&mut ledger), [entry("of-the-first", Change::Created)]);
    }

    #[test]
    fn trees_that_appear_at_once_are_seen_whole() {
        let (root, mut ledger) = ledger();
        fs::create_dir_all(root.path().join("a/b/c")).unwrap();
        fs::write(root.path().join("a/b/c/deep"), "1").unwrap();
        let seen: Vec<String> = told(&mut ledger).into_iter().map(|(path, _)| path).collect();
        assert_eq!(seen, ["a", "a/b", "a/b/c", "a/b/c/deep"]);
        fs::write(root.path().join("a/b/later"), "1").unwrap();
        assert_eq!(told(&mut ledger), [entry("a/b/later", Change::Created)]);
    }

    #[test]
    fn renamed_directories_are_followed() {
        let (root, mut ledger) = ledger();
        fs::create_dir(root.path().join("old")).unwrap();
        fs::write(root.path().join("old/f"), "1").unwrap();
        ledger.forget();
        fs::rename(root.path().join("old"), root.path().join("new")).unwrap();
        fs::write(root.path().join("new/g"), "1").unwrap();
        assert_eq!(
            told(&mut ledger),
            [
                entry("new", Change::Created),
                entry("new/f", Change::Created),
                entry("new/g", Change::Created),
                entry("old", Change::Deleted)
            ]
        );
    }

    #[test]
    fn memory_is_bounded_and_the_rest_is_counted() {
        let (_root, mut ledger) = ledger();
        for number in 0..MAX_PATHS + 500 {
            ledger.note(PathBuf::from(number.to_string()), Change::Created);
        }
        let account = ledger.account();
        assert_eq!((account.changes.len(), account.beyond), (MAX_PATHS, 500));
    }

    #[test]
    fn what_no_event_told_is_found_by_its_change_time() {
        let (root, mut ledger) = ledger();
        fs::write(root.path().join("before"), "1").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20)); // more than a tick of the file system's clock
        ledger.forget();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(root.path().join("after"), "1").unwrap();
        ledger.update();
        ledger.changes.clear();
        ledger.lost = true;
        assert_eq!(told(&mut ledger), [entry("after", Change::Created)]);
    }
}

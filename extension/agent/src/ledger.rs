//! The ledger of /tmp: what each invocation created, changed and deleted.
//!
//! It follows changes by inotify(7), so that its cost is proportional to what changed and idle files cost nothing.
//! It decides what happened to a path and to which invocation that belongs, not whether it may stay: [`crate::residue`]
//! takes the account at the end of an invocation. What does not fit into the time that it is given is done at the next
//! call.
//!
//! What it cannot see: writes through a descriptor or mapping that was opened before and is not closed by the end of
//! the invocation, and changes through a hard link outside /tmp. A file that is created is always seen, whatever
//! happens to it later. Files that other extensions leave in /tmp look like the function's.

mod scan;
pub(crate) mod wipe;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use ringfence_records::record::Change;

use crate::budget::Budget;

/// Most paths that are kept in detail; more are counted, and found again by a scan.
pub(crate) const MAX_PATHS: usize = 20_000;
/// Most directories that are watched. The system's own limit is `fs.inotify.max_user_watches`.
const MAX_WATCHES: usize = 8_000;

/// What the next mark in the order of events means ([`Ledger::mark_by`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marks {
    /// The end of init.
    EndInit,
    /// An answer: what comes after it belongs to the next invocation.
    Part,
    /// Nothing.
    Mean,
}

/// Which changes belong to the invocation that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upto {
    /// All until now: the next invocation cannot have begun.
    Now,
    /// Those before the last mark; where marks were lost, those of inodes that were surely there at this time.
    Mark(SystemTime),
    /// Those of inodes that were surely there at this time.
    Time(SystemTime),
}

/// What has changed since the last account.
#[derive(Debug)]
pub(crate) struct Ledger {
    root: PathBuf,
    inotify: Inotify,
    directories: HashMap<WatchDescriptor, PathBuf>,
    changes: BTreeMap<PathBuf, Change>,
    /// What belongs to an invocation that is over, and waits to be settled.
    sealed: BTreeMap<PathBuf, Change>,
    /// What the agent itself has removed: news of that is none.
    removed: BTreeSet<PathBuf>,
    /// Directories that were not looked into yet, and whether what is in them is new.
    unscanned: Vec<(PathBuf, bool)>,
    /// Directories that a search for what was lost has still to look into; `None` where none is under way.
    search: Option<Vec<PathBuf>>,
    beyond: u64,
    lost: bool,
    mark: Option<WatchDescriptor>,
    marks: Marks,
    since: SystemTime,
    trouble: Option<String>,
}

impl Ledger {
    /// Watches everything below `root`. What is there already counts as created: an earlier generation left it.
    ///
    /// # Errors
    /// Where inotify is not to be had or `root` cannot be watched.
    pub(crate) fn open(root: &Path, budget: &Budget) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let mut ledger = Self {
            root: root.to_owned(),
            inotify,
            directories: HashMap::new(),
            changes: BTreeMap::new(),
            sealed: BTreeMap::new(),
            removed: BTreeSet::new(),
            unscanned: Vec::new(),
            search: None,
            beyond: 0,
            lost: false,
            mark: None,
            marks: Marks::Mean,
            since: SystemTime::now(),
            trouble: None,
        };
        ledger.watch(PathBuf::new())?;
        ledger.unscanned.push((PathBuf::new(), true));
        ledger.scan(budget);
        ledger.seal_all();
        Ok(ledger)
    }

    /// Takes a read of this file as the preload library's mark: the kernel tells it in order with what happens in /tmp, so
    /// that init and first invocation are parted exactly, however late the events are read.
    pub(crate) fn mark_by(&mut self, file: BorrowedFd<'_>) {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        self.mark = self.inotify.add_watch(Path::new(&path), AddWatchFlags::IN_ACCESS).ok();
        if self.mark.is_some() {
            self.marks = Marks::EndInit;
        }
    }

    /// Reads what has happened, as far as there is time.
    pub(crate) fn update(&mut self, budget: &Budget) {
        self.scan(budget);
        while budget.has_time() {
            match self.inotify.read_events() {
                Ok(events) => events.into_iter().for_each(|event| self.take(event, budget)),
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Init is over, what it made may stay: forgets what has happened up to its mark, or up to here without one. Where
    /// `parted`, later marks part the invocations.
    pub(crate) fn forget(&mut self, parted: bool, budget: &Budget) {
        self.update(budget);
        if self.marks != Marks::Mean || self.mark.is_none() {
            self.forget_all();
        }
        self.marks = if parted { Marks::Part } else { Marks::Mean };
    }

    fn forget_all(&mut self) {
        self.changes.clear();
        self.unscanned.iter_mut().for_each(|(_, is_new)| *is_new = false);
        (self.beyond, self.lost, self.search) = (0, false, None);
        self.since = SystemTime::now();
    }

    /// Closes the account of the invocation that is over. What was lost is searched for where there is time.
    pub(crate) fn seal(&mut self, upto: Upto, budget: &Budget) {
        budget.half(|part| self.update(part));
        if !budget.was_short() {
            // All of what the agent has removed was heard of.
            self.removed.clear();
        }
        let had_lost = self.lost;
        if self.sealed.is_empty() {
            budget.half(|part| self.find_again(part));
        }
        match upto {
            Upto::Now => self.seal_all(),
            Upto::Mark(_) if !had_lost => {}
            Upto::Mark(time) | Upto::Time(time) => self.seal_older(time),
        }
    }

    fn seal_all(&mut self) {
        let changes = std::mem::take(&mut self.changes);
        self.sealed.extend(changes);
        if !self.lost {
            self.since = SystemTime::now();
        }
    }

    fn seal_older(&mut self, time: SystemTime) {
        let root = &self.root;
        let is_older = |path: &PathBuf, change: &mut Change| {
            *change != Change::Deleted && scan::was_there(&root.join(path), time)
        };
        let older: Vec<_> = self.changes.extract_if(.., is_older).collect();
        self.sealed.extend(older);
        if !self.lost {
            self.since = time;
        }
    }

    /// Searches for more of what did not fit; whether there was any.
    pub(crate) fn seal_more(&mut self, budget: &Budget) -> bool {
        if std::mem::take(&mut self.beyond) > 0 {
            self.lost = true;
        }
        budget.half(|part| self.find_again(part));
        self.seal_all();
        !self.sealed.is_empty()
    }

    /// What is to be settled.
    pub(crate) fn take_sealed(&mut self) -> BTreeMap<PathBuf, Change> {
        std::mem::take(&mut self.sealed)
    }

    /// Changes beyond those that are kept, once.
    pub(crate) fn take_beyond(&mut self) -> u64 {
        self.lost = false;
        std::mem::take(&mut self.beyond)
    }

    /// Whether there may be more than what was taken.
    pub(crate) const fn has_more(&self) -> bool {
        self.lost || self.beyond > 0 || !self.unscanned.is_empty()
    }

    /// Takes back what there was no time to settle.
    pub(crate) fn put_back(&mut self, rest: BTreeMap<PathBuf, Change>) {
        self.sealed.extend(rest);
    }

    /// The agent itself removes this path and what is below it.
    pub(crate) fn removes(&mut self, path: PathBuf) {
        self.removed.insert(path);
    }

    /// Something that went wrong since the last call, for people.
    pub(crate) fn trouble(&mut self) -> Option<String> {
        self.trouble.take()
    }

    fn take(&mut self, event: InotifyEvent, budget: &Budget) {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            // No loss to people: the search finds what was made.
            self.lost = true;
        }
        if self.mark == Some(event.wd) {
            return self.take_mark();
        }
        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            self.directories.remove(&event.wd);
        }
        let (Some(directory), Some(name)) = (self.directories.get(&event.wd), event.name) else { return };
        let path = directory.join(name);
        let directory = event.mask.contains(AddWatchFlags::IN_ISDIR);
        if event.mask.intersects(AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO) {
            self.appeared(path, directory, budget);
        } else if event.mask.intersects(AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM) {
            self.vanished(path, directory);
        } else {
            self.note(path, Change::Changed);
        }
    }

    fn take_mark(&mut self) {
        match self.marks {
            Marks::EndInit => {
                self.forget_all();
                self.marks = Marks::Mean;
            }
            Marks::Part => self.seal_all(),
            Marks::Mean => {}
        }
    }

    fn appeared(&mut self, path: PathBuf, directory: bool, budget: &Budget) {
        self.note(path.clone(), Change::Created);
        if directory {
            // The watch first, then the scan: what appears in between is seen twice, and never missed.
            match self.watch(path.clone()) {
                Ok(()) => {
                    self.unscanned.push((path, true));
                    self.scan(budget);
                }
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                Err(error) => self.blind(&path, error),
            }
        }
    }

    fn vanished(&mut self, path: PathBuf, directory: bool) {
        if directory {
            self.unwatch(&path);
            let known = [&self.changes, &self.sealed];
            let below: Vec<PathBuf> =
                known.into_iter().flat_map(|known| scan::below(known, &path)).cloned().collect();
            for path in below {
                self.note(path, Change::Deleted);
            }
        }
        self.note(path, Change::Deleted);
    }

    /// Merges a change with what is known of the path.
    fn note(&mut self, path: PathBuf, change: Change) {
        if change == Change::Deleted && self.was_accounted_for(&path) {
            return;
        }
        if change == Change::Changed && self.sealed.get(&path) == Some(&Change::Created) {
            // Its creation was read at one end and this at the next: it stays new.
            return;
        }
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

    /// Whether the deletion of a path is no change: the agent has removed it, or it was made by the invocation before and
    /// is not settled yet.
    fn was_accounted_for(&mut self, path: &Path) -> bool {
        if self.changes.contains_key(path) {
            return false;
        }
        if !self.removed.is_empty() && path.ancestors().any(|above| self.removed.contains(above)) {
            return true;
        }
        self.sealed.get(path) == Some(&Change::Created) && self.sealed.remove(path).is_some()
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
        self.unscanned.retain(|(directory, _)| !directory.starts_with(path));
    }

    fn blind(&mut self, path: &Path, error: Errno) {
        self.lost = true;
        self.trouble = Some(format!("{} cannot be watched: {error}", self.root.join(path).display()));
    }

    /// Watches the directories below those that were not looked into yet, and notes what is in them where it is new.
    fn scan(&mut self, budget: &Budget) {
        while let Some((directory, is_new)) = self.unscanned.pop() {
            if !budget.has_time() {
                return self.unscanned.push((directory, is_new));
            }
            for (name, is_directory) in scan::children(&self.root.join(&directory)) {
                if !budget.has_time() {
                    // From its beginning, the next time: what is known already is noted twice and told once.
                    return self.unscanned.push((directory, is_new));
                }
                let path = directory.join(name);
                if is_directory && self.watch(path.clone()).is_ok() {
                    self.unscanned.push((path.clone(), is_new));
                }
                if is_new {
                    self.note(path, Change::Created);
                }
            }
        }
    }

    /// Finds by their times what no event has told. ctime cannot be set back by the function. A directory that was not
    /// watched is new as well, whatever its times say.
    fn find_again(&mut self, budget: &Budget) {
        if !self.lost {
            return;
        }
        let watched: HashSet<PathBuf> = self.directories.values().cloned().collect();
        let mut waiting = self.search.take().unwrap_or_else(|| vec![PathBuf::new()]);
        while let Some(directory) = waiting.pop() {
            for (name, is_directory) in scan::children(&self.root.join(&directory)) {
                if !budget.has_time() {
                    waiting.push(directory);
                    self.search = Some(waiting);
                    return;
                }
                let path = directory.join(name);
                let is_new = is_directory && self.watch_again(&path, &watched);
                if is_directory {
                    waiting.push(path.clone());
                }
                if self.changes.len() < MAX_PATHS {
                    self.find(path, is_new);
                }
            }
        }
        self.lost = self.changes.len() >= MAX_PATHS;
    }

    fn find(&mut self, path: PathBuf, is_new: bool) {
        if self.changes.contains_key(&path) || self.sealed.contains_key(&path) {
            return;
        }
        let found = scan::change_since(&self.root.join(&path), self.since);
        if let Some(change) = if is_new { Some(Change::Created) } else { found } {
            self.changes.insert(path, change);
        }
    }

    /// Watches a directory; whether it is another one than was watched there before.
    fn watch_again(&mut self, path: &Path, watched: &HashSet<PathBuf>) -> bool {
        let before = self.directories.len();
        let result = self.watch(path.to_owned());
        result.is_ok() && (!watched.contains(path) || self.directories.len() > before)
    }
}

/// A name and whether it is a directory (not a link to one).
type Child = (OsString, bool);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{FileExt, PermissionsExt, symlink};

    fn ample() -> Budget {
        Budget::new(std::time::Duration::from_mins(10))
    }

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let root = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(root.path(), &ample()).unwrap();
        (root, ledger)
    }

    fn told(ledger: &mut Ledger) -> Vec<(String, Change)> {
        told_upto(ledger, Upto::Now)
    }

    fn told_upto(ledger: &mut Ledger, upto: Upto) -> Vec<(String, Change)> {
        ledger.seal(upto, &ample());
        let changes = ledger.take_sealed();
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
        let mut ledger = Ledger::open(root.path(), &ample()).unwrap();
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

    /// A file, and a ledger that takes a read of it as the library's mark.
    fn marked() -> (tempfile::TempDir, Ledger, fs::File) {
        let (root, mut ledger) = ledger();
        let page = tempfile::tempfile().unwrap();
        ledger.mark_by(page.as_fd());
        (root, ledger, page)
    }

    fn mark(page: &fs::File) {
        page.read_at(&mut [0], 0).unwrap();
    }

    #[test]
    fn a_first_invocation_that_was_quicker_than_the_agent_keeps_its_residue() {
        let (root, mut ledger, page) = marked();
        page.set_len(1).unwrap();
        fs::write(root.path().join("of-init"), "1").unwrap();
        mark(&page);
        fs::write(root.path().join("of-the-first"), "1").unwrap();
        ledger.forget(false, &ample());
        mark(&page);
        assert_eq!(told(&mut ledger), [entry("of-the-first", Change::Created)]);
    }

    #[test]
    fn without_a_mark_everything_until_the_end_of_init_may_stay() {
        let (root, mut ledger, _page) = marked();
        fs::write(root.path().join("of-init"), "1").unwrap();
        ledger.forget(false, &ample());
        fs::write(root.path().join("of-the-first"), "1").unwrap();
        assert_eq!(told(&mut ledger), [entry("of-the-first", Change::Created)]);
    }

    #[test]
    fn what_comes_after_an_answer_is_the_next_invocations() {
        let (root, mut ledger, page) = marked();
        page.set_len(1).unwrap();
        ledger.forget(true, &ample());
        let path = |name: &str| root.path().join(name);
        fs::write(path("left"), "1").unwrap();
        fs::write(path("gone-later"), "1").unwrap();
        mark(&page);
        fs::remove_file(path("gone-later")).unwrap();
        fs::write(path("head-of-the-next"), "1").unwrap();
        let now = Upto::Mark(SystemTime::now());
        assert_eq!(told_upto(&mut ledger, now), [entry("left", Change::Created)]);
        assert_eq!(told_upto(&mut ledger, now), [], "no answer since");
        mark(&page);
        assert_eq!(told_upto(&mut ledger, now), [entry("head-of-the-next", Change::Created)]);
    }

    #[test]
    fn what_may_be_younger_than_a_time_is_left_for_later() {
        let (root, mut ledger) = ledger();
        fs::write(root.path().join("old"), "1").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(40)); // more than a tick of the file system's clock
        let end = SystemTime::now();
        fs::write(root.path().join("young"), "1").unwrap();
        assert_eq!(told_upto(&mut ledger, Upto::Time(end)), [entry("old", Change::Created)]);
        assert_eq!(told(&mut ledger), [entry("young", Change::Created)]);
    }

    #[test]
    fn directories_that_no_event_told_are_found() {
        let (root, mut ledger) = ledger();
        fs::create_dir(root.path().join("known")).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(40)); // more than a tick of the file system's clock
        ledger.forget(false, &ample());
        fs::create_dir(root.path().join("new")).unwrap();
        ledger.update(&ample());
        ledger.changes.clear();
        ledger.unwatch(Path::new("new"));
        ledger.lost = true;
        assert_eq!(told(&mut ledger), [entry("new", Change::Created)]);
    }

    #[test]
    fn without_time_nothing_is_done_and_nothing_is_lost() {
        let (root, mut ledger) = ledger();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::write(root.path().join("a/b/c"), "1").unwrap();
        let none = Budget::new(std::time::Duration::ZERO);
        ledger.seal(Upto::Now, &none);
        assert!(none.was_short() && ledger.take_sealed().is_empty());
        let seen: Vec<String> = told(&mut ledger).into_iter().map(|(path, _)| path).collect();
        assert_eq!(seen, ["a", "a/b", "a/b/c"]);
    }

    #[test]
    fn what_the_agent_removes_is_no_news() {
        let (root, mut ledger) = ledger();
        fs::create_dir(root.path().join("d")).unwrap();
        fs::write(root.path().join("d/f"), "1").unwrap();
        assert_eq!(told(&mut ledger).len(), 2);
        ledger.removes(PathBuf::from("d"));
        fs::remove_dir_all(root.path().join("d")).unwrap();
        ledger.update(&ample());
        assert!(ledger.changes.is_empty(), "{:?}", ledger.changes);
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
        ledger.forget(false, &ample());
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
        assert_eq!((ledger.changes.len(), ledger.take_beyond()), (MAX_PATHS, 500));
    }

    #[test]
    fn what_no_event_told_is_found_by_its_change_time() {
        let (root, mut ledger) = ledger();
        fs::write(root.path().join("before"), "1").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20)); // more than a tick of the file system's clock
        ledger.forget(false, &ample());
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(root.path().join("after"), "1").unwrap();
        ledger.update(&ample());
        ledger.changes.clear();
        ledger.lost = true;
        assert_eq!(told(&mut ledger), [entry("after", Change::Created)]);
    }
}

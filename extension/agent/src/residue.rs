//! What becomes of what an invocation left in /tmp: nothing, a record, or a record and its removal.
//!
//! It joins the ledger's account with the policy's `tmp.residue` and `tmp.keep`. Called at the end of each invocation,
//! and at the start for what an earlier generation left. Files that the runtime made during init may stay, and are
//! reported when an invocation changes them. What there is no time for stays in the ledger, for the next end.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use ringfence_policy::Residue as Rule;
use ringfence_records::message::Outcome;
use ringfence_records::record::{Change, Entry, MAX_LISTED};

use crate::budget::Budget;
use crate::ledger::wipe::{self, Wiper};
use crate::ledger::{Ledger, MAX_PATHS};
use crate::policy::Rules;

/// Most failures that are kept for the record, which lists fewer and counts all.
const MAX_FAILED: usize = 1024;

/// Totals and the first paths, for the record.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) outcome: Outcome,
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    pub(crate) executables: u64,
    /// Whether there is more that there was no time to count.
    pub(crate) is_partial: bool,
    listed: Vec<Listed>,
    failed: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Listed {
    path: PathBuf,
    change: Change,
    what: &'static str,
    size: u64,
    executable: bool,
}

impl Listed {
    fn entry(&self) -> Entry<'_> {
        Entry {
            path: self.path.as_os_str().as_bytes(),
            change: self.change,
            what: self.what,
            size: self.size,
            executable: self.executable,
        }
    }
}

impl Settled {
    /// Entries as the record takes them.
    pub(crate) fn entries(&self) -> Vec<Entry<'_>> {
        self.listed.iter().map(Listed::entry).collect()
    }

    /// Failures as the record takes them.
    pub(crate) fn failures(&self) -> Vec<&[u8]> {
        self.failed.iter().map(Vec::as_slice).collect()
    }
}

impl Settled {
    const fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            count: 0,
            bytes: 0,
            executables: 0,
            is_partial: false,
            listed: Vec::new(),
            failed: Vec::new(),
        }
    }

    fn add(&mut self, listed: Listed) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(listed.size);
        self.executables += u64::from(listed.executable);
        if self.listed.len() < MAX_LISTED {
            self.listed.push(listed);
        }
    }

    fn fail(&mut self, root: &Path, failure: &(PathBuf, Errno)) {
        if self.failed.len() < MAX_FAILED {
            self.failed.push(describe(root, failure));
        }
    }
}

/// What is done, and where.
struct Settling<'a> {
    root: &'a Path,
    rules: &'a Rules,
    wanted: Rule,
    budget: &'a Budget,
}

/// Settles the ledger's account as `wanted`, which is the policy's wish or less. `None` where nothing was left, or the
/// policy allows it.
pub(crate) fn settle(
    ledger: &mut Ledger,
    root: &Path,
    rules: &Rules,
    wanted: Rule,
    budget: &Budget,
) -> Option<Settled> {
    if wanted == Rule::Allow {
        drop(ledger.take_sealed());
        return None;
    }
    let settling = Settling { root, rules, wanted, budget };
    let outcome = if wanted == Rule::Wipe { Outcome::Wiped } else { Outcome::Reported };
    let mut settled = Settled::new(outcome);
    loop {
        let was_full = settling.settle_sealed(ledger, &mut settled);
        // More than the ledger holds: it is found again once this is gone.
        if !was_full || wanted != Rule::Wipe || !budget.has_time() || !ledger.seal_more(budget) {
            break;
        }
    }
    if wanted != Rule::Wipe {
        settled.count = settled.count.saturating_add(ledger.take_beyond());
    }
    settled.is_partial |= ledger.has_more();
    (settled.count > 0).then_some(settled)
}

impl Settling<'_> {
    /// Settles what the ledger has closed; whether that may have been less than there is.
    fn settle_sealed(&self, ledger: &mut Ledger, settled: &mut Settled) -> bool {
        let keep = |path: &Path| self.rules.keeps(&self.root.join(path));
        let mut sealed = ledger.take_sealed();
        let was_full = sealed.len() >= MAX_PATHS || ledger.has_more();
        let wiper = Wiper::new(self.root, &keep, self.budget);
        // Paths come sorted, so a directory stands before what is in it, and is settled after it.
        while let Some((path, change)) = sealed.pop_last() {
            if keep(&path) {
                continue;
            }
            if !self.budget.has_time() {
                sealed.insert(path, change);
                break;
            }
            if self.wanted != Rule::Wipe || change != Change::Created {
                let listed = look_at(self.root.join(&path), change);
                // What is written to a removed file by its descriptor leaves nothing; a removal has its own entry.
                if change != Change::Changed || listed.what != GONE {
                    settled.add(listed);
                }
                continue;
            }
            match &wiper {
                Ok(wiper) => self.wipe(wiper, path, ledger, (settled, &mut sealed)),
                Err(error) => settled.fail(self.root, &(path, wipe::errno(error))),
            }
        }
        settled.is_partial |= !sealed.is_empty();
        ledger.put_back(sealed);
        was_full
    }

    fn wipe(
        &self,
        wiper: &Wiper<'_>,
        path: PathBuf,
        ledger: &mut Ledger,
        (settled, rest): (&mut Settled, &mut BTreeMap<PathBuf, Change>),
    ) {
        let listed = look_at(self.root.join(&path), Change::Created);
        let is_directory = listed.what == "directory";
        match wiper.remove(&path) {
            // Directories that hold something that is kept are no residue.
            Ok(()) if is_directory && self.root.join(&path).symlink_metadata().is_ok() => {}
            Ok(()) => {
                ledger.removes(path);
                settled.add(listed);
            }
            Err(wipe::NO_TIME) => drop(rest.insert(path, Change::Created)),
            Err(error) => {
                settled.add(listed);
                settled.fail(self.root, &(path, error));
            }
        }
    }
}

/// What is said of a path that nothing has any more.
const GONE: &str = "gone";

fn look_at(path: PathBuf, change: Change) -> Listed {
    let Ok(metadata) = path.symlink_metadata() else {
        return Listed { path, change, what: GONE, size: 0, executable: false };
    };
    let kind = metadata.file_type();
    let what = match kind {
        _ if kind.is_file() => "file",
        _ if kind.is_dir() => "directory",
        _ if kind.is_symlink() => "symlink",
        _ => "other",
    };
    let size = if kind.is_file() { metadata.len() } else { 0 };
    Listed { path, change, what, size, executable: kind.is_file() && metadata.mode() & 0o111 != 0 }
}

fn describe(root: &Path, (path, error): &(PathBuf, Errno)) -> Vec<u8> {
    let mut text = root.join(path).into_os_string().into_encoded_bytes();
    text.extend_from_slice(format!(": {error:?}").as_bytes());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Upto;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn rules(policy: &str) -> Rules {
        Rules::from_text(policy)
    }

    fn ample() -> Budget {
        Budget::new(std::time::Duration::from_mins(10))
    }

    fn settle(ledger: &mut Ledger, root: &Path, rules: &Rules) -> Option<Settled> {
        ledger.seal(Upto::Now, &ample());
        super::settle(ledger, root, rules, rules.residue, &ample())
    }

    #[test]
    fn what_there_is_no_time_for_is_wiped_at_the_next_end_and_counted_once() {
        let root = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(root.path(), &ample()).unwrap();
        for number in 0..50 {
            fs::write(root.path().join(number.to_string()), "1").unwrap();
        }
        let rules = rules("version = 1\n[tmp]\nresidue = \"wipe\"\n");
        ledger.seal(Upto::Now, &ample());
        let none = Budget::new(std::time::Duration::ZERO);
        assert!(super::settle(&mut ledger, root.path(), &rules, rules.residue, &none).is_none());
        assert!(none.was_short());
        let settled = settle(&mut ledger, root.path(), &rules).unwrap();
        assert_eq!((settled.count, settled.is_partial), (50, false));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        assert!(settle(&mut ledger, root.path(), &rules).is_none());
    }

    #[test]
    fn a_directory_that_holds_something_kept_is_no_residue() {
        let root = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(root.path(), &ample()).unwrap();
        fs::create_dir(root.path().join("d")).unwrap();
        fs::write(root.path().join("d/kept"), "1").unwrap();
        fs::write(root.path().join("x"), "12345").unwrap();
        let policy = format!(
            "version = 1\n[tmp]\nresidue = \"wipe\"\nkeep = [\"{}/d/kept\"]\n",
            root.path().display()
        );
        let settled = settle(&mut ledger, root.path(), &rules(&policy)).unwrap();
        assert_eq!(settled.count, 1);
        assert_eq!(settled.entries()[0].path, root.path().join("x").as_os_str().as_bytes());
        assert!(root.path().join("d/kept").exists());
    }

    #[test]
    fn more_files_than_the_ledger_remembers_are_wiped_and_counted() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("old")).unwrap();
        fs::write(root.path().join("old/model"), "1").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(30)); // more than a tick of the file system's clock
        let mut ledger = Ledger::open(root.path(), &ample()).unwrap();
        drop(ledger.take_sealed());
        ledger.forget(false, &ample());
        fs::write(root.path().join("old/new"), "1").unwrap();
        for number in 0..MAX_PATHS + 300 {
            fs::write(root.path().join(number.to_string()), "").unwrap();
        }
        let settled =
            settle(&mut ledger, root.path(), &rules("version = 1\n[tmp]\nresidue = \"wipe\"\n")).unwrap();
        assert_eq!(settled.count, MAX_PATHS as u64 + 301);
        assert!(root.path().join("old/model").exists(), "what init left stays");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn wipe_removes_what_the_invocation_made_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let mut ledger = Ledger::open(root.path(), &ample()).unwrap();
        fs::write(path("init"), "1").unwrap();
        ledger.forget(false, &ample());
        fs::create_dir_all(path("work/deep")).unwrap();
        fs::write(path("work/deep/x"), "12345").unwrap();
        fs::write(path("init"), "2").unwrap();
        let settled =
            settle(&mut ledger, root.path(), &rules("version = 1\n[tmp]\nresidue = \"wipe\"\n")).unwrap();
        assert_eq!((settled.outcome, settled.count, settled.failed.len()), (Outcome::Wiped, 4, 0));
        assert!(!path("work").exists());
        assert_eq!(fs::read_to_string(path("init")).unwrap(), "2");
        let again = settle(&mut ledger, root.path(), &rules("version = 1\n[tmp]\nresidue = \"wipe\"\n"));
        assert!(again.is_none(), "the agent's own removals are no residue");
    }

    #[test]
    fn a_file_that_is_removed_and_then_written_to_and_closed_is_no_residue() {
        let root = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(root.path(), &ample()).unwrap();
        let held = fs::File::create(root.path().join("held")).unwrap();
        fs::remove_file(root.path().join("held")).unwrap();
        held.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
        drop(held);
        for policy in ["report", "wipe"] {
            let rules = rules(&format!("version = 1\n[tmp]\nresidue = \"{policy}\"\n"));
            let settled = settle(&mut ledger, root.path(), &rules);
            assert_eq!(settled.map_or(0, |settled| settled.count), 0);
        }
    }

    #[test]
    fn report_leaves_everything_and_allow_says_nothing() {
        let root = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(root.path(), &ample()).unwrap();
        fs::write(root.path().join("x"), "12345").unwrap();
        let settled =
            settle(&mut ledger, root.path(), &rules("version = 1\n[tmp]\nresidue = \"report\"\n")).unwrap();
        assert_eq!((settled.outcome, settled.count, settled.bytes), (Outcome::Reported, 1, 5));
        assert!(root.path().join("x").exists());
        fs::write(root.path().join("y"), "1").unwrap();
        assert!(
            settle(&mut ledger, root.path(), &rules("version = 1\n[tmp]\nresidue = \"allow\"\n")).is_none()
        );
    }

    #[test]
    fn what_is_kept_is_neither_listed_nor_removed() {
        let root = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(root.path(), &ample()).unwrap();
        fs::create_dir(root.path().join("cache")).unwrap();
        fs::write(root.path().join("cache/model"), "1").unwrap();
        let policy = format!(
            "version = 1\n[tmp]\nresidue = \"wipe\"\nkeep = [\"{}/cache/**\"]\n",
            root.path().display()
        );
        assert!(settle(&mut ledger, root.path(), &rules(&policy)).is_none());
        assert!(root.path().join("cache/model").exists());
    }
}

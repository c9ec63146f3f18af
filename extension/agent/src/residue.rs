//! What becomes of what an invocation left in /tmp: nothing, a record, or a record and its removal.
//!
//! It joins the ledger's account with the policy's `tmp.residue` and `tmp.keep`. Called at the end of each invocation,
//! and at the start for what an earlier generation left. Files that the runtime made during init may stay, and are
//! reported when an invocation changes them.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use ringfence_policy::Residue as Rule;
use ringfence_records::message::Outcome;
use ringfence_records::record::{Change, Entry, MAX_LISTED};

use crate::ledger::{Account, Ledger, wipe};
use crate::policy::Rules;

/// Totals and the first paths, for the record.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) outcome: Outcome,
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    pub(crate) executables: u64,
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

    /// Takes directories out of the account.
    fn leave_out(&mut self, stayed: &[PathBuf]) {
        self.count = self.count.saturating_sub(stayed.len() as u64);
        self.listed.retain(|listed| !stayed.contains(&listed.path));
    }

    /// Failures as the record takes them.
    pub(crate) fn failures(&self) -> Vec<&[u8]> {
        self.failed.iter().map(Vec::as_slice).collect()
    }
}

/// Rounds of wiping after an invocation that left more than one account holds: a million files.
const ROUNDS: usize = 50;

/// Settles the ledger's account as `wanted`, which is the policy's wish or less. `None` where nothing was left, or nobody
/// cares.
pub(crate) fn settle(ledger: &mut Ledger, root: &Path, rules: &Rules, wanted: Rule) -> Option<Settled> {
    let mut account = ledger.account();
    let mut full = account.is_full();
    let mut settled = settle_once(ledger, root, (rules, wanted), &account);
    for _ in 1..ROUNDS {
        if !full || wanted != Rule::Wipe {
            break;
        }
        account = ledger.rest();
        full = account.is_full();
        settled = merge(settled, settle_once(ledger, root, (rules, wanted), &account));
    }
    settled
}

/// Adds the totals of a further round; the list is that of the first.
fn merge(first: Option<Settled>, more: Option<Settled>) -> Option<Settled> {
    let (mut first, more) = match (first, more) {
        (Some(first), Some(more)) => (first, more),
        (first, more) => return first.or(more),
    };
    first.count += more.count;
    first.bytes = first.bytes.saturating_add(more.bytes);
    first.executables += more.executables;
    first.failed.extend(more.failed);
    Some(first)
}

fn settle_once(
    ledger: &mut Ledger,
    root: &Path,
    (rules, wanted): (&Rules, Rule),
    account: &Account,
) -> Option<Settled> {
    if wanted == Rule::Allow {
        return None;
    }
    let keep = |path: &Path| rules.keeps(&root.join(path));
    let left: Vec<(&PathBuf, Change)> = account
        .changes
        .iter()
        .filter(|(path, _)| !keep(path))
        .map(|(path, change)| (path, *change))
        .collect();
    if left.is_empty() && account.beyond == 0 {
        return None;
    }
    // What is beyond the account is counted when it is found again.
    let beyond = if wanted == Rule::Wipe { 0 } else { account.beyond };
    let mut settled = tally(root, &left, beyond);
    if wanted == Rule::Wipe {
        let doomed = left.iter().filter(|(_, change)| *change == Change::Created).map(|(path, _)| *path);
        let failed = wipe::wipe(root, doomed, &keep);
        ledger.forget_deletions();
        settled.outcome = Outcome::Wiped;
        settled.leave_out(&stayed(root, &left, &failed));
        settled.failed = failed.iter().map(|failure| describe(root, failure)).collect();
        if settled.count == 0 {
            return None;
        }
    }
    Some(settled)
}

/// Directories that are still there because they hold something that is kept: they are no residue.
fn stayed(root: &Path, left: &[(&PathBuf, Change)], failed: &[(PathBuf, Errno)]) -> Vec<PathBuf> {
    let created = left.iter().filter(|(_, change)| *change == Change::Created).map(|(path, _)| *path);
    created
        .filter(|path| !failed.iter().any(|(one, _)| one == *path))
        .map(|path| root.join(path))
        .filter(|path| path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()))
        .collect()
}

fn tally(root: &Path, left: &[(&PathBuf, Change)], beyond: u64) -> Settled {
    let mut settled = Settled {
        outcome: Outcome::Reported,
        count: left.len() as u64 + beyond,
        bytes: 0,
        executables: 0,
        listed: Vec::new(),
        failed: Vec::new(),
    };
    for (path, change) in left {
        let listed = look_at(root.join(path), *change);
        settled.bytes = settled.bytes.saturating_add(listed.size);
        settled.executables += u64::from(listed.executable);
        if settled.listed.len() < MAX_LISTED {
            settled.listed.push(listed);
        }
    }
    settled
}

fn look_at(path: PathBuf, change: Change) -> Listed {
    let Ok(metadata) = path.symlink_metadata() else {
        return Listed { path, change, what: "gone", size: 0, executable: false };
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
    use std::fs;

    fn rules(policy: &str) -> Rules {
        Rules::from_text(policy)
    }

    fn settle(ledger: &mut Ledger, root: &Path, rules: &Rules) -> Option<Settled> {
        super::settle(ledger, root, rules, rules.residue)
    }

    #[test]
    fn a_directory_that_holds_something_kept_is_no_residue() {
        let root = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(root.path()).unwrap();
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
        let mut ledger = Ledger::open(root.path()).unwrap();
        ledger.forget();
        fs::write(root.path().join("old/new"), "1").unwrap();
        for number in 0..crate::ledger::MAX_PATHS + 300 {
            fs::write(root.path().join(number.to_string()), "").unwrap();
        }
        let settled =
            settle(&mut ledger, root.path(), &rules("version = 1\n[tmp]\nresidue = \"wipe\"\n")).unwrap();
        assert_eq!(settled.count, crate::ledger::MAX_PATHS as u64 + 301);
        assert!(root.path().join("old/model").exists(), "what init left stays");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn wipe_removes_what_the_invocation_made_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let mut ledger = Ledger::open(root.path()).unwrap();
        fs::write(path("init"), "1").unwrap();
        ledger.forget();
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
    fn report_leaves_everything_and_allow_says_nothing() {
        let root = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(root.path()).unwrap();
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
        let mut ledger = Ledger::open(root.path()).unwrap();
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

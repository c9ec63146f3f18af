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

    /// Failures as the record takes them.
    pub(crate) fn failures(&self) -> Vec<&[u8]> {
        self.failed.iter().map(Vec::as_slice).collect()
    }
}

/// Settles the ledger's account. `None` where nothing was left, or the policy does not care.
pub(crate) fn settle(ledger: &mut Ledger, root: &Path, rules: &Rules) -> Option<Settled> {
    let account = ledger.account();
    if rules.residue == Rule::Allow {
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
    let mut settled = tally(root, &left, &account);
    if rules.residue == Rule::Wipe {
        let doomed = left.iter().filter(|(_, change)| *change == Change::Created).map(|(path, _)| *path);
        let failed = wipe::wipe(root, doomed, &keep);
        ledger.forget_deletions();
        settled.outcome = Outcome::Wiped;
        settled.failed = failed.iter().map(|failure| describe(root, failure)).collect();
    }
    Some(settled)
}

fn tally(root: &Path, left: &[(&PathBuf, Change)], account: &Account) -> Settled {
    let mut settled = Settled {
        outcome: Outcome::Reported,
        count: left.len() as u64 + account.beyond,
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

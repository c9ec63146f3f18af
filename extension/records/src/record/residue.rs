//! The `residue` record: what an invocation left in /tmp, and what became of it.
//!
//! It prints a bounded list and exact totals; the ledger of the agent decides what is residue and what was wiped.

use core::fmt::{self, Write};

use super::{Level, Moment, Record, Scene, attack, head, severity};
use crate::json::{Array, Object, Text};
use crate::message::{ActionKind, Outcome};
use ringfence_policy::Rule;

/// Most paths that a record lists, and most failures.
pub const MAX_LISTED: usize = 20;
const LISTED_PATH: usize = 256;

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Created,
    /// It was there before and is different now.
    Changed,
    /// It was there before and is gone.
    Deleted,
}

impl Change {
    /// The word that records use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Deleted => "deleted",
        }
    }
}

/// One file or directory.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Absolute path.
    pub path: &'a [u8],
    /// What happened to it.
    pub change: Change,
    /// `file`, `directory`, `symlink` or `other`.
    pub what: &'static str,
    /// Bytes; 0 for what is no regular file.
    pub size: u64,
    /// Whether an execute bit is set on a regular file.
    pub executable: bool,
}

/// What was left behind.
#[derive(Debug, Clone, Copy)]
pub struct Residue<'a> {
    /// What is the same in every record.
    pub scene: Scene<'a>,
    /// Invocation that left it; phase init for what an earlier generation left.
    pub moment: Moment<'a>,
    /// Wiped or reported.
    pub outcome: Outcome,
    /// The first [`MAX_LISTED`] entries.
    pub entries: &'a [Entry<'a>],
    /// All of them, or as many as there was time to count.
    pub count: u64,
    /// Whether there may be more than were counted.
    pub is_partial: bool,
    /// Bytes in regular files.
    pub bytes: u64,
    /// Regular files with an execute bit.
    pub executables: u64,
    /// What could not be removed, with the name of the error: `/tmp/x: EACCES`.
    pub failed: &'a [&'a [u8]],
}

impl Residue<'_> {
    fn message(&self, out: &mut Text<'_>) -> fmt::Result {
        out.plain("ringfence ")?;
        out.plain(if self.outcome == Outcome::Wiped { "wiped " } else { "found " })?;
        out.plain(if self.is_partial { "at least " } else { "" })?;
        out.number(self.count)?;
        out.plain(if self.count == 1 { " entry in /tmp (" } else { " entries in /tmp (" })?;
        out.number(self.bytes)?;
        out.plain(" bytes, ")?;
        out.number(self.executables)?;
        out.plain(" executable) left by ")?;
        match self.moment.number {
            0 => out.plain("an earlier generation of this environment")?,
            number => {
                out.plain("invocation ")?;
                out.number(number)?;
            }
        }
        out.plain(" (tmp.residue)")?;
        if self.failed.is_empty() {
            return Ok(());
        }
        out.plain("; not removed: ")?;
        out.number(self.failed.len() as u64)
    }

    fn entry(&self, entry: &Entry<'_>, out: &mut Array<'_>) -> fmt::Result {
        out.object(|out| {
            out.public("path", self.scene.redactor.public(entry.path), LISTED_PATH)?;
            out.word("change", entry.change.as_str())?;
            out.word("what", entry.what)?;
            if entry.size != 0 {
                out.number("size", entry.size)?;
            }
            if entry.executable { out.word("mode", "executable") } else { Ok(()) }
        })
    }

    fn body(&self, out: &mut Object<'_>) -> fmt::Result {
        out.word("kind", "residue")?;
        out.word("verdict", self.outcome.as_str())?;
        out.word("rule", Rule::TmpResidue.as_str())?;
        out.word("plane", "platform")?;
        out.number("count", self.count)?;
        out.number("bytes", self.bytes)?;
        out.number("executables", self.executables)?;
        out.array("entries", |out| {
            self.entries.iter().take(MAX_LISTED).try_for_each(|entry| self.entry(entry, out))
        })?;
        if !self.failed.is_empty() {
            out.array("failed", |out| {
                let failed = self.failed.iter().take(MAX_LISTED);
                failed
                    .into_iter()
                    .try_for_each(|text| out.public(self.scene.redactor.public(text), LISTED_PATH))
            })?;
        }
        self.moment.write("invocation", &self.scene, out)?;
        self.scene.write(out)?;
        out.word("severity", severity(Rule::TmpResidue, ActionKind::Residue).as_str())?;
        out.array("attack", |out| {
            let techniques = attack(Rule::TmpResidue, ActionKind::Residue);
            techniques.iter().try_for_each(|technique| out.word(technique))
        })
    }
}

impl Record for Residue<'_> {
    fn write(&self, out: &mut dyn Write) -> fmt::Result {
        Object::write(out, |out| {
            head(out, self.moment.time, Level::Warn, |out| self.message(out))?;
            out.object("ringfence", |out| self.body(out))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::testing::{MOMENT, line, scene};
    use crate::redact::Redactor;
    use proptest::prelude::*;

    fn residue<'a>(
        redactor: &'a Redactor<'a>,
        entries: &'a [Entry<'a>],
        failed: &'a [&'a [u8]],
    ) -> Residue<'a> {
        Residue {
            scene: scene(redactor),
            moment: MOMENT,
            outcome: Outcome::Wiped,
            entries,
            count: 1,
            bytes: 5,
            is_partial: false,
            executables: 1,
            failed,
        }
    }

    fn entry(path: &[u8]) -> Entry<'_> {
        Entry { path, change: Change::Created, what: "file", size: 5, executable: true }
    }

    #[test]
    fn it_lists_what_was_left_and_what_became_of_it() {
        let redactor = Redactor::new(&[]);
        insta::assert_snapshot!(line(&residue(&redactor, &[entry(b"/tmp/x")], &[b"/tmp/y: EACCES"])), @r#"{"timestamp":"2026-11-22T01:02:03.456Z","level":"WARN","message":"ringfence wiped 1 entry in /tmp (5 bytes, 1 executable) left by invocation 3 (tmp.residue); not removed: 1","ringfence":{"kind":"residue","verdict":"wiped","rule":"tmp.residue","plane":"platform","count":1,"bytes":5,"executables":1,"entries":[{"path":"/tmp/x","change":"created","what":"file","size":5,"mode":"executable"}],"failed":["/tmp/y: EACCES"],"invocation":{"requestId":"8476a536-e9f4-11e8-9739-2dfe598c3fcd","traceId":"1-5bef4de7-ad49b0e87f6ef6c87fc2e700","phase":"invoke","number":3},"function":{"name":"orders","version":"7"},"policy":"sha256:ab12","severity":"low","attack":["T1074.001"]}}"#);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_longest_list_fits(path in proptest::collection::vec(any::<u8>(), 0..600), count in 0..60_usize) {
            let redactor = Redactor::new(&[]);
            let entries = vec![entry(&path); count];
            let failed = vec![&path[..]; count];
            serde_json::from_str::<serde_json::Value>(&line(&residue(&redactor, &entries, &failed))).unwrap();
        }
    }
}

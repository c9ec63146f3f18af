//! The literal beginnings of the globs that deny reads and writes, so that a plane can tell opens that no rule can match.
//!
//! Guard and preload library ask once at start: if all of them lie in procfs, every other file is let through unseen.

use super::CompiledPolicy;
use super::layout::{header, view};

const PROCFS: &[u8] = b"/proc/";

impl<'a> CompiledPolicy<'a> {
    /// What every path that `files.deny_read` matches begins with, one entry per glob and view, in any phase.
    pub fn denied_read_prefixes(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.prefixes(view::DENY_READ)
    }

    /// The same of `files.deny_write`.
    pub fn denied_write_prefixes(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.prefixes(view::DENY_WRITE)
    }

    /// Returns `true` if there are rules on writing and all of them speak of procfs. No file can be made, removed or
    /// renamed there, and a truncating open of one does nothing: such a rule may be held after an open, and no other
    /// file needs a question.
    #[must_use]
    pub fn writes_in_proc_only(&self) -> bool {
        let tmp = self.any_view(|view| view.byte(view::TMP_MODE) != 0 && view.byte(view::TMP_WRITES) != 0);
        let mut prefixes = self.denied_write_prefixes();
        self.has_write_rules() && !tmp && prefixes.all(|prefix| prefix.starts_with(PROCFS))
    }

    fn prefixes(self, list: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let policy = self;
        (0..usize::from(policy.byte(header::VIEW_COUNT)))
            .map(move |index| policy.view_number(index))
            .filter(|view| view.byte(view::FILES_MODE) != 0)
            .flat_map(move |view| view.entries(list))
            .map(|entry| entry.bytes.get(..usize::from(entry.tag)).unwrap_or(entry.bytes))
    }
}

#[cfg(all(test, feature = "language"))]
mod tests {
    use crate::{CompiledPolicy, Date, Policy};

    #[test]
    fn rules_on_writing_in_procfs_alone_are_known() {
        for (keys, expected) in [
            ("[files]\ndeny_write = [\"/proc/*/mem\", \"/proc/sys/**\"]", true),
            ("[files]\ndeny_write = [\"/proc*/mem\"]", false),
            ("[files]\ndeny_write = [\"/proc/*/mem\", \"/*/mem\"]", false),
            ("[files]\ndeny_write = [\"/proc/*/mem\"]\n[tmp]\nwrites = \"deny\"", false),
            (
                "[files]\ndeny_write = [\"/proc/*/mem\"]\n[[rule]]\nwhen = { phase = \"init\" }\nfiles.deny_write = [\"/tmp/x\"]",
                false,
            ),
            ("[files]\ndeny_read = [\"/proc/*/mem\"]", false),
        ] {
            let policy = Policy::parse("policy.toml", &format!("version = 1\nmode = \"enforce\"\n{keys}\n"));
            let compiled = policy.unwrap().policy.compile(Date { year: 2026, month: 11, day: 22 }).unwrap();
            assert_eq!(CompiledPolicy::new(&compiled).unwrap().writes_in_proc_only(), expected, "{keys}");
        }
    }

    #[test]
    fn prefixes_end_at_the_first_wildcard() {
        let text =
            "version = 1\nmode = \"enforce\"\n[files]\ndeny_read = [\"/proc/*/environ\", \"/var/task/**\"]\n";
        let policy = Policy::parse("policy.toml", text).unwrap().policy;
        let compiled = policy.compile(Date { year: 2026, month: 11, day: 22 }).unwrap();
        let prefixes: Vec<_> =
            CompiledPolicy::new(&compiled).unwrap().denied_read_prefixes().map(<[u8]>::to_vec).collect();
        assert!(prefixes.iter().any(|prefix| prefix == b"/proc/"));
        assert!(prefixes.iter().any(|prefix| prefix == b"/var/task"));
        assert!(prefixes.iter().all(|prefix| prefix == b"/proc/" || prefix == b"/var/task"));
    }
}

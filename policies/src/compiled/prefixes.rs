//! The literal beginnings of the globs that deny reads, so that a plane can tell opens that no rule can match.
//!
//! The preload library asks once at start: where all of them lie in procfs, every other file is let through unseen.

use super::CompiledPolicy;
use super::layout::{header, view};

impl<'a> CompiledPolicy<'a> {
    /// What every path that `files.deny_read` matches begins with, one entry per glob and view, in any phase.
    pub fn denied_read_prefixes(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let policy = *self;
        (0..usize::from(policy.byte(header::VIEW_COUNT)))
            .map(move |index| policy.view_number(index))
            .filter(|view| view.byte(view::FILES_MODE) != 0)
            .flat_map(|view| view.entries(view::DENY_READ))
            .map(|entry| entry.bytes.get(..usize::from(entry.tag)).unwrap_or(entry.bytes))
    }
}

#[cfg(all(test, feature = "language"))]
mod tests {
    use crate::{CompiledPolicy, Date, Policy};

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

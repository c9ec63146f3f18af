//! What the language has words for and this release does not do.
//!
//! One table, from which `ringfence check` warns and the `protection` record says `not_covered`. It must not know which
//! plane would do it. The reader of sections and the list of rules in use ask it.

use toml::de::DeTable;

use super::diagnostic::Findings;
use super::section::Section;
use super::value::Strength;

/// A key that nothing acts on, or a value of a key.
#[derive(Debug)]
pub(super) struct Unbuilt {
    section: &'static str,
    key: &'static str,
    /// The value as TOML; `None` for every value that asks for anything.
    value: Option<&'static str>,
    /// What the `protection` record says. It begins with "not built yet".
    pub(super) reason: &'static str,
    /// What to write until it is built.
    hint: &'static str,
}

/// Leaves a key out: most that is not built has no lesser form.
const LEAVE_OUT: &str = "leave the key out until a release builds it: the changelog will say so";

const TABLE: [Unbuilt; 11] = [
    Unbuilt {
        section: "egress",
        key: "names",
        value: Some("\"sni\""),
        reason: "not built yet: names are checked when they are resolved, not in the traffic",
        hint: "write \"dns\", or leave the key out: names are then checked when they are resolved",
    },
    Unbuilt {
        section: "credentials",
        key: "expose",
        value: Some("\"broker\""),
        reason: "not built yet: children have no credentials, the runtime's environment has them",
        hint: "write \"runtime\": children have no credentials, as with \"broker\" today",
    },
    Unbuilt {
        section: "credentials",
        key: "decoys",
        value: None,
        reason: "not built yet: a decoy counts as a credential variable, its use elsewhere is not noticed",
        hint: "leave the key out, or set reads = \"report\": reads of a decoy are then recorded",
    },
    Unbuilt {
        section: "tmp",
        key: "max",
        value: None,
        reason: "not built yet: nothing limits what lies in /tmp",
        hint: "limit single files by process.limits = { file_size = \"64MiB\" }, and wipe what is left",
    },
    Unbuilt {
        section: "tmp",
        key: "secrets",
        value: None,
        reason: "not built yet: what is left is not searched for keys",
        hint: "leave the key out: residue = \"wipe\" removes what is left, keys too",
    },
    Unbuilt { section: "integrity", key: "verify", value: None, reason: "not built yet", hint: LEAVE_OUT },
    Unbuilt { section: "anomaly", key: "duration", value: None, reason: "not built yet", hint: LEAVE_OUT },
    Unbuilt { section: "anomaly", key: "memory", value: None, reason: "not built yet", hint: LEAVE_OUT },
    Unbuilt {
        section: "report",
        key: "format",
        value: Some("\"ocsf\""),
        reason: "not built yet: records are written in the format of Ringfence",
        hint: "write \"ringfence\", or leave the key out",
    },
    Unbuilt {
        section: "report",
        key: "metrics",
        value: None,
        reason: "not built yet: no counters are written",
        hint: "leave the key out: a metric filter on ringfence.kind counts records",
    },
    Unbuilt {
        section: "report",
        key: "webhook",
        value: None,
        reason: "not built yet: records go to the log and nowhere else",
        hint: "leave the key out: a subscription filter on the log group can post records",
    },
];

/// What is not built of `section.key = value`. A value that asks for nothing is always built.
pub(super) fn unbuilt(section: &str, key: &str, value: &str, strength: Strength) -> Option<&'static Unbuilt> {
    let speaks = strength != Strength::Nothing;
    TABLE.iter().find(|entry| {
        entry.section == section && entry.key == key && speaks && entry.value.is_none_or(|own| own == value)
    })
}

/// Warns of each key in `table` that `section` has taken from it and nothing acts on.
pub(super) fn warn<S: Section>(section: &S, table: &DeTable<'_>, findings: &mut Findings<'_>) {
    section.for_each_set(&mut |key, value, strength| {
        let Some(entry) = unbuilt(S::NAME, key.name, &value, strength) else { return };
        let Some((_, node)) = table.iter().find(|(name, _)| name.get_ref().as_ref() == key.name) else {
            return;
        };
        let shown = entry.value.map_or_else(String::new, |value| format!(" = {value}"));
        let label = entry.reason.strip_prefix("not built yet: ").unwrap_or("nothing acts on it");
        findings.warning(
            node.span(),
            format!("`{}.{}{shown}` is not built yet", S::NAME, key.name),
            label.into(),
            entry.hint.into(),
        );
    });
}

#[cfg(test)]
mod tests {
    use super::{TABLE, unbuilt};
    use crate::language::value::Strength;

    #[test]
    fn every_reason_says_that_it_is_not_built() {
        assert!(TABLE.iter().all(|entry| entry.reason.starts_with("not built yet")));
    }

    #[test]
    fn a_value_that_asks_for_nothing_is_built() {
        assert!(unbuilt("tmp", "secrets", "\"report\"", Strength::Reports).is_some());
        assert!(unbuilt("tmp", "secrets", "\"allow\"", Strength::Nothing).is_none());
        assert!(unbuilt("credentials", "expose", "\"runtime\"", Strength::Enforces).is_none());
    }
}

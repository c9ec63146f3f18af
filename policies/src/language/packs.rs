//! The packs that ship with Ringfence: policies to start from, layered by `extends`.
//!
//! Plain text, so that what a pack says can be read where it stands. The parser layers them.

/// Every pack: its name and its text.
pub const PACKS: [(&str, &str); 4] = [
    ("baseline", include_str!("../../packs/baseline.toml")),
    ("web-api", include_str!("../../packs/web-api.toml")),
    ("document-worker", include_str!("../../packs/document-worker.toml")),
    ("learn", include_str!("../../packs/learn.toml")),
];

/// The text of a pack.
pub(super) fn pack(name: &str) -> Option<&'static str> {
    PACKS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::PACKS;
    use crate::language::{Date, Policy};

    #[test]
    fn every_pack_is_a_policy_without_warnings_or_rules_of_its_own() {
        for (name, text) in PACKS {
            let parsed = Policy::parse(name, text).unwrap_or_else(|findings| panic!("{findings}"));
            assert!(parsed.warnings.is_empty() && parsed.packs.is_empty(), "{name}");
            assert!(parsed.policy.rules.is_empty() && parsed.policy.enforce_after.is_none(), "{name}");
            assert!(parsed.policy.compile(Date::from_unix_seconds(0)).is_ok(), "{name}");
        }
    }
}

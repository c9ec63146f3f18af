//! What the language hooks are told: whether to load, and what `[code]` asks of them.
//!
//! Hooks have no policy of their own and no compiled form: they get the few words that concern them. The guard asks here
//! and passes them on; the meaning of each word is in docs/policy.md.

use super::{Mode, Policy, Restriction};

/// A language that has a hook with a key of its own in `[hooks]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// `hooks.python`.
    Python,
    /// `hooks.node`.
    Node,
    /// `hooks.java`.
    Java,
}

impl Policy {
    /// Whether the hook of this language is to be loaded.
    #[must_use]
    pub fn loads_hook(&self, language: Language) -> bool {
        let key = match language {
            Language::Python => self.base.hooks.python,
            Language::Node => self.base.hooks.node,
            Language::Java => self.base.hooks.java,
        };
        key.unwrap_or(true)
    }

    /// What `[code]` asks for, as hooks read it: `evaluate=report,native=deny`. The mode is applied, and what is allowed
    /// is left out. Call [`Policy::effective`] first.
    #[must_use]
    pub fn hook_words(&self) -> String {
        let code = &self.base.code;
        let mode = code.mode.unwrap_or(self.mode);
        let keys = [
            ("evaluate", code.evaluate),
            ("deserialize", code.deserialize),
            ("native", code.native),
            ("imports", code.imports),
        ];
        let asked = keys.into_iter().filter_map(|(key, says)| Some((key, softened(mode, says?)?)));
        asked.map(|(key, word)| format!("{key}={word}")).collect::<Vec<_>>().join(",")
    }
}

fn softened(mode: Mode, says: Restriction) -> Option<&'static str> {
    match (mode, says) {
        (Mode::Off, _) | (_, Restriction::Allow) => None,
        (Mode::Observe, _) | (_, Restriction::Report) => Some("report"),
        (Mode::Enforce, Restriction::Deny) => Some("deny"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        Policy::parse("policy.toml", text).unwrap().policy
    }

    #[test]
    fn hooks_are_told_what_holds_after_the_mode() {
        let text = "[code]\nevaluate = \"deny\"\nnative = \"report\"\nimports = \"allow\"\n";
        assert_eq!(policy(text).hook_words(), "evaluate=deny,native=report");
        assert_eq!(
            policy(&format!("mode = \"observe\"\n{text}")).hook_words(),
            "evaluate=report,native=report"
        );
        assert_eq!(policy(&format!("{text}mode = \"off\"\n")).hook_words(), "");
        assert_eq!(policy("").hook_words(), "");
    }

    #[test]
    fn a_hook_is_loaded_unless_its_key_says_otherwise() {
        let off = policy("[hooks]\npython = false\n");
        assert!(!off.loads_hook(Language::Python) && off.loads_hook(Language::Node));
    }
}

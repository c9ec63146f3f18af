//! What the language hooks are told: whether to load, and what `[code]` and `credentials.reads` ask of them.
//!
//! Hooks have no policy of their own and no compiled form: they get the few words that concern them. The guard asks here
//! and passes them on; the meaning of each word is in docs/policy.md.

use super::{Mode, Policy, Restriction};
use crate::{Phase, Role};

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

    /// What the policy asks of hooks, as they read it: `evaluate=report,native=deny,reads=deny`. The mode is applied, and
    /// what is allowed is left out. Call [`Policy::effective`] first.
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
        let mut words: Vec<String> = asked.map(|(key, word)| format!("{key}={word}")).collect();
        if let Some(word) = self.reads_word() {
            words.push(format!("reads={word}"));
            words.extend(self.exemptions());
        }
        words.join(",")
    }

    /// What `credentials.reads` asks for. Hooks know neither phase nor role: of what `[[rule]]` makes of it the weakest holds.
    fn reads_word(&self) -> Option<&'static str> {
        let says = |phase, role| {
            let credentials = self.sections_in(phase, role).credentials;
            softened(credentials.mode.unwrap_or(self.mode), credentials.reads?)
        };
        let words = [
            says(Phase::Init, Role::Runtime),
            says(Phase::Invoke, Role::Runtime),
            says(Phase::Between, Role::Runtime),
        ];
        words.into_iter().min_by_key(|word| match word {
            None => 0,
            Some("deny") => 2,
            Some(_) => 1,
        })?
    }

    fn exemptions(&self) -> Vec<String> {
        let credentials = &self.base.credentials;
        let variables = credentials.reads_allow_variables.iter().flatten().map(|variable| variable.as_str());
        let packages = credentials.reads_allow_packages.iter().flatten().map(super::PackageName::as_str);
        let lists = [
            ("reads_variables", variables.collect::<Vec<_>>().join("|")),
            ("reads_packages", packages.collect::<Vec<_>>().join("|")),
        ];
        lists
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(key, list)| format!("{key}={list}"))
            .collect()
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
    fn hooks_are_told_what_holds_of_reads_and_who_is_exempted() {
        let deny = "[credentials]\nreads = \"deny\"\n";
        assert_eq!(policy(deny).hook_words(), "reads=deny");
        assert_eq!(policy(&format!("mode = \"observe\"\n{deny}")).hook_words(), "reads=report");
        assert_eq!(policy("[credentials]\nreads = \"allow\"\n").hook_words(), "");
        let exempted =
            "reads_allow_variables = [\"AWS_SESSION_TOKEN\"]\nreads_allow_packages = [\"vault\", \"@a/b\"]\n";
        assert_eq!(
            policy(&format!("{deny}{exempted}")).hook_words(),
            "reads=deny,reads_variables=AWS_SESSION_TOKEN,reads_packages=vault|@a/b"
        );
        let narrowed = "[[rule]]\nwhen = { phase = \"init\" }\ncredentials.reads = \"report\"\n";
        assert_eq!(policy(&format!("{deny}{narrowed}")).hook_words(), "reads=report");
    }

    #[test]
    fn a_hook_is_loaded_unless_its_key_says_otherwise() {
        let off = policy("[hooks]\npython = false\n");
        assert!(!off.loads_hook(Language::Python) && off.loads_hook(Language::Node));
    }
}

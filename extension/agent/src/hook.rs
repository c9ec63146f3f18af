//! What a language hook has said of itself, from the runtime's process, before the function's code ran.
//!
//! A hook that was to be loaded may not be in: a wrapper or the interpreter's own options can keep it out. So what only a
//! hook serves is claimed after its own word. [`crate::protection`] asks; [`crate::agent`] keeps the word.

use ringfence_policy::Rule;
use ringfence_records::message::{Coverage, CoverageLine, Report};

/// What is said of a rule whose hook has not spoken.
pub(crate) const SILENT: &str =
    "the language hook was to be loaded and has not said that it is in the runtime";
/// What is said of reads of credentials then: the preload library sees some of them.
pub(crate) const SILENT_ON_READS: &str =
    "process plane alone: the language hook has not said that it is in the runtime";

/// Longest word that is kept.
const MAX_WORD: usize = 256;

/// The word of a hook.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HookWord {
    /// What it has put in place, separated by commas.
    parts: String,
}

impl HookWord {
    /// Takes the word out of its message.
    pub(crate) fn of(report: &Report<'_>) -> Self {
        let parts = report.detail.get(..report.detail.len().min(MAX_WORD)).unwrap_or_default();
        Self { parts: String::from_utf8_lossy(parts).into_owned() }
    }

    fn has(&self, part: &str) -> bool {
        self.parts.split(',').any(|known| known == part)
    }
}

/// The part of a hook that serves a rule; `None` for rules of which hooks know nothing.
const fn part(rule: Rule) -> Option<&'static str> {
    match rule {
        Rule::CodeEvaluate => Some("evaluate"),
        Rule::CodeDeserialize => Some("deserialize"),
        Rule::CodeNative => Some("native"),
        Rule::CodeImports => Some("imports"),
        Rule::CredentialsReads => Some("reads"),
        _ => None,
    }
}

/// The guard's line as it holds after what the hook has said, or has not.
pub(crate) fn confirmed<'a>(mut line: CoverageLine<'a>, word: Option<&HookWord>) -> CoverageLine<'a> {
    let Some(part) = part(line.rule).filter(|_| line.status != Coverage::NotCovered) else { return line };
    if word.is_some_and(|word| word.has(part)) {
        return line;
    }
    if line.rule != Rule::CredentialsReads {
        let reason =
            if word.is_some() { "the language hook could not put this watch in place" } else { SILENT };
        return CoverageLine { plane: None, status: Coverage::NotCovered, reason, ..line };
    }
    // Without a hook that was to be loaded, the guard has said so itself.
    if line.reason.contains("language hooks") {
        (line.status, line.reason) = (Coverage::Observed, SILENT_ON_READS);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ringfence_policy::Plane;
    use ringfence_records::message::{ActionKind, Kind};

    fn word(parts: &str) -> HookWord {
        let report = Report { detail: parts.as_bytes(), ..Report::new(Kind::HookUp, ActionKind::Dangerous) };
        HookWord::of(&report)
    }

    fn told(rule: Rule, reason: &str, word: Option<&HookWord>) -> String {
        let line = CoverageLine { rule, plane: Some(Plane::Process), status: Coverage::Enforced, reason };
        let line = confirmed(line, word);
        format!("{} {}", line.status.as_str(), line.reason)
    }

    #[test]
    fn what_only_a_hook_serves_is_claimed_after_its_word() {
        let said = word("reads,evaluate");
        let hook = "Python hook";
        assert_eq!(told(Rule::CodeEvaluate, hook, Some(&said)), "enforced Python hook");
        insta::assert_snapshot!(told(Rule::CodeEvaluate, hook, None), @"not_covered the language hook was to be loaded and has not said that it is in the runtime");
        insta::assert_snapshot!(told(Rule::CodeNative, hook, Some(&said)), @"not_covered the language hook could not put this watch in place");
        assert_eq!(told(Rule::ProcessAllow, "", None), "enforced ");
    }

    #[test]
    fn reads_of_credentials_are_the_librarys_too() {
        let both = "process plane and language hooks";
        assert_eq!(told(Rule::CredentialsReads, both, Some(&word("reads"))), format!("enforced {both}"));
        insta::assert_snapshot!(told(Rule::CredentialsReads, both, None), @"observed process plane alone: the language hook has not said that it is in the runtime");
        let alone = "process plane; no language hook is loaded";
        assert_eq!(told(Rule::CredentialsReads, alone, None), format!("enforced {alone}"));
    }

    proptest! {
        #[test]
        fn any_word_is_taken(parts in proptest::collection::vec(any::<u8>(), 0..400)) {
            let report = Report { detail: &parts, ..Report::new(Kind::HookUp, ActionKind::Dangerous) };
            let _ = HookWord::of(&report).has("reads");
        }
    }
}

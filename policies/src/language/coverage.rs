//! Which rules a policy uses, and what each asks for.
//!
//! It says what is wanted, never what is achieved: planes differ by environment, and the guard and the agent say in
//! the `protection` record which of these rules they enforce.

use super::section::Section;
use super::value::Strength;
use super::{Mode, Policy, Sections, WhenProcess};
use crate::Rule;

/// A rule that the policy uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleUse {
    /// The rule.
    pub rule: Rule,
    /// [`Mode::Enforce`] or [`Mode::Observe`]: what the policy asks for.
    pub mode: Mode,
    /// Where it is said: `process.allow`, `rule[2].tmp.writes`, or `default` for what holds without being said.
    pub key: String,
}

impl Policy {
    /// Every rule in use, in the order of the language; a rule that several places set is there several times.
    /// Left out are rules that are off, values that set no rule, and narrowed rules that never apply (the reader has
    /// warned of them). Call [`Policy::effective`] first.
    #[must_use]
    pub fn rules_in_use(&self) -> Vec<RuleUse> {
        let mut uses = self.base.rules_in_use(self.mode, "");
        for (index, narrowed) in self.rules.iter().enumerate() {
            if matches!(narrowed.when.process, Some(WhenProcess::Executable(_))) {
                continue;
            }
            let mut sections = narrowed.sections.clone();
            sections.inherit_modes(&self.base);
            uses.extend(sections.rules_in_use(self.mode, &format!("rule[{}].", index + 1)));
        }
        uses.extend(self.implied());
        uses.sort_by_key(|rule_use| rule_use.rule);
        uses
    }

    /// What holds without being said.
    fn implied(&self) -> Vec<RuleUse> {
        let egress = self.base.egress.mode.unwrap_or(self.mode);
        let runtime_api = self.base.egress.runtime_api.is_none().then_some((Rule::EgressRuntimeApi, egress));
        let always = [(Rule::ProcessUncovered, self.uncovered_mode()), (Rule::SelfProtection, self.mode)];
        runtime_api
            .into_iter()
            .chain(always)
            .filter(|(_, mode)| *mode != Mode::Off)
            .map(|(rule, mode)| RuleUse { rule, mode, key: "default".to_owned() })
            .collect()
    }
}

impl Sections {
    fn rules_in_use(&self, mode: Mode, prefix: &str) -> Vec<RuleUse> {
        [
            uses(&self.process, self.process.mode.unwrap_or(mode), prefix),
            uses(&self.egress, self.egress.mode.unwrap_or(mode), prefix),
            uses(&self.tmp, self.tmp.mode.unwrap_or(mode), prefix),
            uses(&self.files, self.files.mode.unwrap_or(mode), prefix),
            uses(&self.credentials, self.credentials.mode.unwrap_or(mode), prefix),
            uses(&self.code, self.code.mode.unwrap_or(mode), prefix),
            uses(&self.integrity, self.integrity.mode.unwrap_or(mode), prefix),
            uses(&self.anomaly, self.anomaly.mode.unwrap_or(mode), prefix),
        ]
        .concat()
    }

    /// A narrowed section without a mode has that of the policy's own section.
    fn inherit_modes(&mut self, base: &Self) {
        self.process.mode = self.process.mode.or(base.process.mode);
        self.egress.mode = self.egress.mode.or(base.egress.mode);
        self.tmp.mode = self.tmp.mode.or(base.tmp.mode);
        self.files.mode = self.files.mode.or(base.files.mode);
        self.credentials.mode = self.credentials.mode.or(base.credentials.mode);
    }
}

fn uses<S: Section>(section: &S, mode: Mode, prefix: &str) -> Vec<RuleUse> {
    let mut uses = Vec::new();
    section.for_each_set(&mut |key, _, strength| {
        let mode = match (mode, strength) {
            (Mode::Off, _) | (_, Strength::Nothing) => return,
            (Mode::Observe, _) | (_, Strength::Reports) => Mode::Observe,
            (Mode::Enforce, Strength::Enforces) => Mode::Enforce,
        };
        let place = format!("{prefix}{}.{}", S::NAME, key.name);
        if key.rule == Rule::EgressAllow {
            // Names that the list does not have are not resolved either, and that is a rule of its own.
            uses.push(RuleUse { rule: Rule::EgressNames, mode, key: place.clone() });
        }
        if key.rule != Rule::None {
            uses.push(RuleUse { rule: key.rule, mode, key: place });
        }
    });
    uses
}

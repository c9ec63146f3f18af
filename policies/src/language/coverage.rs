//! Which rules a policy uses, and what each asks for.
//!
//! It says what is wanted, and what no environment gives; never what is achieved: planes differ by environment, and
//! the guard and the agent say in the `protection` record which of these rules they enforce.

use super::section::Section;
use super::unbuilt::unbuilt;
use super::value::Strength;
use super::{Mode, Policy, Sections, WhenProcess};
use crate::{Rule, SystemCall};

/// A rule that the policy uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleUse {
    /// The rule.
    pub rule: Rule,
    /// [`Mode::Enforce`] or [`Mode::Observe`]: what the policy asks for.
    pub mode: Mode,
    /// Where it is said: `process.allow`, `rule[2].tmp.writes`, or `default` for what holds without being said.
    pub key: String,
    /// Why it does nothing in any environment, if that is so.
    pub idle: Option<Idle>,
}

/// Why a rule that a policy uses does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Something that the policy asks for is not there; the text says what.
    Missing(&'static str),
    /// The rule changes what children are, so it acts only where its section enforces. Nothing is missing.
    Observing,
}

impl Idle {
    /// What the `protection` record says of it.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Missing(reason) => reason,
            Self::Observing => "acts only where its section enforces: observing changes no child",
        }
    }
}

/// What the record says of a rule for single executables.
const SINGLE_EXECUTABLES: &str = "not built yet: a rule for single executables never applies";
/// What the record says of a profile with a name that no architecture knows.
const UNKNOWN_CALL: &str =
    "it names a system call that this release does not know; `ringfence check` says which";

impl Policy {
    /// Every rule in use, in the order of the language; a rule that several places set is there several times.
    /// Left out are rules that are off, and values that set no rule. Call [`Policy::effective`] first.
    #[must_use]
    pub fn rules_in_use(&self) -> Vec<RuleUse> {
        let mut uses = self.base.rules_in_use(self.mode, "");
        for (index, narrowed) in self.rules.iter().enumerate() {
            let place = format!("rule[{}].", index + 1);
            let mut sections = narrowed.sections.clone();
            sections.inherit_modes(&self.base);
            let asked = sections.rules_in_use(self.mode, &place);
            match narrowed.when.process {
                Some(WhenProcess::Executable(_)) => uses.extend(never_applies(&asked, &place)),
                _ => uses.extend(asked),
            }
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
            .map(|(rule, mode)| RuleUse { rule, mode, key: "default".to_owned(), idle: None })
            .collect()
    }
}

/// A narrowed rule whose condition no plane can test.
fn never_applies(asked: &[RuleUse], place: &str) -> Option<RuleUse> {
    let enforces = asked.iter().any(|rule_use| rule_use.mode == Mode::Enforce);
    let mode = if enforces { Mode::Enforce } else { Mode::Observe };
    let idle = Some(Idle::Missing(SINGLE_EXECUTABLES));
    let key = format!("{place}when.process");
    (!asked.is_empty()).then_some(RuleUse { rule: Rule::RuleProcess, mode, key, idle })
}

impl Sections {
    fn rules_in_use(&self, mode: Mode, prefix: &str) -> Vec<RuleUse> {
        let mut all = [
            uses(&self.process, self.process.mode.unwrap_or(mode), prefix),
            uses(&self.egress, self.egress.mode.unwrap_or(mode), prefix),
            uses(&self.tmp, self.tmp.mode.unwrap_or(mode), prefix),
            uses(&self.files, self.files.mode.unwrap_or(mode), prefix),
            uses(&self.credentials, self.credentials.mode.unwrap_or(mode), prefix),
            uses(&self.code, self.code.mode.unwrap_or(mode), prefix),
            uses(&self.integrity, self.integrity.mode.unwrap_or(mode), prefix),
            uses(&self.anomaly, self.anomaly.mode.unwrap_or(mode), prefix),
            uses(&self.report, mode, prefix),
        ]
        .concat();
        if self.names_an_unknown_call() {
            let profiles = all.iter_mut().filter(|rule_use| rule_use.rule == Rule::ProcessSyscalls);
            profiles.for_each(|rule_use| rule_use.idle = Some(Idle::Missing(UNKNOWN_CALL)));
        }
        all
    }

    fn names_an_unknown_call(&self) -> bool {
        let denied = self.process.syscalls.iter().flat_map(|syscalls| &syscalls.deny);
        denied.into_iter().any(|name| SystemCall::named(name.as_str()).is_none())
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
    section.for_each_set(&mut |key, value, strength| {
        let mode = match (mode, strength) {
            (Mode::Off, _) | (_, Strength::Nothing) => return,
            (Mode::Observe, _) | (_, Strength::Reports) => Mode::Observe,
            (Mode::Enforce, Strength::Enforces) => Mode::Enforce,
        };
        let place = format!("{prefix}{}.{}", S::NAME, key.name);
        if key.rule == Rule::EgressAllow {
            // Names that the list does not have are not resolved either, and that is a rule of its own.
            uses.push(RuleUse { rule: Rule::EgressNames, mode, key: place.clone(), idle: None });
        }
        let missing = unbuilt(S::NAME, key.name, &value, strength).map(|entry| Idle::Missing(entry.reason));
        let idle = missing.or_else(|| observing(key.rule, mode));
        if key.rule != Rule::None {
            uses.push(RuleUse { rule: key.rule, mode, key: place, idle });
        }
    });
    uses
}

/// Rules that make children different have nothing to record.
fn observing(rule: Rule, mode: Mode) -> Option<Idle> {
    let changes = matches!(
        rule,
        Rule::ProcessEnvironment | Rule::ProcessSyscalls | Rule::ProcessLimits | Rule::CredentialsExpose
    );
    (changes && mode == Mode::Observe).then_some(Idle::Observing)
}

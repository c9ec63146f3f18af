//! The typed policy: sections, narrowed rules, and what holds for the whole.
//!
//! This module is the shape of a policy; reading, printing, judging and compiling it each have a module of their own.
//! The guard, the agent and the command line use it; the preload library does not have it.

mod amounts;
mod compile;
mod coverage;
mod diagnostic;
mod difference;
mod endpoint;
mod function_shield;
mod hooks;
mod lint;
mod packs;
mod parse;
mod patterns;
mod print;
mod profiles;
mod regions;
mod resolve;
mod schema;
mod section;
mod sections;
mod unbuilt;
mod value;
mod verdict;

#[cfg(test)]
mod properties;

use crate::{Phase, Role};

pub use amounts::{ByteSize, Date, Threshold};
pub use compile::CompileError;
pub use coverage::{Idle, RuleUse};
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use difference::{Area, Change, Difference, Effect};
pub use endpoint::{Endpoint, Host, Network, Ports};
pub use function_shield::{ImportError, Imported, import_function_shield};
pub use hooks::Language;
pub use packs::PACKS;
pub use parse::Parsed;
pub use patterns::{PackageName, PathGlob, SyscallName, VariableGlob, VariableName};
pub use resolve::{Failure, PolicySource, Resolution, resolve};
pub use schema::schema;
pub use sections::{
    Activity, Anomaly, Code, CredentialVariable, Credentials, Egress, Environment, Expose, Files, Format,
    Hooks, Integrity, Listen, Mode, Names, Process, ProcessLimits, Profile, Report, Residue, Restriction,
    RuntimeApi, Secrets, Survivors, SyscallTable, Syscalls, Tmp, TmpMax, Verify, Webhook, Writes,
};
pub use value::{Count, Denied};

use value::words;

words! {
    /// What happens where a rule cannot be enforced.
    OnDegraded {
        /// The function runs, and the `protection` record says what is missing.
        Continue = "continue", Nothing;
        /// The start fails.
        Refuse = "refuse", Nothing;
    }
}

/// A whole policy, packs included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// For every section that has no mode of its own.
    pub mode: Mode,
    /// What happens where a rule cannot be enforced.
    pub on_degraded: OnDegraded,
    /// Until this day what would be enforced is observed. See [`Policy::effective`].
    pub enforce_after: Option<Date>,
    /// What holds at all times, for every process.
    pub base: Sections,
    /// What holds in some phases or for some processes only, in order: the last that matches wins, key by key.
    pub rules: Vec<NarrowedRule>,
}

/// One of each section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sections {
    /// `[process]`.
    pub process: Process,
    /// `[egress]`.
    pub egress: Egress,
    /// `[tmp]`.
    pub tmp: Tmp,
    /// `[files]`.
    pub files: Files,
    /// `[credentials]`.
    pub credentials: Credentials,
    /// `[code]`.
    pub code: Code,
    /// `[hooks]`.
    pub hooks: Hooks,
    /// `[integrity]`.
    pub integrity: Integrity,
    /// `[anomaly]`.
    pub anomaly: Anomaly,
    /// `[report]`.
    pub report: Report,
}

/// A `[[rule]]`: sections that hold under a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NarrowedRule {
    /// The condition.
    pub when: When,
    /// Keys that replace those of the policy while the condition holds.
    pub sections: Sections,
}

/// The condition of a [`NarrowedRule`]; all parts that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct When {
    /// Part of the environment's life.
    pub phase: Option<Phase>,
    /// Which process.
    pub process: Option<WhenProcess>,
}

/// Which process a [`When`] means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhenProcess {
    /// The runtime or its children.
    Role(Role),
    /// Processes whose executable matches. No plane tells executables apart yet: such a rule never applies, and the
    /// reader warns of it.
    Executable(PathGlob),
}

impl When {
    /// Whether the condition holds in `phase` for `role`.
    #[must_use]
    pub fn holds(&self, phase: Phase, role: Role) -> bool {
        let process = match &self.process {
            None => true,
            Some(WhenProcess::Role(own)) => *own == role,
            Some(WhenProcess::Executable(_)) => false,
        };
        process && self.phase.is_none_or(|own| own == phase)
    }
}

impl Default for Policy {
    /// A policy without any key: it protects the Runtime API and Ringfence itself.
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            on_degraded: OnDegraded::Continue,
            enforce_after: None,
            base: Sections::default(),
            rules: Vec::new(),
        }
    }
}

impl Policy {
    /// The policy as it is on `today`: before `enforce_after` every mode that enforces observes instead.
    #[must_use]
    pub fn effective(&self, today: Date) -> Self {
        let waits = self.enforce_after.is_some_and(|day| today < day);
        let policy = Self { enforce_after: None, ..self.clone() };
        if waits { policy.observing() } else { policy }
    }

    /// The policy with every mode that enforces turned into one that observes.
    #[must_use]
    pub fn observing(mut self) -> Self {
        soften(&mut self.mode);
        self.base.for_each_mode(soften);
        for rule in &mut self.rules {
            rule.sections.for_each_mode(soften);
        }
        self
    }
}

fn soften(mode: &mut Mode) {
    if *mode == Mode::Enforce {
        *mode = Mode::Observe;
    }
}

impl Sections {
    fn for_each_mode(&mut self, change: impl Fn(&mut Mode)) {
        let modes = [
            &mut self.process.mode,
            &mut self.egress.mode,
            &mut self.tmp.mode,
            &mut self.files.mode,
            &mut self.credentials.mode,
            &mut self.code.mode,
            &mut self.integrity.mode,
            &mut self.anomaly.mode,
        ];
        modes.into_iter().flatten().for_each(change);
    }
}

//! The policy as the agent needs it: what holds in its own plane, and the compiled form for names.
//!
//! It finds the policy by the same search as the guard. What a rule means is decided by `ringfence-policy`; whether it
//! is covered here, by [`crate::protection`].

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ringfence_policy::{
    Action, Activity, CompiledPolicy, Context, Decision, Exec, Mode, PathGlob, Phase, Plane, Residue,
    Resolution, Role, Rule, RuleUse, Survivors, Verdict, resolve,
};

use crate::clock;
use crate::settings::Settings;

/// One byte more than a policy may have, so that one that is too large is told from one that fits.
const MAX_READ: u64 = 256 * 1024 + 1;

/// What the agent enforces, and what it tells of the rest.
#[derive(Debug)]
pub(crate) struct Rules {
    /// `sha256:…`.
    pub(crate) hash: String,
    /// Where the policy came from.
    pub(crate) source: String,
    /// Mode of the whole.
    pub(crate) mode: Mode,
    /// What is done about files left behind.
    pub(crate) residue: Residue,
    /// What is done about processes left behind.
    pub(crate) survivors: Survivors,
    /// Every rule in use.
    pub(crate) uses: Vec<RuleUse>,
    /// What is wrong with the policy, and whether the guard refuses the start for it.
    pub(crate) failure: Option<(bool, String)>,
    /// Whether deeds that are reported and go ahead are told once.
    pub(crate) activity: bool,
    keep: Vec<PathGlob>,
    compiled: Vec<u8>,
}

impl Rules {
    /// Finds the policy.
    pub(crate) fn find(settings: &Settings) -> Self {
        Self::new(resolve(settings.policy.as_deref(), settings.on_error.as_deref(), &read))
    }

    fn new(resolution: Resolution) -> Self {
        let today = clock::today();
        let policy = resolution.policy.effective(today);
        let mut failure = resolution.failure.map(|failure| (failure.refuse, failure.message));
        let compiled = policy.compile(today).unwrap_or_else(|error| {
            failure = Some((true, error.to_string()));
            Vec::new()
        });
        let mode = policy.base.tmp.mode.unwrap_or(policy.mode);
        let process_mode = policy.base.process.mode.unwrap_or(policy.mode);
        Self {
            hash: resolution.digest,
            source: resolution.source.to_string(),
            mode: policy.mode,
            residue: softened_residue(policy.base.tmp.residue, mode),
            survivors: softened_survivors(policy.base.process.survivors, process_mode),
            uses: policy.rules_in_use(),
            failure,
            activity: policy.base.report.activity == Some(Activity::New),
            keep: policy.base.tmp.keep.unwrap_or_default(),
            compiled,
        }
    }

    /// Whether the policy lets a file stay in /tmp.
    pub(crate) fn keeps(&self, path: &Path) -> bool {
        self.keep.iter().any(|glob| glob.matches(path.as_os_str().as_encoded_bytes()))
    }

    /// What is to be done with the look-up of `name`, and the name patterns that it matches.
    ///
    /// The resolver cannot tell which process asks. Where runtime and children have different rules, those of the runtime hold:
    /// what a child then does with an address is decided at its connection.
    pub(crate) fn resolve(&self, name: &[u8], phase: Phase) -> (Verdict, Vec<u16>) {
        let context = Context { phase, role: Role::Runtime, strongest: Plane::Platform, launched: true };
        let Ok(policy) = CompiledPolicy::new(&self.compiled) else {
            return (Verdict { decision: Decision::Allow, rule: Rule::None }, Vec::new());
        };
        (policy.verdict(&Action::Resolve { name }, &context), policy.name_patterns(name).collect())
    }

    /// The pattern to which the addresses of a denied name are tied.
    pub(crate) fn closing_pattern(&self, name: &[u8], phase: Phase) -> Option<u16> {
        CompiledPolicy::new(&self.compiled).ok()?.closing_pattern(name, phase)
    }

    /// What the policy says of an action that another plane saw, or that was found afterwards.
    pub(crate) fn judge(&self, action: &Action<'_>, context: Context) -> Verdict {
        let silent = Verdict { decision: Decision::Allow, rule: Rule::None };
        CompiledPolicy::new(&self.compiled).map_or(silent, |policy| policy.verdict(action, &context))
    }

    /// Whether `exec` is a script that the policy lists, so that its interpreter is part of it.
    pub(crate) fn lists_script(&self, exec: &Exec<'_>, context: Context) -> bool {
        CompiledPolicy::new(&self.compiled).is_ok_and(|policy| policy.lists_script(exec, &context))
    }

    /// The rules of a policy's text, for tests.
    #[cfg(test)]
    pub(crate) fn from_text(text: &str) -> Self {
        let text = text.to_owned();
        Self::new(resolve(Some("/var/task/test.toml"), None, &move |_| Ok(text.clone().into_bytes())))
    }
}

fn softened_residue(residue: Option<Residue>, mode: Mode) -> Residue {
    match (residue.unwrap_or(Residue::Allow), mode) {
        (_, Mode::Off) => Residue::Allow,
        (Residue::Wipe, Mode::Observe) => Residue::Report,
        (residue, _) => residue,
    }
}

fn softened_survivors(survivors: Option<Survivors>, mode: Mode) -> Survivors {
    match (survivors.unwrap_or(Survivors::Allow), mode) {
        (_, Mode::Off) => Survivors::Allow,
        (Survivors::Kill, Mode::Observe) => Survivors::Report,
        (survivors, _) => survivors,
    }
}

fn read(path: &str) -> io::Result<Vec<u8>> {
    // Room for nearly every policy, so that it takes two reads and no growing.
    let mut content = Vec::with_capacity(8 * 1024);
    File::open(path)?.take(MAX_READ).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observing_softens_what_the_agent_does() {
        let text =
            "version = 1\nmode = \"observe\"\n[tmp]\nresidue = \"wipe\"\n[process]\nsurvivors = \"kill\"\n";
        let rules = Rules::from_text(text);
        assert!(rules.failure.is_none(), "{:?}", rules.failure);
        assert_eq!((rules.residue, rules.survivors), (Residue::Report, Survivors::Report));
        let rules = Rules::from_text(&text.replace("observe", "enforce"));
        assert_eq!((rules.residue, rules.survivors), (Residue::Wipe, Survivors::Kill));
    }

    #[test]
    fn names_are_judged_and_matched() {
        let rules =
            Rules::from_text("version = 1\nmode = \"enforce\"\n[egress]\nallow = [\"*.good.example:443\"]\n");
        let (verdict, patterns) = rules.resolve(b"a.good.example", Phase::Invoke);
        assert_eq!((verdict.decision, patterns.len()), (Decision::Allow, 1));
        let (verdict, patterns) = rules.resolve(b"evil.example", Phase::Invoke);
        assert_eq!((verdict.decision, patterns.len()), (Decision::Deny, 0));
    }

    #[test]
    fn a_broken_policy_says_whether_to_refuse() {
        let rules = Rules::from_text("version = 1\nmoed = \"enforce\"\n");
        let (refuse, message) = rules.failure.unwrap();
        assert!(refuse && message.contains("moed"), "{message}");
    }
}

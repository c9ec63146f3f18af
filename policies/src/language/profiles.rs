//! Which rules keep a start back where `on_degraded = "refuse"`, told from the policy alone.
//!
//! It knows what each kind of environment lacks for every function: the profiles of `ringfence local` by their names.
//! What a start really lacks is found out by the guard and the agent. The reader of a policy calls it.

use std::ops::Range;

use super::diagnostic::Findings;
use super::{Idle, Mode, Policy, RuleUse};
use crate::Rule;

/// Where a rule is not covered, whatever the function is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Everywhere,
    Strict,
    WithoutHook,
}

impl Where {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Everywhere, "in strict, nested and open"),
        (Self::Strict, "in strict, which is today's Lambda"),
        (Self::WithoutHook, "wherever the runtime has no hook that judges it"),
    ];

    fn of(rule_use: &RuleUse) -> Option<Self> {
        match (rule_use.rule, rule_use.idle) {
            (_, Some(Idle::Missing(_))) => Some(Self::Everywhere),
            // seccomp(2) is refused there, and children can be given no filter without it.
            (Rule::ProcessSyscalls, _) => Some(Self::Strict),
            (Rule::CodeEvaluate | Rule::CodeDeserialize | Rule::CodeNative | Rule::CodeImports, _) => {
                Some(Self::WithoutHook)
            }
            _ => None,
        }
    }
}

/// Warns where the start would be refused. `at` is the place of `on_degraded`.
pub(super) fn warn(policy: &Policy, at: Range<usize>, findings: &mut Findings<'_>) {
    let uses: Vec<RuleUse> =
        policy.rules_in_use().into_iter().filter(|rule_use| rule_use.mode == Mode::Enforce).collect();
    for (place, words) in Where::ALL {
        let mut rules: Vec<&str> = uses
            .iter()
            .filter(|rule_use| Where::of(rule_use) == Some(place))
            .map(|rule_use| rule_use.rule.as_str())
            .collect();
        rules.dedup();
        if rules.is_empty() {
            continue;
        }
        let message = format!("on_degraded = \"refuse\" keeps the function from starting {words}");
        let label = format!("nothing enforces {} there", rules.join(", "));
        let hint =
            "leave these rules out, or write on_degraded = \"continue\" and read the protection record";
        findings.warning(at.clone(), message, label, hint.into());
    }
}

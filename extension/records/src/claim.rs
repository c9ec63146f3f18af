//! What a process of the function may say to the agent: hints and findings about itself.
//!
//! The report socket takes messages from any process of the function. Library and hooks speak of what they judged in
//! their own process, so a message that speaks for guard, agent or kernel is forged. The library takes its texts from
//! here, the agent asks [`forgery`]. It does not know which process sent a message.

use ringfence_policy::{Plane, Rule};

use crate::message::{ActionKind, Kind, Outcome, Report};

/// The library could not patch libc.
pub const UNPATCHED: &[u8] = b"process plane: libc's system-call sites could not be patched";
/// A child runs without `process.limits`.
pub const NO_LIMITS: &[u8] = b"process.limits: prlimit(2) is refused, a child runs without a limit";
/// A child runs without `process.syscalls`.
pub const NO_PROFILE: &[u8] = b"process.syscalls: seccomp(2) is refused, a child runs without its profile";
/// A program starts without the state page.
pub const NO_PAGE: &[u8] = b"the state page's descriptor is gone: a program would start without it";
/// A program starts without the handoff.
pub const NO_HANDOFF: &[u8] = b"the handoff's descriptor is gone: a program would start without it";
/// A program starts without the library.
pub const NO_LIBRARY: &[u8] = b"the library is not where it was: a program would start without it";

/// All faults that the library tells of.
const FAULTS: [&[u8]; 6] = [UNPATCHED, NO_LIMITS, NO_PROFILE, NO_PAGE, NO_HANDOFF, NO_LIBRARY];

/// Most lost messages that one message is believed about.
pub const MAX_DROPPED: u32 = 1000;

/// Why neither library nor hook can have sent this message; `None` where one of them may have.
#[must_use]
pub fn forgery(report: &Report<'_>) -> Option<&'static str> {
    match report.kind {
        Kind::Violation => forged_violation(report),
        Kind::Hint if is_the_platforms(report.action) => {
            Some("a process announced what only the agent tells")
        }
        Kind::Degraded if !FAULTS.contains(&report.detail) => {
            Some("a process told of a fault that the library does not tell of")
        }
        _ => None,
    }
}

fn forged_violation(report: &Report<'_>) -> Option<&'static str> {
    if report.plane != Plane::Process {
        return Some("a process spoke in another plane's name");
    }
    if !matches!(report.outcome, Outcome::Reported | Outcome::Blocked) {
        return Some("a process told of what only the agent does");
    }
    let is_no_rule_of_theirs = matches!(
        report.rule,
        Rule::None
            | Rule::ProcessSurvivors
            | Rule::EgressNames
            | Rule::TmpResidue
            | Rule::TmpMax
            | Rule::TmpSecrets
            | Rule::CredentialsDecoys
            | Rule::IntegrityVerify
            | Rule::AnomalyDuration
            | Rule::AnomalyMemory
    );
    (is_no_rule_of_theirs || is_the_platforms(report.action))
        .then_some("a process told of a rule that it does not judge")
}

const fn is_the_platforms(action: ActionKind) -> bool {
    matches!(action, ActionKind::Survive | ActionKind::Residue)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn violation() -> Report<'static> {
        let mut report = Report::new(Kind::Violation, ActionKind::Exec);
        report.rule = Rule::ProcessShells;
        report.outcome = Outcome::Blocked;
        report
    }

    #[test]
    fn what_library_and_hooks_say_passes() {
        assert_eq!(forgery(&violation()), None);
        for rule in [Rule::SelfProtection, Rule::CodeEvaluate, Rule::EgressAllow, Rule::TmpWrites] {
            assert_eq!(forgery(&Report { rule, outcome: Outcome::Reported, ..violation() }), None);
        }
        for detail in FAULTS {
            assert_eq!(
                forgery(&Report { detail, ..Report::new(Kind::Degraded, ActionKind::Dangerous) }),
                None
            );
        }
        for kind in [Kind::RuntimeUp, Kind::HookUp, Kind::InvocationOver, Kind::Answered, Kind::AtWork] {
            assert_eq!(
                forgery(&Report::new(kind, ActionKind::Dangerous)),
                None,
                "{kind:?}: judged elsewhere"
            );
        }
        assert_eq!(forgery(&Report::new(Kind::Hint, ActionKind::Resolve)), None);
    }

    #[test]
    fn what_others_say_is_forged() {
        let why = |report: Report<'_>| forgery(&report).unwrap();
        for plane in [Plane::Kernel, Plane::Platform] {
            insta::allow_duplicates! {
                insta::assert_snapshot!(why(Report { plane, ..violation() }), @"a process spoke in another plane's name");
            }
        }
        for outcome in [Outcome::Killed, Outcome::Wiped] {
            insta::allow_duplicates! {
                insta::assert_snapshot!(why(Report { outcome, ..violation() }), @"a process told of what only the agent does");
            }
        }
        for rule in [Rule::None, Rule::TmpResidue, Rule::ProcessSurvivors, Rule::EgressNames] {
            insta::allow_duplicates! {
                insta::assert_snapshot!(why(Report { rule, ..violation() }), @"a process told of a rule that it does not judge");
            }
        }
        let words = Report { detail: b"all is well", ..Report::new(Kind::Degraded, ActionKind::Dangerous) };
        insta::assert_snapshot!(why(words), @"a process told of a fault that the library does not tell of");
        insta::assert_snapshot!(why(Report::new(Kind::Hint, ActionKind::Survive)), @"a process announced what only the agent tells");
    }

    proptest! {
        #[test]
        fn any_message_is_judged(fields in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..30)), 0..20), kind in any::<u8>()) {
            let mut buffer = [0; crate::wire::MAX_MESSAGE];
            let mut out = crate::wire::Writer::new(&mut buffer, kind).unwrap();
            for (tag, value) in &fields { out.bytes(*tag, value, 30); }
            if let Some(report) = Report::decode(out.finish())
                && report.kind == Kind::Violation && forgery(&report).is_none() {
                prop_assert_eq!(report.plane, Plane::Process);
            }
        }
    }
}

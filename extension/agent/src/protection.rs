//! Rule by rule: which plane covers it here, and how well.
//!
//! It merges the guard's account with what the agent itself does. A rule that neither speaks of is not covered; a
//! rule that the policy only observes is never called enforced. The agent prints the result once at every start.

use std::collections::BTreeMap;

use ringfence_policy::{Idle, Mode, Plane, Residue, Rule, RuleUse, Survivors};
use ringfence_records::message::{Coverage, CoverageLine};
use ringfence_records::record::RuleStatus;

use crate::control::Hello;
use crate::detect::Checks;
use crate::hook::{HookWord, confirmed};
use crate::policy::Rules;
use crate::poller::EndKnown;

/// What the agent can do here.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each found out by itself")]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Abilities {
    /// /tmp is watched.
    pub(crate) ledger: bool,
    /// How the end of an invocation comes to be known.
    pub(crate) end: EndKnown,
    /// Why the preload library is not claimed, though the guard has loaded it; `None` where it has seen the runtime at work.
    pub(crate) unseen: Option<&'static str>,
    /// Another process than the runtime's asks for the events: an adapter, or a proxy that is not seen.
    pub(crate) elsewhere: bool,
    /// The runtime's client may keep connections to its API that it does not use: one more is no finding.
    pub(crate) pooled: bool,
    /// A program that the runtime starts asks for the events: a shell's curl.
    pub(crate) by_child: bool,
    /// Many invocations at once: there is no end after which everything could be cleaned.
    pub(crate) managed: bool,
    /// The resolver answers.
    pub(crate) resolver: bool,
    /// What is looked for past the planes.
    pub(crate) detects: Checks,
}

/// One line for each rule in use, in the order of the language.
pub(crate) fn account<'a>(
    rules: &Rules,
    hello: Option<&'a Hello>,
    hook: Option<&HookWord>,
    abilities: Abilities,
) -> Vec<RuleStatus<'a>> {
    wishes(&rules.uses)
        .into_iter()
        .map(|(rule, wish)| RuleStatus {
            line: line(rule, wish, rules, hello, hook, abilities),
            asked: wish.asked(),
        })
        .collect()
}

/// What the policy asks of one rule, all places together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Enforce,
    Observe,
    /// Something of it is there in no environment.
    Missing(&'static str, Mode),
    /// Nothing is asked for in this mode.
    Nothing(&'static str),
}

impl Wish {
    const fn of(rule_use: &RuleUse) -> Self {
        match (rule_use.idle, rule_use.mode) {
            (Some(Idle::Missing(reason)), mode) => Self::Missing(reason, mode),
            (Some(idle @ Idle::Observing), _) => Self::Nothing(idle.reason()),
            (None, Mode::Enforce) => Self::Enforce,
            (None, _) => Self::Observe,
        }
    }

    const fn asked(self) -> Coverage {
        match self {
            Self::Enforce | Self::Missing(_, Mode::Enforce) => Coverage::Enforced,
            Self::Observe | Self::Missing(..) => Coverage::Observed,
            Self::Nothing(_) => Coverage::NotCovered,
        }
    }

    const fn rank(self) -> u8 {
        match self {
            Self::Nothing(_) => 0,
            Self::Observe => 1,
            Self::Enforce => 2,
            Self::Missing(..) => 3,
        }
    }
}

/// A rule that several places set is enforced as soon as one of them asks for it, unless something of it is missing.
fn wishes(uses: &[RuleUse]) -> BTreeMap<Rule, Wish> {
    let mut wishes = BTreeMap::new();
    for rule_use in uses {
        let other = Wish::of(rule_use);
        let wish = wishes.entry(rule_use.rule).or_insert(other);
        if other.rank() > wish.rank() {
            *wish = other;
        }
    }
    wishes
}

fn line<'a>(
    rule: Rule,
    wish: Wish,
    rules: &Rules,
    hello: Option<&'a Hello>,
    hook: Option<&HookWord>,
    abilities: Abilities,
) -> CoverageLine<'a> {
    if let Wish::Missing(reason, _) | Wish::Nothing(reason) = wish {
        return not_covered(rule, reason);
    }
    if let Some(reason) = lost_elsewhere(rule).filter(|_| abilities.elsewhere) {
        return not_covered(rule, reason);
    }
    let own = own_line(rule, rules, hello, abilities);
    let from_guard = hello.into_iter().flat_map(Hello::coverage).filter(|line| line.rule == rule);
    let from_guard = from_guard.map(|line| confirmed(line, hook));
    let from_guard = from_guard.map(|line| as_seen(line, abilities.unseen));
    let best = from_guard.chain(own).min_by_key(|line| line.status as u8);
    let mut line = best.unwrap_or_else(|| not_covered(rule, missing(hello.is_some())));
    if line.plane == Some(Plane::Process) && abilities.detects.look_for(rule) {
        line.reason =
            "process plane: raw system calls are not stopped; what they leave in /proc is looked for";
    }
    if rule == Rule::EgressAllow && abilities.unseen.is_some() && line.plane == Some(Plane::Platform) {
        return not_covered(rule, NAMES_UNTIED);
    }
    if rule == Rule::EgressRuntimeApi && abilities.pooled && line.plane == Some(Plane::Platform) {
        return not_covered(rule, POOLED);
    }
    if line.status != Coverage::NotCovered
        && let Some(reason) = hello.and_then(|hello| lost_to_runtime(rule, &hello.runtime, line.plane))
    {
        return not_covered(rule, reason);
    }
    if rule == Rule::EgressRuntimeApi && abilities.by_child && line.status == Coverage::Enforced {
        (line.status, line.reason) = (Coverage::Observed, ASKS_BY_CHILD);
    }
    if wish == Wish::Observe && line.status == Coverage::Enforced {
        line.status = Coverage::Observed;
        if line.reason.is_empty() {
            line.reason = "the policy asks to observe";
        }
    }
    line
}

/// What holds where the runtime asks by a program that it starts. All others are refused.
const ASKS_BY_CHILD: &str = "the runtime asks by a program that it starts: a command in the runtime itself may use it too, and a second answer is recorded; other processes are refused";

/// Why connections are not judged where the runtime asks the name servers itself.
const NAMES_UNTIED: &str = "the runtime's look-ups do not reach the guarded resolver: an address cannot be told from an allowed name's";

/// Why a second connection to the Runtime API is not looked for.
const POOLED: &str = "the runtime's calls are not seen, and its HTTP client may keep several connections to the Runtime API: one more cannot be told";

/// What the guard says of a rule, or less: the library is claimed only where it has seen the runtime at work.
fn as_seen<'a>(line: CoverageLine<'a>, unseen: Option<&'static str>) -> CoverageLine<'a> {
    match unseen {
        Some(reason) if line.plane == Some(Plane::Process) => not_covered(line.rule, reason),
        _ => line,
    }
}

/// Why a rule does not hold for the runtime with this executable; none is known of a shell.
fn lost_to_runtime(rule: Rule, runtime: &[u8], plane: Option<Plane>) -> Option<&'static str> {
    match rule {
        Rule::CredentialsReads if runtime.is_empty() && plane == Some(Plane::Process) => {
            Some(SHELLS_VARIABLES)
        }
        _ => None,
    }
}

const SHELLS_VARIABLES: &str =
    "a shell has its variables without a call that could be seen: only what its children read is recorded";

/// Why a rule does not hold where another process asks for the events; `None` for rules that do not depend on it.
const fn lost_elsewhere(rule: Rule) -> Option<&'static str> {
    match rule {
        // A runtime has its own connection, and a second one is refused. A server has none, so its first one passes.
        Rule::EgressRuntimeApi => Some(
            "another process asks for the events: the function's own process may connect once, its children may not",
        ),
        // The hook learns an event from the runtime's client, which is not at work here.
        Rule::CodeEvaluate => {
            Some("another process asks for the events: the language hook does not know their text")
        }
        _ => None,
    }
}

/// What the platform plane does for a rule.
fn own_line(
    rule: Rule,
    rules: &Rules,
    hello: Option<&Hello>,
    abilities: Abilities,
) -> Option<CoverageLine<'static>> {
    let enforces = match rule {
        Rule::TmpResidue => rules.residue == Residue::Wipe,
        Rule::ProcessSurvivors => rules.survivors == Survivors::Kill,
        Rule::EgressNames => return Some(names(rule, hello, abilities)),
        _ if abilities.detects.look_for(rule) => return Some(looked_for(rule)),
        _ => return None,
    };
    Some(match (rule, abilities) {
        (Rule::TmpResidue, Abilities { ledger: false, .. }) => {
            not_covered(rule, "/tmp cannot be watched here")
        }
        (_, Abilities { managed: true, .. }) => {
            not_covered(rule, "invocations run at the same time here: none of them ends alone")
        }
        (_, Abilities { end: EndKnown::Never, .. }) => not_covered(
            rule,
            "the end of an invocation is not known here: another process asks for the events, or nothing shows when",
        ),
        (_, Abilities { end: EndKnown::Afterwards, .. }) => CoverageLine {
            rule,
            plane: Some(Plane::Platform),
            status: Coverage::Observed,
            reason: "the end of an invocation is told by telemetry, when the next may have begun: reported only",
        },
        _ => CoverageLine {
            rule,
            plane: Some(Plane::Platform),
            status: if enforces { Coverage::Enforced } else { Coverage::Observed },
            reason: if rule == Rule::TmpResidue { OTHER_CHANNELS } else { "" },
        },
    })
}

const fn looked_for(rule: Rule) -> CoverageLine<'static> {
    CoverageLine {
        rule,
        plane: Some(Plane::Platform),
        status: Coverage::Observed,
        reason: "nothing stops it here; what it leaves in /proc is looked for",
    }
}

/// The resolver refuses names, but only the look-ups that a plane leads to it.
fn names(rule: Rule, hello: Option<&Hello>, abilities: Abilities) -> CoverageLine<'static> {
    let Some(hello) = hello else { return not_covered(rule, NO_GUARD) };
    let led = hello.coverage().map(|line| as_seen(line, abilities.unseen)).any(|line| {
        matches!(line.rule, Rule::EgressAllow | Rule::EgressDeny) && line.status != Coverage::NotCovered
    });
    if !abilities.resolver {
        return not_covered(rule, "the guarded resolver could not be started");
    }
    if !led {
        return not_covered(rule, "no plane leads look-ups to the guarded resolver here");
    }
    CoverageLine { rule, plane: Some(Plane::Platform), status: Coverage::Enforced, reason: "" }
}

/// What an invocation can leave besides files (docs/limits.md).
const OTHER_CHANNELS: &str =
    "files in /tmp; System V and POSIX message queues, semaphores and shared memory are not covered";

/// What people should do where there is no guard.
pub(crate) const NO_GUARD: &str = "no guard: set AWS_LAMBDA_EXEC_WRAPPER=/opt/ringfence-exec";

const fn missing(guarded: bool) -> &'static str {
    if guarded { "the guard does not speak of it" } else { NO_GUARD }
}

const fn not_covered(rule: Rule, reason: &str) -> CoverageLine<'_> {
    CoverageLine { rule, plane: None, status: Coverage::NotCovered, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_records::message::{Kind, tag};
    use ringfence_records::wire::{MAX_MESSAGE, Writer};

    const ALL: Abilities = Abilities {
        ledger: true,
        end: EndKnown::Exactly,
        unseen: None,
        elsewhere: false,
        by_child: false,
        pooled: false,
        managed: false,
        resolver: true,
        detects: Checks::NONE,
    };

    fn hello(lines: &[CoverageLine<'_>]) -> Hello {
        let mut buffer = [0; MAX_MESSAGE];
        let mut out = Writer::new(&mut buffer, Kind::Hello as u8).unwrap();
        out.number(tag::PID, 9);
        for line in lines {
            line.write(&mut out);
        }
        Hello::decode(out.finish()).unwrap()
    }

    fn told(policy: &str, hello: Option<&Hello>, abilities: Abilities) -> String {
        let rules = Rules::from_text(policy);
        assert!(rules.failure.is_none(), "{:?}", rules.failure);
        let lines = account(&rules, hello, None, abilities);
        let told = |RuleStatus { line, .. }: &RuleStatus<'_>| {
            [line.rule.as_str(), line.status.as_str(), line.reason].join(" ")
        };
        lines.iter().map(told).collect::<Vec<_>>().join("\n")
    }

    const POLICY: &str = "version = 1\nmode = \"enforce\"\n[process]\nshells = \"deny\"\nsurvivors = \"kill\"\n[tmp]\nresidue = \"wipe\"\nsecrets = \"report\"\n";

    #[test]
    fn without_a_guard_only_the_agents_own_rules_hold() {
        insta::assert_snapshot!(told(POLICY, None, ALL), @r"
        process.shells not_covered no guard: set AWS_LAMBDA_EXEC_WRAPPER=/opt/ringfence-exec
        process.uncovered not_covered no guard: set AWS_LAMBDA_EXEC_WRAPPER=/opt/ringfence-exec
        process.survivors enforced 
        egress.runtime_api not_covered no guard: set AWS_LAMBDA_EXEC_WRAPPER=/opt/ringfence-exec
        tmp.residue enforced files in /tmp; System V and POSIX message queues, semaphores and shared memory are not covered
        tmp.secrets not_covered not built yet: what is left is not searched for keys
        self_protection not_covered no guard: set AWS_LAMBDA_EXEC_WRAPPER=/opt/ringfence-exec
        ");
    }

    #[test]
    fn the_guards_account_is_taken_and_what_it_leaves_out_is_not_covered() {
        let shells = CoverageLine {
            rule: Rule::ProcessShells,
            plane: Some(Plane::Kernel),
            status: Coverage::Enforced,
            reason: "",
        };
        insta::assert_snapshot!(told(POLICY, Some(&hello(&[shells])), Abilities { end: EndKnown::Afterwards, ..ALL }), @r"
        process.shells enforced 
        process.uncovered not_covered the guard does not speak of it
        process.survivors observed the end of an invocation is told by telemetry, when the next may have begun: reported only
        egress.runtime_api not_covered the guard does not speak of it
        tmp.residue observed the end of an invocation is told by telemetry, when the next may have begun: reported only
        tmp.secrets not_covered not built yet: what is left is not searched for keys
        self_protection not_covered the guard does not speak of it
        ");
    }

    #[test]
    fn what_no_plane_stops_is_looked_for() {
        let policy = "version = 1\nmode = \"enforce\"\n[process]\nallow = []\nshells = \"deny\"\n";
        let shells = CoverageLine {
            rule: Rule::ProcessShells,
            plane: Some(Plane::Process),
            status: Coverage::Enforced,
            reason: "",
        };
        let detects = Checks::new(&Rules::from_text(policy), Plane::Process);
        insta::assert_snapshot!(told(policy, Some(&hello(&[shells])), Abilities { detects, ..ALL }), @r"
        process.allow observed nothing stops it here; what it leaves in /proc is looked for
        process.shells enforced process plane: raw system calls are not stopped; what they leave in /proc is looked for
        process.uncovered observed nothing stops it here; what it leaves in /proc is looked for
        egress.runtime_api observed nothing stops it here; what it leaves in /proc is looked for
        self_protection not_covered the guard does not speak of it
        ");
    }

    #[test]
    fn where_another_process_asks_for_the_events_what_depends_on_it_is_not_claimed() {
        let enforced =
            |rule| CoverageLine { rule, plane: Some(Plane::Kernel), status: Coverage::Enforced, reason: "" };
        let rules =
            [Rule::EgressRuntimeApi, Rule::CodeEvaluate, Rule::ProcessUncovered, Rule::SelfProtection];
        let policy = "version = 1\nmode = \"enforce\"\n[code]\nevaluate = \"deny\"\n";
        let detects = Checks::new(&Rules::from_text(policy), Plane::Process);
        let abilities = Abilities { elsewhere: true, detects, ..ALL };
        insta::assert_snapshot!(told(policy, Some(&hello(&rules.map(enforced))), abilities), @r"
        process.uncovered enforced 
        egress.runtime_api not_covered another process asks for the events: the function's own process may connect once, its children may not
        self_protection enforced 
        code.evaluate not_covered another process asks for the events: the language hook does not know their text
        ");
    }

    #[test]
    fn where_a_program_of_the_runtime_asks_the_rule_is_only_observed() {
        let line = CoverageLine {
            rule: Rule::EgressRuntimeApi,
            plane: Some(Plane::Process),
            status: Coverage::Enforced,
            reason: "",
        };
        let account = told("version = 1\n", Some(&hello(&[line])), Abilities { by_child: true, ..ALL });
        let of = account.lines().find(|line| line.starts_with("egress.runtime_api")).unwrap_or_default();
        insta::assert_snapshot!(of, @"egress.runtime_api observed the runtime asks by a program that it starts: a command in the runtime itself may use it too, and a second answer is recorded; other processes are refused");
    }

    #[test]
    fn what_a_runtime_does_unseen_is_not_claimed() {
        assert_eq!(lost_to_runtime(Rule::EgressRuntimeApi, b"/var/lang/bin/node", None), None);
        assert_eq!(lost_to_runtime(Rule::CredentialsReads, b"/usr/bin/ruby", Some(Plane::Process)), None);
        let shell = lost_to_runtime(Rule::CredentialsReads, b"", Some(Plane::Process));
        insta::assert_snapshot!(shell.unwrap(), @"a shell has its variables without a call that could be seen: only what its children read is recorded");
    }

    #[test]
    fn where_the_library_sees_nothing_its_rules_are_not_claimed_and_the_kernels_are() {
        let line =
            |rule, plane| CoverageLine { rule, plane: Some(plane), status: Coverage::Enforced, reason: "" };
        let lines = [line(Rule::ProcessShells, Plane::Kernel), line(Rule::FilesDenyRead, Plane::Process)];
        let policy =
            "version = 1\nmode = \"enforce\"\n[process]\nshells = \"deny\"\n[files]\ndeny_read = [\"/x\"]\n";
        let account = told(policy, Some(&hello(&lines)), Abilities { unseen: Some("not seen"), ..ALL });
        let of =
            |rule: &str| account.lines().find(|line| line.starts_with(rule)).unwrap_or_default().to_owned();
        assert_eq!(of("process.shells"), "process.shells enforced ");
        assert_eq!(of("files.deny_read"), "files.deny_read not_covered not seen");
        let process = [line(Rule::ProcessShells, Plane::Process)];
        let detects = Checks::new(&Rules::from_text(policy), Plane::Process);
        let found =
            told(policy, Some(&hello(&process)), Abilities { unseen: Some("not seen"), detects, ..ALL });
        let shells = found.lines().find(|line| line.starts_with("process.shells")).unwrap_or_default();
        assert_eq!(
            shells,
            "process.shells observed nothing stops it here; what it leaves in /proc is looked for"
        );
    }

    #[test]
    fn what_is_only_observed_is_never_called_enforced() {
        let shells = CoverageLine {
            rule: Rule::ProcessShells,
            plane: Some(Plane::Kernel),
            status: Coverage::Enforced,
            reason: "",
        };
        let policy = POLICY.replace("enforce", "observe");
        assert!(!told(&policy, Some(&hello(&[shells])), ALL).contains(" enforced"));
    }

    #[test]
    fn what_is_not_built_is_never_claimed_and_what_observing_cannot_do_is_not_asked_for() {
        let expose = CoverageLine {
            rule: Rule::CredentialsExpose,
            plane: Some(Plane::Process),
            status: Coverage::Enforced,
            reason: "",
        };
        let hello = hello(&[expose]);
        let policy =
            "[credentials]\nexpose = \"broker\"\n[process]\nmode = \"observe\"\nlimits = { processes = 9 }\n";
        let rules = Rules::from_text(policy);
        let account = account(&rules, Some(&hello), None, ALL);
        let of = |rule| *account.iter().find(|status| status.line.rule == rule).unwrap();
        let (expose, limits) = (of(Rule::CredentialsExpose), of(Rule::ProcessLimits));
        assert_eq!((expose.line.status, expose.asked), (Coverage::NotCovered, Coverage::Enforced));
        assert_eq!((limits.line.status, limits.falls_short()), (Coverage::NotCovered, false));
    }

    #[test]
    fn names_hold_where_look_ups_are_led_to_the_resolver() {
        let allow = |status| CoverageLine { rule: Rule::EgressAllow, plane: None, status, reason: "" };
        let names = |policy: &str, line, abilities| {
            let account = told(policy, Some(&hello(&[line])), abilities);
            account.lines().find(|line| line.starts_with("egress.names")).unwrap_or_default().to_owned()
        };
        let policy = "version = 1\n[egress]\nallow = [\"a.example\"]\n";
        let enforced = allow(Coverage::Enforced);
        insta::assert_snapshot!(names(policy, enforced, ALL), @"egress.names enforced ");
        insta::assert_snapshot!(names(policy, allow(Coverage::NotCovered), ALL), @"egress.names not_covered no plane leads look-ups to the guarded resolver here");
        insta::assert_snapshot!(names(policy, enforced, Abilities { resolver: false, ..ALL }), @"egress.names not_covered the guarded resolver could not be started");
        let both = "version = 1\n[egress]\nallow = [\"a.example\"]\nnames = \"sni\"\n";
        insta::assert_snapshot!(names(both, enforced, ALL), @"egress.names not_covered not built yet: names are checked when they are resolved, not in the traffic");
    }
}

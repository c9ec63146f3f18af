//! Rule by rule: which plane enforces it in this environment, and why one does not.
//!
//! It only describes; what it says must be true of the supervisor, the filter and the preload library as they are
//! now. Rules of the platform plane are the agent's to describe and are left out. `launch` calls it.

use ringfence_policy::{Idle, Mode, Plane, Rule, RuleUse};
use ringfence_records::handoff::covers;
use ringfence_records::message::{Coverage, CoverageLine};

use super::shims::Hook;

/// What a language hook does about reads of credentials: it alone tells the SDKs from other code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reads {
    /// It records them, or there is no hook.
    #[default]
    Recorded,
    /// It denies them.
    Denied,
}

/// What there is to enforce with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Means<'a> {
    /// What the kernel plane decides; bits of [`covers`], 0 where there is no kernel plane.
    pub kernel: u32,
    /// Whether the kernel plane holds the rules on writing though it judges no other file: all of them speak of `/proc`.
    pub holds_writes_in_proc: bool,
    /// Why the preload library will not be in the runtime; empty where it will.
    pub no_preload: &'a str,
    /// Whether children get a seccomp filter.
    pub child_filter: bool,
    /// The language hook that is loaded.
    pub hook: Hook,
    /// What that hook does about reads of credentials.
    pub reads: Reads,
}

const NATIVE_READS: &str =
    "no language hook tells the SDKs from other code: reads by getenv(3) are recorded, not denied";

const NODE_DESERIALIZERS: &str = "Node hook: functions that node-serialize, serialize-to-js, funcster, cryo or js-yaml make of data; other packages, and these inside a bundle, are not seen";

/// The guard's account of the rules in use, each rule once. A use of which something is missing decides; among the
/// others the strictest.
#[must_use]
pub fn describe<'a>(rules: &[RuleUse], means: &Means<'a>) -> Vec<CoverageLine<'a>> {
    let mut lines: Vec<CoverageLine<'a>> = Vec::new();
    for rule_use in rules {
        let Some(line) = means.line(rule_use) else { continue };
        match lines.iter_mut().find(|known| known.rule == line.rule) {
            Some(known) if decides(rule_use, &line, known.status) => *known = line,
            Some(_) => {}
            None => lines.push(line),
        }
    }
    for line in &mut lines {
        if let Some(reason) = missing(rules, line.rule) {
            *line = CoverageLine { rule: line.rule, plane: None, status: Coverage::NotCovered, reason };
        }
    }
    lines
}

/// Whether a further use of a rule says more than what is known of it.
fn decides(rule_use: &RuleUse, line: &CoverageLine<'_>, known: Coverage) -> bool {
    line.status == Coverage::Enforced || (rule_use.idle.is_none() && known == Coverage::NotCovered)
}

/// What is missing of a rule in every environment.
fn missing(rules: &[RuleUse], rule: Rule) -> Option<&'static str> {
    rules.iter().filter(|rule_use| rule_use.rule == rule).find_map(|rule_use| match rule_use.idle {
        Some(Idle::Missing(reason)) => Some(reason),
        _ => None,
    })
}

/// The rules that should be enforced and are not covered, those of the agent too. `agent` says whether there is one.
#[must_use]
pub fn uncovered(rules: &[RuleUse], lines: &[CoverageLine<'_>], agent: bool) -> Vec<Rule> {
    let not_covered = |rule: Rule| {
        lines.iter().any(|line| line.rule == rule && line.status == Coverage::NotCovered)
            || missing(rules, rule).is_some()
            || (!agent && is_of_the_agent(rule))
    };
    let mut rules: Vec<_> = rules
        .iter()
        .filter(|rule_use| rule_use.mode == Mode::Enforce && not_covered(rule_use.rule))
        .map(|rule_use| rule_use.rule)
        .collect();
    rules.dedup();
    rules
}

/// Rules that the agent alone enforces.
const fn is_of_the_agent(rule: Rule) -> bool {
    matches!(rule, Rule::TmpResidue | Rule::ProcessSurvivors | Rule::EgressNames)
}

impl<'a> Means<'a> {
    fn line(&self, rule_use: &RuleUse) -> Option<CoverageLine<'a>> {
        let rule = rule_use.rule;
        let (plane, reason) = self.plane(rule)?;
        let (plane, reason) = rule_use.idle.map_or((plane, reason), |idle| (None, idle.reason()));
        let status = match (plane, rule_use.mode) {
            (None, _) | (_, Mode::Off) => Coverage::NotCovered,
            (Some(_), Mode::Enforce) if rule == Rule::CredentialsReads && self.reads == Reads::Recorded => {
                Coverage::Observed
            }
            (Some(_), Mode::Observe) => Coverage::Observed,
            (Some(_), Mode::Enforce) => Coverage::Enforced,
        };
        Some(CoverageLine { rule, plane, status, reason })
    }

    /// The plane that serves a rule, if one does, and what should be said of it. `None` for rules of the agent.
    fn plane(&self, rule: Rule) -> Option<(Option<Plane>, &'a str)> {
        Some(match rule {
            Rule::ProcessAllow | Rule::ProcessShells | Rule::ProcessUncovered => {
                self.either(covers::EXEC, "")
            }
            Rule::ProcessFromWritable => self
                .either(covers::EXEC, "executable mappings: process plane, dynamically linked programs only"),
            Rule::EgressAllow | Rule::EgressDeny | Rule::EgressRuntimeApi => self.either(covers::EGRESS, ""),
            Rule::EgressListen => self.either(covers::BIND, ""),
            Rule::SelfProtection => self.either(covers::DANGEROUS, ""),
            Rule::FilesDenyWrite if self.holds_writes_in_proc => (Some(Plane::Kernel), ""),
            Rule::TmpWrites | Rule::FilesDenyWrite => self.either(covers::OPEN_WRITE, ""),
            Rule::FilesDenyRead => {
                self.process("process plane: the kernel plane does not supervise opens for reading")
            }
            Rule::CredentialsReads => self.process(match self.hook {
                Hook::None(_) => NATIVE_READS,
                Hook::Python => {
                    "Python hook, getenv(3) and /proc: native code that walks its environment is not seen"
                }
                Hook::Node => "Node hook and /proc: native add-ons that read the environment are not seen",
                Hook::Java => {
                    "Java hook, getenv(3) and /proc: native code that walks its environment is not seen"
                }
            }),
            Rule::CodeEvaluate | Rule::CodeDeserialize | Rule::CodeNative | Rule::CodeImports => {
                self.code(rule)
            }
            Rule::ProcessEnvironment | Rule::CredentialsExpose => {
                self.process("exec only: a fork without exec keeps the environment of the runtime")
            }
            Rule::ProcessLimits => {
                self.process("a fork without exec gets them at its first call, but for memory")
            }
            Rule::ProcessSyscalls if self.child_filter => {
                self.process("exec only: a fork without exec may make every call that the runtime may")
            }
            Rule::ProcessSyscalls => {
                (None, "seccomp(2) is refused, or no_new_privs is not set: children cannot be given a filter")
            }
            _ => return None,
        })
    }

    /// What only the hooks see.
    fn code(&self, rule: Rule) -> (Option<Plane>, &'a str) {
        match (self.hook, rule) {
            (Hook::None(reason), _) => (None, reason),
            (Hook::Python, Rule::CodeEvaluate | Rule::CodeDeserialize) => (
                Some(Plane::Process),
                "Python hook: data is known again as it stands in the event, in base64 and in hex",
            ),
            (Hook::Python, _) => (Some(Plane::Process), "Python hook"),
            (Hook::Node, Rule::CodeNative) => {
                (Some(Plane::Process), "Node hook: process.dlopen, process.binding, inspector.open")
            }
            (Hook::Node, Rule::CodeEvaluate) => (
                Some(Plane::Process),
                "Node hook: Function, vm and workers where the text stands in the event; eval by the function's own code and by known deserializers, its text unknown; eval by other packages is not seen",
            ),
            (Hook::Node, Rule::CodeDeserialize) => (Some(Plane::Process), NODE_DESERIALIZERS),
            (Hook::Node, Rule::CodeImports) => (
                Some(Plane::Process),
                "Node hook: what Node's loaders read in /tmp and /dev/shm; threads that are started without the hook, and what loader hooks of the function read, are not seen",
            ),
            (Hook::Node, _) => (None, "the Node hook does not judge this"),
            (Hook::Java, Rule::CodeDeserialize) => {
                (Some(Plane::Process), "Java hook: classes by their names")
            }
            (Hook::Java, Rule::CodeEvaluate) => (
                Some(Plane::Process),
                "Java hook: script engines but JRuby's, the compiler, classes made of bytes; data is known again as it stands in the event, in base64 and in hex",
            ),
            (Hook::Java, Rule::CodeImports) => {
                (Some(Plane::Process), "Java hook: classes from files in /tmp and /dev/shm")
            }
            (Hook::Java, _) => (None, "the Java hook does not judge this"),
        }
    }

    fn either(&self, bit: u32, reason: &'a str) -> (Option<Plane>, &'a str) {
        if self.kernel & bit != 0 {
            return (Some(Plane::Kernel), reason);
        }
        self.process(if reason.is_empty() { "process plane: raw system calls are not seen" } else { reason })
    }

    const fn process(&self, reason: &'a str) -> (Option<Plane>, &'a str) {
        if self.no_preload.is_empty() { (Some(Plane::Process), reason) } else { (None, self.no_preload) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(modes: &[(Rule, Mode)]) -> Vec<RuleUse> {
        modes
            .iter()
            .map(|(rule, mode)| RuleUse { rule: *rule, mode: *mode, key: String::new(), idle: None })
            .collect()
    }

    fn shown(means: &Means<'_>, rules: &[RuleUse]) -> String {
        let line = |line: &CoverageLine<'_>| {
            let plane = line.plane.map_or("-", Plane::as_str);
            format!("{} {} {plane}: {}", line.rule.as_str(), line.status.as_str(), line.reason)
        };
        describe(rules, means).iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_plane_is_given_what_it_does() {
        let rules = rules(&[
            (Rule::ProcessShells, Mode::Enforce),
            (Rule::EgressAllow, Mode::Observe),
            (Rule::TmpResidue, Mode::Enforce),
            (Rule::FilesDenyRead, Mode::Enforce),
            (Rule::FilesDenyWrite, Mode::Enforce),
            (Rule::ProcessSyscalls, Mode::Enforce),
        ]);
        let kernel = Means {
            kernel: covers::EXEC | covers::EGRESS | covers::OPEN_WRITE,
            child_filter: true,
            ..Means::default()
        };
        insta::assert_snapshot!(shown(&kernel, &rules), @r"
        process.shells enforced kernel: 
        egress.allow observed kernel: 
        files.deny_read enforced process: process plane: the kernel plane does not supervise opens for reading
        files.deny_write enforced kernel: 
        process.syscalls enforced process: exec only: a fork without exec may make every call that the runtime may
        ");
        let nothing = Means { no_preload: "no preload library", ..Means::default() };
        insta::assert_snapshot!(shown(&nothing, &rules), @r"
        process.shells not_covered -: no preload library
        egress.allow not_covered -: no preload library
        files.deny_read not_covered -: no preload library
        files.deny_write not_covered -: no preload library
        process.syscalls not_covered -: seccomp(2) is refused, or no_new_privs is not set: children cannot be given a filter
        ");
        let missing = uncovered(&rules, &describe(&rules, &nothing), true);
        assert_eq!(
            missing,
            [Rule::ProcessShells, Rule::FilesDenyRead, Rule::FilesDenyWrite, Rule::ProcessSyscalls]
        );
    }

    #[test]
    fn rules_on_writing_in_procfs_are_the_kernel_planes_though_it_judges_no_other_file() {
        let means = Means { kernel: covers::EXEC, holds_writes_in_proc: true, ..Means::default() };
        let shown = shown(&means, &rules(&[(Rule::FilesDenyWrite, Mode::Enforce)]));
        insta::assert_snapshot!(shown, @"files.deny_write enforced kernel: ");
    }

    #[test]
    fn what_only_hooks_see_is_claimed_only_with_a_hook() {
        let rules = rules(&[
            (Rule::CredentialsReads, Mode::Observe),
            (Rule::CodeEvaluate, Mode::Enforce),
            (Rule::CodeImports, Mode::Observe),
        ]);
        let with = |hook| shown(&Means { hook, ..Means::default() }, &rules);
        insta::assert_snapshot!(with(Hook::Python), @r"
        credentials.reads observed process: Python hook, getenv(3) and /proc: native code that walks its environment is not seen
        code.evaluate enforced process: Python hook: data is known again as it stands in the event, in base64 and in hex
        code.imports observed process: Python hook
        ");
        let below = |rule| {
            shown(&Means { hook: Hook::Node, ..Means::default() }, &self::rules(&[(rule, Mode::Enforce)]))
        };
        insta::assert_snapshot!(below(Rule::CodeNative), @"code.native enforced process: Node hook: process.dlopen, process.binding, inspector.open");
        insta::assert_snapshot!(below(Rule::CodeEvaluate), @"code.evaluate enforced process: Node hook: Function, vm and workers where the text stands in the event; eval by the function's own code and by known deserializers, its text unknown; eval by other packages is not seen");
        insta::assert_snapshot!(below(Rule::CodeDeserialize), @"code.deserialize enforced process: Node hook: functions that node-serialize, serialize-to-js, funcster, cryo or js-yaml make of data; other packages, and these inside a bundle, are not seen");
        insta::assert_snapshot!(below(Rule::CodeImports), @"code.imports enforced process: Node hook: what Node's loaders read in /tmp and /dev/shm; threads that are started without the hook, and what loader hooks of the function read, are not seen");
        insta::assert_snapshot!(with(Hook::Java), @r"
        credentials.reads observed process: Java hook, getenv(3) and /proc: native code that walks its environment is not seen
        code.evaluate enforced process: Java hook: script engines but JRuby's, the compiler, classes made of bytes; data is known again as it stands in the event, in base64 and in hex
        code.imports observed process: Java hook: classes from files in /tmp and /dev/shm
        ");
        insta::assert_snapshot!(with(Hook::None("hooks.python = false leaves the Python hook out")), @r"
        credentials.reads observed process: no language hook tells the SDKs from other code: reads by getenv(3) are recorded, not denied
        code.evaluate not_covered -: hooks.python = false leaves the Python hook out
        code.imports not_covered -: hooks.python = false leaves the Python hook out
        ");
    }

    #[test]
    fn a_refused_start_names_the_rules_of_guard_and_agent() {
        let mut rules = rules(&[
            (Rule::ProcessShells, Mode::Enforce),
            (Rule::TmpResidue, Mode::Enforce),
            (Rule::TmpMax, Mode::Enforce),
            (Rule::TmpSecrets, Mode::Observe),
        ]);
        for rule_use in &mut rules {
            let built = matches!(rule_use.rule, Rule::ProcessShells | Rule::TmpResidue);
            rule_use.idle = (!built).then_some(Idle::Missing("not built yet"));
        }
        let lines = describe(&rules, &Means::default());
        assert_eq!(uncovered(&rules, &lines, true), [Rule::TmpMax]);
        assert_eq!(uncovered(&rules, &lines, false), [Rule::TmpResidue, Rule::TmpMax]);
    }

    #[test]
    fn what_is_missing_of_one_use_is_missing_of_the_rule() {
        let mut rules =
            rules(&[(Rule::CredentialsExpose, Mode::Enforce), (Rule::ProcessLimits, Mode::Observe)]);
        let [expose, limits] = &mut rules[..] else { panic!("two rules") };
        expose.idle = Some(Idle::Missing("not built yet: no broker"));
        limits.idle = Some(Idle::Observing);
        insta::assert_snapshot!(shown(&Means::default(), &rules), @r"
        credentials.expose not_covered -: not built yet: no broker
        process.limits not_covered -: acts only where its section enforces: observing changes no child
        ");
    }

    #[test]
    fn reads_of_credentials_are_denied_where_a_hook_does_it_and_observed_elsewhere() {
        let rules = rules(&[(Rule::CredentialsReads, Mode::Enforce)]);
        let with = |hook, reads| shown(&Means { hook, reads, ..Means::default() }, &rules);
        insta::assert_snapshot!(with(Hook::Node, Reads::Denied), @"credentials.reads enforced process: Node hook and /proc: native add-ons that read the environment are not seen");
        insta::assert_snapshot!(with(Hook::Node, Reads::Recorded), @"credentials.reads observed process: Node hook and /proc: native add-ons that read the environment are not seen");
        insta::assert_snapshot!(with(Hook::default(), Reads::Recorded), @"credentials.reads observed process: no language hook tells the SDKs from other code: reads by getenv(3) are recorded, not denied");
    }

    #[test]
    fn the_strictest_use_of_a_rule_decides() {
        let rules = rules(&[(Rule::TmpWrites, Mode::Observe), (Rule::TmpWrites, Mode::Enforce)]);
        let lines = describe(&rules, &Means::default());
        assert_eq!(lines.iter().map(|line| line.status).collect::<Vec<_>>(), [Coverage::Enforced]);
    }
}

//! Rule by rule: which plane enforces it in this environment, and why one does not.
//!
//! It only describes; what it says must be true of the supervisor, the filter and the preload library as they are
//! now. Rules of the platform plane are the agent's to describe and are left out. `launch` calls it.

use ringfence_policy::{Mode, Plane, Rule, RuleUse};
use ringfence_records::handoff::covers;
use ringfence_records::message::{Coverage, CoverageLine};

use super::shims::Hook;

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
    /// Whether names are to be checked in the traffic.
    pub names_in_traffic: bool,
    /// The language hook that is loaded.
    pub hook: Hook,
}

/// The guard's account of the rules in use, each rule once, the strictest use deciding between enforced and observed.
#[must_use]
pub fn describe<'a>(rules: &[RuleUse], means: &Means<'a>) -> Vec<CoverageLine<'a>> {
    let mut lines: Vec<CoverageLine<'a>> = Vec::new();
    for rule_use in rules {
        let Some(line) = means.line(rule_use.rule, rule_use.mode) else { continue };
        match lines.iter_mut().find(|known| known.rule == line.rule) {
            Some(known) if line.status == Coverage::Enforced => *known = line,
            Some(_) => {}
            None => lines.push(line),
        }
    }
    lines
}

/// The rules that should be enforced and are not covered.
#[must_use]
pub fn uncovered(rules: &[RuleUse], lines: &[CoverageLine<'_>]) -> Vec<Rule> {
    let missing =
        |rule: Rule| lines.iter().any(|line| line.rule == rule && line.status == Coverage::NotCovered);
    let mut rules: Vec<_> = rules
        .iter()
        .filter(|rule_use| rule_use.mode == Mode::Enforce && missing(rule_use.rule))
        .map(|rule_use| rule_use.rule)
        .collect();
    rules.dedup();
    rules
}

impl<'a> Means<'a> {
    fn line(&self, rule: Rule, mode: Mode) -> Option<CoverageLine<'a>> {
        let (plane, reason) = self.plane(rule)?;
        let status = match (plane, mode) {
            (None, _) | (_, Mode::Off) => Coverage::NotCovered,
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
                Hook::None(_) => "process plane; no language hook is loaded",
                _ => "process plane and language hooks",
            }),
            Rule::CodeEvaluate | Rule::CodeDeserialize | Rule::CodeNative | Rule::CodeImports => {
                self.code(rule)
            }
            Rule::ProcessEnvironment | Rule::CredentialsExpose | Rule::ProcessLimits => {
                self.process("set by the preload library before each exec")
            }
            Rule::ProcessSyscalls if self.child_filter => {
                self.process("installed by the preload library before each exec")
            }
            Rule::ProcessSyscalls => {
                (None, "seccomp(2) is refused, or no_new_privs is not set: children cannot be given a filter")
            }
            Rule::EgressNames if self.names_in_traffic => {
                (None, "names = \"sni\": not covered yet; only the guarded resolver's answers are believed")
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
                "Node hook: Function, vm and workers where the text stands in the event; eval by the function's own code, its text unknown",
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
        modes.iter().map(|(rule, mode)| RuleUse { rule: *rule, mode: *mode, key: String::new() }).collect()
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
        process.syscalls enforced process: installed by the preload library before each exec
        ");
        let nothing = Means { no_preload: "no preload library", ..Means::default() };
        insta::assert_snapshot!(shown(&nothing, &rules), @r"
        process.shells not_covered -: no preload library
        egress.allow not_covered -: no preload library
        files.deny_read not_covered -: no preload library
        files.deny_write not_covered -: no preload library
        process.syscalls not_covered -: seccomp(2) is refused, or no_new_privs is not set: children cannot be given a filter
        ");
        let missing = uncovered(&rules, &describe(&rules, &nothing));
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
        credentials.reads observed process: process plane and language hooks
        code.evaluate enforced process: Python hook: data is known again as it stands in the event, in base64 and in hex
        code.imports observed process: Python hook
        ");
        let below = |rule| {
            shown(&Means { hook: Hook::Node, ..Means::default() }, &self::rules(&[(rule, Mode::Enforce)]))
        };
        insta::assert_snapshot!(below(Rule::CodeNative), @"code.native enforced process: Node hook: process.dlopen, process.binding, inspector.open");
        insta::assert_snapshot!(below(Rule::CodeEvaluate), @"code.evaluate enforced process: Node hook: Function, vm and workers where the text stands in the event; eval by the function's own code, its text unknown");
        insta::assert_snapshot!(below(Rule::CodeImports), @"code.imports not_covered -: the Node hook does not judge this");
        insta::assert_snapshot!(with(Hook::Java), @r"
        credentials.reads observed process: process plane and language hooks
        code.evaluate enforced process: Java hook: script engines but JRuby's, the compiler, classes made of bytes; data is known again as it stands in the event, in base64 and in hex
        code.imports observed process: Java hook: classes from files in /tmp and /dev/shm
        ");
        insta::assert_snapshot!(with(Hook::None("hooks.python = false leaves the Python hook out")), @r"
        credentials.reads observed process: process plane; no language hook is loaded
        code.evaluate not_covered -: hooks.python = false leaves the Python hook out
        code.imports not_covered -: hooks.python = false leaves the Python hook out
        ");
    }

    #[test]
    fn the_strictest_use_of_a_rule_decides() {
        let rules = rules(&[(Rule::TmpWrites, Mode::Observe), (Rule::TmpWrites, Mode::Enforce)]);
        let lines = describe(&rules, &Means::default());
        assert_eq!(lines.iter().map(|line| line.status).collect::<Vec<_>>(), [Coverage::Enforced]);
    }
}

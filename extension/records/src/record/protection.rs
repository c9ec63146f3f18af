//! The `protection` record: rule by rule, what is enforced here, what is only observed, what is not covered, and why.
//!
//! It counts and prints; which plane covers what is decided by guard and agent. A rule without a line from either is shown as
//! they gave it, never as enforced by default. The agent writes it once at every start.

use core::fmt::{self, Write};

use super::{Level, Moment, Record, Scene, TEXT, head};
use crate::json::{Object, Text};
use crate::message::{Coverage, CoverageLine};
use ringfence_policy::Plane;

/// Most rules that are listed; the language has fewer.
const MAX_RULES: usize = 48;
/// Most probe lines that are listed.
const MAX_PROBES: usize = 16;
/// The word for a policy that asks for nothing.
const OFF: &str = "off";
/// Longest reason in escaped bytes.
const REASON: usize = 200;

/// What was found out about the environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Environment<'a> {
    /// `on-demand`, `provisioned-concurrency`, `snap-start`, `lambda-managed-instances`.
    pub initialization: &'a [u8],
    /// Executable of the runtime.
    pub runtime: &'a [u8],
    /// What became of the telemetry subscription.
    pub telemetry: &'a [u8],
    /// By what the end of an invocation is known.
    pub invocation_end: &'static str,
    /// What the guard tried and what the kernel answered.
    pub probes: &'a [&'a [u8]],
}

/// What is claimed of a rule, and what the policy asks of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleStatus<'a> {
    /// What holds here.
    pub line: CoverageLine<'a>,
    /// What the policy asks for; [`Coverage::NotCovered`] where it asks for nothing in this mode.
    pub asked: Coverage,
}

impl RuleStatus<'_> {
    /// Whether less holds than is asked for.
    #[must_use]
    pub const fn falls_short(&self) -> bool {
        self.line.status as u8 > self.asked as u8
    }
}

/// The account of a start.
#[derive(Debug, Clone, Copy)]
pub struct Protection<'a> {
    /// What is the same in every record.
    pub scene: Scene<'a>,
    /// When.
    pub moment: Moment<'a>,
    /// Strongest plane that decides system calls; `None` where there is no guard.
    pub strongest: Option<Plane>,
    /// `enforce`, `observe` or `off`.
    pub mode: &'static str,
    /// Where the policy came from.
    pub source: &'a [u8],
    /// One line for each rule in use.
    pub rules: &'a [RuleStatus<'a>],
    /// The environment.
    pub environment: Environment<'a>,
    /// Why the start is refused, or why there is no guard; empty where all is well.
    pub trouble: &'a [u8],
}

impl Protection<'_> {
    /// How many rules have this status.
    fn count(&self, status: Coverage) -> u64 {
        self.rules.iter().filter(|rule| rule.line.status == status).count() as u64
    }

    /// How many rules are asked to have `status`, and how many of these do.
    fn asked(&self, status: Coverage) -> (u64, u64) {
        let asked = || self.rules.iter().filter(move |rule| rule.asked == status);
        (asked().count() as u64, asked().filter(|rule| !rule.falls_short()).count() as u64)
    }

    fn level(&self) -> Level {
        let short = self.rules.iter().any(RuleStatus::falls_short);
        if short || !self.trouble.is_empty() { Level::Warn } else { Level::Info }
    }

    /// What the rules come to, in words.
    fn outcome(&self, out: &mut Text<'_>) -> fmt::Result {
        if self.trouble.starts_with(REFUSED) {
            return out.plain("ringfence lets nothing of this function run");
        }
        let ((enforce, enforced), (observe, observed)) =
            (self.asked(Coverage::Enforced), self.asked(Coverage::Observed));
        if enforce == 0 {
            out.plain("ringfence observes ")?;
            share(out, observe, observed)?;
            return out.plain(" of this function and blocks nothing");
        }
        out.plain("ringfence protects this function: ")?;
        out.number(enforced)?;
        out.plain(" of ")?;
        out.number(enforce)?;
        out.plain(if enforce == 1 { " rule enforced" } else { " rules enforced" })?;
        if observe == 0 {
            return Ok(());
        }
        out.plain(", ")?;
        share(out, observe, observed)?;
        out.plain(" observed")
    }

    fn message(&self, out: &mut Text<'_>) -> fmt::Result {
        if self.rules.is_empty() && self.mode == OFF && self.trouble.is_empty() {
            return out.plain("ringfence is off: the policy says mode = \"off\"");
        }
        self.outcome(out)?;
        out.plain(" (mode ")?;
        out.plain(self.mode)?;
        out.plain(", plane ")?;
        out.plain(self.strongest.unwrap_or(Plane::Platform).as_str())?;
        if self.strongest != Some(Plane::Kernel)
            && let Some(probe) = self.environment.probes.iter().find(|probe| tells_a_refusal(probe))
        {
            out.plain("; kernel: ")?;
            out.public(self.scene.redactor.public(probe))?;
        }
        out.plain(")")?;
        if self.trouble.is_empty() {
            return Ok(());
        }
        // The first line of a diagnostic says what is wrong; the field `trouble` has it all.
        let first = self.trouble.split(|byte| *byte == b'\n').next().unwrap_or_default();
        out.plain("; ")?;
        out.public(self.scene.redactor.public(first))
    }

    fn rules(&self, out: &mut Object<'_>) -> fmt::Result {
        out.array("rules", |out| {
            self.rules.iter().take(MAX_RULES).try_for_each(|rule| {
                let line = &rule.line;
                out.object(|out| {
                    out.word("rule", line.rule.as_str())?;
                    out.word("status", line.status.as_str())?;
                    if rule.falls_short() {
                        out.word("asked", rule.asked.as_str())?;
                    }
                    if let Some(plane) = line.plane {
                        out.word("plane", plane.as_str())?;
                    }
                    out.public("reason", self.scene.redactor.public(line.reason.as_bytes()), REASON)
                })
            })
        })
    }

    fn environment(&self, out: &mut Object<'_>) -> fmt::Result {
        let public = |text| self.scene.redactor.public(text);
        out.object("environment", |out| {
            out.public("initializationType", public(self.environment.initialization), 64)?;
            out.public("runtime", public(self.environment.runtime), TEXT)?;
            out.public("telemetry", public(self.environment.telemetry), TEXT)?;
            out.word("invocationEnd", self.environment.invocation_end)?;
            out.array("probes", |out| {
                let probes = self.environment.probes.iter().take(MAX_PROBES);
                probes.into_iter().try_for_each(|probe| out.public(public(probe), 128))
            })
        })
    }
}

/// "3 rules", or "2 of 3 rules" where not all do.
fn share(out: &mut Text<'_>, all: u64, some: u64) -> fmt::Result {
    if some != all {
        out.number(some)?;
        out.plain(" of ")?;
    }
    out.number(all)?;
    out.plain(if all == 1 { " rule" } else { " rules" })
}

/// Begins [`Protection::trouble`] where there is no start that rules could hold in.
const REFUSED: &[u8] = b"the start is refused";

/// Whether a probe line ends in the name of an error, as in `seccomp(2): EPERM`.
fn tells_a_refusal(probe: &[u8]) -> bool {
    probe.rsplit(|byte| *byte == b' ').next().is_some_and(|last| {
        last.len() > 2
            && last.starts_with(b"E")
            && last.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    })
}

impl Record for Protection<'_> {
    fn introduces_key(&self) -> bool {
        true
    }

    fn write(&self, out: &mut dyn Write) -> fmt::Result {
        Object::write(out, |out| {
            head(out, self.moment.time, self.level(), |out| self.message(out))?;
            out.object("ringfence", |out| {
                out.word("kind", "protection")?;
                out.word("mode", self.mode)?;
                out.word("plane", self.strongest.unwrap_or(Plane::Platform).as_str())?;
                out.number("enforced", self.count(Coverage::Enforced))?;
                out.number("observed", self.count(Coverage::Observed))?;
                self.rules(out)?;
                out.public("trouble", self.scene.redactor.public(self.trouble), 512)?;
                out.public("source", self.scene.redactor.public(self.source), TEXT)?;
                self.environment(out)?;
                self.moment.write("invocation", &self.scene, out)?;
                self.scene.write(out)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::testing::{MOMENT, line, scene};
    use crate::redact::Redactor;
    use proptest::prelude::*;
    use ringfence_policy::Rule;

    const fn status(rule: Rule, status: Coverage, asked: Coverage, reason: &str) -> RuleStatus<'_> {
        let plane = match status {
            Coverage::NotCovered => None,
            _ => Some(Plane::Process),
        };
        RuleStatus { line: CoverageLine { rule, plane, status, reason }, asked }
    }

    const RULES: [RuleStatus<'static>; 2] = [
        status(Rule::ProcessShells, Coverage::Enforced, Coverage::Enforced, ""),
        status(Rule::TmpMax, Coverage::NotCovered, Coverage::Enforced, "not built yet"),
    ];

    fn protection<'a>(redactor: &'a Redactor<'a>, probes: &'a [&'a [u8]]) -> Protection<'a> {
        Protection {
            scene: scene(redactor),
            moment: MOMENT,
            strongest: Some(Plane::Process),
            mode: "enforce",
            source: b"/var/task/policy.toml",
            rules: &RULES,
            environment: Environment {
                initialization: b"on-demand",
                runtime: b"/var/lang/bin/python3.13",
                telemetry: b"subscribed",
                invocation_end: "runtime",
                probes,
            },
            trouble: b"",
        }
    }

    #[test]
    fn a_refused_start_counts_no_rules() {
        let redactor = Redactor::new(&[]);
        let trouble = b"the start is refused: error: unknown key\n --> /var/task/policy.toml:4:1";
        let record = Protection { trouble, ..protection(&redactor, &[]) };
        let message = "ringfence lets nothing of this function run (mode enforce, plane process); the start is refused: error: unknown key\",";
        assert!(line(&record).contains(message), "{}", line(&record));
    }

    #[test]
    fn it_claims_what_holds_and_says_why_the_rest_does_not() {
        let redactor = Redactor::new(&[]);
        insta::assert_snapshot!(line(&protection(&redactor, &[b"no_new_privs: set", b"seccomp(2): EPERM"])), @r#"{"timestamp":"2026-11-22T01:02:03.456Z","level":"WARN","message":"ringfence protects this function: 1 of 2 rules enforced (mode enforce, plane process; kernel: seccomp(2): EPERM)","ringfence":{"kind":"protection","mode":"enforce","plane":"process","enforced":1,"observed":0,"rules":[{"rule":"process.shells","status":"enforced","plane":"process"},{"rule":"tmp.max","status":"not_covered","asked":"enforced","reason":"not built yet"}],"source":"/var/task/policy.toml","environment":{"initializationType":"on-demand","runtime":"/var/lang/bin/python3.13","telemetry":"subscribed","invocationEnd":"runtime","probes":["no_new_privs: set","seccomp(2): EPERM"]},"invocation":{"requestId":"8476a536-e9f4-11e8-9739-2dfe598c3fcd","traceId":"1-5bef4de7-ad49b0e87f6ef6c87fc2e700","phase":"invoke","number":3},"function":{"name":"orders","version":"7"},"policy":"sha256:ab12"}}"#);
    }

    #[test]
    fn what_is_as_it_should_be_is_no_warning() {
        let redactor = Redactor::new(&[]);
        let told = |rules: &[RuleStatus<'_>], mode| {
            let mut record = protection(&redactor, &[]);
            (record.rules, record.mode) = (rules, mode);
            let line = line(&record);
            line.split("\"level\":").nth(1).unwrap().split(",\"ringfence\"").next().unwrap().to_owned()
        };
        let (enforced, observed, nothing) = (Coverage::Enforced, Coverage::Observed, Coverage::NotCovered);
        let all = [
            status(Rule::ProcessShells, enforced, enforced, ""),
            status(Rule::TmpResidue, observed, observed, ""),
            status(Rule::ProcessLimits, nothing, nothing, "observing changes no child"),
        ];
        insta::assert_snapshot!(told(&all, "enforce"), @r#""INFO","message":"ringfence protects this function: 1 of 1 rule enforced, 1 rule observed (mode enforce, plane process)""#);
        insta::assert_snapshot!(told(&all[1..], "observe"), @r#""INFO","message":"ringfence observes 1 rule of this function and blocks nothing (mode observe, plane process)""#);
        let short = [
            status(Rule::ProcessShells, observed, enforced, ""),
            status(Rule::TmpResidue, observed, observed, ""),
            status(Rule::TmpSecrets, nothing, observed, "not built yet"),
        ];
        insta::assert_snapshot!(told(&short, "enforce"), @r#""WARN","message":"ringfence protects this function: 0 of 1 rule enforced, 1 of 2 rules observed (mode enforce, plane process)""#);
        insta::assert_snapshot!(told(&short[1..], "observe"), @r#""WARN","message":"ringfence observes 1 of 2 rules of this function and blocks nothing (mode observe, plane process)""#);
        insta::assert_snapshot!(told(&[], "off"), @r#""INFO","message":"ringfence is off: the policy says mode = \"off\"""#);
    }

    #[test]
    fn without_a_guard_it_says_so() {
        let redactor = Redactor::new(&[]);
        let mut record = protection(&redactor, &[]);
        record.strongest = None;
        record.trouble =
            b"no guard: AWS_LAMBDA_EXEC_WRAPPER is not set to /opt/ringfence-exec\nand a second line";
        assert!(line(&record).contains("1 of 2 rules enforced (mode enforce, plane platform); no guard: AWS_LAMBDA_EXEC_WRAPPER is not set to /opt/ringfence-exec\",\"ringfence\":"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_largest_account_fits(text in proptest::collection::vec(any::<u8>(), 0..600), reason in "\\PC{0,256}") {
            let redactor = Redactor::new(&[]);
            let probes = [&text[..]; 64];
            let rules: Vec<_> = Rule::ALL.iter().map(|rule| status(*rule, Coverage::NotCovered, Coverage::Enforced, &reason)).collect();
            let mut record = protection(&redactor, &probes);
            record.rules = &rules;
            (record.trouble, record.source) = (&text, &text);
            serde_json::from_str::<serde_json::Value>(&line(&record)).unwrap();
        }
    }
}

//! The `protection` record: rule by rule, what is enforced here, what is only observed, what is not covered, and why.
//!
//! It counts and prints; who covers what is decided by guard and agent. A rule without a line from either is shown as
//! they gave it, never as enforced by default. The agent writes it once at every start.

use core::fmt::{self, Write};

use super::{Level, Moment, Record, Scene, TEXT, head};
use crate::json::{Object, Text};
use crate::message::{Coverage, CoverageLine};
use ringfence_policy::Plane;

/// Most rules that are listed; the language has fewer.
const MAX_RULES: usize = 40;
/// Most probe lines that are listed.
const MAX_PROBES: usize = 16;
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
    pub rules: &'a [CoverageLine<'a>],
    /// The environment.
    pub environment: Environment<'a>,
    /// Why the start is refused, or why there is no guard; empty where all is well.
    pub trouble: &'a [u8],
}

impl Protection<'_> {
    fn enforced(&self) -> usize {
        self.rules.iter().filter(|line| line.status == Coverage::Enforced).count()
    }

    fn level(&self) -> Level {
        let uncovered = self.rules.iter().any(|line| line.status == Coverage::NotCovered);
        if uncovered || !self.trouble.is_empty() { Level::Warn } else { Level::Info }
    }

    fn message(&self, out: &mut Text<'_>) -> fmt::Result {
        out.plain("ringfence protects this function: ")?;
        out.number(self.enforced() as u64)?;
        out.plain(" of ")?;
        out.number(self.rules.len() as u64)?;
        out.plain(if self.rules.len() == 1 { " rule enforced (" } else { " rules enforced (" })?;
        out.plain("mode ")?;
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
            self.rules.iter().take(MAX_RULES).try_for_each(|line| {
                out.object(|out| {
                    out.word("rule", line.rule.as_str())?;
                    out.word("status", line.status.as_str())?;
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
                out.number("enforced", self.enforced() as u64)?;
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

    const RULES: [CoverageLine<'static>; 2] = [
        CoverageLine {
            rule: Rule::ProcessShells,
            plane: Some(Plane::Process),
            status: Coverage::Enforced,
            reason: "",
        },
        CoverageLine {
            rule: Rule::TmpMax,
            plane: None,
            status: Coverage::NotCovered,
            reason: "not built yet",
        },
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
    fn it_claims_what_holds_and_says_why_the_rest_does_not() {
        let redactor = Redactor::new(&[]);
        insta::assert_snapshot!(line(&protection(&redactor, &[b"no_new_privs: set", b"seccomp(2): EPERM"])), @r#"{"timestamp":"2026-11-22T01:02:03.456Z","level":"WARN","message":"ringfence protects this function: 1 of 2 rules enforced (mode enforce, plane process; kernel: seccomp(2): EPERM)","ringfence":{"kind":"protection","mode":"enforce","plane":"process","enforced":1,"rules":[{"rule":"process.shells","status":"enforced","plane":"process"},{"rule":"tmp.max","status":"not_covered","reason":"not built yet"}],"source":"/var/task/policy.toml","environment":{"initializationType":"on-demand","runtime":"/var/lang/bin/python3.13","telemetry":"subscribed","invocationEnd":"runtime","probes":["no_new_privs: set","seccomp(2): EPERM"]},"invocation":{"requestId":"8476a536-e9f4-11e8-9739-2dfe598c3fcd","traceId":"1-5bef4de7-ad49b0e87f6ef6c87fc2e700","phase":"invoke","number":3},"function":{"name":"orders","version":"7"},"policy":"sha256:ab12"}}"#);
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
            let rules: Vec<_> = Rule::ALL.iter().map(|rule| CoverageLine { rule: *rule, plane: Some(Plane::Platform), status: Coverage::NotCovered, reason: &reason }).collect();
            let mut record = protection(&redactor, &probes);
            record.rules = &rules;
            (record.trouble, record.source) = (&text, &text);
            serde_json::from_str::<serde_json::Value>(&line(&record)).unwrap();
        }
    }
}

//! How grave a violation is, and which techniques of MITRE ATT&CK it belongs to.
//!
//! Two tables over rule and action; nothing else decides. [`super::Violation`] calls it.

use ringfence_policy::Rule;

use super::subject::is_everyday;
use crate::message::{ActionKind, Report};

/// How grave a violation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Unusual for a function; look when there is time.
    Medium,
    /// What attacks do and functions do not.
    High,
    /// An attack on the protection, on other invocations or on the credentials.
    Critical,
}

impl Severity {
    /// The word that records use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// The severity of a violation of `rule` by `action`.
#[must_use]
pub const fn severity(rule: Rule, action: ActionKind) -> Severity {
    match (rule, action) {
        (
            Rule::SelfProtection | Rule::EgressRuntimeApi | Rule::CredentialsDecoys | Rule::IntegrityVerify,
            _,
        ) => Severity::Critical,
        (Rule::CredentialsReads, ActionKind::ReadCredential) => Severity::Medium,
        (
            Rule::ProcessShells
            | Rule::ProcessFromWritable
            | Rule::ProcessUncovered
            | Rule::ProcessAllow
            | Rule::EgressAllow
            | Rule::EgressDeny
            | Rule::EgressNames
            | Rule::FilesDenyRead
            | Rule::FilesDenyWrite
            | Rule::TmpSecrets
            | Rule::CodeEvaluate
            | Rule::CodeDeserialize
            | Rule::CredentialsReads,
            _,
        ) => Severity::High,
        (Rule::TmpResidue | Rule::TmpMax | Rule::AnomalyDuration | Rule::AnomalyMemory | Rule::None, _) => {
            Severity::Low
        }
        _ => Severity::Medium,
    }
}

/// The severity of a violation, which is low where it is the everyday work of a package.
#[must_use]
pub fn severity_of(report: &Report<'_>) -> Severity {
    if is_everyday(report) { Severity::Low } else { severity(report.rule, report.action) }
}

/// The techniques of MITRE ATT&CK (Enterprise) that a violation of `rule` by `action` may belong to.
#[must_use]
pub const fn attack(rule: Rule, action: ActionKind) -> &'static [&'static str] {
    match (rule, action) {
        // Unix Shell; Reflective Code Loading; Ingress Tool Transfer; Masquerading; Native API.
        (Rule::ProcessShells, _) => &["T1059.004"],
        (Rule::ProcessFromWritable, ActionKind::MapExecutable) => &["T1574.006", "T1620"],
        (Rule::ProcessFromWritable, _) => &["T1105", "T1620"],
        (Rule::ProcessUncovered, _) => &["T1105", "T1027"],
        (Rule::ProcessAllow, _) => &["T1059"],
        (Rule::ProcessSyscalls, _) => &["T1106"],
        (Rule::ProcessSurvivors, _) => &["T1543", "T1036.009"],
        (Rule::ProcessLimits | Rule::AnomalyDuration | Rule::AnomalyMemory, _) => &["T1496"],
        // Exfiltration over C2 and over alternative protocols; DNS; the metadata service.
        (_, ActionKind::Resolve) => &["T1071.004", "T1048"],
        (Rule::EgressAllow, ActionKind::Send) => &["T1048", "T1071.004"],
        (Rule::EgressAllow | Rule::EgressNames, _) => &["T1041", "T1048"],
        (Rule::EgressDeny, _) => &["T1041", "T1552.005"],
        (Rule::EgressListen, _) => &["T1571"],
        (Rule::EgressRuntimeApi, _) => &["T1557", "T1565.002"],
        // Credentials in files, in the environment and behind APIs.
        (Rule::FilesDenyRead, _) => &["T1005", "T1552.001"],
        (Rule::CredentialsExpose | Rule::CredentialsReads | Rule::CredentialsDecoys, _) => {
            &["T1552.001", "T1552.007"]
        }
        (Rule::TmpSecrets, _) => &["T1552.001"],
        (Rule::FilesDenyWrite | Rule::TmpWrites | Rule::TmpResidue | Rule::TmpMax, _) => &["T1074.001"],
        // Command and Scripting Interpreter, and exploitation by what the event carries; Native API; Reflective Code
        // Loading; Process Injection; Hijack Execution Flow.
        (Rule::CodeEvaluate, _) => &["T1059", "T1190"],
        (Rule::CodeDeserialize, _) => &["T1190", "T1059"],
        (Rule::CodeNative, _) => &["T1106", "T1055", "T1620"],
        (Rule::CodeImports, _) => &["T1105", "T1574"],
        (Rule::IntegrityVerify, _) => &["T1195.002"],
        (Rule::SelfProtection, _) => &["T1562.001", "T1055"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_touches_the_protection_itself_is_critical() {
        assert_eq!(severity(Rule::SelfProtection, ActionKind::Dangerous), Severity::Critical);
        assert_eq!(severity(Rule::ProcessShells, ActionKind::Exec), Severity::High);
        assert_eq!(severity(Rule::TmpResidue, ActionKind::Residue), Severity::Low);
        assert!(Severity::Critical > Severity::High);
    }

    #[test]
    fn every_rule_but_the_innocent_names_a_technique() {
        for rule in Rule::ALL {
            let innocent = matches!(
                rule,
                Rule::ProcessEnvironment
                    | Rule::ReportFormat
                    | Rule::ReportMetrics
                    | Rule::ReportWebhook
                    | Rule::RuleProcess
            );
            assert_eq!(attack(rule, ActionKind::Exec).is_empty(), innocent, "{}", rule.as_str());
        }
    }
}

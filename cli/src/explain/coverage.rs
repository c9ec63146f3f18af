//! Where a rule is enforced: by which plane, in which environment, for which runtimes.
//!
//! The statuses are those of docs/coverage.md, which the truth table writes from attacks.

use ringfence_policy::Rule;

const TABLE: &str = include_str!("../../../docs/coverage.md");
/// Kinds of environments, as `ringfence local --profile` names them.
const PROFILES: [&str; 3] = ["strict", "nested", "open"];

/// For each profile, for which runtimes the rule is enforced, observed and not covered.
pub(super) fn of(rule: Rule) -> Vec<(&'static str, String)> {
    PROFILES.into_iter().filter_map(|profile| Some((profile, row(TABLE, profile, rule.as_str())?))).collect()
}

/// The plane that enforces a rule where it is enforced.
pub(super) fn plane(rule: Rule, profile: &str) -> &'static str {
    match rule {
        Rule::TmpResidue | Rule::ProcessSurvivors | Rule::EgressNames => "platform plane",
        Rule::CredentialsReads
        | Rule::CodeEvaluate
        | Rule::CodeDeserialize
        | Rule::CodeNative
        | Rule::CodeImports => "process plane, language hook",
        Rule::FilesDenyRead | Rule::ProcessEnvironment | Rule::CredentialsExpose | Rule::ProcessLimits => {
            "process plane"
        }
        _ if profile == "strict" => "process plane",
        _ => "kernel plane",
    }
}

fn row(table: &str, profile: &str, rule: &str) -> Option<String> {
    let (heading, cell) = (format!("## `{profile}`"), format!("`{rule}`"));
    let mut lines =
        table.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.starts_with("## "));
    let runtimes: Vec<&str> = cells(lines.find(|line| line.starts_with("| Rule"))?).collect();
    let statuses: Vec<&str> = cells(lines.find(|line| cells(line).next() == Some(&cell))?).collect();
    let of = |status: &str| {
        let pairs = runtimes.iter().zip(&statuses).skip(1);
        pairs.filter(|(_, own)| **own == status).map(|(runtime, _)| *runtime).collect::<Vec<_>>().join(", ")
    };
    let parts: Vec<String> = ["enforced", "observed", "not covered"]
        .into_iter()
        .map(|status| (status, of(status)))
        .filter(|(_, runtimes)| !runtimes.is_empty())
        .map(|(status, runtimes)| format!("{status} for {runtimes}"))
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn cells(line: &str) -> impl Iterator<Item = &str> {
    line.trim().trim_matches('|').split('|').map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_by_profile() {
        let table = "## `strict`\n\n| Rule | go | python |\n|---|---|---|\n| `a.b` | not covered | enforced |\n\n## `nested`\n\n| Rule | go |\n|---|---|\n| `a.b` | enforced |\n";
        assert_eq!(row(table, "strict", "a.b").unwrap(), "enforced for python; not covered for go");
        assert_eq!(row(table, "nested", "a.b").unwrap(), "enforced for go");
        assert_eq!(row(table, "open", "a.b"), None);
    }

    #[test]
    fn every_rule_that_the_table_has_is_found_in_each_profile() {
        for rule in Rule::ALL {
            let named = TABLE.matches(&format!("| `{}` |", rule.as_str())).count();
            assert_eq!(of(rule).len(), named, "{}", rule.as_str());
        }
        assert_eq!(of(Rule::ProcessAllow).len(), PROFILES.len());
    }
}

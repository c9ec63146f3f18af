//! Explanations of actions and records.

use std::path::Path;

use insta::assert_snapshot;
use ringfence_policy::{Phase, Role};

use super::{Form, explained, of_record, retold};
use crate::deed::{Deed, What};
use crate::policy::Given;

fn asked(text: &str, words: &str, form: Form) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    std::fs::write(&file, text).unwrap();
    let Ok(mut given) = Given::open(Path::new(&file)) else { panic!("{text}") };
    given.name = "policy.toml".to_owned();
    let deed = Deed { what: What::parse(words).unwrap(), phase: Phase::Invoke, role: Role::Child };
    explained(&given, &deed, form)
}

/// Without what docs/coverage.md says, which changes.
fn without_coverage(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with("  in ")).collect::<Vec<_>>().join("\n")
}

const POLICY: &str = "extends = \"web-api\"\n[egress]\nallow = [\"a.example:443\"]\n";

#[test]
fn a_refusal_names_each_rule_with_its_place_and_the_edit() {
    let text = asked(POLICY, "connect b.example:443", Form::Text);
    assert_snapshot!(without_coverage(&text), @r#"
    connect b.example:443 by a child during an invocation: blocked and reported (egress.names)
      egress.names deny: policy.toml:3: allow = ["a.example:443"]
      egress.allow deny: policy.toml:3: allow = ["a.example:443"]
      to change that: add "b.example:443" to [egress] allow
    "#);
    assert!(text.contains("  in strict (platform plane): enforced for "), "{text}");
    assert_snapshot!(without_coverage(&asked(POLICY, "exec /bin/sh", Form::Text)), @r#"
    exec /bin/sh by a child during an invocation: blocked and reported (process.shells)
      process.shells deny: pack web-api:7: shells = "deny"
      process.allow deny: pack web-api:6: allow = []
      to change that: write [process] shells = "allow", or "report" to have it recorded only
      to change that: add "/bin/sh" to [process] allow
    "#);
    assert_snapshot!(asked(POLICY, "connect a.example:443", Form::Text), @r#"
    connect a.example:443 by a child during an invocation: allowed by egress.names
      egress.names allow: policy.toml:3: allow = ["a.example:443"]
      egress.allow allow: policy.toml:3: allow = ["a.example:443"]
    "#);
    assert_snapshot!(asked(POLICY, "import", Form::Text), @"
    import by a child during an invocation: allowed
      no rule of this policy speaks of it
    ");
    assert_snapshot!(without_coverage(&asked(POLICY, "dangerous-call ptrace", Form::Text)), @"
    dangerous-call ptrace by a child during an invocation: blocked and reported (self_protection)
      self_protection deny: holds without being said
      to change that: nothing does: no policy allows this while its mode is enforce
    ");
}

#[test]
fn programs_read_it_too() {
    let answer: serde_json::Value =
        serde_json::from_str(&asked(POLICY, "connect b.example:443", Form::Json)).unwrap();
    assert_eq!(answer["decision"], "deny");
    assert_eq!(answer["rules"][0]["place"]["line"], 3);
    assert_eq!(answer["profiles"][0]["profile"], "strict");
}

#[test]
fn a_record_is_explained_by_itself() {
    let record = r#"{"timestamp":"2026-11-22T01:02:03.456Z","ringfence":{"kind":"violation","action":"connect","verdict":"blocked","rule":"egress.names","subject":{"name":"b.example","address":"192.0.2.1:443"},"actor":{"chain":"python3 > curl"},"invocation":{"phase":"invoke"},"policyLine":{"section":"egress","key":"allow","value":"b.example:443"}}}"#;
    let asked = of_record(record);
    let [one] = asked.as_slice() else { panic!("{}", asked.len()) };
    assert_snapshot!(retold(&one.deed, one.told.as_ref().unwrap(), Form::Text), @r#"
    connect b.example:443 by a child during an invocation: blocked (egress.names)
      to change that: add "b.example:443" to [egress] allow
    "#);
}

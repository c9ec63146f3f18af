//! Logs judged again under a policy.

use std::collections::BTreeMap;
use std::path::Path;

use insta::assert_snapshot;

use super::Trial;
use crate::output::Output;
use crate::policy::Given;

fn given(name: &str, text: &str) -> Given {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    let Ok(mut given) = Given::open(Path::new(&file)) else { panic!("{text}") };
    name.clone_into(&mut given.name);
    given
}

fn record(day: u8, body: &str) -> String {
    format!(
        r#"{{"timestamp":"2026-11-{day:02}T01:02:03.456Z","ringfence":{{{body},"invocation":{{"requestId":"r","phase":"invoke"}},"function":{{"name":"orders"}}}}}}"#
    )
}

fn connect(name: &str) -> String {
    format!(
        r#""kind":"violation","action":"connect","rule":"egress.allow","subject":{{"name":"{name}","address":"192.0.2.1:443"}},"actor":{{"exe":"/usr/bin/python3","code":"app.py:7"}},"count":3"#
    )
}

fn log() -> Vec<String> {
    let exec = r#""kind":"violation","action":"exec","rule":"process.allow","subject":{"path":"/usr/bin/convert"},"actor":{"exe":"/usr/bin/python3"}"#;
    vec![
        record(
            20,
            r#""kind":"protection","rules":[{"rule":"process.allow","status":"observed"},{"rule":"egress.allow","status":"observed"},{"rule":"tmp.writes","status":"not_covered"}]"#,
        ),
        record(20, &connect("api.example.com")),
        record(22, &connect("api.example.com")),
        record(21, &connect("other.example")),
        record(21, exec),
        record(
            21,
            r#""kind":"violation","action":"exec","rule":"process.allow","subject":{"path":"/a/[redacted]"}"#,
        ),
    ]
}

fn tried(policy: &str, baseline: Option<&str>, output: Output) -> String {
    let policy = given("policy.toml", policy);
    let baseline = baseline.map(|text| given("old.toml", text));
    let mut trial =
        Trial { policy: &policy, baseline: baseline.as_ref(), functions: BTreeMap::new(), unread: 0 };
    for line in log() {
        trial.take(&line);
    }
    trial.take("{}x");
    if output == Output::Text {
        return format!("{}{}", trial.shown(output), trial.gaps().join("\n"));
    }
    trial.shown(output)
}

const POLICY: &str = "version = 1\n[process]\nallow = [\"/usr/bin/convert\"]\n[egress]\nallow = [\"other.example:443\"]\n[tmp]\nwrites = \"deny\"\n";

#[test]
fn what_would_be_blocked_is_told_with_its_line_of_code_and_of_policy() {
    assert_snapshot!(tried(POLICY, None, Output::Text), @r#"
    orders: 1 deed would be blocked, 6 times of 10 that the log tells of
      egress.names: connect api.example.com:443
        6 times, 2026-11-20 to 2026-11-22, by app.py:7; policy.toml:5: allow = ["other.example:443"]
    1 record could not be read
    orders: 1 environment ran under another policy than the pack learn: what that allowed left no record and is not tried
    orders: not known for tmp.writes: the log is of runs that did not watch this (run with RINGFENCE_POLICY=learn)
    orders: not all that is judged is told by 1 record
    "#);
}

#[test]
fn a_baseline_leaves_what_the_change_brings() {
    let old = "[process]\nallow = []\n[egress]\nallow = [\"*.example.com\"]\n";
    assert_snapshot!(tried(POLICY, Some(old), Output::Text), @r#"
    orders: 1 deed newly blocked, 6 times of 10 that the log tells of
      egress.names: connect api.example.com:443
        6 times, 2026-11-20 to 2026-11-22, by app.py:7; policy.toml:5: allow = ["other.example:443"]
    orders: 2 deeds no longer blocked, 4 times
      process.allow: exec /usr/bin/convert
        1 time, 2026-11-21, by /usr/bin/python3; old.toml:2: allow = []
      egress.names: connect other.example:443
        3 times, 2026-11-21, by app.py:7; old.toml:4: allow = ["*.example.com"]
    1 record could not be read
    orders: 1 environment ran under another policy than the pack learn: what that allowed left no record and is not tried
    orders: not known for tmp.writes: the log is of runs that did not watch this (run with RINGFENCE_POLICY=learn)
    orders: not all that is judged is told by 1 record
    "#);
    assert!(!tried(POLICY, Some(POLICY), Output::Text).contains("app.py"));
}

#[test]
fn programs_read_it_too() {
    assert_snapshot!(tried(POLICY, None, Output::Json), @r#"
    {
      "functions": [
        {
          "blocked": [
            {
              "action": "connect api.example.com:443",
              "code": [
                "app.py:7"
              ],
              "count": 6,
              "first": "2026-11-20",
              "last": "2026-11-22",
              "place": {
                "file": "policy.toml",
                "line": 5
              },
              "rule": "egress.names"
            }
          ],
          "deeds": 10,
          "environments": 1,
          "function": "orders",
          "linesDropped": 0,
          "notKnown": [
            "tmp.writes"
          ],
          "released": [],
          "unclear": 1
        }
      ],
      "policy": "policy.toml"
    }
    "#);
    assert_snapshot!(tried(POLICY, None, Output::Github), @"::error file=policy.toml,line=5,title=ringfence egress.names::orders: connect api.example.com:443 would be blocked: 6 times, 2026-11-20 to 2026-11-22, by app.py:7");
    assert_snapshot!(tried(POLICY, None, Output::Sarif), @r#"
    {
      "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
      "runs": [
        {
          "results": [
            {
              "level": "error",
              "locations": [
                {
                  "physicalLocation": {
                    "artifactLocation": {
                      "uri": "policy.toml"
                    },
                    "region": {
                      "startLine": 5
                    }
                  }
                }
              ],
              "message": {
                "text": "orders: connect api.example.com:443 would be blocked: 6 times, 2026-11-20 to 2026-11-22, by app.py:7"
              },
              "ruleId": "egress.names"
            }
          ],
          "tool": {
            "driver": {
              "name": "ringfence test",
              "rules": [
                {
                  "id": "egress.names"
                }
              ],
              "version": "0.1.0"
            }
          }
        }
      ],
      "version": "2.1.0"
    }
    "#);
}

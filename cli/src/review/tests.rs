//! Stories from records.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::incident::Incidents;
use super::{html, text};

fn record(second: u32, environment: &str, request: &str, policy: &str, body: &str) -> String {
    format!(
        r#"{{"timestamp":"2026-11-22T01:02:{second:02}.456Z","ringfence":{{{body},"key":"{environment}","policy":"{policy}","invocation":{{"requestId":"{request}","phase":"invoke"}},"function":{{"name":"orders","version":"7"}}}}}}"#
    )
}

fn violation(action: &str, severity: &str, rest: &str) -> String {
    format!(
        r#""kind":"violation","action":"{action}","verdict":"blocked","plane":"process","severity":"{severity}","attack":["T1059.004"],"actor":{{"pid":17,"exe":"/var/lang/bin/python3.13","chain":"python3.13 > sed","code":"app.py:9"}},{rest}"#
    )
}

fn shell() -> String {
    violation(
        "exec",
        "high",
        r#""rule":"process.shells","subject":{"path":"/bin/sh","argv":["sh","-c","id"]}"#,
    )
}

fn connect(to: &str) -> String {
    violation(
        "connect",
        "medium",
        &format!(r#""rule":"egress.allow","subject":{{"name":"{to}","address":"192.0.2.1:443"}},"count":3"#),
    )
}

fn taken(lines: &[String]) -> Incidents {
    let mut incidents = Incidents::default();
    for line in lines {
        incidents.take(line);
    }
    incidents
}

#[test]
fn violations_of_one_request_are_one_story_and_alike_stories_one_incident() {
    let residue = r#""kind":"residue","verdict":"wiped","rule":"tmp.residue","plane":"platform","severity":"low","count":5,"entries":[{"path":"/tmp/x","change":"created"}]"#;
    let mut incidents = taken(&[
        record(1, "a", "r-1", "p", &shell()),
        record(3, "a", "r-1", "p", residue),
        record(2, "a", "r-1", "p", &connect("evil.example")),
        record(4, "b", "r-2", "p", &connect("other.example")),
        // The same in another environment, and in another order among the lines of the first.
        record(5, "b", "r-3", "p", &connect("evil.example")),
        record(6, "b", "r-3", "p", &shell()),
        record(7, "b", "r-3", "p", residue),
        record(8, "b", "r-4", "p", &connect("other.example")),
        record(9, "b", "", "p", r#""kind":"degraded","part":"ledger","detail":"the queue ran over""#),
    ]);
    let ranked = incidents.ranked();
    assert_snapshot!(text::text(&incidents, &ranked, None), @"
    2 kinds of incident in 1 function: 1 high, 1 medium

    [high] 696fcde5 python3.13 tried to start /bin/sh (`sh -c id`)
      orders, request r-3; 2 times, 2026-11-22T01:02:01.456Z to 2026-11-22T01:02:07.456Z
      01:02:05.456 python3.13 tried to connect to evil.example:443 (192.0.2.1:443): blocked by egress.allow, process plane, 3 times; by app.py:9
      01:02:06.456 python3.13 tried to start /bin/sh (`sh -c id`): blocked by process.shells, process plane; by app.py:9
      01:02:07.456 the invocation left /tmp/x and others behind: wiped by tmp.residue, platform plane
      A shell runs any command line: injected commands need one.

    [medium] 72f1b103 python3.13 tried to connect to other.example:443 (192.0.2.1:443)
      orders, request r-2; 2 times, 2026-11-22T01:02:04.456Z to 2026-11-22T01:02:08.456Z
      01:02:04.456 python3.13 tried to connect to other.example:443 (192.0.2.1:443): blocked by egress.allow, process plane, 3 times; by app.py:9
      The policy lists the destinations; this is none of them. Data leaves this way.
    degraded: orders: ledger: the queue ran over (1 time)
    ");
    let id = ranked[0].id.clone();
    let whole = text::text(&incidents, &ranked, Some(&id));
    assert!(whole.contains("processes: python3.13 > sed") && whole.contains("requests: r-3, r-1"), "{whole}");
    assert_eq!(text::as_json(&incidents, &ranked)["incidents"][0]["count"], 2);
}

#[test]
fn what_only_the_latest_policy_met_is_new() {
    let mut incidents = taken(&[
        record(1, "a", "r-1", "old", &connect("a.example")),
        record(2, "b", "r-2", "new", &connect("a.example")),
        record(3, "b", "r-3", "new", &shell()),
    ]);
    let ranked = incidents.ranked();
    let new: Vec<bool> = ranked.iter().map(|incident| incidents.is_new(incident)).collect();
    assert_eq!(new, [true, false]);
}

#[test]
fn the_page_has_no_markup_of_the_records() {
    let evil = r#""rule":"process.allow","subject":{"path":"/tmp/<script>alert(1)</script>"}"#;
    let mut incidents = taken(&[record(1, "a", "r-1", "p", &violation("exec", "critical", evil))]);
    let ranked = incidents.ranked();
    let page = html::page(&incidents, &ranked, "forged: <b>", false);
    assert!(page.contains("&lt;script&gt;alert(1)") && page.contains("forged: &lt;b&gt;"));
    assert!(!page.contains("<script") && !page.contains("<b>") && !page.contains("http"));
    assert!(html::page(&Incidents::default(), &[], "", true).contains("No incidents"));
}

#[test]
fn a_long_story_is_bounded() {
    let lines: Vec<String> =
        (0..500).map(|number| record(1, "a", "r", "p", &connect(&format!("h{number}.example")))).collect();
    let mut incidents = taken(&lines);
    let ranked = incidents.ranked();
    assert_eq!((ranked.len(), ranked[0].story.steps.len(), ranked[0].story.more), (1, 200, 300));
}

proptest! {
    #[test]
    fn garbage_is_counted_and_never_a_panic(lines in prop::collection::vec("\\PC{0,80}", 0..8), action in "[a-z_]{0,12}") {
        let mut incidents = taken(&lines);
        incidents.take(&record(1, "a", "r", "p", &violation(&action, "high", r#""rule":"x""#)));
        let ranked = incidents.ranked();
        prop_assert_eq!(ranked.len(), 1);
        prop_assert!(!text::text(&incidents, &ranked, None).is_empty());
        prop_assert!(html::page(&incidents, &ranked, "", true).ends_with("</html>"));
    }
}

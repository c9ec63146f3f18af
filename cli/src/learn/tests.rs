//! Policies from records, and records that no policy may be made of.

use insta::assert_snapshot;
use proptest::prelude::*;
use ringfence_policy::Policy;

use super::draft::{Title, policy};
use super::evidence::Evidence;
use super::update::update;
use crate::policy::Given;

const ENFORCE: Title<'static> = Title { function: "orders", mode: "enforce", accept: false };

fn record(day: u8, request: &str, body: &str) -> String {
    format!(
        r#"{{"timestamp":"2026-11-{day:02}T01:02:03.456Z","level":"WARN","message":"m","ringfence":{{{body},"invocation":{{"requestId":"{request}","phase":"invoke"}},"function":{{"name":"orders"}}}}}}"#
    )
}

fn protection(not_covered: &str) -> String {
    let rules = [
        "process.allow",
        "process.survivors",
        "egress.allow",
        "egress.listen",
        "tmp.writes",
        "tmp.residue",
        "credentials.reads",
        "code.evaluate",
    ];
    let claims = rules.map(|rule| {
        let status = if rule == not_covered { "not_covered" } else { "observed" };
        format!(r#"{{"rule":"{rule}","status":"{status}"}}"#)
    });
    record(20, "", &format!(r#""kind":"protection","source":"pack learn","rules":[{}]"#, claims.join(",")))
}

fn violation(action: &str, rule: &str, rest: &str) -> String {
    format!(
        r#""kind":"violation","action":"{action}","verdict":"reported","rule":"{rule}","actor":{{"exe":"/var/lang/bin/python3.13","code":"app.py:3"}},{rest}"#
    )
}

fn exec(path: &str) -> String {
    let line = format!(r#""policyLine":{{"section":"process","key":"allow","value":"{path}"}}"#);
    violation("exec", "process.allow", &format!(r#""subject":{{"path":"{path}"}},{line}"#))
}

fn connect(to: &str) -> String {
    let line = format!(r#""policyLine":{{"section":"egress","key":"allow","value":"{to}"}}"#);
    violation("connect", "egress.allow", &format!(r#""subject":{{"name":"{to}"}},"count":3,{line}"#))
}

fn evidence(lines: &[String]) -> Evidence {
    let mut evidence = Evidence::default();
    for line in lines {
        evidence.take(line);
    }
    evidence
}

#[test]
fn a_policy_allows_what_was_seen_and_no_attack() {
    let write =
        |path: &str| violation("open_write", "tmp.writes", &format!(r#""subject":{{"path":"{path}"}}"#));
    let lines = [
        protection(""),
        record(20, "r-1", &exec("/usr/bin/convert")),
        record(22, "r-2", &exec("/usr/bin/convert")),
        record(21, "r-1", &connect("api.example.com:443")),
        record(21, "r-1", &write("/tmp/job-12.pdf")),
        record(21, "r-1", &write("/tmp/cache.db")),
        record(21, "r-2", &write("/tmp/cache.db")),
        record(21, "r-2", r#""kind":"residue","entries":[{"path":"/tmp/cache.db","change":"created"}]"#),
        record(
            21,
            "r-2",
            &violation(
                "read_credential",
                "credentials.reads",
                r#""detail":"in a copy of the whole environment, by the package ddtrace""#,
            ),
        ),
        record(
            21,
            "r-2",
            &violation("open_read", "files.deny_read", r#""subject":{"path":"/proc/self/environ"}"#),
        ),
        record(
            21,
            "r-2",
            &violation("exec", "process.from_writable", r#""subject":{"path":"/tmp/x86k2p9a"}"#),
        ),
        record(21, "r-2", &exec("/usr/bin/[redacted]")),
    ];
    let draft = policy(&evidence(&lines).together(), &ENFORCE);
    assert_snapshot!(draft.text, @r#"
    # Made by `ringfence learn` for orders from 1 environment, 2026-11-20 to 2026-11-22.
    # Each line says how often something was seen, when, and by which code.
    version = 1
    extends = "baseline"
    mode = "enforce"

    [process]
    allow = [
        "/usr/bin/convert",  # 2 times, 2026-11-20 to 2026-11-22, by app.py:3
    ]
    shells = "deny"  # no shell was started
    survivors = "kill"  # no process outlived its invocation

    [egress]
    allow = [
        "api.example.com:443",  # 3 times, 2026-11-21, by app.py:3
    ]
    listen = "deny"  # nothing listened

    [tmp]
    writes = [
        "/tmp/cache.db",  # 2 times, 2026-11-21, by app.py:3
        "/tmp/job-*.pdf",  # once, 2026-11-21, by app.py:3
    ]
    residue = "wipe"  # what is not kept below is removed when the invocation ends
    keep = [
        "/tmp/cache.db",  # once, 2026-11-21
    ]

    [credentials]
    reads = "deny"  # SDKs read them; other readers are named below, if there are any
    reads_allow_packages = [
        "ddtrace",  # once, 2026-11-21, by app.py:3
    ]

    [code]
    evaluate = "deny"  # not seen

    # Seen, and not allowed: an attack by the pack baseline, or not clear from the records.
    #   open_read /proc/self/environ (files.deny_read): once, 2026-11-21, by app.py:3
    #   exec /tmp/???????? (process.from_writable): once, 2026-11-21, by app.py:3
    #   exec /usr/bin/[redacted] (process.allow): once, 2026-11-21, by app.py:3
    "#);
    Policy::parse("policy.toml", &draft.text).unwrap();
}

#[test]
fn a_rule_that_was_not_watched_everywhere_is_left_out() {
    let lines =
        [protection(""), protection("egress.allow"), record(20, "r-1", &connect("api.example.com:443"))];
    let draft = policy(&evidence(&lines).together(), &ENFORCE);
    assert!(!draft.text.contains("api.example.com"), "{}", draft.text);
    assert!(
        draft.text.contains("# Not watched in every environment, so left out: egress.allow.\n"),
        "{}",
        draft.text
    );
}

#[test]
fn the_same_records_in_another_order_give_the_same_policy() {
    let mut lines = vec![protection("")];
    for number in 0..40 {
        lines.push(record(
            number % 28 + 1,
            &format!("r-{}", number % 3),
            &exec(&format!("/usr/bin/tool{number}")),
        ));
        lines.push(record(
            number % 28 + 1,
            &format!("r-{number}"),
            &connect(&format!("b{number}.s3.eu-west-1.amazonaws.com:443")),
        ));
    }
    let one = policy(&evidence(&lines).together(), &ENFORCE).text;
    lines.reverse();
    assert_eq!(one, policy(&evidence(&lines).together(), &ENFORCE).text);
    assert!(one.contains("\"*.s3.eu-west-1.amazonaws.com:443\",  # 120 times"), "{one}");
}

#[test]
fn what_is_accepted_is_said_by_the_key_that_can() {
    let lines = [
        protection(""),
        record(21, "r-2", &violation("exec", "process.from_writable", r#""subject":{"path":"/tmp/tool"}"#)),
    ];
    let draft = policy(&evidence(&lines).together(), &Title { accept: true, ..ENFORCE });
    assert!(!draft.text.contains("extends"), "{}", draft.text);
    assert!(draft.text.contains("from_writable = \"report\"  # accepted:"), "{}", draft.text);
    Policy::parse("policy.toml", &draft.text).unwrap();
}

proptest! {
    #[test]
    fn whatever_a_record_says_the_policy_is_valid(
        path in "[ -~]{0,40}", value in "[ -~]{0,40}", code in "[ -~\u{7f}-\u{ff}]{0,20}",
        section in "process|egress|credentials|x", key in "allow|listen|reads_allow_variables|y",
        rule in "process.allow|egress.allow|tmp.writes|process.from_writable|credentials.reads|z",
        detail in "|by the package [a-z\"\\\\]{1,9}",
    ) {
        let text = |text: &str| serde_json::to_string(text).unwrap();
        let body = format!(
            r#""kind":"violation","action":"exec","rule":"{rule}","subject":{{"path":{}}},"actor":{{"code":{}}},"detail":{},"policyLine":{{"section":"{section}","key":"{key}","value":{}}}"#,
            text(&path), text(&code), text(&detail), text(&value)
        );
        let known = evidence(&[protection(""), record(21, "r-1", &body)]).together();
        for accept in [false, true] {
            let draft = policy(&known, &Title { accept, ..ENFORCE });
            prop_assert!(Policy::parse("policy.toml", &draft.text).is_ok(), "{}", draft.text);
        }
    }

    #[test]
    fn garbage_is_counted(text in "\\PC{0,80}") {
        let mut evidence = Evidence::default();
        evidence.take(&text);
        prop_assert_eq!(evidence.unread, 1);
    }
}

fn given(text: &str) -> Given {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    std::fs::write(&file, text).unwrap();
    Given::open(&file).unwrap_or_else(|(error, _)| panic!("{error}"))
}

const OLD: &str = r#"# Orders. Ask the team before you change this.
extends = "web-api"

[egress]
# The bank.
allow = ["bank.example:443", "*.example.org:443"] # do not sort
listen = "deny"

[code]
evaluate = "deny"
"#;

#[test]
fn a_policy_is_widened_where_it_would_deny_what_was_seen_and_keeps_its_comments() {
    let lines = [
        protection(""),
        record(20, "r-1", &exec("/usr/bin/convert")),
        record(21, "r-1", &connect("bank.example:443")),
        record(21, "r-1", &connect("a.example.org:443")),
        record(21, "r-1", &connect("api.example.com:443")),
        record(
            21,
            "r-2",
            &violation(
                "bind",
                "egress.listen",
                r#""subject":{"address":"127.0.0.1:8080"},"policyLine":{"section":"egress","key":"listen","value":"loopback"}"#,
            ),
        ),
        record(22, "r-2", &violation("evaluate", "code.evaluate", r#""subject":{}"#)),
    ];
    let known = evidence(&lines).together();
    let updated = update(&given(OLD), &known, None).unwrap();
    assert_snapshot!(updated.text, @r#"
    # Orders. Ask the team before you change this.
    extends = "web-api"

    [egress]
    # The bank.
    allow = ["bank.example:443", "*.example.org:443",
        # 3 times, 2026-11-21, by app.py:3
        "api.example.com:443",
    ] # do not sort
    listen = "loopback"  # once, 2026-11-21, by app.py:3

    [code]
    evaluate = "report"  # once, 2026-11-22, by app.py:3

    [process]
    allow = [
        # once, 2026-11-20, by app.py:3
        "/usr/bin/convert",
    ]
    "#);
    assert_snapshot!(updated.changes.join("\n"), @"
    added /usr/bin/convert to process.allow
    added api.example.com:443 to egress.allow
    set egress.listen to loopback: once, 2026-11-21, by app.py:3
    set code.evaluate to report: once, 2026-11-22, by app.py:3
    ");
    let again = update(&given(&updated.text), &known, None).unwrap();
    assert_eq!((again.text, again.changes), (updated.text, vec![]));
}

#[test]
fn a_policy_is_narrowed_by_what_nothing_needed_for_some_days() {
    let lines = [
        protection(""),
        record(1, "r-1", &connect("a.example.org:443")),
        record(22, "r-1", &connect("bank.example:443")),
        record(30, "r-2", &connect("bank.example:443")),
    ];
    let known = evidence(&lines).together();
    let updated = update(&given(OLD), &known, Some(14)).unwrap();
    assert_snapshot!(updated.changes.join("\n"), @"took *.example.org:443 out of egress.allow: not used in 14 days");
    assert!(
        updated.text.contains("# The bank.") && updated.text.contains("bank.example:443"),
        "{}",
        updated.text
    );
    let kept = update(&given(OLD), &known, Some(30)).unwrap();
    assert_eq!(kept.changes, [""; 0]);
    assert_snapshot!(update(&given(OLD), &known, Some(40)).unwrap_err(), @"
    the log spans 2026-11-01 to 2026-11-30: too short to tell what was not used in 40 days
    hint: give the logs of 40 days or more
    ");
    let unwatched =
        evidence(&[protection("egress.allow"), record(1, "", &exec("/a")), record(30, "", &exec("/a"))]);
    let notes = update(&given(OLD), &unwatched.together(), Some(14)).unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("egress.allow is left as it is")), "{notes:?}");
}

#[test]
fn a_log_that_does_not_tell_of_what_is_allowed_takes_nothing_away() {
    let other = protection("").replace("pack learn", "/var/task/policy.toml");
    let known = evidence(&[protection(""), other, record(1, "", &exec("/a")), record(30, "", &exec("/a"))]);
    assert_snapshot!(update(&given(OLD), &known.together(), Some(14)).unwrap_err(), @"
    1 of 2 environments of the log ran under another policy than the pack learn: what that allows leaves no record, so nothing is known to be unused
    hint: give logs of runs with RINGFENCE_POLICY=learn
    ");
}

#[test]
fn an_activity_record_is_as_many_deeds() {
    let line = r#""policyLine":{"section":"process","key":"allow","value":"/usr/bin/convert"}"#;
    let told = |rest: &str| {
        format!(
            r#""kind":"activity","dropped":2,"new":[{{"action":"exec","rule":"process.allow","subject":{{"path":"/usr/bin/convert"}},"actor":{{"exe":"/usr/bin/python3","code":"app.py:3"}},"phase":"invoke",{line}{rest}}},{{"action":"open_write","rule":"tmp.writes","subject":{{"path":"/tmp/cache.db"}},"phase":"init","count":1}}]"#
        )
    };
    let again = told(r#","count":4,"again":true"#);
    let known = evidence(&[protection(""), record(21, "", &told(r#","count":2"#)), record(22, "", &again)])
        .together();
    let text = policy(&known, &ENFORCE).text;
    assert!(
        text.contains("\"/usr/bin/convert\",  # at least 6 times, 2026-11-21 to 2026-11-22, by app.py:3"),
        "{text}"
    );
    assert!(text.contains("\"/tmp/cache.db\",  # at least 2 times"), "{text}");
    assert!(text.contains("4 lines of log were held back"), "{text}");
}

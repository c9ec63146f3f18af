//! Words and records as deeds, and the line of policy that allows them.

use proptest::prelude::*;
use ringfence_policy::{Decision, Phase, Policy, Role};

use super::{ACTIONS, Deed, What};
use crate::record::Record;

fn policy(text: &str) -> Policy {
    Policy::parse("policy.toml", text).unwrap().policy
}

fn child(words: &str) -> Deed {
    Deed { what: What::parse(words).unwrap(), phase: Phase::Invoke, role: Role::Child }
}

fn decision(text: &str, words: &str) -> (Decision, &'static str) {
    let verdict = child(words).verdict(&policy(text));
    (verdict.decision, verdict.rule.as_str())
}

#[test]
fn actions_are_judged_as_planes_judge_them() {
    let text = "[process]\nallow = [\"/usr/bin/convert\"]\nshells = \"deny\"\nfrom_writable = \"deny\"\nsurvivors = \"kill\"\n\
        [egress]\nallow = [\"*.example.com:443\", \"10.0.0.0/8:5432\"]\nlisten = \"loopback\"\n\
        [tmp]\nwrites = [\"/tmp/cache/**\"]\nresidue = \"wipe\"\nkeep = [\"/tmp/cache/**\"]\n\
        [files]\ndeny_read = [\"/etc/shadow\"]\n[code]\nevaluate = \"report\"\n\
        [credentials]\nreads = \"deny\"\nreads_allow_packages = [\"vault\"]\nexpose = \"runtime\"\n";
    for (words, expected) in [
        ("exec /usr/bin/convert", (Decision::Allow, "process.allow")),
        ("exec /usr/bin/curl", (Decision::Deny, "process.allow")),
        ("exec /bin/sh", (Decision::Deny, "process.shells")),
        ("exec /tmp/x", (Decision::Deny, "process.from_writable")),
        ("exec /lib64/ld-linux-x86-64.so.2", (Decision::Deny, "process.uncovered")),
        ("connect api.example.com:443", (Decision::Allow, "egress.names")),
        ("connect API.example.com.:80", (Decision::Deny, "egress.allow")),
        ("connect example.com:443", (Decision::Deny, "egress.names")),
        ("connect 10.1.2.3:5432", (Decision::Allow, "egress.allow")),
        ("send 198.51.100.7:53", (Decision::Deny, "egress.allow")),
        ("connect [2001:db8::1]:443", (Decision::Deny, "egress.allow")),
        ("resolve evil.example", (Decision::Deny, "egress.names")),
        ("bind 0.0.0.0:8080", (Decision::Deny, "egress.listen")),
        ("bind 127.0.0.1:8080", (Decision::Allow, "egress.listen")),
        ("open_read /etc/shadow", (Decision::Deny, "files.deny_read")),
        ("open-write /tmp/cache/a", (Decision::Allow, "tmp.writes")),
        ("open-write /tmp/x", (Decision::Deny, "tmp.writes")),
        ("residue /tmp/cache/a", (Decision::Allow, "none")),
        ("residue /tmp/x", (Decision::Deny, "tmp.residue")),
        ("survive", (Decision::Deny, "process.survivors")),
        ("evaluate", (Decision::Report, "code.evaluate")),
        ("import", (Decision::Allow, "none")),
        ("read-credential AWS_SECRET_ACCESS_KEY", (Decision::Deny, "credentials.reads")),
        ("inherit-credentials AWS_SECRET_ACCESS_KEY", (Decision::Deny, "credentials.expose")),
        ("dangerous-call ptrace", (Decision::Deny, "self_protection")),
    ] {
        assert_eq!(decision(text, words), expected, "{words}");
    }
}

#[test]
fn the_line_of_policy_allows_the_deed() {
    for (text, words) in [
        ("process.allow = []", "exec /usr/bin/convert"),
        ("egress.allow = []", "connect api.example.com:443"),
        ("egress.allow = []", "connect 203.0.113.9:443"),
        ("egress.allow = []", "connect [2001:db8::1]:443"),
        ("egress.allow = []", "resolve api.example.com"),
        ("egress.listen = \"deny\"", "bind 0.0.0.0:8080"),
        ("egress.listen = \"deny\"", "bind 127.0.0.1:8080"),
        ("tmp.writes = []", "open-write /tmp/a/b"),
        ("tmp.residue = \"wipe\"", "residue /tmp/a"),
        ("credentials.reads = \"deny\"", "read-credential AWS_SESSION_TOKEN"),
    ] {
        let deed = child(words);
        let verdict = deed.verdict(&policy(text));
        assert_eq!(verdict.decision, Decision::Deny, "{words}");
        let line = deed.line(verdict.rule).unwrap_or_else(|| panic!("{words}"));
        let value =
            if line.key == "listen" { format!("{:?}", line.value) } else { format!("[{:?}]", line.value) };
        let old = if line.key == "keep" || line.key.starts_with("reads_") { text } else { "" };
        let allowed = format!("{old}\n{}.{} = {value}\n", line.section, line.key);
        assert_eq!(deed.verdict(&policy(&allowed)).decision, Decision::Allow, "{allowed}");
    }
}

#[test]
fn what_is_no_action_is_refused_with_an_example() {
    for (action, example) in ACTIONS {
        assert!(What::parse(&format!("{action} {example}")).is_ok(), "{action}");
        if !example.is_empty() {
            assert!(What::parse(action).unwrap_err().contains(example), "{action}");
        }
    }
    insta::assert_snapshot!(What::parse("conect a.example:443").unwrap_err(), @r#"
    no action is called "conect"
    hint: write one of exec, map-executable, connect, send, resolve, bind, open-read, open-write, read-credential, inherit-credentials, dangerous-call, survive, residue, evaluate, deserialize, native, import
    "#);
    insta::assert_snapshot!(What::parse("connect a.example").unwrap_err(), @r#"
    "a.example" is no subject of connect
    hint: write 'connect api.example.com:443'
    "#);
    insta::assert_snapshot!(What::parse("exec sh").unwrap_err(), @r#"
    "sh" is no subject of exec
    hint: write 'exec /bin/sh'
    "#);
}

fn deeds(body: &str) -> Vec<Deed> {
    let text = format!(
        r#"{{"timestamp":"2026-11-22T01:02:03.456Z","ringfence":{{{body},"invocation":{{"phase":"init"}}}}}}"#
    );
    Deed::of_record(&serde_json::from_str::<Record>(&text).unwrap().ringfence)
}

fn shown(body: &str) -> Vec<String> {
    deeds(body).iter().map(|deed| format!("{} {:?} {:?}", deed.what, deed.role, deed.phase)).collect()
}

#[test]
fn records_are_deeds() {
    let violation = |action: &str, rest: &str| format!(r#""kind":"violation","action":"{action}",{rest}"#);
    for (body, expected) in [
        (
            violation("exec", r#""rule":"process.shells","subject":{"path":"/bin/sh"},"actor":{"chain":"python3"}"#),
            "exec /bin/sh Child Init",
        ),
        (
            violation(
                "exec",
                r#""rule":"process.allow","subject":{"path":"/usr/bin//tr"},"policyLine":{"section":"process","key":"allow","value":"/usr/bin/tr"}"#,
            ),
            "exec /usr/bin/tr Child Init",
        ),
        (
            violation("connect", r#""rule":"egress.allow","subject":{"name":"A.example","address":"[::ffff:192.0.2.1]:443"}"#),
            "connect a.example:443 Runtime Init",
        ),
        (
            violation("open_write", r#""rule":"tmp.writes","subject":{"path":"/tmp/x"},"actor":{"chain":"python3 > sh"}"#),
            "open-write /tmp/x Child Init",
        ),
        (
            violation("read_credential", r#""detail":"in a copy of the whole environment, by the package ddtrace""#),
            "read-credential, all by the package ddtrace Runtime Init",
        ),
        (
            r#""kind":"residue","entries":[{"path":"/tmp/x","change":"created"},{"path":"/tmp/y","change":"deleted"}]"#
                .to_owned(),
            "residue /tmp/x Runtime Init",
        ),
    ] {
        assert_eq!(shown(&body), [expected], "{body}");
    }
    for body in [
        violation("exec", r#""subject":{"path":"/a/[redacted]"}"#),
        violation("connect", r#""subject":{"name":"a.example"}"#),
        violation("dance", r#""subject":{}"#),
        r#""kind":"protection""#.to_owned(),
    ] {
        assert!(deeds(&body).is_empty(), "{body}");
    }
}

proptest! {
    #[test]
    fn no_words_are_a_panic(text in "\\PC{0,60}", action in 0..ACTIONS.len()) {
        let _ = What::parse(&text);
        if let Ok(what) = What::parse(&format!("{} {text}", ACTIONS[action].0)) {
            let deed = Deed { what, phase: Phase::Invoke, role: Role::Child };
            let verdict = deed.verdict(&policy("extends = \"web-api\"\negress.allow = []"));
            prop_assert!(!deed.what.to_string().is_empty() && !verdict.rule.as_str().is_empty());
        }
    }
}

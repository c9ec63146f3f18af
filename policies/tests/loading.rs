//! Where a policy comes from, what its packs add, and what is said of the rules in it.

use std::collections::BTreeMap;
use std::io;

use ringfence_policy::{
    Action, Context, Date, Decision, Mode, PathGlob, Phase, Plane, Policy, PolicySource, Resolution, Role,
    Rule, resolve,
};

/// Resolves against files that exist only here.
fn resolved(env_policy: Option<&str>, on_error: Option<&str>, files: &[(&str, &str)]) -> Resolution {
    let files: BTreeMap<&str, &str> = files.iter().copied().collect();
    resolve(env_policy, on_error, &|path| {
        let text = files.get(path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        if *text == "closed" {
            Err(io::ErrorKind::PermissionDenied.into())
        } else {
            Ok(text.as_bytes().to_vec())
        }
    })
}

const TASK: &str = "/var/task/policy.toml";
const LAYER: &str = "/opt/ringfence/policy.toml";

#[test]
fn the_first_of_the_places_wins() {
    let both = [(TASK, "tmp.residue = \"wipe\""), (LAYER, ""), ("/var/policy/p.toml", "")];
    assert_eq!(resolved(None, None, &both).source, PolicySource::File(TASK.into()));
    assert_eq!(resolved(None, None, &both[1..]).source, PolicySource::File(LAYER.into()));
    assert_eq!(
        resolved(Some("/var/policy/p.toml"), None, &both).source,
        PolicySource::File("/var/policy/p.toml".into())
    );
    assert_eq!(resolved(Some("web-api"), None, &both).source, PolicySource::Pack("web-api"));
}

#[test]
fn without_a_policy_the_baseline_is_observed() {
    for absent in [None, Some("")] {
        let resolution = resolved(absent, None, &[]);
        assert_eq!((resolution.source, resolution.failure), (PolicySource::Fallback, None));
        assert_eq!(resolution.policy.mode, Mode::Observe);
        assert!(resolution.policy.rules_in_use().iter().all(|rule_use| rule_use.mode == Mode::Observe));
    }
}

#[test]
fn a_broken_policy_refuses_unless_told_to_observe() {
    let broken = [(TASK, "mode = \"on\"")];
    let refused = resolved(None, None, &broken).failure.unwrap();
    assert!(
        refused.refuse && refused.message.contains("--> /var/task/policy.toml:1:8"),
        "{}",
        refused.message
    );
    let observed = resolved(None, Some("observe"), &broken);
    assert!(!observed.failure.unwrap().refuse);
    assert_eq!(observed.policy.mode, Mode::Observe);
    let unclear = resolved(None, Some("ignore\n"), &broken);
    assert!(unclear.failure.unwrap().refuse);
    assert_eq!(
        unclear.warnings,
        ["RINGFENCE_ON_ERROR is \"ignore\": expected refuse or observe, took refuse"]
    );
}

#[test]
fn a_policy_that_cannot_be_had_says_why() {
    let message =
        |env: Option<&str>, files: &[(&str, &str)]| resolved(env, None, files).failure.unwrap().message;
    insta::assert_snapshot!(message(Some("/tmp/policy.toml"), &[]), @r#"
    error: RINGFENCE_POLICY is "/tmp/policy.toml": a policy may not come from a place that the function can write
    hint: ship it with the code (/var/task) or in a layer (/opt)
    "#);
    insta::assert_snapshot!(message(Some("webapi"), &[]), @r#"
    error: RINGFENCE_POLICY is "webapi": expected an absolute path or the name of a pack
    hint: packs: baseline, web-api, document-worker, learn
    "#);
    insta::assert_snapshot!(message(Some("/var/p.toml"), &[]), @r"
    error: cannot read the policy /var/p.toml: entity not found
    hint: RINGFENCE_POLICY names it; check the path, or unset the variable
    ");
    insta::assert_snapshot!(message(None, &[(TASK, "closed"), (LAYER, "")]), @r"
    error: cannot read the policy /var/task/policy.toml: permission denied
    hint: make it readable for every user (chmod a+r)
    ");
    for sly in
        ["/var/../tmp/p.toml", "//tmp/p", "/tmp", "/proc/self/cwd/p", "/dev/shm/p", "/var/tmp/p", "/./tmp/p"]
    {
        assert!(message(Some(sly), &[(sly, "")]).contains("can write"), "{sly}");
    }
}

#[test]
fn files_that_are_too_large_or_no_text_are_refused() {
    let large = " ".repeat(256 * 1024 + 1);
    assert!(resolved(None, None, &[(TASK, &large)]).failure.unwrap().message.contains("larger than 256 KiB"));
    let binary = resolve(None, None, &|_| Ok(vec![0xff, 0xfe]));
    assert!(binary.failure.unwrap().message.contains("not UTF-8"));
}

#[test]
fn an_error_behind_many_warnings_is_still_an_error() {
    let rule = "[[rule]]\nwhen = { process = \"/x\" }\n";
    let warned = Policy::parse("policy.toml", &rule.repeat(60)).unwrap();
    assert_eq!(warned.warnings.len(), 50);
    assert!(Policy::parse("policy.toml", &format!("{}tmp.writes = 3\n", rule.repeat(60))).is_err());
    let garbage = (0..20_000).map(|number| format!("k{number} = 1")).collect::<Vec<_>>().join("\n");
    assert_eq!(Policy::parse("policy.toml", &garbage).unwrap_err().0.len(), 50);
}

#[test]
fn the_digest_names_the_text_and_its_packs() {
    let digest = |text: &str| resolved(None, None, &[(TASK, text)]).digest;
    assert_eq!(digest("mode = \"enforce\"").len(), "sha256:".len() + 64);
    assert_ne!(digest("mode = \"enforce\""), digest("mode = \"enforce\"\n"));
    assert_ne!(digest("extends = \"web-api\""), digest("extends = \"baseline\""));
    // sha256 of eight zero bytes: the length of an empty text.
    assert_eq!(digest(""), "sha256:af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc");
}

#[test]
fn a_file_replaces_what_its_packs_allow_and_adds_to_what_they_deny() {
    let text = "extends = [\"baseline\", \"document-worker\"]\nprocess.allow = [\"/opt/tool\"]\negress.deny = [\"10.0.0.0/8\"]\n\
                process.limits = { processes = 9 }";
    let policy = Policy::parse("policy.toml", text).unwrap().policy;
    let allow = policy.base.process.allow.unwrap();
    assert_eq!(allow.iter().map(PathGlob::as_str).collect::<Vec<_>>(), ["/opt/tool"]);
    let deny: Vec<String> = policy.base.egress.deny.unwrap().0.iter().map(ToString::to_string).collect();
    assert_eq!(deny, ["169.254.169.254", "10.0.0.0/8"]);
    let limits = policy.base.process.limits.unwrap();
    assert_eq!((limits.processes.unwrap().0, limits.open_files.unwrap().0), (9, 512));
}

#[test]
fn packs_close_the_process_file_system_to_thieves_but_leave_the_code_readable() {
    let context =
        Context { phase: Phase::Invoke, role: Role::Runtime, strongest: Plane::Process, launched: true };
    for pack in ["baseline", "web-api", "document-worker"] {
        let policy = Policy::parse("policy.toml", &format!("extends = \"{pack}\"")).unwrap().policy;
        let read =
            |path: &str| policy.verdict(&Action::OpenRead { path: path.as_bytes() }, &context).decision;
        for secret in ["/proc/7/environ", "/proc/7/mem", "/proc/7/task/8/environ"] {
            assert_eq!(read(secret), Decision::Deny, "{pack}: {secret}");
        }
        for needed in ["/var/task/app.py", "/proc/7/status", "/opt/python/boto3/__init__.py"] {
            assert_eq!(read(needed), Decision::Allow, "{pack}: {needed}");
        }
    }
}

#[test]
fn rules_in_use_say_what_is_asked_for_and_where() {
    let text = "[process]\nallow = []\nshells = \"allow\"\n[egress]\nmode = \"observe\"\ndeny = [\"a.test\"]\n[credentials]\nreads = \"report\"\n\
                [files]\nmode = \"off\"\ndeny_read = [\"/x\"]\n[[rule]]\nwhen = { phase = \"init\" }\ntmp.writes = \"deny\"\n";
    let policy = Policy::parse("policy.toml", text).unwrap().policy;
    let uses = policy.rules_in_use();
    let told: Vec<String> = uses
        .iter()
        .map(|used| format!("{} {} {}", used.rule.as_str(), used.mode.as_str(), used.key))
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    process.allow enforce process.allow
    process.uncovered enforce default
    egress.deny observe egress.deny
    egress.runtime_api observe default
    tmp.writes enforce rule[1].tmp.writes
    credentials.reads observe credentials.reads
    self_protection enforce default
    ");
    assert!(uses.iter().all(|used| used.rule != Rule::None));
}

#[test]
fn no_rule_is_claimed_that_never_applies_and_none_is_forgotten() {
    let rules = |text: &str| {
        let uses = Policy::parse("policy.toml", text).unwrap().policy.rules_in_use();
        uses.iter().map(|used| format!("{} {}", used.rule.as_str(), used.mode.as_str())).collect::<Vec<_>>()
    };
    let single = "mode = \"off\"\n[[rule]]\nwhen = { process = \"/usr/bin/*\" }\ntmp = { mode = \"enforce\", writes = \"deny\" }";
    assert_eq!(rules(single), ["rule.when.process enforce"]);
    let narrowed = "mode = \"off\"\n[[rule]]\nwhen = { process = \"child\" }\ntmp = { mode = \"enforce\", writes = \"deny\" }";
    assert_eq!(rules(narrowed), ["process.uncovered enforce", "tmp.writes enforce"]);
    // An allow list guards the look-up of names too, where another rule than the list's is named.
    let listed = "mode = \"off\"\negress = { mode = \"observe\", runtime_api = \"any\", allow = [] }";
    assert_eq!(rules(listed), ["process.uncovered observe", "egress.allow observe", "egress.names observe"]);
}

#[test]
fn a_policy_prints_as_one_would_write_it() {
    let text = "extends = \"baseline\"\nenforce_after = 2026-12-24\n[[rule]]\nwhen = { phase = \"init\", process = \"child\" }\ntmp.writes = [\"/tmp/a\"]\n";
    let policy = Policy::parse("policy.toml", text).unwrap().policy;
    insta::assert_snapshot!(policy.to_toml(), @r#"
    version = 1
    mode = "enforce"
    on_degraded = "continue"
    enforce_after = 2026-12-24

    [process]
    from_writable = "deny"
    survivors = "report"

    [egress]
    deny = ["169.254.169.254"]
    runtime_api = "runtime"

    [tmp]
    residue = "report"

    [files]
    deny_read = ["/proc/*/environ", "/proc/*/task/*/environ", "/proc/*/mem", "/proc/*/task/*/mem"]

    [credentials]
    reads = "report"

    [[rule]]
    when = { phase = "init", process = "child" }
    tmp.writes = ["/tmp/a"]
    "#);
    assert_eq!(policy.effective(Date { year: 2026, month: 12, day: 24 }).mode, Mode::Enforce);
    assert_eq!(policy.effective(Date { year: 2026, month: 12, day: 23 }).mode, Mode::Observe);
}

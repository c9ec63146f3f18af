//! Every kernel feature that the plane makes use of, taken away alone and all together: what is there stands in the
//! protection record, and programs and attacks come to the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use support::{Profile, bench, guarded_lacking, text, violations, without};

/// Under the names that the record has for them.
const FEATURES: [&str; 7] = [
    "pidfd_getfd",
    "PIDFD_THREAD",
    "ADDFD_SEND",
    "WAIT_KILLABLE_RECV",
    "SYNC_WAKE_UP",
    "openat2",
    "Landlock",
];

/// What Linux 5.10 lacks, as Debian builds it.
const OLD: &[&str] = &["PIDFD_THREAD", "ADDFD_SEND", "WAIT_KILLABLE_RECV", "SYNC_WAKE_UP", "Landlock"];
/// What Linux 6.1 lacks.
const STABLE: &[&str] = &["PIDFD_THREAD", "SYNC_WAKE_UP"];

fn sets() -> Vec<Vec<&'static str>> {
    let alone = FEATURES.iter().map(|feature| vec![*feature]);
    alone.chain([OLD.to_vec(), STABLE.to_vec(), FEATURES.to_vec()]).collect()
}

/// The features that the guard tells the agent of, and all that it found.
fn told(missing: &[&str]) -> (String, String) {
    let api =
        format!("127.79.{}.{}:9001", std::process::id() % 250 + 1, missing.len() + 10 * missing[0].len());
    let mut agent = Command::new(bench().join("outer"))
        .args(["open", "/usr/bin/python3"])
        .arg(bench().join("agent.py"))
        .args([api.as_str(), "1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(agent.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert_eq!(lines.next().unwrap(), r#"{"ready": true}"#);
    let mut command = guarded_lacking(missing, "tools", &["/bin/echo", "hello"]);
    let output = command.env("AWS_LAMBDA_RUNTIME_API", &api).output().unwrap();
    assert_eq!(text(&output.stdout), "hello\n", "{missing:?}: {}", text(&output.stderr));
    let all: Vec<_> = lines.take_while(|line| !line.contains(r#""pid""#)).collect();
    agent.kill().unwrap();
    agent.wait().unwrap();
    let line = all.iter().find(|line| line.contains("kernel features:")).unwrap();
    (line.clone(), all.join("\n"))
}

#[test]
fn what_is_there_is_told_and_what_is_not_is_not() {
    for missing in sets() {
        let (line, all) = told(&missing);
        for name in FEATURES {
            // The name may also be missing because this kernel does not have the feature.
            let gone =
                missing.contains(&name) || (name == "PIDFD_THREAD" && missing.contains(&"pidfd_getfd"));
            assert!(!(gone && line.contains(name)), "{missing:?}: {line}");
        }
        let asks = all.contains("opens that write go through the guard");
        assert_eq!(asks, missing.contains(&"Landlock"), "{missing:?}: {all}");
    }
    let (here, _) = told(&["nothing"]);
    assert!(!here.contains("none"), "{here}");
    assert!(told(&FEATURES).0.contains("kernel features: none"));
}

#[test]
fn programs_notice_nothing() {
    for missing in sets() {
        // What wants pidfd_getfd is left out of the program's checks, as in profile `nested`.
        let profile = if missing.contains(&"pidfd_getfd") { "nested" } else { "open" };
        let output = guarded_lacking(&missing, "tools", &["/usr/bin/python3", "@benign.py", profile])
            .output()
            .unwrap();
        let shown = text(&output.stdout);
        assert!(!shown.contains("FAILED"), "{missing:?}: {shown}");
        assert_eq!(output.status.code(), Some(42), "{missing:?}: {shown}{}", text(&output.stderr));
        assert_eq!(violations(&output), Vec::<String>::new(), "{missing:?}");
    }
}

/// With rules on writing, and where opens that write are asked about without: nothing else keeps the memory of processes.
#[test]
fn files_are_what_they_are_without_the_guard() {
    let run = |mut command: Command, folder: &str| {
        let output = command.arg(folder).output().unwrap();
        (text(&output.stdout).replace(folder, "FOLDER"), text(&output.stderr))
    };
    let folder = |name: usize| format!("/tmp/ringfence-features-{}-{name}", std::process::id());
    let (expected, notes) = run(without(Profile::Open, &["/usr/bin/python3", "@files.py"]), &folder(0));
    assert!(expected.ends_with("end\n"), "{expected}{notes}");
    let unruled = sets().into_iter().filter(|missing| missing.contains(&"Landlock"));
    let unruled = unruled.map(|missing| ("unruled", missing));
    let runs: Vec<_> = sets().into_iter().map(|missing| ("writes", missing)).chain(unruled).collect();
    assert_eq!(runs.len(), 13);
    for (number, (policy, missing)) in runs.into_iter().enumerate() {
        let command = guarded_lacking(&missing, policy, &["/usr/bin/python3", "@files.py"]);
        let (shown, notes) = run(command, &folder(number + 1));
        let differing: Vec<_> =
            expected.lines().zip(shown.lines()).filter(|(one, other)| one != other).collect();
        assert!(differing.is_empty(), "{policy}, {missing:?}: {differing:#?}");
        assert_eq!(shown.lines().count(), expected.lines().count(), "{missing:?}: {shown}{notes}");
    }
}

#[test]
fn attacks_on_the_supervision_fail() {
    for missing in sets() {
        let output = guarded_lacking(&missing, "races", &["@escape"]).output().unwrap();
        let shown = text(&output.stdout);
        let worked: Vec<_> = shown.lines().filter(|line| line.ends_with(": 0")).collect();
        assert_eq!(worked, ["own: 0"], "{missing:?}: {shown}");
        assert!(shown.contains("memory of guard: 13\n"), "{missing:?}: it ran to its end: {shown}");
    }
}

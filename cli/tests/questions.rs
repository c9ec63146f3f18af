//! `ringfence show`, `test`, `diff` and `explain` from outside.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn ringfence(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads no input may have closed it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_effective_policy_is_a_policy() {
    let folder = Folder::new();
    let file = folder.file("policy.toml", "extends = \"web-api\"\nenforce_after = 2999-01-01\n");
    let (status, shown, _) = ringfence(&["show", &file], "");
    assert_eq!(status, 0);
    assert!(shown.contains("mode = \"observe\"") && shown.contains("[process]\nallow = []"), "{shown}");
    let (status, again, _) = ringfence(&["show", "-"], &shown);
    assert_eq!((status, again), (0, shown));
    assert_eq!(ringfence(&["show", "web-api"], "").0, 0);
    assert_eq!(ringfence(&["show", "/nonexistent"], "").0, 3);
    assert_eq!(ringfence(&["show", "-"], "[egres]\n").0, 1);
}

#[test]
fn an_action_is_explained_for_a_process_and_a_phase() {
    let folder = Folder::new();
    let file = folder.file(
        "policy.toml",
        "[[rule]]\nwhen = { phase = \"init\", process = \"runtime\" }\negress.allow = []\n",
    );
    let explain = |rest: &[&str]| {
        let arguments = [&["explain", "--policy", &file, "connect a.example:443"], rest].concat();
        ringfence(&arguments, "")
    };
    assert!(explain(&[]).1.starts_with("connect a.example:443 by a child during an invocation: allowed\n"));
    let narrowed = explain(&["--process", "runtime", "--phase", "init"]).1;
    assert!(narrowed.contains("policy.toml:3: egress.allow = []"), "{narrowed}");
    let (status, _, complaint) = ringfence(&["explain", "connect a.example:443"], "");
    assert_eq!(status, 2);
    assert!(complaint.contains("--policy FILE"), "{complaint}");
    assert_eq!(ringfence(&["explain", "--policy", &file, "conect x"], "").0, 2);
    assert!(explain(&["--process", "/usr/bin/curl"]).1.contains("by a child"));
    assert_eq!(explain(&["--process", "curl"]).0, 2);
}

const RECORD: &str = r#"{"timestamp":"2026-11-22T01:02:03.456Z","level":"WARN","message":"m","ringfence":{"kind":"violation","action":"exec","verdict":"blocked","rule":"process.shells","subject":{"path":"/bin/sh"},"invocation":{"phase":"invoke"},"function":{"name":"orders"}}}"#;

#[test]
fn a_record_is_explained_from_a_line_a_file_and_standard_input() {
    let folder = Folder::new();
    let file = folder.file("record.json", RECORD);
    let tailed = format!("2026-11-22T01:02:03 2026/11/22/[$LATEST]a {RECORD}\nSTART RequestId: x\n");
    for (what, input) in [(RECORD, ""), (file.as_str(), ""), ("-", tailed.as_str())] {
        let (status, said, complaint) = ringfence(&["explain", what], input);
        assert_eq!(status, 0, "{complaint}");
        assert!(
            said.starts_with("exec /bin/sh by a child during an invocation: blocked (process.shells)"),
            "{said}"
        );
    }
    assert_eq!(ringfence(&["explain", "-"], "no record\n").0, 1);
}

#[test]
fn records_that_are_not_signed_are_not_tested_against() {
    let folder = Folder::new();
    let policy = folder.file("policy.toml", "process.shells = \"deny\"\n");
    let (status, said, complaint) = ringfence(&["test", &policy, "--against", "-"], RECORD);
    assert_eq!((status, said.as_str()), (0, ""));
    assert!(
        complaint.contains("1 record: left out") && complaint.contains("nothing was tested"),
        "{complaint}"
    );
    assert_eq!(ringfence(&["test", &policy, "--against", "/nonexistent"], "").0, 3);
    let broken = folder.file("broken.toml", "[egres]\n");
    assert_eq!(ringfence(&["test", &broken, "--against", "-"], "").0, 2);
}

#[test]
fn a_difference_has_an_exit_status_of_its_own() {
    let folder = Folder::new();
    let old = folder.file("old.toml", "egress.allow = [\"a.example:443\"]\n");
    let new = folder.file("new.toml", "egress.allow = [\"a.example:443\", \"b.example:443\"]\n");
    let (status, said, _) = ringfence(&["diff", &old, &new], "");
    assert_eq!(status, 1);
    assert!(said.contains("connect b.example port 443 (egress.names): every process, always"), "{said}");
    let (status, said, _) = ringfence(&["diff", &new, &old], "");
    assert_eq!(status, 0);
    assert!(said.starts_with("newly denied"), "{said}");
    assert_eq!(ringfence(&["diff", "-", &old], "egress.allow = [\"A.example:443\"]\n").1, "no difference\n");
    let (_, json, _) = ringfence(&["diff", "web-api", "baseline", "--output", "json"], "");
    assert!(serde_json::from_str::<serde_json::Value>(&json).unwrap()[0]["changes"].is_array());
    assert_eq!(ringfence(&["diff", "/nonexistent", &old], "").0, 3);
}

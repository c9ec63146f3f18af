//! `ringfence check` and `ringfence schema` from outside.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::process::{Command, Output};

fn ringfence(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence")).args(arguments).output().unwrap()
}

fn check(policy: &str) -> (Option<i32>, String, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), policy).unwrap();
    let output = ringfence(&["check", file.path().to_str().unwrap()]);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_good_policy_passes() {
    let (status, said, complaints) = check("version = 1\n[process]\nallow = [\"/usr/bin/convert\"]\n");
    assert_eq!(status, Some(0), "{complaints}");
    assert!(said.contains("a good policy"));
}

#[test]
fn what_is_not_built_is_a_warning_at_its_place() {
    let (status, said, complaints) = check("[tmp]\nmax = { files = 10 }\n");
    assert_eq!(status, Some(0));
    assert!(said.contains("a policy with 1 warning ("), "{said}");
    assert!(complaints.contains("`tmp.max` is not built yet") && complaints.contains(":2:7"), "{complaints}");
}

#[test]
fn a_warning_fails_where_that_is_asked_for() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "credentials.expose = \"broker\"\n").unwrap();
    let path = file.path().to_str().unwrap();
    assert_eq!(ringfence(&["check", "--strict", path]).status.code(), Some(1));
    std::fs::write(file.path(), "credentials.expose = \"runtime\"\n").unwrap();
    assert_eq!(ringfence(&["check", "--strict", path]).status.code(), Some(0));
}

#[test]
fn a_mistake_is_shown_at_its_place_with_a_suggestion() {
    let (status, _, complaints) = check("version = 1\n[egres]\nallow = []\n");
    assert_eq!(status, Some(1));
    assert!(complaints.contains("egress") && complaints.contains(":2:"), "{complaints}");
}

#[test]
fn a_file_that_is_not_there_is_status_3() {
    assert_eq!(ringfence(&["check", "/nonexistent/policy.toml"]).status.code(), Some(3));
}

#[test]
fn the_schema_is_json() {
    let output = ringfence(&["schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(schema.get("properties").is_some());
}

#[test]
fn several_policies_are_one_answer_and_programs_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = file("good.toml", "egress.allow = [\"a.example:443\"]\n");
    let dead = file("dead.toml", "egress.allow = [\"a.example:443\", \"*.example:443\"]\n");
    let bad = file("bad.toml", "[egres]\n");
    let text = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();

    let both = ringfence(&["check", &good, &dead]);
    assert_eq!(both.status.code(), Some(0));
    assert!(text(&both).contains("a good policy") && text(&both).contains("a policy with 1 warning"));
    assert_eq!(ringfence(&["check", "--strict", &good, &dead]).status.code(), Some(1));
    assert_eq!(ringfence(&["check", &good, &bad]).status.code(), Some(1));

    let json: serde_json::Value =
        serde_json::from_str(&text(&ringfence(&["check", "--output", "json", &dead, &bad]))).unwrap();
    assert_eq!(json[0]["findings"][0]["severity"], "warning");
    assert_eq!(json[1]["usable"], false);
    let github = text(&ringfence(&["check", "--output", "github", &dead]));
    assert!(github.starts_with("::warning file=") && github.contains("line=1"), "{github}");
    let sarif: serde_json::Value =
        serde_json::from_str(&text(&ringfence(&["check", "--output", "sarif", &bad]))).unwrap();
    assert_eq!(sarif["runs"][0]["results"][0]["level"], "error");
}

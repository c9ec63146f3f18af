//! The command line: wrappers, policies, and the exit statuses of what cannot be.

use crate::run::python;

const ENVIRON: &str = "
import os, sys
def handler(event, context):
    parent = open('/proc/%d/cmdline' % os.getppid(), 'rb').read().split(b'\\0')
    return {'env': dict(os.environ), 'policy': os.path.exists('/var/policy/policy.toml') and open('/var/policy/policy.toml').read(),
            'argv': open('/proc/self/cmdline').read().split('\\0')[:-1]}
";

#[test]
fn the_wrapper_gets_interpreter_and_arguments() {
    let wrapper = "#!/bin/sh\nWRAPPED=\"$*\" exec \"$@\"\n";
    let seen = python(ENVIRON)
        .file("opt/wrapper", wrapper, 0o755)
        .with(&["--env", "AWS_LAMBDA_EXEC_WRAPPER=/opt/wrapper"])
        .event("{}")
        .run();
    let [response] = seen.responses();
    let command = response["payload"]["env"]["WRAPPED"].as_str().unwrap();
    assert!(
        command.starts_with("/var/lang/bin/python3.") && command.ends_with(" /var/runtime/bootstrap.py"),
        "{command}"
    );
}

#[test]
fn a_wrapper_that_is_missing_or_not_executable_ends_as_on_lambda() {
    for (mode, name, status) in [(0o644, "wrapper", 126), (0o755, "nothing", 127)] {
        let variable = format!("AWS_LAMBDA_EXEC_WRAPPER=/opt/{name}");
        let function = python(ENVIRON).file("opt/wrapper", "#!/bin/sh\nexec \"$@\"\n", mode);
        let seen = function.with(&["--env", &variable]).event("{}").run();
        let message = seen.responses::<1>()[0]["payload"]["errorMessage"].as_str().unwrap().to_owned();
        assert!(message.ends_with(&format!("exit status {status}")), "{message}");
    }
}

#[test]
fn a_policy_is_mounted_and_named() {
    let function = python(ENVIRON).file("policy.toml", "version = 1\n", 0o600).event("{}");
    let policy = function.path("policy.toml");
    let seen = function.with(&["--policy", &policy]).run();
    let [response] = seen.responses();
    assert_eq!(response["payload"]["env"]["RINGFENCE_POLICY"], "/var/policy/policy.toml");
    assert_eq!(response["payload"]["policy"], "version = 1\n");
}

#[test]
fn a_bootstrap_of_the_functions_own_is_started_directly() {
    let bootstrap = "#!/usr/bin/python3
import os, urllib.request as u
api = 'http://%s/2018-06-01/runtime/invocation/' % os.environ['AWS_LAMBDA_RUNTIME_API']
while True:
    event = u.urlopen(api + 'next')
    u.urlopen(api + event.headers['Lambda-Runtime-Aws-Request-Id'] + '/response', event.read()).read()
";
    let function = python("").file("code/bootstrap", bootstrap, 0o755).event("[1]");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringfence"));
    command.args([
        "local",
        "invoke",
        "--output",
        "json",
        "--no-layer",
        "--runtime",
        "provided",
        "--handler",
        "h",
    ]);
    command.args(["--code", &function.path("code"), &function.path("event-0.json")]);
    let seen = crate::run::Seen::read(&command.output().unwrap());
    assert_eq!(seen.responses::<1>()[0]["payload"], serde_json::json!([1]));
}

#[test]
fn wrong_usage_is_status_2() {
    let mistakes: &[&[&str]] = &[
        &["--profile", "lax"],
        &["--network", "world"],
        &["--timeout", "0"],
        &["--concurrency", "2"],
        &["--env", "NOVALUE"],
        &["--bogus"],
        &["--runtime", "python2.7"],
        &["--log-fd", "2"],
        &["--log-fd", "many"],
        &["--api", "localhost"],
        &["--entrypoint", ""],
        &["--entrypoint", "[1]"],
        &["--image", "--entrypoint", "x"],
    ];
    for mistake in mistakes {
        let seen = python("").event("{}").with(mistake).run();
        assert_eq!(seen.status, 2, "{mistake:?}: {}", seen.errors);
    }
    assert_eq!(python("").event("no json").run().status, 2);
    assert_eq!(python("").run().status, 2);
}

#[test]
fn an_event_beyond_lambdas_limit_is_said_to_be_too_long() {
    let event = format!("\"{}\"", "a".repeat(7 << 20));
    let seen = python("").event(&event).run();
    assert_eq!(seen.status, 2);
    assert!(
        seen.errors.trim_end().ends_with("event-0.json: longer than Lambda's limit of 6 MB"),
        "{}",
        seen.errors
    );
}

#[test]
fn an_interpreter_that_is_not_there_is_status_3_and_one_line() {
    let seen = python("").with(&["--runtime", "python3.14", "--interpreter", "/bin/true"]).event("{}").run();
    assert_eq!(seen.status, 3);
    let line = "ringfence local: cannot build the environment: find Python 3.14: /bin/true is none\n";
    assert_eq!(seen.errors, line);
}

#[test]
fn an_environment_that_cannot_be_built_is_status_3_and_says_why() {
    let function = python("").event("{}");
    let event = function.path("event-0.json");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringfence"));
    command.current_dir(function.directory.path());
    command.args(["local", "invoke", "--code", "code", "--handler", "a.b", "--runtime", "python3", &event]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("build/ringfence-layer-x86_64.zip") && errors.contains("--no-layer"), "{errors}");
}

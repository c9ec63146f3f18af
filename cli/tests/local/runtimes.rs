//! The managed runtimes' bootstraps: search paths, variables, descriptors, images.

use std::fs;

use serde_json::{Value, json};

use crate::run::{Function, python};

/// Answers with what a bootstrap decides. Children of `multiprocessing` import this file again.
const LOOK: &str = "
import json, os, subprocess, sys
PATH = list(sys.path)
def handler(event, context):
    child = subprocess.run([sys.executable, '-c', 'import json, os; print(json.dumps(dict(os.environ)))'],
                           stdout=subprocess.PIPE).stdout
    return {'path': PATH, 'env': dict(os.environ), 'child': json.loads(child),
            'start': open('/proc/self/environ').read().split('\\0'), 'argv': sys.argv, 'executable': sys.executable,
            'fds': sorted(int(fd) for fd in os.listdir('/proc/self/fd')), 'stdin': os.readlink('/proc/self/fd/0'),
            'group': os.getpgid(0) == os.getpid(), 'version': sys.version_info[:2]}
";

fn look(function: &Function) -> Value {
    let seen = function.run();
    assert_eq!(seen.status, 0, "{:#?}\n{}", seen.lines, seen.errors);
    seen.responses::<1>()[0]["payload"].clone()
}

/// A function with a library layer, as AWS's documentation lays it out.
fn layered(version: &str) -> Function {
    let function = python(LOOK).event("{}");
    fs::create_dir_all(function.directory.path().join(format!("opt/python/lib/{version}/site-packages")))
        .unwrap();
    function
}

/// `pythonX.Y` of the interpreter that `python3` means here.
fn version_of(payload: &Value) -> String {
    format!("python{}.{}", payload["version"][0], payload["version"][1])
}

fn here() -> String {
    version_of(&look(&python(LOOK).event("{}")))
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

#[test]
fn without_pythonpath_the_layers_directories_come_in_lambdas_order() {
    let version = here();
    let seen = look(&layered(&version));
    let own = format!("/var/lang/lib/{version}/site-packages");
    let layer = format!("/opt/python/lib/{version}/site-packages");
    let mut expected = vec!["/var/task", &layer, "/opt/python", &own, "/var/runtime"];
    if seen["version"][1].as_u64() < Some(11) {
        expected.retain(|place| *place != own);
    }
    let path = strings(&seen["path"]);
    assert_eq!(path[..expected.len()], expected, "{path:?}");
    assert_eq!(path.last(), Some(&own.as_str()));
    assert_eq!(seen["env"]["PYTHONPATH"], "/var/runtime");
    assert_eq!(seen["child"]["PYTHONPATH"], "/var/runtime");
    assert!(!strings(&seen["start"]).iter().any(|variable| variable.starts_with("PYTHONPATH=")));
}

#[test]
fn a_layer_directory_that_is_missing_reappears_at_the_end() {
    let seen = look(&python(LOOK).event("{}"));
    let layer = format!("/opt/python/lib/{}/site-packages", version_of(&seen));
    let path = strings(&seen["path"]);
    let places: Vec<usize> = (0..path.len()).filter(|at| path[*at] == layer).collect();
    assert_eq!(places, [1, path.len() - 2], "{path:?}");
    assert_eq!(path.last(), Some(&"/opt/python"));
}

#[test]
fn with_pythonpath_even_an_empty_one_the_layers_directories_stay_out() {
    for value in ["", "/opt/mine"] {
        let variable = format!("PYTHONPATH={value}");
        let function = layered(&here()).with(&["--env", &variable]);
        let seen = look(&function);
        let path = strings(&seen["path"]);
        let mut expected = vec!["/var/task", "/var/runtime"];
        expected.extend((!value.is_empty()).then_some(value));
        assert_eq!(path[..expected.len()], expected, "{path:?}");
        assert!(!path.iter().any(|place| place.starts_with("/opt/python")), "{path:?}");
        assert_eq!(seen["child"]["PYTHONPATH"], "/var/runtime");
    }
}

#[test]
fn pth_files_of_function_and_layer_run_before_the_handler_is_imported() {
    let code = "import os\nSEEN = [os.environ.get('FROM_TASK'), os.environ.get('FROM_LAYER')]\n\
                def handler(event, context): return SEEN\n";
    let function = python(code).event("{}");
    fs::create_dir_all(function.directory.path().join("opt/python")).unwrap();
    let function = function.file("code/a.pth", "import os; os.environ['FROM_TASK'] = 'yes'\n", 0o644).file(
        "opt/python/b.pth",
        "import os; os.environ['FROM_LAYER'] = 'yes'\n",
        0o644,
    );
    assert_eq!(look(&function), json!(["yes", "yes"]));
    let with_path = function.with(&["--env", "PYTHONPATH="]);
    assert_eq!(look(&with_path), json!(["yes", null]));
}

#[test]
fn a_layer_cannot_take_the_clients_place() {
    let function = python("def handler(event, context): return 'ran'\n")
        .file("code/awslambdaric.py", "raise SystemExit('taken over')\n", 0o644)
        .event("{}");
    assert_eq!(look(&function), "ran");
}

#[test]
fn the_environment_of_the_process_is_lambdas() {
    let seen = look(&python(LOOK).event("{}"));
    let version = version_of(&seen);
    assert_eq!(seen["env"]["AWS_EXECUTION_ENV"], format!("AWS_Lambda_{version}"));
    assert_eq!(seen["executable"], format!("/var/lang/bin/{version}"));
    assert_eq!((&seen["stdin"], &seen["group"]), (&json!("/dev/null"), &json!(true)));
    assert!(
        !seen["env"].as_object().unwrap().contains_key("_LAMBDA_TELEMETRY_LOG_FD"),
        "the client deletes it"
    );
    assert!(strings(&seen["start"]).contains(&"_LAMBDA_TELEMETRY_LOG_FD=62"));
    assert!(seen["fds"].as_array().unwrap().contains(&json!(62)));
}

#[test]
fn the_log_descriptor_has_the_number_that_was_asked_for_or_is_absent() {
    let number = look(&python(LOOK).with(&["--log-fd", "3"]).event("{}"));
    assert!(strings(&number["start"]).contains(&"_LAMBDA_TELEMETRY_LOG_FD=3"));
    let none = look(&python(LOOK).with(&["--log-fd", "none"]).event("{}"));
    assert!(!strings(&none["start"]).iter().any(|v| v.starts_with("_LAMBDA_TELEMETRY_LOG_FD")));
    assert!(!none["fds"].as_array().unwrap().contains(&json!(62)));
}

#[test]
fn what_a_function_logs_and_prints_arrives_as_its_records() {
    let code = "
import logging, sys
def handler(event, context):
    logging.getLogger().warning('first line\\nsecond line')
    print('printed')
    print('to the errors', file=sys.stderr)
";
    let seen = python(code).event("{}").run();
    let said: Vec<String> =
        seen.printed("function").iter().map(|(_, r)| r.as_str().unwrap().to_owned()).collect();
    let logged = said.iter().find(|line| line.starts_with("[WARNING]")).unwrap();
    assert!(
        logged.ends_with("first line\nsecond line\n") || logged.ends_with("first line\nsecond line"),
        "{logged:?}"
    );
    assert!(said.contains(&"printed".to_owned()) && said.contains(&"to the errors".to_owned()), "{said:?}");
}

#[test]
fn the_apis_are_where_they_were_asked_for() {
    let api = "169.254.100.1:9001";
    let seen = look(&python(LOOK).with(&["--api", api]).event("{}"));
    for name in ["AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_METADATA_API"] {
        assert_eq!(seen["env"][name], api);
    }
    assert_eq!(seen["env"]["AWS_XRAY_DAEMON_ADDRESS"], "169.254.100.1:2000");
}

#[test]
fn a_spawned_child_of_multiprocessing_does_not_start_the_client_again() {
    let code = "
import multiprocessing, os
def work(pipe): pipe.send([os.getpid(), __name__])
def handler(event, context):
    spawn = multiprocessing.get_context('spawn')
    ours, theirs = spawn.Pipe()
    child = spawn.Process(target=work, args=(theirs,))
    child.start()
    pid, name = ours.recv()
    child.join()
    return {'own': pid == child.pid, 'name': name, 'exit': child.exitcode}
";
    assert_eq!(look(&python(code).event("{}")), json!({"own": true, "name": "app", "exit": 0}));
}

#[test]
fn each_python_runs_or_says_in_one_line_that_it_is_not_there() {
    let code = "import sys\ndef handler(event, context): return list(sys.version_info[:2])\n";
    let mut ran = 0;
    for minor in 9..=14 {
        let seen = python(code).with(&["--runtime", &format!("python3.{minor}")]).event("{}").run();
        if seen.status == 3 {
            assert_eq!(seen.errors.lines().count(), 1, "{}", seen.errors);
            ringfence_tests::skipped(seen.errors.trim());
            continue;
        }
        assert_eq!(seen.responses::<1>()[0]["payload"], json!([3, minor]), "{}", seen.errors);
        ran += 1;
    }
    assert!(ran > 0);
}

#[test]
fn an_image_on_awss_base_image_starts_its_entry_point() {
    let wrapper = "#!/bin/sh\nWRAPPED=$_HANDLER exec \"$@\"\n";
    let function = python(LOOK)
        .file("opt/wrapper", wrapper, 0o755)
        .with(&["--image", "--env", "AWS_LAMBDA_EXEC_WRAPPER=/opt/wrapper"])
        .event("{}");
    let seen = look(&function);
    assert_eq!(seen["env"]["WRAPPED"], "app.handler");
    assert_eq!(seen["env"]["TZ"], ":/etc/localtime");
}

#[test]
fn the_entry_point_demands_exactly_one_argument() {
    for words in ["/lambda-entrypoint.sh", "[\"/lambda-entrypoint.sh\", \"a\", \"b\"]"] {
        let seen = python(LOOK).with(&["--entrypoint", words]).event("{}").run();
        let message = seen.responses::<1>()[0]["payload"]["errorMessage"].as_str().unwrap().to_owned();
        assert!(message.ends_with("exit status 142"), "{message}");
    }
}

#[test]
fn an_image_with_a_command_of_its_own_has_no_bootstrap_and_no_wrapper() {
    let function = python(LOOK)
        .file("opt/wrapper", "#!/bin/sh\nexit 9\n", 0o755)
        .with(&["--env", "AWS_LAMBDA_EXEC_WRAPPER=/opt/wrapper"])
        .with(&["--entrypoint", "/var/lang/bin/python3 -m awslambdaric app.handler"])
        .event("{}");
    let seen = look(&function);
    assert!(seen["env"].get("AWS_EXECUTION_ENV").is_none() && seen["env"].get("_HANDLER").is_none());
    assert!(seen["env"].get("PYTHONPATH").is_none());
}

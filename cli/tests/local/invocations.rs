//! Answers, errors, time limits, resets and the order of the log stream.

use serde_json::{Value, json};

use crate::run::python;

const COUNTING: &str = "
import os, time
calls = 0
def handler(event, context):
    global calls
    calls += 1
    print('call', calls)
    open('/tmp/trace', 'a').write(event.get('mark', ''))
    if event.get('fail'): raise ValueError('no good')
    if event.get('exit'): os._exit(7)
    if event.get('sleep'): time.sleep(event['sleep'])
    return {'calls': calls, 'trace': open('/tmp/trace').read(), 'id': context.aws_request_id,
            'left': context.get_remaining_time_in_millis(), 'arn': context.invoked_function_arn}
";

#[test]
fn events_are_answered_in_order_in_one_warm_environment() {
    let seen = python(COUNTING).event("{\"mark\":\"a\"}").event("{\"mark\":\"b\"}").run();
    let [first, second] = seen.responses();
    assert_eq!(seen.status, 0);
    assert_eq!((&first["payload"]["calls"], &second["payload"]["calls"]), (&json!(1), &json!(2)));
    assert_eq!(second["payload"]["trace"], "ab");
    assert_eq!(first["payload"]["id"], first["requestId"]);
    assert!(first["initMs"].as_f64().unwrap() > 0.0 && second["initMs"].is_null());
    assert!(first["maxMemoryMB"].as_u64().unwrap() > 5);
    let left = first["payload"]["left"].as_u64().unwrap();
    assert!((5_000..=10_000).contains(&left), "{left} ms of 10 s left");
}

#[test]
fn the_log_stream_has_lambdas_order() {
    let seen = python(COUNTING).event("{}").run();
    let names: Vec<String> = seen.lines.iter().map(name).collect();
    insta_like(
        &names,
        &[
            "platform.initStart",
            "platform.initRuntimeDone",
            "platform.initReport",
            "platform.start",
            "function",
            "platform.runtimeDone",
            "platform.report",
            "response",
        ],
    );
    let id = &seen.responses::<1>()[0]["requestId"];
    assert_eq!(seen.printed("function"), [(id, &json!("call 1"))]);
}

fn name(line: &Value) -> String {
    let name = if line["type"] == "platform" { &line["record"]["type"] } else { &line["type"] };
    name.as_str().unwrap().to_owned()
}

fn insta_like(seen: &[String], expected: &[&str]) {
    assert_eq!(seen, expected, "the order of the stream");
}

#[test]
fn an_exception_is_an_error_and_the_environment_stays_warm() {
    let seen = python(COUNTING).event("{\"fail\":1}").event("{}").run();
    let [failed, after] = seen.responses();
    assert_eq!(seen.status, 1);
    assert_eq!(failed["status"], "error");
    assert_eq!(failed["payload"]["errorType"], "ValueError");
    assert_eq!(after["payload"]["calls"], 2);
}

#[test]
fn a_time_limit_resets_the_environment_but_not_tmp() {
    let seen = python(COUNTING)
        .with(&["--timeout", "3"])
        .event("{\"mark\":\"a\",\"sleep\":30}")
        .event("{\"mark\":\"b\"}")
        .run();
    let [late, after] = seen.responses();
    assert_eq!(seen.status, 1);
    assert_eq!(late["status"], "timeout");
    assert!(late["payload"]["errorMessage"].as_str().unwrap().ends_with("Task timed out after 3.00 seconds"));
    assert_eq!(after["payload"]["calls"], 1);
    assert_eq!(after["payload"]["trace"], "ab");
}

#[test]
fn a_runtime_that_exits_fails_its_invocation_and_only_that() {
    let seen = python(COUNTING).event("{\"exit\":1}").event("{}").run();
    let [dead, after] = seen.responses();
    assert_eq!(dead["payload"]["errorType"], "Runtime.ExitError");
    assert!(dead["payload"]["errorMessage"].as_str().unwrap().ends_with("exit status 7"));
    assert_eq!(after["status"], "success");
}

#[test]
fn an_import_error_is_reported_as_the_runtime_client_said_it() {
    let seen = python("raise RuntimeError('at import')").event("{}").run();
    let [response] = seen.responses();
    assert_eq!(seen.status, 1);
    assert_eq!(response["payload"]["errorType"], "RuntimeError");
    // Lambda tries init again within the invocation.
    assert_eq!(seen.platform("platform.initReport").len(), 2);
}

#[test]
fn a_response_that_streams_arrives_whole() {
    let code = "
import os, http.client
def handler(event, context):
    c = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
    c.putrequest('POST', '/2018-06-01/runtime/invocation/%s/response' % context.aws_request_id)
    c.putheader('Transfer-Encoding', 'chunked')
    c.putheader('Lambda-Runtime-Function-Response-Mode', 'streaming')
    c.endheaders()
    for part in (b'6\\r\\n\"abcde\\r\\n', b'2\\r\\nf\"\\r\\n', b'0\\r\\n\\r\\n'): c.send(part)
    assert c.getresponse().status == 202
";
    let seen = python(code).event("{}").run();
    assert_eq!(seen.responses::<1>()[0]["payload"], "abcdef");
}

#[test]
fn managed_instances_run_invocations_at_the_same_time() {
    let code = "
import time, os, pathlib, logging
def handler(event, context):
    pathlib.Path('/tmp/' + event['me']).touch()
    logging.getLogger().warning('here is ' + event['me'])
    until = time.time() + 8
    while not os.path.exists('/tmp/' + event['other']):
        if time.time() > until: raise TimeoutError('alone')
        time.sleep(0.01)
    return os.environ['AWS_LAMBDA_MAX_CONCURRENCY']
";
    let seen = python(code)
        .with(&["--profile", "managed-instances", "--concurrency", "2"])
        .event("{\"me\":\"a\",\"other\":\"b\"}")
        .event("{\"me\":\"b\",\"other\":\"a\"}")
        .run();
    let [a, b] = seen.responses();
    assert_eq!((&a["payload"], &b["payload"]), (&json!("2"), &json!("2")), "{:#?}", seen.lines);
    let said = seen.printed("function");
    let of_a = said.iter().find(|(_, record)| record["message"] == "here is a").unwrap();
    assert_eq!(of_a.0, &of_a.1["requestId"], "a line that names its request is filed under it");
}

//! Extensions: registration, events, telemetry, shutdown, and what their end does to the function.

use serde_json::{Value, json};

use crate::run::{Function, Seen, python};

const HELLO: &str = "
import time
def handler(event, context):
    print('in the function')
    if event.get('sleep'): time.sleep(event['sleep'])
    return 'hello'
";

/// Registers, subscribes to telemetry, prints every event and every telemetry record, ends on SHUTDOWN.
const EXTENSION: &str = r"#!/var/lang/bin/python3
import http.server, json, os, sys, threading, urllib.request
api = 'http://' + os.environ['AWS_LAMBDA_RUNTIME_API']
def call(method, path, body=None, headers={}):
    request = urllib.request.Request(api + path, json.dumps(body).encode() if body else None, headers, method=method)
    try: return urllib.request.urlopen(request)
    except urllib.error.HTTPError as e: return e
def say(**what): print(json.dumps(what), flush=True)
class Listener(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        for record in json.loads(self.rfile.read(int(self.headers['Content-Length']))): say(told=record)
        self.send_response(200); self.end_headers()
    def log_message(self, *a): pass
server = http.server.ThreadingHTTPServer(('0.0.0.0', 4243), Listener)
threading.Thread(target=server.serve_forever, daemon=True).start()
events = os.environ.get('EVENTS', 'INVOKE,SHUTDOWN').split(',')
r = call('POST', '/2020-01-01/extension/register', {'events': events}, {'Lambda-Extension-Name': os.path.basename(sys.argv[0])})
say(registered=r.status, body=json.loads(r.read()), argv=len(sys.argv), env=sorted(os.environ))
me = {'Lambda-Extension-Identifier': r.headers.get('Lambda-Extension-Identifier') or ''}
body = {'schemaVersion': os.environ.get('SCHEMA', '2022-12-13'), 'types': ['platform', 'function'],
    'buffering': {'maxItems': 1000, 'maxBytes': 262144, 'timeoutMs': 25},
    'destination': {'protocol': 'HTTP', 'URI': 'http://sandbox.localdomain:4243/x'}}
r = call('PUT', '/2022-07-01/telemetry', body, me)
say(subscribed=r.status)
while True:
    event = json.loads(call('GET', '/2020-01-01/extension/event/next', None, me).read())
    say(event=event)
    if os.environ.get('CRASH') == event['eventType']: os._exit(0)
    if event['eventType'] == 'SHUTDOWN': break
";

fn with_extension(code: &str) -> Function {
    python(code).file("opt/extensions/watcher", EXTENSION, 0o755)
}

/// The values that the extension printed under a key.
fn said<'a>(seen: &'a Seen, key: &str) -> Vec<&'a Value> {
    let printed = seen.printed("extension").into_iter();
    printed.filter_map(|(_, record)| record.get(key)).collect()
}

fn event_types(seen: &Seen) -> Vec<(String, Value)> {
    let events = said(seen, "event").into_iter();
    events.map(|e| (e["eventType"].as_str().unwrap().to_owned(), e["shutdownReason"].clone())).collect()
}

#[test]
fn an_extension_gets_its_events_and_lambdas_environment() {
    let seen = with_extension(HELLO).event("{}").event("{}").run();
    let [first, _] = seen.responses();
    assert_eq!(seen.status, 0, "{:#?}", seen.lines);
    let invoke = ("INVOKE".to_owned(), Value::Null);
    assert_eq!(event_types(&seen), [invoke.clone(), invoke, ("SHUTDOWN".into(), json!("SPINDOWN"))]);
    assert_eq!(said(&seen, "event")[0]["requestId"], first["requestId"]);
    assert_eq!(said(&seen, "body")[0]["handler"], "app.handler");
    assert_eq!(said(&seen, "argv")[0], 1);
    let env = said(&seen, "env")[0].as_array().unwrap();
    assert!(env.contains(&json!("AWS_SECRET_ACCESS_KEY")));
    assert!(!env.iter().any(|n| n.as_str().unwrap().starts_with('_')
        || n == "AWS_EXECUTION_ENV"
        || n == "LAMBDA_TASK_ROOT"));
    let ready: Vec<&Value> = seen.platform("platform.extension");
    assert_eq!(ready, [&json!({"name": "watcher", "state": "Ready", "events": ["INVOKE", "SHUTDOWN"]})]);
}

#[test]
fn an_extensions_lines_carry_the_running_request() {
    let seen = with_extension(HELLO).event("{}").run();
    let [response] = seen.responses();
    let invoked =
        seen.printed("extension").into_iter().find(|(_, r)| r["event"]["eventType"] == "INVOKE").unwrap();
    assert_eq!(invoked.0, &response["requestId"]);
    assert!(response["postRuntimeMs"].as_f64().unwrap() >= 0.0);
}

#[test]
fn telemetry_tells_what_happened_from_the_start_of_init() {
    let seen = with_extension(HELLO).event("{}").run();
    assert_eq!(said(&seen, "subscribed"), [&json!(200)]);
    let types: Vec<&str> = said(&seen, "told").iter().map(|r| r["type"].as_str().unwrap()).collect();
    for expected in [
        "platform.initStart",
        "platform.initRuntimeDone",
        "platform.initReport",
        "platform.start",
        "function",
        "platform.runtimeDone",
        "platform.report",
        "platform.telemetrySubscription",
    ] {
        assert!(types.contains(&expected), "{expected} is not among {types:?}");
    }
    assert!(!types.contains(&"extension"));
}

#[test]
fn a_telemetry_that_is_off_or_silent_is_so() {
    let seen = with_extension(HELLO).variable("RINGFENCE_LOCAL_TELEMETRY", "off").event("{}").run();
    assert_eq!(said(&seen, "subscribed"), [&json!(202)]);
    assert_eq!(seen.status, 0);
}

#[test]
fn a_time_limit_tells_extensions_and_starts_them_again() {
    let seen = with_extension(HELLO).with(&["--timeout", "3"]).event("{\"sleep\":30}").event("{}").run();
    assert_eq!(seen.responses::<2>()[1]["status"], "success");
    assert_eq!(said(&seen, "registered"), [&json!(200), &json!(200)]);
    let shutdowns: Vec<Value> =
        event_types(&seen).into_iter().filter(|(t, _)| t == "SHUTDOWN").map(|(_, r)| r).collect();
    assert_eq!(shutdowns, [json!("TIMEOUT"), json!("SPINDOWN")]);
}

#[test]
fn an_extension_that_ends_by_itself_fails_the_invocation() {
    let seen = with_extension(HELLO).with(&["--env", "CRASH=INVOKE"]).event("{\"sleep\":2}").run();
    let [response] = seen.responses();
    assert_eq!(seen.status, 1);
    assert_eq!(response["payload"]["errorType"], "Extension.Crash");
}

#[test]
fn managed_instances_refuse_invoke_and_old_schemas() {
    let refused =
        with_extension(HELLO).with(&["--profile", "managed-instances", "--timeout", "10"]).event("{}").run();
    assert_eq!(said(&refused, "registered")[0], 403);
    let managed = ["--profile", "managed-instances", "--env", "EVENTS=SHUTDOWN"];
    let old = with_extension(HELLO).with(&managed).event("{}").run();
    assert_eq!((said(&old, "registered")[0], said(&old, "subscribed")[0]), (&json!(200), &json!(400)));
    let new = with_extension(HELLO).with(&managed).with(&["--env", "SCHEMA=2025-01-29"]).event("{}").run();
    assert_eq!(said(&new, "subscribed")[0], 200);
    assert_eq!(event_types(&new), [("SHUTDOWN".to_owned(), json!("SPINDOWN"))]);
}

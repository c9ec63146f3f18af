//! The agent as the platform and a guard see it: registration, the handshake, records, invocations, shutdown.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod world;

use std::fs;
use std::time::Duration;

use ringfence_policy::{Plane, Rule};
use ringfence_records::message::{ActionKind, Kind, Outcome, Report};
use world::{Guard, PATIENCE, Telemetry, World, exists, inside, inside_a_network, look_up, name_server};

/// What the platform gives extensions for it, in all.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(2);

/// An end, as telemetry tells it, before which everything was.
const NEVER_BEFORE: &str = "2199-12-31T00:00:00.000Z";

const POLICY: &str = r#"
version = 1
mode = "enforce"
[process]
shells = "deny"
survivors = "kill"
[egress]
allow = ["*.good.example:443"]
[tmp]
residue = "wipe"
keep = ["/tmp/cache/**"]
"#;

fn violation(pid: u32) -> Report<'static> {
    let mut report = Report::new(Kind::Violation, ActionKind::Exec);
    report.pid = pid;
    report.rule = Rule::ProcessShells;
    report.outcome = Outcome::Blocked;
    report.plane = Plane::Process;
    report.path = b"/bin/sh";
    report.exe = b"/var/lang/bin/python3.13";
    report.arguments.push(b"sh");
    report.arguments.push(b"wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY");
    report
}

#[test]
fn the_agent_registers_accounts_for_itself_and_leaves_in_time() {
    if !inside("the_agent_registers_accounts_for_itself_and_leaves_in_time") {
        return;
    }
    let mut world = World::start(POLICY);
    let guard = Guard::arrive(world.api, &[]).expect("a Welcome");
    assert_eq!(guard.phase(), 1, "init");
    guard.ask_first();
    let protection = world.record_of("protection");
    assert!(
        protection["message"].as_str().unwrap().contains("plane process; kernel: seccomp(2): EPERM"),
        "{protection:#}"
    );
    assert_eq!(
        protection["ringfence"]["environment"]["telemetry"].as_str().unwrap().split(':').next(),
        Some("not supported here (202)")
    );
    assert_eq!(protection["ringfence"]["function"]["name"], "orders");
    assert!(world.shut_down() < SHUTDOWN_DEADLINE);
    let summary = world.record_of("summary");
    assert_eq!(summary["ringfence"]["reason"], "SPINDOWN");
    assert!(summary["ringfence"]["residentKib"].as_u64().unwrap() > 0);
    let requests = world.requests.lock().unwrap();
    assert!(requests[0].starts_with("POST /2020-01-01/extension/register"), "{requests:?}");
    assert!(requests[0].contains("INVOKE") && !requests[1].contains("extension\""), "{requests:?}");
}

#[test]
fn without_a_guard_the_first_invocation_says_what_to_set() {
    if !inside("without_a_guard_the_first_invocation_says_what_to_set") {
        return;
    }
    let mut world = World::start(POLICY);
    world.invoke();
    let protection = world.record_of("protection");
    assert!(protection["ringfence"]["trouble"].as_str().unwrap().contains("AWS_LAMBDA_EXEC_WRAPPER"));
    assert_eq!(World::status(&protection, "tmp.residue"), "not_covered");
    // Nothing tells when it is over, so the agent asks for the next event at once.
    world.wait_until_asked();
    fs::write("/tmp/left", "x").unwrap();
    world.invoke();
    world.wait_until_asked();
    assert!(exists("/tmp/left"), "it could be the next invocation's");
    assert!(world.shut_down() < SHUTDOWN_DEADLINE);
    assert!(world.none(|line| line["ringfence"]["kind"] == "residue"), "not claimed, not told");
}

/// An adapter, which is an extension, asks for the events; the function's process is a web server with the library in it.
#[test]
fn where_another_process_asks_for_the_events_nothing_is_held_wiped_killed_or_told() {
    if !inside("where_another_process_asks_for_the_events_nothing_is_held_wiped_killed_or_told") {
        return;
    }
    let mut world = World::start_with(POLICY, &[], Telemetry::Supported);
    let guard = Guard::arrive(world.api, &[]).unwrap();
    guard.notice(Kind::RuntimeUp);
    fs::write("/tmp/templates.cache", "x").unwrap();
    let mut adapter = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    for _ in 0..3 {
        let request = world.invoke();
        world.wait_until_asked();
        while guard.phase() != 2 {
            std::thread::yield_now();
        }
        let upload = format!("/tmp/upload-{request}");
        fs::write(&upload, "x").unwrap();
        let mut worker = std::process::Command::new("sleep").arg("601").spawn().unwrap();
        world.tell_done(&request, NEVER_BEFORE);
        assert!(exists(&upload) && exists("/tmp/templates.cache"));
        assert!(worker.try_wait().unwrap().is_none() && adapter.try_wait().unwrap().is_none());
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    let protection = world.record_of("protection");
    assert_eq!(protection["ringfence"]["environment"]["invocationEnd"], "nothing");
    for rule in ["tmp.residue", "process.survivors"] {
        assert_eq!(World::status(&protection, rule), "not_covered", "{rule}");
    }
    // A word that comes later could be anything: it changes nothing.
    guard.notice(Kind::InvocationOver);
    assert!(world.shut_down() < SHUTDOWN_DEADLINE);
    assert!(exists("/tmp/templates.cache"));
    let told = |line: &serde_json::Value| {
        line["ringfence"]["kind"] == "residue" || line["ringfence"]["kind"] == "violation"
    };
    assert!(world.none(told));
    adapter.kill().unwrap();
    adapter.wait().unwrap();
}

/// A shell answers and asks by children; what comes between the two is the next invocation's.
#[test]
fn children_that_answer_and_ask_end_the_invocation_where_the_policy_lets_them() {
    if !inside("children_that_answer_and_ask_end_the_invocation_where_the_policy_lets_them") {
        return;
    }
    let policy = POLICY.replace("[egress]", "[egress]\nruntime_api = \"any\"");
    let mut world = World::start_with(&policy, &[], Telemetry::Supported);
    let guard = Guard::arrive(world.api, &[]).unwrap();
    guard.notice(Kind::RuntimeUp);
    fs::write("/tmp/of-init", "x").unwrap();
    let mut poller = guard.child(&[(Kind::InvocationOver, "")]);
    let protection = world.record_of("protection");
    assert_eq!(protection["ringfence"]["environment"]["invocationEnd"], "runtime");
    for number in 1..=3 {
        let request = world.invoke();
        while guard.phase() != 2 {
            std::thread::yield_now();
        }
        poller.kill().unwrap();
        poller.wait().unwrap();
        let (left, head) = (format!("/tmp/left-{number}"), format!("/tmp/head-{number}"));
        fs::write(&left, "x").unwrap();
        guard.mark();
        guard.child(&[(Kind::Answered, &request)]).kill().unwrap();
        fs::write(&head, "x").unwrap();
        poller = guard.child(&[(Kind::InvocationOver, "")]);
        world.wait_until_asked();
        assert!(!exists(&left), "of the invocation that was answered");
        assert!(exists(&head), "of the next one");
        assert!(poller.try_wait().unwrap().is_none(), "it waits for the next event");
        assert!(exists("/tmp/of-init"));
        let residue = world.record_of("residue");
        assert_eq!(residue["ringfence"]["invocation"]["requestId"], request.as_str());
    }
    assert!(world.none(|line| line["ringfence"]["kind"] == "violation"));
    poller.kill().unwrap();
}

#[test]
fn violations_carry_invocation_hint_and_count_but_no_secret() {
    if !inside("violations_carry_invocation_hint_and_count_but_no_secret") {
        return;
    }
    let mut world = World::start(POLICY);
    let guard = Guard::arrive(world.api, &[]).unwrap();
    guard.ask_first();
    let request = world.invoke();
    while guard.phase() != 2 {
        std::thread::yield_now();
    }
    let mut hint = Report::new(Kind::Hint, ActionKind::Exec);
    hint.pid = std::process::id();
    hint.path = b"/bin/sh";
    hint.code = b"handler.py:12";
    hint.frames.push(b"handler.py:12 render");
    hint.frames.push(b"handler.py:30 handler wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY");
    guard.report(&hint);
    for _ in 0..3 {
        guard.report(&violation(std::process::id()));
    }
    let mut forged = violation(4711);
    forged.path = b"/bin/bash";
    guard.report(&forged);
    guard.send(b"RF garbage");
    guard.notice(Kind::InvocationOver);
    world.wait_until_asked();
    assert_eq!(guard.phase(), 3, "between");
    let line = world.record(|line| line["ringfence"]["subject"]["path"] == "/bin/sh");
    assert_eq!(line["message"], "ringfence blocked exec of /bin/sh by python3.13 (process.shells), 3 times");
    let body = &line["ringfence"];
    assert_eq!((&body["count"], &body["actor"]["code"]), (&3.into(), &"handler.py:12".into()));
    let frames = &body["actor"]["frames"];
    assert_eq!(frames[0], "handler.py:12 render");
    assert_eq!(frames[1], "handler.py:30 handler [redacted]");
    assert_eq!(body["invocation"]["requestId"], request.as_str());
    assert_eq!(body["invocation"]["traceId"], "1-abc");
    assert_eq!(body["subject"]["argv"][1], "[redacted]");
    let line = world.record(|line| line["ringfence"]["subject"]["path"] == "/bin/bash");
    assert_eq!(line["ringfence"]["actor"]["pid"], std::process::id(), "the kernel's word, not the sender's");
    assert!(line["ringfence"]["detail"].as_str().unwrap().contains("another process id"));
    world.record(|line| line["ringfence"]["part"] == "reports");
    // What the last invocation was about to do explains nothing of the next one's.
    world.invoke();
    while guard.phase() != 2 {
        std::thread::yield_now();
    }
    guard.report(&violation(std::process::id()));
    guard.notice(Kind::InvocationOver);
    world.wait_until_asked();
    let next = |line: &serde_json::Value| {
        let body = &line["ringfence"];
        body["subject"]["path"] == "/bin/sh" && body["invocation"]["number"] == 2
    };
    assert!(world.record(next)["ringfence"]["actor"]["code"].is_null());
}

#[test]
fn a_second_guard_is_turned_away_and_told() {
    if !inside("a_second_guard_is_turned_away_and_told") {
        return;
    }
    let mut world = World::start(POLICY);
    let _guard = Guard::arrive(world.api, &[]).unwrap();
    assert!(Guard::arrive(world.api, &[]).is_none());
    let line = world.record(|line| line["ringfence"]["rule"] == "self_protection");
    assert_eq!(line["ringfence"]["severity"], "critical");
}

#[test]
fn somebody_else_cannot_end_the_invocation() {
    if !inside("somebody_else_cannot_end_the_invocation") {
        return;
    }
    let mut world = World::start(POLICY);
    let guard = Guard::arrive(world.api, &[]).unwrap();
    guard.ask_first();
    world.invoke();
    while guard.phase() != 2 {
        std::thread::yield_now();
    }
    // A child of the runtime sends what only the runtime may.
    guard.child(&[(Kind::InvocationOver, "")]).kill().unwrap();
    world.record(|line| {
        line["ringfence"]["detail"].as_str().is_some_and(|detail| detail.contains("not the runtime"))
    });
    assert_eq!(guard.phase(), 2, "still at work");
}

#[test]
fn residue_is_wiped_and_what_is_kept_or_of_init_stays() {
    if !inside("residue_is_wiped_and_what_is_kept_or_of_init_stays") {
        return;
    }
    fs::create_dir("/tmp/earlier").unwrap();
    fs::write("/tmp/earlier/planted.pth", "x").unwrap();
    let mut world = World::start(POLICY);
    let residue = world.record_of("residue");
    assert_eq!(
        (&residue["ringfence"]["invocation"]["phase"], &residue["ringfence"]["count"]),
        (&"init".into(), &2.into())
    );
    assert!(!exists("/tmp/earlier"), "what an earlier generation left is gone");
    let guard = Guard::arrive(world.api, &[]).unwrap();
    fs::write("/tmp/of-init", "x").unwrap();
    guard.ask_first();
    world.invoke();
    while guard.phase() != 2 {
        std::thread::yield_now();
    }
    fs::create_dir_all("/tmp/cache/models").unwrap();
    fs::write("/tmp/cache/models/m", "x").unwrap();
    fs::write("/tmp/payload", "12345").unwrap();
    std::os::unix::fs::symlink("/tmp/of-init", "/tmp/link").unwrap();
    guard.notice(Kind::InvocationOver);
    world.wait_until_asked();
    let residue = world.record_of("residue");
    assert_eq!(
        (&residue["ringfence"]["verdict"], &residue["ringfence"]["count"]),
        (&"wiped".into(), &2.into())
    );
    assert_eq!(residue["ringfence"]["invocation"]["requestId"], "request-1");
    assert!(!exists("/tmp/payload") && !exists("/tmp/link"));
    assert!(exists("/tmp/of-init") && exists("/tmp/cache/models/m"));
    world.invoke();
    while guard.phase() != 2 {
        std::thread::yield_now();
    }
    guard.notice(Kind::InvocationOver);
    world.wait_until_asked();
    assert!(world.none(|line| line["ringfence"]["kind"] == "residue"), "nothing is told twice");
}

#[test]
fn processes_that_outlive_their_invocation_are_killed() {
    if !inside("processes_that_outlive_their_invocation_are_killed") {
        return;
    }
    let mut world = World::start(POLICY);
    let guard = Guard::arrive(world.api, &[]).unwrap();
    let mut of_init = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    guard.ask_first();
    world.invoke();
    while guard.phase() != 2 {
        std::thread::yield_now();
    }
    let mut survivor = std::process::Command::new("sleep").arg("601").spawn().unwrap();
    // spawn() returns while exec is still filling in the new program's command line.
    while fs::read(format!("/proc/{}/cmdline", survivor.id())).unwrap().is_empty() {
        std::thread::yield_now();
    }
    guard.notice(Kind::InvocationOver);
    world.wait_until_asked();
    let line = world.record(|line| line["ringfence"]["rule"] == "process.survivors");
    assert_eq!(line["ringfence"]["verdict"], "killed");
    assert_eq!(line["ringfence"]["subject"]["argv"][1], "601");
    assert_eq!(line["ringfence"]["actor"]["pid"], survivor.id());
    assert!(!survivor.wait().unwrap().success());
    assert!(of_init.try_wait().unwrap().is_none(), "what init started may stay");
    of_init.kill().unwrap();
}

#[test]
fn names_are_refused_or_forwarded_and_tied_to_their_addresses() {
    if !inside("names_are_refused_or_forwarded_and_tied_to_their_addresses") {
        return;
    }
    let (server, seen) = name_server([203, 0, 113, 7]);
    let mut world = World::start(POLICY);
    let guard = Guard::arrive(world.api, &[server]).unwrap();
    guard.notice(Kind::RuntimeUp);
    let mut hint = Report::new(Kind::Hint, ActionKind::Resolve);
    hint.pid = std::process::id();
    hint.name = b"c2VjcmV0.evil.example";
    hint.code = b"handler.py:30";
    guard.report(&hint);
    let refused = look_up(guard.resolver_port, "c2VjcmV0.evil.example", PATIENCE).unwrap();
    assert_eq!(refused[3] & 0xf, 3, "there is no such name");
    assert!(seen.lock().unwrap().is_empty(), "not a byte left");
    let line = world.record(|line| line["ringfence"]["action"] == "resolve");
    assert_eq!(
        line["message"],
        "ringfence blocked look-up of c2vjcmv0.evil.example by python3.13 (egress.names)"
    );
    assert_eq!(line["ringfence"]["actor"]["code"], "handler.py:30");
    let answer = look_up(guard.resolver_port, "api.good.example", PATIENCE).unwrap();
    assert_eq!((answer[1], &answer[answer.len() - 4..]), (7, &[203, 0, 113, 7][..]));
    let words: Vec<u32> = (1024..1024 + 8 * 1024).map(|index| guard.word(index)).collect();
    let slot = words.chunks_exact(8).find(|slot| slot[4] != 0).expect("a name in the state page");
    assert_eq!(slot[3].to_le_bytes(), [203, 0, 113, 7]);
    let query = seen.lock().unwrap().pop_front().unwrap();
    assert_ne!(&query[..2], &[0, 7], "the client's id does not leave the machine");
}

#[test]
fn a_broken_policy_is_told_and_the_function_goes_on() {
    if !inside("a_broken_policy_is_told_and_the_function_goes_on") {
        return;
    }
    let mut world = World::start_with(
        "version = 1\nmoed = 1\n",
        &[("RINGFENCE_ON_ERROR", "observe")],
        Telemetry::NotSupported,
    );
    let line = world.record(|line| line["ringfence"]["part"] == "policy");
    assert!(line["ringfence"]["detail"].as_str().unwrap().contains("moed"), "{line:#}");
    world.invoke();
    assert_eq!(world.record_of("protection")["ringfence"]["mode"], "observe");
}

/// Without the runtime's word nothing is held: telemetry's comes when the next invocation may be at work.
#[test]
fn telemetry_tells_afterwards_what_is_surely_older() {
    if !inside("telemetry_tells_afterwards_what_is_surely_older") {
        return;
    }
    let mut world = World::start_with(POLICY, &[], Telemetry::Supported);
    let first = world.invoke();
    let protection = world.record_of("protection");
    assert_eq!(protection["ringfence"]["environment"]["invocationEnd"], "telemetry");
    assert_eq!(World::status(&protection, "tmp.residue"), "observed");
    world.wait_until_asked();
    fs::write("/tmp/left", "x").unwrap();
    let second = world.invoke();
    world.wait_until_asked();
    assert_eq!(
        world.telemetry(Some("guess"), &World::done(&first, NEVER_BEFORE)),
        "",
        "only the platform knows the path"
    );
    assert!(world.telemetry(None, "garbage").contains("200"));
    world.tell_done(&first, NEVER_BEFORE);
    let residue = world.record_of("residue");
    assert_eq!(
        residue["ringfence"]["invocation"]["requestId"],
        first.as_str(),
        "though the second has begun"
    );
    assert_eq!(residue["ringfence"]["verdict"], "reported");
    assert!(exists("/tmp/left"), "it could be the next invocation's");
    // What is younger than the end is not its.
    fs::write("/tmp/younger", "x").unwrap();
    world.tell_done(&second, "1970-01-01T00:00:00.000Z");
    assert!(world.shut_down() < SHUTDOWN_DEADLINE);
    let residue = world.record_of("residue");
    assert_eq!(residue["ringfence"]["entries"][0]["path"], "/tmp/younger");
    assert_eq!(residue["ringfence"]["count"], 1, "told once");
}

/// A quick function is over before the agent has heard that it began; nothing says so a second time.
#[test]
fn an_end_that_is_told_before_the_beginning_is_kept() {
    if !inside("an_end_that_is_told_before_the_beginning_is_kept") {
        return;
    }
    let mut world = World::start_with(POLICY, &[], Telemetry::Supported);
    let guard = Guard::arrive(world.api, &[]).unwrap();
    guard.ask_first();
    let first = world.invoke();
    assert_eq!(world.record_of("protection")["ringfence"]["environment"]["invocationEnd"], "runtime");
    world.tell_done(&first, NEVER_BEFORE);
    world.wait_until_asked();
    fs::write("/tmp/of-the-second", "x").unwrap();
    let garbage = "r".repeat(100_000);
    world.tell_done(&world.upcoming(), NEVER_BEFORE);
    world.tell_done(&garbage, NEVER_BEFORE);
    let second = world.invoke_for(Duration::from_mins(10));
    world.wait_until_asked();
    assert_eq!(world.record_of("residue")["ringfence"]["invocation"]["requestId"], second.as_str());
    assert!(!exists("/tmp/of-the-second"));
}

/// The platform's word can be quicker than the runtime's, which then comes when the next invocation is at work.
#[test]
fn the_runtimes_late_word_costs_the_next_invocation_nothing() {
    if !inside("the_runtimes_late_word_costs_the_next_invocation_nothing") {
        return;
    }
    let mut world = World::start_with(POLICY, &[], Telemetry::Supported);
    let guard = Guard::arrive(world.api, &[]).unwrap();
    guard.ask_first();
    let first = world.invoke();
    while guard.phase() != 2 {
        std::thread::yield_now();
    }
    fs::write("/tmp/of-the-first", "x").unwrap();
    world.tell_done(&first, NEVER_BEFORE);
    world.wait_until_asked();
    assert!(!exists("/tmp/of-the-first"));
    // The agent does not know yet that the next one has begun.
    fs::write("/tmp/of-the-second", "x").unwrap();
    guard.answered(&first);
    // A message after it on the same socket shows that it was read.
    guard.report(&violation(std::process::id()));
    world.record(|line| line["ringfence"]["rule"] == "process.shells");
    assert!(exists("/tmp/of-the-second"), "taken for residue of the invocation before");
    // A second word is no honest runtime's, and is settled as ever.
    guard.answered(&first);
    let residue =
        world.record(|line| line["ringfence"]["kind"] == "residue" && line["ringfence"]["count"] == 1);
    assert_eq!(residue["ringfence"]["invocation"]["requestId"], first.as_str());
}

#[test]
fn a_telemetry_api_that_refuses_talks_nonsense_or_is_silent_is_survived() {
    if !inside("a_telemetry_api_that_refuses_talks_nonsense_or_is_silent_is_survived") {
        return;
    }
    for telemetry in [Telemetry::Refused, Telemetry::Garbage, Telemetry::Silent] {
        let mut world = World::start_with(POLICY, &[], telemetry);
        world.invoke();
        assert_eq!(world.record_of("protection")["ringfence"]["environment"]["invocationEnd"], "nothing");
        world.wait_until_asked();
        assert!(world.shut_down() < SHUTDOWN_DEADLINE);
    }
}

#[test]
fn a_platform_that_comes_up_after_the_agent_is_waited_for() {
    if !inside("a_platform_that_comes_up_after_the_agent_is_waited_for") {
        return;
    }
    let mut world = World::start_before_the_platform(POLICY);
    world.invoke();
    assert_eq!(world.record_of("protection")["ringfence"]["kind"], "protection");
    world.wait_until_asked();
    assert!(world.shut_down() < SHUTDOWN_DEADLINE);
}

#[test]
fn a_managed_instance_is_asked_for_shutdown_only() {
    if !inside("a_managed_instance_is_asked_for_shutdown_only") {
        return;
    }
    let environment = [("AWS_LAMBDA_INITIALIZATION_TYPE", "lambda-managed-instances")];
    let mut world = World::start_with(POLICY, &environment, Telemetry::Supported);
    let registration = world.requests.lock().unwrap()[0].clone();
    assert!(registration.contains("SHUTDOWN") && !registration.contains("INVOKE"), "{registration}");
    let start = r#"[{"type":"platform.start","record":{"requestId":"a"}},{"type":"platform.start","record":{"requestId":"b"}}]"#;
    assert!(world.telemetry(None, start).contains("200"));
    assert!(world.shut_down() < SHUTDOWN_DEADLINE);
    let protection = world.record_of("protection");
    let residue = protection["ringfence"]["rules"]
        .as_array()
        .unwrap()
        .iter()
        .find(|line| line["rule"] == "tmp.residue");
    assert_eq!(residue.unwrap()["status"], "not_covered");
    assert_eq!(world.record_of("summary")["ringfence"]["invocations"], 2);
}

#[test]
fn a_timeout_does_not_keep_the_agent_from_shutdown() {
    if !inside("a_timeout_does_not_keep_the_agent_from_shutdown") {
        return;
    }
    let mut world = World::start(POLICY);
    let guard = Guard::arrive(world.api, &[]).unwrap();
    guard.ask_first();
    world.invoke_for(Duration::from_millis(200));
    // The runtime never asks for more: the platform has stopped it. The deadline lets the agent go on.
    world.wait_until_asked();
    assert_eq!(guard.phase(), 3, "between");
    assert!(world.shut_down() < SHUTDOWN_DEADLINE);
}

#[test]
fn an_invocation_that_is_over_before_the_agent_hears_of_it_does_not_block() {
    if !inside("an_invocation_that_is_over_before_the_agent_hears_of_it_does_not_block") {
        return;
    }
    let mut world = World::start(POLICY);
    let guard = Guard::arrive(world.api, &[]).unwrap();
    guard.ask_first();
    for _ in 0..3 {
        guard.report(&violation(std::process::id()));
        guard.answered(&world.upcoming()); // the runtime was quicker than the agent
        let request = world.invoke();
        world.wait_until_asked();
        let line = world.record(|line| line["ringfence"]["rule"] == "process.shells");
        assert_eq!(line["ringfence"]["invocation"]["requestId"], request.as_str());
    }
}

#[test]
fn a_guard_that_stays_speaks_for_the_runtime_it_supervises() {
    if !inside("a_guard_that_stays_speaks_for_the_runtime_it_supervises") {
        return;
    }
    let mut world = World::start(POLICY);
    let mut runtime = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let guard = Guard::arrive_as(world.api, &[], runtime.id(), std::process::id()).unwrap();
    guard.notice_of(Kind::RuntimeUp, runtime.id());
    guard.notice_of(Kind::InvocationOver, runtime.id());
    world.invoke();
    while guard.phase() != 2 {
        std::thread::yield_now();
    }
    // Its own reports come by the connection that it keeps, and are written with the invocation they belong to.
    let mut buffer = [0; ringfence_records::wire::MAX_MESSAGE];
    let report = violation(runtime.id());
    nix::unistd::write(&guard.control, report.encode(&mut buffer).unwrap()).unwrap();
    guard.notice_of(Kind::InvocationOver, runtime.id());
    world.wait_until_asked();
    let line = world.record(|line| line["ringfence"]["rule"] == "process.shells");
    assert_eq!(line["ringfence"]["invocation"]["phase"], "invoke");
    assert!(world.none(|line| line["ringfence"]["rule"] == "self_protection"));
    runtime.kill().unwrap();
    runtime.wait().unwrap();
}

#[test]
fn a_static_runtime_is_not_expected_to_tell_its_end() {
    if !inside_a_network("a_static_runtime_is_not_expected_to_tell_its_end") {
        return;
    }
    let mut world = World::start_with(POLICY, &[], Telemetry::Supported);
    let _guard = Guard::arrive_without_preload(world.api).unwrap();
    // It asks for events itself: the connection is its own.
    let _asks = std::net::TcpStream::connect(world.api).unwrap();
    fs::write("/tmp/of-init", "x").unwrap();
    let request = world.invoke();
    world.wait_until_asked();
    let account = world.record_of("protection");
    assert_eq!(account["ringfence"]["environment"]["invocationEnd"], "telemetry");
    assert_eq!(World::status(&account, "tmp.residue"), "observed");
    fs::write("/tmp/left", "x").unwrap();
    world.tell_done(&request, NEVER_BEFORE);
    let residue = world.record_of("residue");
    assert_eq!((&residue["ringfence"]["count"], exists("/tmp/left")), (&1.into(), true), "{residue:#}");
}

#[test]
fn an_end_that_takes_too_long_is_told_once_and_goes_on_at_the_next() {
    if !inside("an_end_that_takes_too_long_is_told_once_and_goes_on_at_the_next") {
        return;
    }
    let mut world = World::start(POLICY);
    let guard = Guard::arrive(world.api, &[]).unwrap();
    guard.ask_first();
    let request = world.invoke();
    while guard.phase() != 2 {
        std::thread::yield_now();
    }
    for number in 0..3_000 {
        fs::File::create(format!("/tmp/{number}")).unwrap();
    }
    guard.answered(&request);
    world.wait_until_asked();
    world.record(|line| line["ringfence"]["part"] == "invocation");
    let mut ends = 1;
    while fs::read_dir("/tmp").unwrap().count() > 0 {
        let request = world.invoke();
        guard.answered(&request);
        world.wait_until_asked();
        ends += 1;
        assert!(ends < 3_000);
    }
    assert!(ends > 1);
    assert!(world.none(|line| line["ringfence"]["part"] == "invocation"), "told once");
}

#[test]
fn an_invocation_is_not_over_because_the_last_one_is() {
    if !inside("an_invocation_is_not_over_because_the_last_one_is") {
        return;
    }
    let mut world = World::start(POLICY);
    let guard = Guard::arrive(world.api, &[]).unwrap();
    guard.ask_first();
    let first = world.invoke();
    guard.answered(&first);
    world.wait_until_asked();
    guard.answered(&first); // asked again, as after a broken connection
    let second = world.invoke();
    while guard.phase() != 2 {
        std::thread::yield_now();
    }
    fs::write("/tmp/written-late", "x").unwrap();
    guard.answered(&second);
    world.wait_until_asked();
    let residue = world.record_of("residue");
    assert_eq!(residue["ringfence"]["invocation"]["requestId"], second.as_str());
    assert!(!exists("/tmp/written-late"));
}

#[test]
fn what_no_plane_stopped_is_found_while_the_invocation_runs_and_killed() {
    use std::os::unix::process::ExitStatusExt;
    if !inside("what_no_plane_stopped_is_found_while_the_invocation_runs_and_killed") {
        return;
    }
    let mut world = World::start(POLICY);
    let guard = Guard::arrive(world.api, &[]).unwrap();
    guard.ask_first();
    let request = world.invoke();
    while guard.phase() != 2 {
        std::thread::yield_now();
    }
    // The test is the runtime, and no plane is in its way. The shell would stay for ever.
    let mut shell = std::process::Command::new("/bin/sh").args(["-c", "kill -STOP $$"]).spawn().unwrap();
    assert_eq!(shell.wait().unwrap().signal(), Some(9));
    let line = world.record(|line| line["ringfence"]["action"] == "exec");
    let body = &line["ringfence"];
    assert_eq!((&body["verdict"], &body["rule"]), (&"killed".into(), &"process.shells".into()), "{line:#}");
    assert_eq!((&body["plane"], &body["invocation"]["requestId"]), (&"platform".into(), &request.into()));
    assert_eq!(body["actor"]["pid"], shell.id());
    guard.notice(Kind::InvocationOver);
    world.wait_until_asked();
    assert!(world.none(|line| line["ringfence"]["action"] == "survive"), "told once");
}

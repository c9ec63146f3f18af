//! The guard and the agent: greeting, reports, the guarded resolver, and an agent that says nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use support::{KERNEL, Profile, guarded, text};

static API: AtomicU16 = AtomicU16::new(0);

/// A stand-in for the agent (see `programs/agent.py`).
struct Agent {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    api: String,
}

impl Agent {
    /// Phase 1 is init, 2 invoke.
    fn start(phase: &str, extra: &[&str]) -> Self {
        let number = API.fetch_add(1, Ordering::SeqCst);
        let api =
            format!("127.{}.{}.{number}:9001", std::process::id() / 250 % 250, std::process::id() % 250);
        // The page is written by this user, and the guard believes its own user or root.
        let mut process = Command::new(support::bench().join("outer"))
            .args(["open", "/usr/bin/python3"])
            .arg(support::bench().join("agent.py"))
            .args([api.as_str(), phase])
            .args(extra)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), r#"{"ready": true}"#);
        Self { process, lines, api }
    }

    fn guarded(&self, profile: Profile, policy: &str, command: &[&str]) -> Command {
        let mut guarded = guarded(profile, policy, command);
        guarded.env("AWS_LAMBDA_RUNTIME_API", &self.api);
        guarded
    }

    /// Everything that it heard until the guard was gone.
    fn heard(mut self) -> String {
        let heard: Vec<_> = self.lines.by_ref().map_while(Result::ok).collect();
        self.process.wait().unwrap();
        heard.join("\n")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_guard_says_who_it_is_and_reports_over_the_same_connection() {
    for profile in KERNEL {
        let agent = Agent::start("2", &[]);
        let program = "import subprocess, os\n\
                       print(os.environ['RINGFENCE_REPORT'], os.getpid())\n\
                       try: subprocess.run('/usr/bin/id')\n\
                       except OSError: pass";
        let output = agent.guarded(profile, "tools", &["/usr/bin/python3", "-c", program]).output().unwrap();
        let shown = text(&output.stdout);
        assert_eq!(text(&output.stderr), "", "nothing goes to the function's own stream");
        let pid = shown.trim().strip_prefix("ringfence-report- ").unwrap();
        let heard = agent.heard();
        assert!(
            heard.contains(&format!(r#""pid": {pid}"#)) && heard.contains(r#""strongest": 1"#),
            "{heard}"
        );
        assert!(heard.contains(r#"{"probe": "seccomp(NEW_LISTENER): ok"}"#), "{heard}");
        assert!(heard.contains(r#""path": "/usr/bin/id", "chain": "python3.11"#), "{heard}");
        assert!(heard.ends_with(r#"{"closed": true}"#), "{heard}");
    }
}

#[test]
fn name_servers_are_replaced_by_the_guarded_resolver() {
    let program = "import socket\n\
                   servers = [line.split()[1] for line in open('/etc/resolv.conf') if line.startswith('nameserver')]\n\
                   server = servers[0] if servers else '127.0.0.1'\n\
                   s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                   s.sendto(b'by sendto', (server, 53))\n\
                   s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                   s.connect((server, 53)); s.send(b'by connect')\n\
                   print(s.getpeername()[0])\n\
                   try: s.sendto(b'elsewhere', (server, 5353) if server != '127.0.0.1' else ('127.0.0.2', 53))\n\
                   except PermissionError: print('refused')";
    for profile in KERNEL {
        let agent = Agent::start("2", &[]);
        let output = agent.guarded(profile, "tools", &["/usr/bin/python3", "-c", program]).output().unwrap();
        assert_eq!(text(&output.stdout), "127.0.0.1\nrefused\n", "{profile:?}: {}", text(&output.stderr));
        let heard = agent.heard();
        assert!(
            heard.contains(r#""resolver": "by sendto""#) && heard.contains(r#""resolver": "by connect""#),
            "{heard}"
        );
    }
}

/// What a function tries once its agent is gone. The names are the agent's own.
const ORPHANED: &str = "import os, socket, subprocess, sys
print('ready', flush=True)
sys.stdin.readline()
def tried(what, *arguments):
    try: return what(*arguments) is None or 'done'
    except OSError as error: return error.errno
def bound(name, kind): return tried(socket.socket(socket.AF_UNIX, kind).bind, b'\\0' + name.encode())
print('exec', tried(subprocess.run, ['/usr/bin/id']))
print('connect', tried(socket.socket().connect, ('127.0.0.2', 9)))
print('listen', tried(socket.socket().bind, ('0.0.0.0', 24680)))
print('control', bound('ringfence-control-' + sys.argv[1], socket.SOCK_SEQPACKET))
print('report', bound('ringfence-report-' + 32 * 'a', socket.SOCK_DGRAM))
print('own', bound('own-%d' % os.getpid(), socket.SOCK_DGRAM))
sys.stdout.flush()
tried(subprocess.run, ['/usr/bin/echo', 'it goes on'])
";

fn orphaned(agent: &mut Agent, mut command: Command) -> (Vec<String>, String) {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    agent.process.kill().unwrap();
    agent.process.wait().unwrap();
    drop(child.stdin.take());
    let shown = lines.map_while(Result::ok).collect();
    (shown, text(&child.wait_with_output().unwrap().stderr))
}

#[test]
fn death_of_the_agent_opens_nothing_and_nobody_takes_its_name() {
    let words = |api: &str| ["/usr/bin/python3", "-c", ORPHANED, api].map(str::to_owned);
    let mut agent = Agent::start("2", &[]);
    let words_of = words(&agent.api);
    let bare = support::without(Profile::Open, &words_of.each_ref().map(String::as_str));
    let (shown, _) = orphaned(&mut agent, bare);
    let taken =
        ["exec done", "connect 111", "listen True", "control True", "report True", "own True", "it goes on"];
    assert!(taken.iter().all(|line| shown.iter().any(|shown| shown == line)), "without the guard: {shown:?}");
    // With rules on listening every bind is asked about, without only those of such names.
    for (policy, listen) in [("tools", "listen 1"), ("races", "listen True")] {
        for profile in KERNEL {
            let mut agent = Agent::start("2", &[]);
            let words = words(&agent.api);
            let command = agent.guarded(profile, policy, &words.each_ref().map(String::as_str));
            let (shown, errors) = orphaned(&mut agent, command);
            let mut expected = vec!["exec 13", "connect 13", listen, "control 1", "report 1", "own True"];
            if policy == "tools" {
                expected.push("it goes on");
            }
            assert_eq!(shown, expected, "{profile:?}: {errors}");
            assert!(errors.contains("the agent closed its connection"), "{errors}");
            for record in
                ["blocked exec of /usr/bin/id", "blocked connection to 127.0.0.2", "dangerous call bind by"]
            {
                assert!(errors.contains(record), "{profile:?}: {record}: {errors}");
            }
        }
    }
}

#[test]
fn an_agent_that_says_nothing_costs_a_fifth_of_a_second() {
    let agent = Agent::start("2", &["silent"]);
    let before = Instant::now();
    let output = agent.guarded(Profile::Strict, "tools", &["/bin/echo", "started"]).output().unwrap();
    assert_eq!(text(&output.stdout), "started\n");
    assert!(text(&output.stderr).contains("no welcome within 200 ms"), "{}", text(&output.stderr));
    assert!(before.elapsed().as_millis() >= 200);
}

#[test]
fn a_refused_start_is_told() {
    let agent = Agent::start("2", &[]);
    let output = agent.guarded(Profile::Strict, "degraded", &["/bin/echo", "started"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let heard = agent.heard();
    assert!(heard.contains(r#"{"refused": "on_degraded = \"refuse\""#), "{heard}");
}

#[test]
fn the_control_socket_is_closed_to_the_function() {
    for profile in KERNEL {
        let agent = Agent::start("2", &[]);
        let program = "import socket, os\n\
                       s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
                       print(s.connect_ex(b'\\0ringfence-control-' + os.environ['AWS_LAMBDA_RUNTIME_API'].encode()))";
        let output = agent.guarded(profile, "tools", &["/usr/bin/python3", "-c", program]).output().unwrap();
        assert_eq!(text(&output.stdout), "111\n", "{profile:?}: {}", text(&output.stderr));
        assert!(agent.heard().contains("the agent's control socket"));
    }
}

#[test]
fn node_is_told_to_load_its_hook_first_and_has_a_way_to_the_agent() {
    let program =
        "echo \"${NODE_OPTIONS%% /*} ${NODE_OPTIONS##*/}\"; printf 'the hook' >&\"$RINGFENCE_REPORT_FD\"";
    for profile in [Profile::Nested, Profile::Strict] {
        let agent = Agent::start("2", &["reports"]);
        let mut command = agent.guarded(profile, "tools", &["@node", "-c", program]);
        let output = command.env("NODE_OPTIONS", "--no-warnings").output().unwrap();
        let shown = text(&output.stdout);
        assert_eq!(shown, "--require ringfence.cjs --no-warnings\n", "{}", text(&output.stderr));
        assert!(agent.heard().contains(r#"{"report": "the hook"}"#), "{profile:?}");
    }
}

#[test]
fn hooks_can_be_left_out() {
    let agent = Agent::start("2", &["reports"]);
    let program = "echo \"<$NODE_OPTIONS$RINGFENCE_REPORT_FD>\"";
    let mut command = agent.guarded(Profile::Strict, "tools", &["@node", "-c", program]);
    let output = command.env("RINGFENCE_SHIMS", "off").output().unwrap();
    assert_eq!(text(&output.stdout), "<>\n", "{}", text(&output.stderr));
}

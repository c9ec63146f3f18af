//! The kernel plane in whole: honest programs run, attacks on the supervision fail, and the guard is a good parent.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, Stdio};

use support::{KERNEL, Profile, guarded, text, violations, without};

fn benign(profile: Profile) -> std::process::Output {
    guarded(profile, "tools", &["/usr/bin/python3", "@benign.py", profile.name()]).output().unwrap()
}

#[test]
fn ordinary_programs_notice_nothing() {
    for profile in [Profile::Open, Profile::Nested, Profile::Strict] {
        let output = benign(profile);
        let shown = text(&output.stdout);
        assert!(!shown.contains("FAILED"), "{profile:?}: {shown}");
        assert_eq!(output.status.code(), Some(42), "{profile:?}: {shown}{}", text(&output.stderr));
        assert_eq!(violations(&output), Vec::<String>::new(), "{profile:?}");
    }
}

#[test]
fn the_runtime_s_end_is_the_guard_s() {
    for profile in KERNEL {
        let mut command = guarded(profile, "tools", &["/usr/bin/python3", "-c", "import os; os.abort()"]);
        assert_eq!(command.output().unwrap().status.signal(), Some(6), "{profile:?}");
        let mut command = guarded(profile, "tools", &["/usr/bin/python3", "-c", "raise SystemExit(7)"]);
        assert_eq!(command.output().unwrap().status.code(), Some(7), "{profile:?}");
    }
}

#[test]
fn signals_are_passed_on() {
    let program = "import signal,sys\n\
                   signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n\
                   print('ready', flush=True)\n\
                   signal.pause()";
    for profile in KERNEL {
        let mut child = guarded(profile, "tools", &["/usr/bin/python3", "-c", program])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(5), "{profile:?}");
    }
}

/// The guard is in the runtime's group, so it gets a signal for the group too; the runtime must not have it twice.
#[test]
fn a_signal_comes_once_whether_it_is_for_the_guard_or_for_the_group() {
    // Of two that wait sigwait takes the lower number, so SIGWINCH comes when there is no SIGTERM left.
    let program = "import signal\n\
                   both, count = {signal.SIGTERM, signal.SIGWINCH}, 0\n\
                   signal.pthread_sigmask(signal.SIG_BLOCK, both)\n\
                   print('ready', flush=True)\n\
                   while True:\n\
                   \x20   if signal.sigwait(both) == signal.SIGTERM: count += 1\n\
                   \x20   else: print(count, flush=True)\n";
    for profile in KERNEL {
        let mut child = guarded(profile, "tools", &["/usr/bin/python3", "-c", program])
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert_eq!(lines.next().unwrap(), "ready");
        let guard = child.id().to_string();
        let send = |signal: &str, to: &str| {
            assert!(Command::new("kill").args([signal, "--", to]).status().unwrap().success());
        };
        for round in 1..=20 {
            for (to, count) in [(&guard, 2 * round - 1), (&format!("-{guard}"), 2 * round)] {
                send("-TERM", to);
                send("-WINCH", &guard);
                assert_eq!(lines.next().unwrap(), count.to_string(), "{profile:?}: to {to}");
            }
        }
        send("-KILL", &format!("-{guard}"));
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert_eq!(lines.next(), None, "nothing of the group holds the pipe any more: {profile:?}");
    }
}

/// Else its number could become a process's that the agent takes for the witness.
#[test]
fn nobody_ends_the_witness() {
    let program = "import os\n\
                   def parent(pid): return int(open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()[1])\n\
                   ids = [int(name) for name in os.listdir('/proc') if name.isdigit()]\n\
                   def of_the_guard(pid):\n\
                   \x20   try: return pid != os.getpid() and parent(pid) == os.getppid()\n\
                   \x20   except OSError: return False\n\
                   for pid in filter(of_the_guard, ids):\n\
                   \x20   try: os.kill(pid, 9)\n\
                   \x20   except OSError as error: print(error.errno)\n\
                   \x20   print(parent(pid) == os.getppid(), flush=True)\n";
    for profile in KERNEL {
        let output = guarded(profile, "tools", &["/usr/bin/python3", "-c", program]).output().unwrap();
        assert_eq!(text(&output.stdout), "1\nTrue\n", "{profile:?}: {}", text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{profile:?}");
        assert!(
            violations(&output).iter().any(|line| line.contains("dangerous call kill by")),
            "{profile:?}"
        );
    }
}

#[test]
fn attacks_on_the_supervision_fail() {
    let control = text(&without(Profile::Open, &["@escape", "control"]).output().unwrap().stdout);
    assert!(
        control.contains("listener: 0\n") && control.contains("connect: 0\n"),
        "without the guard: {control}"
    );
    for profile in KERNEL {
        let output = guarded(profile, "races", &["@escape"]).output().unwrap();
        let shown = text(&output.stdout);
        let worked: Vec<_> = shown.lines().filter(|line| line.ends_with(": 0")).collect();
        assert_eq!(worked, ["own: 0"], "{profile:?}: {shown}");
        assert!(shown.contains("memory of guard: 13\n"), "{profile:?}: it ran to its end: {shown}");
        let records = violations(&output);
        for call in [
            "kill",
            "tkill",
            "tgkill",
            "rt_sigqueueinfo",
            "prlimit64",
            "setpriority",
            "process_vm_readv",
            "userfaultfd",
            "mount",
        ] {
            assert!(
                records.iter().any(|line| line.contains(&format!("dangerous call {call} by"))),
                "{call}: {records:?}"
            );
        }
    }
}

#[test]
fn death_of_the_guard_opens_nothing() {
    // Only where prctl is refused does the runtime outlive the guard at all.
    let mut child = guarded(Profile::Nested, "races", &["@escape", "orphan"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let mut input = child.stdin.take().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    input.write_all(b"x").unwrap();
    let shown: Vec<_> = lines.map_while(Result::ok).collect();
    assert_eq!(shown, ["listener: 1", "connect: 38", "exec: 38"]);
}

#[test]
fn the_runtime_dies_with_the_guard_where_prctl_works() {
    let mut child = guarded(Profile::Open, "races", &["@escape", "orphan"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let input = child.stdin.take();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(input.is_some() && lines.next().is_none(), "the pipe closes when the runtime is gone");
}

#[test]
fn execs_are_judged_and_named() {
    let program = "import subprocess, os\n\
                   for command in (['sh', '-c', 'id'], ['/usr/bin/id'], ['/bin/echo', 'allowed']):\n\
                   \x20   try: subprocess.run([command[0]] + command[1:], executable='/bin/sh' if command[0] == 'sh' else None)\n\
                   \x20   except OSError as error: print(error.errno, flush=True)\n\
                   copy = '/tmp/ringfence-echo-%d' % os.getpid()\n\
                   open(copy, 'wb').write(open('/bin/echo', 'rb').read()); os.chmod(copy, 0o755)\n\
                   try: subprocess.run([copy])\n\
                   except OSError as error: print(error.errno, flush=True)\n\
                   os.unlink(copy)\n\
                   memory = os.memfd_create('x'); os.write(memory, open('/bin/echo', 'rb').read())\n\
                   try: os.execve(memory, ['x'], {})\n\
                   except OSError as error: print(error.errno, flush=True)\n";
    for profile in KERNEL {
        let output = guarded(profile, "tools", &["/usr/bin/python3", "-c", program]).output().unwrap();
        assert_eq!(
            text(&output.stdout),
            "13\n13\nallowed\n13\n13\n",
            "{profile:?}: {}",
            text(&output.stderr)
        );
        let records = violations(&output).join("\n");
        for expected in [
            "blocked exec of /bin/sh by python3",
            "(process.shells)",
            "blocked exec of /usr/bin/id by python3",
            "(process.from_writable)",
            r#""argv":["sh","-c","id"]"#,
            "exec of /proc/self/fd/",
        ] {
            assert!(records.contains(expected), "{profile:?}: {expected}: {records}");
        }
    }
}

/// Ends of children that send on a stream which is closed: to the other side, at once, and while they wait for room.
const BROKEN: &str = "import os, signal, socket, threading, time
def tcp():
    server = socket.create_server(('127.0.0.1', 0))
    one = socket.create_connection(server.getsockname())
    return one, server.accept()[0]
def end(pair, disposition, waits, flags=0):
    child = os.fork()
    if child: return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.signal(signal.SIGPIPE, disposition)
    one, other = pair()
    try:
        while waits: one.sendmsg([b'x' * 4096], [], socket.MSG_DONTWAIT)
    except BlockingIOError: pass
    def close():
        if waits: time.sleep(0.1)
        one.shutdown(socket.SHUT_WR) if pair is tcp else other.shutdown(socket.SHUT_RD)
    if waits: threading.Thread(target=close).start()
    else: close()
    try:
        while True: one.sendmsg([b'x'], [], flags)
    except OSError as error: os._exit(error.errno)
for pair, waits in ((socket.socketpair, False), (tcp, False), (tcp, True)):
    print(end(pair, signal.SIG_DFL, waits), end(pair, signal.SIG_IGN, waits), end(pair, signal.SIG_DFL, waits, socket.MSG_NOSIGNAL), flush=True)
";

#[test]
fn a_send_on_a_closed_stream_raises_the_signal_that_it_should() {
    let arguments = ["/usr/bin/python3", "-c", BROKEN];
    let bare = Command::new(arguments[0]).args(&arguments[1..]).output().unwrap();
    assert_eq!(text(&bare.stdout), "-13 32 32\n-13 32 32\n-13 32 32\n");
    let output = guarded(Profile::Open, "races", &arguments).output().unwrap();
    assert_eq!(text(&output.stdout), text(&bare.stdout), "{}", text(&output.stderr));
}

/// The runtime's first connection to its API, a second one beside it, one after the first is closed, and a child's.
const API: &str = "import os, socket, sys
address = os.environ['AWS_LAMBDA_RUNTIME_API'].split(':')
address = (address[0], int(address[1]))
server = socket.socket(); server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); server.bind(address); server.listen()
first = socket.socket()
print('first', first.connect_ex(address))
print('second', socket.socket().connect_ex(address))
first.close()
again = socket.socket()
print('again', again.connect_ex(address))
again.close()
sys.stdout.flush()
child = os.fork()
print('child' if child == 0 else 'parent', socket.socket().connect_ex(address), flush=True)
if child: os.wait()
";

#[test]
fn the_runtime_api_is_the_runtime_s() {
    for (number, profile) in KERNEL.into_iter().enumerate() {
        let api = format!("127.77.{}.{}:9001", std::process::id() % 250 + 1, number + 1);
        let mut command = guarded(profile, "races", &["/usr/bin/python3", "-c", API]);
        let output = command.env("AWS_LAMBDA_RUNTIME_API", &api).output().unwrap();
        let shown = text(&output.stdout);
        assert!(
            shown.starts_with("first 0\nsecond 13\nagain 0\n"),
            "{profile:?}: {shown}{}",
            text(&output.stderr)
        );
        assert!(shown.contains("child 13\n") && shown.contains("parent 0\n"), "{profile:?}: {shown}");
        let records = violations(&output);
        assert_eq!(records.len(), 2, "{records:?}");
        assert!(records.iter().all(|line| line.contains("(egress.runtime_api)")), "{records:?}");
    }
}

#[test]
fn workers_of_a_managed_instance_are_the_runtime() {
    for (number, profile) in KERNEL.into_iter().enumerate() {
        let api = format!("127.78.{}.{}:9001", std::process::id() % 250 + 1, number + 1);
        let mut command = guarded(profile, "races", &["/usr/bin/python3", "-c", API]);
        let output = command
            .env("AWS_LAMBDA_RUNTIME_API", &api)
            .env("AWS_LAMBDA_MAX_CONCURRENCY", "4")
            .output()
            .unwrap();
        assert!(text(&output.stdout).contains("child 0\n"), "{profile:?}: {}", text(&output.stdout));
    }
}

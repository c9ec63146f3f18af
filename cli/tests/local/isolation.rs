//! What a process of the sandbox is and may: identity, file system, profiles.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::run::{litter, python};

/// Calls a few system calls by number and returns their errno (0: it worked, or failed for its arguments' sake only).
const CALLS: &str = "
import ctypes, os, subprocess
libc = ctypes.CDLL(None, use_errno=True)
def errno(nr, *args):
    ctypes.set_errno(0)
    libc.syscall(nr, *args)
    return ctypes.get_errno()
def handler(event, context):
    machine = os.uname().machine
    prctl, seccomp, ptrace, unshare = (157, 317, 101, 272) if machine == 'x86_64' else (167, 277, 117, 97)
    return {'prctl': errno(prctl, 15, b'name'), 'seccomp': errno(seccomp, 2, 0, 0), 'ptrace': errno(ptrace, 1, 0, 0, 0),
            'unshare': errno(unshare, 0), 'openat2': errno(437, -100, 0, 0, 0), 'io_uring': errno(425, 1, 0),
            'children': subprocess.run(['true']).returncode}
";

const EPERM: i32 = 1;
const EFAULT: i32 = 14;
const EINVAL: i32 = 22;
const ENOSYS: i32 = 38;

fn errnos(profile: &str) -> serde_json::Value {
    let seen = python(CALLS).with(&["--profile", profile]).event("{}").run();
    seen.responses::<1>()[0]["payload"].clone()
}

#[test]
fn open_is_the_control_run_nothing_of_it_is_refused() {
    let open = errnos("open");
    assert_eq!((&open["prctl"], &open["unshare"]), (&json!(0), &json!(0)));
    assert_eq!((&open["openat2"], &open["seccomp"]), (&json!(EINVAL), &json!(EFAULT)));
}

#[test]
fn strict_refuses_what_lambda_refuses() {
    let refused = json!({"prctl": EPERM, "seccomp": EPERM, "ptrace": EPERM, "unshare": EPERM, "openat2": ENOSYS,
        "io_uring": ENOSYS, "children": 0});
    assert_eq!(errnos("strict"), refused);
}

#[test]
fn nested_lets_seccomp_through_and_nothing_else() {
    let nested = errnos("nested");
    // The kernel's own answer to a call with a null pointer.
    assert_eq!(nested["seccomp"], EFAULT);
    assert_eq!((&nested["prctl"], &nested["openat2"]), (&json!(EPERM), &json!(ENOSYS)));
}

#[test]
fn the_function_is_uid_993_without_capabilities_on_a_read_only_system() {
    let code = "
import os
def refused(path):
    try: open(path, 'w')
    except OSError as e: return e.errno
def handler(event, context):
    status = dict(l.split(':', 1) for l in open('/proc/self/status').read().splitlines())
    return {'ids': [os.getuid(), os.getgid(), os.getgroups()], 'caps': status['CapEff'].strip() + status['CapBnd'].strip(),
            'nnp': status['NoNewPrivs'].strip(), 'refused': [refused(p) for p in ('/var/task/x', '/opt/x', '/etc/x',
            '/usr/x', '/x', '/dev/x', '/var/tmp/x')], 'shm': os.path.exists('/dev/shm'),
            'tmp': oct(os.stat('/tmp').st_mode & 0o7777), 'host': os.path.exists('/mnt'),
            'pids': sorted(int(p) for p in os.listdir('/proc') if p.isdigit())[:1],
            'key': os.environ['AWS_ACCESS_KEY_ID']}
";
    let seen = python(code).event("{}").run();
    let [response] = seen.responses();
    let payload = &response["payload"];
    assert_eq!(payload["ids"], json!([993, 990, []]));
    assert_eq!(payload["caps"], "0".repeat(32));
    assert_eq!(payload["nnp"], "1");
    for errno in payload["refused"].as_array().unwrap() {
        assert!([13, 30].contains(&errno.as_i64().unwrap_or(0)), "{payload}");
    }
    assert_eq!(
        (&payload["shm"], &payload["host"], &payload["pids"]),
        (&json!(false), &json!(false), &json!([1]))
    );
    assert_eq!(payload["tmp"], "0o1777");
    assert_eq!(payload["key"], concat!("ASIA", "ID6J7ND33WQAEIZA"));
}

/// The processes of this machine that have `mark` in their command line.
fn living(mark: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|p| std::fs::read(p.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(mark)).count()
}

fn await_living(mark: &str, count: usize, otherwise: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while living(mark) != count {
        assert!(Instant::now() < deadline, "{otherwise}");
        std::thread::yield_now();
    }
}

#[test]
fn even_a_killed_command_takes_its_sandbox_along() {
    let mark = format!("sleep\0{}.125", std::process::id());
    let code = format!(
        "
import subprocess, time
def handler(event, context):
    subprocess.Popen(['sleep', '{}.125'], start_new_session=True)
    print('running', flush=True)
    time.sleep(60)
",
        std::process::id()
    );
    // What a SIGKILL leaves behind is the run's directory, so that goes where it is cleaned up.
    let scratch = tempfile::tempdir().unwrap();
    let function = python(&code)
        .with(&["--timeout", "60"])
        .event("{}")
        .variable("TMPDIR", scratch.path().to_str().unwrap());
    let mut child = function.command().stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    lines.find(|line| line.as_ref().is_ok_and(|l| l.contains("running"))).unwrap().unwrap();
    await_living(&mark, 1, "the control: it lives while the command does");
    child.kill().unwrap();
    child.wait().unwrap();
    await_living(&mark, 0, "a process of the sandbox outlives the command");
}

#[test]
fn code_in_a_private_directory_is_readable_as_on_lambda() {
    let function = python("handler = lambda event, context: open('/var/task/data/x').read()").event("{}");
    let code = function.directory.path().join("code");
    std::fs::create_dir(code.join("data")).unwrap();
    std::fs::write(code.join("data/x"), "here").unwrap();
    std::fs::set_permissions(&code, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(function.run().responses::<1>()[0]["payload"], "here");
}

#[test]
fn no_signal_is_blocked_for_the_function() {
    let code = "
def handler(event, context):
    status = dict(l.split(':', 1) for l in open('/proc/self/status').read().splitlines())
    return status['SigBlk'].strip()
";
    let seen = python(code).event("{}").run();
    assert_eq!(seen.responses::<1>()[0]["payload"], "0".repeat(16));
}

#[test]
fn an_interrupt_ends_everything_and_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let code = "
import time
def handler(event, context):
    print('running', flush=True)
    time.sleep(60)
";
    let function = python(code)
        .with(&["--timeout", "60"])
        .event("{}")
        .variable("TMPDIR", scratch.path().to_str().unwrap());
    let mut child = function.command().stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    lines.find(|line| line.as_ref().is_ok_and(|l| l.contains("running"))).unwrap().unwrap();
    assert_eq!(litter(scratch.path()), 1);
    let begun = Instant::now();
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert_eq!(litter(scratch.path()), 0);
}

/// Everything above runs as the user of the tests. Root tries the other way as well: through a user name space.
#[test]
fn without_root_a_user_name_space_does_or_the_error_says_what_is_missing() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    let bootstrap = "#!/usr/bin/python3
import os, json, urllib.request as u
api = 'http://%s/2018-06-01/runtime/invocation/' % os.environ['AWS_LAMBDA_RUNTIME_API']
while True:
    event = u.urlopen(api + 'next')
    caps = [l for l in open('/proc/self/status') if l.startswith('CapBnd')][0].split()[1]
    said = json.dumps([os.getuid(), os.getgid(), caps]).encode()
    u.urlopen(api + event.headers['Lambda-Runtime-Aws-Request-Id'] + '/response', said).read()
";
    let function = python("").file("code/bootstrap", bootstrap, 0o755).event("{}");
    let place = function.directory.path();
    std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = place.join("ringfence");
    // By a process of its own: a copy that this one still had open for writing when another test forks could not be run.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_ringfence")).arg(&program).status().unwrap();
    assert!(copied.success());
    let mut command = Command::new(program);
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
    let output = command.current_dir(place).uid(65_534).gid(65_534).output().unwrap();
    let seen = crate::run::Seen::read(&output);
    if seen.status == 3 {
        assert!(seen.errors.contains("user name space"), "{}", seen.errors);
    } else {
        assert_eq!(seen.responses::<1>()[0]["payload"], json!([993, 990, "0".repeat(16)]));
    }
}

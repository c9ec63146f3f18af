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

use ringfence_tests::skipped;
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
    let program = "import signal,sys,time\n\
                   signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n\
                   print('ready', flush=True)\n\
                   while True: time.sleep(0.05)";
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
fn programs_act_on_their_threads_and_children_as_they_would_without_the_guard() {
    const SCRIPT: &str = "import os, signal, subprocess, sys\n\
        def ended(act, **how):\n\
        \x20   child = subprocess.Popen(['/usr/bin/cat'], stdin=subprocess.PIPE, **how)\n\
        \x20   act(child)\n\
        \x20   print(child.wait(timeout=20), flush=True)\n\
        ended(lambda child: child.terminate())\n\
        ended(lambda child: child.kill())\n\
        ended(lambda child: child.send_signal(signal.SIGUSR1))\n\
        ended(lambda child: os.killpg(child.pid, signal.SIGTERM), start_new_session=True)\n\
        print(subprocess.run(['/usr/bin/timeout', '0.2', '/usr/bin/cat'], stdin=sys.stdin).returncode, flush=True)\n\
        print(subprocess.run(['/bin/sh', '-c', 'sleep 30 & kill $! && wait $!; echo $?'], stdin=subprocess.PIPE).returncode, flush=True)\n";
    for command in [&["@others"][..], &["@others", "child"], &["/usr/bin/python3", "-c", SCRIPT]] {
        let run = |mut started: Command| {
            // Nothing ever comes.
            let mut started =
                started.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let _held = started.stdin.take();
            started.wait_with_output().unwrap()
        };
        let bare = run(without(Profile::Open, command));
        assert!(bare.status.success(), "{}", text(&bare.stderr));
        let bare = text(&bare.stdout);
        assert!(!bare.contains("wrong") && bare.lines().count() >= 7, "{bare}");
        for profile in KERNEL {
            let held = run(guarded(profile, "others", command));
            assert_eq!(text(&held.stdout), bare, "{profile:?}: {}", text(&held.stderr));
            assert_eq!(violations(&held), [""; 0], "{profile:?}");
        }
    }
}

/// The kernel would carry it out later, when the number may be the guard's next thread. The handler sees the sender all the same.
#[test]
fn a_signal_for_another_process_shows_its_sender_though_the_guard_sends_it() {
    const SCRIPT: &str = "import os, signal\n\
        signals = 62 if os.uname().machine == 'x86_64' else 129\n\
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n\
        guard = os.getppid()\n\
        def target():\n\
        \x20   child = os.fork()\n\
        \x20   if child: return child\n\
        \x20   signal.alarm(60)\n\
        \x20   sender = signal.sigwaitinfo([signal.SIGUSR1]).si_pid\n\
        \x20   print('the guard' if sender == guard else 'its parent' if sender == os.getppid() else f'a sibling: {os.path.exists(f\"/proc/{sender}\")}', flush=True)\n\
        \x20   os._exit(0)\n\
        one = target(); os.kill(one, signal.SIGUSR1); os.waitpid(one, 0)\n\
        one = target(); child = os.fork()\n\
        if not child:\n\
        \x20   import ctypes\n\
        \x20   left = ctypes.create_string_buffer(b'left from before' * 8)\n\
        \x20   ctypes.CDLL(None).syscall(signals, one, signal.SIGUSR1, left); os._exit(0)\n\
        os.waitpid(one, 0); os.waitpid(child, 0)\n\
        os.kill(os.getpid(), signal.SIGUSR1)\n\
        print(signal.sigwaitinfo([signal.SIGUSR1]).si_pid == os.getpid(), flush=True)\n";
    for profile in KERNEL {
        let output = guarded(profile, "others", &["/usr/bin/python3", "-c", SCRIPT]).output().unwrap();
        let shown = text(&output.stdout);
        assert_eq!(shown, "its parent\na sibling: True\nTrue\n", "{profile:?}: {}", text(&output.stderr));
    }
    let bare = without(Profile::Open, &["/usr/bin/python3", "-c", SCRIPT]).output().unwrap();
    assert_eq!(text(&bare.stdout), "its parent\na sibling: True\nTrue\n");
}

#[test]
fn a_sampler_may_read_its_own_memory_and_no_one_elses() {
    const SCRIPT: &str = "import os,ctypes\nc=ctypes.CDLL('libc.so.6')\na=(ctypes.c_char*4)(*b'data');b=(ctypes.c_char*4)()\n\
        v=lambda t:(ctypes.c_void_p*2)(ctypes.addressof(t),4)\n\
        f=lambda p:c.process_vm_readv(p,v(b),1,v(a),1,0)\n\
        print(f(os.getpid()),b.raw,f(os.getppid()))";
    for profile in KERNEL {
        let output = guarded(profile, "others", &["/usr/bin/python3", "-c", SCRIPT]).output().unwrap();
        assert_eq!(text(&output.stdout), "4 b'data' -1\n", "{profile:?}: {}", text(&output.stderr));
        let records = violations(&output);
        assert_eq!(records.len(), 1, "{profile:?}: {records:?}");
        assert!(records.iter().all(|line| line.contains("process_vm_readv")), "{records:?}");
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

#[test]
fn a_program_on_a_file_system_below_mnt_is_one_from_a_writable_place() {
    let bare = without(Profile::Open, &["/mnt/echo", "it runs"]).output().unwrap();
    assert_eq!(text(&bare.stdout), "it runs\n");
    let program = "import os\ntry: os.execv('/mnt/echo', ['echo', 'it runs'])\n\
                   except OSError as error: print(error.errno)";
    let program = format!("import os\nif os.fork(): os.wait(); raise SystemExit\n{program}");
    for profile in KERNEL {
        let output = guarded(profile, "tools", &["/usr/bin/python3", "-c", &program]).output().unwrap();
        assert_eq!(text(&output.stdout), "13\n", "{profile:?}");
        let records = violations(&output).join("\n");
        assert!(records.contains("blocked exec of /mnt/echo by python3"), "{records}");
        assert!(records.contains("(process.from_writable)"), "{records}");
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

/// Descriptors that are passed over a socket without room, which is made only when the sender waits.
const PASSED: &str = "import array, os, socket, threading, time
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    try:
        while True: one.send(b'x' * 4096, socket.MSG_DONTWAIT)
    except BlockingIOError: pass
    inside, outside = os.pipe()
    def drain():
        time.sleep(0.2)
        while True:
            data, control, _, _ = other.recvmsg(8192, 64)
            if control:
                os.write(array.array('i', control[0][2])[0], b'passed')
                return
    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    print(one.sendmsg([b'yz'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [outside]))]))
    reader.join()
    print(os.read(inside, 16), flush=True)
";

#[test]
fn a_message_with_descriptors_waits_for_room() {
    let arguments = ["/usr/bin/python3", "-c", PASSED];
    let bare = Command::new(arguments[0]).args(&arguments[1..]).output().unwrap();
    assert_eq!(text(&bare.stdout), "2\nb'passed'\n2\nb'passed'\n");
    let output = guarded(Profile::Open, "races", &arguments).output().unwrap();
    assert_eq!(text(&output.stdout), text(&bare.stdout), "{}", text(&output.stderr));
}

/// Datagrams to an address without a family, in forms of both, over sockets that are connected and that are not.
const UNSPECIFIED: &str = "import ctypes, errno, os, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
def receiver(family, address):
    at = socket.socket(family, socket.SOCK_DGRAM)
    at.bind((address, 0)); at.setblocking(False)
    return at
six, four = receiver(socket.AF_INET6, '::1'), receiver(socket.AF_INET, '127.0.0.1')
port = struct.pack('>H', six.getsockname()[1])
long = bytes(2) + port + bytes(4) + socket.inet_pton(socket.AF_INET6, '::1') + bytes(4)
short = bytes(2) + struct.pack('>H', four.getsockname()[1]) + socket.inet_aton('127.0.0.1') + bytes(8)
def arrived(at):
    try: return at.recv(8)
    except BlockingIOError: return None
for family, peer in ((socket.AF_INET6, None), (socket.AF_INET6, six), (socket.AF_INET, None), (socket.AF_INET, four)):
    sender = socket.socket(family, socket.SOCK_DGRAM)
    if peer: sender.connect(peer.getsockname())
    for address in (long, short, short[:2], short[:1]):
        sent = libc.sendto(sender.fileno(), b'x', 1, 0, address, len(address))
        print(sent if sent > 0 else errno.errorcode[ctypes.get_errno()], arrived(six), arrived(four), flush=True)
";

/// The guard has a duplicate of it where it makes the sockets, with which it would live on, and its clients wait for ever.
#[test]
fn a_listener_ends_with_the_last_who_has_it() {
    let program = "import os, socket\n\
                   told, tell = os.pipe()\n\
                   if not os.fork():\n\
                   \x20   server = socket.socket()\n\
                   \x20   server.bind(('127.0.0.1', 0)), server.listen()\n\
                   \x20   os.write(tell, str(server.getsockname()[1]).encode())\n\
                   \x20   os._exit(0)\n\
                   os.wait()\n\
                   client = socket.socket()\n\
                   client.settimeout(30)\n\
                   try:\n\
                   \x20   client.connect(('127.0.0.1', int(os.read(told, 9))))\n\
                   \x20   client.recv(1)\n\
                   except TimeoutError: print('waits')\n\
                   except OSError: print('refused')\n";
    for (profile, policy) in
        KERNEL.into_iter().flat_map(|profile| ["tools", "races"].map(|policy| (profile, policy)))
    {
        let output = guarded(profile, policy, &["/usr/bin/python3", "-c", program]).output().unwrap();
        assert_eq!(text(&output.stdout), "refused\n", "{profile:?} {policy}: {}", text(&output.stderr));
    }
}

#[test]
fn a_datagram_to_no_family_goes_where_it_would() {
    let arguments = ["/usr/bin/python3", "-c", UNSPECIFIED];
    let bare = text(&Command::new(arguments[0]).args(&arguments[1..]).output().unwrap().stdout);
    let expected = "EDESTADDRREQ None None\n".repeat(3) + "EINVAL None None\n" + &"1 b'x' None\n".repeat(3);
    assert!(bare.starts_with(&expected), "{bare}");
    for profile in KERNEL {
        let output = guarded(profile, "races", &arguments).output().unwrap();
        assert_eq!(text(&output.stdout), bare, "{profile:?}: {}", text(&output.stderr));
    }
}

/// The version of Landlock, a question that makes no sense, and rules on files.
const LANDLOCK: &str = "import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def create(*arguments):
    made = libc.syscall(ctypes.c_long(444), *map(ctypes.c_long, arguments[:2]), ctypes.c_long(arguments[2]))
    return made if made >= 0 else -ctypes.get_errno()
handled = ctypes.c_uint64(2)
print(create(0, 0, 1), create(0, 8, 1), create(ctypes.addressof(handled), 8, 0))
";

#[test]
fn a_program_is_told_of_no_landlock_rules_that_would_not_bind_it() {
    let arguments = ["/usr/bin/python3", "-c", LANDLOCK];
    let tried = |mut command: Command| {
        let shown = text(&command.output().unwrap().stdout);
        shown.split_whitespace().map(|word| word.parse().unwrap()).collect::<Vec<i32>>()
    };
    let bare = tried(without(Profile::Open, &arguments));
    if bare[0] < 4 {
        return skipped("this kernel's Landlock knows no rules on the network");
    }
    assert!(bare[1] == -libc::EINVAL && bare[2] > 2, "{bare:?}");
    let without_write_rules = tried(guarded(Profile::Open, "races", &arguments));
    assert_eq!(without_write_rules[..2], [3, -libc::EINVAL]);
    assert!(without_write_rules[2] > 2, "rules on files are its own: {without_write_rules:?}");
    assert_eq!(tried(guarded(Profile::Open, "writes", &arguments)), [-libc::EOPNOTSUPP; 3]);
}

/// AF_UNIX sockets bound to paths that start in the working folder.
const RELATIVE: &str = "import os, socket, tempfile, threading
folder = tempfile.mkdtemp(); os.chdir(folder); os.mkdir('sub')
def bound(path, mask):
    os.umask(mask)
    at = socket.socket(socket.AF_UNIX)
    try: at.bind(path)
    except OSError as error: return path, error.errno
    at.listen()
    peer = ''
    if len(path) < 80:
        to = socket.socket(socket.AF_UNIX)
        to.connect(path)
        peer = to.getpeername()
    return at.getsockname(), peer, oct(os.stat(path).st_mode), os.unlink(path)
for path in ('a', './a', 'sub/../a', 'sub/' + 'n' * 50, 'none/a'):
    print(bound(path, 0o077), bound(path, 0o002))
print(bound('n' * 107, 0), len(bound(os.path.join(folder, 'sub', 'x'), 0o022)))
os.mkdir('gone'); os.chdir('gone'); os.rmdir(os.path.join(folder, 'gone'))
unmade = bound('a', 0)
os.chdir('/'); os.rmdir(os.path.join(folder, 'sub')); os.rmdir(folder)
print(unmade, 'end', flush=True)
";

#[test]
fn a_socket_is_bound_in_the_caller_s_folder_and_shows_the_name_it_was_given() {
    let arguments = ["/usr/bin/python3", "-c", RELATIVE];
    let bare = text(&without(Profile::Open, &arguments).output().unwrap().stdout);
    assert!(bare.starts_with("('a', 'a', '0o140700', None) ('a', 'a', '0o140775', None)\n"), "{bare}");
    assert!(bare.ends_with("('a', 2) end\n"), "{bare}");
    for profile in KERNEL {
        // With rules on listening, so that every bind is asked about.
        let output = guarded(profile, "tools", &arguments).output().unwrap();
        assert_eq!(text(&output.stdout), bare, "{profile:?}: {}", text(&output.stderr));
    }
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

//! Where processes connect and send to: each attack first without the library, then with it.
#![allow(clippy::unwrap_used, reason = "a panic is how tests fail")]

mod harness;

use std::io::Read;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::World;
use ringfence_policy::{Phase, Rule};
use ringfence_records::handoff::covers;
use ringfence_records::message::{ActionKind, Kind, Outcome};

const PYTHON: &str = "/usr/bin/python3";

/// Loopback cannot be kept off by an allow list, so the sinks are denied by address.
fn denying(port: u16) -> World {
    World::new(&format!("version = 1\nmode = \"enforce\"\n[egress]\ndeny = [\"127.0.0.1:{port}\"]\n"))
}

fn udp() -> (UdpSocket, u16) {
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    sink.set_nonblocking(true).unwrap();
    let port = sink.local_addr().unwrap().port();
    (sink, port)
}

fn arrived(sink: &UdpSocket) -> usize {
    let mut count = 0;
    while sink.recv(&mut [0; 2048]).is_ok() {
        count += 1;
    }
    count
}

#[test]
fn no_datagram_leaves_by_any_call() {
    let prelude = "import socket,ctypes,os,sys\nP=int(sys.argv[1])\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n";
    let attacks = [
        ("sendto", "s.sendto(b'x',('127.0.0.1',P))"),
        ("connect and send", "s.connect(('127.0.0.1',P)); s.send(b'x')"),
        ("sendmsg", "s.sendmsg([b'x'],[],0,('127.0.0.1',P))"),
        (
            "mapped IPv6",
            "s=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM); s.sendto(b'x',('::ffff:127.0.0.1',P))",
        ),
        ("unspecified", "s.sendto(b'x',('0.0.0.0',P))"),
        (
            "AF_UNSPEC",
            "a=b'\\0\\0'+P.to_bytes(2,'big')+bytes([127,0,0,1])+b'\\0'*8\nctypes.CDLL('libc.so.6').sendto(s.fileno(),b'x',1,0,a,16)",
        ),
        (
            "sendmmsg",
            "import struct\na=b'\\2\\0'+P.to_bytes(2,'big')+bytes([127,0,0,1])+b'\\0'*8\nA=ctypes.create_string_buffer(a,16);D=ctypes.create_string_buffer(b'x')\nI=ctypes.create_string_buffer(struct.pack('QQ',ctypes.addressof(D),1))\nM=ctypes.create_string_buffer(struct.pack('QQQQQQQQ',ctypes.addressof(A),16,ctypes.addressof(I),1,0,0,0,0))\nprint(ctypes.CDLL('libc.so.6').sendmmsg(s.fileno(),M,1,0))",
        ),
        (
            "syscall()",
            "a=b'\\2\\0'+P.to_bytes(2,'big')+bytes([127,0,0,1])+b'\\0'*8\nctypes.CDLL('libc.so.6').syscall(44,s.fileno(),b'x',1,0,a,16)",
        ),
        (
            "a thread",
            "import threading\nt=threading.Thread(target=lambda: s.sendto(b'x',('127.0.0.1',P))); t.start(); t.join()",
        ),
        ("a forked child", "if os.fork()==0:\n s.sendto(b'x',('127.0.0.1',P)); os._exit(0)\nos.wait()"),
    ];
    let (sink, port) = udp();
    let world = denying(port);
    for (name, code) in attacks {
        let arguments = ["-c", &format!("{prelude}{code}"), &port.to_string()];
        let control = world.bare(PYTHON, &arguments);
        assert_eq!(arrived(&sink), 1, "{name} does not work without the library: {}", control.whole());
        let ran = world.run(PYTHON, &arguments);
        assert_eq!(arrived(&sink), 0, "{name}: {}", ran.whole());
        let blocked = |action| ran.saw(action, Outcome::Blocked, Rule::EgressDeny);
        assert!(blocked(ActionKind::Send) || blocked(ActionKind::Connect), "{name}: {}", ran.whole());
    }
}

#[test]
fn no_address_is_loopback_and_not_where_the_socket_is_bound() {
    let sink = UdpSocket::bind("127.0.0.2:0").unwrap();
    sink.set_nonblocking(true).unwrap();
    let port = sink.local_addr().unwrap().port();
    let policy = format!("version = 1\nmode = \"enforce\"\n[egress]\ndeny = [\"127.0.0.2:{port}\"]\n");
    let world = World::new(&policy);
    let prelude = "import socket,sys\nP=int(sys.argv[1])\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('127.0.0.2',0))\n";
    for code in ["s.sendto(b'x',('0.0.0.0',P))", "s.connect(('0.0.0.0',P)); s.send(b'x')"] {
        let arguments = ["-c", &format!("{prelude}{code}"), &port.to_string()];
        let control = world.bare(PYTHON, &arguments);
        assert_eq!(arrived(&sink), 1, "{code} does not work without the library: {}", control.whole());
        let ran = world.run(PYTHON, &arguments);
        assert_eq!(arrived(&sink), 0, "{code}: {}", ran.whole());
    }
}

#[test]
fn a_denied_connection_is_refused_and_an_allowed_one_is_made() {
    let (denied, allowed) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = [&denied, &allowed].map(|listener| listener.local_addr().unwrap().port());
    let code = "import socket,sys\nfor p in sys.argv[1:]:\n try: socket.create_connection(('127.0.0.1',int(p))).sendall(b'hello'); print('sent')\n except OSError as e: print(e.errno)";
    let [first, second] = ports.map(|port| port.to_string());
    let control = denying(ports[0]).bare(PYTHON, &["-c", code, &first, &second]);
    assert_eq!(control.stdout, "sent\nsent");
    let ran = denying(ports[0]).run(PYTHON, &["-c", code, &first, &second]);
    assert_eq!(ran.stdout, "13\nsent", "{}", ran.whole());
    assert_eq!(ran.violations(), [format!("connect blocked egress.deny 127.0.0.1:{first}")]);
}

#[test]
fn an_address_is_allowed_by_the_name_that_the_resolver_tied_to_it() {
    let policy = "version = 1\nmode = \"enforce\"\n[egress]\nallow = [\"api.example:443\"]\n";
    let code = "import socket\nfor a in ('203.0.113.7','203.0.113.8'):\n s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n try: s.connect((a,443)); print('open')\n except OSError as e: print(e.errno)";
    let world = World::new(policy).with(|world| world.names.push(("203.0.113.7".parse().unwrap(), 0)));
    let ran = world.run(PYTHON, &["-c", code]);
    assert_eq!(ran.stdout, "open\n13", "{}", ran.whole());
}

#[test]
fn questions_to_a_name_server_go_to_the_guarded_resolver() {
    let (resolver, port) = udp();
    let world = World::new("version = 1\nmode = \"enforce\"\n[egress]\nallow = []\n").with(|world| {
        world.resolver = Some(SocketAddr::from(([127, 0, 0, 1], port)));
        world.name_server = Some("192.0.2.53:53".parse().unwrap());
    });
    let code = "import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.sendto(b'q',('192.0.2.53',53))\ns.connect(('192.0.2.53',53)); s.send(b'q')\ns6=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM); s6.sendto(b'q',('::ffff:192.0.2.53',53))";
    let ran = world.run(PYTHON, &["-c", code]);
    assert_eq!(arrived(&resolver), 3, "{}", ran.whole());
    assert_eq!(ran.violations(), [""; 0]);
}

/// A Runtime API that accepts two connections and keeps what the first sends.
fn runtime_api() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

const NEXT: &str = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\n\\r\\n";

#[test]
fn asking_for_the_next_event_ends_the_invocation() {
    for call in [
        "s.sendall(R)",
        "import os; os.write(s.fileno(),R)",
        "import os; os.writev(s.fileno(),[R])",
        "s.sendmsg([R])",
    ] {
        let (listener, api) = runtime_api();
        let code = format!(
            "import socket,sys\nR=b'{NEXT}'\ns=socket.create_connection(('127.0.0.1',int(sys.argv[1])))\n{call}"
        );
        let world =
            World::new("version = 1\nmode = \"enforce\"\n").with(|world| world.runtime_api = Some(api));
        let ran = world.run(PYTHON, &["-c", &code, &api.port().to_string()]);
        assert_eq!(ran.kinds(Kind::InvocationOver), 1, "{call}: {}", ran.whole());
        let (mut connection, _) = listener.accept().unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut text = String::new();
        connection.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("GET /2018-06-01/runtime/invocation/next"), "{call}");
    }
}

#[test]
fn the_runtime_api_is_for_the_runtimes_first_connection_only() {
    let (_listener, api) = runtime_api();
    let port = api.port().to_string();
    let code = "import socket,sys,os\ndef go(who):\n try:\n  s=socket.create_connection(('127.0.0.1',int(sys.argv[1]))); print(who,'open',flush=True); return s\n except OSError as e: print(who,e.errno,flush=True)\na=go('first'); a.sendall(b'GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\n\\r\\n')\nb=go('second')\nif os.fork()==0:\n go('child'); os._exit(0)\nos.wait()\na.close(); c=go('again')";
    let world = World::new("version = 1\nmode = \"enforce\"\n").with(|world| world.runtime_api = Some(api));
    assert_eq!(
        world.bare(PYTHON, &["-c", code, &port]).stdout,
        "first open\nsecond open\nchild open\nagain open"
    );
    let ran = world.run(PYTHON, &["-c", code, &port]);
    assert_eq!(ran.stdout, "first open\nsecond 13\nchild 13\nagain open", "{}", ran.whole());
    let starting = World::new("version = 1\nmode = \"enforce\"\n").with(|world| {
        world.runtime_api = Some(api);
        world.phase = Phase::Init;
    });
    assert_eq!(
        starting.run(PYTHON, &["-c", code, &port]).stdout,
        "first open\nsecond open\nchild 13\nagain open"
    );
}

/// A client with a pool, as hyper's: it does not wait for a connection, and makes one more where the first is not free.
/// Each line is what came of a connection or of words on one: 0 or the error.
const POOLED: &str = r#"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
static int port, waits; /* the sockets wait, or do not */
static int made(const char *what) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int number = socket(AF_INET, SOCK_STREAM | (waits ? 0 : SOCK_NONBLOCK), 0);
    int failed = connect(number, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS ? errno : 0;
    struct pollfd ready = {.fd = number, .events = POLLOUT};
    if (!failed) poll(&ready, 1, 10000);
    printf("%s %d\n", what, failed);
    return number;
}
static void say(int number, const char *what, const char *words) {
    ssize_t sent = write(number, words, strlen(words));
    printf("%s %d\n", what, sent < 0 ? errno : 0);
}
#define NEXT "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n\r\n"
#define ANSWER "POST /2018-06-01/runtime/invocation/one/response HTTP/1.1\r\n\r\n"
int main(int count, char **words) {
    setvbuf(stdout, NULL, _IONBF, 0);
    port = atoi(words[1]);
    int kind = waits = count > 2;
    int first = made("first");
    say(first, "asks", NEXT);
    int spare = made("spare");
    say(spare, "steals", NEXT);
    say(spare, "anything", "GET /truth HTTP/1.1\r\n\r\n");
    say(spare, "answers on the spare one", ANSWER);
    say(spare, "answers twice", ANSWER);
    say(first, "asks on the first", NEXT);
    int other = made("other");
    say(other, "extension", "GET /2020-01-01/extension/event/next HTTP/1.1\r\n\r\n");
    made("too many");
    close(other);
    waits = !kind;
    made("of another kind");
    return 0;
}
"#;

#[test]
fn a_client_with_a_pool_may_have_spare_connections_on_which_nothing_is_said_out_of_turn() {
    let program = harness::compiled("pooled", POOLED, &[]);
    let program = program.to_str().unwrap();
    let (_listener, api) = runtime_api();
    let port = api.port().to_string();
    let free = "first 0\nasks 0\nspare 0\nsteals 0\nanything 0\nanswers on the spare one 0\nanswers twice 0\nasks on the first 0\nother 0\nextension 0\ntoo many 0\nof another kind 0";
    let world = World::new("version = 1\nmode = \"enforce\"\n").with(|world| {
        world.runtime_api = Some(api);
        world.spare = ringfence_records::clients::Spare::Alike;
    });
    assert_eq!(world.bare(program, &[&port]).stdout, free);
    let held = free
        .replace("steals 0", "steals 1")
        .replace("anything 0", "anything 1")
        .replace("answers twice 0", "answers twice 1")
        .replace("too many 0", "too many 13")
        .replace("kind 0", "kind 13");
    for arguments in [&[port.as_str()][..], &[port.as_str(), "waits"]] {
        let ran = world.run(program, arguments);
        assert_eq!(ran.stdout, held, "{}", ran.whole());
    }
}

/// As Node's client since version 4 does, by the name of its program: two threads of a pool wait for events, each with a
/// connection of its own, and the main thread answers. Then function code tries: on the main thread, where one more is
/// kept for answers that are streamed, and on a thread that it starts.
const NODES_CLIENT: &str = "import socket,sys,threading,queue
class Pool:
 def __init__(self):
  self.todo,self.done=queue.Queue(),queue.Queue(); threading.Thread(target=self.work,daemon=True).start()
 def work(self):
  while True: self.done.put(self.todo.get()())
 def run(self,what): self.todo.put(what); return self.done.get()
kept=[]
def connect():
 try: kept.append(socket.create_connection(('127.0.0.1',int(sys.argv[1])))); return 'open'
 except OSError as e: return e.errno
def ask():
 said=connect()
 try: said!='open' or kept[-1].sendall(b'GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\n\\r\\n')
 except OSError as e: return e.errno
 return said
one,two=Pool(),Pool()
print('client',one.run(ask),connect(),two.run(ask))
print('pool again',one.run(connect),two.run(connect))
late=Pool()
print('function',late.run(ask),late.run(connect),connect())
";

#[test]
fn each_thread_of_nodes_client_has_a_connection_and_a_later_thread_none() {
    let (_listener, api) = runtime_api();
    let port = api.port().to_string();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("by-name");
    let node = folder.join("node");
    std::fs::create_dir_all(&folder).unwrap();
    // By another process: a fork of this one that still held the new file would keep it from being run.
    assert!(Command::new("cp").args(["-fL", PYTHON]).arg(&node).status().unwrap().success());
    let world = World::new("version = 1\nmode = \"enforce\"\n").with(|world| {
        world.runtime_api = Some(api);
        world.phase = Phase::Invoke;
        world.variables.push(("PYTHONHOME".into(), "/usr".into()));
    });
    let arguments = ["-c", NODES_CLIENT, &port];
    let node = node.to_str().unwrap();
    let everything = "client open open open\npool again open open\nfunction open open open";
    assert_eq!(world.bare(node, &arguments).stdout, everything);
    let ran = world.run(node, &arguments);
    assert_eq!(ran.stdout, "client open open open\npool again 13 13\nfunction 1 13 13", "{}", ran.whole());
    assert_eq!(ran.kinds(Kind::InvocationOver), 2, "{}", ran.whole());
    let other = world.run(PYTHON, &arguments);
    assert_eq!(other.stdout, "client open 13 13\npool again 13 13\nfunction 13 13 13", "{}", other.whole());
}

#[test]
fn the_agents_control_socket_is_not_for_the_function() {
    let code = "import socket\ns=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET)\ntry: s.connect(b'\\0ringfence-control-127.0.0.1:9001')\nexcept OSError as e: print(e.errno)";
    let world = World::new("version = 1\nmode = \"enforce\"\n");
    assert_eq!(world.bare(PYTHON, &["-c", code]).stdout, "111");
    let ran = world.run(PYTHON, &["-c", code]);
    assert_eq!(ran.stdout, "1", "{}", ran.whole());
    assert!(ran.saw(ActionKind::Dangerous, Outcome::Blocked, Rule::SelfProtection));
}

#[test]
fn listening_is_judged_by_its_address() {
    let code = "import socket\nfor a in ('127.0.0.1','0.0.0.0'):\n s=socket.socket()\n try: s.bind((a,18123)); print('bound')\n except OSError as e: print(e.errno)\n s.close()";
    let world = World::new("version = 1\nmode = \"enforce\"\n[egress]\nlisten = \"loopback\"\n");
    assert_eq!(world.bare(PYTHON, &["-c", code]).stdout, "bound\nbound");
    let ran = world.run(PYTHON, &["-c", code]);
    assert_eq!(ran.stdout, "bound\n13", "{}", ran.whole());
    assert!(ran.saw(ActionKind::Bind, Outcome::Blocked, Rule::EgressListen));
}

#[test]
fn listening_without_an_address_opens_to_everybody() {
    let code = "import socket\n\
                def attempt(s):\n try: s.listen(); print('open')\n except OSError as e: print(e.errno)\n s.close()\n\
                attempt(socket.socket())\n\
                s=socket.socket(); s.bind(('0.0.0.0',0)); attempt(s)\n\
                s=socket.socket(); s.bind(('127.0.0.1',0)); attempt(s)\n\
                s=socket.socket(socket.AF_UNIX); s.bind('\\0ringfence-test-%d' % __import__('os').getpid()); attempt(s)";
    let world = World::new("version = 1\nmode = \"enforce\"\n[egress]\nlisten = \"loopback\"\n");
    assert_eq!(world.bare(PYTHON, &["-c", code]).stdout, "open\nopen\nopen\nopen");
    let ran = world.run(PYTHON, &["-c", code]);
    assert_eq!(ran.stdout, "13\n13\nopen\nopen", "{}", ran.whole());
    assert!(ran.saw(ActionKind::Bind, Outcome::Blocked, Rule::EgressListen));
}

#[test]
fn where_the_kernel_plane_decides_messages_without_a_name_become_plain_sends() {
    let (sink, port) = udp();
    let code = "import socket,sys\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.connect(('127.0.0.1',int(sys.argv[1])))\nprint(s.sendmsg([b'ab',b'cd']),s.sendmsg([b'x'*9000]))\ntry: s.sendto(b'x',('127.0.0.1',int(sys.argv[1])))\nexcept OSError as e: print(e.errno)";
    let world = denying(port).with(|world| world.kernel_covers = covers::EGRESS);
    let ran = world.run(PYTHON, &["-c", code, &port.to_string()]);
    assert_eq!(ran.stdout, "4 9000", "{}", ran.whole());
    assert_eq!(ran.violations(), [""; 0]);
    let mut buffer = [0; 16];
    assert_eq!(sink.recv(&mut buffer).unwrap(), 4);
    assert_eq!(&buffer[..4], b"abcd");
}

#[test]
fn answers_seem_to_come_from_the_name_server() {
    let (resolver, port) = udp();
    resolver.set_nonblocking(false).unwrap();
    let echo = std::thread::spawn(move || {
        for _ in 0..3 {
            let mut buffer = [0; 16];
            let (length, from) = resolver.recv_from(&mut buffer).unwrap();
            resolver.send_to(&buffer[..length], from).unwrap();
        }
    });
    let world = World::new("version = 1\nmode = \"enforce\"\n").with(|world| {
        world.resolver = Some(SocketAddr::from(([127, 0, 0, 1], port)));
        world.name_server = Some("192.0.2.53:53".parse().unwrap());
    });
    let code = "import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(5)\ns.sendto(b'q',('192.0.2.53',53)); print(s.recvfrom(9))\ns.sendto(b'q',('192.0.2.53',53)); print(s.recvmsg(9)[3])\ns=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM); s.settimeout(5)\ns.sendto(b'q',('::ffff:192.0.2.53',53)); print(s.recvfrom(9)[1][:2])";
    let ran = world.run(PYTHON, &["-c", code]);
    assert_eq!(
        ran.stdout,
        "(b'q', ('192.0.2.53', 53))\n('192.0.2.53', 53)\n('::ffff:192.0.2.53', 53)",
        "{}",
        ran.whole()
    );
    echo.join().unwrap();
}

#[test]
fn nobody_takes_the_agents_names_when_it_is_gone() {
    let code = "import socket,sys\ntry:\n socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM).bind('\\0'+sys.argv[1]); print('taken')\nexcept OSError as e: print(e.errno)";
    let own = std::process::id();
    for policy in ["", "[egress]\nlisten = \"loopback\"\n"] {
        let world = World::new(&format!("version = 1\nmode = \"enforce\"\n{policy}"));
        for name in [format!("ringfence-control-127.0.0.1:{own}"), format!("ringfence-report-{own:032x}")] {
            let arguments = ["-c", code, name.as_str()];
            assert_eq!(world.bare(PYTHON, &arguments).stdout.trim(), "taken");
            let ran = world.run(PYTHON, &arguments);
            assert_eq!(ran.stdout.trim(), "1", "{name}: {}", ran.whole());
            let saw = ran.saw(ActionKind::Dangerous, Outcome::Blocked, Rule::SelfProtection);
            assert!(saw, "{name}: {}", ran.whole());
        }
        let arguments = ["-c", code, &format!("own-{own}")];
        assert_eq!(world.run(PYTHON, &arguments).stdout.trim(), "taken");
    }
}

/// An alarm with a handler that raises, around a call that waits until another one helps.
fn alarmed(call: &str) -> String {
    format!(
        "import os, signal, socket, tempfile, threading\n\
         folder = tempfile.mkdtemp(); fifo = folder + '/fifo'; os.mkfifo(fifo)\n\
         server = socket.socket(socket.AF_UNIX); server.bind('\\0ringfence-alarmed-%d' % os.getpid()); server.listen(0)\n\
         filling = socket.socket(socket.AF_UNIX); filling.connect(server.getsockname())\n\
         def late(*_): raise TimeoutError('alarm')\n\
         signal.signal(signal.SIGALRM, late)\n\
         def help(): server.accept(); os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)\n\
         helper = threading.Timer(10, help); helper.daemon = True; helper.start()\n\
         signal.setitimer(signal.ITIMER_REAL, 0.3)\n\
         try: print({call})\n\
         except OSError as error: print(repr(error), flush=True)\n\
         os.unlink(fifo); os.rmdir(folder); os._exit(0)"
    )
}

#[test]
fn a_signal_ends_what_the_kernel_plane_waits_for() {
    let connect = alarmed("socket.socket(socket.AF_UNIX).connect(server.getsockname())");
    let open = alarmed("os.open(fifo, os.O_WRONLY)");
    for (call, kernel_covers) in
        [(connect, covers::EGRESS), (open.clone(), covers::OPEN_WRITE), (open, covers::OPENS_ASKED)]
    {
        let world =
            World::new("version = 1\nmode = \"enforce\"\n").with(|world| world.kernel_covers = kernel_covers);
        assert_eq!(world.bare(PYTHON, &["-c", &call]).stdout, "TimeoutError('alarm')");
        assert_eq!(world.run(PYTHON, &["-c", &call]).stdout, "TimeoutError('alarm')", "{kernel_covers}");
    }
}

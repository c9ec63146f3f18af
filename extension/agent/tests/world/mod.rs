//! A world for the real agent: name spaces of its own, and a platform made by hand.
//!
//! The agent works on the real /tmp and looks at every process, so a test runs again inside fresh mount, process and
//! user name spaces: there /tmp is an empty tmpfs, and nothing but the test runs. `unshare` is of util-linux.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, connect, recvmsg, send,
    socket,
};
use ringfence_records::message::{ActionKind, Kind, Report, encode_address, tag};
use ringfence_records::wire::{self, MAX_MESSAGE, Message, Writer};

/// Longest wait for something that has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const INSIDE: &str = "RINGFENCE_TEST_WORLD";

/// Whether this is the inside; on the outside the test is run again inside, and has then passed.
pub(crate) fn inside(test: &str) -> bool {
    inside_of(test, &[], "")
}

/// The same with a network of its own, of which loopback is up.
pub(crate) fn inside_a_network(test: &str) -> bool {
    inside_of(test, &["--net"], "ip link set lo up && ")
}

fn inside_of(test: &str, more: &[&str], first: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let script = "mount -t tmpfs world /mnt && cp \"$1\" /mnt/test && cp \"$2\" /mnt/ringfence && \
        mount -t tmpfs tmp /tmp && exec /mnt/test --exact \"$3\" --nocapture --test-threads=1";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc"])
        .args(more)
        .args(["sh", "-ec", &format!("{first}{script}"), "sh"])
        .arg(std::env::current_exe().unwrap())
        .arg(env!("CARGO_BIN_EXE_ringfence-agent"))
        .arg(test)
        .env(INSIDE, "1")
        .current_dir("/")
        .output()
        .expect("unshare(1) of util-linux");
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{test} failed inside its own name spaces:\n{}",
        String::from_utf8_lossy(&said)
    );
    false
}

/// How the platform answers a telemetry subscription.
#[derive(Clone, Copy)]
pub(crate) enum Telemetry {
    Supported,
    NotSupported,
    Refused,
    Garbage,
    Silent,
}

/// What the platform answers to a GET of the next event.
pub(crate) enum Next {
    Invoke(String),
    Shutdown,
}

/// A platform: the Extensions API, served by hand, and the agent as its extension.
pub(crate) struct World {
    pub(crate) api: SocketAddr,
    pub(crate) agent: Child,
    lines: Receiver<serde_json::Value>,
    kept: Vec<serde_json::Value>,
    events: Sender<Next>,
    asked: Receiver<()>,
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
    invocations: u64,
}

fn has_state_page(process: u32) -> bool {
    let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let mut links = files.filter_map(|file| fs::read_link(file.path()).ok());
    links.any(|link| link.to_string_lossy().contains("ringfence-state"))
}

impl World {
    /// Starts the agent with this policy; `prepare` sees the environment before.
    pub(crate) fn start(policy: &str) -> Self {
        Self::start_with(policy, &[], Telemetry::NotSupported)
    }

    pub(crate) fn start_with(policy: &str, environment: &[(&str, &str)], telemetry: Telemetry) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let api = listener.local_addr().unwrap();
        let agent = Self::spawn(api, policy, environment);
        Self::serve(listener, agent, telemetry)
    }

    /// The same with a platform that listens only when the agent has tried to register.
    pub(crate) fn start_before_the_platform(policy: &str) -> Self {
        // A port that no process has, since its listener is gone.
        let api = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let agent = Self::spawn(api, policy, &[]);
        let begun = Instant::now();
        // The state page is made when the register request is out, or was refused.
        while !has_state_page(agent.id()) {
            assert!(begun.elapsed() < PATIENCE, "the agent makes no state page");
            std::thread::yield_now();
        }
        Self::serve(TcpListener::bind(api).unwrap(), agent, Telemetry::NotSupported)
    }

    fn spawn(api: SocketAddr, policy: &str, environment: &[(&str, &str)]) -> Child {
        fs::write("/mnt/policy.toml", policy).unwrap();
        Command::new("/mnt/ringfence")
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", api.to_string())
            .env("RINGFENCE_POLICY", "/mnt/policy.toml")
            .env("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn serve(listener: TcpListener, mut agent: Child, telemetry: Telemetry) -> Self {
        let api = listener.local_addr().unwrap();
        let (events, queue) = channel();
        let (asks, asked) = channel();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        std::thread::spawn(move || serve(&listener, &queue, &asks, &log, telemetry));
        let lines = read_lines(agent.stdout.take().unwrap());
        let world = Self { api, agent, lines, kept: Vec::new(), events, asked, requests, invocations: 0 };
        world.wait_until_asked();
        world
    }

    /// Waits until the agent asks for the next event.
    pub(crate) fn wait_until_asked(&self) {
        self.asked.recv_timeout(PATIENCE).expect("the agent asks for the next event");
    }

    /// Begins an invocation.
    pub(crate) fn invoke(&mut self) -> String {
        self.invoke_for(Duration::from_secs(30))
    }

    /// The id that the next invocation will have.
    pub(crate) fn upcoming(&self) -> String {
        format!("request-{}", self.invocations + 1)
    }

    /// Begins an invocation with this time to its deadline.
    pub(crate) fn invoke_for(&mut self, time: Duration) -> String {
        self.invocations += 1;
        let request = format!("request-{}", self.invocations);
        let deadline =
            (std::time::SystemTime::now() + time).duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        let event = format!(
            r#"{{"eventType":"INVOKE","deadlineMs":{deadline},"requestId":"{request}","tracing":{{"type":"X-Amzn-Trace-Id","value":"Root=1-abc;Sampled=0"}}}}"#
        );
        self.events.send(Next::Invoke(event)).unwrap();
        request
    }

    /// Port and path to which the agent has asked for telemetry.
    pub(crate) fn telemetry_address(&self) -> (u16, String) {
        let requests = self.requests.lock().unwrap();
        let subscription = requests.iter().find(|request| request.starts_with("PUT ")).unwrap();
        let (_, destination) = subscription.split_once("sandbox.localdomain:").unwrap();
        let (port, path) = destination.split_once('/').unwrap();
        (port.parse().unwrap(), path.split_once('"').unwrap().0.to_owned())
    }

    /// Posts telemetry to where the agent asked for it; gives the status line, empty where the connection is closed.
    pub(crate) fn telemetry(&self, path: Option<&str>, body: &str) -> String {
        let (port, own_path) = self.telemetry_address();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let path = path.unwrap_or(&own_path);
        let request =
            format!("POST /{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        match BufReader::new(stream).read_line(&mut line) {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            read => _ = read.unwrap(),
        }
        line
    }

    /// A batch of telemetry: this request's runtime is done, and was at this time.
    pub(crate) fn done(request: &str, time: &str) -> String {
        format!(
            r#"[{{"time":"{time}","type":"platform.runtimeDone","record":{{"requestId":"{request}","status":"success"}}}}]"#
        )
    }

    /// Posts such a batch.
    pub(crate) fn tell_done(&self, request: &str, time: &str) {
        assert!(self.telemetry(None, &Self::done(request, time)).contains("200"));
    }

    /// What a `protection` record says of a rule.
    pub(crate) fn status(protection: &serde_json::Value, rule: &str) -> String {
        let rules = protection["ringfence"]["rules"].as_array().unwrap();
        let line = rules.iter().find(|line| line["rule"] == rule).expect("the rule is in use");
        line["status"].as_str().unwrap().to_owned()
    }

    /// Ends the environment; gives how long the agent took to leave.
    pub(crate) fn shut_down(&mut self) -> Duration {
        let start = Instant::now();
        self.events.send(Next::Shutdown).unwrap();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.agent.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                return start.elapsed();
            }
            std::thread::sleep(Duration::from_millis(2)); // polls a child; there is nothing to wait on
        }
        panic!("the agent does not leave after SHUTDOWN");
    }

    /// The next record for which `wanted` holds; others are kept for later.
    pub(crate) fn record(&mut self, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        if let Some(at) = self.kept.iter().position(&wanted) {
            return self.kept.remove(at);
        }
        loop {
            let line = self
                .lines
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("the record comes; there were {:#?}", self.kept));
            if wanted(&line) {
                return line;
            }
            self.kept.push(line);
        }
    }

    pub(crate) fn record_of(&mut self, kind: &str) -> serde_json::Value {
        self.record(|line| line["ringfence"]["kind"] == kind)
    }

    /// Whether no record for which `unwanted` holds has come so far.
    pub(crate) fn none(&mut self, unwanted: impl Fn(&serde_json::Value) -> bool) -> bool {
        self.kept.extend(self.lines.try_iter());
        !self.kept.iter().any(unwanted)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

fn read_lines(output: ChildStdout) -> Receiver<serde_json::Value> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            println!("{line}");
            assert!(line.len() < 16 * 1024);
            let _ = sender.send(serde_json::from_str(&line).expect("a line of JSON"));
        }
    });
    lines
}

fn serve(
    listener: &TcpListener,
    events: &Receiver<Next>,
    asks: &Sender<()>,
    log: &Mutex<Vec<String>>,
    telemetry: Telemetry,
) {
    for stream in listener.incoming().map_while(Result::ok) {
        let mut reader = BufReader::new(stream);
        while let Some((line, body)) = read_request(&mut reader) {
            log.lock().unwrap().push(format!("{line} {body}"));
            let answer = answer(&line, events, asks, telemetry);
            let Some(answer) = answer else { return };
            if answer.is_empty() {
                // Kept open and never answered: the agent has to come back by another connection.
                std::mem::forget(reader);
                break;
            }
            // Head and body in one write: two cost a delayed acknowledgement.
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(String, String)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((line.trim().to_owned(), String::from_utf8(body).unwrap()))
}

fn answer(line: &str, events: &Receiver<Next>, asks: &Sender<()>, telemetry: Telemetry) -> Option<String> {
    let (status, body) = if line.starts_with("POST /2020-01-01/extension/register") {
        ("200 OK", r#"{"functionName":"orders","functionVersion":"7","handler":"h"}"#.to_owned())
    } else if line.starts_with("PUT /2022-07-01/telemetry") {
        match telemetry {
            Telemetry::Supported => ("200 OK", "\"OK\"".to_owned()),
            Telemetry::NotSupported => {
                ("202 Accepted", r#"{"errorType":"Telemetry.NotSupported"}"#.to_owned())
            }
            Telemetry::Refused => ("403 Forbidden", "no".to_owned()),
            Telemetry::Silent => return Some(String::new()),
            Telemetry::Garbage => ("200 \u{1}", "\r\n\r\n".to_owned()),
        }
    } else {
        asks.send(()).ok()?;
        match events.recv().ok()? {
            Next::Invoke(event) => ("200 OK", event),
            Next::Shutdown => {
                ("200 OK", r#"{"eventType":"SHUTDOWN","shutdownReason":"SPINDOWN"}"#.to_owned())
            }
        }
    };
    Some(format!(
        "HTTP/1.1 {status}\r\nLambda-Extension-Identifier: id-1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// A guard that has become the runtime (the process plane), played by the test.
pub(crate) struct Guard {
    pub(crate) report_socket: String,
    pub(crate) resolver_port: u16,
    pub(crate) page: fs::File,
    pub(crate) control: std::os::fd::OwnedFd,
}

impl Guard {
    /// Says Hello as this process and takes the Welcome. `None` where the agent closes the connection.
    pub(crate) fn arrive(api: SocketAddr, servers: &[SocketAddr]) -> Option<Self> {
        Self::arrive_as(api, servers, std::process::id(), 0)
    }

    /// Says Hello for a runtime that the preload library cannot enter.
    pub(crate) fn arrive_without_preload(api: SocketAddr) -> Option<Self> {
        Self::arrive_with(api, |hello| {
            hello.number(tag::PID, std::process::id());
            hello.bytes(tag::NO_PRELOAD, b"statically linked", 100);
        })
    }

    /// Says Hello as this process for a runtime, perhaps of its own, that it stays the parent of.
    pub(crate) fn arrive_as(
        api: SocketAddr,
        servers: &[SocketAddr],
        runtime: u32,
        guard: u32,
    ) -> Option<Self> {
        Self::arrive_with(api, |hello| {
            hello.number(tag::PID, runtime);
            hello.number(tag::PARENT, guard);
            for server in servers {
                hello.bytes(tag::NAME_SERVER, &encode_address(*server), 18);
            }
        })
    }

    fn arrive_with(api: SocketAddr, say: impl Fn(&mut Writer<'_>)) -> Option<Self> {
        use std::os::fd::AsRawFd;
        let control = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
        let name = format!("ringfence-control-{api}");
        connect(control.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes()).unwrap()).unwrap();
        let mut buffer = [0; MAX_MESSAGE];
        let mut hello = Writer::new(&mut buffer, Kind::Hello as u8).unwrap();
        say(&mut hello);
        hello.bytes(tag::POLICY_HASH, policy_hash().as_bytes(), 100);
        hello.byte(tag::STRONGEST, 2);
        hello.bytes(tag::EXE, b"/var/lang/bin/python3.13", 100);
        hello.bytes(tag::PROBE, b"seccomp(2): EPERM", 100);
        send(control.as_raw_fd(), hello.finish(), MsgFlags::empty()).unwrap();
        let mut buffer = [0; MAX_MESSAGE];
        let mut parts = [std::io::IoSliceMut::new(&mut buffer)];
        let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
        let message =
            recvmsg::<()>(control.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty()).unwrap();
        let descriptor = message.cmsgs().unwrap().find_map(|one| match one {
            ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
            _ => None,
        })?;
        let page = fs::File::open(format!("/proc/self/fd/{descriptor}")).unwrap();
        let length = message.bytes;
        let welcome = Message::parse(&buffer[..length]).unwrap();
        let field =
            |wanted| welcome.fields().find(|(tag, _)| *tag == wanted).map(|(_, value)| value).unwrap();
        let report_socket = String::from_utf8(field(tag::REPORT_ADDRESS).to_vec()).unwrap();
        let resolver_port = u16::try_from(wire::number(field(tag::RESOLVER_PORT)).unwrap()).unwrap();
        Some(Self { report_socket, resolver_port, page, control })
    }

    /// Sends a report as preload library or shim would.
    pub(crate) fn report(&self, report: &Report<'_>) {
        let mut buffer = [0; MAX_MESSAGE];
        self.send(report.encode(&mut buffer).unwrap());
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        let address =
            std::os::unix::net::SocketAddr::from_abstract_name(self.report_socket.as_bytes()).unwrap();
        UnixDatagram::unbound().unwrap().send_to_addr(bytes, &address).unwrap();
    }

    pub(crate) fn notice(&self, kind: Kind) {
        self.notice_of(kind, std::process::id());
    }

    /// The runtime is up and asks for its first event: init is over.
    pub(crate) fn ask_first(&self) {
        self.notice(Kind::RuntimeUp);
        self.notice(Kind::InvocationOver);
    }

    /// A child of this process that says these things, and is still there.
    pub(crate) fn child(&self, notices: &[(Kind, &str)]) -> Child {
        let script = "import socket,sys,time\ns=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\n\
            [s.sendto(bytes.fromhex(m),'\\0'+sys.argv[1]) for m in sys.argv[2:]]\nprint(flush=True)\ntime.sleep(600)";
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", script, &self.report_socket]).stdout(Stdio::piped());
        for (kind, request) in notices {
            let mut report = Report::new(*kind, ActionKind::Dangerous);
            report.request = request.as_bytes();
            let mut buffer = [0; MAX_MESSAGE];
            let message = report.encode(&mut buffer).unwrap();
            command.arg(message.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")));
        }
        let mut child = command.spawn().unwrap();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        child
    }

    /// The library's mark in the order of what happens in /tmp.
    pub(crate) fn mark(&self) {
        self.word(0);
    }

    /// The runtime has answered this request and asks for the next event.
    pub(crate) fn answered(&self, request: &str) {
        let mut report = Report::new(Kind::InvocationOver, ActionKind::Dangerous);
        report.pid = std::process::id();
        report.request = request.as_bytes();
        self.report(&report);
    }

    /// A notice that claims to be of process `pid`.
    pub(crate) fn notice_of(&self, kind: Kind, pid: u32) {
        let mut report = Report::new(kind, ActionKind::Dangerous);
        report.pid = pid;
        self.report(&report);
    }

    /// Word `index` of the state page.
    pub(crate) fn word(&self, index: u64) -> u32 {
        use std::os::unix::fs::FileExt;
        let mut bytes = [0; 4];
        self.page.read_exact_at(&mut bytes, index * 4).unwrap();
        u32::from_le_bytes(bytes)
    }

    pub(crate) fn phase(&self) -> u32 {
        self.word(4)
    }
}

/// The hash of the policy that the agent was started with.
fn policy_hash() -> String {
    ringfence_policy::resolve(Some("/mnt/policy.toml"), None, &|path| fs::read(path)).digest
}

/// A name server that gives the same address for every name.
pub(crate) fn name_server(address: [u8; 4]) -> (SocketAddr, Arc<Mutex<VecDeque<Vec<u8>>>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let place = socket.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(VecDeque::new()));
    let log = Arc::clone(&seen);
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            log.lock().unwrap().push_back(buffer[..length].to_vec());
            let mut answer = buffer[..length].to_vec();
            answer[2] |= 0x80;
            answer[7] = 1;
            answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4]);
            answer.extend_from_slice(&address);
            let _ = socket.send_to(&answer, client);
        }
    });
    (place, seen)
}

/// A question about the addresses of a name.
pub(crate) fn query(name: &str) -> Vec<u8> {
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    query
}

/// Asks the guarded resolver; gives the answer, where there is one in time.
pub(crate) fn look_up(port: u16, name: &str, patience: Duration) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(patience)).unwrap();
    socket.send_to(&query(name), ("127.0.0.1", port)).unwrap();
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).ok()?;
    Some(answer[..length].to_vec())
}

pub(crate) fn exists(path: &str) -> bool {
    Path::new(path).symlink_metadata().is_ok()
}

//! Code of the function that opens more connections to the agent than there are places: what is meant for the platform
//! and for honest look-ups still gets through.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod world;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use world::{Guard, Telemetry, World, inside, inside_a_network, look_up, name_server, query};

const POLICY: &str = r#"
version = 1
mode = "enforce"
[egress]
allow = ["*.good.example:443"]
[tmp]
residue = "wipe"
"#;

/// More than there are places of any kind.
const CROWD: usize = 400;
/// Sooner than any place is given back by itself: strangers to the listener have 2 s, a name server has 2 s, a silent
/// client of the resolver has 10 s.
const IN_TIME: Duration = Duration::from_millis(1500);

/// Connections to `port` that say nothing.
fn silent(port: u16, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect()
}

fn done(request: &str) -> String {
    format!(
        r#"[{{"time":"2199-12-31T00:00:00.000Z","type":"platform.runtimeDone","record":{{"requestId":"{request}","status":"success"}}}}]"#
    )
}

/// Posts a batch; the status line, empty where there is none in time.
fn post(stream: &mut TcpStream, path: &str, body: &str) -> String {
    let request = format!("POST /{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).map(|()| answer(stream)).unwrap_or_default()
}

fn answer(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(IN_TIME)).unwrap();
    let mut answer = [0; 512];
    let length = stream.read(&mut answer).unwrap_or(0);
    let text = String::from_utf8_lossy(&answer[..length]).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn silent_connections_keep_no_delivery_out() {
    if !inside("silent_connections_keep_no_delivery_out") {
        return;
    }
    let mut world = World::start_with(POLICY, &[], Telemetry::Supported);
    let (port, path) = world.telemetry_address();
    for _ in 0..3 {
        let request = world.invoke();
        world.wait_until_asked();
        let crowd = silent(port, CROWD);
        fs::write("/tmp/left", "x").unwrap();
        let mut delivery = TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert!(post(&mut delivery, &path, &done(&request)).contains("200"), "the delivery is lost");
        let residue = world.record_of("residue");
        assert_eq!(residue["ringfence"]["invocation"]["requestId"], request.as_str(), "told when it is over");
        fs::remove_file("/tmp/left").unwrap();
        drop(crowd);
    }
}

#[test]
fn a_delivery_that_is_slow_to_begin_outlasts_the_crowd_behind_it() {
    if !inside("a_delivery_that_is_slow_to_begin_outlasts_the_crowd_behind_it") {
        return;
    }
    let world = World::start_with(POLICY, &[], Telemetry::Supported);
    let (port, path) = world.telemetry_address();
    let mut delivery = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let _crowd = silent(port, 100);
    // A part of the path makes no difference yet.
    let request = format!("POST /{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]");
    let (beginning, rest) = request.split_at(20);
    delivery.write_all(beginning.as_bytes()).unwrap();
    let _more = silent(port, 100);
    delivery.write_all(rest.as_bytes()).unwrap();
    assert!(answer(&mut delivery).contains("200"), "the delivery is lost");
    // Once it has shown that it is the platform's, no number of others takes its place.
    let _more = silent(port, CROWD);
    assert!(post(&mut delivery, &path, "[]").contains("200"), "the platform's connection was closed");
}

#[test]
fn a_delivery_that_comes_behind_a_crowd_while_the_agent_is_busy_is_not_put_off() {
    if !inside("a_delivery_that_comes_behind_a_crowd_while_the_agent_is_busy_is_not_put_off") {
        return;
    }
    let world = World::start_with(POLICY, &[], Telemetry::Supported);
    let (port, path) = world.telemetry_address();
    let agent = Pid::from_raw(i32::try_from(world.agent.id()).unwrap());
    kill(agent, Signal::SIGSTOP).unwrap();
    let address = ([127, 0, 0, 1], port).into();
    // The kernel tries again after a second where there is no room.
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(900)).expect("room");
    let _crowd: Vec<TcpStream> = (0..CROWD).map(|_| connect()).collect();
    let mut delivery = connect();
    kill(agent, Signal::SIGCONT).unwrap();
    assert!(post(&mut delivery, &path, "[]").contains("200"));
}

/// A platform outside the network name space, which the test drives line by line.
struct Elsewhere {
    name_space: Child,
    platform: Child,
    said: BufReader<ChildStdout>,
}

impl Elsewhere {
    /// Connects to `port` for every line, and posts an empty batch at the next.
    const PLATFORM: &str = "
import socket, sys
for line in sys.stdin:
    s = socket.create_connection(('192.0.2.1', int(sys.argv[1])), 3)
    s.settimeout(3)
    print('connected', flush=True)
    sys.stdin.readline()
    try:
        s.sendall(b'POST /%s HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 2\\r\\n\\r\\n[]' % sys.argv[2].encode())
        print(s.recv(100).split(b'\\r')[0].decode(), flush=True)
    except OSError as error:
        print(error, flush=True)
";

    fn begin(port: u16, path: &str) -> Self {
        let begun = ["sh", "-c", "echo begun; exec sleep 600"];
        let mut name_space =
            Command::new("unshare").arg("--net").args(begun).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(name_space.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let id = name_space.id();
        let script = format!(
            "ip link add here type veth peer name there netns {id}
            ip addr add 192.0.2.1/30 dev here
            ip link set here up
            nsenter -t {id} -n ip addr add 192.0.2.2/30 dev there
            nsenter -t {id} -n ip link set there up"
        );
        assert!(Command::new("sh").args(["-ec", &script]).status().unwrap().success(), "ip(8) of iproute2");
        let mut platform = Command::new("nsenter")
            .args(["-t", &id.to_string(), "-n", "python3", "-c", Self::PLATFORM, &port.to_string(), path])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(platform.stdout.take().unwrap());
        Self { name_space, platform, said }
    }

    /// Goes on, and gives what comes of it.
    fn step(&mut self) -> String {
        self.platform.stdin.as_ref().unwrap().write_all(b"\n").unwrap();
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        for child in [&mut self.platform, &mut self.name_space] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_delivery_from_another_name_space_never_gives_way_to_the_function() {
    if !inside_a_network("a_delivery_from_another_name_space_never_gives_way_to_the_function") {
        return;
    }
    let world = World::start_with(POLICY, &[], Telemetry::Supported);
    let (port, path) = world.telemetry_address();
    let mut platform = Elsewhere::begin(port, &path);
    assert_eq!(platform.step(), "connected\n");
    let _crowd = silent(port, CROWD);
    assert_eq!(platform.step(), "HTTP/1.1 200 OK\n");
}

#[test]
fn connections_that_talk_nonsense_take_no_place() {
    if !inside("connections_that_talk_nonsense_take_no_place") {
        return;
    }
    let world = World::start_with(POLICY, &[], Telemetry::Supported);
    let (port, path) = world.telemetry_address();
    let mut crowd = silent(port, 200);
    for (index, stream) in crowd.iter_mut().enumerate() {
        let said: &[u8] = if index % 2 == 0 { b"POST /guess HTTP/1.1\r\n" } else { &[b'x'; 4096] };
        let _ = stream.write_all(said);
        stream.set_read_timeout(Some(IN_TIME)).unwrap();
        let mut answer = [0; 1];
        let closed = match stream.read(&mut answer) {
            Ok(length) => length == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        };
        assert!(closed, "{index} is let in");
    }
    let mut delivery = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert!(post(&mut delivery, &path, "[]").contains("200"));
}

/// A look-up by TCP; none where there is no answer in time.
fn look_up_by_stream(port: u16, name: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(IN_TIME)).unwrap();
    let query = query(name);
    let framed = [&u16::try_from(query.len()).unwrap().to_be_bytes()[..], &query].concat();
    stream.write_all(&framed).ok()?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn silent_connections_to_the_resolver_keep_no_look_up_waiting() {
    if !inside("silent_connections_to_the_resolver_keep_no_look_up_waiting") {
        return;
    }
    let (server, _) = name_server([203, 0, 113, 7]);
    let world = World::start(POLICY);
    let guard = Guard::arrive(world.api, &[server]).unwrap();
    let _crowd = silent(guard.resolver_port, CROWD);
    let answer = look_up(guard.resolver_port, "api.good.example", IN_TIME).expect("an answer by UDP");
    assert_eq!(answer[answer.len() - 4..], [203, 0, 113, 7]);
    // A name that is refused, so that no name server is asked, which here takes datagrams only.
    let answer = look_up_by_stream(guard.resolver_port, "evil.example").expect("an answer by TCP");
    assert_eq!(answer[3] & 0xf, 3, "there is no such name");
}

/// A name server that is silent about every name with `slow` in it.
fn server_with_slow_names() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let place = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            if !buffer[..length].windows(4).any(|part| part == b"slow") {
                buffer[2] |= 0x80;
                let _ = socket.send_to(&buffer[..length], client);
            }
        }
    });
    place
}

#[test]
fn names_that_nobody_answers_keep_no_look_up_waiting() {
    if !inside("names_that_nobody_answers_keep_no_look_up_waiting") {
        return;
    }
    let world = World::start(POLICY);
    let guard = Guard::arrive(world.api, &[server_with_slow_names()]).unwrap();
    let asker = UdpSocket::bind("127.0.0.1:0").unwrap();
    for index in 0..CROWD {
        asker
            .send_to(&query(&format!("slow{index}.good.example")), ("127.0.0.1", guard.resolver_port))
            .unwrap();
        if index % 50 == 49 {
            // Shows that the agent has taken them: its queue in the kernel holds some 250.
            let _ = look_up(guard.resolver_port, "evil.example", IN_TIME);
        }
    }
    let answer = look_up(guard.resolver_port, "api.good.example", IN_TIME).expect("an answer");
    assert_eq!((answer[1], answer[3] & 0xf), (7, 0));
}

#[test]
fn questions_by_tcp_that_nobody_answers_keep_no_look_up_waiting() {
    if !inside("questions_by_tcp_that_nobody_answers_keep_no_look_up_waiting") {
        return;
    }
    // It takes connections and never answers.
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let world = World::start(POLICY);
    let guard = Guard::arrive(world.api, &[server.local_addr().unwrap()]).unwrap();
    let mut crowd = silent(guard.resolver_port, CROWD);
    let query = query("slow.good.example");
    let framed = [&u16::try_from(query.len()).unwrap().to_be_bytes()[..], &query].concat();
    for stream in &mut crowd {
        // Those whose place was taken are closed.
        let _ = stream.write_all(&framed);
    }
    let answer = look_up(guard.resolver_port, "evil.example", IN_TIME).expect("an answer by UDP");
    assert_eq!(answer[3] & 0xf, 3, "there is no such name");
    let answer = look_up_by_stream(guard.resolver_port, "evil.example").expect("an answer by TCP");
    assert_eq!(answer[3] & 0xf, 3, "there is no such name");
}

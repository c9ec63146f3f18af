//! Real processes, sockets and mappings, found by looking. The test is the runtime; no plane is in its way.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ringfence_policy::{Phase, Verdict};

use super::sockets::room_in_the_tables;
use super::*;
use crate::page::StatePage;

const POLICY: &str = "version = 1\nmode = \"enforce\"\n[process]\nallow = [\"/usr/bin/tail\"]\nfrom_writable = \"deny\"\nshells = \"deny\"\n[egress]\nallow = [\"192.0.2.1:443\"]\nlisten = \"deny\"\n";

struct World {
    rules: Rules,
    page: StatePage,
    detector: Detector,
    strongest: Plane,
    api: Option<SocketAddr>,
}

impl World {
    fn new(policy: &str) -> Self {
        let rules = Rules::from_text(policy);
        assert!(rules.failure.is_none(), "{:?}", rules.failure);
        let mut world = Self {
            rules,
            page: StatePage::new().unwrap(),
            detector: Detector::new(),
            strongest: Plane::Process,
            api: None,
        };
        world.begin(false);
        world
    }

    fn with_scene<T>(&mut self, act: impl FnOnce(&mut Detector, &Scene<'_>) -> T) -> T {
        let judge = Judge {
            names_are_tied: true,
            rules: &self.rules,
            page: &self.page,
            phase: Phase::Invoke,
            strongest: self.strongest,
            api: self.api,
            since_init: false,
        };
        let checks = Checks::new(&self.rules, self.strongest);
        let ours = Ours { agent: 0, platform: 0, guard: 0, witness: 0, runtime: std::process::id() };
        act(
            &mut self.detector,
            &Scene {
                judge,
                poller: &[],
                checks,
                ours,
                spare: false,
                deliveries: Deliveries::default(),
                delivery_waits: &|| false,
                name_servers: &Vec::new,
            },
        )
    }

    fn begin(&mut self, unseen: bool) {
        self.with_scene(|detector, scene| detector.begin(scene, unseen));
    }

    fn look(&mut self) -> Vec<Finding> {
        self.with_scene(Detector::look)
    }

    /// The findings about this child; other tests have children too.
    fn about(&mut self, child: &Started) -> Vec<(ActionKind, Verdict, bool)> {
        let is_its = |found: &Finding| found.process.as_ref().is_some_and(|process| process.id == child.id());
        self.look()
            .into_iter()
            .filter(is_its)
            .map(|found| (found.action, found.verdict, found.by_runtime))
            .collect()
    }
}

/// A child that ends with the test, also where that fails.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Started {
    /// Waits until the program runs: spawning returns a little earlier.
    fn new(command: &mut Command) -> Self {
        let quiet = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = Self(quiet.spawn().unwrap());
        let state = RandomState::new();
        let image = |id| image::Image::of(Path::new("/proc"), id, &state);
        let own = image(std::process::id());
        let deadline = Instant::now() + Duration::from_secs(30);
        while (image(child.id()).is_none() || image(child.id()) == own) && Instant::now() < deadline {
            std::thread::yield_now();
        }
        child
    }

    fn id(&self) -> u32 {
        self.0.id()
    }
}

fn start(program: &str, arguments: &[&str]) -> Started {
    Started::new(Command::new(program).args(arguments))
}

fn denied(rule: Rule) -> Verdict {
    Verdict { decision: Decision::Deny, rule }
}

#[test]
fn a_program_that_the_policy_does_not_list_is_found_once() {
    let mut world = World::new(POLICY);
    let child = start("sleep", &["600"]);
    assert_eq!(world.about(&child), [(ActionKind::Exec, denied(Rule::ProcessAllow), false)]);
    assert_eq!(world.about(&child), []);
}

#[test]
fn a_listed_program_and_what_ran_before_are_not_found() {
    let before = start("sleep", &["600"]);
    let mut world = World::new(POLICY);
    let listed = start("tail", &["-f", "/dev/null"]);
    assert_eq!(world.about(&listed), []);
    assert_eq!(world.about(&before), []);
}

#[test]
fn a_program_is_known_by_the_link_that_the_policy_names() {
    // The policy speaks of the link, the process table of what it leads to: sh and dash, here.
    let shell = std::fs::canonicalize("/bin/sh").unwrap();
    if shell == Path::new("/bin/sh") {
        return ringfence_tests::skipped("/bin/sh is no link here");
    }
    let mut world = World::new("version = 1\nmode = \"enforce\"\n[process]\nallow = [\"/bin/sh\"]\n");
    let child = start("/bin/sh", &["-c", "read line; true"]);
    assert_eq!(world.about(&child), []);
    let mut world = World::new("version = 1\nmode = \"enforce\"\n[process]\nallow = [\"/bin/none\"]\n");
    let child = start("/bin/sh", &["-c", "read line; true"]);
    assert_eq!(world.about(&child), [(ActionKind::Exec, denied(Rule::ProcessAllow), false)]);
}

#[test]
fn a_name_that_a_process_gives_itself_does_not_help_it() {
    use std::os::unix::process::CommandExt;
    let mut world = World::new(POLICY);
    let child = Started::new(Command::new("sleep").arg0("/usr/bin/tail").arg("600"));
    assert_eq!(world.about(&child), [(ActionKind::Exec, denied(Rule::ProcessAllow), false)]);
}

#[test]
fn a_program_from_a_writable_place_is_found_and_one_that_was_deleted() {
    let mut world = World::new(POLICY);
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let path = folder.path().join("tool");
    // A process of its own writes it: what another test forks meanwhile would hold it open for writing (ETXTBSY).
    let copy = Command::new("install").args(["-m", "0755", "/bin/sleep"]).arg(&path).status().unwrap();
    assert!(copy.success());
    let child = start(path.to_str().unwrap(), &["600"]);
    assert_eq!(world.about(&child), [(ActionKind::Exec, denied(Rule::ProcessFromWritable), false)]);
    let child = start(path.to_str().unwrap(), &["600"]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(world.about(&child), [(ActionKind::Exec, denied(Rule::ProcessFromWritable), false)]);
}

#[test]
fn an_observed_rule_that_a_plane_has_told_of_is_not_told_again() {
    let mut world = World::new(&POLICY.replace("\"enforce\"", "\"observe\""));
    let child = start("sleep", &["600"]);
    let mut told = Report::new(ringfence_records::message::Kind::Violation, ActionKind::Exec);
    let exe = proc::executable(&world.detector.proc, child.id());
    told.path = &exe;
    world.detector.note(&told);
    assert_eq!(world.about(&child), []);
}

#[test]
fn what_runs_when_init_ends_may_stay_unless_no_plane_saw_its_start() {
    let mut world = World::new(POLICY);
    let child = start("sleep", &["600"]);
    world.begin(false);
    assert_eq!(world.about(&child), []);
    world.begin(true);
    assert_eq!(world.about(&child), [(ActionKind::Exec, denied(Rule::ProcessAllow), false)]);
    assert_eq!(world.about(&child), [], "told once");
    let rule = format!("{POLICY}[[rule]]\nwhen = {{ phase = \"init\" }}\nprocess.allow = [\"/usr/bin/*\"]\n");
    let mut world = World::new(&rule);
    world.begin(true);
    assert_eq!(world.about(&child), [], "a rule for init allows it");
}

#[test]
fn where_the_kernel_plane_sees_every_exec_none_is_looked_for() {
    let mut world = World::new(POLICY);
    world.strongest = Plane::Kernel;
    let child = start("sleep", &["600"]);
    assert_eq!(world.about(&child), []);
}

#[test]
fn the_process_at_the_other_end_is_known() {
    room_in_the_tables();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    for (address, is_stream) in
        [(datagrams.local_addr().unwrap(), false), (stream.local_addr().unwrap(), true)]
    {
        // A read of the table can miss a line where other sockets of the machine come and go meanwhile.
        let holder = (0..100).find_map(|_| holder_of(address, is_stream)).unwrap();
        assert_eq!(holder.id, std::process::id());
    }
}

/// Plays a scene until it ends as expected, at most 20 times. A read of the kernel's tables misses a line now and then, where
/// other tests' sockets come and go between two pages of it. A fault of the detector fails all 20.
fn ends_with<T: PartialEq + std::fmt::Debug>(expected: &T, scene: impl Fn() -> T) {
    room_in_the_tables();
    let other_ends: Vec<T> = (0..20).map(|_| scene()).take_while(|came| came != expected).collect();
    assert!(other_ends.len() < 20, "not {expected:?} but {other_ends:?}");
}

type Told = Option<(ActionKind, Verdict, bool, Option<u32>)>;

/// What is told of a datagram socket that is connected, a listener, a connection on loopback, and the first once more.
fn told_of_sockets(outside: SocketAddr) -> [Told; 4] {
    let mut world = World::new(POLICY);
    // Nothing leaves the machine: a datagram socket is connected without a packet.
    let datagrams = UdpSocket::bind("0.0.0.0:0").unwrap();
    datagrams.connect(outside).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let inside = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let of = |found: &[Finding], address: SocketAddr| {
        let found = found.iter().find(|found| found.address == Some(address))?;
        let holder = found.process.as_ref().map(|process| process.id);
        Some((found.action, found.verdict, found.by_runtime, holder))
    };
    let found = world.look();
    let _moved = UdpSocket::bind("127.0.0.1:0").unwrap();
    let again = world.look();
    let (listens, within) = (listener.local_addr().unwrap(), inside.local_addr().unwrap());
    [of(&found, outside), of(&found, listens), of(&found, within), of(&again, outside)]
}

#[test]
fn sockets_that_the_policy_does_not_allow_are_found_once_with_their_owner() {
    let outside = "198.51.100.66:9999".parse().unwrap();
    if UdpSocket::bind("0.0.0.0:0").unwrap().connect(outside).is_err() {
        return ringfence_tests::skipped("no route to anywhere");
    }
    let told = |action, rule| Some((action, denied(rule), true, Some(std::process::id())));
    let connection = told(ActionKind::Connect, Rule::EgressAllow);
    let listening = told(ActionKind::Bind, Rule::EgressListen);
    ends_with(&[connection, listening, None, None], || told_of_sockets(outside));
}

/// Connections to the Runtime API that are made between the end of init and the first look, and how many are told of at
/// each look where so many extensions are in the runtime's process.
fn told_of_second_connections(internal: usize) -> [usize; 4] {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = listener.local_addr().unwrap();
    let connect = || TcpStream::connect(api).unwrap();
    let _clients = connect();
    let mut world = World::new(POLICY);
    world.api = Some(api);
    world.begin(false);
    let _early = connect();
    world.with_scene(Detector::begin_invocations);
    let told = |world: &mut World| {
        let of_api = |found: &Finding| found.address == Some(api) && found.action == ActionKind::Connect;
        // Another connection of this process, so that the kernel's counters have moved.
        let _moved = UdpSocket::bind("127.0.0.1:0").unwrap();
        world.look().iter().filter(|found| of_api(found)).inspect(|found| assert!(found.by_runtime)).count()
    };
    let before = told(&mut world);
    let waited = world.detector.extensions_are_known(internal);
    let known = told(&mut world);
    assert!(!waited || !world.detector.extensions_are_known(internal), "nothing waits any more");
    let again = told(&mut world);
    let _late = connect();
    [before, known, again, told(&mut world)]
}

#[test]
fn an_early_second_connection_to_the_runtime_api_is_told_once_telemetry_has_told_of_no_extension() {
    // One that is made during an invocation is a second one, whatever was there before.
    ends_with(&[0, 1, 0, 1], || told_of_second_connections(0));
    ends_with(&[0, 0, 0, 1], || told_of_second_connections(1));
}

#[test]
fn code_from_a_writable_place_is_found_where_it_is_mapped() {
    let mut world = World::new(POLICY);
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let path = folder.path().join("planted.so");
    std::fs::copy(libc_of_this_process(), &path).unwrap();
    let child = Started::new(Command::new("tail").args(["-f", "/dev/null"]).env("LD_PRELOAD", &path));
    // It is mapped by the loader, some time after the exec.
    let deadline = Instant::now() + Duration::from_secs(30);
    let found = loop {
        let found = world.about(&child);
        if !found.is_empty() || Instant::now() > deadline {
            break found;
        }
        std::thread::yield_now();
    };
    assert_eq!(found, [(ActionKind::MapExecutable, denied(Rule::ProcessFromWritable), false)]);
}

fn libc_of_this_process() -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.contains("/libc.so") || line.contains("/libc-2.")).unwrap();
    line.split_ascii_whitespace().last().unwrap().to_owned()
}

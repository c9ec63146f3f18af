//! Starts programs with the library as the guard would: a sealed handoff, a state page, the environment, and an
//! agent's report socket that keeps what arrives.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(unsafe_code, reason = "descriptors and shared memory for the programs that are started")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how tests fail"
)]
#![allow(clippy::missing_docs_in_private_items, missing_docs, reason = "tests")]

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use ringfence_policy::{Date, Phase, Plane, Policy, Rule};
use ringfence_records::handoff::Handoff;
use ringfence_records::message::{ActionKind, Kind, Outcome, Report};
use ringfence_records::page::{Editor, Invocation, SIZE, WORDS};

/// Stands in the handoff where the child writes its own process id.
const PLACEHOLDER: u32 = 0x5eed_f00d;
const HANDOFF_FD: RawFd = 961;
const PAGE_FD: RawFd = 960;

/// Where the library and programs are built; examples have no folder of their own.
fn scratch() -> PathBuf {
    option_env!("CARGO_TARGET_TMPDIR")
        .map_or_else(|| std::env::temp_dir().join("ringfence-preload-costs"), PathBuf::from)
}

/// The library as it ships, built once per run of the tests.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let target = scratch().join("shipped");
        let status = Command::new(env!("CARGO"))
            .args(["rustc", "--quiet", "--package", "ringfence-preload", "--profile", "layer"])
            .args(["--crate-type", "cdylib", "--target-dir"])
            .arg(&target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo can be started");
        assert!(status.success(), "the library does not build");
        target.join("layer/libringfence.so")
    })
}

/// Compiles a C program that tests need, once; gives its path.
pub fn compiled(name: &str, source: &str, flags: &[&str]) -> PathBuf {
    compiled_by("gcc", name, source, flags)
}

/// The same by another compiler.
pub fn compiled_by(compiler: &str, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let folder = scratch().join("programs");
    std::fs::create_dir_all(&folder).unwrap();
    let (file, program) = (folder.join(format!("{name}.c")), folder.join(name));
    std::fs::write(&file, source).unwrap();
    let status = Command::new(compiler).arg(&file).arg("-o").arg(&program).args(flags).status().unwrap();
    assert!(status.success(), "{name} does not compile");
    program
}

/// Waits until a file that was just made may be remembered: two seconds.
pub fn settle(file: &Path) {
    let made = std::fs::metadata(file).unwrap().ctime().unsigned_abs();
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    while now() < made + 2 {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// CPU time of all children that have ended: what a start costs, whatever else the machine does.
pub fn cpu_of_children() -> Duration {
    // SAFETY: a plain structure of numbers, filled by the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let time = |time: libc::timeval| {
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_usec * 1000).unwrap())
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// An environment of the function: policy, phase, what the guard found.
pub struct World {
    pub policy: String,
    pub phase: Phase,
    /// A file that the program makes when it wants another phase, and which; the file is gone when it is so.
    pub turns: Option<(PathBuf, Phase)>,
    pub launched: bool,
    pub strongest: Plane,
    pub kernel_covers: u32,
    pub runtime_api: Option<std::net::SocketAddr>,
    pub spare: ringfence_records::clients::Spare,
    pub resolver: Option<std::net::SocketAddr>,
    pub name_server: Option<std::net::SocketAddr>,
    pub agent_pid: u32,
    pub names: Vec<(std::net::IpAddr, u16)>,
    pub child_filter: Vec<u8>,
    /// The runtime's executable, where it is not the program that is started.
    pub runtime: Option<PathBuf>,
    /// Root folder that the program runs in; it has the library as /ringfence/libringfence.so.
    pub root: Option<PathBuf>,
    /// Folder that the program starts in.
    pub folder: Option<PathBuf>,
    pub with_agent: bool,
    pub variables: Vec<(String, String)>,
}

impl World {
    pub fn new(policy: &str) -> Self {
        Self {
            policy: policy.to_owned(),
            phase: Phase::Invoke,
            turns: None,
            launched: true,
            strongest: Plane::Process,
            kernel_covers: 0,
            runtime_api: None,
            spare: ringfence_records::clients::Spare::None,
            resolver: None,
            name_server: None,
            agent_pid: 0,
            names: Vec::new(),
            child_filter: Vec::new(),
            runtime: None,
            root: None,
            folder: None,
            with_agent: true,
            variables: Vec::new(),
        }
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Runs a program without the library: the control run of an attack.
    pub fn bare(&self, program: &str, arguments: &[&str]) -> Ran {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).envs(self.variables.iter().cloned());
        self.folder.as_ref().map(|folder| command.current_dir(folder));
        Ran::from(command.output().unwrap(), Vec::new())
    }

    /// Runs a program as the runtime.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Ran {
        self.start(program, arguments, true)
    }

    /// Prepares everything for a program and runs it without the library: the control run of a measurement.
    pub fn run_without(&self, program: &str, arguments: &[&str]) -> Ran {
        self.start(program, arguments, false)
    }

    fn start(&self, program: &str, arguments: &[&str], preload: bool) -> Ran {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let address = format!("ringfence-report-test-{}-{number}", std::process::id());
        let name = UnixAddress::from_abstract_name(&address).unwrap();
        let socket = UnixDatagram::bind_addr(&name).unwrap();
        socket.set_nonblocking(true).unwrap();
        let report = if self.with_agent { address.as_bytes() } else { b"" };
        let handoff = self.handoff(program, report);
        let (page, page_file) = self.page();
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        self.folder.as_ref().map(|folder| command.current_dir(folder));
        if preload {
            command.env("LD_PRELOAD", self.library()).env("RINGFENCE_FDS", format!("{HANDOFF_FD},{PAGE_FD}"));
        }
        command.env("RINGFENCE_REPORT", &address).envs(self.variables.iter().cloned());
        let page_number = page_file.as_raw_fd();
        let root = self.root.clone();
        // SAFETY: only system calls and copies of what was made before the fork.
        unsafe {
            command.pre_exec(move || {
                root.as_deref().map_or(Ok(()), enter)?;
                hand_over(&handoff, page_number)
            })
        };
        let done = AtomicBool::new(false);
        let output = std::thread::scope(|threads| {
            threads.spawn(|| self.turn(&page, &done));
            let output = command.output();
            done.store(true, Ordering::Relaxed);
            output.unwrap()
        });
        drop(page);
        Ran::from(output, received(&socket))
    }

    /// The library, as the program sees it.
    fn library(&self) -> &Path {
        self.root.as_ref().map_or_else(library, |_| Path::new("/ringfence/libringfence.so"))
    }

    /// A file of the program's, as this process sees it.
    fn inside(&self, path: &Path) -> PathBuf {
        let below = path.strip_prefix("/").unwrap_or(path);
        self.root.as_ref().map_or_else(|| path.to_owned(), |root| root.join(below))
    }

    fn handoff(&self, program: &str, report: &[u8]) -> Vec<u8> {
        let parsed = Policy::parse("policy.toml", &self.policy).unwrap_or_else(|errors| panic!("{errors}"));
        let compiled = parsed.policy.compile(Date { year: 2026, month: 11, day: 22 }).unwrap();
        let executable =
            std::fs::metadata(self.inside(self.runtime.as_deref().unwrap_or(program.as_ref()))).unwrap();
        let mut handoff = Handoff::with_policy(&compiled);
        handoff.strongest = self.strongest;
        handoff.kernel_covers = self.kernel_covers;
        handoff.runtime_pid = PLACEHOLDER;
        handoff.agent_pid = self.agent_pid;
        handoff.runtime_device = executable.dev();
        handoff.runtime_inode = executable.ino();
        handoff.report_address = report;
        handoff.runtime_api = self.runtime_api;
        handoff.spare = self.spare;
        handoff.resolver = self.resolver;
        handoff.name_servers[0] = self.name_server;
        handoff.child_filter = &self.child_filter;
        let path = self.library().to_str().unwrap().as_bytes().to_vec();
        handoff.preload_path = &path;
        handoff.function = b"tests";
        handoff.policy_hash = b"sha256:test";
        let mut bytes = Vec::new();
        handoff.encode(|part| bytes.extend_from_slice(part));
        bytes
    }

    /// Waits for the program to want another phase, or to be done.
    fn turn(&self, page: &Page, done: &AtomicBool) {
        let Some((wish, phase)) = &self.turns else { return };
        while !done.load(Ordering::Relaxed) {
            if wish.exists() {
                self.publish(page, *phase);
                std::fs::remove_file(wish).unwrap();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn publish(&self, page: &Page, phase: Phase) {
        let mut invocation = Invocation::new(phase).with_request(b"8476a536-e9f4-11e8-9739-2dfe598c3fcd");
        invocation.launched = self.launched;
        invocation.number = 3;
        Editor::new(page.words()).publish(&invocation);
    }

    fn page(&self) -> (Page, OwnedFd) {
        let file = memory_file("ringfence-state");
        // SAFETY: plain system calls on a descriptor that was just made; the mapping is kept by `Page`.
        let page = unsafe {
            assert_eq!(libc::ftruncate(file.as_raw_fd(), libc::off_t::try_from(SIZE).unwrap()), 0);
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let address =
                libc::mmap(std::ptr::null_mut(), SIZE, protection, libc::MAP_SHARED, file.as_raw_fd(), 0);
            assert_ne!(address, libc::MAP_FAILED);
            Page(address.cast())
        };
        let editor = Editor::new(page.words());
        for (address, pattern) in &self.names {
            editor.add_name(*address, *pattern);
        }
        self.publish(&page, self.phase);
        (page, file)
    }
}

struct Page(*mut AtomicU32);

// SAFETY: the words are shared with another process anyway, and only used as atomics.
unsafe impl Sync for Page {}

impl Page {
    fn words(&self) -> &[AtomicU32] {
        // SAFETY: SIZE bytes are mapped there until this value is dropped.
        unsafe { std::slice::from_raw_parts(self.0, WORDS) }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `page` and nobody else unmaps it.
        unsafe { libc::munmap(self.0.cast(), SIZE) };
    }
}

fn memory_file(name: &str) -> OwnedFd {
    let name = CString::new(name).unwrap();
    // SAFETY: a new descriptor that nobody else owns.
    unsafe {
        let file = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
        assert!(file >= 0);
        OwnedFd::from_raw_fd(file)
    }
}

/// In the child, before exec: a mount name space of its own, in which `root` is the root and has its procfs.
fn enter(root: &Path) -> std::io::Result<()> {
    let path = |path: &Path| CString::new(path.to_str().unwrap()).unwrap();
    let (root, procfs, null) = (path(root), path(&root.join("proc")), std::ptr::null());
    let made = |result: libc::c_int| {
        if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: system calls on strings that live until they return.
    unsafe {
        made(libc::unshare(libc::CLONE_NEWNS))?;
        made(libc::mount(null, c"/".as_ptr(), null, libc::MS_REC | libc::MS_PRIVATE, null.cast()))?;
        made(libc::mount(c"proc".as_ptr(), procfs.as_ptr(), c"proc".as_ptr(), 0, null.cast()))?;
        made(libc::chroot(root.as_ptr()))?;
        made(libc::chdir(c"/".as_ptr()))
    }
}

/// In the child, before exec: the handoff with its own process id, sealed, and both descriptors at their numbers.
fn hand_over(handoff: &[u8], page: RawFd) -> std::io::Result<()> {
    let at = handoff.windows(4).position(|word| word == PLACEHOLDER.to_le_bytes()).unwrap_or(0);
    let pid = std::process::id().to_le_bytes();
    // SAFETY: system calls only.
    unsafe {
        let file = libc::memfd_create(c"ringfence-handoff".as_ptr(), libc::MFD_ALLOW_SEALING);
        let parts: [&[u8]; 3] = [&handoff[..at], &pid, &handoff[at + 4..]];
        for part in parts {
            if libc::write(file, part.as_ptr().cast(), part.len()) != part.len().cast_signed() {
                return Err(std::io::Error::last_os_error());
            }
        }
        let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
        if libc::fcntl(file, libc::F_ADD_SEALS, seals) != 0
            || libc::dup2(file, HANDOFF_FD) < 0
            || libc::dup2(page, PAGE_FD) < 0
        {
            return Err(std::io::Error::last_os_error());
        }
        libc::close(file);
    }
    Ok(())
}

fn received(socket: &UnixDatagram) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut buffer = [0; 8192];
    while let Ok(length) = socket.recv(&mut buffer) {
        all.push(buffer[..length].to_vec());
    }
    all
}

/// What a program did, said, and was reported for.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    messages: Vec<Vec<u8>>,
}

impl Ran {
    fn from(output: Output, messages: Vec<Vec<u8>>) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            messages,
        }
    }

    pub fn reports(&self) -> Vec<Report<'_>> {
        self.messages.iter().filter_map(|message| Report::decode(message)).collect()
    }

    pub fn kinds(&self, kind: Kind) -> usize {
        self.reports().iter().filter(|report| report.kind == kind).count()
    }

    /// The violations as text, one a line: action, outcome, rule, subject.
    pub fn violations(&self) -> Vec<String> {
        self.reports().iter().filter(|report| report.kind == Kind::Violation).map(told).collect()
    }

    /// Whether there is a violation with these.
    pub fn saw(&self, action: ActionKind, outcome: Outcome, rule: Rule) -> bool {
        self.reports().iter().any(|report| {
            report.kind == Kind::Violation
                && (report.action, report.outcome, report.rule) == (action, outcome, rule)
        })
    }

    /// Everything, for the message of a failed assertion.
    pub fn whole(&self) -> String {
        let reports: Vec<_> = self.reports().iter().map(|report| format!("{report:?}")).collect();
        format!(
            "code {:?}\nstdout: {}\nstderr: {}\n{}",
            self.code,
            self.stdout,
            self.stderr,
            reports.join("\n")
        )
    }
}

fn told(report: &Report<'_>) -> String {
    let subject = report.address.map_or_else(
        || {
            String::from_utf8_lossy(if report.path.is_empty() { report.name } else { report.path })
                .into_owned()
        },
        |address| address.to_string(),
    );
    format!("{} {} {} {subject}", report.action.as_str(), report.outcome.as_str(), report.rule.as_str())
}

//! One `ringfence local invoke`, from its options to its exit status.
//!
//! Decides the order of the steps and what stands in the run's directory; knows every other module and none of their
//! insides. Called by the CLI.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use nix::sys::signal::SigSet;

use crate::clock::uuid;
use crate::error::LocalError;
use crate::layer;
use crate::options::{Network, Options, OutputFormat, Profile, Start};
use crate::runtime::{self, RuntimeSetup};
use crate::sandbox::Sandbox;
use crate::sandbox::plan::{NetworkPlan, SandboxPlan, SocketPlan};
use crate::service::invoke::Outcome;
use crate::service::launch::Launch;
use crate::service::lifecycle::{Lifecycle, Reason};
use crate::service::pipes::Pipes;
use crate::service::records::{Content, LogStream, Origin};
use crate::service::server;
use crate::service::state::{Settings, Shared};
use crate::service::telemetry::{Telemetry, TelemetryMode};
use crate::world::{Served, World};

/// Lambda's smallest /tmp, in bytes.
const TMP_BYTES: u64 = 512 * 1024 * 1024;
/// Where the APIs are, unless the options say more: on loopback, in a network of the run's own at this port.
const API_PORT: u16 = 9001;
/// Where SDKs, OpenSSL, requests and Node look for a certificate authority.
const TRUST_VARIABLES: &[&str] =
    &["AWS_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"];
/// Lambda's limit for a synchronous event, in bytes.
const EVENT_MAX: usize = 6 * 1024 * 1024;
/// What the managed runtimes' log descriptor may be numbered: not a standard stream, and within the limit of a process.
const LOG_FDS: std::ops::Range<u16> = 3..1024;

/// Runs the function with every event. The result is the exit status: 0 all answered, 1 some function error.
///
/// # Errors
/// [`LocalError`]; its [`LocalError::exit_status`] is the exit status.
pub fn invoke(options: &Options, output: Box<dyn Write + Send>) -> Result<u8, LocalError> {
    let signals = block_interrupts()?;
    let events = check(options)?;
    let directory = tempfile::Builder::new()
        .prefix("ringfence-local-")
        .tempdir()
        .map_err(|e| LocalError::environment("make a directory for the run", e))?;
    let world = match &options.network {
        Network::World(file) => Some(World::load(file)?),
        Network::None | Network::Inherit => None,
    };
    let files = RunFiles::prepare(options, world.as_ref(), directory.path())?;
    let run = Run::start(options, files, world, output)?;
    interrupt_on(signals, &run.lifecycle.shared);
    let failed = run.all(events, options.concurrency);
    run.finish(failed)
}

/// Checks what can be checked before anything is built, and reads the events.
fn check(options: &Options) -> Result<Vec<Vec<u8>>, LocalError> {
    if options.concurrency == 0 || (options.concurrency > 1 && options.profile != Profile::ManagedInstances) {
        return Err(LocalError::Usage("--concurrency above 1 needs --profile managed-instances".into()));
    }
    if !options.code.is_dir() {
        return Err(LocalError::Usage(format!("--code {}: not a directory", options.code.display())));
    }
    if options.env.iter().any(|(name, value)| name.is_empty() || name.contains('\0') || value.contains('\0'))
    {
        return Err(LocalError::Usage("--env needs NAME=VALUE".into()));
    }
    if options.log_fd.is_some_and(|number| !LOG_FDS.contains(&number)) {
        return Err(LocalError::Usage("--log-fd needs a number from 3 to 1023, or none".into()));
    }
    if matches!(&options.start, Start::Command(command) if command.is_empty()) {
        return Err(LocalError::Usage("--entrypoint needs a command".into()));
    }
    options.events.iter().map(|path| read_event(path)).collect()
}

fn read_event(path: &Path) -> Result<Vec<u8>, LocalError> {
    let mut event = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().take(EVENT_MAX as u64 + 1).read_to_end(&mut event)
    } else {
        fs::File::open(path).and_then(|file| file.take(EVENT_MAX as u64 + 1).read_to_end(&mut event))
    };
    read.map_err(|e| LocalError::Usage(format!("event {}: {e}", path.display())))?;
    if event.len() > EVENT_MAX {
        return Err(LocalError::Usage(format!(
            "event {}: longer than Lambda's limit of 6 MB",
            path.display()
        )));
    }
    serde_json::from_slice::<serde::de::IgnoredAny>(&event)
        .map_err(|e| LocalError::Usage(format!("event {}: not JSON: {e}", path.display())))?;
    Ok(event)
}

/// The files that the sandbox is made of.
struct RunFiles {
    root: PathBuf,
    etc: PathBuf,
    opt: PathBuf,
    runtime: RuntimeSetup,
    extensions: Vec<String>,
    has_wrapper: bool,
}

impl RunFiles {
    fn prepare(options: &Options, world: Option<&World>, directory: &Path) -> Result<Self, LocalError> {
        let make = |name: &str| {
            let path = directory.join(name);
            fs::create_dir(&path)
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
                .map_err(|e| LocalError::file(&path, e))?;
            Ok(path)
        };
        let (root, etc, opt, empty) = (make("root")?, make("etc")?, make("opt")?, make("runtime")?);
        if let Some(zip) = layer::chosen_zip(&options.layer)? {
            tracing::info!(target: "local", zip = %zip.display(), "the layer is unpacked");
            layer::unpack(&zip, &opt)?;
        }
        let has_wrapper = opt.join("ringfence-exec").is_file();
        for further in &options.further_layers {
            layer::merge(further, &opt)?;
        }
        let runtime = runtime::prepare(options, &opt, &empty)?;
        let extensions = layer::extensions(&opt)?;
        tracing::debug!(target: "local", program = runtime.argv.first(), ?extensions, has_wrapper, "the files are there");
        write_etc(&etc, &options.network)?;
        if let Some(world) = world {
            write_authority(&etc, world)?;
        }
        Ok(Self { root, etc, opt, runtime, extensions, has_wrapper })
    }

    fn plan(&self, options: &Options, network: NetworkPlan) -> Result<SandboxPlan, LocalError> {
        let absolute = |path: &Path| path.canonicalize().map_err(|e| LocalError::file(path, e));
        Ok(SandboxPlan {
            root: self.root.clone(),
            task: absolute(&options.code)?,
            runtime: self.runtime.directory.clone(),
            lang: self.runtime.lang.clone(),
            opt: self.opt.clone(),
            policy: options.policy.as_deref().map(absolute).transpose()?,
            entrypoint: self.runtime.entrypoint.map(str::to_owned),
            etc: self.etc.clone(),
            tmp_bytes: TMP_BYTES,
            network,
        })
    }
}

/// The files that go over the host's /etc.
fn write_etc(etc: &Path, network: &Network) -> Result<(), LocalError> {
    let host = |name: &str| fs::read_to_string(format!("/etc/{name}")).unwrap_or_default();
    let inherited = matches!(network, Network::Inherit);
    let resolver = match network {
        Network::Inherit => host("resolv.conf"),
        Network::None => String::new(),
        Network::World(_) => "nameserver 169.254.78.1\noptions timeout:2 attempts:2\n".into(),
    };
    let names = if inherited { host("hosts") } else { "127.0.0.1 localhost\n::1 localhost\n".into() };
    let files = [
        ("resolv.conf", resolver),
        ("hosts", format!("{names}\n127.0.0.1 sandbox.localdomain sandbox\n")),
        ("passwd", host("passwd") + "sbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin\n"),
        ("group", host("group") + "sbx_user1051:x:990:\n"),
    ];
    for (name, text) in files {
        let path = etc.join(name);
        fs::write(&path, text).map_err(|e| LocalError::file(&path, e))?;
    }
    Ok(())
}

/// What makes programs of the sandbox trust the world's certificates.
fn write_authority(etc: &Path, world: &World) -> Result<(), LocalError> {
    let directory = etc.join("ssl");
    fs::create_dir(&directory).map_err(|e| LocalError::file(&directory, e))?;
    let path = directory.join("ringfence-world.pem");
    fs::write(&path, world.authority_pem()).map_err(|e| LocalError::file(&path, e))
}

/// A running environment.
struct Run {
    lifecycle: Arc<Lifecycle>,
    world: Option<Served>,
}

impl Run {
    fn start(
        options: &Options,
        files: RunFiles,
        world: Option<World>,
        output: Box<dyn Write + Send>,
    ) -> Result<Self, LocalError> {
        let begun = Instant::now();
        let network = network_plan(options, world.as_ref());
        let settings = settings(options, &files.runtime);
        let log = LogStream::new(output, options.output, Telemetry::new(telemetry_mode()));
        let shared = Arc::new(Shared::new(settings, log));
        let noted = Arc::clone(&shared);
        let (sandbox, sockets) = Sandbox::build(&files.plan(options, network)?, move |exit| {
            noted.change(|state| state.note_exit(exit));
        })?;
        tracing::info!(target: "local", took_ms = begun.elapsed().as_millis(), "the sandbox is built");
        let sandbox = Arc::new(sandbox);
        let mut sockets = sockets.into_iter();
        let api = serve_api(sockets.next(), &shared)?;
        let world = world.map(|world| world.serve(sockets)).transpose()?;
        let reach = Arc::downgrade(&sandbox);
        shared.log.telemetry.connect_with(Box::new(move |address| {
            reach.upgrade().ok_or(io::ErrorKind::NotConnected)?.connect(address)
        }));
        let printed = Arc::clone(&shared);
        let pipes = Pipes::start(move |origin, line| print_line(&printed, origin, line));
        let launch = launch(options, files, api);
        let lifecycle = Arc::new(Lifecycle::new(shared, sandbox, pipes, launch));
        Ok(Self { lifecycle, world })
    }

    /// Invokes every event in order, at most `concurrency` at a time. Says whether one failed.
    fn all(&self, events: Vec<Vec<u8>>, concurrency: usize) -> bool {
        let events = Mutex::new(events.into_iter());
        let failures = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..concurrency {
                scope.spawn(|| {
                    while let Some(event) = self.take(&events) {
                        let outcome = self.lifecycle.invoke(event);
                        tracing::info!(target: "local", status = outcome.status, "an event is answered");
                        failures.fetch_add(usize::from(outcome.status != "success"), Ordering::Relaxed);
                        self.print(&outcome);
                    }
                });
            }
        });
        failures.into_inner() > 0
    }

    fn take(&self, events: &Mutex<std::vec::IntoIter<Vec<u8>>>) -> Option<Vec<u8>> {
        let interrupted = self.lifecycle.shared.state().interrupted;
        events.lock().unwrap_or_else(PoisonError::into_inner).next().filter(|_| !interrupted)
    }

    fn print(&self, outcome: &Outcome) {
        let text = format!("=> {} {}", outcome.status, outcome.payload);
        self.lifecycle.shared.log.print(&outcome.line(), &text);
    }

    fn finish(self, failed: bool) -> Result<u8, LocalError> {
        self.lifecycle.shut_down(Reason::Spindown);
        for line in self.world.iter().flat_map(Served::finish) {
            self.lifecycle.shared.log.print(&line, &line.to_string());
        }
        if self.lifecycle.shared.state().interrupted {
            return Err(LocalError::Interrupted);
        }
        Ok(u8::from(failed))
    }
}

fn print_line(shared: &Shared, origin: Origin, line: &str) {
    let request_id = shared.state().request_of(line);
    shared.log.emit(origin, request_id.as_deref(), Content::line(line));
}

fn settings(options: &Options, runtime: &RuntimeSetup) -> Settings {
    Settings {
        function: "local".into(),
        handler: options.handler.clone(),
        memory_mb: options.memory_mb,
        timeout: options.timeout,
        concurrency: options.concurrency,
        managed: options.profile == Profile::ManagedInstances,
        runtime_version: runtime.version.clone(),
    }
}

/// Tests of subscribers may ask for a telemetry that refuses or is silent.
fn telemetry_mode() -> TelemetryMode {
    match std::env::var("RINGFENCE_LOCAL_TELEMETRY").as_deref() {
        Ok("off") => TelemetryMode::Off,
        Ok("silent") => TelemetryMode::Silent,
        _ => TelemetryMode::On,
    }
}

fn network_plan(options: &Options, world: Option<&World>) -> NetworkPlan {
    let private = !matches!(options.network, Network::Inherit);
    let port = if private { API_PORT } else { 0 };
    let address = options.api.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let mut addresses = world.map(World::addresses).unwrap_or_default();
    if private && !address.ip().is_loopback() && !addresses.contains(&address.ip()) {
        addresses.push(address.ip());
    }
    let api = SocketPlan { udp: false, address };
    let sockets = [api].into_iter().chain(world.map(World::sockets).unwrap_or_default()).collect();
    NetworkPlan { private, addresses, sockets }
}

fn serve_api(socket: Option<OwnedFd>, shared: &Arc<Shared>) -> Result<SocketAddr, LocalError> {
    let missing = || LocalError::environment("serve the APIs", "the sandbox handed no socket over");
    let listener = TcpListener::from(socket.ok_or_else(missing)?);
    let address = listener.local_addr().map_err(|e| LocalError::environment("serve the APIs", e))?;
    server::serve(listener, Arc::clone(shared));
    Ok(address)
}

fn launch(options: &Options, files: RunFiles, api: SocketAddr) -> Launch {
    let mut defaults = Vec::new();
    if files.has_wrapper && files.runtime.honours_wrapper {
        defaults.push(("AWS_LAMBDA_EXEC_WRAPPER".to_owned(), "/opt/ringfence-exec".to_owned()));
    }
    if options.policy.is_some() {
        defaults.push(("RINGFENCE_POLICY".to_owned(), "/var/policy/policy.toml".to_owned()));
    }
    if matches!(options.network, Network::World(_)) {
        let trusted = TRUST_VARIABLES
            .iter()
            .map(|name| ((*name).to_owned(), "/etc/ssl/ringfence-world.pem".to_owned()));
        defaults.extend(trusted);
    }
    defaults.extend(options.env.iter().cloned());
    let log_fd = options.log_fd.filter(|_| has_log(options, &files.runtime));
    Launch {
        extensions: files.extensions,
        runtime: files.runtime.argv,
        profile: options.profile,
        api,
        metadata_token: uuid(),
        managed_runtime: files.runtime.managed,
        image: options.start != Start::Zip,
        log_fd,
        customer_env: defaults,
    }
}

/// Whether the platform hands a log descriptor to a runtime of this kind.
fn has_log(options: &Options, runtime: &RuntimeSetup) -> bool {
    // Managed Instances have a socket for it, and a command of the image's own was never seen with one.
    runtime.managed
        && options.profile != Profile::ManagedInstances
        && !matches!(options.start, Start::Command(_))
}

/// Interrupts are taken by one thread; every process that is started has them unblocked again.
fn block_interrupts() -> Result<SigSet, LocalError> {
    let signals: SigSet = runtime::INTERRUPTS.into_iter().collect();
    signals.thread_block().map_err(|e| LocalError::environment("block signals", e))?;
    Ok(signals)
}

fn interrupt_on(signals: SigSet, shared: &Arc<Shared>) {
    let shared = Arc::downgrade(shared);
    thread::spawn(move || {
        if signals.wait().is_ok()
            && let Some(shared) = shared.upgrade()
        {
            shared.change(|state| state.interrupted = true);
        }
    });
}

/// The default form of the output: text for people.
pub const DEFAULT_OUTPUT: OutputFormat = OutputFormat::Text;

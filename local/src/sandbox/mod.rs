//! The sandbox of one run: its processes live in name spaces of their own, as uid 993, and die with this handle.
//!
//! Decides how the service talks to it; must not know the Lambda APIs. The work inside is done by three hidden
//! sub-commands of the same program (`__sandbox`, `__init`, `__start`), because each step has to happen in a
//! single-threaded process. Called by the service's life cycle.

mod channel;
mod enter;
mod init;
mod netlink;
pub mod plan;
pub mod profile;
mod root;
mod start;

use std::io::{self, PipeReader};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel as queue};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::LocalError;
use plan::{Report, Request, SandboxPlan, StartPlan};

/// Longest time that building the name spaces and mounts may take.
const BUILD_PATIENCE: Duration = Duration::from_secs(20);
/// Longest time that the end may take; a process stuck in the kernel is left to it.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// Longest time that one request may take.
const REQUEST_PATIENCE: Duration = Duration::from_secs(10);

/// Runs a hidden sub-command, when the program was started as one.
///
/// Every program that builds a [`Sandbox`] must call this first, before it starts a thread.
#[must_use]
pub fn helper(arguments: &[String]) -> Option<ExitCode> {
    let [name, argument] = arguments.get(1..)? else { return None };
    let result = match name.as_str() {
        "__sandbox" => enter::run(argument).map_err(|e| e.to_string()),
        "__init" => init::run(argument).map_err(|e| e.to_string()),
        "__start" => Err(start::start(argument)),
        _ => return None,
    };
    Some(match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("ringfence local: {reason}");
            ExitCode::from(126)
        }
    })
}

/// How a process of the sandbox ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The name that it was spawned under.
    pub id: u32,
    /// Its exit status, unless a signal killed it.
    pub code: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<i32>,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit status {code}"),
            (None, Some(signal)) => write!(f, "signal: {signal}"),
            (None, None) => write!(f, "unknown status"),
        }
    }
}

/// The reading ends of what a process writes.
#[derive(Debug)]
pub struct Written {
    /// Its standard output.
    pub output: PipeReader,
    /// Its standard error.
    pub errors: PipeReader,
    /// Its log, when its plan has a number for one.
    pub log: Option<PipeReader>,
}

/// A running sandbox.
#[derive(Debug)]
pub struct Sandbox {
    channel: Arc<OwnedFd>,
    /// One request at a time; its answer comes through here.
    answers: Mutex<Receiver<(Report, Vec<OwnedFd>)>>,
    keeper: Child,
}

impl Sandbox {
    /// Builds the sandbox. Returns it with the sockets of the plan, in the plan's order.
    ///
    /// # Errors
    /// [`LocalError::Environment`] with the step that failed and what is missing.
    pub fn build(
        plan: &SandboxPlan,
        on_exit: impl Fn(Exit) + Send + 'static,
    ) -> Result<(Self, Vec<OwnedFd>), LocalError> {
        let start = |e: io::Error| LocalError::environment("start the sandbox", e);
        let (ours, theirs) = channel::pair().map_err(start)?;
        let text = serde_json::to_string(plan).map_err(|e| start(e.into()))?;
        let keeper = Command::new("/proc/self/exe")
            .args(["__sandbox", &text])
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(start)?;
        let channel = Arc::new(ours);
        let (sender, answers) = queue();
        let reader = Arc::clone(&channel);
        thread::spawn(move || read_reports(&reader, &sender, &on_exit));
        let sandbox = Self { channel, answers: Mutex::new(answers), keeper };
        let sockets = sandbox.await_ready(plan.network.sockets.len())?;
        Ok((sandbox, sockets))
    }

    fn await_ready(&self, expected: usize) -> Result<Vec<OwnedFd>, LocalError> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sockets = Vec::with_capacity(expected);
        loop {
            match answers.recv_timeout(BUILD_PATIENCE) {
                Ok((Report::Socket(index), socket)) if index == sockets.len() => sockets.extend(socket),
                Ok((Report::Ready, _)) if sockets.len() == expected => return Ok(sockets),
                Ok((Report::Failed { step, reason }, _)) => {
                    return Err(LocalError::environment(step, reason));
                }
                Ok(other) => return Err(LocalError::environment("build the sandbox", format!("{other:?}"))),
                Err(_) => {
                    return Err(LocalError::environment("build the sandbox", "its process ended or hangs"));
                }
            }
        }
    }

    /// Starts a process under the name `id`. Returns what it writes.
    ///
    /// # Errors
    /// The system's. A program that cannot be executed shows as an exit with status 126.
    pub fn spawn(&self, id: u32, start: StartPlan) -> io::Result<Written> {
        let (output, output_writer) = io::pipe()?;
        let (errors, errors_writer) = io::pipe()?;
        let (log, log_writer) = start.log_fd.map(|_| io::pipe()).transpose()?.unzip();
        let mut writers = vec![output_writer.as_fd(), errors_writer.as_fd()];
        writers.extend(log_writer.as_ref().map(AsFd::as_fd));
        self.ask(&Request::Spawn { id, start }, &writers)?;
        Ok(Written { output, errors, log })
    }

    /// Sends a signal to the process group of a started process. One that is gone already is no error.
    ///
    /// # Errors
    /// The system's.
    pub fn signal(&self, id: u32, signal: i32) -> io::Result<()> {
        self.ask(&Request::Signal { id, signal }, &[]).map(drop)
    }

    /// Kills and reaps everything in the sandbox.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub fn kill_all(&self) -> io::Result<()> {
        self.ask(&Request::KillAll, &[]).map(drop)
    }

    /// A connection to an address as the sandbox sees it.
    ///
    /// # Errors
    /// The system's: refused, timed out.
    pub fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let (_, mut stream) = self.ask(&Request::Connect(address), &[])?;
        stream.pop().map(TcpStream::from).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The sum of the memory peaks of all living processes, in KiB.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub fn memory_kib(&self) -> io::Result<u64> {
        self.ask(&Request::Memory, &[]).map(|(kib, _)| kib)
    }

    fn ask(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<(u64, Vec<OwnedFd>)> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        channel::send(&*self.channel, request, descriptors)?;
        match answers.recv_timeout(REQUEST_PATIENCE) {
            Ok((Report::Done(number), descriptors)) => Ok((number, descriptors)),
            Ok((Report::Refused(reason), _)) => Err(io::Error::other(reason)),
            Ok((other, _)) => Err(io::Error::other(format!("unexpected {other:?}"))),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Drop for Sandbox {
    /// Closing the channel ends the first process, and with it everything in its PID name space.
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(&*self.channel, rustix::net::Shutdown::Both);
        let deadline = Instant::now() + END_PATIENCE;
        while Instant::now() < deadline {
            if !matches!(self.keeper.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

fn read_reports(channel: &OwnedFd, answers: &Sender<(Report, Vec<OwnedFd>)>, on_exit: &impl Fn(Exit)) {
    while let Ok(Some((report, descriptors))) = channel::receive::<Report>(channel.as_fd()) {
        match report {
            Report::Exited { id, code, signal } => on_exit(Exit { id, code, signal }),
            other => {
                if answers.send((other, descriptors)).is_err() {
                    return;
                }
            }
        }
    }
}

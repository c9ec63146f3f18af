//! The `__init` sub-command: the first process of the sandbox's PID name space.
//!
//! Builds the root, starts processes when told to, reaps what ends, and says so. Its end is the end of everything in
//! the sandbox, and it ends when the service does: the control channel on its standard input closes.
//! Single-threaded; must not know what the processes are.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid, fchown};

use super::channel;
use super::plan::{Report, Request, SANDBOX_GID, SANDBOX_UID, SandboxPlan, StartPlan};
use super::root;

/// A listener on loopback answers at once or not at all.
const CONNECT_PATIENCE: Duration = Duration::from_millis(250);

/// Builds the sandbox of `plan` and serves it until the channel closes.
///
/// # Errors
/// The system's, when the channel is broken. Failures of the plan are reported through the channel.
pub(super) fn run(plan: &str) -> io::Result<()> {
    let channel = io::stdin().as_fd().try_clone_to_owned()?;
    let built = serde_json::from_str::<SandboxPlan>(plan)
        .map_err(|e| ("read the plan".to_owned(), io::Error::from(e)))
        .and_then(|plan| root::build(&plan));
    if let Err((step, error)) = built {
        return channel::send(&channel, &Report::Failed { step, reason: error.to_string() }, &[]);
    }
    let children = blocked_sigchld()?;
    channel::send(&channel, &Report::Ready, &[])?;
    Init { channel, children, processes: HashMap::new() }.serve()
}

fn blocked_sigchld() -> io::Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block()?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

struct Init {
    channel: OwnedFd,
    children: SignalFd,
    /// Process ids of what was started, and the service's names for them.
    processes: HashMap<i32, u32>,
}

impl Init {
    fn serve(mut self) -> io::Result<()> {
        loop {
            let (asked, ended) = self.wait()?;
            if ended {
                while matches!(self.children.read_signal(), Ok(Some(_))) {}
                self.reap()?;
            }
            if asked {
                match channel::receive::<Request>(&self.channel)? {
                    Some((request, descriptors)) => self.carry_out(request, descriptors)?,
                    None => return Ok(()),
                }
            }
        }
    }

    /// Waits for a request or a child's end: `(asked, ended)`.
    fn wait(&self) -> io::Result<(bool, bool)> {
        let mut sources = [
            PollFd::new(self.channel.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut sources, PollTimeout::NONE) {
            Err(Errno::EINTR) => Ok((false, false)),
            Err(error) => Err(error.into()),
            Ok(_) => {
                let ready = |source: &PollFd<'_>| source.any().unwrap_or(true);
                let [requests, children] = &sources;
                Ok((ready(requests), ready(children)))
            }
        }
    }

    fn carry_out(&mut self, request: Request, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        match request {
            Request::Spawn { id, start } => {
                let started = self.spawn(id, &start, descriptors);
                self.answer(started.map(|()| 0))
            }
            Request::Signal { id, signal } => {
                let sent = self.signal(id, signal);
                self.answer(sent.map(|()| 0))
            }
            Request::KillAll => {
                self.kill_all()?;
                self.answer(Ok(0))
            }
            Request::Connect(address) => self.connect(address),
            Request::Memory => self.answer(Ok(memory_kib())),
        }
    }

    fn spawn(&mut self, id: u32, start: &StartPlan, descriptors: Vec<OwnedFd>) -> Result<(), String> {
        let mut descriptors = descriptors.into_iter();
        let (Some(output), Some(errors)) = (descriptors.next(), descriptors.next()) else {
            return Err("no descriptors for what it prints".into());
        };
        // The reading end of /dev/stdout: opening it again by path needs the file's owner to be the process's.
        for pipe in [&output, &errors] {
            let _ = fchown(pipe, Some(Uid::from_raw(SANDBOX_UID)), Some(Gid::from_raw(SANDBOX_GID)));
        }
        let plan = serde_json::to_string(start).map_err(|e| e.to_string())?;
        let child = Command::new("/proc/self/exe")
            .args(["__start", &plan])
            // The log comes as standard input; the child moves it to its number and puts /dev/null there.
            .stdin(descriptors.next().map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::from(output))
            .stderr(Stdio::from(errors))
            .process_group(0)
            .spawn()
            .map_err(|e| e.to_string())?;
        self.processes.insert(i32::try_from(child.id()).unwrap_or(i32::MAX), id);
        Ok(())
    }

    fn signal(&self, id: u32, signal: i32) -> Result<(), String> {
        let signal = Signal::try_from(signal).map_err(|e| e.to_string())?;
        let group = self.processes.iter().find(|(_, name)| **name == id).map(|(pid, _)| *pid);
        match group {
            None => Ok(()),
            Some(group) => killpg(Pid::from_raw(group), signal).map_err(|e| e.to_string()),
        }
    }

    /// Ends and reaps everything. Repeated until there is no child, because a fork may race with a kill.
    fn kill_all(&mut self) -> io::Result<()> {
        loop {
            let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
            match waitpid(None, None) {
                Ok(status) => self.report_end(status)?,
                Err(Errno::EINTR) => {}
                Err(_) => return Ok(()),
            }
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(_) => return Ok(()),
                Ok(status) => self.report_end(status)?,
            }
        }
    }

    fn report_end(&mut self, status: WaitStatus) -> io::Result<()> {
        let (pid, code, signal) = match status {
            WaitStatus::Exited(pid, code) => (pid, Some(code), None),
            WaitStatus::Signaled(pid, signal, _) => (pid, None, Some(signal as i32)),
            _ => return Ok(()),
        };
        match self.processes.remove(&pid.as_raw()) {
            Some(id) => channel::send(&self.channel, &Report::Exited { id, code, signal }, &[]),
            None => Ok(()),
        }
    }

    fn connect(&self, address: SocketAddr) -> io::Result<()> {
        match TcpStream::connect_timeout(&address, CONNECT_PATIENCE) {
            Ok(stream) => channel::send(&self.channel, &Report::Done(0), &[stream.as_fd()]),
            Err(error) => self.answer(Err(error.to_string())),
        }
    }

    fn answer(&self, result: Result<u64, String>) -> io::Result<()> {
        let report = match result {
            Ok(number) => Report::Done(number),
            Err(reason) => Report::Refused(reason),
        };
        channel::send(&self.channel, &report, &[])
    }
}

/// The sum of the peaks (`VmHWM`) of all processes of the sandbox but this one, in KiB.
fn memory_kib() -> u64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != 1).filter_map(peak_kib).sum()
}

fn peak_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

//! Runs a package tool (npm, pip, Maven, gem) that may take minutes, so that an interrupt ends it with all it started.
//!
//! Decides when the wait is over and what is ended. Must not know what the tool installs: its directory is removed by
//! the cache. Called by the languages. The caller's thread has the interrupts blocked; here they are only looked at,
//! never taken, so the run's own thread still gets them.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use crate::error::LocalError;

/// What asks a run to end.
pub(crate) const INTERRUPTS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
/// How often the tool is asked whether it has ended.
const STEP: Duration = Duration::from_millis(50);
/// How long a tool may take to end by itself once it is asked to.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a tool that ended has printed.
pub(super) struct Ended {
    status: ExitStatus,
    output: String,
    errors: String,
}

impl Ended {
    /// What the tool says went wrong, if it did: its errors, or its output where it has no errors.
    pub(super) fn failure(&self) -> Option<&str> {
        let said = [self.errors.trim(), self.output.trim()];
        (!self.status.success())
            .then(|| said.into_iter().find(|text| !text.is_empty()).unwrap_or("it says nothing"))
    }
}

/// Notices an interrupt of this thread without taking it.
pub(super) struct Interrupts(SignalFd);

impl Interrupts {
    pub(super) fn watch() -> Result<Self, LocalError> {
        let set: SigSet = INTERRUPTS.into_iter().collect();
        SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map(Self)
            .map_err(|e| LocalError::environment("watch for signals", e))
    }

    /// Waits a moment. An interrupt ends the wait and is the error.
    pub(super) fn pause(&self) -> Result<(), LocalError> {
        let limit = PollTimeout::try_from(STEP).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], limit) {
            Ok(0) | Err(Errno::EINTR) => Ok(()),
            Ok(_) => Err(LocalError::Interrupted),
            Err(error) => Err(LocalError::environment("watch for signals", error)),
        }
    }
}

/// Runs `command` to its end. `failed` makes the error of a tool that cannot be started.
pub(super) fn run(
    command: &mut Command,
    failed: impl Fn(io::Error) -> LocalError,
) -> Result<Ended, LocalError> {
    let interrupts = Interrupts::watch()?;
    let (mut output, mut errors) =
        (tempfile::tempfile().map_err(&failed)?, tempfile::tempfile().map_err(&failed)?);
    // Files, not pipes: what the tool leaves running cannot hold the reader.
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(&failed)?)
        .stderr(errors.try_clone().map_err(&failed)?)
        .process_group(0)
        .spawn()
        .map_err(&failed)?;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(&failed)? {
            break status;
        }
        if let Err(error) = interrupts.pause() {
            end(&mut child);
            return Err(error);
        }
    };
    Ok(Ended {
        status,
        output: text(&mut output).map_err(&failed)?,
        errors: text(&mut errors).map_err(&failed)?,
    })
}

/// Has pip fetch an interpreter as the package `wheel`. What the search for one said stays the reason when that fails.
pub(super) fn wheel(wheel: &str, fresh: &Path, missing: &LocalError) -> Result<(), LocalError> {
    let failed = || LocalError::environment(format!("install {wheel} with pip"), missing);
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"])
        .arg(fresh)
        .arg(wheel);
    let ended = run(&mut pip, |_| failed())?;
    ended.failure().map_or(Ok(()), |_| Err(failed()))
}

fn text(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Asks the tool's process group to end, then ends it. Afterwards nothing of it writes any more.
fn end(child: &mut Child) {
    let Ok(number) = i32::try_from(child.id()) else { return };
    let group = Pid::from_raw(-number);
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        // No such group: all of it has ended.
        if kill(group, signal).is_err() {
            break;
        }
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let ended = child.try_wait().is_ok_and(|status| status.is_some());
            if ended && kill(group, None).is_err() {
                return;
            }
            std::thread::sleep(STEP);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<Ended, LocalError> {
        run(Command::new("/bin/sh").args(["-c", script]), |e| LocalError::environment("run sh", e))
    }

    #[test]
    fn what_a_tool_prints_is_its_reason() {
        assert_eq!(shell("echo fine").unwrap().failure(), None);
        assert_eq!(shell("echo out; echo bad >&2; exit 1").unwrap().failure(), Some("bad"));
        assert_eq!(shell("echo out; exit 1").unwrap().failure(), Some("out"));
        assert_eq!(shell("exit 1").unwrap().failure(), Some("it says nothing"));
        let error =
            run(&mut Command::new("/nowhere"), |e| LocalError::environment("run it", e)).err().unwrap();
        assert!(error.to_string().starts_with("cannot build the environment: run it: "), "{error}");
    }

    #[test]
    fn a_process_that_the_tool_leaves_does_not_hold_the_run() {
        let before = Instant::now();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("left");
        assert_eq!(shell(&format!("sleep 60 & echo $! > {}", file.display())).unwrap().failure(), None);
        assert!(before.elapsed() < Duration::from_secs(50));
        let left: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        kill(Pid::from_raw(left), Signal::SIGKILL).unwrap();
    }

    #[test]
    fn an_interrupt_ends_the_tool_and_stays_for_the_run() {
        INTERRUPTS.into_iter().collect::<SigSet>().thread_block().unwrap();
        // The signal is this thread's own, and is pending until the thread of the test ends.
        nix::sys::signal::raise(Signal::SIGTERM).unwrap();
        for _ in 0..2 {
            assert!(matches!(shell("trap '' TERM; sleep 600; sleep 600"), Err(LocalError::Interrupted)));
        }
    }
}

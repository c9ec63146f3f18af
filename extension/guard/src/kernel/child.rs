//! The child that becomes the runtime: it puts itself under the filter, hands the listener over, and waits.
//!
//! Until its exec it shares the guard's descriptor table, so the number of the listener is valid in both; the exec
//! gives it a table of its own from which the listener is gone (close-on-exec). Whether a listener can be installed
//! is found out here, by the process that needs it: where it cannot, the child ends and nothing has happened.
//! `launch` starts it, `kernel` sends it on its way.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use ringfence_records::handoff::covers;
use ringfence_records::message::{CONTROL_SOCKET, REPORT_SOCKET, REPORT_SOCKET_RANDOM};

use super::wall::{self, Raised, Wall};
use super::witness::Witness;
use crate::filter;
use crate::filter::table::{Options, Writes};
use crate::launch::Plan;
use crate::launch::pages;
use crate::launch::probe::Reach;
use crate::launch::settings::Settings;
use crate::launch::start::{Additions, become_command};
use crate::sys::Errno;
use crate::sys::descriptor::{self, Wait, poll};
use crate::sys::process::{self, Mask, Side};
use crate::sys::seccomp::{self, Instruction, Listener};

/// How long the child may take to install the filter, in milliseconds.
const PATIENCE: i32 = 5000;
/// Lowest number of the guard's own descriptors, out of the way of a runtime that numbers by hand before its exec.
const OWN_DESCRIPTORS: RawFd = 200;
/// Longest additions to the environment in bytes: what a pipe takes without blocking.
const MAX_ADDITIONS: usize = 60_000;

const PR_SET_PDEATHSIG: i32 = 1;
const PR_SET_NO_NEW_PRIVS: i32 = 38;

/// Signals that the guard passes on to the runtime.
pub const FORWARDED: [i32; 12] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGCONT,
    libc::SIGWINCH,
    libc::SIGPIPE,
    libc::SIGIO,
];

/// A child under the filter that waits to become the runtime.
#[derive(Debug)]
pub struct Child {
    /// Its process id.
    pub pid: u32,
    /// The listener of its filter.
    pub listener: Listener,
    /// Where signals for the guard arrive.
    pub signals: OwnedFd,
    /// Tells a signal for the group from one for the guard.
    pub witness: Option<Witness>,
    /// What Landlock refuses besides.
    pub wall: Result<Raised, Errno>,
    /// Which calls on files are asked about.
    pub writes: Writes,
    mask: Mask,
    pipes: Pipes,
}

/// Both ends of both pipes. The child uses them under the same numbers until its exec, so they stay open here, and
/// the child never closes one.
#[derive(Debug)]
struct Pipes {
    report: (OwnedFd, OwnedFd),
    go: (OwnedFd, OwnedFd),
}

/// Bytes of the socket addresses of the agent: the family, a zero byte, the name.
fn lengths_of_agents_addresses(plan: &Plan) -> [u32; 2] {
    let expected = CONTROL_SOCKET.len() + plan.settings.runtime_api_text.len();
    let control = plan.door.as_ref().map_or(expected, |door| door.name_length);
    let names = [control, REPORT_SOCKET.len() + REPORT_SOCKET_RANDOM];
    names.map(|name| u32::try_from(size_of::<libc::sa_family_t>() + 1 + name).unwrap_or(u32::MAX))
}

impl Child {
    /// Forks the child and waits until it is under the filter.
    ///
    /// # Errors
    /// Why there can be no listener; everything is as before then.
    pub fn start(plan: &Plan) -> Result<Self, Errno> {
        let bind = super::binds_are_supervised(plan);
        let writes = if super::writes_are_supervised(plan) { Writes::All } else { Writes::Unasked };
        let registry = plan.capabilities.reach == Reach::Registry;
        let agent_addresses = lengths_of_agents_addresses(plan);
        let pipes = Pipes { report: descriptor::pipe()?, go: descriptor::pipe()? };
        pages::make_room(&pipes.go.0);
        let guarded: Vec<i32> = FORWARDED.into_iter().chain([libc::SIGCHLD]).collect();
        let (mask, signals) = process::block(&guarded)?;
        match process::fork_sharing_descriptors() {
            Ok(Side::Child) => {
                let runtime = std::process::id();
                let options = Options { runtime, registry, bind, agent_addresses, writes };
                let protect =
                    || protect(Wall::of(plan, options), options, plan.capabilities.no_new_privileges);
                let status = become_runtime(&plan.settings, protect, mask, &pipes);
                process::exit_now(status)
            }
            Ok(Side::Parent(pid)) => match installed(pipes.report.0.as_fd()) {
                Ok((listener, wall)) => {
                    let witness = Witness::start().ok();
                    let writes = wall::asked_beside(writes, wall);
                    Ok(Self { pid, listener, signals, witness, wall, writes, mask, pipes })
                }
                Err(error) => {
                    let _ = process::kill(pid, libc::SIGKILL);
                    wait_for(pid);
                    mask.restore();
                    Err(error)
                }
            },
            Err(error) => {
                mask.restore();
                Err(error)
            }
        }
    }

    /// Lets the child become the runtime, with these additions to its environment.
    ///
    /// # Errors
    /// The error of the pipe; `E2BIG` for additions that are too long.
    pub fn go(&self, additions: &Additions) -> Result<(), Errno> {
        let bytes = additions.to_bytes();
        if bytes.len() > MAX_ADDITIONS {
            return Err(Errno(libc::E2BIG));
        }
        let length = u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes();
        descriptor::write_once(self.pipes.go.1.as_fd(), &[&length, bytes.as_slice()].concat())
    }

    /// What is asked about besides what rules speak of, as the handoff says it.
    #[must_use]
    pub const fn asks_besides(&self) -> u32 {
        if matches!(self.writes, Writes::Opens) { covers::OPENS_ASKED } else { 0 }
    }

    /// Process id, listener, where signals arrive, and the witness. The pipes stay open for the child's sake.
    #[must_use]
    pub fn into_parts(self) -> (u32, Listener, OwnedFd, Option<Witness>) {
        std::mem::forget(self.pipes);
        (self.pid, self.listener, self.signals, self.witness)
    }

    /// Ends the child before it has become anything.
    pub fn abandon(self) {
        let _ = process::kill(self.pid, libc::SIGKILL);
        wait_for(self.pid);
        self.witness.map(Witness::end).unwrap_or_default();
        self.mask.restore();
    }
}

/// Waits until a child that was killed is gone.
fn wait_for(pid: u32) {
    for _ in 0..1000 {
        if process::reap().is_some_and(|(ended, _)| ended == pid) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn installed(report: BorrowedFd<'_>) -> Result<(Listener, Result<Raised, Errno>), Errno> {
    let mut wait = [Wait::readable(report.as_raw_fd())];
    poll(&mut wait, PATIENCE)?;
    if !wait.iter().any(|wait| wait.ready()) {
        return Err(Errno(libc::ETIMEDOUT));
    }
    let mut told = [0; 8];
    descriptor::read_fully(report, &mut told)?;
    let [a, b, c, d, wall @ ..] = told;
    let number = i32::from_le_bytes([a, b, c, d]);
    let wall = i32::from_le_bytes(wall);
    let wall = u8::try_from(wall).map(Raised::of).map_err(|_| Errno(wall.saturating_neg()));
    if number < 0 {
        return Err(Errno(number.saturating_neg()));
    }
    let listener = descriptor::adopt(number);
    let high = descriptor::move_up(&listener, OWN_DESCRIPTORS);
    Ok((Listener::new(high.unwrap_or(listener)), wall))
}

/// The child's part. Returns the status to end with where it does not become the runtime.
fn become_runtime(
    settings: &Settings,
    protect: impl FnOnce() -> Result<(RawFd, Result<Raised, Errno>), Errno>,
    mask: Mask,
    pipes: &Pipes,
) -> i32 {
    let (number, wall) = protect().unwrap_or_else(|error| (error.0.saturating_neg(), Err(error)));
    let wall = wall.map_or_else(|error| error.0.saturating_neg(), |raised| i32::from(raised.number()));
    let told = [number.to_le_bytes(), wall.to_le_bytes()].concat();
    if descriptor::write_once(pipes.report.1.as_fd(), &told).is_err() || number < 0 {
        return 1;
    }
    let Ok(additions) = wait_for_go(pipes.go.0.as_fd()) else { return 1 };
    mask.restore();
    become_command(&settings.command, &additions.apply(&settings.environment))
}

/// Puts this process behind the wall and under the filter; returns the listener's number and what the wall refuses.
fn protect(
    wall: Wall,
    options: Options,
    no_new_privileges: bool,
) -> Result<(RawFd, Result<Raised, Errno>), Errno> {
    // Refused on Lambda; the runtime then outlives a guard that is killed, with every supervised call refused.
    let _ = process::prctl(PR_SET_PDEATHSIG, u64::from(libc::SIGKILL.unsigned_abs()));
    if !no_new_privileges {
        process::prctl(PR_SET_NO_NEW_PRIVS, 1)?;
    }
    let raised = wall.raise();
    let options = Options { writes: wall::asked_beside(options.writes, raised), ..options };
    let program = filter::compile(options).map_err(|_| Errno::EINVAL)?;
    Ok((install(&program)?, raised))
}

/// Installs with as many of the optional flags as the kernel knows.
fn install(program: &[Instruction]) -> Result<RawFd, Errno> {
    let always = seccomp::FLAG_NEW_LISTENER;
    let wishes = [seccomp::FLAG_SPEC_ALLOW | seccomp::FLAG_WAIT_KILLABLE, seccomp::FLAG_SPEC_ALLOW, 0];
    let mut last = Err(Errno::EINVAL);
    for wish in wishes {
        last = seccomp::install(program, always | wish);
        if !matches!(last, Err(Errno::EINVAL)) {
            break;
        }
    }
    last
}

fn wait_for_go(go: BorrowedFd<'_>) -> Result<Additions, Errno> {
    let mut length = [0; 4];
    descriptor::read_fully(go, &mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(0).min(MAX_ADDITIONS);
    let mut bytes = vec![0; length];
    descriptor::read_fully(go, &mut bytes)?;
    Ok(Additions::from_bytes(&bytes))
}

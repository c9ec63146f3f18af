//! The last steps of every process of the sandbox: limits, identity, no capabilities, the profile's filter, exec.
//!
//! Decides what a Lambda process has and has not. Runs single-threaded as the `__start` sub-command, once a process,
//! called by [`super::init`]; must not know what it starts.

use std::fmt::Display;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::Command;

use caps::CapSet;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::SigSet;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, dup2_stdin, getuid, setgroups, setresgid, setresuid};

use super::plan::{SANDBOX_GID, SANDBOX_UID, StartPlan};
use super::profile;

/// File descriptors of a Lambda process.
const OPEN_FILES: u64 = 1024;

/// Becomes the program of the plan in `argument`. Returns only when it could not, with the reason.
#[must_use]
pub(super) fn start(argument: &str) -> String {
    match prepare(argument) {
        Err(reason) => reason,
        Ok(plan) => become_program(&plan),
    }
}

fn prepare(argument: &str) -> Result<StartPlan, String> {
    let plan: StartPlan = serde_json::from_str(argument).map_err(|e| format!("start plan: {e}"))?;
    umask(Mode::from_bits_truncate(0o022));
    // The service and the first process block the signals that they wait for; an exec would hand that down.
    SigSet::empty().thread_set_mask().map_err(failed("unblock signals"))?;
    plan.log_fd.map_or(Ok(()), place_log)?;
    std::env::set_current_dir(&plan.cwd).map_err(|e| format!("enter {}: {e}", plan.cwd))?;
    setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES).map_err(failed("setrlimit NOFILE"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(failed("setrlimit CORE"))?;
    drop_privileges()?;
    if let Some(program) = profile::filter(plan.profile) {
        seccompiler::apply_filter(&program).map_err(failed("install the profile's filter"))?;
    } else {
        no_new_privileges()?;
    }
    Ok(plan)
}

/// Moves the log, which came as standard input, to its number; standard input becomes /dev/null.
fn place_log(number: u16) -> Result<(), String> {
    let wanted = i32::from(number);
    let got = fcntl(std::io::stdin(), FcntlArg::F_DUPFD(wanted)).map_err(failed("place the log"))?;
    if got != wanted {
        return Err(format!("place the log: descriptor {wanted} is taken"));
    }
    let null = File::open("/dev/null").map_err(failed("open /dev/null"))?;
    dup2_stdin(null).map_err(failed("empty standard input"))
}

/// Lambda has it set in any case; where there is a filter, its installer sets it.
fn no_new_privileges() -> Result<(), String> {
    nix::sys::prctl::set_no_new_privs().map_err(failed("set no_new_privs"))
}

fn drop_privileges() -> Result<(), String> {
    caps::clear(None, CapSet::Ambient).map_err(failed("clear the ambient set"))?;
    caps::clear(None, CapSet::Bounding).map_err(failed("clear the bounding set"))?;
    if getuid().as_raw() != SANDBOX_UID {
        let (uid, gid) = (Uid::from_raw(SANDBOX_UID), Gid::from_raw(SANDBOX_GID));
        setgroups(&[]).map_err(failed("setgroups"))?;
        setresgid(gid, gid, gid).map_err(failed("setresgid"))?;
        setresuid(uid, uid, uid).map_err(failed("setresuid"))?;
    }
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).map_err(failed("clear capabilities"))?;
    }
    Ok(())
}

fn become_program(plan: &StartPlan) -> String {
    let Some((program, arguments)) = plan.argv.split_first() else { return "nothing to start".into() };
    let environment = plan.env.iter().map(|(k, v)| (k, v));
    let error = Command::new(program).args(arguments).env_clear().envs(environment).exec();
    format!("exec {program}: {error}")
}

fn failed<E: Display>(step: &str) -> impl FnOnce(E) -> String {
    move |error| format!("{step}: {error}")
}

//! The `__sandbox` sub-command: name spaces, network, sockets.
//!
//! Decides between root's way and an unprivileged user name space, and says what is missing where neither works.
//! Runs single-threaded; its standard input is the control channel. Ends with the sandbox's first process.

use std::fs;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use caps::CapSet;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, getegid, geteuid, sethostname};

use super::channel;
use super::netlink::Loopback;
use super::plan::{NetworkPlan, Report, SANDBOX_GID, SANDBOX_UID, SandboxPlan, SocketPlan};

/// How long an IPv6 address may take until it can be bound.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(2);

type Failure = (String, String);

/// Builds name spaces and network for the plan, then runs the first process to its end.
pub(super) fn run(plan: &str) -> Result<(), io::Error> {
    let channel = io::stdin().as_fd().try_clone_to_owned()?;
    match prepare(plan, &channel) {
        Ok(()) => first_process(&channel, plan),
        Err((step, reason)) => channel::send(&channel, &Report::Failed { step, reason }, &[]),
    }
}

fn prepare(plan: &str, channel: &OwnedFd) -> Result<(), Failure> {
    let plan: SandboxPlan = serde_json::from_str(plan).map_err(|e| step("read the plan", &e))?;
    enter_name_spaces(plan.network.private)?;
    network(&plan.network, channel)
}

/// A new process, because a PID name space begins with a child.
fn first_process(channel: &OwnedFd, plan: &str) -> Result<(), io::Error> {
    let input = channel.try_clone()?;
    let started = Command::new("/proc/self/exe").args(["__init", plan]).stdin(Stdio::from(input)).spawn();
    match started {
        Ok(mut child) => child.wait().map(drop),
        Err(e) => {
            let (step, reason) = step("start the first process", &e);
            channel::send(channel, &Report::Failed { step, reason }, &[])
        }
    }
}

fn enter_name_spaces(private_network: bool) -> Result<(), Failure> {
    let mut spaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    spaces.set(CloneFlags::CLONE_NEWNET, private_network);
    let (uid, gid) = (geteuid(), getegid());
    let direct = if uid.is_root() { unshare(spaces) } else { Err(nix::Error::EPERM) };
    if direct.is_err() {
        unshare(CloneFlags::CLONE_NEWUSER).map_err(|e| no_user_name_space(e, uid))?;
        map_identity(uid, gid)?;
        unshare(spaces).map_err(|e| step("unshare mount, PID, UTS, IPC and network name spaces", &e))?;
        keep_capabilities().map_err(|e| step("keep the name space's capabilities", &e))?;
    }
    sethostname("ringfence-local").map_err(|e| step("set the host name", &e))
}

/// The first process is started by an exec as uid 993, which loses whatever is not ambient.
fn keep_capabilities() -> Result<(), caps::errors::CapsError> {
    let all = caps::read(None, CapSet::Permitted)?;
    caps::set(None, CapSet::Inheritable, &all)?;
    caps::set(None, CapSet::Ambient, &all)
}

fn map_identity(uid: Uid, gid: Gid) -> Result<(), Failure> {
    let write = |name: &str, text: String| {
        let path = format!("/proc/self/{name}");
        fs::write(&path, text).map_err(|e| step(&format!("write {path}"), &e))
    };
    write("setgroups", "deny".into())?;
    write("uid_map", format!("{SANDBOX_UID} {uid} 1"))?;
    write("gid_map", format!("{SANDBOX_GID} {gid} 1"))
}

/// The known reasons for which a kernel refuses an unprivileged user name space.
fn no_user_name_space(error: nix::Error, uid: Uid) -> Failure {
    let switches = [
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=0"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=0"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=1",
        ),
    ];
    let set = |(file, value, _): &&(&str, &str, &str)| {
        fs::read_to_string(format!("/proc/sys/{file}")).is_ok_and(|text| text.trim() == *value)
    };
    let found: Vec<&str> = switches.iter().filter(set).map(|(_, _, name)| *name).collect();
    let found =
        if found.is_empty() { "a container's seccomp profile, perhaps".into() } else { found.join(", ") };
    let who = if uid.is_root() { "root without CAP_SYS_ADMIN" } else { "no root" };
    (
        "unshare a user name space".into(),
        format!("{error} ({who}; in the way: {found}). Run as root, or allow unprivileged user name spaces"),
    )
}

fn network(plan: &NetworkPlan, channel: &OwnedFd) -> Result<(), Failure> {
    if plan.private {
        let loopback = Loopback::open().map_err(|e| step("open a netlink socket", &e))?;
        loopback.up().map_err(|e| step("take the loopback device up", &e))?;
        for address in &plan.addresses {
            loopback.add(*address).map_err(|e| step(&format!("add the address {address}"), &e))?;
        }
    }
    for (index, socket) in plan.sockets.iter().enumerate() {
        let bound = patient_bind(*socket).map_err(|e| step(&format!("bind {}", socket.address), &e))?;
        channel::send(channel, &Report::Socket(index), &[bound.as_fd()])
            .map_err(|e| step("hand over a socket", &e))?;
    }
    Ok(())
}

fn patient_bind(socket: SocketPlan) -> io::Result<OwnedFd> {
    let until = Instant::now() + ADDRESS_PATIENCE;
    loop {
        match bind(socket) {
            Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

fn bind(socket: SocketPlan) -> io::Result<OwnedFd> {
    if socket.udp {
        UdpSocket::bind(socket.address).map(OwnedFd::from)
    } else {
        TcpListener::bind(socket.address).map(OwnedFd::from)
    }
}

fn step(step: &str, reason: &dyn std::fmt::Display) -> Failure {
    (step.to_owned(), reason.to_string())
}

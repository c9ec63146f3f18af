//! Language hooks: which one fits the runtime, and what the runtime's environment must say for it to be loaded.
//!
//! It goes by the executable's name and by what lies in the layer, and knows nothing of what hooks do. A hook only
//! adds evidence to records, so one that cannot be loaded is left out. `launch` calls it.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use super::agent::{Agent, abstract_address};
use super::pages;
use super::runtime::Runtime;
use super::settings::Settings;
use super::start::Additions;
use crate::sys::{Errno, socket};

/// Number of a connected, non-blocking datagram socket to the agent, for languages that cannot make one.
const REPORT_DESCRIPTOR: &str = "RINGFENCE_REPORT_FD";

/// Adds what the runtime's hook needs. The descriptor that may come back must stay open until the runtime runs.
#[must_use]
pub fn add(
    additions: &mut Additions,
    settings: &Settings,
    runtime: &Runtime,
    agent: Option<&Agent>,
) -> Option<OwnedFd> {
    if !settings.shims {
        return None;
    }
    let python = settings.python_hook();
    if runtime.is_python() && python.is_dir() {
        additions.prepend(settings, "PYTHONPATH", &python);
    }
    let node = settings.node_hook();
    if runtime.is_node() && node.is_file() {
        let report = report_socket(agent?).ok()?;
        additions.set(REPORT_DESCRIPTOR, report.as_raw_fd().to_string().as_bytes());
        let option = [b"--require ", node.as_os_str().as_bytes()].concat();
        additions.prepend_option(settings, "NODE_OPTIONS", &option);
        return Some(report);
    }
    None
}

/// A socket under a high number, open at exec, by which write(2) sends a datagram to the agent. The agent goes by the
/// credentials that the kernel adds to each datagram, so it does not matter who made the socket.
fn report_socket(agent: &Agent) -> Result<OwnedFd, Errno> {
    let socket = socket::create(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK, 0)?;
    socket::connect(socket.as_fd(), &abstract_address(&agent.report_address))?;
    pages::keep(&socket)
}

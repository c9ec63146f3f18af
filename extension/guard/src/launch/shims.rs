//! Language hooks: which one fits the runtime, and what the runtime's environment must say for it to be loaded.
//!
//! It goes by the executable's name and by what lies in the layer, and knows nothing of what hooks do. A hook only
//! adds evidence to records, so one that cannot be loaded is left out. `launch` calls it.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use super::agent::{Agent, abstract_address};
use super::pages;
use super::policy::Hooks;
use super::runtime::Runtime;
use super::settings::Settings;
use super::start::Additions;
use crate::sys::{Errno, socket};

/// Number of a connected, non-blocking datagram socket to the agent, for languages that cannot make one.
const REPORT_DESCRIPTOR: &str = "RINGFENCE_REPORT_FD";

/// Tells the hooks what `[code]` of the policy asks of them.
const CODE: &str = "RINGFENCE_CODE";

/// Which hook is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// The Python hook.
    Python,
    /// The Node hook.
    Node,
    /// None, and why.
    None(&'static str),
}

impl Default for Hook {
    fn default() -> Self {
        Self::None("there is no hook for this runtime")
    }
}

impl Hook {
    /// The hook that fits the runtime, unless the user or the policy leaves it out.
    #[must_use]
    pub fn choose(settings: &Settings, runtime: &Runtime, hooks: &Hooks) -> Self {
        match (runtime.is_python(), runtime.is_node()) {
            (false, false) => Self::default(),
            _ if !settings.shims => Self::None("RINGFENCE_SHIMS=off leaves the language hooks out"),
            (true, _) if !hooks.python => Self::None("hooks.python = false leaves the Python hook out"),
            (_, true) if !hooks.node => Self::None("hooks.node = false leaves the Node hook out"),
            (true, _) if settings.python_hook().is_dir() => Self::Python,
            (_, true) if settings.node_hook().is_file() => Self::Node,
            _ => Self::None("the layer has no hook for this runtime"),
        }
    }

    /// For the `protection` record.
    #[must_use]
    pub fn line(self) -> String {
        match self {
            Self::Python => "language hook: Python".to_owned(),
            Self::Node => "language hook: Node".to_owned(),
            Self::None(reason) => format!("language hook: none ({reason})"),
        }
    }
}

/// Adds what the runtime's hook needs. The descriptor that may come back must stay open until the runtime runs.
#[must_use]
pub fn add(
    additions: &mut Additions,
    settings: &Settings,
    hook: Hook,
    hooks: &Hooks,
    agent: Option<&Agent>,
) -> Option<OwnedFd> {
    if matches!(hook, Hook::Python | Hook::Node) && !hooks.words.is_empty() {
        additions.set(CODE, hooks.words.as_bytes());
    }
    if hook == Hook::Python {
        additions.prepend(settings, "PYTHONPATH", &settings.python_hook());
    }
    if hook == Hook::Node {
        let node = settings.node_hook();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_that_is_left_out_says_by_what() {
        let layer = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(layer.path().join("ringfence/python")).unwrap();
        let mut settings = Settings::read();
        settings.shims = true;
        settings.layer = layer.path().to_owned();
        let chosen = |settings: &Settings, runtime: &str, python: bool| {
            let runtime = Runtime { path: runtime.into(), ..Runtime::default() };
            Hook::choose(settings, &runtime, &Hooks { python, node: true, words: String::new() }).line()
        };
        let python = "/var/lang/bin/python3.13";
        assert_eq!(chosen(&settings, python, true), "language hook: Python");
        assert_eq!(
            chosen(&settings, python, false),
            "language hook: none (hooks.python = false leaves the Python hook out)"
        );
        assert_eq!(
            chosen(&settings, "/bin/node", true),
            "language hook: none (the layer has no hook for this runtime)"
        );
        assert_eq!(
            chosen(&settings, "/bin/cat", true),
            "language hook: none (there is no hook for this runtime)"
        );
        settings.shims = false;
        assert_eq!(
            chosen(&settings, python, true),
            "language hook: none (RINGFENCE_SHIMS=off leaves the language hooks out)"
        );
    }
}

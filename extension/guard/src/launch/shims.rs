//! Language hooks: which one fits the runtime, and what its environment or command must say for it to be loaded.
//!
//! It goes by the executable's name and by what lies in the layer, and knows nothing of what hooks do. A hook only
//! adds evidence to records, so one that cannot be loaded is left out. `launch` calls it.

use std::ffi::CString;
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
    /// The Java hook.
    Java,
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
        let (hook, wanted, there, left_out) = if runtime.is_python() {
            let left_out = "hooks.python = false leaves the Python hook out";
            (Self::Python, hooks.python, settings.python_hook().is_dir(), left_out)
        } else if runtime.is_node() {
            let left_out = "hooks.node = false leaves the Node hook out";
            (Self::Node, hooks.node, settings.node_hook().is_file(), left_out)
        } else if runtime.is_java() {
            let left_out = "hooks.java = false leaves the Java hook out";
            (Self::Java, hooks.java, settings.java_hook().is_file(), left_out)
        } else {
            return Self::default();
        };
        match (settings.shims, wanted, there) {
            (false, _, _) => Self::None("RINGFENCE_SHIMS=off leaves the language hooks out"),
            (_, false, _) => Self::None(left_out),
            (_, _, false) => Self::None("the layer has no hook for this runtime"),
            _ => hook,
        }
    }

    /// For the `protection` record.
    #[must_use]
    pub fn line(self) -> String {
        match self {
            Self::Python => "language hook: Python".to_owned(),
            Self::Node => "language hook: Node".to_owned(),
            Self::Java => "language hook: Java".to_owned(),
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
    if !matches!(hook, Hook::None(_)) && !hooks.words.is_empty() {
        additions.set(CODE, hooks.words.as_bytes());
    }
    if hook == Hook::Python {
        additions.prepend(settings, "PYTHONPATH", &settings.python_hook());
    }
    if hook == Hook::Node {
        let option = [b"--require ", settings.node_hook().as_os_str().as_bytes()].concat();
        additions.prepend_option(settings, "NODE_OPTIONS", &option);
    }
    if matches!(hook, Hook::Node | Hook::Java) {
        let report = report_socket(agent?).ok()?;
        additions.set(REPORT_DESCRIPTOR, report.as_raw_fd().to_string().as_bytes());
        return Some(report);
    }
    None
}

/// Puts the agent jar into a JVM's command. Not into a variable: for each of those the JVM prints a line on the
/// function's output. Without the agent's socket the jar does nothing, so it may be in before that is known.
pub fn add_to_command(settings: &mut Settings, runtime: &Runtime, hook: Hook) {
    let search = settings.variable("PATH").unwrap_or_default();
    let word = (hook == Hook::Java).then(|| runtime.word(&settings.command, search)).flatten();
    let option = [b"-javaagent:", settings.java_hook().as_os_str().as_bytes()].concat();
    if let (Some(word), Ok(option)) = (word, CString::new(option)) {
        settings.command.insert(word + 1, option);
    }
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
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn a_hook_that_is_left_out_says_by_what() {
        let layer = tempfile::tempdir().unwrap();
        fs::create_dir_all(layer.path().join("ringfence/python")).unwrap();
        let mut settings = Settings::read();
        settings.shims = true;
        settings.layer = layer.path().to_owned();
        let chosen = |settings: &Settings, runtime: &str, python: bool| {
            let runtime = Runtime { path: runtime.into(), ..Runtime::default() };
            Hook::choose(settings, &runtime, &Hooks { python, node: true, java: true, words: String::new() })
                .line()
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

    /// A layer with the jar, and a program by the name of `java`.
    fn java(layer: &Path) -> (Settings, Runtime) {
        fs::create_dir_all(layer.join("ringfence/java")).unwrap();
        fs::write(layer.join("ringfence/java/ringfence.jar"), "").unwrap();
        let program = layer.join("java");
        fs::copy("/bin/true", &program).unwrap();
        let mut settings = Settings::read();
        settings.layer = layer.to_owned();
        settings.shims = true;
        let words = ["/usr/bin/env", program.to_str().unwrap(), "-classpath", "x", "Main"];
        settings.command = words.map(|word| CString::new(word).unwrap()).to_vec();
        let runtime = Runtime::find(&settings.command, b"");
        (settings, runtime)
    }

    #[test]
    fn the_jar_stands_behind_the_word_that_is_java() {
        let layer = tempfile::tempdir().unwrap();
        let (mut settings, runtime) = java(layer.path());
        add_to_command(&mut settings, &runtime, Hook::Java);
        let jar = format!("-javaagent:{}/ringfence/java/ringfence.jar", layer.path().display());
        assert_eq!(settings.command.get(2).unwrap().to_str().unwrap(), jar);
        assert_eq!(settings.command.len(), 6);
    }

    #[test]
    fn a_command_without_that_word_or_with_hooks_off_stays_as_it_is() {
        let layer = tempfile::tempdir().unwrap();
        let (mut settings, runtime) = java(layer.path());
        settings.command.remove(1);
        add_to_command(&mut settings, &runtime, Hook::Java);
        assert_eq!(settings.command.len(), 4);
        let (mut settings, runtime) = java(layer.path());
        settings.shims = false;
        let hook = Hook::choose(&settings, &runtime, &Hooks::default());
        add_to_command(&mut settings, &runtime, hook);
        assert_eq!(settings.command.len(), 5);
    }
}

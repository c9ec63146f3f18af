//! Language hooks: which one fits the runtime, and what its environment or command must say for it to be loaded.
//!
//! It goes by the executable's name and by what lies in the layer, and knows nothing of what hooks do. A hook only
//! adds evidence to records, so one that cannot be loaded is left out. Behind a wrapper the preload library puts the hook
//! in, at the exec of the runtime's own executable: no wrapper sees it, and none can overwrite it. `launch` calls it.

use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use ringfence_records::handoff::hooks;
use ringfence_records::hook::{self, Entry};

use super::agent::{Agent, abstract_address};
use super::pages;
use super::policy::Hooks;
use super::runtime::Runtime;
use super::settings::Settings;
use super::start::Additions;
use crate::sys::{Errno, socket};

/// Number of a connected, non-blocking datagram socket to the agent, for languages that cannot make one.
const REPORT_DESCRIPTOR: &str = "RINGFENCE_REPORT_FD";

/// Tells the hooks what the policy asks of them.
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
            _ if hook == Self::Python && takes_no_hook(settings, runtime) => {
                Self::None("python -E, -I and -S leave hooks out")
            }
            (false, _, _) => Self::None("RINGFENCE_SHIMS=off leaves the language hooks out"),
            (_, false, _) => Self::None(left_out),
            (_, _, false) => Self::None("the layer has no hook for this runtime"),
            _ => hook,
        }
    }

    /// For the preload library: how the language reads its environment.
    #[must_use]
    pub const fn reads_environment(self) -> u8 {
        match self {
            Self::Python | Self::Java => hooks::COPIES,
            Self::Node => hooks::NODE,
            Self::None(_) => hooks::NONE,
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

/// What the hook needs to get in, and where it is put.
#[derive(Debug, Default)]
pub struct Loading {
    /// For the handoff: what the preload library adds at the exec of the runtime's executable.
    pub list: Vec<u8>,
    /// A descriptor that must stay open until the runtime runs.
    pub report: Option<OwnedFd>,
}

impl Loading {
    /// Lists what the hook needs.
    #[must_use]
    pub fn new(settings: &Settings, hook: Hook, hooks: &Hooks, agent: Option<&Agent>) -> Self {
        let mut loading = Self::default();
        match hook {
            Hook::None(_) => return loading,
            Hook::Python => {
                let path = variable("PYTHONPATH", settings.python_hook().as_os_str().as_bytes());
                loading.add(Entry::Path(&path));
            }
            Hook::Node => {
                let option = [b"--require ", settings.node_hook().as_os_str().as_bytes()].concat();
                loading.add(Entry::Option(&variable("NODE_OPTIONS", &option)));
            }
            Hook::Java => loading.add(Entry::Argument(&java_option(settings))),
        }
        if !hooks.words.is_empty() {
            loading.add(Entry::Set(&variable(CODE, hooks.words.as_bytes())));
        }
        if matches!(hook, Hook::Node | Hook::Java)
            && let Some(report) = agent.and_then(|agent| report_socket(agent).ok())
        {
            let number = report.as_raw_fd().to_string();
            loading.add(Entry::Set(&variable(REPORT_DESCRIPTOR, number.as_bytes())));
            loading.report = Some(report);
        }
        loading
    }

    fn add(&mut self, entry: Entry<'_>) {
        entry.encode(|part| self.list.extend_from_slice(part));
    }

    /// Puts the variables into the runtime's environment.
    pub fn apply(&self, additions: &mut Additions, settings: &Settings) {
        for entry in hook::entries(&self.list).filter(|entry| !entry.name().is_empty()) {
            let name = String::from_utf8_lossy(entry.name()).into_owned();
            let gained = entry.gained(settings.variable(&name)).concat();
            additions.set(&name, gained.get(name.len() + 1..).unwrap_or_default());
        }
    }
}

fn variable(name: &str, value: &[u8]) -> Vec<u8> {
    [name.as_bytes(), b"=", value].concat()
}

/// Whether the guard itself puts the hook in: where it starts the runtime directly, or where no preload library could do
/// it behind the wrappers. Wrappers would see the hook's variables, and may overwrite them.
#[must_use]
pub fn is_direct(settings: &Settings, runtime: &Runtime) -> bool {
    !settings.preload_library().is_file() || word(settings, runtime) == Some(0)
}

fn word(settings: &Settings, runtime: &Runtime) -> Option<usize> {
    runtime.word(&settings.command, settings.variable("PATH").unwrap_or_default())
}

/// Puts the agent jar into a JVM's command. Not into a variable: for each of those the JVM prints a line on the
/// function's output. Without the agent's socket the jar does nothing, so it may be in before that is known.
pub fn add_to_command(settings: &mut Settings, runtime: &Runtime, hook: Hook) {
    if hook != Hook::Java || !is_direct(settings, runtime) {
        return;
    }
    if let (Some(word), Ok(option)) = (word(settings, runtime), CString::new(java_option(settings))) {
        settings.command.insert(word + 1, option);
    }
}

fn java_option(settings: &Settings) -> Vec<u8> {
    [b"-javaagent:", settings.java_hook().as_os_str().as_bytes()].concat()
}

/// Whether the command starts a Python that leaves hooks out.
fn takes_no_hook(settings: &Settings, runtime: &Runtime) -> bool {
    let words = settings.command.iter().skip(1).map(CString::as_bytes);
    word(settings, runtime) == Some(0) && hook::python_takes_no_hook(words)
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
            Hook::choose(settings, &runtime, &Hooks { python, node: true, java: true, ..Hooks::default() })
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
    fn behind_a_wrapper_the_library_adds_the_jar_and_the_wrapper_does_not_see_it() {
        let layer = tempfile::tempdir().unwrap();
        let (mut settings, runtime) = java(layer.path());
        fs::create_dir_all(layer.path().join("ringfence/lib")).unwrap();
        fs::write(settings.preload_library(), "").unwrap();
        add_to_command(&mut settings, &runtime, Hook::Java);
        assert_eq!(settings.command.len(), 5);
        settings.command.remove(0);
        add_to_command(&mut settings, &runtime, Hook::Java);
        assert_eq!(settings.command.len(), 5, "started directly");
        let loading = Loading::new(&settings, Hook::Java, &Hooks::default(), None);
        let jar = format!("A-javaagent:{}/ringfence/java/ringfence.jar\0", layer.path().display());
        assert_eq!(loading.list, jar.as_bytes());
    }

    #[test]
    fn variables_gain_our_part_and_keep_theirs() {
        let mut settings = Settings::read();
        settings.layer = "/opt".into();
        let words = Hooks { words: "native=deny".to_owned(), ..Hooks::default() };
        let applied = |hook, environment: &[&str]| {
            let mut settings = settings.clone();
            settings.environment = environment.iter().map(|text| CString::new(*text).unwrap()).collect();
            let mut additions = Additions::none();
            Loading::new(&settings, hook, &words, None).apply(&mut additions, &settings);
            let all = additions.apply(&settings.environment);
            all.iter().map(|text| text.to_str().unwrap().to_owned()).collect::<Vec<_>>().join("|")
        };
        assert_eq!(
            applied(Hook::Python, &["A=b"]),
            "A=b|PYTHONPATH=/opt/ringfence/python|RINGFENCE_CODE=native=deny"
        );
        assert_eq!(
            applied(Hook::Node, &["NODE_OPTIONS=--x"]),
            "NODE_OPTIONS=--require /opt/ringfence/node/ringfence.cjs --x|RINGFENCE_CODE=native=deny"
        );
        assert_eq!(applied(Hook::Java, &["A=b"]), "A=b|RINGFENCE_CODE=native=deny");
        assert_eq!(applied(Hook::default(), &["A=b"]), "A=b");
    }

    #[test]
    fn a_python_that_leaves_hooks_out_gets_none() {
        let layer = tempfile::tempdir().unwrap();
        fs::create_dir_all(layer.path().join("ringfence/python")).unwrap();
        let python = layer.path().join("python3.13");
        fs::copy("/bin/true", &python).unwrap();
        let mut settings = Settings::read();
        (settings.layer, settings.shims) = (layer.path().to_owned(), true);
        let mut hook = |words: &[&str]| {
            let words = [&[python.to_str().unwrap()], words].concat();
            settings.command = words.iter().map(|word| CString::new(*word).unwrap()).collect();
            let runtime = Runtime::find(&settings.command, b"");
            Hook::choose(&settings, &runtime, &Hooks { python: true, ..Hooks::default() }).line()
        };
        assert_eq!(hook(&["/var/runtime/bootstrap.py", "-I"]), "language hook: Python");
        assert_eq!(hook(&["-I", "x.py"]), "language hook: none (python -E, -I and -S leave hooks out)");
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

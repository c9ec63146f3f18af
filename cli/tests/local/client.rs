//! The runtime client's build on first use: what an interrupt leaves of it. Every tool here is a script of the test.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::run::{Function, python};

/// A deadline for what takes milliseconds.
const LIMIT: Duration = Duration::from_mins(1);

/// A function for Node with tools of its own. `npm` is what its npm does after `--version`.
fn node(npm: &str) -> Function {
    let function = python("").with(&["--runtime", "node"]).event("{}");
    fs::create_dir(function.directory.path().join("tools")).unwrap();
    let tools = ["cmake", "g++", "make", "autoconf", "automake", "libtoolize"];
    let done = tools
        .into_iter()
        .fold(function, |function, name| function.file(&format!("tools/{name}"), "#!/bin/sh\n", 0o755));
    let npm = format!("#!/bin/sh\n[ \"$1\" = --version ] && exit 0\n{npm}\n");
    done.file("tools/node", "#!/bin/sh\nprintf '%s\\n20\\n\\n' \"$0\"\n", 0o755).file(
        "tools/npm",
        &npm,
        0o755,
    )
}

fn start(function: &Function) -> Child {
    let tools = format!("{}:/usr/bin:/bin", function.path("tools"));
    let mut command = function.command();
    command.env("PATH", tools).env("XDG_CACHE_HOME", function.path("cache"));
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The text of a file as soon as it ends with a line.
fn awaited(path: &str) -> String {
    let started = Instant::now();
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if text.ends_with('\n') {
            return text.trim().to_owned();
        }
        assert!(started.elapsed() < LIMIT, "{path} was not written");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The names in the cache but for the locks, which are empty files.
fn cached(function: &Function) -> Vec<String> {
    let entries = fs::read_dir(function.path("cache/ringfence")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| Path::new(name).extension().is_none_or(|kind| kind != "lock")).collect()
}

/// Whether a process is there and not a zombie.
fn runs(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[test]
fn an_interrupt_during_the_build_ends_it_and_leaves_nothing_half_built() {
    for signal in ["-TERM", "-INT", "-HUP"] {
        // npm itself does not heed the signal, and has a child.
        let function =
            node("trap '' TERM\nmkdir $6/node_modules\nsleep 600 &\necho $! > \"$0\".child\nwait\nwait");
        let run = start(&function);
        let child = awaited(&function.path("tools/npm.child"));
        assert!(runs(&child));
        let sent = Command::new("kill").args([signal, &run.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let output = run.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(!runs(&child), "{signal}: npm's child still runs");
        assert_eq!(cached(&function), [""; 0]);
    }
}

#[test]
fn a_build_that_fails_says_the_tools_reason_and_leaves_nothing() {
    let function = node("echo 'no such package' >&2\nexit 1");
    let output = start(&function).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        errors,
        "ringfence local: cannot build the environment: build aws-lambda-ric with npm: no such package\n"
    );
    assert_eq!(cached(&function), [""; 0]);
}

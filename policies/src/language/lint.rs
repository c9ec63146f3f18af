//! Warnings about `[process]`: entries that are valid and do not hold what they seem to.
//!
//! It goes by names alone, since it does not see the function's file system. It must not refuse anything: a warning
//! changes no verdict. The reader of a policy calls it.

use toml::de::DeTable;

use super::diagnostic::{Findings, nearest};
use super::patterns::PathGlob;
use super::section::as_table;
use super::value::{Node, quoted};
use crate::SystemCall;
use crate::vocabulary::{is_in_writable_place, is_shell};

/// What a program does with its arguments, as far as an allow list cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Loader,
    Interpreter,
    Shell,
    Runner,
}

/// Programs that run code that their arguments or input hold. A version may follow the name.
const INTERPRETERS: [&str; 38] = [
    "python", "pypy", "ipython", "node", "nodejs", "deno", "bun", "perl", "ruby", "irb", "jruby", "php",
    "php-cgi", "java", "jshell", "groovy", "kotlin", "scala", "clojure", "dotnet", "mono", "awk", "gawk",
    "mawk", "nawk", "lua", "luajit", "tclsh", "wish", "expect", "guile", "Rscript", "R", "julia", "gdb",
    "make", "vim", "emacs",
];

/// Programs that start the command that stands in their arguments.
const RUNNERS: [&str; 34] = [
    "env",
    "xargs",
    "find",
    "timeout",
    "nice",
    "nohup",
    "setsid",
    "stdbuf",
    "time",
    "strace",
    "ltrace",
    "script",
    "watch",
    "chroot",
    "unshare",
    "nsenter",
    "su",
    "sudo",
    "doas",
    "runuser",
    "setpriv",
    "flock",
    "ionice",
    "chrt",
    "taskset",
    "prlimit",
    "parallel",
    "entr",
    "start-stop-daemon",
    "tini",
    "dumb-init",
    "gosu",
    "capsh",
    "unbuffer",
];

/// What a wildcard most likely covers, if it covers any such program.
const LIKELY: [&str; 14] = [
    "/usr/bin/python3",
    "/bin/python3",
    "/usr/bin/perl",
    "/bin/perl",
    "/usr/bin/env",
    "/bin/env",
    "/usr/bin/sh",
    "/bin/sh",
    "/usr/local/bin/python3",
    "/usr/local/bin/node",
    "/var/lang/bin/python3",
    "/var/lang/bin/node",
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
];

/// Warns of what `[process]` holds, in the policy or in a rule.
pub(super) fn process(node: &Node<'_>, findings: &mut Findings<'_>) {
    let Some(table) = as_table(node) else { return };
    if let Some(allow) = value(table, "allow") {
        entries(allow).for_each(|entry| program(entry, findings));
    }
    let denied = value(table, "syscalls").and_then(as_table).and_then(|table| value(table, "deny"));
    denied.into_iter().flat_map(entries).for_each(|entry| system_call(entry, findings));
}

fn value<'n, 't>(table: &'n DeTable<'t>, key: &str) -> Option<&'n Node<'t>> {
    table.iter().find(|(name, _)| name.get_ref().as_ref() == key).map(|(_, node)| node)
}

fn entries<'n, 't>(node: &'n Node<'t>) -> impl Iterator<Item = &'n Node<'t>> {
    node.get_ref().as_array().into_iter().flat_map(|array| array.iter())
}

fn program(entry: &Node<'_>, findings: &mut Findings<'_>) {
    let Some(glob) = entry.get_ref().as_str().and_then(PathGlob::new) else { return };
    let (message, label, hint) = if is_in_writable_place(glob.as_str().as_bytes()) {
        (
            format!("process.allow names {}, which the function can write", quoted(glob.as_str())),
            "the function can put any program there",
            "ship the program with the code (/var/task) or in a layer (/opt)",
        )
    } else if let Some((covered, kind)) = covers(&glob) {
        let (message, label, hint) = kind.text();
        (message.replace("{}", &quoted(&covered)), label, hint)
    } else {
        return;
    };
    findings.warning(entry.span(), message, label.into(), hint.into());
}

/// The first program of a kind that the glob is likely to cover.
fn covers(glob: &PathGlob) -> Option<(String, Kind)> {
    let text = glob.as_str();
    let name = text.rsplit('/').next().unwrap_or(text);
    if let Some(kind) = kind(name) {
        return Some((text.to_owned(), kind));
    }
    let path = LIKELY.into_iter().find(|path| glob.matches(path.as_bytes()))?;
    Some((path.to_owned(), kind(path.rsplit('/').next().unwrap_or(path))?))
}

fn kind(name: &str) -> Option<Kind> {
    let plain =
        name.trim_end_matches(|character: char| character.is_ascii_digit() || "._-*?".contains(character));
    let loader =
        ["ld-linux", "ld-musl", "ld.so", "ld64.so", "ld-2."].into_iter().any(|start| name.starts_with(start));
    match () {
        () if loader => Some(Kind::Loader),
        () if is_shell(name.as_bytes()) => Some(Kind::Shell),
        () if INTERPRETERS.contains(&plain) || INTERPRETERS.contains(&name) => Some(Kind::Interpreter),
        () if RUNNERS.contains(&name) => Some(Kind::Runner),
        () => None,
    }
}

impl Kind {
    /// Message (with `{}` for the program), label and hint.
    const fn text(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Loader => (
                "process.allow covers {}, which runs any program that its arguments name",
                "makes the whole allow list void",
                "leave the loader out: it starts programs that the list does not have",
            ),
            Self::Interpreter => (
                "process.allow covers {}, which runs any code that its arguments or its input hold",
                "makes the whole allow list void",
                "name the script that is to run: an allowed script may use its interpreter",
            ),
            Self::Shell => (
                "process.allow covers {}, a shell, which runs any command line",
                "only the programs that it starts are judged by the list",
                "name the script that is to run: an allowed script may use its shell, also if shells = \"deny\"",
            ),
            Self::Runner => (
                "process.allow covers {}, which starts the commands that its arguments name",
                "each of these commands is judged by the list too",
                "leave it out unless the function needs it: name the program that it starts",
            ),
        }
    }
}

fn system_call(entry: &Node<'_>, findings: &mut Findings<'_>) {
    let Some(name) = entry.get_ref().as_str().filter(|name| SystemCall::named(name).is_none()) else {
        return;
    };
    let shown: String = name.chars().take(64).collect();
    let near = nearest(name, SystemCall::names().filter(|_| !findings.is_full()));
    let hint = near.map_or_else(
        || "write a name as syscalls(2) lists it".to_owned(),
        |near| format!("did you mean {near:?}?"),
    );
    let message = format!("no system call is called {}", quoted(&shown));
    findings.warning(entry.span(), message, "process.syscalls will not be covered".into(), hint);
}

#[cfg(test)]
mod tests {
    use super::{INTERPRETERS, Kind, LIKELY, covers, kind};
    use crate::PathGlob;

    fn found(pattern: &str) -> Option<(String, Kind)> {
        covers(&PathGlob::new(pattern).unwrap())
    }

    #[test]
    fn programs_are_known_with_their_versions() {
        for (name, expected) in [
            ("python3.11", Kind::Interpreter),
            ("perl5.36.0", Kind::Interpreter),
            ("ld-linux-x86-64.so.2", Kind::Loader),
            ("ld-musl-x86_64.so.1", Kind::Loader),
            ("busybox", Kind::Shell),
            ("env", Kind::Runner),
        ] {
            assert_eq!(kind(name), Some(expected), "{name}");
        }
        for name in ["convert", "gs", "makeindex", "nodejs-helper", "findutils", "soffice.bin"] {
            assert_eq!(kind(name), None, "{name}");
        }
    }

    #[test]
    fn a_wildcard_counts_for_what_it_is_likely_to_cover() {
        assert_eq!(found("/usr/bin/*"), Some(("/usr/bin/python3".to_owned(), Kind::Interpreter)));
        assert_eq!(found("/usr/bin/p[ey]*"), Some(("/usr/bin/python3".to_owned(), Kind::Interpreter)));
        assert_eq!(found("/usr/lib/libreoffice/program/*"), None);
        assert_eq!(found("/usr/bin/pdf*"), None);
    }

    #[test]
    fn what_is_likely_is_of_a_kind() {
        assert!(LIKELY.iter().all(|path| kind(path.rsplit('/').next().unwrap()).is_some()));
        assert!(INTERPRETERS.iter().all(|name| kind(name) == Some(Kind::Interpreter)));
    }
}

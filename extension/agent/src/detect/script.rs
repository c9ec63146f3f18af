//! The script that a process runs: told by the arguments that the kernel gave its interpreter.
//!
//! A process may write what it likes into its own arguments, so this is a claim of that process. It only ever makes an
//! interpreter count as part of a script that the policy lists, and the interpreter then reads that script. [`super::judge`]
//! asks.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::proc::Process;

/// Bytes of a script that the kernel reads for its first line (`BINPRM_BUF_SIZE`).
const HEAD: u64 = 256;

/// The resolved path of the script, where `process` runs the file `interpreter` for one as execve(2) starts it: the name
/// of the interpreter as the script's first line has it, its one argument if it has one, and the script.
pub(super) fn of(process: &Process, interpreter: &[u8]) -> Option<PathBuf> {
    let [first, second, rest @ ..] = &process.arguments[..] else { return None };
    let with_option = rest.first().map(|script| (Some(second.as_slice()), script));
    let readings = [Some((None, second)), with_option];
    readings.into_iter().flatten().find_map(|(option, script)| {
        let script = regular(process, script)?;
        let head = head(&script)?;
        let (named, argument) = first_line(&head)?;
        let leads_there =
            std::fs::canonicalize(path(named)).is_ok_and(|found| found.as_os_str().as_bytes() == interpreter);
        (named == first.as_slice() && argument == option && leads_there).then_some(script)
    })
}

/// The regular file that `name` means to the process.
fn regular(process: &Process, name: &[u8]) -> Option<PathBuf> {
    let folder = PathBuf::from(format!("/proc/{}/cwd", process.id));
    let found = std::fs::canonicalize(folder.join(path(name))).ok()?;
    found.symlink_metadata().is_ok_and(|file| file.is_file()).then_some(found)
}

/// The start of a file. Opened without waiting: a process may have put a FIFO there by now.
fn head(script: &Path) -> Option<Vec<u8>> {
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(script).ok()?;
    let mut head = Vec::new();
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    file.take(HEAD).read_to_end(&mut head).ok()?;
    Some(head)
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// Interpreter and argument of a first line `#!interpreter argument`.
fn first_line(head: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?.trim_ascii();
    let end = line.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
    let (interpreter, argument) = line.split_at_checked(end)?;
    let argument = argument.trim_ascii();
    (!interpreter.is_empty()).then_some((interpreter, (!argument.is_empty()).then_some(argument)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn process(arguments: &[&str]) -> Process {
        let arguments = arguments.iter().map(|argument| argument.as_bytes().to_vec()).collect();
        let own = std::process::id();
        let (name, exe, parent_exe) = (Vec::new(), Vec::new(), Vec::new());
        Process {
            id: own,
            parent: 0,
            started: 0,
            is_dead: false,
            is_own: true,
            name,
            exe,
            parent_exe,
            arguments,
        }
    }

    #[test]
    fn a_first_line_is_taken_apart_as_the_kernel_does() {
        assert_eq!(first_line(b"#!/bin/sh\nexit"), Some((&b"/bin/sh"[..], None)));
        assert_eq!(first_line(b"#! /bin/sh -e -x \n"), Some((&b"/bin/sh"[..], Some(&b"-e -x"[..]))));
        assert_eq!(first_line(b"\x7fELF"), None);
        assert_eq!(first_line(b"#!\n"), None);
    }

    #[test]
    fn a_process_runs_a_script_only_with_the_arguments_that_the_kernel_gives() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "#!/bin/sh -e\n").unwrap();
        let script = file.path().to_str().unwrap();
        let shell = std::fs::canonicalize("/bin/sh").unwrap();
        let found = |arguments: &[&str]| of(&process(arguments), shell.as_os_str().as_bytes());
        assert_eq!(found(&["/bin/sh", "-e", script, "a"]), Some(std::fs::canonicalize(script).unwrap()));
        assert_eq!(found(&["/bin/sh", script]), None);
        assert_eq!(found(&["/bin/sh", "-c", script]), None);
        assert_eq!(found(&["sh", "-e", script]), None);
        assert_eq!(found(&[]), None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(head in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = first_line(&head);
        }
    }
}

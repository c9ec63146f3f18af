//! Which program is to be started, and which of the command's words is the language runtime itself.
//!
//! Wrappers may stand in front of the runtime: scripts, shells, `env`. The runtime is the first word that is a real
//! program and none of these; its device and inode go into the handoff, so that everybody can tell when the wrappers
//! are through. It must not know policy. `launch` calls it.

use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ringfence_policy::{Linkage, SHELLS};
use ringfence_records::clients::{MAX_NOTES, Spare, has_go_note, is_interpreter};
use ringfence_records::handoff::MAX_COMMAND;

use crate::program::Program;
use crate::sys::descriptor::Identity;

/// Programs whose only work is to start another one.
const WRAPPERS: [&str; 16] = [
    "env",
    "nice",
    "ionice",
    "nohup",
    "time",
    "timeout",
    "stdbuf",
    "setsid",
    "setpriv",
    "chrt",
    "taskset",
    "strace",
    "tini",
    "dumb-init",
    "exec",
    "ringfence-exec",
];
/// Where commands are looked for without PATH, as a shell would.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Words that are looked at; a runtime's command has fewer than ten.
const MAX_WORDS: usize = 64;

/// The runtime behind all wrappers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runtime {
    /// Its executable, resolved; empty where it could not be found.
    pub path: PathBuf,
    /// What that file is.
    pub identity: Identity,
    /// Whether it has no program interpreter, so that no library can be preloaded into it.
    pub is_static: bool,
}

impl Runtime {
    /// Finds the runtime in a command. Where none of its words is one, nothing is claimed: the first invocation then
    /// ends the launch.
    #[must_use]
    pub fn find(command: &[CString], search: &[u8]) -> Self {
        let words = || candidates(command, search);
        words()
            .find_map(|path| Self::program(&path))
            .or_else(|| words().find_map(|path| Self::interpreter(&path, search)))
            .unwrap_or_default()
    }

    fn program(path: &Path) -> Option<Self> {
        let path = fs::canonicalize(path).ok().filter(|path| !is_wrapper(path))?;
        let status = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
        let linkage = match File::open(&path) {
            Ok(file) => Program::inspect(&file).linkage,
            // May be run but not read (mode 0111): only its name can be judged.
            Err(_) if status.permissions().mode() & 0o111 != 0 => Linkage::Dynamic,
            Err(_) => return None,
        };
        let identity = Identity { device: status.dev(), inode: status.ino() };
        matches!(linkage, Linkage::Dynamic | Linkage::Static).then(|| Self {
            path,
            identity,
            is_static: linkage == Linkage::Static,
        })
    }

    /// The interpreter of a script, `#!/usr/bin/env python3` included.
    fn interpreter(path: &Path, search: &[u8]) -> Option<Self> {
        let program = Program::inspect(&File::open(path).ok()?);
        let interpreter = Path::new(OsStr::from_bytes(program.interpreter()));
        if interpreter.file_name() == Some(OsStr::new("env")) {
            return Self::program(&locate(program.interpreter_argument(), search)?);
        }
        Self::program(interpreter)
    }

    /// Whether it is a Python interpreter, going by its name.
    #[must_use]
    pub fn is_python(&self) -> bool {
        self.path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"python"))
    }

    /// Whether it is a JVM's launcher, going by its name.
    #[must_use]
    pub fn is_java(&self) -> bool {
        self.path.file_name().is_some_and(|name| name == "java")
    }

    /// Which word of the command starts it; `None` where only a script of its own does.
    #[must_use]
    pub fn word(&self, command: &[CString], search: &[u8]) -> Option<usize> {
        let is_it = |word: &CString| {
            let path = locate(word.as_bytes(), search).and_then(|path| fs::canonicalize(path).ok());
            path.is_some_and(|path| path == self.path)
        };
        command.iter().take(MAX_WORDS).position(is_it)
    }

    /// Its own command within the whole one, as `/proc/<pid>/cmdline` would show it; empty where no word of the command starts
    /// it. Instrumentation may be run by the same executable: what the last of these words starts is the runtime.
    #[must_use]
    pub fn own_command(&self, command: &[CString], search: &[u8]) -> Vec<u8> {
        let words = command.get(..MAX_WORDS).unwrap_or(command);
        let starts =
            |index: &usize| self.word(words.get(*index..=*index).unwrap_or_default(), search).is_some();
        // A last word is an argument rather than a program.
        let last = (0..words.len().saturating_sub(1)).rev().find(starts);
        let Some(first) = last.or_else(|| self.word(words, search)) else { return Vec::new() };
        let own: Vec<u8> =
            command.iter().skip(first).flat_map(|word| word.to_bytes_with_nul()).copied().collect();
        if own.len() > MAX_COMMAND { Vec::new() } else { own }
    }

    /// Which connections to its API its client may have besides the one by which it asks. Managed runtimes' clients are known,
    /// and that of any program but an interpreter is not; Go's has none.
    #[must_use]
    pub fn spare(&self, is_managed: bool) -> Spare {
        match (self.is_interpreter(), is_managed) {
            _ if self.is_node() => Spare::None,
            (true, true) if self.is_java() => Spare::Errors,
            (true, true) => Spare::None,
            (true, false) if self.is_java() => Spare::Either,
            (true, false) => Spare::Alike,
            (false, _) => {
                if self.is_of_go() {
                    Spare::None
                } else {
                    Spare::Alike
                }
            }
        }
    }

    /// Whether it is one of the interpreters that managed runtimes use, going by its name.
    #[must_use]
    pub fn is_interpreter(&self) -> bool {
        is_interpreter(self.path.as_os_str().as_bytes())
    }

    /// Whether Go's linker made it, going by its notes.
    #[must_use]
    pub fn is_of_go(&self) -> bool {
        let mut beginning = Vec::new();
        let mut read = || File::open(&self.path)?.take(MAX_NOTES).read_to_end(&mut beginning);
        read().is_ok() && has_go_note(&beginning)
    }

    /// Whether it is Node, going by its name.
    #[must_use]
    pub fn is_node(&self) -> bool {
        self.path.file_name().is_some_and(|name| matches!(name.as_bytes(), b"node" | b"nodejs"))
    }
}

fn is_wrapper(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    SHELLS.iter().chain(&WRAPPERS).any(|wrapper| wrapper.as_bytes() == name)
}

fn candidates(command: &[CString], search: &[u8]) -> impl Iterator<Item = PathBuf> {
    let words = command.iter().take(MAX_WORDS).map(CString::as_bytes);
    let words = words.filter(|word| !word.starts_with(b"-") && !word.contains(&b'='));
    words.filter_map(|word| locate(word, search))
}

/// The file that a command names: itself where it holds a slash, else the first executable of PATH.
#[must_use]
pub fn locate(command: &[u8], search: &[u8]) -> Option<PathBuf> {
    if command.is_empty() {
        return None;
    }
    if command.contains(&b'/') {
        return Some(PathBuf::from(OsStr::from_bytes(command)));
    }
    let search = if search.is_empty() { DEFAULT_PATH.as_bytes() } else { search };
    search.split(|byte| *byte == b':').find_map(|folder| {
        let path = Path::new(OsStr::from_bytes(folder)).join(OsStr::from_bytes(command));
        let status = fs::metadata(&path).ok()?;
        (status.is_file() && status.permissions().mode() & 0o111 != 0).then_some(path)
    })
}

/// The command's own program as a path for execve(2).
#[must_use]
pub fn program_path(command: &CStr, search: &[u8]) -> Option<CString> {
    CString::new(locate(command.to_bytes(), search)?.into_os_string().as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";

    fn name(command: &[&str]) -> String {
        let command: Vec<_> = command.iter().map(|word| CString::new(*word).unwrap()).collect();
        Runtime::find(&command, PATH).path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn script(text: &str) -> tempfile::TempPath {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o755)).unwrap();
        file.into_temp_path()
    }

    #[test]
    fn wrappers_are_looked_through() {
        let wrapper = script("#!/bin/sh\nexec \"$@\"\n");
        let wrapper = wrapper.to_str().unwrap();
        assert_eq!(name(&["/usr/bin/env", "A=b", "/bin/cat", "x"]), "cat");
        assert_eq!(name(&[wrapper, "/bin/cat", "-m", "awslambdaric"]), "cat");
        assert_eq!(name(&["/bin/sh", "-c", "true", "/bin/cat"]), "true");
        assert_eq!(name(&["cat"]), "cat");
    }

    #[test]
    fn a_script_alone_runs_its_interpreter() {
        let alone = script("#!/usr/bin/env cat\n");
        assert_eq!(name(&[alone.to_str().unwrap()]), "cat");
        let shell = script("#!/bin/sh\n");
        assert_eq!(name(&[shell.to_str().unwrap()]), "");
    }

    #[test]
    fn the_runtimes_own_command_is_the_last_that_starts_it() {
        let own = |command: &[&str]| {
            let command: Vec<_> = command.iter().map(|word| CString::new(*word).unwrap()).collect();
            let own = Runtime::find(&command, PATH).own_command(&command, PATH);
            String::from_utf8(own).unwrap().replace('\0', " ")
        };
        assert_eq!(own(&["cat", "-m", "x"]), "cat -m x ");
        assert_eq!(own(&["/usr/bin/env", "A=b", "/bin/cat", "x"]), "/bin/cat x ");
        assert_eq!(own(&["/bin/cat", "/opt/instrument", "cat", "x"]), "cat x ");
        assert_eq!(own(&["cat", "x", "/bin/cat"]), "cat x /bin/cat ");
        assert_eq!(own(&["cat"]), "cat ");
        assert_eq!(own(&["/nowhere/x"]), "");
        let long = "x".repeat(MAX_COMMAND);
        assert_eq!(own(&["cat", &long]), "");
    }

    #[test]
    fn nothing_is_claimed_of_what_is_not_there() {
        assert_eq!(name(&["/nowhere/python3.13", "-m", "x"]), "");
        assert_eq!(name(&[]), "");
    }
}

//! The last step of every launch: the runtime's environment, and becoming it.
//!
//! It decides which variables the runtime finds, and the exit status where it cannot be started (as a shell would:
//! 127 not found, 126 not executable). `launch` and `kernel::child` call it.

use std::ffi::{CStr, CString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::runtime;
use super::settings::Settings;
use crate::sys::process;

/// Variables that the runtime gets, in front of or instead of its own.
#[derive(Debug, Clone, Default)]
pub struct Additions(Vec<(String, Vec<u8>)>);

impl Additions {
    /// No change.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.0.push((name.to_owned(), value.to_vec()));
    }

    /// Puts `path` in front of a list that is separated by colons.
    pub fn prepend(&mut self, settings: &Settings, name: &str, path: &Path) {
        let path = path.as_os_str().as_bytes();
        let value = match settings.variable(name) {
            Some(previous) if !previous.is_empty() => [path, b":", previous].concat(),
            _ => path.to_vec(),
        };
        self.set(name, &value);
    }

    /// The environment with these changes.
    #[must_use]
    pub fn apply(&self, environment: &[CString]) -> Vec<CString> {
        let replaced = |entry: &CStr| {
            let name = entry.to_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
            self.0.iter().any(|(added, _)| added.as_bytes() == name)
        };
        let kept = environment.iter().filter(|entry| !replaced(entry)).cloned();
        let added = self
            .0
            .iter()
            .filter_map(|(name, value)| CString::new([name.as_bytes(), b"=", value].concat()).ok());
        kept.chain(added).collect()
    }

    /// The changes as bytes, for the pipe to the child: `NAME=value` and a NUL each.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(name, value)| [name.as_bytes(), b"=", value, b"\0"].concat()).collect()
    }

    /// Reads what [`Additions::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let entries = bytes.split(|byte| *byte == 0).filter_map(|entry| {
            let at = entry.iter().position(|byte| *byte == b'=')?;
            let (name, value) = entry.split_at(at);
            Some((String::from_utf8_lossy(name).into_owned(), value.get(1..).unwrap_or_default().to_vec()))
        });
        Self(entries.collect())
    }
}

/// Becomes the command with this environment. Returns the exit status to end with where that fails.
#[must_use]
pub fn become_command(command: &[CString], environment: &[CString]) -> i32 {
    const NOT_FOUND: i32 = 127;
    const NOT_EXECUTABLE: i32 = 126;
    let Some(name) = command.first() else {
        say("no command: usage: ringfence-exec RUNTIME [ARGUMENT...]");
        return NOT_FOUND;
    };
    let search =
        environment.iter().find_map(|entry| entry.as_bytes().strip_prefix(b"PATH=")).unwrap_or_default();
    // The wrapper is what is wrong then, and not the runtime.
    let names_it =
        |entry: &CString| entry.as_bytes().strip_prefix(b"RINGFENCE_EXEC_WRAPPER=") == Some(name.to_bytes());
    let origin = if environment.iter().any(names_it) { "RINGFENCE_EXEC_WRAPPER: " } else { "" };
    let Some(path) = runtime::program_path(name, search) else {
        say(&format!("{origin}{}: command not found", name.to_string_lossy()));
        return NOT_FOUND;
    };
    let error = process::exec(&path, command, environment);
    say(&format!("{origin}{}: cannot execute: {error}", path.to_string_lossy()));
    if error.0 == libc::ENOENT
        && fs::symlink_metadata(Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()))).is_err()
    {
        return NOT_FOUND;
    }
    NOT_EXECUTABLE
}

/// Prints a line for people on standard error.
pub fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "ringfence-exec: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_replace_and_survive_the_pipe() {
        let mut additions = Additions::none();
        additions.set("LD_PRELOAD", b"/opt/x.so:/y.so");
        additions.set("A", b"b=c");
        let environment =
            [c"LD_PRELOAD=/y.so".to_owned(), c"HOME=/".to_owned(), c"LD_PRELOAD_X=1".to_owned()];
        let expected = vec![
            c"HOME=/".to_owned(),
            c"LD_PRELOAD_X=1".to_owned(),
            c"LD_PRELOAD=/opt/x.so:/y.so".to_owned(),
            c"A=b=c".to_owned(),
        ];
        assert_eq!(additions.apply(&environment), expected);
        assert_eq!(Additions::from_bytes(&additions.to_bytes()).apply(&environment), expected);
    }
}

//! Finding an interpreter: the one that was named, or the first on PATH that is of the wanted version.
//!
//! Decides the order of the search and what is said when there is none. Must not know any language.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::LocalError;

/// What to look for.
pub(super) struct Search<'a> {
    /// As messages call it: `Python 3.14`.
    pub(super) what: String,
    /// The program that was named with `--interpreter`.
    pub(super) named: Option<&'a Path>,
    /// Names on PATH, the best first.
    pub(super) names: Vec<String>,
    /// Further programs, by their full path.
    pub(super) further: Vec<PathBuf>,
    /// What to do when there is none.
    pub(super) hint: String,
}

impl Search<'_> {
    /// The first program that `probe` accepts.
    pub(super) fn first<T>(&self, probe: impl Fn(&Path) -> Option<T>) -> Result<T, LocalError> {
        if let Some(named) = self.named {
            return probe(named).ok_or_else(|| self.failed(&format!("{} is none", named.display())));
        }
        let found = self.candidates().iter().find_map(|candidate| probe(candidate));
        found.ok_or_else(|| self.failed(&format!("none on PATH; {}", self.hint)))
    }

    fn candidates(&self) -> Vec<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let named = self.names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        named.chain(self.further.iter().cloned()).filter(|candidate| candidate.is_file()).collect()
    }

    fn failed(&self, reason: &str) -> LocalError {
        LocalError::environment(format!("find {}", self.what), reason)
    }
}

/// What a program prints on standard output and standard error, if it ends well.
pub(super) fn output_of(program: &Path, arguments: &[&str]) -> Option<(String, String)> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    output.status.success().then(|| (text(&output.stdout), text(&output.stderr)))
}

/// The versions that pyenv, rbenv and their like keep in the home directory: `FOLDER/versions/VERSION…/bin/NAME`.
pub(super) fn kept(folder: &str, version: &str, name: &str) -> Vec<PathBuf> {
    let Some(home) = std::env::var_os("HOME") else { return Vec::new() };
    let versions = PathBuf::from(home).join(folder).join("versions");
    let mut places: Vec<PathBuf> = std::fs::read_dir(versions)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{version}.")))
        .map(|entry| entry.path().join("bin").join(name))
        .collect();
    places.sort();
    places
}

/// Whether a host path is visible in the sandbox at its own place.
pub(super) fn visible(path: &Path) -> bool {
    ["/usr", "/bin", "/lib", "/nix"].iter().any(|top| path.starts_with(top))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(named: Option<&Path>) -> Search<'_> {
        Search {
            what: "Cobol 7".into(),
            named,
            names: vec!["sh".into()],
            further: Vec::new(),
            hint: "install it, or name one with --interpreter".into(),
        }
    }

    #[test]
    fn what_is_missing_is_said_in_one_line() {
        let none = |_: &Path| None::<()>;
        let errors = [search(None).first(none), search(Some(Path::new("/x/cobol"))).first(none)];
        let lines: Vec<String> = errors.into_iter().map(|e| e.unwrap_err().to_string()).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        cannot build the environment: find Cobol 7: none on PATH; install it, or name one with --interpreter
        cannot build the environment: find Cobol 7: /x/cobol is none
        ");
    }

    #[test]
    fn a_named_program_goes_before_path() {
        let named = Path::new("/x/cobol");
        assert_eq!(search(Some(named)).first(|p| Some(p.to_path_buf())).unwrap(), named);
        assert!(search(None).first(|p| Some(p.to_path_buf())).unwrap().ends_with("sh"));
    }
}

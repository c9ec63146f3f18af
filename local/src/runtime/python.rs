//! Python: an interpreter of the machine with the real runtime client `awslambdaric` and boto3 from `PyPI`.
//!
//! Decides where interpreter and client come from and where they lie: up to 3.10 in /var/runtime, later among the
//! interpreter's own packages. The client is installed on first use, once a Python version.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::interpreter::{Search, kept, output_of, visible};
use super::setup::{Request, RuntimeSetup};
use super::{bootstrap, cache, tool};
use crate::error::LocalError;
use crate::sandbox::plan::Lang;

/// Prints prefix, real executable (outside of a venv), and major and minor version, a line each.
const PROBE: &str = "import sys, os\n\
    print(sys.base_prefix)\n\
    print(os.path.realpath(getattr(sys, '_base_executable', sys.executable)))\n\
    print('%d.%d' % sys.version_info[:2])\n";
/// What lies in the managed runtimes besides the interpreter.
const PACKAGES: &[&str] = &["awslambdaric", "boto3"];
const BOOTSTRAP_PY: &str = include_str!("files/bootstrap.py");
/// The last minor version of Python 3 whose client lies in /var/runtime.
const CLIENT_IN_RUNTIME: u32 = 10;

struct Interpreter {
    prefix: PathBuf,
    executable: PathBuf,
    version: String,
}

pub(super) fn prepare(request: &Request<'_>) -> Result<RuntimeSetup, LocalError> {
    let python = find(request)?;
    let execution_env = format!("AWS_Lambda_python{}", python.version);
    let command = format!("/var/lang/bin/python{} /var/runtime/bootstrap.py", python.version);
    let script = bootstrap::text(&execution_env, "", &command);
    let place = cache::filled(&format!("python{}", python.version), &[&script, BOOTSTRAP_PY], |fresh| {
        install(&python, &script, fresh)
    })?;
    Ok(RuntimeSetup {
        lang: lang(&python, place.join("packages")),
        version: format!("python:{}.local", python.version),
        ..RuntimeSetup::managed(place.join("runtime"))
    })
}

fn find(request: &Request<'_>) -> Result<Interpreter, LocalError> {
    let named = request.version.map(|version| format!("python{version}"));
    let further = request.version.map(|version| kept(".pyenv", version, &format!("python{version}")));
    let search = Search {
        what: format!("Python {}", request.version.unwrap_or("3")),
        named: request.interpreter,
        names: named.into_iter().chain(["python3".into()]).collect(),
        further: further.unwrap_or_default(),
        hint: "install it (Debian: apt-get install python3), or name one with --interpreter".into(),
    };
    search.first(|candidate| {
        let found = probe(candidate)?;
        request.version.is_none_or(|version| version == found.version).then_some(found)
    })
}

fn probe(program: &Path) -> Option<Interpreter> {
    let (text, _) = output_of(program, &["-c", PROBE])?;
    let mut lines = text.lines().map(str::to_owned);
    let (prefix, executable, version) = (lines.next()?, lines.next()?, lines.next()?);
    version.starts_with("3.").then(|| Interpreter {
        prefix: prefix.into(),
        executable: executable.into(),
        version,
    })
}

/// An interpreter that lives outside of the system's folders is mounted with its prefix. One of the system is linked,
/// and a `pyvenv.cfg` beside the link makes /var/lang its prefix: its packages are Lambda's then, not the machine's.
fn lang(python: &Interpreter, packages: PathBuf) -> Lang {
    let mounts = vec![(format!("lib/python{}/site-packages", python.version), packages)];
    if !visible(&python.executable) {
        return Lang { prefix: Some(python.prefix.clone()), mounts, ..Lang::default() };
    }
    let names = ["python".to_owned(), "python3".to_owned(), format!("python{}", python.version)];
    let links = names.into_iter().map(|name| (name, python.executable.clone())).collect();
    let home = python.executable.parent().unwrap_or(Path::new("/usr/bin")).display();
    let files = vec![("pyvenv.cfg".into(), format!("home = {home}\ninclude-system-site-packages = false\n"))];
    Lang { links, files, mounts, prefix: None }
}

/// Whether the client lies in /var/runtime.
fn client_in_runtime(version: &str) -> bool {
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    minor.is_some_and(|minor| minor <= CLIENT_IN_RUNTIME)
}

fn install(python: &Interpreter, script: &str, fresh: &Path) -> Result<(), LocalError> {
    let (runtime, packages) = (fresh.join("runtime"), fresh.join("packages"));
    std::fs::create_dir_all(&packages).map_err(|e| LocalError::file(&packages, e))?;
    let target = if client_in_runtime(&python.version) { &runtime } else { &packages };
    install_packages(python, target)?;
    bootstrap::write(&runtime, "bootstrap", script)?;
    let file = runtime.join("bootstrap.py");
    std::fs::write(&file, BOOTSTRAP_PY).map_err(|e| LocalError::file(&file, e))
}

fn install_packages(python: &Interpreter, target: &Path) -> Result<(), LocalError> {
    let name = format!("python{}", python.version);
    if output_of(&python.executable, &["-m", "pip", "--version"]).is_none() {
        return Err(LocalError::environment(
            "install awslambdaric",
            format!(
                "{name} has no pip; install it (Debian: apt-get install python3-pip) or run {name} -m ensurepip"
            ),
        ));
    }
    let mut pip = Command::new(&python.executable);
    pip.args(["-m", "pip", "install", "--quiet", "--no-warn-script-location", "--disable-pip-version-check"])
        .arg("--target")
        .arg(target)
        .args(PACKAGES);
    let ended = tool::run(&mut pip, |e| LocalError::environment("run pip", e))?;
    ended
        .failure()
        .map_or(Ok(()), |reason| Err(LocalError::environment("install awslambdaric with pip", reason)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn python(executable: &str, version: &str) -> Interpreter {
        Interpreter { prefix: "/home/p".into(), executable: executable.into(), version: version.into() }
    }

    #[test]
    fn the_client_moves_with_3_11() {
        assert!(client_in_runtime("3.9") && client_in_runtime("3.10"));
        assert!(!client_in_runtime("3.11") && !client_in_runtime("3.14"));
    }

    #[test]
    fn packages_are_lambdas_whether_the_interpreter_is_linked_or_mounted() {
        let linked = lang(&python("/usr/bin/python3.11", "3.11"), "/c".into());
        let mounted = lang(&python("/home/p/bin/python3.13", "3.13"), "/c".into());
        assert_eq!(linked.mounts, [("lib/python3.11/site-packages".to_owned(), PathBuf::from("/c"))]);
        assert_eq!(linked.files.first().map(|(name, _)| name.as_str()), Some("pyvenv.cfg"));
        assert_eq!(mounted.prefix.as_deref(), Some(Path::new("/home/p")));
        assert_eq!(mounted.mounts, [("lib/python3.13/site-packages".to_owned(), PathBuf::from("/c"))]);
    }
}

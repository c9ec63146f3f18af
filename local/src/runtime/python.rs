//! Python: the `python3` on PATH, with the real runtime client `awslambdaric` from `PyPI`.
//!
//! Decides where interpreter and client come from. The client is installed on first use, once a Python version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{RuntimeSetup, cache, cached, visible, write_bootstrap};
use crate::error::LocalError;
use crate::sandbox::plan::Lang;

/// Changes with the content of the cached directory, so that an old cache is not used.
const CACHE_REVISION: u32 = 2;

/// Prints prefix, real executable (outside of a venv), major.minor and the machine, a line each.
const PROBE: &str = "import sys, os, platform\n\
    print(sys.base_prefix)\n\
    print(os.path.realpath(getattr(sys, '_base_executable', sys.executable)))\n\
    print('%d.%d' % sys.version_info[:2])\n\
    print(platform.machine())\n";

/// Lambda's own bootstrap does the same: its directories on the path in Lambda's order, then the client's loop.
const BOOTSTRAP_PY: &str = "import os, sys\n\
    task = os.environ['LAMBDA_TASK_ROOT']\n\
    version = 'python%d.%d' % sys.version_info[:2]\n\
    layers = ['/opt/python/lib/%s/site-packages' % version, '/opt/python']\n\
    sys.path[:] = [task] + layers + [p for p in sys.path if p not in layers and p != task]\n\
    from awslambdaric.__main__ import main\n\
    main(['bootstrap', os.environ['_HANDLER']])\n";

struct Interpreter {
    prefix: PathBuf,
    executable: PathBuf,
    version: String,
    machine: String,
}

pub(super) fn prepare() -> Result<RuntimeSetup, LocalError> {
    let python = probe()?;
    let key = format!("python{}-{}-r{CACHE_REVISION}", python.version, python.machine);
    let directory = cache()?.join(key);
    cached(&directory, |fresh| install(&python, fresh))?;
    Ok(RuntimeSetup {
        directory,
        lang: lang(&python),
        argv: vec!["/var/runtime/bootstrap".into()],
        execution_env: format!("AWS_Lambda_python{}", python.version),
        version: format!("python:{}.local", python.version),
        env: vec![("PYTHONPATH".into(), "/var/runtime".into())],
        honours_wrapper: true,
    })
}

fn probe() -> Result<Interpreter, LocalError> {
    let failed = |reason: String| LocalError::environment("find python3", reason);
    let output = Command::new("python3")
        .args(["-c", PROBE])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| failed(format!("{e}; install Python 3 (Debian: apt-get install python3)")))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines().map(str::to_owned);
    match (lines.next(), lines.next(), lines.next(), lines.next()) {
        (Some(prefix), Some(executable), Some(version), Some(machine)) => {
            Ok(Interpreter { prefix: prefix.into(), executable: executable.into(), version, machine })
        }
        _ => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

/// An interpreter of the system is linked; one that lives elsewhere (a home directory) is mounted with its prefix.
fn lang(python: &Interpreter) -> Lang {
    if !visible(&python.executable) {
        return Lang::Prefix(python.prefix.clone());
    }
    let names = ["python".to_owned(), "python3".to_owned(), format!("python{}", python.version)];
    Lang::Links(names.into_iter().map(|name| (name, python.executable.clone())).collect())
}

fn install(python: &Interpreter, fresh: &Path) -> Result<(), LocalError> {
    let has_pip = Command::new("python3")
        .args(["-m", "pip", "--version"])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success());
    if !has_pip {
        return Err(LocalError::environment(
            "install awslambdaric",
            "python3 has no pip; install it (Debian: apt-get install python3-pip) or run python3 -m ensurepip",
        ));
    }
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-warn-script-location", "--disable-pip-version-check"])
        .arg("--target")
        .arg(fresh)
        .arg("awslambdaric")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| LocalError::environment("run pip", e))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(LocalError::environment("install awslambdaric with pip", errors.trim()));
    }
    let script = fresh.join("bootstrap.py");
    fs::write(&script, BOOTSTRAP_PY).map_err(|e| LocalError::file(&script, e))?;
    write_bootstrap(fresh, &format!("/var/lang/bin/python{} /var/runtime/bootstrap.py", python.version))
}

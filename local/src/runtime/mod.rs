//! The language runtimes: which interpreter, which runtime client, which command.
//!
//! Decides what has to be mounted at /var/lang and /var/runtime and what is started; installs a runtime client on
//! first use into a cache. Must not know the sandbox's inside. Called once a run.

mod java;
mod node;
mod python;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::LocalError;
use crate::options::{Options, RuntimeKind};
use crate::sandbox::plan::Lang;

/// A runtime that is ready to be mounted and started.
#[derive(Debug)]
pub(crate) struct RuntimeSetup {
    /// Becomes /var/runtime.
    pub(crate) directory: PathBuf,
    pub(crate) lang: Lang,
    pub(crate) argv: Vec<String>,
    /// `AWS_EXECUTION_ENV`.
    pub(crate) execution_env: String,
    /// For platform.initStart.
    pub(crate) version: String,
    pub(crate) env: Vec<(String, String)>,
    /// Whether its bootstrap honours AWS_LAMBDA_EXEC_WRAPPER by itself.
    pub(crate) honours_wrapper: bool,
}

/// Finds or installs what the chosen runtime needs. `scratch` is an empty directory of this run.
pub(crate) fn prepare(options: &Options, opt: &Path, scratch: &Path) -> Result<RuntimeSetup, LocalError> {
    match options.runtime {
        RuntimeKind::Python3 => python::prepare(),
        RuntimeKind::Node => node::prepare(),
        RuntimeKind::Java => java::prepare(),
        RuntimeKind::Provided => provided(options, opt, scratch),
    }
}

/// provided.*: the bootstrap itself, with the wrapper in front only when the function's configuration has one.
fn provided(options: &Options, opt: &Path, scratch: &Path) -> Result<RuntimeSetup, LocalError> {
    let places =
        [(options.code.join("bootstrap"), "/var/task/bootstrap"), (opt.join("bootstrap"), "/opt/bootstrap")];
    let Some((_, bootstrap)) = places.iter().find(|(host, _)| host.is_file()) else {
        return Err(LocalError::environment(
            "find the bootstrap",
            format!("neither {}/bootstrap nor bootstrap in a layer", options.code.display()),
        ));
    };
    let wrapper = options.env.iter().rfind(|(name, _)| name == "AWS_LAMBDA_EXEC_WRAPPER");
    let mut argv: Vec<String> = wrapper.map(|(_, path)| path.clone()).into_iter().collect();
    argv.push((*bootstrap).to_owned());
    Ok(RuntimeSetup {
        directory: scratch.to_path_buf(),
        lang: Lang::Links(Vec::new()),
        argv,
        execution_env: "AWS_Lambda_provided.al2023".into(),
        version: "provided:local".into(),
        env: Vec::new(),
        honours_wrapper: false,
    })
}

/// `$XDG_CACHE_HOME/ringfence`, or below `$HOME/.cache`.
fn cache() -> Result<PathBuf, LocalError> {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    let base = base.ok_or_else(|| {
        LocalError::environment("find a cache directory", "neither XDG_CACHE_HOME nor HOME is set")
    })?;
    Ok(base.join("ringfence"))
}

/// Fills `place` by `install`, once: it works on a neighbour that is renamed when complete, so parallel runs and
/// aborted ones leave no half of it.
fn cached(place: &Path, install: impl FnOnce(&Path) -> Result<(), LocalError>) -> Result<(), LocalError> {
    if place.is_dir() {
        return Ok(());
    }
    let parent = place.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(|e| LocalError::file(parent, e))?;
    let fresh = tempfile::tempdir_in(parent).map_err(|e| LocalError::file(parent, e))?;
    install(fresh.path())?;
    readable(fresh.path()).map_err(|e| LocalError::file(fresh.path(), e))?;
    match fs::rename(fresh.path(), place) {
        Err(error) if !place.is_dir() => Err(LocalError::file(place, error)),
        _ => Ok(()),
    }
}

/// Opens a tree for uid 993, whatever the umask was.
fn readable(place: &Path) -> std::io::Result<()> {
    let kind = fs::symlink_metadata(place)?;
    if kind.is_symlink() {
        return Ok(());
    }
    let mode = kind.permissions().mode();
    let added = if kind.is_dir() || mode & 0o100 != 0 { 0o555 } else { 0o444 };
    fs::set_permissions(place, fs::Permissions::from_mode(mode | added))?;
    if kind.is_dir() {
        for entry in fs::read_dir(place)? {
            readable(&entry?.path())?;
        }
    }
    Ok(())
}

/// The bootstrap of a managed runtime: the wrapper, when there is one, gets the interpreter and its arguments.
fn write_bootstrap(place: &Path, command: &str) -> Result<(), LocalError> {
    let script = format!(
        "#!/bin/sh\n\
         if [ -z \"$AWS_LAMBDA_EXEC_WRAPPER\" ]; then exec {command}; fi\n\
         if [ ! -f \"$AWS_LAMBDA_EXEC_WRAPPER\" ]; then\n  \
         echo \"$AWS_LAMBDA_EXEC_WRAPPER: does not exist\"; exit 127\nfi\n\
         if [ ! -x \"$AWS_LAMBDA_EXEC_WRAPPER\" ]; then\n  \
         echo \"$AWS_LAMBDA_EXEC_WRAPPER: is not an executable\"; exit 126\nfi\n\
         exec \"$AWS_LAMBDA_EXEC_WRAPPER\" {command}\n"
    );
    let file = place.join("bootstrap");
    fs::write(&file, script).map_err(|e| LocalError::file(&file, e))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).map_err(|e| LocalError::file(&file, e))
}

/// Whether a host path is visible in the sandbox at its own place.
fn visible(path: &Path) -> bool {
    ["/usr", "/bin", "/lib", "/nix"].iter().any(|top| path.starts_with(top))
}

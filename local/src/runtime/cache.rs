//! The cache of interpreters and runtime clients, filled on first use.
//!
//! Decides where it lies, what makes a place in it valid, and that no run sees half of one. Called by each language.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::LocalError;

/// `$XDG_CACHE_HOME/ringfence`, or below `$HOME/.cache`.
fn root() -> Result<PathBuf, LocalError> {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    let base = base.ok_or_else(|| {
        LocalError::environment("find a cache directory", "neither XDG_CACHE_HOME nor HOME is set")
    })?;
    Ok(base.join("ringfence"))
}

/// The directory `name`, filled by `install` on first use. `content` is what decides its content besides the name:
/// when it changes, another directory is used.
pub(super) fn filled(
    name: &str,
    content: &[&str],
    install: impl FnOnce(&Path) -> Result<(), LocalError>,
) -> Result<PathBuf, LocalError> {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    let place = root()?.join(format!("{name}-{}-{:08x}", std::env::consts::ARCH, hasher.finish() >> 32));
    fill(&place, install)?;
    Ok(place)
}

/// Works on a neighbour that is renamed when complete, so parallel runs and aborted ones leave no half of it.
fn fill(place: &Path, install: impl FnOnce(&Path) -> Result<(), LocalError>) -> Result<(), LocalError> {
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

//! The cache of interpreters and runtime clients, filled on first use.
//!
//! Decides where it lies, what makes a place in it valid, and that no run sees half of one. Called by each language.

use std::fs::{self, File, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::tool::Interrupts;
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

/// Works on a neighbour that is renamed when complete, so parallel runs and aborted ones leave no half of it. One run
/// fills a place, others wait for it: the tools share caches of their own, which not all of them lock.
fn fill(place: &Path, install: impl FnOnce(&Path) -> Result<(), LocalError>) -> Result<(), LocalError> {
    if place.is_dir() {
        return Ok(());
    }
    let parent = place.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(|e| LocalError::file(parent, e))?;
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let lock = alone(&parent.join(format!(".{name}.lock")))?;
    if place.is_dir() {
        return Ok(());
    }
    let prefix = format!(".{name}.new-");
    if lock.is_some() {
        sweep(parent, &prefix);
    }
    let fresh = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent);
    let fresh = fresh.map_err(|e| LocalError::file(parent, e))?;
    install(fresh.path())?;
    readable(fresh.path()).map_err(|e| LocalError::file(fresh.path(), e))?;
    match fs::rename(fresh.path(), place) {
        Err(error) if !place.is_dir() => Err(LocalError::file(place, error)),
        _ => Ok(()),
    }
}

/// Waits until no other run fills the place. `None` where the file system has no locks: the rename still holds then.
fn alone(path: &Path) -> Result<Option<File>, LocalError> {
    let file = File::create(path).map_err(|e| LocalError::file(path, e))?;
    let interrupts = Interrupts::watch()?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => interrupts.pause()?,
            Err(TryLockError::Error(_)) => return Ok(None),
        }
    }
}

/// Removes what runs that were killed have left. Nothing else works there: the caller has the lock.
fn sweep(parent: &Path, prefix: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            // What cannot be removed costs room only.
            let _ = fs::remove_dir_all(entry.path());
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;

    fn names(parent: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(parent)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn of_runs_side_by_side_one_installs() {
        let parent = tempfile::tempdir().unwrap();
        let place = parent.path().join("client");
        let (barrier, installs) = (Barrier::new(4), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    fill(&place, |fresh| {
                        installs.fetch_add(1, Ordering::SeqCst);
                        fs::write(fresh.join("whole"), "1").map_err(|e| LocalError::file(fresh, e))
                    })
                    .unwrap();
                    assert!(place.join("whole").is_file());
                });
            }
        });
        assert_eq!(installs.load(Ordering::SeqCst), 1);
        assert_eq!(names(parent.path()), [".client.lock", "client"]);
    }

    #[test]
    fn what_failed_leaves_nothing_and_what_was_killed_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let place = parent.path().join("client");
        let kept = [".client-2.new-x", ".other.new-x"];
        for name in kept.into_iter().chain([".client.new-x"]) {
            fs::create_dir_all(parent.path().join(name).join("node_modules")).unwrap();
        }
        let error = fill(&place, |fresh| {
            fs::write(fresh.join("half"), "").unwrap();
            Err(LocalError::Interrupted)
        });
        assert!(matches!(error, Err(LocalError::Interrupted)));
        assert_eq!(names(parent.path()), [kept[0], ".client.lock", kept[1]]);
    }
}

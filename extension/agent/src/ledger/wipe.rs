//! Removing what was left behind, without being led elsewhere.
//!
//! Code of the function may race: swap a directory for a link to another place while the agent removes. So every
//! step is relative to a directory that is held open and was opened without following links, and only names are
//! removed, never what they point to. It decides nothing about what may stay: the caller gives `keep`.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, OsStr, OsString};
use std::fs::Permissions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::budget::Budget;

/// The answer where there was no time to remove something.
pub(crate) const NO_TIME: Errno = Errno::ETIME;

/// Deepest directory that is entered where it is; a deeper one is moved up first. Each level takes two descriptors.
const MAX_DEPTH: usize = 64;
/// Most directories that are moved up for one path: some tens of thousands of levels.
const MAX_MOVED: usize = 1024;

/// A directory below which names are removed.
pub(crate) struct Wiper<'k> {
    root: OwnedFd,
    keep: &'k dyn Fn(&Path) -> bool,
    budget: &'k Budget,
    /// Directories that were moved up: their names in the root, and where they were.
    moved: RefCell<Vec<(OsString, PathBuf)>>,
    moves: Cell<usize>,
}

/// Opens a directory, never through a link.
fn open_directory(at: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags =
        OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    match openat(at, name, flags, Mode::empty()) {
        Err(Errno::EACCES) => {
            make_accessible(at, name)?;
            openat(at, name, flags, Mode::empty())
        }
        result => result,
    }
}

/// Gives the owner of a directory its rights back, which it may have dropped to hide what is in it.
fn make_accessible(at: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let pinned = openat(at, name, flags, Mode::empty())?;
    // By way of the descriptor: the name could be another file's by now.
    let path = format!("/proc/self/fd/{}", pinned.as_raw_fd());
    std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(|error| errno(&error))
}

/// Gives the owner of an open directory its rights back.
fn give_rights_back(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
    std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(|error| errno(&error))
}

/// Something that the function cannot foresee, so that it cannot take all names beforehand.
fn clock_noise() -> u32 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.subsec_nanos())
}

/// The kernel's word for an error.
pub(crate) fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

impl<'k> Wiper<'k> {
    /// Removes names below `root`, except those for which `keep` holds (asked with paths relative to it), while there is
    /// time.
    ///
    /// # Errors
    /// Where `root` cannot be opened.
    pub(crate) fn new(root: &Path, keep: &'k dyn Fn(&Path) -> bool, budget: &'k Budget) -> io::Result<Self> {
        let root = open_directory(nix::fcntl::AT_FDCWD, root.as_os_str())?;
        Ok(Self { root, keep, budget, moved: RefCell::default(), moves: Cell::new(0) })
    }

    /// Removes one path, with all that is in it if it is a directory. A directory that holds something kept stays.
    ///
    /// # Errors
    /// Why it is still there; [`NO_TIME`] where there was none. A path that is not there any more is no error.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), Errno> {
        let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else { return Err(Errno::EINVAL) };
        self.moves.set(0);
        let removed =
            self.open_parent(parent).and_then(|directory| self.remove_at(directory.as_fd(), name, path, 0));
        gone_is_fine(removed).and(self.remove_moved())
    }

    fn remove_moved(&self) -> Result<(), Errno> {
        let mut outcome = Ok(());
        loop {
            let Some((name, path)) = self.moved.borrow_mut().pop() else { return outcome };
            outcome = outcome.and(gone_is_fine(self.remove_at(self.root.as_fd(), &name, &path, 0)));
        }
    }

    /// Moves a directory that lies too deep into the root, to be removed from there.
    fn move_up(&self, at: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<(), Errno> {
        for _ in 0..8 {
            self.moves.set(self.moves.get() + 1);
            if self.moves.get() > MAX_MOVED {
                break;
            }
            let new = OsString::from(format!(".ringfence-{}-{:x}", self.moves.get(), clock_noise()));
            match renameat(at, name, self.root.as_fd(), new.as_os_str()) {
                Ok(()) => {
                    self.moved.borrow_mut().push((new, path.to_owned()));
                    return Ok(());
                }
                Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::ENAMETOOLONG)
    }

    fn open_parent(&self, parent: &Path) -> Result<OwnedFd, Errno> {
        let mut directory = open_directory(self.root.as_fd(), OsStr::new("."))?;
        for component in parent.components() {
            let Component::Normal(name) = component else { return Err(Errno::EINVAL) };
            directory = open_directory(directory.as_fd(), name)?;
        }
        Ok(directory)
    }

    fn remove_at(&self, at: BorrowedFd<'_>, name: &OsStr, path: &Path, depth: usize) -> Result<(), Errno> {
        if (self.keep)(path) {
            return Ok(());
        }
        if !self.budget.has_time() {
            return Err(NO_TIME);
        }
        match unlinkat(at, name, UnlinkatFlags::NoRemoveDir) {
            // Linux says EISDIR for a directory; POSIX allows EPERM.
            Err(Errno::EISDIR | Errno::EPERM) => self.remove_directory(at, name, path, depth),
            // The directory around it may have lost its write bit.
            Err(Errno::EACCES) => {
                give_rights_back(at)?;
                match unlinkat(at, name, UnlinkatFlags::NoRemoveDir) {
                    Err(Errno::EISDIR | Errno::EPERM) => self.remove_directory(at, name, path, depth),
                    result => result,
                }
            }
            result => result,
        }
    }

    fn remove_directory(
        &self,
        at: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        depth: usize,
    ) -> Result<(), Errno> {
        if unlinkat(at, name, UnlinkatFlags::RemoveDir).is_ok() {
            return Ok(());
        }
        if depth >= MAX_DEPTH {
            return self.move_up(at, name, path);
        }
        let directory = open_directory(at, name)?;
        let _ = give_rights_back(directory.as_fd());
        let outcome = self.empty(directory, path, depth);
        match unlinkat(at, name, UnlinkatFlags::RemoveDir) {
            Err(_) if outcome == Err(NO_TIME) => outcome,
            Err(Errno::ENOTEMPTY) if outcome.is_ok() => Ok(()),
            Err(error) => outcome.and(Err(error)),
            Ok(()) => Ok(()),
        }
    }

    /// Removes what is in a directory; the first failure is told after the rest was tried.
    fn empty(&self, directory: OwnedFd, path: &Path, depth: usize) -> Result<(), Errno> {
        let at = directory.try_clone().map_err(|error| errno(&error))?;
        let mut outcome = Ok(());
        for entry in Dir::from_fd(directory)?.iter().flatten() {
            let Some(name) = child_name(entry.file_name()) else { continue };
            let result = gone_is_fine(self.remove_at(at.as_fd(), name, &path.join(name), depth + 1));
            outcome = outcome.and(result);
        }
        outcome
    }
}

fn child_name(name: &CStr) -> Option<&OsStr> {
    let name = name.to_bytes();
    (name != b"." && name != b"..").then(|| OsStr::from_bytes(name))
}

fn gone_is_fine(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn nothing(_: &Path) -> bool {
        false
    }

    fn ample() -> Budget {
        Budget::new(std::time::Duration::from_mins(10))
    }

    /// Removes paths, those further down first. Gives what is still there and why.
    fn wipe<'p>(
        root: &Path,
        paths: impl DoubleEndedIterator<Item = &'p PathBuf>,
        keep: &dyn Fn(&Path) -> bool,
    ) -> Vec<(PathBuf, Errno)> {
        let budget = ample();
        let wiper = Wiper::new(root, keep, &budget).unwrap();
        paths.rev().filter_map(|path| wiper.remove(path).err().map(|error| (path.clone(), error))).collect()
    }

    #[test]
    fn a_removal_ends_with_its_time() {
        let (_place, root, _) = place();
        fs::create_dir(root.join("d")).unwrap();
        fs::write(root.join("d/f"), "1").unwrap();
        let none = Budget::new(std::time::Duration::ZERO);
        assert_eq!(Wiper::new(&root, &nothing, &none).unwrap().remove(Path::new("d")), Err(NO_TIME));
        assert!(root.join("d/f").exists());
    }

    fn place() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let (root, elsewhere) = (place.path().join("tmp"), place.path().join("elsewhere"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("precious"), "1").unwrap();
        (place, root, elsewhere)
    }

    #[test]
    fn a_naive_removal_follows_a_link_and_this_one_does_not() {
        let (_place, root, elsewhere) = place();
        // The attack: a directory of the ledger is a link by the time it is emptied.
        symlink(&elsewhere, root.join("d")).unwrap();
        let naive = root.join("d").join("precious");
        assert!(fs::remove_file(&naive).is_ok(), "a removal by path is led elsewhere");
        fs::write(elsewhere.join("precious"), "1").unwrap();
        let budget = ample();
        let wiper = Wiper::new(&root, &nothing, &budget).unwrap();
        assert!(wiper.remove(Path::new("d/precious")).is_err());
        assert!(elsewhere.join("precious").exists());
        assert_eq!(wiper.remove(Path::new("d")), Ok(()));
        assert!(!root.join("d").is_symlink(), "the link itself is gone");
        assert!(elsewhere.join("precious").exists());
    }

    #[test]
    fn a_racing_swap_of_directory_and_link_never_reaches_elsewhere() {
        let (_place, root, elsewhere) = place();
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let racer = {
            let (root, elsewhere, stop) = (root.clone(), elsewhere.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = fs::create_dir(root.join("d"));
                    let _ = fs::write(root.join("d/precious"), "x");
                    let _ = fs::rename(root.join("d"), root.join("e"));
                    let _ = symlink(&elsewhere, root.join("d"));
                    let _ = fs::remove_file(root.join("d"));
                    let _ = fs::remove_dir_all(root.join("e"));
                }
            })
        };
        let budget = ample();
        let wiper = Wiper::new(&root, &nothing, &budget).unwrap();
        for _ in 0..3000 {
            let _ = wiper.remove(Path::new("d/precious"));
            let _ = wiper.remove(Path::new("d"));
            assert!(elsewhere.join("precious").exists());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        racer.join().unwrap();
    }

    #[test]
    fn what_is_kept_stays_with_the_directories_above_it() {
        let (_place, root, _) = place();
        fs::create_dir_all(root.join("cache/deep")).unwrap();
        fs::write(root.join("cache/deep/model"), "1").unwrap();
        fs::write(root.join("cache/other"), "1").unwrap();
        let keep = |path: &Path| path == Path::new("cache/deep/model");
        let paths = ["cache", "cache/deep", "cache/other"].map(PathBuf::from);
        assert_eq!(wipe(&root, paths.iter(), &keep), []);
        assert!(root.join("cache/deep/model").exists());
        assert!(!root.join("cache/other").exists());
    }

    #[test]
    fn directories_without_rights_are_opened_and_removed() {
        let (_place, root, _) = place();
        fs::create_dir_all(root.join("hidden/inner")).unwrap();
        fs::write(root.join("hidden/inner/f"), "1").unwrap();
        fs::set_permissions(root.join("hidden/inner"), Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(root.join("hidden"), Permissions::from_mode(0o000)).unwrap();
        assert_eq!(wipe(&root, [PathBuf::from("hidden")].iter(), &nothing), []);
        assert!(!root.join("hidden").exists());
    }

    #[test]
    fn trees_deeper_than_any_path_are_removed() {
        use nix::sys::stat::mkdirat;
        let (_place, root, _) = place();
        let mut at = open_directory(nix::fcntl::AT_FDCWD, root.as_os_str()).unwrap();
        let name = OsString::from("d".repeat(100));
        for _ in 0..300 {
            mkdirat(&at, name.as_os_str(), Mode::S_IRWXU).unwrap();
            at = open_directory(at.as_fd(), &name).unwrap();
        }
        assert!(fs::remove_dir_all(root.join(&name).join("x")).is_err());
        assert_eq!(wipe(&root, [PathBuf::from(&name)].iter(), &nothing), []);
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_may_not_be_written_gives_its_new_file_up() {
        let (_place, root, _) = place();
        fs::create_dir(root.join("d")).unwrap();
        fs::write(root.join("d/f"), "1").unwrap();
        fs::set_permissions(root.join("d"), Permissions::from_mode(0o500)).unwrap();
        assert_eq!(wipe(&root, [PathBuf::from("d/f")].iter(), &nothing), []);
        assert!(!root.join("d/f").exists());
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        let (_place, root, elsewhere) = place();
        let budget = ample();
        let wiper = Wiper::new(&root, &nothing, &budget).unwrap();
        assert!(wiper.remove(Path::new("../elsewhere/precious")).is_err());
        assert!(wiper.remove(&elsewhere.join("precious")).is_err());
        assert!(wiper.remove(Path::new("")).is_err());
        assert!(elsewhere.join("precious").exists());
        assert_eq!(wiper.remove(Path::new("never/was")), Ok(()));
    }
}

//! What a path means to a target: the file itself, pinned, or the folder in which it would be made.
//!
//! Every component is opened without following it, links are followed here, and what `/proc/self` and its like mean is
//! the caller's own. Nothing that belongs to the guard can be reached: the guard may open what the caller may not. It
//! must not know policy; `open` and `names` call it.

use std::ffi::CString;
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use super::target::{self, Caller, MAX_PATH, ProcPath};
use crate::sys::file::{self, Nature, PROCFS};
use crate::sys::{Errno, c_path, process};
use crate::text::Text;

/// Links that are followed for one path, as the kernel has it.
const MAX_LINKS: u32 = 40;
/// Components that are looked at for one path, links unfolded: some 20 us each, for which everybody else's calls wait.
/// Real paths have a tenth of that, and one without links is none of them where openat2(2) is there.
const MAX_STEPS: u32 = 256;
/// Inode of the root of every procfs.
const PROC_ROOT: u64 = 1;
const LOOK: i32 = libc::O_PATH | libc::O_NOFOLLOW;

/// A file as the kernel names it.
pub type Name = Text<MAX_PATH>;

/// A file that exists.
#[derive(Debug)]
pub struct Found {
    /// The file, pinned (`O_PATH`).
    pub file: OwnedFd,
    /// What it is.
    pub nature: Nature,
    /// The type of its file system (statfs(2)).
    pub file_system: u64,
}

/// A folder and a name in it.
#[derive(Debug)]
pub struct Slot {
    /// The folder, pinned.
    pub folder: OwnedFd,
    /// The last component, with the slashes after it. `.` where the path was only slashes.
    pub name: CString,
}

/// What a path led to.
#[derive(Debug)]
pub enum Place {
    /// A file; a symbolic link only where none was to be followed.
    There(Found),
    /// Nothing yet.
    Free(Slot),
}

/// One component further.
enum Step {
    To(OwnedFd, Nature),
    Link(Vec<u8>),
    Nothing,
}

/// One look-up for one caller.
#[derive(Debug)]
pub struct Lookup<'c> {
    caller: &'c Caller,
    links: u32,
    steps: u32,
}

impl<'c> Lookup<'c> {
    /// A look-up as `caller` would make it.
    #[must_use]
    pub const fn new(caller: &'c Caller) -> Self {
        Self { caller, links: 0, steps: 0 }
    }

    /// Finds what `path` leads to. A link at its end is followed where `follow` says so, or where a slash comes after.
    ///
    /// # Errors
    /// As path resolution(7) has it; `EACCES` for what is the guard's.
    pub fn find(&mut self, directory: Option<i32>, path: &[u8], follow: bool) -> Result<Place, Errno> {
        let mut slot = self.slot(directory, path)?;
        loop {
            let follow = follow || slot.ends_in_slash();
            match self.step(slot.folder.as_fd(), slot.plain_name(), follow)? {
                Step::Link(text) => {
                    let rest = slot.name.as_bytes().get(slot.plain_name().len()..).unwrap_or_default();
                    let path = [&text, rest].concat();
                    slot = self.slot_below(Some(slot.folder), &path)?;
                }
                Step::To(file, nature) => return Self::found(file, nature).map(Place::There),
                Step::Nothing => return Ok(Place::Free(slot)),
            }
        }
    }

    /// The folder that holds the last component of `path`, which is not followed.
    ///
    /// # Errors
    /// As [`Lookup::find`].
    pub fn slot(&mut self, directory: Option<i32>, path: &[u8]) -> Result<Slot, Errno> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let start = self.start(directory, path)?;
        self.slot_below(start, path)
    }

    /// Pins a descriptor of the caller: where a relative path starts.
    ///
    /// # Errors
    /// `EBADF` where there is no such descriptor.
    pub fn pin(&self, number: i32) -> Result<Found, Errno> {
        let mut path = ProcPath::new();
        let _ = write!(path, "/proc/{}/fd/{number}", self.caller.thread);
        let file = open_path(path)
            .map_err(|error| if error == Errno::ENOENT { Errno(libc::EBADF) } else { error })?;
        let nature = file::nature(file.as_fd())?;
        Self::found(file, nature)
    }

    /// Where a path starts; `None` for the root.
    fn start(&self, directory: Option<i32>, path: &[u8]) -> Result<Option<OwnedFd>, Errno> {
        match directory {
            _ if path.starts_with(b"/") => Ok(None),
            Some(number) => self.pin(number).map(|found| Some(found.file)),
            None => {
                let mut path = ProcPath::new();
                let _ = write!(path, "/proc/{}/cwd", self.caller.thread);
                open_path(path).map(Some)
            }
        }
    }

    fn slot_below(&mut self, start: Option<OwnedFd>, path: &[u8]) -> Result<Slot, Errno> {
        let (folders, name) = split(path);
        let start = start.filter(|_| !path.starts_with(b"/"));
        let folder = match start {
            Some(start) if folders.is_empty() => start,
            start => self.walk(start, folders)?,
        };
        Ok(Slot { folder, name: c_path(if name.is_empty() { b"." } else { name })? })
    }

    /// Follows all of `path`; where there is no link in it, in one call.
    fn walk(&mut self, start: Option<OwnedFd>, path: &[u8]) -> Result<OwnedFd, Errno> {
        let whole = c_path(path)?;
        if let Ok(file) = file::pin_without_links(start.as_ref().map(AsFd::as_fd), &whole) {
            return Ok(file);
        }
        let mut current = start.map_or_else(root, Ok)?;
        let mut rest = path.to_vec();
        while let Some((name, after)) = component(&rest) {
            match self.step(current.as_fd(), name, true)? {
                Step::To(file, _) => {
                    current = file;
                    rest = after.to_vec();
                }
                Step::Link(text) => {
                    if text.starts_with(b"/") {
                        current = root()?;
                    }
                    rest = [&text, after].concat();
                }
                Step::Nothing => return Err(Errno::ENOENT),
            }
        }
        Ok(current)
    }

    /// Opens one component, or says where it leads. A link that is not to be followed is opened itself.
    fn step(&mut self, folder: BorrowedFd<'_>, name: &[u8], follow: bool) -> Result<Step, Errno> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(Errno(libc::ENAMETOOLONG));
        }
        let c_name = c_path(name)?;
        let file = match file::open(Some(folder), &c_name, LOOK, 0) {
            Err(Errno::ENOENT) => return Ok(Step::Nothing),
            other => other?,
        };
        let nature = file::nature(file.as_fd())?;
        if nature.kind != libc::S_IFLNK || !follow {
            return Ok(Step::To(file, nature));
        }
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno(libc::ELOOP));
        }
        if file::file_system(file.as_fd())? == PROCFS {
            return self.step_in_proc(folder, name);
        }
        link_text(&file).map(Step::Link)
    }

    /// A link in procfs: a word about the caller, an ordinary link, or a door to a file without a path.
    fn step_in_proc(&self, folder: BorrowedFd<'_>, name: &[u8]) -> Result<Step, Errno> {
        let Caller { process, thread, .. } = self.caller;
        let c_name = c_path(name)?;
        if file::nature(folder)?.inode == PROC_ROOT {
            return Ok(Step::Link(match name {
                b"self" => process.to_string().into_bytes(),
                b"thread-self" => format!("{process}/task/{thread}").into_bytes(),
                _ => {
                    let mut text = [0; MAX_PATH];
                    file::link_text(folder, &c_name, &mut text)?.to_vec()
                }
            }));
        }
        if is_of_guard(name_of(folder)?.as_bytes()) {
            return Err(Errno::EACCES);
        }
        let file = file::open(Some(folder), &c_name, libc::O_PATH, 0)?;
        let nature = file::nature(file.as_fd())?;
        Ok(Step::To(file, nature))
    }

    fn found(file: OwnedFd, nature: Nature) -> Result<Found, Errno> {
        let file_system = file::file_system(file.as_fd())?;
        if file_system == PROCFS && is_of_guard(name_of(file.as_fd())?.as_bytes()) {
            return Err(Errno::EACCES);
        }
        Ok(Found { file, nature, file_system })
    }
}

impl Slot {
    /// Whether a slash follows the name, so that only a folder can be meant.
    #[must_use]
    pub fn ends_in_slash(&self) -> bool {
        self.name.as_bytes().ends_with(b"/")
    }

    /// The name without slashes.
    #[must_use]
    pub fn plain_name(&self) -> &[u8] {
        let name = self.name.as_bytes();
        let end = name.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
        name.get(..end).unwrap_or_default()
    }

    /// The whole path, as the kernel names the folder.
    ///
    /// # Errors
    /// The error of readlink(2); `ENAMETOOLONG` for a path that is longer than a [`Name`]: rules on how it ends would not see its end.
    pub fn path(&self) -> Result<Name, Errno> {
        let mut path = name_of(self.folder.as_fd())?;
        let name = self.plain_name();
        if path.as_bytes().len() + 1 + name.len() > MAX_PATH {
            return Err(Errno(libc::ENAMETOOLONG));
        }
        if path.as_bytes() != b"/" {
            path.push(b"/");
        }
        path.push(name);
        Ok(path)
    }
}

impl Found {
    /// The path, as the kernel names the file; of a file whose names are gone, its last one.
    ///
    /// # Errors
    /// The error of readlink(2).
    pub fn path(&self) -> Result<Name, Errno> {
        let name = name_of(self.file.as_fd())?;
        let gone = (self.nature.links == 0).then(|| name.as_bytes().strip_suffix(b" (deleted)")).flatten();
        Ok(gone.map_or(name, |plain| {
            let mut name = Name::new();
            name.push(plain);
            name
        }))
    }

    /// The process whose memory this is, where it is one's.
    #[must_use]
    pub fn memory_of(&self) -> Option<u32> {
        if self.file_system != PROCFS {
            return None;
        }
        let name = name_of(self.file.as_fd()).ok()?;
        let (folder, file) = split(name.as_bytes());
        (file == b"mem").then(|| numbers(folder).next()).flatten()
    }

    /// Where the file can be opened again, whatever its names are now.
    #[must_use]
    pub fn door(&self) -> CString {
        door(self.file.as_fd())
    }
}

/// Where what a descriptor of the guard pins can be opened again.
#[must_use]
pub fn door(file: BorrowedFd<'_>) -> CString {
    c_path(format!("/proc/self/fd/{}", file.as_raw_fd()).as_bytes()).unwrap_or_default()
}

/// The kernel's name of what is pinned.
///
/// # Errors
/// The error of readlink(2).
pub fn name_of(file: BorrowedFd<'_>) -> Result<Name, Errno> {
    let mut link = ProcPath::new();
    let _ = write!(link, "/proc/self/fd/{}", file.as_raw_fd());
    let mut bytes = [0; MAX_PATH];
    let mut name = Name::new();
    name.push(crate::sys::descriptor::read_link(link.as_c_str().ok_or(Errno::EINVAL)?, &mut bytes)?);
    Ok(name)
}

fn open_path(mut path: ProcPath) -> Result<OwnedFd, Errno> {
    file::open(None, path.as_c_str().ok_or(Errno::EINVAL)?, libc::O_PATH, 0)
}

fn root() -> Result<OwnedFd, Errno> {
    file::open(None, c"/", libc::O_PATH | libc::O_DIRECTORY, 0)
}

fn link_text(link: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut text = [0; MAX_PATH];
    let text = file::link_text(link.as_fd(), c"", &mut text)?;
    if text.is_empty() { Err(Errno::ENOENT) } else { Ok(text.to_vec()) }
}

/// Whether a path in a procfs belongs to a process or thread of the guard. A folder elsewhere whose name is the
/// guard's number would too; the guard then refuses more than it must.
fn is_of_guard(path: &[u8]) -> bool {
    let guard = process::own();
    numbers(path).any(|number| number == guard || target::process_of(number) == Ok(guard))
}

/// The components of a path that are numbers.
fn numbers(path: &[u8]) -> impl Iterator<Item = u32> + '_ {
    let digits = |component: &&[u8]| !component.is_empty() && component.iter().all(u8::is_ascii_digit);
    path.split(|byte| *byte == b'/')
        .filter(digits)
        .filter_map(|component| std::str::from_utf8(component).ok()?.parse().ok())
}

/// The first component, and what comes after it.
fn component(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = path.iter().position(|byte| *byte != b'/')?;
    let path = path.get(start..)?;
    let end = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
    path.split_at_checked(end)
}

/// Folders (with their slash), and the last component with the slashes after it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
    let start =
        path.get(..end).and_then(|path| path.iter().rposition(|byte| *byte == b'/')).map_or(0, |at| at + 1);
    if end == 0 { (path, b"") } else { path.split_at_checked(start).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ringfence_policy::Role;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;

    /// A caller that is not the guard, which this process stands for.
    const SOMEBODY: Caller = Caller { thread: 1, process: 1, role: Role::Child };

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir_all(at("a/b/c")).unwrap();
        std::fs::write(at("a/file"), "").unwrap();
        for (text, name) in
            [("a", "link"), ("../file", "a/b/up"), ("nowhere", "dangling"), ("circle", "circle")]
        {
            symlink(text, at(name)).unwrap();
        }
        symlink(at("a/b"), at("absolute")).unwrap();
        root
    }

    fn found(path: &[u8], follow: bool) -> Result<String, Errno> {
        let place = Lookup::new(&SOMEBODY).find(None, path, follow)?;
        let name = match place {
            Place::There(found) => found.path()?,
            Place::Free(_) => return Err(Errno::ENOENT),
        };
        Ok(name.as_str().to_owned())
    }

    fn as_the_kernel(path: &[u8], follow: bool) -> Result<String, Errno> {
        let flags = if follow { libc::O_PATH } else { LOOK };
        let file = file::open(None, &c_path(path)?, flags, 0)?;
        Ok(name_of(file.as_fd())?.as_str().to_owned())
    }

    proptest! {
        #[test]
        fn paths_mean_what_the_kernel_takes_them_for(
            words in proptest::collection::vec(
                prop::sample::select(vec!["a", "b", "c", "file", "link", "up", "..", ".", "", "absolute", "dangling", "circle", "none"]),
                1..8,
            ),
            follow: bool,
        ) {
            let root = tree();
            let path = [root.path().as_os_str().as_bytes(), b"/", words.join("/").as_bytes()].concat();
            let slash = path.ends_with(b"/");
            match (found(&path, follow), as_the_kernel(&path, follow)) {
                // That a file is no folder is said by whoever opens it.
                (Ok(ours), Err(Errno(libc::ENOTDIR))) if slash => prop_assert!(ours.ends_with("file")),
                (ours, kernel) => prop_assert_eq!(ours, kernel),
            }
        }

        #[test]
        fn a_path_comes_apart_without_loss(path in "[/a.]{0,12}") {
            let (folders, name) = split(path.as_bytes());
            prop_assert_eq!([folders, name].concat(), path.as_bytes());
            prop_assert!(!name.starts_with(b"/") && (folders.is_empty() || folders.ends_with(b"/")));
        }
    }

    #[test]
    fn a_new_file_is_called_by_its_folder_s_name() {
        let root = tree();
        let free = |name: &str| {
            let path = root.path().join(name);
            match Lookup::new(&SOMEBODY).find(None, path.as_os_str().as_bytes(), true).unwrap() {
                Place::Free(slot) => slot.path().unwrap().as_str().to_owned(),
                Place::There(found) => panic!("{found:?}"),
            }
        };
        let expected =
            |name: &str| root.path().canonicalize().unwrap().join(name).to_str().unwrap().to_owned();
        assert_eq!(free("absolute/../new"), expected("a/new"));
        assert_eq!(free("dangling"), expected("nowhere"));
        assert_eq!(free("dangling/"), expected("nowhere"));
    }

    #[test]
    fn what_is_the_guard_s_is_out_of_reach() {
        let own = std::process::id();
        let thread = process::thread_id();
        let (file, _end) = crate::sys::descriptor::pipe().unwrap();
        let mut paths = vec![format!("/proc/{own}/fd/{}", file.as_raw_fd())];
        paths.extend([format!("/proc/{own}/oom_score_adj"), format!("/proc/{thread}/comm")]);
        paths.extend([format!("/proc/{own}/task/{thread}/comm"), format!("/proc/1/../{own}/root/tmp")]);
        for path in paths {
            assert!(
                file::open(None, &c_path(path.as_bytes()).unwrap(), libc::O_PATH, 0).is_ok(),
                "{path}: control"
            );
            assert_eq!(found(path.as_bytes(), true), Err(Errno::EACCES), "{path}");
        }
    }

    #[test]
    fn words_about_oneself_are_about_the_caller() {
        assert_eq!(found(b"/proc/self", true).as_deref(), Ok("/proc/1"));
        assert_eq!(found(b"/proc/self/comm", true).as_deref(), Ok("/proc/1/comm"));
        assert_eq!(found(b"/proc/thread-self/comm", true).as_deref(), Ok("/proc/1/task/1/comm"));
        assert_eq!(found(b"/proc/self/root/etc", true), found(b"/proc/1/root/etc", true));
    }

    #[test]
    fn a_look_up_ends() {
        let long = b"/.".repeat(MAX_PATH / 2);
        assert_eq!(found(&long, true).as_deref(), Ok("/"));
        let mut lookup = Lookup::new(&SOMEBODY);
        lookup.steps = MAX_STEPS;
        assert_eq!(lookup.find(None, b"/tmp", true).unwrap_err(), Errno(libc::ENAMETOOLONG));
    }

    #[test]
    fn numbers_are_found_in_paths() {
        assert_eq!(numbers(b"/proc/17/task/18/comm").collect::<Vec<_>>(), [17, 18]);
        assert_eq!(numbers(b"/proc/a1/99999999999/").count(), 0);
    }
}

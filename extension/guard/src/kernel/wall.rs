//! The second wall: what the runtime and its children never do by themselves, refused by Landlock.
//!
//! Where the guard makes a call for the function (connect, bind, opens that write, changes of names) the function's own
//! call is superfluous, so the kernel may refuse it whatever the policy says: the guard stands outside. Only the rule
//! on programs in writable places is taken from the policy, and only where it holds in every phase and for every
//! process. `child` raises the wall before the filter; without Landlock everything is as it was.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;

use ringfence_policy::{CompiledPolicy, WRITABLE_PLACES, is_in_writable_place};

use crate::filter::table::{Options, Writes};
use crate::launch::Plan;
use crate::sys::landlock::{self, Handled, Ruleset};
use crate::sys::{Errno, c_path, file};

use super::rights::Rights;

/// Folders and files below a folder for which there are rules; more than that is no system we know.
const MAX_ENTRIES: usize = 512;
/// Programs may lie below these, but for what is writable there.
const SPLIT: [&str; 2] = ["/", "/var"];

/// What is to be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wall {
    /// Programs in writable places.
    programs: bool,
    /// Opens that write, and changes of names.
    writes: bool,
    /// bind(2).
    bind: bool,
}

/// What is refused, as a number that goes through a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Raised(u8);

const PROGRAMS: u8 = 1;
const WRITES: u8 = 2;
const NETWORK: u8 = 4;
const PROCESSES: u8 = 8;
/// Where opens that write are the function's own: `/proc`, by which children would write the runtime's memory.
const MEMORY: u8 = 16;

impl Raised {
    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// What a number means.
    #[must_use]
    pub const fn of(number: u8) -> Self {
        Self(number)
    }

    /// Whether signals reach nobody outside of the wall.
    #[must_use]
    pub const fn keeps_signals(self) -> bool {
        self.0 & PROCESSES != 0
    }

    /// Returns `true` if nothing is written below `/proc`.
    #[must_use]
    pub const fn keeps_proc(self) -> bool {
        self.0 & MEMORY != 0
    }

    /// For people: what is refused.
    #[must_use]
    pub fn describe(self) -> String {
        let parts = [
            (PROGRAMS, "programs in writable places"),
            (WRITES, "writes"),
            (MEMORY, "/proc writes"),
            (NETWORK, "TCP"),
            (PROCESSES, "signals and abstract sockets of others"),
        ];
        let named: Vec<_> =
            parts.iter().filter(|(bit, _)| self.0 & bit != 0).map(|(_, name)| *name).collect();
        format!("Landlock refuses what passes the guard: {}", named.join(", "))
    }
}

impl Wall {
    /// The wall for this start.
    #[must_use]
    pub fn of(plan: &Plan, options: Options) -> Self {
        let never =
            CompiledPolicy::new(&plan.policy.compiled).is_ok_and(|policy| policy.never_runs_from_writable());
        // Wrappers in front of the runtime may run what they like.
        let direct = plan.settings.command.first().is_some_and(|word| {
            let word = Path::new(std::ffi::OsStr::new(word.to_str().unwrap_or_default()));
            fs::canonicalize(word).is_ok_and(|path| path == plan.runtime.path)
        });
        let writable = is_in_writable_place(plan.runtime.path.as_os_str().as_encoded_bytes());
        Self {
            programs: never && direct && !writable,
            writes: options.writes == Writes::All,
            bind: options.bind,
        }
    }

    /// Puts it up around this process and all that it starts, as far as this kernel's Landlock goes.
    ///
    /// # Errors
    /// Why there is none: `ENOSYS` and `EOPNOTSUPP` without Landlock.
    pub fn raise(self) -> Result<Raised, Errno> {
        let version = landlock::version();
        if version == 0 {
            return Err(Errno(libc::ENOSYS));
        }
        let (handled, raised) = self.handled(version);
        if raised == Raised::default() {
            return Err(Errno(libc::EOPNOTSUPP));
        }
        let rules = Ruleset::new(handled)?;
        if handled.files & landlock::EXECUTE != 0 {
            allow_programs(&rules)?;
        }
        if handled.files & landlock::REFER != 0 && !self.writes {
            rules.allow(open(Path::new("/"))?.as_fd(), landlock::REFER)?;
        }
        if raised.number() & MEMORY != 0 {
            allow_writes(&rules)?;
        }
        if let (true, Ok(terminals)) = (self.writes, open(Path::new("/dev/pts"))) {
            // The other end of a terminal, which TIOCGPTPEER opens without a path.
            rules.allow(terminals.as_fd(), landlock::WRITE_FILE)?;
        }
        rules.restrict_self()?;
        Ok(raised)
    }

    /// What to refuse with a version of Landlock. Version 1 refuses every rename to another folder, wanted or not.
    fn handled(self, version: u32) -> (Handled, Raised) {
        let mut handled = Handled::default();
        let mut raised = 0;
        if version >= 2 || self.writes {
            if self.programs {
                handled.files |= landlock::EXECUTE;
                raised |= PROGRAMS;
            }
            if self.writes {
                let nodes = if self.bind { 0 } else { landlock::MAKE_SOCKET };
                handled.files |= (landlock::WRITE_FILE | landlock::CHANGE_NAMES) & !nodes;
                raised |= WRITES;
            }
            if version >= 2 && !self.writes {
                handled.files |= landlock::WRITE_FILE;
                raised |= MEMORY;
            }
            if version >= 2 && handled.files != 0 {
                handled.files |= landlock::REFER;
            }
        }
        if version >= 4 {
            handled.network = landlock::CONNECT_TCP | if self.bind { landlock::BIND_TCP } else { 0 };
            raised |= NETWORK;
        }
        if version >= 6 {
            handled.scoped = landlock::SCOPE_SIGNAL | landlock::SCOPE_ABSTRACT;
            raised |= PROCESSES;
        }
        (handled, Raised(raised))
    }
}

/// Which calls on files are asked about beside what stands of the wall: opens that write also where no rule speaks of them,
/// so that nobody writes another's memory (`/proc/<pid>/mem`). Where the guard has capabilities it would have to refuse what
/// a child that has none opens for itself, so there they are the function's own.
#[must_use]
pub fn asked_beside(wanted: Writes, raised: Result<Raised, Errno>) -> Writes {
    asked_beside_as(wanted, raised, Rights::own().can_be_given_up())
}

fn asked_beside_as(wanted: Writes, raised: Result<Raised, Errno>, privileged: bool) -> Writes {
    let kept = raised.is_ok_and(|raised| raised.0 & (WRITES | MEMORY) != 0);
    if wanted != Writes::Unasked || kept || privileged { wanted } else { Writes::Opens }
}

/// Lets programs run that lie anywhere but in writable places.
fn allow_programs(rules: &Ruleset) -> Result<(), Errno> {
    for place in SPLIT {
        let entries = match fs::read_dir(place) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other?,
        };
        for entry in entries.take(MAX_ENTRIES) {
            let path = entry?.path();
            let folder = [path.as_os_str().as_encoded_bytes(), b"/"].concat();
            let split = SPLIT.iter().any(|place| path == Path::new(place));
            // A link leads to what has a rule of its own, or is writable.
            if split || WRITABLE_PLACES.contains(&folder.as_slice()) || path.is_symlink() {
                continue;
            }
            rules.allow(open(&path)?.as_fd(), landlock::EXECUTE)?;
        }
    }
    Ok(())
}

/// Lets everything be written but what lies in `/proc`, as far as the function may.
fn allow_writes(rules: &Ruleset) -> Result<(), Errno> {
    for entry in fs::read_dir("/")?.take(MAX_ENTRIES) {
        let path = entry?.path();
        if path != Path::new("/proc") && !path.is_symlink() {
            rules.allow(open(&path)?.as_fd(), landlock::WRITE_FILE)?;
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<std::os::fd::OwnedFd, Errno> {
    let path = c_path(path.as_os_str().as_encoded_bytes())?;
    file::open(None, &path, libc::O_PATH | libc::O_NOFOLLOW, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Wall = Wall { programs: true, writes: true, bind: true };

    #[test]
    fn older_versions_refuse_what_they_know() {
        assert_eq!(ALL.handled(7).1.number(), PROGRAMS | WRITES | NETWORK | PROCESSES);
        assert_eq!(ALL.handled(4).0.scoped, 0);
        assert_eq!(ALL.handled(3).0.network, 0);
        assert_eq!(ALL.handled(1).0.files & landlock::REFER, 0);
        let programs = Wall { programs: true, ..Wall::default() };
        assert_eq!(programs.handled(1), (Handled::default(), Raised::default()), "it would break renames");
        assert_eq!(programs.handled(2).0.files, landlock::EXECUTE | landlock::REFER | landlock::WRITE_FILE);
        let nothing = Wall::default().handled(7).0;
        assert_eq!(nothing.files, landlock::WRITE_FILE | landlock::REFER, "but for /proc");
        assert_eq!(nothing.network, landlock::CONNECT_TCP, "the guard does not bind");
        let unbound = Wall { writes: true, ..Wall::default() };
        assert_eq!(unbound.handled(7).0.files & landlock::MAKE_SOCKET, 0, "bind(2) is the function's own");
    }

    #[test]
    fn opens_are_asked_about_where_nothing_else_keeps_memory() {
        let raised = |wall: Wall, version| Ok(wall.handled(version).1);
        let unruled = Wall { programs: true, ..Wall::default() };
        let beside = |raised| asked_beside_as(Writes::Unasked, raised, false);
        assert_eq!(beside(Err(Errno(libc::ENOSYS))), Writes::Opens);
        assert_eq!(beside(raised(unruled, 1)), Writes::Opens, "which would break renames");
        assert_eq!(beside(raised(unruled, 2)), Writes::Unasked);
        assert_eq!(asked_beside_as(Writes::Unasked, Err(Errno(libc::ENOSYS)), true), Writes::Unasked);
        for raised in [Err(Errno(libc::ENOSYS)), raised(ALL, 1), raised(ALL, 7)] {
            assert_eq!(asked_beside_as(Writes::All, raised, false), Writes::All);
        }
    }

    #[test]
    fn it_is_told_in_a_line_that_fits_the_record() {
        let all = ALL.handled(7).1;
        assert_eq!(Raised::of(all.number()), all);
        insta::assert_snapshot!(all.describe(), @"Landlock refuses what passes the guard: programs in writable places, writes, TCP, signals and abstract sockets of others");
        assert!(all.describe().len() < 128);
        let readers = Wall { writes: false, ..ALL }.handled(7).1;
        insta::assert_snapshot!(readers.describe(), @"Landlock refuses what passes the guard: programs in writable places, /proc writes, TCP, signals and abstract sockets of others");
        assert!(readers.describe().len() < 128);
    }

    /// In a thread of its own, since a wall never comes down. `None` without Landlock in its newest form.
    fn behind_the_wall<T: Send + 'static>(
        wall: Wall,
        test: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        const PR_SET_NO_NEW_PRIVS: i32 = 38;
        if landlock::version() < 6 {
            ringfence_tests::skipped(&format!("Landlock has version {} here", landlock::version()));
            return None;
        }
        let thread = std::thread::spawn(move || {
            crate::sys::process::prctl(PR_SET_NO_NEW_PRIVS, 1).unwrap();
            wall.raise().unwrap();
            test()
        });
        Some(thread.join().unwrap())
    }

    fn error<T>(result: std::io::Result<T>) -> Option<i32> {
        result.err().and_then(|error| error.raw_os_error())
    }

    /// What the wall refuses, one error a deed; all of it works without.
    fn deeds(folder: &Path, address: std::net::SocketAddr) -> Vec<Option<i32>> {
        let at = |name: &str| folder.join(name);
        let run = |path: &Path| error(std::process::Command::new(path).status());
        vec![
            run(&at("program")),
            error(fs::OpenOptions::new().append(true).open(at("file"))),
            error(fs::rename(at("file"), at("other/file"))),
            error(fs::create_dir(at("new"))),
            error(std::net::TcpStream::connect(address)),
            error(std::net::TcpListener::bind("127.0.0.1:0")),
        ]
    }

    fn laid_out() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        // A process of its own writes it: what another test forks meanwhile would hold it open for writing (ETXTBSY).
        let copy =
            std::process::Command::new("cp").arg("/bin/true").arg(folder.path().join("program")).status();
        assert!(copy.unwrap().success());
        fs::create_dir(folder.path().join("other")).unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        folder
    }

    #[test]
    fn what_the_guard_does_for_the_function_the_function_cannot_do_itself() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let folder = laid_out();
        assert!(folder.path().starts_with("/tmp"), "a writable place");
        let path = folder.path().to_owned();
        let Some(behind) = behind_the_wall(ALL, move || {
            let signal = crate::sys::process::kill(std::os::unix::process::parent_id(), 0);
            let reads = fs::read(path.join("file")).and_then(|_| fs::read_dir("/"));
            let shell = std::process::Command::new("/bin/sh").args(["-c", "exec /usr/bin/env true"]).status();
            (deeds(&path, address), signal, error(reads), shell.unwrap().success())
        }) else {
            return;
        };
        let refused = Some(libc::EACCES);
        assert_eq!(behind.0, [refused; 6]);
        assert_eq!((behind.1, behind.2, behind.3), (Err(Errno::EPERM), None, true));
        assert_eq!(deeds(folder.path(), address), [None; 6], "the control run");
    }

    #[test]
    fn nothing_is_refused_that_the_guard_leaves_to_the_function() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let folder = laid_out();
        let path = folder.path().to_owned();
        let Some(behind) =
            behind_the_wall(Wall { programs: true, ..Wall::default() }, move || deeds(&path, address))
        else {
            return;
        };
        let refused = Some(libc::EACCES);
        assert_eq!(behind, [refused, None, None, None, refused, None]);
    }

    #[test]
    fn the_memory_of_processes_is_not_written_where_files_are() {
        let folder = laid_out();
        let path = folder.path().to_owned();
        let write = |path: &Path| error(fs::OpenOptions::new().write(true).open(path));
        let memory = Path::new("/proc/self/mem");
        let null = Path::new("/dev/null");
        let Some(behind) =
            behind_the_wall(Wall::default(), move || [write(&path.join("file")), write(null), write(memory)])
        else {
            return;
        };
        assert_eq!(behind, [None, None, Some(libc::EACCES)]);
        assert_eq!(write(memory), None, "the control run");
    }
}

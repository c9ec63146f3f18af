//! Calls on a process by its number, which must not mean the guard by the time that the kernel reads it.
//!
//! A number belongs to its process until that is reaped, and may be the guard's next thread a moment later: whoever waits
//! for a processor between a verdict and its call can have all numbers go round in between. So calls by number are made by the
//! guard itself, and no thread of it is started while it makes one. Where there are descriptors of processes, one that is
//! opened before the look takes the number's place. It knows no policy. `others` and `callers` call it, and whoever starts
//! threads.

use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::{Arc, Mutex};

use super::lock::lock;
use super::target::{self, ProcPath};
use crate::sys::others::{self, SignalInfo};
use crate::sys::{Errno, descriptor, process};

/// Held while a thread of the guard is started, and while a number is looked at and used. Under it nothing is done that
/// could wait for a target: no look into `/proc`, whose folders a child may hold locked.
static STARTS: Mutex<()> = Mutex::new(());

/// Starts a thread of the guard. Whether that worked.
pub(super) fn start_thread(stack: usize, work: impl FnOnce() + Send + 'static) -> bool {
    let _held = lock(&STARTS);
    std::thread::Builder::new().stack_size(stack).spawn(work).is_ok()
}

/// Processes that are out of bounds; 0 stands for none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Protected(pub(super) [u32; 4]);

impl Protected {
    /// Whether this is the number of one of them.
    pub(super) fn has_process(&self, process: u32) -> bool {
        self.processes().any(|protected| protected == process)
    }

    /// The one of them that a process or thread belongs to. Told by the kernel, without a look into `/proc`.
    pub(super) fn owner(&self, number: u32) -> Option<u32> {
        // Whatever else it says: it is there.
        let owns = |process: &u32| process::kill_thread(*process, number, 0) != Err(Errno(libc::ESRCH));
        self.processes().find(|process| *process == number || owns(process))
    }

    /// Makes a call on a number, unless it is one of theirs: then `None`. The guard's own it does not become meanwhile.
    pub(super) fn act<T>(&self, number: u32, call: impl FnOnce() -> T) -> Option<T> {
        let _held = lock(&STARTS);
        self.owner(number).is_none().then(call)
    }

    /// `sched_setaffinity(2)`. It may wait for its target, which must not keep the guard from starting threads; what it
    /// has done to one of theirs it takes back.
    pub(super) fn set_affinity(&self, number: u32, processors: &[u8]) -> Option<Result<(), Errno>> {
        if self.owner(number).is_some() {
            return None;
        }
        let set = others::set_affinity(number, processors);
        let Some(owner) = self.owner(number) else { return Some(set) };
        let _ = others::affinity_of(owner).and_then(|all| others::set_affinity(number, &all));
        None
    }

    fn processes(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied().filter(|process| *process != 0)
    }
}

/// A process that stays the same, whatever becomes of its number.
#[derive(Debug, Clone)]
pub(super) struct Pinned {
    /// Its number.
    pub(super) process: u32,
    descriptor: Arc<OwnedFd>,
}

impl Pinned {
    /// The process of a number, which may be a thread's; where there is no `pidfd_open(2)` by its folder in `/proc`, which
    /// stands for it too (5.1).
    ///
    /// # Errors
    /// `ESRCH` where it is nobody's; others where there are no such descriptors.
    pub(super) fn of(number: u32) -> Result<Self, Errno> {
        match Self::of_process(number) {
            // A thread that is not its process's first.
            Err(Errno(libc::EINVAL | libc::ENOENT)) => Self::of_thread(number, Self::of_process),
            Err(Errno(libc::ENOSYS | libc::EPERM)) => match Self::by_folder(number) {
                Ok(pinned) if target::process_of(number)? == number => Ok(pinned),
                Ok(_) => Self::of_thread(number, Self::by_folder),
                Err(error) => Err(error),
            },
            other => other,
        }
    }

    /// The same of a process's own number, and by `pidfd_open(2)` only, which costs less than a look into `/proc`.
    ///
    /// # Errors
    /// Those of `pidfd_open(2)`.
    pub(super) fn of_process(process: u32) -> Result<Self, Errno> {
        let descriptor = descriptor::pidfd(process, false)?;
        Ok(Self { process, descriptor: Arc::new(descriptor) })
    }

    fn by_folder(process: u32) -> Result<Self, Errno> {
        let mut path = ProcPath::new();
        let _ = write!(path, "/proc/{process}");
        let path = path.as_c_str().ok_or(Errno::EINVAL)?;
        match descriptor::open_at(None, path, libc::O_RDONLY | libc::O_DIRECTORY) {
            Ok(descriptor) => Ok(Self { process, descriptor: Arc::new(descriptor) }),
            Err(Errno::ENOENT) => Err(Errno(libc::ESRCH)),
            Err(error) => Err(error),
        }
    }

    fn of_thread(number: u32, pin: fn(u32) -> Result<Self, Errno>) -> Result<Self, Errno> {
        let pinned = pin(target::process_of(number)?)?;
        process::kill_thread(pinned.process, number, 0)?;
        Ok(pinned)
    }

    /// Whether it has not been reaped: what was read by its number before was read of it.
    pub(super) fn is_there(&self) -> bool {
        descriptor::is_alive(self.descriptor.as_raw_fd())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// Those of `pidfd_send_signal(2)`.
    pub(super) fn signal(&self, signal: i32, info: Option<&SignalInfo>) -> Result<(), Errno> {
        others::signal_by_descriptor(self.descriptor.as_fd(), signal, info)
    }
}

/// Kills the process that `pinned`, from before it was looked at, stands for; by its number where it could not be pinned.
pub(super) fn end(pinned: Option<&Pinned>, process: u32, protected: Protected) {
    match pinned {
        Some(pinned) if !protected.has_process(pinned.process) => {
            let _ = pinned.signal(libc::SIGKILL, None);
        }
        Some(_) => {}
        None => {
            let _ = protected.act(process, || others::signal(process, libc::SIGKILL, None));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Command, Stdio};
    use std::sync::mpsc;

    use super::*;

    const NOBODY: u32 = i32::MAX.unsigned_abs();

    fn waiting() -> Child {
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    }

    /// A thread that lives as long as what is returned with its number.
    fn thread() -> (u32, mpsc::Sender<()>) {
        let ((tell, told), (leave, left)) = (mpsc::channel(), mpsc::channel::<()>());
        assert!(start_thread(64 * 1024, move || {
            tell.send(process::thread_id()).unwrap();
            let _ = left.recv();
        }));
        (told.recv().unwrap(), leave)
    }

    #[test]
    fn a_thread_that_got_the_number_is_not_hit() {
        let protected = Protected([process::own(), 0, 0, 0]);
        let (number, _leave) = thread();
        assert_ne!(number, process::own());
        assert_eq!(protected.owner(number), Some(process::own()));
        assert_eq!(protected.act(number, || unreachable!("a call on a thread of ours")), None::<()>);
        assert_eq!(protected.set_affinity(number, &[1]), None);
        assert_eq!(protected.act(process::own(), || ()), None);
    }

    #[test]
    fn no_thread_is_started_while_a_call_by_number_is_made() {
        let mut child = waiting();
        let (started, seen) = mpsc::channel();
        let acted = Protected([process::own(), 0, 0, 0]).act(child.id(), || {
            let other = std::thread::spawn(move || {
                start_thread(64 * 1024, move || started.send(()).unwrap());
            });
            assert!(seen.recv_timeout(std::time::Duration::from_millis(100)).is_err());
            (other, seen)
        });
        let (other, seen) = acted.unwrap();
        other.join().unwrap();
        seen.recv().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn others_are_reached_by_number_and_by_descriptor() {
        let protected = Protected([process::own(), 0, 0, 0]);
        for pin in [|_| Err(Errno(libc::ENOSYS)), Pinned::of, Pinned::by_folder] {
            let mut child = waiting();
            let pinned = pin(child.id()).ok();
            end(pinned.as_ref(), child.id(), protected);
            assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
            assert!(pinned.is_none_or(|pinned| !pinned.is_there()));
        }
    }

    #[test]
    fn a_thread_stands_for_its_process() {
        let (number, _leave) = thread();
        for pinned in [Pinned::of(number), Pinned::of_thread(number, Pinned::by_folder)] {
            assert!(pinned.is_ok_and(|pinned| pinned.process == process::own() && pinned.is_there()));
        }
        for pinned in [Pinned::of(NOBODY), Pinned::by_folder(NOBODY)] {
            assert_eq!(pinned.unwrap_err(), Errno(libc::ESRCH));
        }
    }
}

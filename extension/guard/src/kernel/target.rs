//! The process that waits for an answer: who it is, and what stands in its memory and under its descriptors.
//!
//! Everything is copied once, with a bound, before anything is decided. What is read here holds only as long as the
//! notification does: callers check that last. It must not know policy.

use std::fs::File;
use std::io::{Read as _, Write as _};

use ringfence_policy::Role;
use ringfence_records::handoff::{self, MAX_COMMAND_LINE};

use crate::sys::descriptor::{self, Identity};
use crate::sys::{Errno, memory, process};
use crate::text::Text;

/// Longest path that execve(2) takes, its NUL included.
pub const MAX_PATH: usize = 4096;
const PAGE: u64 = 4096;
/// Threads of one process that are looked at for one that lives, more than Lambda lets a function have.
const MAX_THREADS: usize = 4096;

/// A path under `/proc`.
pub type ProcPath = Text<96>;

/// The thread that made a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Its thread id.
    pub thread: u32,
    /// Its process id.
    pub process: u32,
    /// Whether that is the runtime.
    pub role: Role,
}

impl Caller {
    /// Finds out whose thread it is.
    ///
    /// # Errors
    /// `ESRCH` where it is gone.
    pub fn identify(thread: u32, runtime: u32) -> Result<Self, Errno> {
        // Asking the kernel whether it is one of the runtime's costs a twentieth of reading whose it is.
        let of_runtime = thread == runtime || process::kill_thread(runtime, thread, 0).is_ok();
        let process = if of_runtime { runtime } else { process_of(thread)? };
        let role = if process == runtime { Role::Runtime } else { Role::Child };
        Ok(Self { thread, process, role })
    }
}

/// The process that a thread belongs to.
///
/// # Errors
/// `ESRCH` where it is gone.
pub fn process_of(thread: u32) -> Result<u32, Errno> {
    status_field(thread, b"Tgid:").ok_or(Errno(libc::ESRCH))
}

/// The parent of a process.
#[must_use]
pub fn parent_of(process: u32) -> Option<u32> {
    status_field(process, b"PPid:")
}

/// How many seccomp filters a thread is under; `None` before 5.9.
#[must_use]
pub fn filters_of(thread: u32) -> Option<u32> {
    status_field(thread, b"Seccomp_filters:")
}

/// Which permissions the files that a thread makes do not get (umask(2)).
#[must_use]
pub fn mask_of(thread: u32) -> Option<u32> {
    let mut bytes = [0; 2048];
    u32::from_str_radix(field(status(thread, &mut bytes)?, b"Umask:")?, 8).ok()
}

/// What `/proc/<pid>/status` says.
pub fn status(pid: u32, into: &mut [u8]) -> Option<&[u8]> {
    let mut path = ProcPath::new();
    write!(path, "/proc/{pid}/status").ok()?;
    let length = File::open(path.as_str()).ok()?.read(into).ok()?;
    into.get(..length)
}

/// The value of one line of a status.
#[must_use]
pub fn field<'s>(status: &'s [u8], name: &[u8]) -> Option<&'s str> {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name))?;
    std::str::from_utf8(line).ok().map(str::trim)
}

/// A number from `/proc/<pid>/status`.
fn status_field(pid: u32, name: &[u8]) -> Option<u32> {
    let mut bytes = [0; 2048];
    field(status(pid, &mut bytes)?, name)?.parse().ok()
}

/// The executable that a process runs.
///
/// # Errors
/// `ENOENT` where it is gone, `EACCES` where it may not be looked at (not dumpable).
pub fn executable(process: u32) -> Result<Identity, Errno> {
    let leader = executable_of(process);
    if leader != Err(Errno::ENOENT) {
        return leader;
    }
    thread_with_memory(process).map_or(leader, executable_of)
}

/// Whether a process runs no wrapper that is still to start the runtime by `command`. In the middle of an exec its command
/// line is empty, and nothing can be said yet.
#[must_use]
pub fn is_past_wrappers(process: u32, command: &[u8]) -> bool {
    if command.is_empty() {
        return true;
    }
    let mut path = ProcPath::new();
    let _ = write!(path, "/proc/{process}/cmdline");
    let mut line = Vec::new();
    let limit = u64::try_from(MAX_COMMAND_LINE).unwrap_or(0);
    let read = File::open(path.as_str()).and_then(|file| file.take(limit).read_to_end(&mut line));
    // A line that fills the room may go on.
    let is_whole = line.len() < MAX_COMMAND_LINE;
    read.is_ok() && !line.is_empty() && !(is_whole && handoff::is_wrapper(&line, command))
}

fn executable_of(thread: u32) -> Result<Identity, Errno> {
    let mut path = ProcPath::new();
    let _ = write!(path, "/proc/{thread}/exe");
    descriptor::status_of(path.as_c_str().ok_or(Errno::EINVAL)?).map(|status| status.identity)
}

/// A thread of a process by which it can be looked at: its first may have ended before the others, and then shows
/// nothing, as if the process were gone. Threads that follow each other quickly are looked for again.
#[must_use]
pub fn thread_with_memory(process: u32) -> Option<u32> {
    const TRIES: u32 = 8;
    (0..TRIES).find_map(|_| {
        let mut path = ProcPath::new();
        write!(path, "/proc/{process}/task").ok()?;
        let numbers = std::fs::read_dir(path.as_str()).ok()?.take(MAX_THREADS);
        numbers
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .find(|thread| executable_of(*thread) != Err(Errno::ENOENT))
    })
}

/// Whether a process is gone, all its threads, or has ended and only waits for its parent to ask.
#[must_use]
pub fn is_gone(process: u32) -> bool {
    let mut bytes = [0; 2048];
    let Some(status) = status(process, &mut bytes) else { return true };
    let has_ended = field(status, b"State:").is_none_or(|state| state.starts_with(['Z', 'X']));
    has_ended
        && field(status, b"Threads:").and_then(|count| count.parse().ok()).is_none_or(|count: u32| count <= 1)
}

/// Whether a thread is not in execve(2) or execveat(2) any more, as far as that can be told (proc(5), `syscall`): not of one
/// that runs, nor of one that may not be looked into.
#[must_use]
pub fn is_back_from_exec(process: u32, thread: u32) -> bool {
    let mut path = ProcPath::new();
    let _ = write!(path, "/proc/{process}/task/{thread}/syscall");
    let mut bytes = [0; 256];
    let read = File::open(path.as_str()).and_then(|mut file| file.read(&mut bytes));
    match read {
        Ok(length) => {
            let line = std::str::from_utf8(bytes.get(..length).unwrap_or_default()).unwrap_or_default();
            let call = line.split_ascii_whitespace().next().and_then(|number| number.parse().ok());
            call.is_some_and(|call: i64| ![libc::SYS_execve, libc::SYS_execveat].contains(&call))
        }
        // One that is gone may be in the middle of its exec under the first thread's number.
        Err(error) => {
            let gone = matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH));
            gone && (thread == process || is_back_from_exec(process, process))
        }
    }
}

/// Where the stack of a process starts (proc(5), field 28 of `stat`): another place after each exec. 0 where that may
/// not be seen.
#[must_use]
pub fn stack_start(process: u32) -> u64 {
    match read_stack_start(process) {
        None | Some(0) => thread_with_memory(process).and_then(read_stack_start).unwrap_or(0),
        Some(start) => start,
    }
}

fn read_stack_start(process: u32) -> Option<u64> {
    const FIELD: usize = 28;
    let mut path = ProcPath::new();
    write!(path, "/proc/{process}/stat").ok()?;
    let mut bytes = [0; 1024];
    let length = File::open(path.as_str()).ok()?.read(&mut bytes).ok()?;
    let bytes = bytes.get(..length)?;
    // The second field is a name in parentheses, which may hold anything; the third follows the last of them.
    let after_name = bytes.get(bytes.iter().rposition(|byte| *byte == b')')? + 1..)?;
    let field = std::str::from_utf8(after_name).ok()?.split_ascii_whitespace().nth(FIELD - 3)?;
    field.parse().ok()
}

/// Whether a process waits in a way that not even its end ends (proc(5), `status`, state D). That is told without waiting.
#[must_use]
pub fn waits_uninterruptibly(process: u32) -> bool {
    let mut bytes = [0; 2048];
    status(process, &mut bytes)
        .and_then(|status| field(status, b"State:"))
        .is_some_and(|state| state.starts_with('D'))
}

/// What a link under `/proc/<pid>` points to.
///
/// # Errors
/// As readlink(2).
pub fn link<'b>(pid: u32, name: std::fmt::Arguments<'_>, into: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    let mut path = ProcPath::new();
    let _ = write!(path, "/proc/{pid}/{name}");
    descriptor::read_link(path.as_c_str().ok_or(Errno::EINVAL)?, into)
}

/// A string of the target, without its NUL.
#[derive(Debug)]
pub struct TargetPath {
    bytes: [u8; MAX_PATH],
    length: usize,
}

impl TargetPath {
    /// Copies the string at `address`, page by page so that none beyond its end is touched.
    ///
    /// # Errors
    /// `EFAULT` for memory that is not there, `ENAMETOOLONG` where it has no end within [`MAX_PATH`].
    pub fn read(thread: u32, address: u64) -> Result<Self, Errno> {
        let mut path = Self { bytes: [0; MAX_PATH], length: 0 };
        while path.length < MAX_PATH {
            let at = address.checked_add(path.length as u64).ok_or(Errno::EFAULT)?;
            let to_page_end = usize::try_from(PAGE - at % PAGE).unwrap_or(1);
            let end = MAX_PATH.min(path.length + to_page_end);
            let room = path.bytes.get_mut(path.length..end).ok_or(Errno::EFAULT)?;
            let read = memory::read(thread, at, room)?;
            if let Some(nul) = read.iter().position(|byte| *byte == 0) {
                path.length += nul;
                return Ok(path);
            }
            if read.is_empty() {
                return Err(Errno::EFAULT);
            }
            path.length += read.len();
        }
        Err(Errno(libc::ENAMETOOLONG))
    }

    /// The string.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The first `N` strings of an array of pointers in the target, each cut to `M` bytes: arguments, for a record.
#[must_use]
pub fn strings<const N: usize, const M: usize>(thread: u32, address: u64) -> ([Text<M>; N], usize) {
    let mut out = [const { Text::new() }; N];
    let mut used = 0;
    for (index, text) in out.iter_mut().enumerate() {
        let mut pointer = [0; 8];
        let at = address.saturating_add(index as u64 * 8);
        if memory::read_exactly(thread, at, &mut pointer).is_err() || pointer == [0; 8] {
            break;
        }
        let mut bytes = [0; M];
        let read = memory::read(thread, u64::from_ne_bytes(pointer), &mut bytes).unwrap_or_default();
        text.push(read.split(|byte| *byte == 0).next().unwrap_or_default());
        used = index + 1;
    }
    (out, used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_finds_oneself() {
        let own = std::process::id();
        let thread = process::thread_id();
        assert_eq!(process_of(thread), Ok(own));
        assert_eq!(Caller::identify(thread, own).unwrap().role, Role::Runtime);
        assert_eq!(Caller::identify(thread, own + 1).unwrap().role, Role::Child);
        assert!(parent_of(own).is_some() && executable(own).is_ok());
        assert!(stack_start(own) > 0 && stack_start(u32::MAX) == 0);
        assert_eq!(process_of(u32::MAX), Err(Errno(libc::ESRCH)));
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_is_still_seen() {
        const SCRIPT: &str = "import ctypes, threading, sys
threading.Thread(target=sys.stdin.read).start()
ctypes.CDLL(None).syscall(ctypes.c_long(int(sys.argv[1])), ctypes.c_long(0))";
        let mut child = std::process::Command::new("/usr/bin/python3")
            .args(["-c", SCRIPT, &libc::SYS_exit.to_string()])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let begun = std::time::Instant::now();
        while executable_of(child.id()) != Err(Errno::ENOENT) {
            assert!(begun.elapsed() < std::time::Duration::from_secs(30), "its first thread does not end");
            std::thread::yield_now();
        }
        assert!(executable(child.id()).is_ok() && stack_start(child.id()) > 0);
        assert!(!is_gone(child.id()), "its first thread has, and not the others");
        drop(child.stdin.take());
        while child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        assert_eq!(executable(child.id()), Err(Errno::ENOENT));
        assert!(is_gone(child.id()) && !is_gone(std::process::id()));
    }

    #[test]
    fn strings_are_read_up_to_their_end() {
        let (own, text) = (std::process::id(), c"/bin/sh");
        let path = TargetPath::read(own, text.as_ptr().addr() as u64).unwrap();
        assert_eq!(path.as_bytes(), b"/bin/sh");
        assert_eq!(TargetPath::read(own, 8).unwrap_err(), Errno::EFAULT);
        let endless = vec![b'a'; MAX_PATH * 2];
        let error = TargetPath::read(own, endless.as_ptr().addr() as u64).unwrap_err();
        assert_eq!(error, Errno(libc::ENAMETOOLONG));
    }

    #[test]
    fn arguments_are_bounded_in_number_and_length() {
        let own = std::process::id();
        let pointers = [c"sh".as_ptr(), c"-c-and-more".as_ptr(), std::ptr::null()];
        let (texts, used) = strings::<8, 4>(own, pointers.as_ptr().addr() as u64);
        let shown: Vec<_> = texts.iter().take(used).map(Text::as_str).collect();
        assert_eq!(shown, ["sh", "-c-a"]);
    }
}

//! Exec: which file would run, whether it may, and what to expect afterwards.
//!
//! The path is copied and resolved as the target would resolve it; script and interpreters are judged one by one.
//! The kernel then resolves the path again, so a "may" is only as good as the look that [`super::verify`] takes later;
//! that is also what catches links that lead through `/proc/self`, which mean something else to the guard.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use ringfence_policy::{
    Action, Context, Decision, Exec, Linkage, Origin, Phase, Role, Verdict, is_in_writable_place,
};
use ringfence_records::message::{ActionKind, Kind, MAX_ARGUMENT, MAX_ARGUMENTS, Outcome, Report};

use super::Supervisor;
use super::answer::Answer;
use super::arguments::low_word;
use super::target::{self, Caller, MAX_PATH, TargetPath};
use super::verify::Image;
use crate::program::Program;
use crate::sys::descriptor::{self, Identity};
use crate::sys::seccomp::Notification;
use crate::sys::{Errno, file, process};
use crate::text::Text;

/// Scripts whose interpreter is a script again, as execve(2) follows them.
const MAX_SCRIPTS: usize = 5;

/// A file that is about to run, held open.
#[derive(Debug)]
struct Candidate {
    identity: Identity,
    resolved: Text<MAX_PATH>,
    origin: Origin,
    program: Program,
    readable: bool,
}

/// What an exec call asks for, copied.
#[derive(Debug)]
struct Request {
    path: TargetPath,
    directory: Option<i32>,
    arguments: u64,
    no_follow: bool,
}

impl Request {
    fn read(notification: &Notification, at: bool) -> Result<Self, Errno> {
        let [first, second, third, _, flags, _] = notification.arguments;
        let thread = notification.thread;
        if !at {
            return Ok(Self {
                path: TargetPath::read(thread, first)?,
                directory: None,
                arguments: second,
                no_follow: false,
            });
        }
        let no_follow = flags & u64::from(libc::AT_SYMLINK_NOFOLLOW.unsigned_abs()) != 0;
        let directory = low_word(first);
        let directory = (directory != libc::AT_FDCWD).then_some(directory);
        Ok(Self { path: TargetPath::read(thread, second)?, directory, arguments: third, no_follow })
    }
}

impl Supervisor {
    /// Decides an exec; `at` for execveat(2).
    pub(super) fn exec(&mut self, notification: &Notification, caller: &Caller, at: bool) -> Answer {
        let request = match Request::read(notification, at) {
            Ok(request) => request,
            Err(error) => return Answer::Fail(error),
        };
        match self.judge_chain(notification, caller, &request) {
            Ok((file, readable)) if self.listener.still_waits(notification.id) => {
                self.expect(caller, file, readable).map_or_else(Answer::Fail, Answer::ContinueExec)
            }
            Ok(_) => Answer::Elsewhere,
            Err(error) => Answer::Fail(error),
        }
    }

    /// Judges the file and, for scripts, each interpreter. Returns the file that would be the process's executable,
    /// and whether it may be read.
    fn judge_chain(
        &mut self,
        notification: &Notification,
        caller: &Caller,
        request: &Request,
    ) -> Result<(Identity, bool), Errno> {
        let mut given = Text::<MAX_PATH>::new();
        given.push(request.path.as_bytes());
        let mut directory = request.directory;
        let mut no_follow = request.no_follow;
        let mut by_listed_script = false;
        for _ in 0..MAX_SCRIPTS {
            let candidate = open(caller, given.as_bytes(), directory, no_follow)?;
            let exec = candidate.exec(given.as_bytes(), by_listed_script);
            self.judge(notification, caller, request, &exec, &candidate)?;
            by_listed_script |= self.policy.lists_script(&exec, &self.context(caller));
            if candidate.program.linkage != Linkage::Script {
                return Ok((candidate.identity, candidate.readable));
            }
            given = Text::new();
            given.push(candidate.program.interpreter());
            (directory, no_follow) = (None, false);
        }
        Err(Errno(libc::ELOOP))
    }

    fn judge(
        &mut self,
        notification: &Notification,
        caller: &Caller,
        request: &Request,
        exec: &Exec<'_>,
        candidate: &Candidate,
    ) -> Result<(), Errno> {
        let context = self.context(caller);
        if self.concurrent && context.phase == Phase::Init && candidate.identity == self.runtime_file {
            // Managed Instances: the runtime starts its workers.
            return Ok(());
        }
        let verdict = self.policy.verdict(&Action::Exec(*exec), &context);
        if verdict.decision == Decision::Allow {
            self.check_child_filter(caller, context);
            return Ok(());
        }
        if !self.listener.still_waits(notification.id) {
            return Err(Errno(libc::EINTR));
        }
        self.report_exec(caller, request, exec, verdict);
        if verdict.decision == Decision::Deny { Err(Errno::EACCES) } else { Ok(()) }
    }

    /// Says once that children do not get the filter that the policy asks for: the preload library, which installs it
    /// right before the exec, is not in the process that makes it.
    fn check_child_filter(&mut self, caller: &Caller, context: Context) {
        if !self.child_filter || caller.role == Role::Runtime || !context.launched {
            return;
        }
        let base = self.facts.base_filters(|| target::filters_of(self.runtime).unwrap_or(0));
        // Before 5.9 the kernel does not tell; then nothing is said.
        let misses = target::filters_of(caller.thread).is_some_and(|filters| filters <= base);
        self.child_filter = !misses;
        if misses && self.facts.misses_first_filter() {
            self.reporter.degraded(
                "process.syscalls: a child is started without its filter; is the preload library in it?",
            );
        }
    }

    fn report_exec(&mut self, caller: &Caller, request: &Request, exec: &Exec<'_>, verdict: Verdict) {
        let (texts, used) = target::strings::<MAX_ARGUMENTS, MAX_ARGUMENT>(caller.thread, request.arguments);
        let mut report = Report::new(Kind::Violation, ActionKind::Exec);
        report.path = if exec.given.starts_with(b"/") { exec.given } else { exec.resolved };
        report.detail = if report.path == exec.resolved { b"" } else { exec.resolved };
        let asked = request.path.as_bytes();
        if asked != exec.given && asked.starts_with(b"/") {
            // The interpreter of a script: what the caller asked for says more.
            (report.path, report.detail) = (asked, exec.resolved);
        }
        texts.iter().take(used).for_each(|text| report.arguments.push(text.as_bytes()));
        report.outcome =
            if verdict.decision == Decision::Deny { Outcome::Blocked } else { Outcome::Reported };
        self.report(caller, report, verdict.rule);
    }

    /// Judges a process that became something which cannot be told. Returns whether it may go on.
    pub(super) fn judge_hidden(&mut self, caller: &Caller) -> bool {
        const UNREADABLE: &[u8] = b"(a file that may not be read)";
        let exec = Exec {
            given: UNREADABLE,
            resolved: UNREADABLE,
            origin: Origin::Writable,
            linkage: Linkage::Unknown,
            by_listed_script: false,
        };
        let verdict = self.policy.verdict(&Action::Exec(exec), &self.context(caller));
        if verdict.decision == Decision::Allow {
            return true;
        }
        let denied = verdict.decision == Decision::Deny;
        let mut report = Report::new(Kind::Violation, ActionKind::Exec);
        report.path = UNREADABLE;
        report.detail = b"the file changed between the check and the exec";
        report.outcome = if denied { Outcome::Killed } else { Outcome::Reported };
        self.report(caller, report, verdict.rule);
        !denied
    }

    /// Judges what a process turned out to run. Returns whether it may go on; `None` where it runs something else by now, which
    /// is to be looked at first.
    pub(super) fn judge_running(&mut self, caller: &Caller, file: Identity) -> Option<bool> {
        let mut path = Text::<64>::new();
        let thread = target::thread_with_memory(caller.process).unwrap_or(caller.process);
        let _ = write!(path, "/proc/{thread}/exe");
        let opened = path
            .as_c_str()
            .ok_or(Errno::EINVAL)
            .and_then(|path| descriptor::open_at(None, path, libc::O_PATH));
        let Ok(candidate) = opened.and_then(|file| Candidate::of(&file)) else { return Some(false) };
        if candidate.identity != file {
            return None;
        }
        let exec = candidate.exec(candidate.resolved.as_bytes(), false);
        let verdict = self.policy.verdict(&Action::Exec(exec), &self.context(caller));
        if verdict.decision == Decision::Allow {
            self.accept(caller.process, file);
            return Some(true);
        }
        let mut report = Report::new(Kind::Violation, ActionKind::Exec);
        report.path = candidate.resolved.as_bytes();
        report.detail = b"the file changed between the check and the exec";
        let denied = verdict.decision == Decision::Deny;
        report.outcome = if denied { Outcome::Killed } else { Outcome::Reported };
        self.report(caller, report, verdict.rule);
        if !denied {
            self.accept(caller.process, file);
        }
        Some(!denied)
    }

    fn accept(&self, process: u32, file: Identity) {
        let stack = if file == self.runtime_file { target::stack_start(process) } else { 0 };
        self.verifier().accept(Image { file, stack });
    }
}

/// Opens the file that a path means to the caller, without running or reading it yet.
fn open(caller: &Caller, path: &[u8], directory: Option<i32>, no_follow: bool) -> Result<Candidate, Errno> {
    let path = as_seen_by(caller, path, directory)?;
    let flags = if no_follow { libc::O_PATH | libc::O_NOFOLLOW } else { libc::O_PATH };
    Candidate::of(&descriptor::open_at(None, &path, flags)?)
}

/// The path under which the guard finds what `path` means to the caller.
pub(super) fn as_seen_by(caller: &Caller, path: &[u8], directory: Option<i32>) -> Result<CString, Errno> {
    let Caller { thread, process, .. } = caller;
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    let mut seen = Vec::with_capacity(path.len() + 64);
    let own = [
        (&b"/proc/self"[..], format!("/proc/{process}")),
        (b"/proc/thread-self", format!("/proc/{process}/task/{thread}")),
        (b"/dev/fd", format!("/proc/{process}/fd")),
    ];
    let prefix = own.iter().find_map(|(prefix, replacement)| {
        let rest = path.strip_prefix(*prefix)?;
        matches!(rest.first(), None | Some(b'/')).then_some((replacement, rest))
    });
    match (prefix, path.first(), directory) {
        (Some((replacement, rest)), ..) => {
            seen.extend_from_slice(replacement.as_bytes());
            seen.extend_from_slice(rest);
        }
        (None, Some(b'/'), _) => seen.extend_from_slice(path),
        (None, _, Some(directory)) => {
            seen.extend_from_slice(format!("/proc/{thread}/fd/{directory}/").as_bytes());
            seen.extend_from_slice(path);
        }
        (None, _, None) => {
            seen.extend_from_slice(format!("/proc/{thread}/cwd/").as_bytes());
            seen.extend_from_slice(path);
        }
    }
    crate::sys::c_path(&seen)
}

impl Candidate {
    /// What the policy is asked about, for a caller that calls the file `given`.
    fn exec<'a>(&'a self, given: &'a [u8], by_listed_script: bool) -> Exec<'a> {
        Exec {
            given,
            resolved: self.resolved.as_bytes(),
            origin: self.origin,
            linkage: self.program.linkage,
            by_listed_script,
        }
    }

    fn of(file: &OwnedFd) -> Result<Self, Errno> {
        let status = descriptor::status(file.as_fd())?;
        if !status.regular {
            return Err(Errno::EACCES);
        }
        let mut link = Text::<64>::new();
        let _ = write!(link, "/proc/self/fd/{}", file.as_raw_fd());
        let mut name = [0; MAX_PATH];
        let name = descriptor::read_link(link.as_c_str().ok_or(Errno::EINVAL)?, &mut name)?;
        let mut resolved = Text::new();
        resolved.push(name);
        let opened = open_for_reading(link.as_str());
        let readable = opened.is_ok();
        let program = opened.map_or(Program { linkage: Linkage::Unknown, shebang: Text::new() }, |file| {
            Program::inspect(&file)
        });
        Ok(Self {
            identity: status.identity,
            origin: match origin(name, status.links) {
                Origin::ReadOnly if process::user() != 0 && in_writable_folder(name) => Origin::Writable,
                origin => origin,
            },
            resolved,
            program,
            readable,
        })
    }
}

/// Without waiting: a lease (`F_SETLEASE`) on the file would hold up everybody for as long as its owner likes.
fn open_for_reading(path: &str) -> std::io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

fn origin(resolved: &[u8], links: u64) -> Origin {
    if resolved.starts_with(b"/memfd:") {
        Origin::Memory
    } else if links == 0 {
        Origin::Deleted
    } else if is_in_writable_place(resolved) {
        Origin::Writable
    } else {
        Origin::ReadOnly
    }
}

/// Whether this user could put another file in its place, as the process plane asks it too.
fn in_writable_folder(resolved: &[u8]) -> bool {
    let slash = resolved.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let folder = resolved.get(..slash.max(1)).unwrap_or_default();
    crate::sys::c_path(folder).is_ok_and(|folder| file::may_write(&folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: Caller = Caller { thread: 8, process: 7, role: Role::Child };

    fn seen(path: &str, directory: Option<i32>) -> String {
        as_seen_by(&CALLER, path.as_bytes(), directory).unwrap().into_string().unwrap()
    }

    #[test]
    fn paths_are_those_of_the_caller() {
        assert_eq!(seen("/bin/sh", None), "/bin/sh");
        assert_eq!(seen("bin/sh", None), "/proc/8/cwd/bin/sh");
        assert_eq!(seen("bin/sh", Some(5)), "/proc/8/fd/5/bin/sh");
        assert_eq!(seen("/proc/self/fd/3", None), "/proc/7/fd/3");
        assert_eq!(seen("/proc/thread-self/exe", None), "/proc/7/task/8/exe");
        assert_eq!(seen("/dev/fd/3", None), "/proc/7/fd/3");
        assert_eq!(seen("/proc/selfish", None), "/proc/selfish");
        assert_eq!(as_seen_by(&CALLER, b"", None), Err(Errno::ENOENT));
    }

    #[test]
    fn where_a_file_lives_is_told_by_what_it_is() {
        assert_eq!(origin(b"/memfd:x (deleted)", 0), Origin::Memory);
        assert_eq!(origin(b"/opt/x (deleted)", 0), Origin::Deleted);
        assert_eq!(origin(b"/tmp/x", 1), Origin::Writable);
        assert_eq!(origin(b"/mnt/efs/x", 1), Origin::Writable);
        assert_eq!(origin(b"/usr/bin/x", 1), Origin::ReadOnly);
    }
}

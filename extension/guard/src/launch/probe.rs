//! What the platform lets a guard do, found by trying.
//!
//! It decides whether a kernel plane may be attempted and how it would reach a target's sockets; it must not know the
//! policy. The last word, whether a listener can be installed, is the child's (`kernel::child`). `launch` calls it.

use std::fs;

use crate::sys::{Errno, descriptor, seccomp};

/// How a target's socket is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// `pidfd_getfd(2)` on the thread's own descriptor table (6.9).
    FetchByThread,
    /// `pidfd_getfd(2)` on the process's table (5.6).
    FetchByProcess,
    /// The guard makes every socket itself and keeps a duplicate.
    Registry,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// Whether no_new_privs is set already.
    pub no_new_privileges: bool,
    /// Whether a listener may be tried: seccomp(2) answers and knows user notification.
    pub notification: Result<(), Errno>,
    /// How sockets would be reached.
    pub reach: Reach,
    /// What was tried and what came of it, for people.
    pub lines: Vec<String>,
}

impl Capabilities {
    /// Tries everything that leaves no trace, in the order that touches least first.
    #[must_use]
    pub fn probe() -> Self {
        let mut lines = Vec::new();
        let no_new_privileges = status_says("NoNewPrivs:", "1");
        lines.push(format!("no_new_privs: {}", if no_new_privileges { "set" } else { "not set" }));
        let process_files = fs::metadata("/proc/self/status").map(drop).map_err(Errno::from);
        let seccomp = seccomp::notification_available().and_then(|()| seccomp::sizes_agree());
        lines.push(line("seccomp(2)", seccomp));
        if process_files.is_err() {
            lines.push(line("/proc, which the kernel plane needs", process_files));
        }
        let notification = seccomp.and(process_files);
        let reach = if notification.is_ok() { reach(&mut lines) } else { Reach::Registry };
        Self { no_new_privileges, notification, reach, lines }
    }
}

/// `name: ok` or `name: EPERM`.
#[must_use]
pub fn line(name: &str, result: Result<(), Errno>) -> String {
    match result {
        Ok(()) => format!("{name}: ok"),
        Err(error) => format!("{name}: {error}"),
    }
}

fn status_says(field: &str, value: &str) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix(field).is_some_and(|rest| rest.trim() == value))
}

/// `pidfd_getfd` needs the right to attach: the guard is an ancestor, which Yama's scope 1 still allows.
fn reach(lines: &mut Vec<String>) -> Reach {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let restricted = matches!(scope.trim(), "2" | "3");
    let pidfd = descriptor::pidfd(std::process::id(), false).map(drop);
    let fetch = pidfd.and_then(|()| match descriptor::fetch(-1, 0).map(drop) {
        Err(Errno(libc::EBADF)) if !restricted => Ok(()),
        Err(Errno(libc::EBADF)) => Err(Errno::EPERM),
        other => other,
    });
    let thread = descriptor::pidfd(std::process::id(), true).map(drop);
    lines.push(line("pidfd_getfd(2)", fetch));
    lines.push(line("pidfd_open(PIDFD_THREAD)", thread));
    match (fetch, thread) {
        (Ok(()), Ok(())) => Reach::FetchByThread,
        (Ok(()), Err(_)) => Reach::FetchByProcess,
        (Err(_), _) => Reach::Registry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_call_and_the_error() {
        insta::assert_snapshot!(line("seccomp(2)", Err(Errno::EPERM)), @"seccomp(2): EPERM");
        insta::assert_snapshot!(line("seccomp(2)", Err(Errno(9999))), @"seccomp(2): errno 9999");
    }
}

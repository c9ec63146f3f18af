//! What newer kernels have that the kernel plane makes use of, each under its own name; found by trying, never by the
//! kernel's version, since a platform's filter may take any of them away.
//!
//! It decides nothing: each place that can use a feature has another way where it is missing. `launch` calls it, and
//! the names stand in one line of the `protection` record.

use std::fmt;

use super::probe::Reach;
use crate::sys::seccomp::{self, Listener};
use crate::sys::{file, landlock};

/// The features of this start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a feature of its own")]
pub struct Features {
    /// `pidfd_getfd(2)` and `PIDFD_THREAD`, or neither.
    pub reach: Reach,
    /// `SECCOMP_ADDFD_FLAG_SEND` (5.14).
    pub answers_in_one_step: bool,
    /// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` (5.19).
    pub waits_killably: bool,
    /// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` (6.6).
    pub wakes_on_same_processor: bool,
    /// openat2(2) (5.6).
    pub openat2: bool,
    /// Version of Landlock's interface, 0 without it (5.13).
    pub landlock: u32,
}

impl Features {
    /// Tries them all.
    #[must_use]
    pub fn probe(reach: Reach, listener: &Listener) -> Self {
        Self {
            reach,
            answers_in_one_step: listener.answers_in_one_step(),
            waits_killably: seccomp::knows_flag(seccomp::FLAG_WAIT_KILLABLE),
            wakes_on_same_processor: listener.wake_on_same_cpu().is_ok(),
            openat2: file::pin_without_links(None, c"/").is_ok(),
            landlock: landlock::version(),
        }
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("kernel features:")?;
        let named = [
            (self.reach != Reach::Registry, " pidfd_getfd"),
            (self.reach == Reach::FetchByThread, " PIDFD_THREAD"),
            (self.answers_in_one_step, " ADDFD_SEND"),
            (self.waits_killably, " WAIT_KILLABLE_RECV"),
            (self.wakes_on_same_processor, " SYNC_WAKE_UP"),
            (self.openat2, " openat2"),
        ];
        named.iter().filter(|(there, _)| *there).try_for_each(|(_, name)| f.write_str(name))?;
        match self.landlock {
            0 if named.iter().all(|(there, _)| !there) => f.write_str(" none"),
            0 => Ok(()),
            version => write!(f, " Landlock-{version}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_told_in_one_line_that_fits_the_record() {
        let all = Features {
            reach: Reach::FetchByThread,
            answers_in_one_step: true,
            waits_killably: true,
            wakes_on_same_processor: true,
            openat2: true,
            landlock: 7,
        };
        insta::assert_snapshot!(all, @"kernel features: pidfd_getfd PIDFD_THREAD ADDFD_SEND WAIT_KILLABLE_RECV SYNC_WAKE_UP openat2 Landlock-7");
        assert!(all.to_string().len() < 128, "longest probe line of the record");
        let none = Features {
            reach: Reach::Registry,
            answers_in_one_step: false,
            waits_killably: false,
            wakes_on_same_processor: false,
            openat2: false,
            landlock: 0,
        };
        insta::assert_snapshot!(none, @"kernel features: none");
    }
}

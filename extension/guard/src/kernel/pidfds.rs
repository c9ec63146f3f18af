//! Descriptors of the processes that were looked into lately, kept because opening one costs more than using it.
//!
//! A kept one cannot come to mean another process: when its own is gone it only says so (`ESRCH`), and is opened anew.
//! `sockets` and `send` fetch descriptors through it.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd as _, OwnedFd};

use crate::sys::{Errno, descriptor};

/// Processes or threads that are remembered.
const MAX_KEPT: usize = 128;

/// The kept descriptors.
#[derive(Debug, Default)]
pub struct Pidfds {
    kept: VecDeque<(u32, OwnedFd)>,
}

impl Pidfds {
    /// A duplicate of descriptor `number` of process `pid`, or, with `thread`, of that thread.
    ///
    /// # Errors
    /// Those of `pidfd_open(2)` and `pidfd_getfd(2)`.
    pub fn fetch(&mut self, pid: u32, thread: bool, number: i32) -> Result<OwnedFd, Errno> {
        if let Some((_, kept)) = self.kept.iter().find(|(known, _)| *known == pid) {
            match descriptor::fetch(kept.as_raw_fd(), number) {
                Err(Errno(libc::ESRCH)) => self.kept.retain(|(known, _)| *known != pid),
                fetched => return fetched,
            }
        }
        let opened = descriptor::pidfd(pid, thread)?;
        let fetched = descriptor::fetch(opened.as_raw_fd(), number);
        if self.kept.len() >= MAX_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back((pid, opened));
        fetched
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_that_is_gone_is_not_taken_for_another() {
        let own = std::process::id();
        let mut pidfds = Pidfds::default();
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        assert!(pidfds.fetch(child.id(), false, 0).is_ok());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(pidfds.fetch(child.id(), false, 0).unwrap_err(), Errno(libc::ESRCH));
        // As if the number had come to be another's: the kept descriptor is noticed to be of nobody.
        let ended = Command::new("true").spawn().and_then(|mut child| {
            let opened = descriptor::pidfd(child.id(), false)
                .map_err(|error| std::io::Error::from_raw_os_error(error.0));
            child.wait()?;
            opened
        });
        pidfds.kept.push_back((own, ended.unwrap()));
        assert!(pidfds.fetch(own, false, 0).is_ok());
        assert_eq!(pidfds.kept.len(), 1);
    }

    #[test]
    fn it_is_bounded() {
        let mut pidfds = Pidfds::default();
        let own = descriptor::pidfd(std::process::id(), false).unwrap();
        for pid in 1..=MAX_KEPT {
            pidfds.kept.push_back((
                u32::MAX - u32::try_from(pid).unwrap(),
                own.as_fd().try_clone_to_owned().unwrap(),
            ));
        }
        assert!(pidfds.fetch(std::process::id(), false, 0).is_ok());
        assert_eq!(pidfds.kept.len(), MAX_KEPT);
    }
}

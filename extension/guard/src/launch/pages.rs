//! The two pages that every process of the function inherits: the sealed handoff and the state page.
//!
//! It writes what it is given; it must not know where policy or addresses come from. `launch` calls it last before
//! the runtime starts.

use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use ringfence_policy::Phase;
use ringfence_records::handoff::Handoff;
use ringfence_records::page::{self, Editor, Invocation};

use crate::sys::map::StatePage;
use crate::sys::{Errno, descriptor, process};

/// Where the inherited descriptors go, out of the way of what runtimes number by hand.
const HIGH: i32 = 960;
/// Descriptors that must stay free above ours.
const ROOM: u64 = 8;

/// A state page, and whether this process may write it.
#[derive(Debug)]
pub struct State {
    /// The page's file.
    pub file: OwnedFd,
    /// Our mapping.
    pub page: StatePage,
    /// Whether it is our own: there is no agent to write it.
    pub own: bool,
}

impl State {
    /// The agent's page.
    ///
    /// # Errors
    /// `EINVAL` for a file that is no state page, or the error of mmap(2).
    pub fn of_agent(file: OwnedFd) -> Result<Self, Errno> {
        let page = StatePage::map(file.as_fd(), false)?;
        page::View::new(page.words()).ok_or(Errno::EINVAL)?;
        Ok(Self { file, page, own: false })
    }

    /// A page of our own, in the strictest phase, for a start without an agent.
    ///
    /// # Errors
    /// The error of the call that failed.
    pub fn own(launched: bool) -> Result<Self, Errno> {
        let file = descriptor::memfd(c"ringfence-state")?;
        std::fs::File::from(file.try_clone()?).set_len(page::SIZE as u64)?;
        let page = StatePage::map(file.as_fd(), true)?;
        let state = Self { file, page, own: true };
        state.publish(launched);
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | descriptor::SEAL_FUTURE_WRITE;
        // Kernels before 5.1 do not know the seal on writing; the others still hold there.
        let _ = descriptor::seal(state.file.as_fd(), seals)
            .or_else(|_| descriptor::seal(state.file.as_fd(), libc::F_SEAL_SHRINK | libc::F_SEAL_GROW));
        Ok(state)
    }

    /// Publishes whether the wrappers are through, on a page of our own.
    pub fn publish(&self, launched: bool) {
        if self.own {
            let mut invocation = Invocation::new(Phase::Invoke);
            invocation.launched = launched;
            Editor::new(self.page.words()).publish(&invocation);
        }
    }
}

/// Writes the handoff into a memfd that nobody can change any more.
///
/// # Errors
/// The error of the call that failed.
pub fn seal_handoff(handoff: &Handoff<'_>) -> Result<OwnedFd, Errno> {
    let mut bytes = Vec::with_capacity(4096);
    handoff.encode(|part| bytes.extend_from_slice(part));
    let file = descriptor::memfd(c"ringfence-handoff")?;
    std::fs::File::from(file.try_clone()?).write_all(&bytes)?;
    descriptor::seal(file.as_fd(), descriptor::SEAL_ALL)?;
    Ok(file)
}

/// The inherited descriptors under their final numbers, kept open at exec.
#[derive(Debug)]
pub struct Inherited {
    /// `handoff,state` as `RINGFENCE_FDS` has it.
    pub numbers: String,
    /// The language hook's way to the agent, where it needs one.
    pub report: Option<OwnedFd>,
    _files: [OwnedFd; 2],
}

impl Inherited {
    /// Duplicates both files to high numbers.
    ///
    /// # Errors
    /// `EMFILE` or `EINVAL` where `RLIMIT_NOFILE` leaves no room.
    pub fn place(handoff: &OwnedFd, state: &OwnedFd) -> Result<Self, Errno> {
        let lowest = lowest_number(process::descriptor_limit());
        let handoff = descriptor::duplicate_at(handoff.as_fd(), lowest)?;
        let state = descriptor::duplicate_at(state.as_fd(), lowest)?;
        let numbers = format!("{},{}", handoff.as_raw_fd(), state.as_raw_fd());
        Ok(Self { numbers, report: None, _files: [handoff, state] })
    }
}

/// Duplicates one more file to a high number, kept open at exec.
///
/// # Errors
/// As [`Inherited::place`].
pub fn keep(file: &OwnedFd) -> Result<OwnedFd, Errno> {
    descriptor::duplicate_at(file.as_fd(), lowest_number(process::descriptor_limit()))
}

/// Makes the descriptor table large enough for the inherited descriptors. A table that two processes share grows only
/// after all CPUs have passed a quiet point (`synchronize_rcu`, 8 ms measured), so this comes before the fork.
pub fn make_room(any: &OwnedFd) {
    let lowest = lowest_number(process::descriptor_limit());
    drop(descriptor::duplicate_at(any.as_fd(), lowest));
}

/// As high as [`HIGH`] where the limit allows, else a little below the limit.
fn lowest_number(limit: u64) -> i32 {
    i32::try_from(limit.saturating_sub(ROOM)).map_or(HIGH, |number| number.min(HIGH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tiny_limit_still_leaves_room() {
        assert_eq!(lowest_number(1024), 960);
        assert_eq!(lowest_number(u64::MAX), 960);
        assert_eq!(lowest_number(16), 8);
        assert_eq!(lowest_number(4), 0);
    }

    #[test]
    fn a_sealed_handoff_cannot_be_changed() {
        let file = std::fs::File::from(seal_handoff(&Handoff::with_policy(b"p")).unwrap());
        assert!((&file).write_all(b"x").is_err() && file.set_len(1).is_err());
    }

    #[test]
    fn an_own_page_is_strict_and_closed_to_others() {
        let state = State::own(true).unwrap();
        let view = page::View::new(state.page.words()).unwrap();
        assert_eq!(view.phase(), (Phase::Invoke, true));
        assert!(StatePage::map(state.file.as_fd(), true).is_err());
    }
}

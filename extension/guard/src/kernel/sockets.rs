//! A target's socket, pinned: the open file description itself, so that the number can be swapped without effect.
//!
//! It decides how a socket is reached (`pidfd_getfd(2)` or the registry), never what may be done with it. The network
//! modules of the kernel plane call it.

use std::os::fd::{AsFd as _, OwnedFd};

use super::Supervisor;
use super::answer::Answer;
use super::arguments::low_word;
use super::registry::{Family, socket_inode};
use super::shares::Account;
use super::target::{self, Caller};
use crate::launch::probe::Reach;
use crate::sys::seccomp::Notification;
use crate::sys::{Errno, descriptor, socket};

/// A socket of the target. What else there is to know of it than its type is asked when it matters: each question is
/// a system call.
#[derive(Debug)]
pub struct Pinned {
    /// The open file description.
    pub file: OwnedFd,
    /// `SO_TYPE`.
    pub kind: i32,
    /// Its inode, where the registry keeps it.
    pub kept_as: Option<u64>,
}

/// Why a socket is not at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The call fails with this error anyway.
    Fails(Errno),
    /// A stream that was connected through the guard.
    Connected,
    /// A socket that the guard has not made: accepted, half of a pair, or inherited.
    Foreign,
}

impl From<Errno> for Missing {
    fn from(error: Errno) -> Self {
        Self::Fails(error)
    }
}

impl Pinned {
    fn new(file: OwnedFd, kept_as: Option<u64>) -> Result<Self, Errno> {
        let kind = socket::option(file.as_fd(), libc::SOL_SOCKET, libc::SO_TYPE)?;
        Ok(Self { file, kind, kept_as })
    }

    /// `SO_DOMAIN`.
    ///
    /// # Errors
    /// The error of getsockopt(2).
    pub fn domain(&self) -> Result<i32, Errno> {
        socket::option(self.file.as_fd(), libc::SOL_SOCKET, libc::SO_DOMAIN)
    }

    /// The inode, by which `/proc` names it.
    ///
    /// # Errors
    /// The error of fstat(2).
    pub fn inode(&self) -> Result<u64, Errno> {
        self.kept_as.map_or_else(|| Ok(descriptor::status(self.file.as_fd())?.identity.inode), Ok)
    }

    /// Whether it is a stream.
    #[must_use]
    pub const fn is_stream(&self) -> bool {
        self.kind == libc::SOCK_STREAM
    }

    /// Whether calls on it may wait.
    #[must_use]
    pub fn is_blocking(&self) -> bool {
        descriptor::status_flags(self.file.as_fd()).is_ok_and(|flags| flags & libc::O_NONBLOCK == 0)
    }
}

impl Supervisor {
    /// Pins descriptor `number` of the caller.
    ///
    /// # Errors
    /// [`Missing`] says why it is not at hand.
    pub(super) fn pin(&mut self, caller: &Caller, number: i32) -> Result<Pinned, Missing> {
        if self.reach == Reach::Registry {
            return self.find_registered(caller, number);
        }
        Ok(Pinned::new(self.fetch(caller, number)?, None)?)
    }

    fn find_registered(&self, caller: &Caller, number: i32) -> Result<Pinned, Missing> {
        let mut link = [0; 64];
        let link = target::link(caller.thread, format_args!("fd/{number}"), &mut link)
            .map_err(|error| if error == Errno::ENOENT { Errno(libc::EBADF) } else { error })?;
        let inode = socket_inode(link).ok_or(Errno(libc::ENOTSOCK))?;
        match self.registry.find(inode) {
            Ok(Some(file)) => Ok(Pinned::new(file, Some(inode))?),
            Ok(None) => Err(Missing::Connected),
            Err(Errno::ENOENT) => Err(Missing::Foreign),
            Err(error) => Err(Missing::Fails(error)),
        }
    }

    /// Lets a connected stream go from the registry, where it is kept there.
    pub(super) fn release(&self, socket: &Pinned) {
        if let Some(inode) = socket.kept_as {
            self.registry.release(inode);
        }
    }

    /// Notes that a socket has an address by now, where the registry keeps it.
    pub(super) fn note_bound(&self, socket: &Pinned) {
        if socket.kept_as.is_some_and(|inode| self.registry.note_bound(inode)) {
            self.wake();
        }
    }

    fn with_family<T>(&self, act: impl FnOnce(&Family<'_>) -> T) -> T {
        let order = || self.order_sweep();
        let order: Option<&dyn Fn() -> bool> = if self.crew.is_some() { Some(&order) } else { None };
        act(&Family { runtime: self.runtime, under_way: &|| self.verifier().under_way(), order })
    }

    /// Lets go what only the registry holds, for a call of `caller`.
    pub(super) fn sweep_for(&self, caller: &Caller) {
        let account = Account::of(caller, self.runtime);
        self.with_family(|family| self.registry.sweep_now_and_then(account, family));
    }

    /// The same, for no call.
    pub(super) fn sweep(&self) {
        self.with_family(|family| self.registry.sweep(family, self.stat.clone()));
    }

    /// Makes a socket for the target and keeps a duplicate.
    pub(super) fn make_socket(&self, notification: &Notification, caller: &Caller) -> Answer {
        let [domain, kind, protocol, ..] = notification.arguments;
        let (domain, kind, protocol) = (low_word(domain), low_word(kind), low_word(protocol));
        let made = socket::create(domain, kind, protocol).or_else(|error| {
            if matches!(error.0, libc::EMFILE | libc::ENFILE) {
                self.sweep_for(caller);
            }
            socket::create(domain, kind, protocol)
        });
        let answered = made
            .and_then(|file| self.hand_out(notification.id, caller, &file, kind & libc::SOCK_CLOEXEC != 0));
        answered.unwrap_or_else(Answer::Fail)
    }

    /// Gives the target a duplicate of `file` as the result of its call.
    fn hand_out(
        &self,
        id: u64,
        caller: &Caller,
        file: &OwnedFd,
        close_on_exec: bool,
    ) -> Result<Answer, Errno> {
        let account = Account::of(caller, self.runtime);
        let inode = self.with_family(|family| self.registry.keep(file.try_clone()?, account, family))?;
        let given = self.give_socket(id, file, close_on_exec);
        self.registry.note_received(inode);
        if !self.policy.has_bind_rules() && self.registry.note_bound(inode) {
            // Nobody asks before he binds it.
            self.wake();
        }
        given
    }

    fn give_socket(&self, id: u64, file: &OwnedFd, close_on_exec: bool) -> Result<Answer, Errno> {
        match self.listener.answer_with_descriptor(id, file.as_fd(), close_on_exec) {
            // Before 5.14 there is no answering in one step; a target interrupted in between keeps the descriptor.
            Err(Errno::EINVAL) => {
                self.listener.add_descriptor(id, file.as_fd(), close_on_exec).map(Answer::Done)
            }
            Ok(()) | Err(Errno::ENOENT) => Ok(Answer::Elsewhere),
            Err(error) => Err(error),
        }
    }
}

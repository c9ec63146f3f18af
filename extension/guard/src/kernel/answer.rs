//! What the supervisor answers, as types: a call that goes ahead needs a proof that it may.
//!
//! The kernel reads memory and descriptors again after a check, so "go ahead" is only sound where nothing but
//! registers was judged, or, for exec, where what really ran is verified afterwards. [`Answer`] has no other way to
//! say it. Every module of the kernel plane returns one; `kernel` alone sends it.

use crate::sys::Errno;
use crate::sys::seccomp::{Listener, Notification};

/// Proof that a decision looked at registers only, which the target cannot change while it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegistersOnly {
    _reason: &'static str,
}

impl RegistersOnly {
    /// States why the decision needs no memory, descriptor or path of the target.
    #[must_use]
    pub(super) const fn because(reason: &'static str) -> Self {
        Self { _reason: reason }
    }
}

/// Proof that the verifier expects this exec and will look at what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedExec(());

impl ExpectedExec {
    /// Only the verifier makes one, after it has noted what is expected.
    #[must_use]
    pub(super) const fn noted() -> Self {
        Self(())
    }
}

/// What a supervised call comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It fails.
    Fail(Errno),
    /// The supervisor has done it, with this result.
    Done(i64),
    /// The kernel does it: decided on registers.
    Continue(RegistersOnly),
    /// The kernel does it: an exec that is verified afterwards.
    ContinueExec(ExpectedExec),
    /// A worker does it and answers, or the answer has been sent already.
    Elsewhere,
}

impl From<Result<i64, Errno>> for Answer {
    fn from(result: Result<i64, Errno>) -> Self {
        result.map_or_else(Self::Fail, Self::Done)
    }
}

impl Answer {
    /// Sends the answer.
    ///
    /// # Errors
    /// `ENOENT` where the target no longer waits: it was interrupted or has died.
    pub(super) fn send(self, listener: &Listener, notification: &Notification) -> Result<(), Errno> {
        let id = notification.id;
        match self {
            Self::Fail(error) => listener.fail(id, error),
            Self::Done(value) => listener.succeed(id, value),
            Self::Continue(_) | Self::ContinueExec(_) => listener.proceed(id),
            Self::Elsewhere => Ok(()),
        }
    }
}

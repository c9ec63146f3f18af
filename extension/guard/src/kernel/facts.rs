//! What was found out about the launch, for all threads that answer calls. It only ever becomes true.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

/// The facts.
#[derive(Debug, Default)]
pub(super) struct Facts {
    launched: AtomicBool,
    invoked: AtomicBool,
    own_code_is_gone: AtomicBool,
    filters_are_missed: AtomicBool,
    /// Port of a proxy on the loopback interface; 0 for none.
    proxy: AtomicU16,
    base_filters: OnceLock<u32>,
}

impl Facts {
    /// Whether the wrappers are through: the runtime's process runs the runtime's file.
    pub(super) fn launched(&self) -> bool {
        self.launched.load(Ordering::Acquire)
    }

    pub(super) fn note_launch(&self) {
        self.launched.store(true, Ordering::Release);
    }

    /// Whether the runtime has turned to its API: init is over, even where the agent has not written so yet.
    pub(super) fn invoked(&self) -> bool {
        self.invoked.load(Ordering::Acquire)
    }

    pub(super) fn note_invocation(&self) {
        self.invoked.store(true, Ordering::Release);
    }

    /// Port of the proxy in front of the Runtime API that a wrapper behind the guard has named; 0 for none.
    pub(super) fn proxy(&self) -> u16 {
        self.proxy.load(Ordering::Acquire)
    }

    pub(super) fn note_proxy(&self, port: u16) {
        self.proxy.store(port, Ordering::Release);
    }

    /// Whether the runtime's process may still be the guard's own code; once.
    pub(super) fn take_own_code(&self) -> bool {
        !self.own_code_is_gone.load(Ordering::Acquire) && !self.own_code_is_gone.swap(true, Ordering::AcqRel)
    }

    /// Whether nothing was said yet of children without their filter; once.
    pub(super) fn misses_first_filter(&self) -> bool {
        !self.filters_are_missed.swap(true, Ordering::AcqRel)
    }

    /// How many filters the runtime is under.
    pub(super) fn base_filters(&self, count: impl FnOnce() -> u32) -> u32 {
        *self.base_filters.get_or_init(count)
    }
}

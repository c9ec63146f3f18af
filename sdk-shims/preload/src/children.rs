//! What a child gets: the limits of the policy and, right before its exec, the children's seccomp filter.
//!
//! `exec` calls it in a process that is a fork of the one the library was loaded into, so the runtime itself is
//! never touched, and a child that was exec'ed already carries both on. After vfork(2) limits and filter are the
//! child's own, though memory is shared. Should the exec fail, the fork goes on under them.
//!
//! A fork that executes nothing gets its limits at the first call that `handler` sees of it, but for that on memory: it has
//! the runtime's, which may be more already.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ringfence_policy::CompiledPolicy;
use ringfence_records::claim;

use crate::arch::number;
use crate::state::State;
use crate::sys::{self, Errno};
use crate::{report, shielded};

static TOLD: AtomicBool = AtomicBool::new(false);

const RLIMIT_CPU: usize = 0;
const RLIMIT_FSIZE: usize = 1;
const RLIMIT_NPROC: usize = 6;
const RLIMIT_NOFILE: usize = 7;
const RLIMIT_AS: usize = 9;

/// A word that is one in the runtime and zero in each new fork of it.
#[derive(Debug)]
pub(crate) struct Mark(&'static [AtomicU64]);

impl Mark {
    /// `None` where the policy has no limits, where forks serve events too, or before Linux 4.14.
    pub(crate) fn new(policy: &CompiledPolicy<'_>, forks_serve: bool) -> Option<Self> {
        const MADV_WIPEONFORK: usize = 18;
        const PAGE: usize = 4096;
        if forks_serve || limits(policy).iter().all(|(_, value)| value.is_none()) {
            return None;
        }
        let memory = sys::memory_near(0, PAGE).ok()?;
        let start = memory.as_ptr() as usize;
        if sys::check(sys::pass(number::MADVISE, [start, PAGE, MADV_WIPEONFORK, 0, 0, 0])).is_err() {
            sys::unmap(start, PAGE);
            return None;
        }
        shielded::add(start, PAGE);
        let mark = Self(sys::as_atomic_words(memory));
        mark.is_unset();
        Some(mark)
    }

    /// Whether this is the first question in this process.
    pub(crate) fn is_unset(&self) -> bool {
        self.0
            .first()
            .is_some_and(|word| word.load(Ordering::Relaxed) == 0 && word.swap(1, Ordering::Relaxed) == 0)
    }
}

/// The limits of the policy that a process takes at any time, and last that on addresses.
fn limits(policy: &CompiledPolicy<'_>) -> [(usize, Option<u64>); 5] {
    let limits = policy.limits();
    [
        (RLIMIT_CPU, limits.cpu_seconds),
        (RLIMIT_FSIZE, limits.file_size),
        (RLIMIT_NPROC, limits.processes),
        (RLIMIT_NOFILE, limits.open_files),
        (RLIMIT_AS, limits.memory),
    ]
}

/// Sets limits on a fork that may never execute anything.
#[inline(never)]
pub(crate) fn limit_fork(state: &State) {
    if state.context().launched && state.is_fork_of_runtime() {
        let [first @ .., _memory] = limits(&state.policy);
        set(state, &first);
    }
}

fn set(state: &State, limits: &[(usize, Option<u64>)]) {
    let mut refused = false;
    for (resource, value) in limits {
        refused |= value.is_some_and(|value| lower_limit(*resource, value).is_err());
    }
    if refused {
        tell(state, claim::NO_LIMITS);
    }
}

/// Sets limits and filter on a forked child.
pub(crate) fn prepare(state: &State) {
    set(state, &limits(&state.policy));
    let filter = state.handoff.child_filter;
    if !filter.is_empty() && install_filter(filter).is_err() {
        tell(state, claim::NO_PROFILE);
    }
}

/// `prlimit(2)` on the calling process: lowers both limits of `resource` to `value`, never raises one.
fn lower_limit(resource: usize, value: u64) -> Result<(), Errno> {
    let mut old = [0_u64; 2];
    sys::check(sys::pass(number::PRLIMIT64, [0, resource, 0, old.as_mut_ptr() as usize, 0, 0]))?;
    let new = old.map(|limit| limit.min(value));
    sys::check(sys::pass(number::PRLIMIT64, [0, resource, new.as_ptr() as usize, 0, 0, 0])).map(drop)
}

/// Installs a seccomp filter, an array of `struct sock_filter`, on the calling thread.
fn install_filter(program: &[u8]) -> Result<(), Errno> {
    const SET_MODE_FILTER: usize = 1;
    const INSTRUCTION: usize = 8;
    let length = u16::try_from(program.len() / INSTRUCTION).map_err(|_| Errno::INVAL)?;
    let described = [usize::from(length), program.as_ptr() as usize];
    sys::check(sys::pass(number::SECCOMP, [SET_MODE_FILTER, 0, described.as_ptr() as usize, 0, 0, 0]))
        .map(drop)
}

/// Once per process: every exec would repeat it.
fn tell(state: &State, detail: &[u8]) {
    if !TOLD.swap(true, Ordering::Relaxed) {
        report::degraded(state, detail);
    }
}

//! What a child gets right before its exec: the limits of the policy and the children's seccomp filter.
//!
//! Called by `exec` in a process that is a fork of the one the library was loaded into, so the runtime itself is
//! never touched, and a child that was exec'ed already carries both on. After vfork(2) limits and filter are the
//! child's own, though memory is shared. Should the exec fail, the fork goes on under them.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::arch::number;
use crate::report;
use crate::state::State;
use crate::sys::{self, Errno};

static TOLD: AtomicBool = AtomicBool::new(false);

const RLIMIT_CPU: usize = 0;
const RLIMIT_FSIZE: usize = 1;
const RLIMIT_NPROC: usize = 6;
const RLIMIT_NOFILE: usize = 7;
const RLIMIT_AS: usize = 9;

/// Sets limits and filter on a forked child.
pub(crate) fn prepare(state: &State) {
    let limits = state.policy.limits();
    let mut refused = false;
    for (resource, value) in [
        (RLIMIT_CPU, limits.cpu_seconds),
        (RLIMIT_FSIZE, limits.file_size),
        (RLIMIT_NPROC, limits.processes),
        (RLIMIT_NOFILE, limits.open_files),
        (RLIMIT_AS, limits.memory),
    ] {
        refused |= value.is_some_and(|value| lower_limit(resource, value).is_err());
    }
    if refused {
        tell(state, b"process.limits: prlimit(2) is refused, a child runs without a limit");
    }
    let filter = state.handoff.child_filter;
    if !filter.is_empty() && install_filter(filter).is_err() {
        tell(state, b"process.syscalls: seccomp(2) is refused, a child runs without its profile");
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

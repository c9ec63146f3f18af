//! The process plane: `libringfence.so`, which holds a process from inside, without the kernel's help.
//!
//! The guard preloads it into the runtime, and it preloads itself into every child. Its constructor replaces the
//! system-call sites of libc in memory by jumps into the library, so that a call is judged whoever makes it: the
//! program, libc itself, or a caller that looked a function up in libc's own handle. The policy and the phase come
//! from two shared pages; verdicts come from `ringfence-policy`.
//!
//! Entry points: `start` runs in the constructor, `handler` for each system call that comes through a site.
//! How it works, what it costs and what it cannot see is written in docs/process-plane.md.
//!
//! **Invariant:** nothing here allocates, locks, uses thread-local storage or calls libc. The code runs in signal
//! handlers, between vfork(2) and exec, and before libc has been initialised.
//!
//! **Invariant:** no fault of ours ends the program: where something unexpected happens, the call goes to the kernel
//! unless a rule says otherwise, and the library stays out of processes that it was not handed to.
#![cfg_attr(all(panic = "abort", not(test)), no_std)]
#![cfg_attr(
    not(panic = "abort"),
    allow(dead_code, reason = "the constructor is left out of builds that only test")
)]

mod arch;
mod channel;
mod children;
mod client_threads;
mod closing;
mod credentials;
mod exec;
mod files;
mod fingerprint;
mod handler;
mod lineage;
mod loaded;
mod mapping;
mod memory_calls;
mod modes;
mod network;
mod others;
mod own;
mod own_stack;
mod passing;
mod patch;
mod pins;
mod poller;
mod pool;
mod procfs;
mod remembered;
mod report;
mod runtime_api;
mod scope;
mod shielded;
mod start;
mod state;
mod sys;
mod table;

/// Cannot be reached: no code here indexes, unwraps or overflows. Should it be, this thread stops where it is, since
/// returning is impossible and ending the process would be our fault; the others go on.
#[cfg(all(panic = "abort", not(test)))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

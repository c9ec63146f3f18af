//! The seccomp filter of the kernel plane: what is refused without asking, what is asked, what passes.
//!
//! [`table`] is the filter as data, each rule with its reason; [`assembler`] turns it into a classic BPF program.
//! [`profile`] is another filter, for children, which the preload library installs. Nothing here makes a system call;
//! `kernel::child` installs what comes out.
//!
//! ```text
//! ld arch ── not native ──> KILL_PROCESS
//! ld nr   ── above table ─> ERRNO ENOSYS   what later kernels know, and the x32 ABI
//! tree over the numbers of the rules (jge; leaves of at most four jeq)
//!    ├─ no rule ──────────> ALLOW          no argument is loaded on this path, so 5.11+ caches it
//!    └─ rule ─────────────> its block
//! blocks: cases in order, each: load low (and high) words, compare, RET; then the rule's last word
//! ```

pub mod assembler;
#[cfg(test)]
mod interpreter;
pub mod profile;
pub mod table;
#[cfg(test)]
mod tests;
mod writes;

use crate::sys::seccomp::Instruction;
use table::{Options, Rule};

/// The program for these options.
///
/// # Errors
/// [`assembler::TooFar`] where a jump does not fit, which a test excludes for every set of options.
pub fn compile(options: Options) -> Result<Vec<Instruction>, assembler::TooFar> {
    compile_rules(table::rules(options))
}

fn compile_rules(mut rules: Vec<Rule>) -> Result<Vec<Instruction>, assembler::TooFar> {
    rules.sort_by_key(|rule| rule.call);
    assembler::assemble(&rules)
}

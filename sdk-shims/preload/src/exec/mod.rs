//! execve(2) and execveat(2): whether a program may start, and what it inherits.
//!
//! The verdict is given on the resolved file, its interpreter included, before anything about the process changes;
//! then the child's environment is rebuilt and its limits and filter are set, and the call is made from here.
//! `handler` calls it. It may run in a vfork child, on the parent's memory.

mod elf;
mod environment;
mod judge;
mod origin;

pub(crate) use judge::{decimal, descriptor_path};
pub(crate) use origin::origin_of;

use crate::arch::{Flow, number};
use crate::children;
use crate::state::State;
use crate::sys::{self, Errno};

/// An exec as the program asks for it. Addresses are the program's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    number: usize,
    directory: i32,
    path: usize,
    argv: usize,
    envp: usize,
    flags: usize,
}

impl Request {
    /// From the arguments of execve(2).
    pub(crate) fn execve([path, argv, envp, ..]: [usize; 6]) -> Self {
        Self { number: number::EXECVE, directory: sys::CWD, path, argv, envp, flags: 0 }
    }

    /// From the arguments of execveat(2).
    pub(crate) fn execveat([directory, path, argv, envp, flags, _]: [usize; 6]) -> Self {
        let directory = sys::descriptor(directory);
        Self { number: number::EXECVEAT, directory, path, argv, envp, flags }
    }

    /// The call with another environment.
    fn arguments(&self, envp: usize) -> [usize; 6] {
        if self.number == number::EXECVE {
            [self.path, self.argv, envp, 0, 0, 0]
        } else {
            #[allow(clippy::cast_sign_loss, reason = "as the kernel reads an int")]
            [self.directory as usize, self.path, self.argv, envp, self.flags, 0]
        }
    }
}

/// Judges and makes an exec.
pub(crate) fn exec(state: &State, request: &Request) -> Flow {
    if !sys::plausible(request.path) {
        return Flow::Proceed;
    }
    let exists = if state.rules.exec { judge::judge(state, request) } else { judge::exists(request) };
    match exists {
        Ok(()) => run(state, request),
        Err(error) => Flow::Done(error.result()),
    }
}

/// What exec does after the verdict.
fn run(state: &State, request: &Request) -> Flow {
    let strip = state.context().launched;
    if strip && state.is_fork_of_runtime() {
        children::prepare(state);
    }
    environment::with(state, request.envp, strip, |envp| {
        sys::pass_whole(request.number, request.arguments(envp))
    })
    .map_or_else(|error: Errno| Flow::Done(error.result()), Flow::Done)
}

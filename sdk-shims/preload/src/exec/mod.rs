//! execve(2) and execveat(2): whether a program may start, and what it inherits.
//!
//! The verdict is given on the resolved file, its interpreter included, before anything about the process changes;
//! then the child's environment is rebuilt and its limits and filter are set, and the call is made from here.
//! `handler` calls it. It may run in a vfork child, on the parent's memory.

mod elf;
mod environment;
mod judge;
mod origin;
mod search;

pub(crate) use judge::{decimal, descriptor_path};
pub(crate) use origin::origin_of;

use ringfence_policy::Origin;

use crate::arch::{Flow, number};
use crate::children;
use crate::state::State;
use crate::sys::{self, Errno, Owned};

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
    // A copy, since another thread may write another path there between verdict and call.
    let mut path = Path::new();
    if !path.copy(request.path) {
        return Flow::Done(Errno::NAMETOOLONG.result());
    }
    let mut request = Request { path: path.address(), ..*request };
    let steady = if state.rules.exec { judge::judge(state, &request) } else { judge::exists(&request) };
    match steady {
        Ok(None) => run(state, &request),
        Ok(Some(file)) => {
            if path.name_of(&file) {
                request = Request { path: path.address(), flags: 0, ..request };
            }
            drop(file);
            run(state, &request)
        }
        Err(error) => Flow::Done(error.result()),
    }
}

/// A path with its NUL.
struct Path([u8; 4096]);

impl Path {
    const fn new() -> Self {
        Self([0; 4096])
    }

    fn address(&self) -> usize {
        self.0.as_ptr() as usize
    }

    /// Takes the string at `address` in the program's memory, reading each byte once; false where it is too long.
    fn copy(&mut self, address: usize) -> bool {
        for (index, slot) in self.0.iter_mut().enumerate() {
            *slot = sys::bytes_at(address + index, 1).and_then(<[u8]>::first).copied().unwrap_or(0);
            if *slot == 0 {
                return true;
            }
        }
        false
    }

    /// Takes the kernel's name of `file`; false, and nothing taken, where it has none to be opened by.
    #[inline(never)]
    fn name_of(&mut self, file: &Owned) -> bool {
        let (mut link, mut name) = ([0; 32], [0; 4096]);
        match sys::read_link(sys::CWD, descriptor_path(file.0, &mut link), &mut name) {
            Ok(name)
                if name.starts_with(b"/")
                    && matches!(origin_of(name), Origin::ReadOnly | Origin::Writable) =>
            {
                self.0.fill(0);
                self.0.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
                true
            }
            _ => false,
        }
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

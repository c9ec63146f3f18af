//! execve(2) and execveat(2): whether a program may start, and what it inherits.
//!
//! The verdict is given on the resolved file, its interpreter included, before anything about the process changes;
//! then the child's environment is rebuilt and its limits and filter are set, and the call is made from here.
//! `handler` calls it. It may run in a vfork child, on the parent's memory.

mod elf;
mod environment;
mod hook;
mod judge;
mod origin;
mod search;

pub(crate) use judge::{decimal, descriptor_path};
pub(crate) use origin::origin_of;

use ringfence_policy::Origin;

use crate::arch::{Flow, number};
use crate::own_stack::Stack;
use crate::state::State;
use crate::sys::{self, Errno, Owned};
use crate::{children, own, passing, remembered, report, runtime_api, scope};

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

    /// The call with other arguments and another environment.
    fn arguments(&self, argv: usize, envp: usize) -> [usize; 6] {
        if self.number == number::EXECVE {
            [self.path, argv, envp, 0, 0, 0]
        } else {
            #[allow(clippy::cast_sign_loss, reason = "as the kernel reads an int")]
            [self.directory as usize, self.path, argv, envp, self.flags, 0]
        }
    }
}

/// Judges and makes an exec.
#[inline(never)]
pub(crate) fn exec(state: &State, request: &Request) -> Flow {
    if !sys::plausible(request.path) {
        return Flow::Proceed;
    }
    // A child of vfork(2) shares the memory of its parent, whose last sign of it this may be.
    remembered::note_company();
    // A copy, since another thread may write another path there between verdict and call.
    let mut path = Path::new();
    if !path.copy(request.path) {
        return Flow::Done(Errno::NAMETOOLONG.result());
    }
    let mut request = Request { path: path.address(), ..*request };
    let stack = Stack::new();
    let steady = if state.rules.exec || scope::limits() != 0 {
        stack.run(|| judge::judge(state, &request))
    } else {
        judge::exists(&request)
    };
    match steady {
        Ok(None) => run(state, &request, &stack),
        Ok(Some(file)) => {
            match stack.run(|| path.name_of(&file)) {
                Ok(true) => request = Request { flags: 0, path: path.address(), ..request },
                Ok(false) => request.path = path.address(),
                Err(error) => return Flow::Done(error.result()),
            }
            drop(file);
            run(state, &request, &stack)
        }
        Err(error) => Flow::Done(error.result()),
    }
}

/// A path with its NUL. Nearly all are short, and the stack may be: a long one gets memory of its own, which a child of
/// vfork(2) leaves behind in its parent.
struct Path {
    small: [u8; 256],
    large: Option<&'static mut [u8]>,
}

impl Path {
    /// `PATH_MAX`.
    const LONGEST: usize = 4096;

    const fn new() -> Self {
        Self { small: [0; 256], large: None }
    }

    fn bytes(&mut self) -> &mut [u8] {
        match &mut self.large {
            Some(large) => large,
            None => &mut self.small,
        }
    }

    fn address(&mut self) -> usize {
        self.bytes().as_ptr() as usize
    }

    /// Makes room for the longest path and keeps what is there.
    fn grow(&mut self) -> bool {
        if self.large.is_none()
            && let Ok(memory) = sys::memory_near(0, Self::LONGEST)
        {
            memory.iter_mut().zip(self.small).for_each(|(to, from)| *to = from);
            self.large = Some(memory);
        }
        self.large.is_some()
    }

    /// Takes the string at `address` in the program's memory, reading each byte once; false where it is too long.
    fn copy(&mut self, address: usize) -> bool {
        for index in 0..Self::LONGEST {
            let byte = sys::bytes_at(address + index, 1).and_then(<[u8]>::first).copied().unwrap_or(0);
            if index == self.small.len() && !self.grow() {
                return false;
            }
            if let Some(slot) = self.bytes().get_mut(index) {
                *slot = byte;
            }
            if byte == 0 {
                return true;
            }
        }
        false
    }

    /// Takes the kernel's name of `file`; false, and nothing taken, where it has none to be opened by.
    fn name_of(&mut self, file: &Owned) -> Result<bool, Errno> {
        let mut link = [0; 32];
        let link = descriptor_path(file.0, &mut link);
        match self.take_name(link) {
            Err(Errno::NAMETOOLONG) if self.large.is_none() && self.grow() => self.take_name(link),
            result => result,
        }
    }

    #[inline(never)]
    fn take_name(&mut self, link: &[u8]) -> Result<bool, Errno> {
        let mut asked = [0; 256];
        asked.copy_from_slice(&self.small);
        let room = self.bytes();
        let end = room.len().saturating_sub(1);
        let name = sys::read_link(sys::CWD, link, room.get_mut(..end).unwrap_or_default())?;
        let length = name.len();
        let named = name.starts_with(b"/") && matches!(origin_of(name), Origin::ReadOnly | Origin::Writable);
        if named {
            room.get_mut(length..).unwrap_or_default().fill(0);
        } else {
            room.iter_mut().zip(asked).for_each(|(to, from)| *to = from);
        }
        Ok(named)
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        if let Some(large) = &self.large {
            sys::unmap(large.as_ptr() as usize, Self::LONGEST);
        }
    }
}

/// What is passed on; the refusal where it is gone and the program may not run without it. For a stack of the library's own.
#[inline(never)]
fn passed(state: &State) -> Result<environment::Passed, Flow> {
    let is_held = passing::is_enforced(state);
    let descriptors = match passing::prepare(state) {
        Ok(descriptors) => descriptors,
        Err(detail) if is_held => match own::dangerous_for(state, "exec", detail) {
            Flow::Proceed => state.descriptors,
            refused @ Flow::Done(_) => return Err(refused),
        },
        Err(detail) => {
            report::degraded(state, detail);
            state.descriptors
        }
    };
    Ok(environment::Passed { descriptors, is_held })
}

/// What exec does after the verdict.
fn run(state: &State, request: &Request, stack: &Stack) -> Flow {
    let strip = state.context().launched;
    let passed = match stack.run(|| passed(state)) {
        Ok(passed) => passed,
        Err(refused) => return refused,
    };
    let is_first = strip && state.is_fork_of_runtime();
    if is_first {
        stack.run(|| runtime_api::withhold(state));
    }
    hook::with(state, request, stack, |argv, variables| {
        let environment = environment::Wanted { passed: &passed, envp: request.envp, strip, stack };
        environment::with(state, &environment, variables, |envp| {
            stack.give_back();
            // Last, since under a limit on memory there may be none for what comes before.
            if is_first {
                children::prepare(state);
            }
            sys::pass_whole(request.number, request.arguments(argv, envp))
        })
    })
    .map_or_else(|error: Errno| Flow::Done(error.result()), Flow::Done)
}

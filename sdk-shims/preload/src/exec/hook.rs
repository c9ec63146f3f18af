//! The language hook at the exec of the runtime's own executable: the variables and the argument that bring it in.
//!
//! The guard lists them in the handoff. They are added here, behind all wrappers, so that none sees or overwrites them, and
//! to every later program of the same executable: the hook gives back what the program saw without it, so a child that gets
//! no hook gets none of its variables either. It decides nothing about the exec and knows nothing of what hooks do.

use ringfence_records::hook::{self, Entry, python_takes_no_hook};

use super::{Request, elf, judge};
use crate::arch;
use crate::own_stack::Stack;
use crate::state::State;
use crate::sys::{self, Owned};

/// Variables that hooks have at most.
pub(super) const MAX_VARIABLES: usize = 4;
/// Arguments that are looked at, and names of interpreters that are followed.
const MAX_ARGUMENTS: usize = 1 << 16;
const MAX_INTERPRETERS: usize = 4;
/// A variable up to this length is made on the stack of a child, which may be its parent's.
const SHORT: usize = 768;
const WORD: usize = size_of::<usize>();

/// Variables that a program gets, as addresses of `NAME=value` that end in NUL. They take the place of its own.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Variables([usize; MAX_VARIABLES]);

impl Variables {
    /// The addresses.
    pub(super) fn addresses(&self) -> impl Iterator<Item = usize> {
        self.0.iter().copied().filter(|address| *address != 0)
    }

    /// Whether one of them has this name.
    pub(super) fn replace(&self, name: &[u8]) -> bool {
        self.addresses().any(|address| is_named(address, name))
    }

    fn add(&mut self, address: usize) -> bool {
        let slot = self.0.iter_mut().find(|slot| **slot == 0);
        slot.map(|slot| *slot = address).is_some()
    }
}

/// Calls `run` with the address of the arguments and the variables that the program is to get beside its own.
pub(super) fn with<T>(
    state: &State,
    request: &Request,
    stack: &Stack,
    run: impl FnOnce(usize, Variables) -> T,
) -> T {
    if state.handoff.hook.is_empty() || !stack.run(|| is_wanted(state, request)) {
        return run(request.argv, Variables::default());
    }
    if sys::process_id() == state.handoff.runtime_pid {
        return in_memory(state, request, run);
    }
    // musl's posix_spawn(3) gives a child too little stack; memory would stay behind in the parent of a vfork(2).
    if arch::link_list_of_libc() == 0 {
        return run(request.argv, Variables::default());
    }
    on_stack(state, request, run)
}

#[inline(never)]
fn on_stack<T>(state: &State, request: &Request, run: impl FnOnce(usize, Variables) -> T) -> T {
    let mut room = [0; SHORT];
    let variables = variables(state, request.envp, &mut room).unwrap_or_default();
    run(request.argv, variables)
}

/// The runtime's own process: it has no parent's memory, and what it has is gone with the exec.
#[inline(never)]
fn in_memory<T>(state: &State, request: &Request, run: impl FnOnce(usize, Variables) -> T) -> T {
    let length = words_of(request.argv).count();
    let mut lists = sys::Buffer::new((length + 2) * WORD).ok();
    let argv = lists.as_mut().and_then(|list| arguments(state, request.argv, sys::as_words(list.bytes())));
    let size = hook::entries(state.handoff.hook)
        .filter_map(|entry| value(request.envp, entry.name()).map(<[u8]>::len))
        .fold(SHORT, usize::saturating_add);
    let mut room = sys::Buffer::new(size).ok();
    let variables = room.as_mut().and_then(|room| variables(state, request.envp, room.bytes()));
    run(argv.unwrap_or(request.argv), variables.unwrap_or_default())
}

/// Makes the variables in `room`; `None` where they do not fit, since one without the others is of no use.
fn variables(state: &State, envp: usize, mut room: &mut [u8]) -> Option<Variables> {
    let mut variables = Variables::default();
    for entry in hook::entries(state.handoff.hook) {
        let address = match entry {
            Entry::Argument(_) => continue,
            // It stands in the handoff with its NUL.
            Entry::Set(text) => text.as_ptr() as usize,
            Entry::Path(_) | Entry::Option(_) => {
                let parts = entry.gained(value(envp, entry.name()));
                let length: usize = parts.iter().map(|part| part.len()).sum();
                let (own, rest) = core::mem::take(&mut room).split_at_mut_checked(length + 1)?;
                let bytes = parts.iter().copied().flatten().chain(&[0]);
                own.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                room = rest;
                own.as_ptr() as usize
            }
        };
        if !variables.add(address) {
            return None;
        }
    }
    Some(variables)
}

/// Copies the arguments into `list` with those of the hook behind the first; `None` where there is nothing to add.
fn arguments(state: &State, argv: usize, list: &mut [usize]) -> Option<usize> {
    let added = hook::entries(state.handoff.hook).find_map(|entry| match entry {
        Entry::Argument(text) => Some(text),
        _ => None,
    })?;
    let is_there = |address| sys::string_at(address, added.len() + 1) == Some(added);
    let first = words_of(argv).next()?;
    if words_of(argv).any(is_there) {
        return None;
    }
    let all = [first, added.as_ptr() as usize].into_iter().chain(words_of(argv).skip(1));
    // The last slot stays zero: it ends the list, should another thread make the arguments more.
    let room = list.len().checked_sub(1)?;
    list.iter_mut().take(room).zip(all).for_each(|(slot, address)| *slot = address);
    Some(list.as_ptr() as usize)
}

/// The addresses in a vector that a zero ends.
fn words_of(vector: usize) -> impl Iterator<Item = usize> {
    (0..MAX_ARGUMENTS)
        .map_while(move |index| sys::word_at(vector.wrapping_add(index * WORD)))
        .take_while(|address| *address != 0)
}

/// The value of a variable.
fn value(envp: usize, name: &[u8]) -> Option<&'static [u8]> {
    const LONGEST: usize = 128 * 1024;
    let found = words_of(envp).find(|address| is_named(*address, name))?;
    sys::string_at(found + name.len() + 1, LONGEST)
}

/// Whether the string at `address` is the variable `name`. It is read no further than it is alike.
fn is_named(address: usize, name: &[u8]) -> bool {
    (address..).zip(name.iter().chain(b"=")).all(|(at, byte)| sys::bytes_at(at, 1) == Some(&[*byte]))
}

/// Whether the program is the runtime's own executable, or a script of it, and takes a hook.
fn is_wanted(state: &State, request: &Request) -> bool {
    let Ok(mut file) = judge::open(request) else { return false };
    let mut head = elf::Head::default();
    for _ in 0..MAX_INTERPRETERS {
        if is_runtimes(state, &file) {
            return takes_hook(state, request.argv, head.interpreter_option());
        }
        let mut link = [0; 32];
        head.read(judge::descriptor_path(file.0, &mut link));
        let mut path = [0; elf::Head::SIZE];
        let Some(interpreter) = head.interpreter_of_script(&mut path) else { return false };
        let Ok(next) = sys::open_at(sys::CWD, interpreter, sys::O_PATH | sys::O_CLOEXEC) else {
            return false;
        };
        file = next;
    }
    false
}

fn is_runtimes(state: &State, file: &Owned) -> bool {
    sys::identity(file.0).is_ok_and(|identity| {
        identity.inode == state.handoff.runtime_inode && identity.device == state.handoff.runtime_device
    })
}

/// Whether nothing on the command line keeps the hook out. `option` stands in the first line of a script.
fn takes_hook(state: &State, argv: usize, option: &[u8]) -> bool {
    let is_python = hook::entries(state.handoff.hook).any(|entry| entry.name() == b"PYTHONPATH");
    let words = words_of(argv).skip(1).map(|address| sys::string_at(address, 4096).unwrap_or(b"x"));
    let option = (!option.is_empty()).then_some(option);
    !(is_python && python_takes_no_hook(option.into_iter().chain(words)))
}

//! The environment that a program gets: the library and its two pages always, what the policy strips never.
//!
//! It reads the caller's environment once and builds a new vector of pointers on the stack, or in fresh memory where
//! it is long. The strings stay where they are. It runs in vfork children.

use ringfence_policy::{Action, Decision};
use ringfence_records::handoff::{DIRECT, ENVIRONMENT, INVOKED, PROXY, SCOPE};
use ringfence_records::message::{ActionKind, Kind, Report};

use super::hook;
use super::judge::decimal;
use super::search;
use crate::arch;
use crate::own_stack::Stack;
use crate::passing;
use crate::report;
use crate::scope;
use crate::state::{self, Descriptor, State};
use crate::sys::{self, Errno};
use crate::table;

/// Variables up to which the new vector lies on the stack: memory would stay behind in the parent of a vfork(2).
const FEW: usize = 96;
/// The same where the libc is glibc, whose `posix_spawn(3)` gives a child 32 KiB and more. musl gives it 5 KiB.
const ON_STACK: usize = 512;
/// More variables than any kernel takes (`MAX_ARG_STRINGS` is larger; 2 MiB of pointers is not).
const MAX_VARIABLES: usize = 1 << 18;
/// Entries that are added: the library, the descriptors, their inodes, the report socket, the sites, the hook's, and the end.
const ADDED: usize = 6 + hook::MAX_VARIABLES;
const WORD: usize = size_of::<usize>();
/// Variable by which language shims find the report socket.
const REPORT: &[u8] = b"RINGFENCE_REPORT";
const PRELOAD: &[u8] = b"LD_PRELOAD";

/// What the environment of a program is made from.
pub(super) struct Wanted<'a> {
    pub(super) passed: &'a Passed,
    /// Address of the environment as the caller gives it.
    pub(super) envp: usize,
    /// Whether what the policy strips is left out.
    pub(super) strip: bool,
    pub(super) stack: &'a Stack,
}

/// Calls `run` with the address of the environment that a program started now is to have.
pub(super) fn with(
    state: &State,
    wanted: &Wanted<'_>,
    hook: hook::Variables,
    run: impl FnOnce(usize) -> isize,
) -> Result<isize, Errno> {
    let mut added = Added { hook, ..Added::default() };
    wanted.stack.run(|| added.fill(state, wanted.passed, wanted.envp, wanted.strip));
    let count = variables(wanted.envp).take(MAX_VARIABLES).count();
    if count <= FEW {
        return Ok(on_stack::<{ FEW + ADDED }>(state, wanted, &added, run));
    }
    if count <= ON_STACK && arch::link_list_of_libc() != 0 {
        return Ok(on_stack::<{ ON_STACK + ADDED }>(state, wanted, &added, run));
    }
    in_memory(state, wanted, &added, count, run)
}

#[inline(never)]
fn on_stack<const N: usize>(
    state: &State,
    wanted: &Wanted<'_>,
    added: &Added,
    run: impl FnOnce(usize) -> isize,
) -> isize {
    let mut vector = [0; N];
    wanted.stack.run(|| build(state, wanted.envp, wanted.strip, added, &mut vector));
    run(vector.as_ptr() as usize)
}

#[inline(never)]
fn in_memory(
    state: &State,
    wanted: &Wanted<'_>,
    added: &Added,
    count: usize,
    run: impl FnOnce(usize) -> isize,
) -> Result<isize, Errno> {
    let length = ((count + ADDED) * WORD).next_multiple_of(4096);
    let memory = sys::memory_near(0, length)?;
    let address = memory.as_ptr() as usize;
    let vector = sys::as_words(memory);
    wanted.stack.run(|| build(state, wanted.envp, wanted.strip, added, vector));
    let result = run(address);
    sys::unmap(address, length);
    Ok(result)
}

/// Addresses of the strings of an environment.
fn variables(envp: usize) -> impl Iterator<Item = usize> {
    (0..MAX_VARIABLES)
        .map_while(move |index| sys::word_at(envp.wrapping_add(index * WORD)))
        .take_while(|pointer| *pointer != 0)
}

/// Fills `vector`, which is zero, with what stays and what is added.
fn build(state: &State, envp: usize, strip: bool, added: &Added, vector: &mut [usize]) {
    // Ours have their room whatever comes before: another thread may make the environment longer than it was counted.
    let (theirs, ours) = vector.split_at_mut(vector.len().saturating_sub(ADDED));
    let mut used = 0;
    let mut put = |pointer: usize| {
        if let Some(slot) = theirs.get_mut(used) {
            *slot = pointer;
            used += 1;
        }
    };
    let mut inherits = strip && state.rules.credentials;
    for pointer in variables(envp) {
        let name = name_at(pointer);
        if replaced(name) || added.hook.replace(name) || (strip && state.policy.strip_variable(name)) {
            continue;
        }
        if strip && search::is_search(name) && search::denied(state, name, pointer + name.len() + 1) {
            continue;
        }
        if inherits && state.policy.is_credential(name) {
            inherits = false;
            if inherit_denied(state, name) {
                continue;
            }
        }
        put(pointer);
    }
    // Ours last: the loaders of glibc and musl take the last of several, should another thread slip one in.
    let texts = [&added.preload[..], &added.descriptors, &added.inodes, &added.report];
    let given = texts.into_iter().filter(|text| text.first().is_some_and(|byte| *byte != 0));
    let last =
        given.map(|text| text.as_ptr() as usize).chain(state.sites.address()).chain(added.hook.addresses());
    put_last(theirs, used, ours, last);
}

/// Puts what is added behind the `used` slots of `theirs`; what has no room there goes on in `ours`. The slot behind it
/// is zero and ends the vector.
fn put_last(theirs: &mut [usize], used: usize, ours: &mut [usize], added: impl Iterator<Item = usize>) {
    let room = ours.len().saturating_sub(1);
    let free = theirs.iter_mut().skip(used).chain(ours.iter_mut().take(room));
    for (slot, pointer) in free.zip(added) {
        *slot = pointer;
    }
}

/// The name of the variable at `pointer`, cut to what any rule can name.
fn name_at(pointer: usize) -> &'static [u8] {
    const LONGEST: usize = 256;
    let mut length = 0;
    while length < LONGEST {
        match sys::bytes_at(pointer + length, 1) {
            Some([0 | b'=']) | None => break,
            Some(_) => length += 1,
        }
    }
    sys::bytes_at(pointer, length).unwrap_or_default()
}

fn replaced(name: &[u8]) -> bool {
    name == PRELOAD
        || name == ENVIRONMENT.as_bytes()
        || name == REPORT
        || name == table::VARIABLE
        || name == passing::VARIABLE
}

/// What the program inherits of ours.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) descriptors: [Descriptor; 2],
    /// Whether it may not run without them.
    pub(super) is_held: bool,
}

/// Whether a child may not have the credential `variable`; writes a refusal down. A section that observes tells nothing:
/// enforcing would take the variable away without a word, and the child that is allowed does nothing wrong.
fn inherit_denied(state: &State, variable: &[u8]) -> bool {
    let verdict = state.verdict(&Action::InheritCredentials { variable });
    let is_denied = verdict.decision == Decision::Deny;
    if is_denied {
        let mut report = Report::new(Kind::Violation, ActionKind::InheritCredentials);
        report.name = variable;
        report::violation(state, verdict, &report);
    }
    is_denied
}

/// The strings that are added, each ending in NUL; empty ones are left out.
struct Added {
    preload: [u8; 880],
    descriptors: [u8; 80],
    inodes: [u8; 64],
    report: [u8; 128],
    hook: hook::Variables,
}

impl Default for Added {
    fn default() -> Self {
        Self {
            preload: [0; 880],
            descriptors: [0; 80],
            inodes: [0; 64],
            report: [0; 128],
            hook: hook::Variables::default(),
        }
    }
}

impl Added {
    fn fill(&mut self, state: &State, passed: &Passed, envp: usize, strip: bool) {
        let path = state.handoff.preload_path;
        let before = variables(envp)
            .find(|pointer| name_at(*pointer) == PRELOAD)
            .map(|pointer| pointer + PRELOAD.len() + 1)
            .filter(|value| !(strip && search::denied(state, PRELOAD, *value)))
            .and_then(|value| sys::string_at(value, 768))
            .unwrap_or_default();
        preload(&mut self.preload, path, before);
        let [handoff, page] = passed.descriptors;
        if passed.is_held {
            let (mut first, mut second) = ([0; 20], [0; 20]);
            let first = passing::long_decimal(handoff.inode, &mut first);
            let second = passing::long_decimal(page.inode, &mut second);
            join(&mut self.inodes, &[passing::VARIABLE, b"=", first, b",", second]);
        }
        let (mut first, mut second) = ([0; 12], [0; 12]);
        let first = decimal(handoff.number.unsigned_abs(), &mut first);
        let second = decimal(page.number.unsigned_abs(), &mut second);
        let invoked: &[u8] = if state::has_been_invoked() { INVOKED.as_bytes() } else { b"" };
        let direct: &[u8] = if state.is_fork_of_runtime() { DIRECT.as_bytes() } else { b"" };
        let (limits, mut third) = (scope::limits(), [0; 12]);
        let scope: [&[u8]; 2] =
            if limits == 0 { [b"", b""] } else { [SCOPE.as_bytes(), decimal(limits, &mut third)] };
        let [name, numbers] = scope;
        let mut fourth = [0; 12];
        let proxy: [&[u8]; 2] = match state.proxy {
            0 => [b"", b""],
            port => [PROXY.as_bytes(), decimal(port.into(), &mut fourth)],
        };
        let [proxied, port] = proxy;
        join(
            &mut self.descriptors,
            &[
                ENVIRONMENT.as_bytes(),
                b"=",
                first,
                b",",
                second,
                invoked,
                direct,
                proxied,
                port,
                name,
                numbers,
            ],
        );
        if !state.handoff.report_address.is_empty() {
            join(&mut self.report, &[REPORT, b"=", state.handoff.report_address]);
        }
    }
}

/// `LD_PRELOAD=` with our path first, once, then what was there before.
fn preload(buffer: &mut [u8], path: &[u8], before: &[u8]) {
    let rest = before.strip_prefix(path).filter(|rest| matches!(rest.first(), None | Some(b':' | b' ')));
    let rest = rest.map_or(before, |rest| rest.get(1..).unwrap_or_default());
    let parts: &[&[u8]] =
        if rest.is_empty() { &[PRELOAD, b"=", path] } else { &[PRELOAD, b"=", path, b":", rest] };
    if !join(buffer, parts) {
        join(buffer, &[PRELOAD, b"=", path]);
    }
}

/// Writes the parts one after the other and a NUL; false, and nothing written, where they have no room.
fn join(buffer: &mut [u8], parts: &[&[u8]]) -> bool {
    let total: usize = parts.iter().map(|part| part.len()).sum();
    if total >= buffer.len() {
        return false;
    }
    let mut at = 0;
    for part in parts {
        if let Some(room) = buffer.get_mut(at..at + part.len()) {
            room.copy_from_slice(part);
        }
        at += part.len();
    }
    if let Some(end) = buffer.get_mut(at) {
        *end = 0;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn preloaded(before: &str) -> String {
        let mut buffer = [0; 64];
        preload(&mut buffer, b"/opt/l.so", before.as_bytes());
        let end = buffer.iter().position(|byte| *byte == 0).unwrap();
        String::from_utf8(buffer[..end].to_vec()).unwrap()
    }

    #[test]
    fn the_library_comes_first_and_once() {
        assert_eq!(preloaded(""), "LD_PRELOAD=/opt/l.so");
        assert_eq!(preloaded("/opt/l.so"), "LD_PRELOAD=/opt/l.so");
        assert_eq!(preloaded("/opt/l.so:/x.so"), "LD_PRELOAD=/opt/l.so:/x.so");
        assert_eq!(preloaded("/x.so"), "LD_PRELOAD=/opt/l.so:/x.so");
        assert_eq!(preloaded("/opt/l.so2"), "LD_PRELOAD=/opt/l.so:/opt/l.so2");
        assert_eq!(preloaded(&"x".repeat(80)), "LD_PRELOAD=/opt/l.so");
    }

    #[test]
    fn what_is_added_has_room_behind_an_environment_that_has_grown() {
        for (used, expected) in [(0, [7, 8, 9, 0, 0]), (1, [1, 7, 8, 9, 0]), (2, [1, 1, 7, 8, 9])] {
            let (mut theirs, mut ours) = ([0; 2], [0; 4]);
            theirs.iter_mut().take(used).for_each(|slot| *slot = 1);
            put_last(&mut theirs, used, &mut ours, [7, 8, 9].into_iter());
            let all = [&theirs[..], &ours].concat();
            assert_eq!(all[..5], expected);
            assert_eq!(all[5], 0, "the end");
        }
    }

    proptest! {
        #[test]
        fn joined_texts_end_inside_their_buffer(parts in proptest::collection::vec(proptest::collection::vec(1..=255_u8, 0..20), 0..6)) {
            let mut buffer = [0xaa; 40];
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let whole = parts.concat();
            if join(&mut buffer, &parts) {
                prop_assert_eq!(&buffer[..whole.len()], &whole[..]);
                prop_assert_eq!(buffer[whole.len()], 0);
            } else {
                prop_assert!(whole.len() >= 40);
            }
        }
    }
}

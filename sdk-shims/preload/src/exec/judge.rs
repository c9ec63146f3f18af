//! Whether a file may be executed: resolve, read its head, ask the policy, write down what it says.
//!
//! It knows nothing of environments and children. A script is judged itself, and then each interpreter as an exec
//! of its own.

use ringfence_policy::{Action, Decision, Exec, Linkage, Origin, Verdict};
use ringfence_records::message::{ActionKind, Kind, List, MAX_ARGUMENT, MAX_ARGUMENTS, Report};

use super::{Request, elf, origin_of};
use crate::report;
use crate::scope::{self, Limit};
use crate::state::{State, speaks};
use crate::sys::{self, Errno, Owned};

const AT_SYMLINK_NOFOLLOW: usize = 0x100;
const AT_EMPTY_PATH: usize = 0x1000;
/// Interpreters of interpreters that the kernel follows (`BINPRM` recursion, exec.c).
const MAX_INTERPRETERS: usize = 5;
const REGULAR: u32 = 0o100_000;
const TYPE: u32 = 0o170_000;

/// Whether there is a file to execute: the search along PATH must not reach the child's filter and limits.
pub(super) fn exists(request: &Request) -> Result<Option<Owned>, Errno> {
    open(request).map(|_| None)
}

/// The verdict on `request` and its interpreters. Gives the file where its path could lead elsewhere by the time the
/// kernel follows it: through a link in a place that the function can write.
///
/// # Errors
/// The kernel's own answer where the file cannot be opened; EACCES where the policy denies it.
pub(super) fn judge(state: &State, request: &Request) -> Result<Option<Owned>, Errno> {
    let asked = open(request)?;
    let given = sys::string_at(request.path, 4096).ok_or(Errno::NAMETOOLONG)?;
    let mut head = elf::Head::default();
    let mut of = Of { argv: request.argv, script: b"", listed: false };
    of.listed = judge_file(state, &asked, given, of, &mut head)?;
    of.script = given;
    for _ in 0..MAX_INTERPRETERS {
        let mut path = [0; elf::Head::SIZE];
        let Some(interpreter) = head.interpreter_of_script(&mut path) else {
            return Ok((!is_steady(given)).then_some(asked));
        };
        let file = sys::open_at(sys::CWD, interpreter, sys::O_PATH | sys::O_CLOEXEC)?;
        let given = interpreter.strip_suffix(b"\0").unwrap_or(interpreter);
        of.listed |= judge_file(state, &file, given, of, &mut head)?;
    }
    Err(Errno::LOOP)
}

/// The exec of which a file is a part.
#[derive(Clone, Copy)]
struct Of<'a> {
    argv: usize,
    /// The script whose interpreter is judged; empty for the file that was asked for.
    script: &'a [u8],
    /// Whether `process.allow` lists that script.
    listed: bool,
}

/// Whether nobody but the image's maker decides where `path` leads.
fn is_steady(path: &[u8]) -> bool {
    let mut components = path.split(|byte| *byte == b'/');
    path.starts_with(b"/")
        && components.all(|name| name != b"..")
        && !path.starts_with(b"/proc/")
        && !path.starts_with(b"/dev/")
        && origin_of(path) == Origin::ReadOnly
}

pub(super) fn open(request: &Request) -> Result<Owned, Errno> {
    let mut flags = sys::O_PATH | sys::O_CLOEXEC;
    if request.flags & AT_SYMLINK_NOFOLLOW != 0 {
        flags |= sys::O_NOFOLLOW;
    }
    if request.flags & AT_EMPTY_PATH != 0 && sys::string_at(request.path, 1) == Some(&[]) {
        let mut own = [0; 32];
        return sys::open_at(
            sys::CWD,
            descriptor_path(request.directory, &mut own),
            sys::O_PATH | sys::O_CLOEXEC,
        );
    }
    sys::open_raw(request.directory, request.path, flags)
}

/// `/proc/self/fd/N` with its NUL.
pub(crate) fn descriptor_path(descriptor: i32, buffer: &mut [u8; 32]) -> &[u8] {
    const START: &[u8] = b"/proc/self/fd/";
    let mut digits = [0; 12];
    let digits = decimal(descriptor.unsigned_abs(), &mut digits);
    let end = START.len() + digits.len();
    if let Some(room) = buffer.get_mut(..START.len()) {
        room.copy_from_slice(START);
    }
    if let Some(room) = buffer.get_mut(START.len()..end) {
        room.copy_from_slice(digits);
    }
    if let Some(room) = buffer.get_mut(end..) {
        room.fill(0);
    }
    buffer.get(..=end).unwrap_or_default()
}

/// A number in decimal digits.
pub(crate) fn decimal(mut number: u32, buffer: &mut [u8; 12]) -> &[u8] {
    let mut start = buffer.len();
    while let Some(slot) = start.checked_sub(1).and_then(|at| buffer.get_mut(at)) {
        #[allow(clippy::cast_possible_truncation, reason = "a digit")]
        let digit = (number % 10) as u8;
        *slot = b'0' + digit;
        start -= 1;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    buffer.get(start..).unwrap_or_default()
}

/// The verdict on one file, and whether it is a script that `process.allow` lists; its head stays in `head`.
#[inline(never)]
fn judge_file(
    state: &State,
    file: &Owned,
    given: &[u8],
    of: Of<'_>,
    head: &mut elf::Head,
) -> Result<bool, Errno> {
    if sys::identity(file.0)?.mode & TYPE != REGULAR {
        return Err(Errno::ACCES);
    }
    // Nearly all names are short; memory for a long one costs more than all else here.
    let (mut link, mut short, mut long) = ([0; 32], [0; 256], None);
    let link = descriptor_path(file.0, &mut link);
    let resolved = match sys::read_link(sys::CWD, link, &mut short) {
        Ok(resolved) => resolved,
        Err(Errno::NAMETOOLONG) => {
            let room = long.insert(sys::Buffer::new(4096)?);
            sys::read_link(sys::CWD, link, room.bytes())?
        }
        Err(_) => given,
    };
    head.read(link);
    let (origin, linkage) = (origin_of(resolved), head.linkage(resolved));
    let exec = Exec { given, resolved, origin, linkage, by_listed_script: of.listed };
    if refused_by_scope(state, &exec, of.argv) {
        return Err(Errno::ACCES);
    }
    if !state.rules.exec {
        return Ok(false);
    }
    let verdict = state.verdict(&Action::Exec(exec));
    if speaks(verdict) {
        tell(state, verdict, &exec, of);
    }
    if verdict.decision == Decision::Deny {
        return Err(Errno::ACCES);
    }
    Ok(state.policy.lists_script(&exec, &state.context()))
}

/// Writes a verdict down. On its own, so that its report is not on the stack while others are.
#[inline(never)]
fn tell(state: &State, verdict: Verdict, exec: &Exec<'_>, of: Of<'_>) {
    let mut report = Report::new(Kind::Violation, ActionKind::Exec);
    report.path = if exec.given.starts_with(b"/") { exec.given } else { exec.resolved };
    // The interpreter of a script: what the caller asked for says more.
    if of.script.starts_with(b"/") {
        report.path = of.script;
    }
    if report.path != exec.resolved {
        report.detail = exec.resolved;
    }
    report.arguments = arguments(of.argv);
    report::violation(state, verdict, &report);
}

/// Whether a scope forbids the program, or it could not be held to the scope: it would start without this library.
#[inline(never)]
fn refused_by_scope(state: &State, exec: &Exec<'_>, argv: usize) -> bool {
    let limits = scope::limits();
    let follows = matches!(exec.linkage, Linkage::Dynamic | Linkage::Script);
    if limits == 0 || (follows && !scope::holds(Limit::Children)) {
        return false;
    }
    let mut report = Report::new(Kind::Violation, ActionKind::Exec);
    report.path = exec.resolved;
    report.arguments = arguments(argv);
    scope::tell(state, Limit::Children, &report);
    true
}

/// The first arguments, cut.
fn arguments(argv: usize) -> List<'static, MAX_ARGUMENTS> {
    let mut list = List::new();
    for index in 0..MAX_ARGUMENTS {
        let Some(pointer) = sys::word_at(argv.wrapping_add(index * 8)).filter(|pointer| *pointer != 0) else {
            break;
        };
        let argument = sys::string_at(pointer, MAX_ARGUMENT).or_else(|| sys::bytes_at(pointer, MAX_ARGUMENT));
        list.push(argument.unwrap_or_default());
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_through_writable_places_can_lead_elsewhere() {
        assert!(is_steady(b"/usr/bin/sed"));
        for path in ["/tmp/link", "sed", "/usr/../tmp/link", "/proc/self/cwd/link", "/dev/fd/3", ""] {
            assert!(!is_steady(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn numbers_and_descriptor_paths_are_written_in_full() {
        for number in [0, 7, 10, 4_294_967_295_u32] {
            assert_eq!(decimal(number, &mut [0; 12]), number.to_string().as_bytes());
        }
        assert_eq!(descriptor_path(961, &mut [0xff; 32]), b"/proc/self/fd/961\0");
    }
}

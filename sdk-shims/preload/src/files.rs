//! Opens, and the calls that change names: what may be read and written.
//!
//! Reading is decided on what was opened, so that no link, relative path or other mount of procfs leads around a
//! rule: open, ask the kernel for the name, judge, close again where it is denied. Where other threads could use what is open
//! meanwhile, the file is only pinned until it is judged (`pinned`). Writing is decided before, on the
//! resolved name, since opening may already create or truncate. `handler` calls it.

pub(crate) mod names;
mod pinned;

use ringfence_policy::{Action, Decision, Phase};
use ringfence_records::handoff::covers;
use ringfence_records::message::{ActionKind, Kind, Report};

use crate::arch::{Flow, number};
use crate::exec::descriptor_path;
use crate::procfs::{canonical_proc, is_procfs, process_component};
use crate::remembered::When;
use crate::scope::{self, Limit};
use crate::state::{State, speaks};
use crate::sys::{self, Errno, Owned};
use crate::{own, report};
use pinned::Outcome;

/// Longest resolved path.
const LONGEST: usize = 4096;
/// Longest that is kept on the stack.
const SHORT: usize = 512;
const MAX_LINKS: usize = 8;
/// Stands for the name of a file that has none.
const UNNAMED: &[u8] = b"(unnamed)";

/// An open in the form of openat(2).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open {
    number: usize,
    arguments: [usize; 6],
    directory: i32,
    path: usize,
    flags: usize,
}

impl Open {
    pub(crate) fn plain(arguments: [usize; 6]) -> Self {
        let [path, flags, ..] = arguments;
        Self { number: number::OPEN, arguments, directory: sys::CWD, path, flags }
    }

    pub(crate) fn creat(arguments: [usize; 6]) -> Self {
        let [path, ..] = arguments;
        let flags = sys::O_CREAT | sys::O_WRONLY | sys::O_TRUNC;
        Self { number: number::CREAT, arguments, directory: sys::CWD, path, flags }
    }

    pub(crate) fn openat(arguments: [usize; 6]) -> Self {
        let [directory, path, flags, ..] = arguments;
        Self { number: number::OPENAT, arguments, directory: sys::descriptor(directory), path, flags }
    }

    pub(crate) fn openat2(arguments: [usize; 6]) -> Self {
        let [directory, path, how, ..] = arguments;
        let flags = sys::word_at(how).unwrap_or(0);
        Self { number: number::OPENAT2, arguments, directory: sys::descriptor(directory), path, flags }
    }

    const fn writes(&self) -> bool {
        let temporary = self.flags & sys::O_TMPFILE == sys::O_TMPFILE;
        self.flags & sys::O_ACCMODE != 0 || self.flags & (sys::O_CREAT | sys::O_TRUNC) != 0 || temporary
    }

    const fn reads(&self) -> bool {
        self.flags & sys::O_ACCMODE != sys::O_WRONLY
    }
}

/// Judges and makes an open.
pub(crate) fn open(state: &State, open: &Open) -> Flow {
    if open.flags & sys::O_PATH != 0 || !sys::plausible(open.path) {
        return Flow::Proceed;
    }
    let scoped = scope::holds(Limit::Tmp);
    let writes = (state.rules.write || scoped) && open.writes();
    if writes && open.number == number::OPENAT2 {
        // Its flags stand in memory, and its paths are resolved its own way: callers fall back.
        return Flow::Done(Errno::NOSYS.result());
    }
    let pins_writes = writes && state.proc_device != 0;
    if writes && !pins_writes && write_denied(state, open.directory, open.path, open.flags) {
        return Flow::Done(Errno::ACCES.result());
    }
    let when = state.when();
    let everywhere = state.rules.read_in(when.phase);
    let in_proc = state.rules.write_in_proc && open.writes();
    let changes = open.flags & sys::O_ACCMODE != 0 || in_proc;
    if !(changes || pins_writes || everywhere || scoped || state.rules.credentials) {
        return Flow::Proceed;
    }
    let reads = open.reads() && (everywhere || scoped || state.rules.credentials);
    let verdict = |file: i32, is_pin: bool| {
        if changes && may_matter(state, file, false) {
            if in_proc && proc_write_denied(state, file, when) {
                return Some(Flow::Done(Errno::ACCES.result()));
            }
            if is_memory(file) {
                return Some(own::dangerous(state, "write to /proc/<pid>/mem"));
            }
        }
        let opened = Opened { file, is_pin };
        let is_denied = if everywhere && !scoped && !open.writes() && state.remembered.is_some() {
            reads && denied_unless_remembered(state, open.path, opened, when)
        } else {
            reads
                && (scoped || may_matter(state, file, everywhere))
                && opened.may_be_read()
                && read_judged(state, file, everywhere, when) == Judgement::Denied
        };
        is_denied.then_some(Flow::Done(Errno::ACCES.result()))
    };
    // Before init is over credentials are only written about, and nothing else of reading is judged.
    let is_wall = changes || everywhere || scoped || when.phase != Phase::Init;
    let opened = if pins_writes || (is_wall && pinned::is_held(state, open, changes)) {
        let judged = pinned::Writes { state, is_judged: pins_writes };
        match pinned::open(open, &judged, |pin| verdict(pin, true).filter(|flow| *flow != Flow::Proceed)) {
            Outcome::Over(flow) => return flow,
            Outcome::Unjudged(opened) => opened,
        }
    } else {
        let asked = open.writes() && state.kernel_decides(covers::OPEN_WRITE | covers::OPENS_ASKED);
        let makes = open.flags & (sys::O_CREAT | sys::O_EXCL) == sys::O_CREAT | sys::O_EXCL;
        let call = match (asked, makes) {
            (true, true) => sys::pass_whole,
            (true, false) => sys::pass_patiently,
            (false, _) => sys::pass,
        };
        let result = call(open.number, open.arguments);
        let Ok(opened) = sys::check(result) else {
            if in_proc && result == Errno::ACCES.result() {
                note_refused(state, open, when);
            }
            return Flow::Done(result);
        };
        sys::descriptor(opened)
    };
    match verdict(opened, false) {
        Some(denied @ Flow::Done(_)) => {
            sys::close(opened);
            denied
        }
        _ => Flow::Done(sys::result_of(opened)),
    }
}

/// The cheap questions first: where no rule speaks of other places, only procfs matters. Its files look empty and lie
/// on a device without a number of its own, wherever it is mounted; the rest of those is told by the type of the file
/// system. Whether a file is empty is the cheapest thing to ask: 20 ns more than a call that does nothing, fstat(2)
/// is 75.
fn may_matter(state: &State, opened: i32, by_rules: bool) -> bool {
    if by_rules && !state.rules.read_in_proc_only {
        return true;
    }
    if state.rules.procfs_looks_empty && has_bytes(opened) {
        return false;
    }
    let Ok(file) = sys::identity(opened) else { return true };
    file.device == state.proc_device || (file.size == 0 && file.device >> 8 == 0 && is_procfs(opened))
}

/// Whether `opened` is a file with something left to be read, or a device that says so: FIONREAD (ioctl(2)).
/// A file that looks empty, a folder and an error are `false`.
fn has_bytes(opened: i32) -> bool {
    const FIONREAD: usize = 0x541b;
    let mut count = 0_i32;
    let opened = usize::try_from(opened).unwrap_or(usize::MAX);
    let arguments = [opened, FIONREAD, (&raw mut count) as usize, 0, 0, 0];
    sys::check(sys::pass(number::IOCTL, arguments)).is_ok() && count > 0
}

/// What came of a question, with what was written down about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Judgement {
    /// Allowed by the policy, and nothing to be said about it.
    Allowed,
    /// Let go ahead, for a reason that may not hold another time.
    Passed,
    Denied,
}

/// A file that is open, or pinned only (`O_PATH`).
#[derive(Debug, Clone, Copy)]
struct Opened {
    file: i32,
    is_pin: bool,
}

impl Opened {
    /// Whether the kernel lets it be read: what it refuses itself is no violation.
    fn may_be_read(self) -> bool {
        !self.is_pin || sys::may_read(descriptor_path(self.file, &mut [0; 32]))
    }
}

/// Whether what was opened may not be read. What is remembered needs no name, and the name is the dear part.
fn denied_unless_remembered(state: &State, path: usize, opened: Opened, when: When) -> bool {
    let table = state.remembered.as_ref().filter(|table| {
        let path = sys::string_at(path, LONGEST);
        path.is_some_and(|path| table.has_seen(path))
    });
    let asked = table.and_then(|table| Some((table, table.ask(opened.file, when)?)));
    if asked.is_some_and(|(_, asked)| asked.is_allowed()) || !opened.may_be_read() {
        return false;
    }
    let judgement = read_judged(state, opened.file, true, when);
    if let (Some((table, asked)), Judgement::Allowed) = (asked, judgement) {
        table.keep(opened.file, &asked);
    }
    judgement == Judgement::Denied
}

/// What the rules say of reading what was opened; writes the verdict down.
#[inline(never)]
fn read_judged(state: &State, opened: i32, everywhere: bool, when: When) -> Judgement {
    // Nearly all names are short, and the stack may be: musl's posix_spawn opens files on 5 KiB of it.
    let mut buffer = [0; SHORT];
    named_judged(state, opened, everywhere, when, &mut buffer)
        .or_else(|| named_judged(state, opened, everywhere, when, sys::Buffer::new(LONGEST).ok()?.bytes()))
        .unwrap_or_else(|| denied_where(everywhere))
}

/// Where no name can be had, rules on reading cannot be held, so nothing passes that they could mean.
const fn denied_where(rules: bool) -> Judgement {
    if rules { Judgement::Denied } else { Judgement::Passed }
}

/// The same, with room for the name; `None` where it is too small.
#[inline(never)]
fn named_judged(
    state: &State,
    opened: i32,
    everywhere: bool,
    when: When,
    buffer: &mut [u8],
) -> Option<Judgement> {
    let mut link = [0; 32];
    let path = match sys::read_link(sys::CWD, descriptor_path(opened, &mut link), buffer) {
        Ok(path) => path,
        Err(Errno::NAMETOOLONG) => return None,
        // A filter that the program has put on itself could refuse the question. Where there never was a /proc to ask,
        // rules on reading cannot be held.
        Err(_) => return Some(denied_where(everywhere && state.proc_device != 0)),
    };
    if path.is_empty() {
        return Some(denied_where(everywhere));
    }
    if !path.starts_with(b"/") {
        return Some(Judgement::Passed);
    }
    // Only a path with a process in it can be one of a procfs elsewhere.
    let (length, elsewhere) = (path.len(), process_component(path).is_some());
    let length = if elsewhere && is_procfs(opened) { canonical_proc(buffer, length) } else { length };
    Some(path_judged(state, buffer.get(..length).unwrap_or_default(), everywhere, when))
}

#[inline(never)]
fn path_judged(state: &State, path: &[u8], everywhere: bool, when: When) -> Judgement {
    if scope::refuses_path(state, path, ActionKind::OpenRead) {
        return Judgement::Denied;
    }
    let read = if everywhere {
        judged(state, &Action::OpenRead { path }, ActionKind::OpenRead, path, when)
    } else {
        Judgement::Allowed
    };
    let environment = path.starts_with(b"/proc/") && path.ends_with(b"/environ");
    if read == Judgement::Denied || !(environment && state.rules.credentials) {
        return read;
    }
    let credential = Action::ReadCredential { variable: path, by_sdk: false };
    // One deed is one record: what a rule on files has told is told again only where this rule refuses it.
    let verdict = state.policy.verdict(&credential, &state.context_at(when));
    if read == Judgement::Passed && verdict.decision != Decision::Deny {
        return read;
    }
    read.max(judged(state, &credential, ActionKind::ReadCredential, path, when))
}

/// Whether a rule on writing in procfs denies what was opened: by the kernel's name, and by that of the file of the process.
/// A rule may mean either. No name, no write.
#[inline(never)]
fn proc_write_denied(state: &State, opened: i32, when: When) -> bool {
    let (mut link, mut buffer) = ([0; 32], [0; SHORT]);
    if !is_procfs(opened) {
        return false;
    }
    let Ok(path) = sys::read_link(sys::CWD, descriptor_path(opened, &mut link), &mut buffer) else {
        return true;
    };
    let length = path.len();
    let judge = |path: &[u8]| judged(state, &Action::OpenWrite { path }, ActionKind::OpenWrite, path, when);
    let found = judge(path);
    if found != Judgement::Allowed {
        return found == Judgement::Denied;
    }
    let length = canonical_proc(&mut buffer, length);
    judge(buffer.get(..length).unwrap_or_default()) == Judgement::Denied
}

/// Writes down what the rules say of an open in procfs that Landlock, or the kernel, has refused already.
#[inline(never)]
fn note_refused(state: &State, open: &Open, when: When) {
    let flags = sys::O_PATH | sys::O_CLOEXEC | (open.flags & sys::O_NOFOLLOW);
    if let Ok(pin) = sys::open_raw(open.directory, open.path, flags) {
        let _ = proc_write_denied(state, pin.0, when);
    }
}

/// Whether `opened` is the memory of a process: written to, it undoes the library, or another process's.
#[inline(never)]
fn is_memory(opened: i32) -> bool {
    let (mut link, mut buffer) = ([0; 32], [0; 256]);
    is_procfs(opened)
        && sys::read_link(sys::CWD, descriptor_path(opened, &mut link), &mut buffer)
            .is_ok_and(|path| path.ends_with(b"/mem"))
}

/// Asks the policy and writes down what it says.
fn judged(state: &State, action: &Action<'_>, kind: ActionKind, subject: &[u8], when: When) -> Judgement {
    let verdict = state.policy.verdict(action, &state.context_at(when));
    if speaks(verdict) {
        let mut report = Report::new(Kind::Violation, kind);
        if kind == ActionKind::ReadCredential {
            report.name = subject;
        } else {
            report.path = subject;
        }
        report::violation(state, verdict, &report);
    }
    match verdict.decision {
        Decision::Deny => Judgement::Denied,
        Decision::Allow => Judgement::Allowed,
        Decision::Report => Judgement::Passed,
    }
}

/// The same, in the phase that it is; true where it denies.
fn refused(state: &State, action: &Action<'_>, kind: ActionKind, subject: &[u8]) -> bool {
    judged(state, action, kind, subject, state.when()) == Judgement::Denied
}

/// Whether anything speaks of writing here.
pub(crate) fn holds_writes(state: &State) -> bool {
    state.rules.write || scope::holds(Limit::Tmp)
}

/// Whether a file, a socket, may not be made at `path`; writes the verdict down. No path, no file.
pub(crate) fn makes_denied(state: &State, path: &[u8]) -> bool {
    // sun_path of unix(7) has 108 bytes.
    let mut buffer = [0; 128];
    !path.is_empty()
        && holds_writes(state)
        && terminated(path, &mut buffer)
            .is_some_and(|path| write_denied(state, sys::CWD, path.as_ptr() as usize, sys::O_NOFOLLOW))
}

/// `AT_FDCWD` as an argument.
pub(crate) const HERE: usize = 0_usize.wrapping_sub(100);

#[inline(never)]
fn write_denied(state: &State, directory: i32, path: usize, flags: usize) -> bool {
    let Ok(mut room) = sys::Buffer::new(LONGEST) else { return true };
    let buffer = room.bytes();
    let Some(length) = resolve(directory, path, flags, buffer) else { return false };
    path_denied(state, buffer.get(..length).unwrap_or_default())
}

/// Whether the file of this name may not be written, made or removed; writes the verdict down.
fn path_denied(state: &State, path: &[u8]) -> bool {
    if scope::refuses_path(state, path, ActionKind::OpenWrite) {
        return true;
    }
    // `/dev/null` and other devices are not files of anyone.
    state.rules.write && refused(state, &Action::OpenWrite { path }, ActionKind::OpenWrite, path)
}

/// The same for a file that is pinned. Where its name cannot be told, rules on writing cannot be held.
#[inline(never)]
fn pin_denied(state: &State, pin: i32) -> bool {
    let Ok(mut room) = sys::Buffer::new(LONGEST) else { return true };
    let Some(length) = name_of(pin, room.bytes()) else { return true };
    path_denied(state, room.bytes().get(..length).unwrap_or_default())
}

/// The same for a file that is to be made in `folder`.
#[inline(never)]
fn new_denied(state: &State, folder: i32, name: &Name) -> bool {
    below_denied(state, folder, name.text())
}

/// The same for one without a name.
#[inline(never)]
fn unnamed_denied(state: &State, folder: i32) -> bool {
    below_denied(state, folder, UNNAMED)
}

fn below_denied(state: &State, folder: i32, name: &[u8]) -> bool {
    let Ok(mut room) = sys::Buffer::new(LONGEST) else { return true };
    let buffer = room.bytes();
    let length = name_of(folder, buffer).and_then(|length| append(buffer, length, name));
    length.is_none_or(|length| path_denied(state, buffer.get(..length).unwrap_or_default()))
}

/// The absolute path that an open for writing would create or change; `None` where the kernel will refuse it.
fn resolve(directory: i32, path: usize, flags: usize, buffer: &mut [u8]) -> Option<usize> {
    let nofollow = flags & sys::O_NOFOLLOW;
    if flags & sys::O_TMPFILE == sys::O_TMPFILE {
        let parent = sys::open_raw(directory, path, sys::O_PATH | sys::O_CLOEXEC).ok()?;
        let length = name_of(parent.0, buffer)?;
        return append(buffer, length, UNNAMED);
    }
    match sys::open_raw(directory, path, sys::O_PATH | sys::O_CLOEXEC | nofollow) {
        Ok(file) => name_of(file.0, buffer),
        Err(Errno::NOENT) => resolve_new(directory, sys::string_at(path, LONGEST)?, buffer),
        Err(_) => None,
    }
}

/// The path of a file that does not exist yet: its directory's name, and its own; links that dangle are followed.
fn resolve_new(directory: i32, path: &[u8], buffer: &mut [u8]) -> Option<usize> {
    let (parent, name) = place_of_new(directory, path, true)?;
    let length = name_of(parent.0, buffer)?;
    append(buffer, length, name.text())
}

/// Where a file that does not exist yet would be made: its directory and its name.
fn place_of_new(directory: i32, path: &[u8], follow: bool) -> Option<(Owned, Name)> {
    let mut parent = open_parent(directory, path)?;
    let mut name = Name::last_of(path)?;
    for _ in 0..MAX_LINKS {
        let mut link = sys::Buffer::new(LONGEST).ok()?;
        let target = if follow {
            sys::read_link(parent.0, name.terminated(), link.bytes())
        } else {
            Err(Errno::INVAL)
        };
        let Ok(target) = target else { return Some((parent, name)) };
        parent = open_parent(parent.0, target)?;
        name = Name::last_of(target)?;
    }
    None
}

/// One component of a path, with NULs behind it.
struct Name {
    bytes: [u8; 264],
    length: usize,
}

impl Name {
    fn last_of(path: &[u8]) -> Option<Self> {
        let (_, last) = split(path);
        Self::new(last, b"")
    }

    /// `NAME_MAX` is 255, and a slash and a NUL may follow.
    fn new(name: &[u8], end: &[u8]) -> Option<Self> {
        let (mut bytes, length) = ([0; 264], name.len() + end.len());
        bytes.get_mut(..name.len())?.copy_from_slice(name);
        bytes.get_mut(name.len()..length)?.copy_from_slice(end);
        (name.len() < 256).then_some(Self { bytes, length })
    }

    fn terminated(&self) -> &[u8] {
        self.bytes.get(..=self.length).unwrap_or_default()
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

fn open_parent(directory: i32, path: &[u8]) -> Option<Owned> {
    let mut buffer = sys::Buffer::new(LONGEST).ok()?;
    let (parent, _) = split(path);
    let parent = terminated(if parent.is_empty() { b"." } else { parent }, buffer.bytes())?;
    sys::open_at(directory, parent, sys::O_PATH | sys::O_CLOEXEC).ok()
}

/// Directory (with its slash) and last component. Slashes at the end do not count.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
    let path = path.get(..end).unwrap_or_default();
    let start = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    path.split_at_checked(start).unwrap_or_default()
}

fn terminated<'b>(text: &[u8], buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    buffer.get_mut(..text.len())?.copy_from_slice(text);
    *buffer.get_mut(text.len())? = 0;
    buffer.get(..=text.len())
}

/// The kernel's name of what `file` is.
fn name_of(file: i32, buffer: &mut [u8]) -> Option<usize> {
    let mut link = [0; 32];
    let name = sys::read_link(sys::CWD, descriptor_path(file, &mut link), buffer).ok()?;
    // A filter that the program has put on itself could answer with nothing.
    (!name.is_empty()).then_some(name.len())
}

fn append(buffer: &mut [u8], length: usize, name: &[u8]) -> Option<usize> {
    let slash = usize::from(length > 1);
    if slash == 1 {
        *buffer.get_mut(length)? = b'/';
    }
    let start = length + slash;
    buffer.get_mut(start..start + name.len())?.copy_from_slice(name);
    Some(start + name.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_splits_at_its_last_slash() {
        assert_eq!(split(b"/tmp/a"), (&b"/tmp/"[..], &b"a"[..]));
        assert_eq!(split(b"/tmp/a//"), (&b"/tmp/"[..], &b"a"[..]));
        assert_eq!(split(b"a"), (&b""[..], &b"a"[..]));
        assert_eq!(split(b"/"), (&b""[..], &b""[..]));
    }

    #[test]
    fn the_name_of_a_new_file_goes_through_links() {
        let folder = std::env::temp_dir().join(format!("ringfence-resolve-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("real")).unwrap();
        let _ = std::os::unix::fs::symlink(folder.join("real"), folder.join("link"));
        let _ = std::os::unix::fs::symlink(folder.join("real/missing"), folder.join("dangling"));
        let resolved = |name: &str| {
            let path = std::ffi::CString::new(folder.join(name).to_str().unwrap()).unwrap();
            let mut buffer = [0; LONGEST];
            let length = resolve(sys::CWD, path.as_ptr() as usize, sys::O_CREAT, &mut buffer)?;
            Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
        };
        let expected = |name: &str| Some(folder.join(name).to_str().unwrap().to_owned());
        assert_eq!(resolved("link/new"), expected("real/new"));
        assert_eq!(resolved("dangling"), expected("real/missing"));
        assert_eq!(resolved("real/../new"), expected("new"));
        assert_eq!(resolved("nowhere/new"), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    proptest! {
        #[test]
        fn garbage_never_panics(path in proptest::collection::vec(prop_oneof![Just(b'/'), any::<u8>()], 0..60)) {
            let (folder, last) = split(&path);
            prop_assert!(folder.len() + last.len() <= path.len());
        }
    }
}

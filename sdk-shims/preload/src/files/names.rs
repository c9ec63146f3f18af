//! Calls that change names: each name is pinned by its folder, judged, and changed there.
//!
//! Between a verdict on a path and the call another process may put a link in the path's place. So the folder is opened
//! first (`O_PATH`), which settles where the path leads; what is judged is the kernel's name of it, and the call is made
//! with that folder and the last component alone. No other link is followed then: calls of this kind follow none at a
//! path's end, but for truncate(2) and some links, whose file is pinned itself. `handler` calls it.

use ringfence_policy::Action;
use ringfence_records::handoff::covers;
use ringfence_records::message::ActionKind;

use super::{HERE, LONGEST, Name, append, holds_writes, name_of, path_denied, refused, split, terminated};
use crate::arch::{Flow, number};
use crate::exec::descriptor_path;
use crate::pins::Pin;
use crate::remembered::Move;
use crate::state::State;
use crate::sys::{self, Buffer, Errno};

const AT_SYMLINK_FOLLOW: usize = 0x400;
const AT_EMPTY_PATH: usize = 0x1000;
const AT_REMOVEDIR: usize = 0x200;
const RENAME_EXCHANGE: usize = 2;

/// Whether anything speaks of names here, so that they are judged.
fn is_judged(state: &State) -> bool {
    (holds_writes(state) || keeps_names(state)) && state.proc_device != 0
}

/// Whether a file may have to keep its name: under another it could be read.
fn keeps_names(state: &State) -> bool {
    state.rules.read_in(state.phase().0) && !state.rules.read_in_proc_only
}

/// Judges and makes a call that changes names.
pub(crate) fn change(state: &State, call: usize, arguments: [usize; 6]) -> Flow {
    let moves = matches!(call, number::RENAME | number::RENAMEAT | number::RENAMEAT2);
    // Made here in any case where it moves something, so that its end is known.
    let pass = |call: usize, arguments: [usize; 6]| {
        let _move = moves.then(Move::begin);
        if state.kernel_decides(covers::OPEN_WRITE) {
            sys::pass_whole(call, arguments)
        } else {
            sys::pass(call, arguments)
        }
    };
    if !is_judged(state) {
        let is_followed = state.kernel_decides(covers::OPEN_WRITE) || (moves && state.remembered.is_some());
        return if is_followed { Flow::Done(pass(call, arguments)) } else { Flow::Proceed };
    }
    let [first, second, third, fourth, flags, _] = arguments;
    let at = |call: usize, folder: usize, name: usize, more: [usize; 2]| {
        let [more, last] = more;
        pass(call, [folder, name, more, last, 0, 0])
    };
    let result = match call {
        number::RENAME => renamed(state, [(HERE, first), (HERE, second)], 0, pass),
        number::RENAMEAT => renamed(state, [(first, second), (third, fourth)], 0, pass),
        number::RENAMEAT2 => renamed(state, [(first, second), (third, fourth)], flags, pass),
        number::LINK => linked(state, [(HERE, first), (HERE, second)], 0, pass),
        number::LINKAT => linked(state, [(first, second), (third, fourth)], flags, pass),
        number::TRUNCATE => truncated(state, first, second, pass),
        number::SYMLINK => {
            one(state, (HERE, second), |folder, name| pass(number::SYMLINKAT, [first, folder, name, 0, 0, 0]))
        }
        number::SYMLINKAT => {
            one(state, (second, third), |folder, name| pass(call, [first, folder, name, 0, 0, 0]))
        }
        number::UNLINK => {
            one(state, (HERE, first), |folder, name| at(number::UNLINKAT, folder, name, [0, 0]))
        }
        number::RMDIR => {
            one(state, (HERE, first), |folder, name| at(number::UNLINKAT, folder, name, [AT_REMOVEDIR, 0]))
        }
        number::MKDIR => {
            one(state, (HERE, first), |folder, name| at(number::MKDIRAT, folder, name, [second, 0]))
        }
        number::MKNOD => {
            one(state, (HERE, first), |folder, name| at(number::MKNODAT, folder, name, [second, third]))
        }
        // unlinkat(2), mkdirat(2), mknodat(2).
        _ => one(state, (first, second), |folder, name| at(call, folder, name, [third, fourth])),
    };
    Flow::Done(result.unwrap_or_else(Errno::result))
}

/// A name that is to be made, moved or removed.
struct Place {
    folder: Pin,
    /// As the call takes it: with the slash that may stand at a path's end, which asks for a folder.
    name: Name,
    /// Without.
    bare: Name,
}

impl Place {
    /// Pins the folder that `path`, a string of the program's, leads to.
    #[inline(never)]
    fn of((directory, path): (usize, usize)) -> Result<Self, Errno> {
        let (mut text, mut parent) = (Buffer::new(LONGEST)?, Buffer::new(LONGEST)?);
        let text = copied(path, text.bytes())?;
        let root = (Name::new(b"", b"/"), Name::new(b".", b""));
        let slash: &[u8] = if text.ends_with(b"/") { b"/" } else { b"" };
        let (before, last) = match split(text) {
            _ if text.is_empty() => return Err(Errno::NOENT),
            (_, []) => (&b"/"[..], &b""[..]),
            ([], last) => (&b"."[..], last),
            both => both,
        };
        let before = terminated(before, parent.bytes()).ok_or(Errno::NAMETOOLONG)?;
        let folder = sys::open_at(sys::descriptor(directory), before, sys::O_PATH | sys::O_CLOEXEC)?;
        let folder = Pin::new(folder).ok_or(Errno::NFILE)?;
        let names = if last.is_empty() { root } else { (Name::new(last, slash), Name::new(last, b"")) };
        let (Some(name), Some(bare)) = names else { return Err(Errno::NAMETOOLONG) };
        Ok(Self { folder, name, bare })
    }

    /// Folder and name as arguments of a call.
    fn arguments(&self) -> (usize, usize) {
        (descriptor_argument(self.folder.number()), self.name.bytes.as_ptr() as usize)
    }

    /// The kernel's name of what is there, or would be; a name that cannot be told is not changed.
    fn path<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], Errno> {
        let flags = sys::O_PATH | sys::O_CLOEXEC | sys::O_NOFOLLOW;
        let length = match sys::open_at(self.folder.number(), self.bare.terminated(), flags) {
            Ok(file) => name_of(file.0, buffer),
            Err(Errno::NOENT) => {
                let folder = name_of(self.folder.number(), buffer);
                folder.and_then(|length| append(buffer, length, self.bare.text()))
            }
            Err(error) => return Err(error),
        };
        buffer.get(..length.ok_or(Errno::ACCES)?).ok_or(Errno::ACCES)
    }

    /// Whether the name may be changed, as a write to it.
    #[inline(never)]
    fn may_change(&self, state: &State) -> Result<(), Errno> {
        if !holds_writes(state) {
            return Ok(());
        }
        let mut room = Buffer::new(LONGEST)?;
        let path = self.path(room.bytes())?;
        if path_denied(state, path) { Err(Errno::ACCES) } else { Ok(()) }
    }

    /// Whether what is there may get another name, as a read of it. Nothing there, nothing to read.
    #[inline(never)]
    fn may_move(&self, state: &State) -> Result<(), Errno> {
        let flags = sys::O_PATH | sys::O_CLOEXEC | sys::O_NOFOLLOW;
        match sys::open_at(self.folder.number(), self.bare.terminated(), flags) {
            Ok(file) => may_be_renamed(state, file.0),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A descriptor as an argument of a system call.
fn descriptor_argument(descriptor: i32) -> usize {
    usize::try_from(descriptor).unwrap_or(HERE)
}

/// Whether the file may get another name.
fn may_be_renamed(state: &State, file: i32) -> Result<(), Errno> {
    if !keeps_names(state) {
        return Ok(());
    }
    let mut room = Buffer::new(LONGEST)?;
    let length = name_of(file, room.bytes()).ok_or(Errno::ACCES)?;
    let path = room.bytes().get(..length).unwrap_or_default();
    let denied = refused(state, &Action::OpenRead { path }, ActionKind::OpenRead, path);
    if denied { Err(Errno::ACCES) } else { Ok(()) }
}

/// The program's string, read once.
fn copied(address: usize, buffer: &mut [u8]) -> Result<&[u8], Errno> {
    if !sys::plausible(address) {
        return Err(Errno::FAULT);
    }
    let text = sys::string_at(address, LONGEST).ok_or(Errno::NAMETOOLONG)?;
    buffer.get_mut(..text.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(text);
    let text = buffer.get(..text.len()).unwrap_or_default();
    // Another thread may have cut it meanwhile.
    Ok(text.split(|byte| *byte == 0).next().unwrap_or_default())
}

/// A call on one name.
fn one(
    state: &State,
    target: (usize, usize),
    call: impl FnOnce(usize, usize) -> isize,
) -> Result<isize, Errno> {
    let place = Place::of(target)?;
    place.may_change(state)?;
    let (folder, name) = place.arguments();
    Ok(call(folder, name))
}

fn renamed(
    state: &State,
    [from, to]: [(usize, usize); 2],
    flags: usize,
    pass: impl FnOnce(usize, [usize; 6]) -> isize,
) -> Result<isize, Errno> {
    let (from, to) = (Place::of(from)?, Place::of(to)?);
    from.may_move(state)?;
    if flags & RENAME_EXCHANGE != 0 {
        to.may_move(state)?;
    }
    from.may_change(state)?;
    to.may_change(state)?;
    let ((a, b), (c, d)) = (from.arguments(), to.arguments());
    // Only renameat2(2) has flags, and not every kernel has it.
    let call = if flags == 0 { number::RENAMEAT } else { number::RENAMEAT2 };
    Ok(pass(call, [a, b, c, d, flags, 0]))
}

fn linked(
    state: &State,
    [from, to]: [(usize, usize); 2],
    flags: usize,
    pass: impl FnOnce(usize, [usize; 6]) -> isize,
) -> Result<isize, Errno> {
    let file = Pinned::of(from, flags)?;
    let to = Place::of(to)?;
    may_be_renamed(state, file.0.number())?;
    file.may_be_written(state)?;
    to.may_change(state)?;
    let (folder, name) = to.arguments();
    let mut link = [0; 32];
    let link = descriptor_path(file.0.number(), &mut link).as_ptr() as usize;
    Ok(pass(number::LINKAT, [HERE, link, folder, name, AT_SYMLINK_FOLLOW, 0]))
}

fn truncated(
    state: &State,
    path: usize,
    length: usize,
    pass: impl FnOnce(usize, [usize; 6]) -> isize,
) -> Result<isize, Errno> {
    let file = Pinned::of((HERE, path), AT_SYMLINK_FOLLOW)?;
    file.may_be_written(state)?;
    let mut link = [0; 32];
    let link = descriptor_path(file.0.number(), &mut link).as_ptr() as usize;
    Ok(pass(number::TRUNCATE, [link, length, 0, 0, 0, 0]))
}

/// A file that a call takes by its path.
struct Pinned(Pin);

impl Pinned {
    fn of((directory, path): (usize, usize), flags: usize) -> Result<Self, Errno> {
        let mut room = Buffer::new(LONGEST + 1)?;
        let text = copied(path, room.bytes())?;
        let mut own = [0; 32];
        let follow = if flags & AT_SYMLINK_FOLLOW == 0 { sys::O_NOFOLLOW } else { 0 };
        let open = sys::O_PATH | sys::O_CLOEXEC;
        let file = if text.is_empty() && flags & AT_EMPTY_PATH != 0 {
            // What is open already.
            sys::open_at(sys::CWD, descriptor_path(sys::descriptor(directory), &mut own), open)?
        } else {
            let length = text.len();
            let text = room.bytes().get(..=length).ok_or(Errno::NAMETOOLONG)?;
            sys::open_at(sys::descriptor(directory), text, open | follow)?
        };
        Pin::new(file).ok_or(Errno::NFILE).map(Self)
    }

    fn may_be_written(&self, state: &State) -> Result<(), Errno> {
        if !holds_writes(state) {
            return Ok(());
        }
        let mut room = Buffer::new(LONGEST)?;
        let length = name_of(self.0.number(), room.bytes()).ok_or(Errno::ACCES)?;
        let path = room.bytes().get(..length).unwrap_or_default();
        if path_denied(state, path) { Err(Errno::ACCES) } else { Ok(()) }
    }
}

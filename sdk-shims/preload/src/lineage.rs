//! Who started this process: the executables from the runtime down, and their numbers.
//!
//! Asked only for a report, while the ancestors are still there: by the time the agent reads it they may be gone. It
//! reads `/proc/<pid>/stat` and `/proc/<pid>/exe` and decides nothing.

use ringfence_records::message::{MAX_ANCESTORS, MAX_TEXT};

use crate::exec::decimal;
use crate::sys;

/// Longest name of an executable that is shown.
const MAX_NAME: usize = 32;
const SEPARATOR: &[u8] = b" > ";

/// A process and its ancestors.
pub(crate) struct Lineage {
    /// The process first.
    pids: [u32; MAX_ANCESTORS + 1],
    text: [u8; MAX_TEXT],
    /// Where the text begins: it is written from its end, as the walk goes upwards.
    start: usize,
}

impl Lineage {
    /// The line from `process` up to `runtime`; the runtime itself has none.
    pub(crate) fn of(process: u32, runtime: u32) -> Self {
        let mut line = Self { pids: [0; MAX_ANCESTORS + 1], text: [0; MAX_TEXT], start: MAX_TEXT };
        let mut next = if process == runtime { None } else { Some(process) };
        for index in 0..line.pids.len() {
            let Some(pid) = next else { break };
            if let Some(slot) = line.pids.get_mut(index) {
                *slot = pid;
            }
            line.add_name(pid);
            next = if pid == runtime { None } else { parent_of(pid).filter(|parent| *parent > 1) };
        }
        line
    }

    /// Parent first.
    pub(crate) fn ancestors(&self) -> [u32; MAX_ANCESTORS] {
        let [_, ancestors @ ..] = self.pids;
        ancestors
    }

    /// `python3.13 > sed > sh`.
    pub(crate) fn chain(&self) -> &[u8] {
        self.text.get(self.start..).unwrap_or_default()
    }

    fn add_name(&mut self, pid: u32) {
        let mut path = sys::Buffer::new(256).ok();
        let path = path.as_mut().and_then(|path| executable_of(pid, path.bytes())).unwrap_or(b"?");
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        let name = name.get(..MAX_NAME).unwrap_or(name);
        if self.start != MAX_TEXT {
            self.put_before(SEPARATOR);
        }
        self.put_before(name);
    }

    fn put_before(&mut self, text: &[u8]) {
        let Some(start) = self.start.checked_sub(text.len()) else { return };
        if let Some(room) = self.text.get_mut(start..self.start) {
            room.copy_from_slice(text);
            self.start = start;
        }
    }
}

/// `/proc/<pid>/<file>` with its NUL; `file` has it.
fn path_of<'b>(pid: u32, file: &[u8], buffer: &'b mut [u8; 40]) -> Option<&'b [u8]> {
    let (mut digits, mut used) = ([0; 12], 0);
    for part in [&b"/proc/"[..], decimal(pid, &mut digits), file] {
        buffer.get_mut(used..used + part.len())?.copy_from_slice(part);
        used += part.len();
    }
    buffer.get(..used)
}

fn executable_of(pid: u32, buffer: &mut [u8]) -> Option<&[u8]> {
    sys::read_link(sys::CWD, path_of(pid, b"/exe\0", &mut [0; 40])?, buffer).ok()
}

/// The parent of a process, as /proc tells.
pub(crate) fn parent_of(pid: u32) -> Option<u32> {
    let file = sys::open_at(sys::CWD, path_of(pid, b"/stat\0", &mut [0; 40])?, sys::O_CLOEXEC).ok()?;
    let mut text = sys::Buffer::new(512).ok()?;
    let length = sys::read(file.0, text.bytes()).ok()?;
    parent_in(text.bytes().get(..length)?)
}

/// The fourth field of `stat`; the second, a name in parentheses, may hold anything.
fn parent_in(stat: &[u8]) -> Option<u32> {
    let behind = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let mut fields = stat.get(behind..)?.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    core::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_line_goes_up_to_the_runtime() {
        let (own, parent) = (std::process::id(), sys::parent_id());
        let line = Lineage::of(own, parent);
        assert_eq!(line.ancestors()[0], parent);
        assert_eq!(line.ancestors()[1], 0);
        let chain = String::from_utf8(line.chain().to_vec()).unwrap();
        assert!(chain.contains(" > ringfence"), "{chain}");
        assert_eq!(Lineage::of(own, own).chain(), b"", "the runtime has none");
    }

    #[test]
    fn a_name_cannot_forge_a_parent() {
        assert_eq!(parent_in(b"17 (x) S 9 (y) R 4 1"), Some(4));
        assert_eq!(parent_in(b"17 (x"), None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(stat in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parent_in(&stat);
        }
    }
}

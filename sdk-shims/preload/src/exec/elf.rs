//! How a file would be loaded, from its first bytes.
//!
//! It reads the head of a file and tells dynamic, static and foreign binaries, the loader, and scripts apart. It
//! takes any bytes and must not know what is allowed.

use ringfence_policy::{Linkage, is_in_writable_place};

use crate::sys;

const MACHINE: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
/// `AT_SYSINFO`-free offsets of `Elf64_Ehdr` and `Elf64_Phdr`, from elf(5).
const TYPE_INTERPRETER: u32 = 3;
const HEADER: usize = 56;
const MAX_HEADERS: usize = 16;

/// The head of a file: as much as the kernel reads of a script, and the program headers.
#[derive(Debug)]
pub(super) struct Head {
    bytes: [u8; Self::SIZE],
    length: usize,
    interpreter: Interpreter,
}

/// What a binary says about its loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interpreter {
    None,
    Known,
    /// One that is no loader by its name, or lies where the function could have put it: it need not load us.
    Strange,
}

impl Default for Head {
    fn default() -> Self {
        Self { bytes: [0; Self::SIZE], length: 0, interpreter: Interpreter::None }
    }
}

impl Head {
    /// `BINPRM_BUF_SIZE` (binfmts.h).
    pub(super) const SIZE: usize = 256;

    /// Reads the file at `path`, which ends in NUL. What cannot be read stays empty.
    pub(super) fn read(&mut self, path: &[u8]) {
        *self = Self::default();
        let Ok(file) = sys::open_at(sys::CWD, path, sys::O_CLOEXEC | sys::O_NONBLOCK) else { return };
        self.length = sys::read_at(file.0, &mut self.bytes, 0).unwrap_or(0);
        let mut table = [0; HEADER * MAX_HEADERS];
        let Some((offset, count)) = program_headers(self.filled()) else { return };
        let wanted = table.len().min(count * HEADER);
        let Some(room) = table.get_mut(..wanted) else { return };
        let length = sys::read_at(file.0, room, offset).unwrap_or(0);
        if let Some((at, size)) = interpreter(table.get(..length).unwrap_or_default()) {
            let mut name = [0; 128];
            let size = size.min(name.len());
            let length =
                name.get_mut(..size).and_then(|room| sys::read_at(file.0, room, at).ok()).unwrap_or(0);
            self.interpreter = judge_interpreter(name.get(..length).unwrap_or_default());
        }
    }

    fn filled(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// How the file at `resolved` would be loaded.
    pub(super) fn linkage(&self, resolved: &[u8]) -> Linkage {
        match self.filled() {
            [b'#', b'!', ..] => Linkage::Script,
            [0x7f, b'E', b'L', b'F', class, order, ..] => {
                let machine = field(self.filled(), 18).map_or(0, u16::from_le_bytes);
                if (*class, *order, machine) != (2, 1, MACHINE) {
                    return Linkage::Foreign;
                }
                if is_loader(resolved) {
                    return Linkage::Loader;
                }
                if self.interpreter == Interpreter::Known { Linkage::Dynamic } else { Linkage::Static }
            }
            _ => Linkage::Unknown,
        }
    }

    /// The path after `#!`, with a NUL, where the file is a script. As the kernel cuts it: blanks before it are
    /// skipped, it ends at a blank, the end of the line or of the head.
    pub(super) fn interpreter_of_script<'b>(&self, buffer: &'b mut [u8; Self::SIZE]) -> Option<&'b [u8]> {
        let line = self.filled().strip_prefix(b"#!")?;
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let start = line.iter().position(|byte| !blank(byte))?;
        let name = line.get(start..)?;
        let end = name.iter().position(|byte| blank(byte) || matches!(byte, b'\n' | 0)).unwrap_or(name.len());
        if end == 0 {
            return None;
        }
        buffer.fill(0);
        buffer.get_mut(..end)?.copy_from_slice(name.get(..end)?);
        buffer.get(..=end)
    }

    /// What stands behind the interpreter in a script's first line; empty where nothing does.
    pub(super) fn interpreter_option(&self) -> &[u8] {
        let line = self.filled().strip_prefix(b"#!").unwrap_or_default();
        let line = line.split(|byte| matches!(byte, b'\n' | 0)).next().unwrap_or_default().trim_ascii();
        let name = line.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
        line.get(name..).unwrap_or_default().trim_ascii()
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Offset and number of the program headers of a 64-bit binary.
fn program_headers(head: &[u8]) -> Option<(u64, usize)> {
    let known = head.starts_with(b"\x7fELF\x02\x01");
    let offset = u64::from_le_bytes(field(head, 32)?);
    let size = u16::from_le_bytes(field(head, 54)?);
    let count = u16::from_le_bytes(field(head, 56)?);
    (known && usize::from(size) == HEADER).then_some((offset, usize::from(count)))
}

/// Offset and length in the file of the interpreter's name.
fn interpreter(table: &[u8]) -> Option<(u64, usize)> {
    let header = table
        .chunks_exact(HEADER)
        .find(|header| field(header, 0).map(u32::from_le_bytes) == Some(TYPE_INTERPRETER))?;
    let offset = u64::from_le_bytes(field(header, 8)?);
    let size = u64::from_le_bytes(field(header, 32)?);
    Some((offset, usize::try_from(size).ok()?))
}

fn judge_interpreter(name: &[u8]) -> Interpreter {
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    if is_loader(name) && name.starts_with(b"/") && !is_in_writable_place(name) {
        Interpreter::Known
    } else {
        Interpreter::Strange
    }
}

/// Whether a file is a dynamic loader by its name.
fn is_loader(path: &[u8]) -> bool {
    const STARTS: [&[u8]; 5] = [b"ld-linux", b"ld-musl", b"ld.so", b"ld-2.", b"ld64.so"];
    let base = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    STARTS.iter().any(|start| base.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(bytes: &[u8]) -> Head {
        let mut head = Head { length: bytes.len().min(Head::SIZE), ..Head::default() };
        head.bytes[..head.length].copy_from_slice(&bytes[..head.length]);
        head
    }

    #[test]
    fn files_of_this_machine_are_told_apart() {
        let mut shell = Head::default();
        shell.read(b"/bin/sh\0");
        assert_eq!(shell.linkage(b"/bin/sh"), Linkage::Dynamic);
        let mut loader = Head::default();
        loader.read(b"/lib64/ld-linux-x86-64.so.2\0");
        assert_eq!(loader.linkage(b"/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"), Linkage::Loader);
        // The same file under another name is a binary without an interpreter.
        assert_eq!(loader.linkage(b"/tmp/x"), Linkage::Static);
        assert_eq!(Head::default().linkage(b"/x"), Linkage::Unknown);
        assert_eq!(head(b"\x7fELF\x01\x01\x01").linkage(b"/x"), Linkage::Foreign);
    }

    #[test]
    fn a_loader_of_the_functions_own_is_no_loader() {
        assert_eq!(judge_interpreter(b"/lib64/ld-linux-x86-64.so.2\0"), Interpreter::Known);
        assert_eq!(judge_interpreter(b"/lib/ld-musl-x86_64.so.1\0"), Interpreter::Known);
        for strange in [
            &b"/tmp/ld-linux-x86-64.so.2\0"[..],
            b"/opt/x\0",
            b"ld-linux.so\0",
            b"/proc/self/cwd/ld.so\0",
            b"",
        ] {
            assert_eq!(judge_interpreter(strange), Interpreter::Strange);
        }
    }

    #[test]
    fn interpreters_are_cut_as_the_kernel_cuts_them() {
        let table: [(&[u8], Option<&[u8]>); 6] = [
            (b"#!/bin/sh\n", Some(b"/bin/sh\0")),
            (b"#! \t/usr/bin/env python3\n", Some(b"/usr/bin/env\0")),
            (b"#!/bin/sh", Some(b"/bin/sh\0")),
            (b"#!\n", None),
            (b"#!", None),
            (b"/bin/sh", None),
        ];
        for (bytes, expected) in table {
            assert_eq!(head(bytes).interpreter_of_script(&mut [0; Head::SIZE]), expected);
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), elf: bool) {
            let mut bytes = bytes;
            if elf { bytes.splice(0..0, *b"\x7fELF\x02\x01"); }
            let head = head(&bytes);
            let _ = (head.linkage(b"/x"), head.interpreter_of_script(&mut [0; Head::SIZE]));
            let _ = (program_headers(&bytes), interpreter(&bytes), judge_interpreter(&bytes));
        }
    }
}

//! What kind of program a file is: how it would be loaded, and by which interpreter.
//!
//! It reads at most a few kilobytes of a file that is already open, bounded whatever the file says, and knows
//! neither policy nor processes. The launcher asks it to find the runtime, the kernel plane before each exec.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use ringfence_policy::Linkage;

use crate::text::Text;

const ELF_HEADER: usize = 64;
const SEGMENT: usize = 56;
const MAX_SEGMENTS: usize = 64;
const DYNAMIC_ENTRY: usize = 16;
const MAX_DYNAMIC: usize = 2048;
const SHEBANG: usize = 256;

const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_SONAME: u64 = 14;
const ET_DYN: u16 = 3;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

/// What a file is, as a program.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// How it would be loaded.
    pub linkage: Linkage,
    /// For a script: the line behind `#!`, up to 255 bytes as execve(2) reads it.
    pub shebang: Text<SHEBANG>,
}

impl Program {
    /// Reads what `file` is. A file that cannot be read is [`Linkage::Unknown`].
    #[must_use]
    pub fn inspect(file: &File) -> Self {
        let mut head = [0_u8; SHEBANG];
        let length = file.read_at(&mut head, 0).unwrap_or(0);
        let head = head.get(..length).unwrap_or_default();
        let mut program = Self { linkage: Linkage::Unknown, shebang: Text::new() };
        if let Some(line) = head.strip_prefix(b"#!") {
            program.linkage = Linkage::Script;
            program.shebang.push(line.split(|byte| *byte == b'\n').next().unwrap_or(line));
        } else if head.starts_with(b"\x7fELF") {
            program.linkage = linkage(file, head);
        }
        program
    }

    /// A script's interpreter, as execve(2) would take it; empty where it names none.
    #[must_use]
    pub fn interpreter(&self) -> &[u8] {
        words(self.shebang.as_bytes()).next().unwrap_or_default()
    }

    /// What follows the interpreter: the kernel passes it as one argument.
    #[must_use]
    pub fn interpreter_argument(&self) -> &[u8] {
        words(self.shebang.as_bytes()).nth(1).unwrap_or_default()
    }
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t' | b'\0')).filter(|word| !word.is_empty())
}

fn linkage(file: &File, head: &[u8]) -> Linkage {
    const CLASS_64: u8 = 2;
    const LITTLE_ENDIAN: u8 = 1;
    if head.len() < ELF_HEADER {
        return Linkage::Unknown;
    }
    if head.get(4) != Some(&CLASS_64)
        || head.get(5) != Some(&LITTLE_ENDIAN)
        || half(head, 18) != Some(MACHINE)
    {
        return Linkage::Foreign;
    }
    by_segments(file, head).unwrap_or(Linkage::Unknown)
}

fn by_segments(file: &File, head: &[u8]) -> Option<Linkage> {
    if usize::from(half(head, 54)?) != SEGMENT {
        return None;
    }
    let count = usize::from(half(head, 56)?).min(MAX_SEGMENTS);
    let mut table = [0_u8; SEGMENT * MAX_SEGMENTS];
    let table = table.get_mut(..count * SEGMENT)?;
    let length = file.read_at(table, long(head, 32)?).ok()?;
    let segments = || table.get(..length).unwrap_or_default().chunks_exact(SEGMENT);
    if segments().any(|segment| word(segment, 0) == Some(PT_INTERP)) {
        return Some(Linkage::Dynamic);
    }
    let dynamic = segments().find(|segment| word(segment, 0) == Some(PT_DYNAMIC));
    // A shared object without an interpreter that has a name of its own is a loader run as a command; a static PIE
    // has none.
    let named = dynamic.and_then(|segment| long(segment, 8)).is_some_and(|offset| has_soname(file, offset));
    Some(if half(head, 16)? == ET_DYN && named { Linkage::Loader } else { Linkage::Static })
}

fn has_soname(file: &File, offset: u64) -> bool {
    let mut dynamic = [0_u8; MAX_DYNAMIC];
    let length = file.read_at(&mut dynamic, offset).unwrap_or(0);
    let entries = dynamic.get(..length).unwrap_or_default().chunks_exact(DYNAMIC_ENTRY);
    entries.filter_map(|entry| long(entry, 0)).take_while(|tag| *tag != 0).any(|tag| tag == DT_SONAME)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn inspect(bytes: &[u8]) -> Program {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Program::inspect(&file)
    }

    #[test]
    fn programs_of_this_machine_are_told_apart() {
        let linkage = |path: &str| Program::inspect(&File::open(path).unwrap()).linkage;
        assert_eq!(linkage("/bin/sh"), Linkage::Dynamic);
        assert_eq!(linkage("/proc/self/exe"), Linkage::Dynamic);
        if let Ok(loader) = std::fs::canonicalize("/lib64/ld-linux-x86-64.so.2") {
            assert_eq!(linkage(loader.to_str().unwrap()), Linkage::Loader);
        }
    }

    #[test]
    fn a_script_names_its_interpreter_and_one_argument() {
        let program = inspect(b"#! /usr/bin/env  python3 \nprint()");
        assert_eq!(program.linkage, Linkage::Script);
        assert_eq!(
            (program.interpreter(), program.interpreter_argument()),
            (&b"/usr/bin/env"[..], &b"python3"[..])
        );
    }

    #[test]
    fn other_machines_and_text_are_not_programs_of_ours() {
        assert_eq!(
            inspect(&[b"\x7fELF\x01\x01\x01".as_slice(), &[0; 80]].concat()).linkage,
            Linkage::Foreign
        );
        assert_eq!(inspect(b"hello").linkage, Linkage::Unknown);
        assert_eq!(inspect(b"").linkage, Linkage::Unknown);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400), offset: u64, count: u16) {
            let _ = inspect(&bytes);
            let mut elf = std::fs::read("/bin/true").unwrap();
            elf.truncate(8192);
            elf[32..40].copy_from_slice(&(offset % 9000).to_le_bytes());
            elf[56..58].copy_from_slice(&count.to_le_bytes());
            let _ = inspect(&elf);
        }
    }
}

//! Which objects the dynamic loader has mapped, and where their text is.
//!
//! It walks the list that every loader keeps for debuggers (`struct r_debug`, System V ABI), so it needs neither
//! /proc nor a call into libc. It decides nothing; `start` calls it to find libc and the loader.

use crate::arch::{self, link_list_of_libc};
use crate::sys;

/// An executable segment of a loaded object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) address: usize,
    pub(crate) length: usize,
    /// Whether the loader has it guarded: indirect branches must arrive at a landing pad.
    pub(crate) guarded: bool,
}

const MAX_OBJECTS: usize = 1024;
const MAX_HEADERS: usize = 64;
/// Bytes of `.note.gnu.property` that are read.
const MAX_NOTE: usize = 256;
const WORD: usize = size_of::<usize>();

/// Calls `visit` with the name of each loaded object and the address of its ELF header.
pub(crate) fn each_object(mut visit: impl FnMut(&[u8], usize)) {
    let Some(mut entry) = link_map() else { return };
    for _ in 0..MAX_OBJECTS {
        let field = |index: usize| sys::word_at(entry + index * WORD);
        let (Some(base), Some(name), Some(next)) = (field(0), field(1), field(3)) else { return };
        visit(sys::string_at(name, 4096).unwrap_or_default(), base);
        if next == 0 {
            return;
        }
        entry = next;
    }
}

/// First entry of the list: from `_r_debug` (glibc), else from the `DT_DEBUG` entry of the executable (musl).
fn link_map() -> Option<usize> {
    let list = match link_list_of_libc() {
        0 => debug_entry()?,
        list => list,
    };
    sys::word_at(list + WORD).filter(|entry| sys::plausible(*entry))
}

fn debug_entry() -> Option<usize> {
    const PT_DYNAMIC: u32 = 2;
    const PT_PHDR: u32 = 6;
    const DT_DEBUG: usize = 21;
    let (table, count) = program_headers()?;
    let header = |kind: u32| {
        (0..count.min(MAX_HEADERS))
            .filter_map(|index| Header::read(table + index * Header::SIZE))
            .find(|header| header.kind == kind)
    };
    let bias = header(PT_PHDR).map_or(0, |own| table.wrapping_sub(own.address));
    let dynamic = bias.wrapping_add(header(PT_DYNAMIC)?.address);
    (0..256)
        .map_while(|index| {
            sys::word_at(dynamic + index * 2 * WORD).zip(sys::word_at(dynamic + (index * 2 + 1) * WORD))
        })
        .take_while(|(tag, _)| *tag != 0)
        .find(|(tag, _)| *tag == DT_DEBUG)
        .map(|(_, value)| value)
}

/// `AT_PHDR` and `AT_PHNUM` of the auxiliary vector.
fn program_headers() -> Option<(usize, usize)> {
    const AT_PHDR: usize = 3;
    const AT_PHNUM: usize = 5;
    let file = sys::open_at(sys::CWD, b"/proc/self/auxv\0", sys::O_CLOEXEC).ok()?;
    let mut buffer = [0; 1024];
    let length = sys::read(file.0, &mut buffer).ok()?;
    let mut words = buffer
        .get(..length)?
        .chunks_exact(WORD)
        .filter_map(|word| word.try_into().ok())
        .map(usize::from_ne_bytes);
    let (mut table, mut count) = (0, 0);
    while let (Some(kind), Some(value)) = (words.next(), words.next()) {
        match kind {
            AT_PHDR => table = value,
            AT_PHNUM => count = value,
            _ => {}
        }
    }
    (table != 0 && count != 0).then_some((table, count))
}

/// What is needed of an ELF program header in memory.
struct Header {
    kind: u32,
    flags: u32,
    address: usize,
    length: usize,
}

impl Header {
    const SIZE: usize = 56;

    fn read(address: usize) -> Option<Self> {
        let mut bytes = [0; Self::SIZE];
        if !sys::copy_from(address, &mut bytes) {
            return None;
        }
        let word = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(usize::from_le_bytes);
        let half = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        Some(Self { kind: half(0)?, flags: half(4)?, address: word(16)?, length: word(40)? })
    }
}

/// The program headers of the object whose ELF header is at `base`.
fn headers(base: usize) -> Option<impl Iterator<Item = Header>> {
    let mut head = [0; 64];
    if !sys::copy_from(base, &mut head) || !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let offset = usize::from_le_bytes(head.get(32..40)?.try_into().ok()?);
    let count = u16::from_le_bytes(head.get(56..58)?.try_into().ok()?);
    let table = base.checked_add(offset)?;
    Some(
        (0..usize::from(count).min(MAX_HEADERS))
            .filter_map(move |index| Header::read(table + index * Header::SIZE)),
    )
}

/// The executable segment of the object whose ELF header is at `base`; `None` where there is none to be seen.
pub(crate) fn text_of(base: usize) -> Option<Text> {
    const PT_LOAD: u32 = 1;
    const PF_X: u32 = 1;
    const PT_GNU_PROPERTY: u32 = 0x6474_e553;
    let text = headers(base)?.find(|header| header.kind == PT_LOAD && header.flags & PF_X != 0)?;
    // Among loaders only glibc's does what the note asks for.
    let guarded = headers(base)?
        .find(|header| header.kind == PT_GNU_PROPERTY && link_list_of_libc() != 0)
        .and_then(|note| sys::bytes_at(base.wrapping_add(note.address), note.length.min(MAX_NOTE)))
        .is_some_and(arch::guards_branches);
    Some(Text { address: base.wrapping_add(text.address), length: text.length, guarded })
}

/// Where all segments of the object at `base` lie: first address and length.
pub(crate) fn whole(base: usize) -> Option<(usize, usize)> {
    const PT_LOAD: u32 = 1;
    const PAGE: usize = 4096;
    let end = headers(base)?
        .filter(|header| header.kind == PT_LOAD)
        .filter_map(|header| header.address.checked_add(header.length))
        .max()?;
    Some((base, end.checked_next_multiple_of(PAGE)?))
}

/// First bytes of the build id of the object whose ELF header is at `base`; `None` where its linker gave it none.
pub(crate) fn build_id(base: usize) -> Option<u64> {
    const PT_NOTE: u32 = 4;
    headers(base)?.filter(|header| header.kind == PT_NOTE).find_map(|note| {
        build_id_in(sys::bytes_at(base.wrapping_add(note.address), note.length.min(MAX_NOTE))?)
    })
}

/// The same among `notes`: elf(5), "Notes (Nhdr)".
fn build_id_in(mut notes: &[u8]) -> Option<u64> {
    const NT_GNU_BUILD_ID: u32 = 3;
    const HEAD: usize = 12;
    let padded = |length: u32| usize::try_from(length).ok()?.checked_next_multiple_of(4);
    loop {
        let field = |at: usize| notes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes);
        let (name, length, kind) = (padded(field(0)?)?, padded(field(4)?)?, field(8)?);
        let text = notes.get(HEAD..)?;
        if kind == NT_GNU_BUILD_ID && text.starts_with(b"GNU\0") {
            return text.get(name..)?.get(..length)?.first_chunk().copied().map(u64::from_le_bytes);
        }
        notes = text.get(name.checked_add(length)?..)?;
    }
}

/// Whether an object of this name makes system calls for others: libc, the loader, and what was split off from libc
/// before glibc 2.34.
pub(crate) fn is_libc(name: &[u8]) -> bool {
    const STARTS: [&[u8]; 5] = [b"libc.so", b"libc-2", b"ld-", b"libpthread", b"librt"];
    let base = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
    STARTS.iter().any(|start| base.starts_with(start))
}

/// Whether a libc is musl, by its name.
pub(crate) fn is_musl(name: &[u8]) -> bool {
    name.windows(4).any(|part| part == b"musl")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn libc_is_known_by_its_names() {
        for name in [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
            "/lib/ld-musl-x86_64.so.1",
            "/lib/libpthread.so.0",
        ] {
            assert!(is_libc(name.as_bytes()), "{name}");
        }
        for name in ["", "linux-vdso.so.1", "/usr/lib/libcrypto.so.3", "/usr/lib/libcurl.so.4"] {
            assert!(!is_libc(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_build_id_is_found_among_notes() {
        let note = |kind: u32, name: &[u8], id: &[u8]| {
            let head = [name.len(), id.len(), kind as usize]
                .map(|n| u32::try_from(n).unwrap().to_le_bytes())
                .concat();
            [&head[..], name, id].concat()
        };
        let other = note(1, b"GNU\0", &[9; 16]);
        let id = note(3, b"GNU\0", &[1, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7]);
        assert_eq!(build_id_in(&[other.clone(), id.clone()].concat()), Some(1));
        assert_eq!(build_id_in(&other), None);
        assert_eq!(build_id_in(&id[..20]), None);
        assert_eq!(build_id_in(&note(3, b"GNU\0", &[1; 4])), None);
    }

    #[test]
    fn the_text_of_libc_is_found_in_this_process() {
        let mut found = Vec::new();
        each_object(|name, base| {
            if is_libc(name) {
                found.push(text_of(base).expect("libc has text"));
            }
        });
        let inside = libc::getppid as *const () as usize;
        assert!(found.iter().any(|text| (text.address..text.address + text.length).contains(&inside)));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(notes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = build_id_in(&notes);
        }
    }
}

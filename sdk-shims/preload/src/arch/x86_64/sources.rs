//! Calls whose number comes from a register: which one it may be, and whether the call can be moved.
//!
//! A wrong guess at the number costs a little time, since a patched call that is not judged behaves as before; a
//! branch that is overlooked would end the program. So the first question is answered by a glance, the second by
//! looking at each byte that could begin a branch. `sites` asks.

use core::ops::Range;

use super::boundaries::may_begin_at;
use super::instructions::keep_rax;

/// How far before a call its number is looked for: loops and fallbacks of musl keep it in a register for long.
const NUMBER_WITHIN: usize = 512;
/// How far before a call the move of the number into rax is looked for.
const MOVE_WITHIN: usize = 112;
/// How far around a call branches to it are looked for: a function of libc.
const BRANCH_WITHIN: usize = 4096;
/// Numbers of system calls are smaller.
const NUMBERS: u32 = 512;

/// Whether the call behind `before` takes its number from a register that is, or may be, loaded with a wanted one.
pub(super) fn may_be_wanted(before: &[u8], wanted: &impl Fn(usize) -> bool) -> bool {
    let Some(register) = source_of_number(before) else { return false };
    let (mut any, mut hit) = (false, false);
    for number in
        loads_of(register, before.get(before.len().saturating_sub(NUMBER_WITHIN)..).unwrap_or_default())
    {
        any = true;
        hit |= wanted(number);
    }
    hit || !any
}

/// The register that is moved into rax, or eax, shortly before the end.
fn source_of_number(before: &[u8]) -> Option<u8> {
    let end = before.len();
    (end.saturating_sub(MOVE_WITHIN)..end.saturating_sub(1)).rev().find_map(|at| {
        let [0x89, modrm] = *before.get(at..at + 2)?.first_chunk()? else { return None };
        // Register to register, into rax; the prefix says which bank the source is in, and that the target is rax.
        let rex =
            at.checked_sub(1).and_then(|at| before.get(at)).filter(|byte| (0x40..=0x4f).contains(*byte));
        let rex = rex.copied().unwrap_or(0);
        let moves = modrm & 0xc7 == 0xc0 && rex & 1 == 0;
        (moves && keep_rax(before.get(at + 2..)?)).then_some((modrm >> 3) & 7 | (rex & 4) << 1)
    })
}

/// The numbers of system calls that `code` loads into `register`, as far as a glance tells.
fn loads_of(register: u8, code: &[u8]) -> impl Iterator<Item = usize> {
    let opcode = 0xb8 | (register & 7);
    let extended = register > 7;
    code.windows(6).filter_map(move |window| {
        let [prefix, load, a, b, c, d] = *window.first_chunk()?;
        let number = u32::from_le_bytes([a, b, c, d]);
        let loads = load == opcode && number < NUMBERS && (!extended || prefix == 0x41);
        usize::try_from(number).ok().filter(|_| loads)
    })
}

/// Whether anything near in `text` that may be a branch leads into `range`.
pub(super) fn jumped_into(text: &[u8], range: Range<usize>) -> bool {
    let from = range.start.saturating_sub(BRANCH_WITHIN);
    let to = range.end.saturating_add(BRANCH_WITHIN).min(text.len());
    (from..to).any(|at| {
        let code = text.get(at..).unwrap_or_default();
        target(code).is_some_and(|(length, distance)| {
            at.checked_add(length)
                .and_then(|behind| behind.checked_add_signed(distance))
                .is_some_and(|to| range.contains(&to))
        }) && may_begin_at(text, at)
    })
}

/// Length and distance of the branch that `code` may begin with.
fn target(code: &[u8]) -> Option<(usize, isize)> {
    match *code {
        // jcc, loop, jmp rel8
        [0x70..=0x7f | 0xe0..=0xe3 | 0xeb, distance, ..] => Some((2, isize::from(distance.cast_signed()))),
        // call, jmp rel32
        [0xe8 | 0xe9, a, b, c, d, ..] => Some((5, isize::try_from(i32::from_le_bytes([a, b, c, d])).ok()?)),
        // jcc rel32
        [0x0f, 0x80..=0x8f, a, b, c, d, ..] => {
            Some((6, isize::try_from(i32::from_le_bytes([a, b, c, d])).ok()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_register_behind_the_number_is_found() {
        for (code, register) in [
            (&[0x4c, 0x89, 0xc0][..], Some(8)),               // mov %r8,%rax
            (&[0x89, 0xc8], Some(1)),                         // mov %ecx,%eax
            (&[0x44, 0x89, 0xc8], Some(9)),                   // mov %r9d,%eax
            (&[0x4c, 0x89, 0xc8, 0x4c, 0x89, 0xc6], Some(9)), // mov %r9,%rax; mov %r8,%rsi
            (&[0x48, 0x89, 0xf8, 0x31, 0xc0], None),          // mov %rdi,%rax; xor %eax,%eax
            (&[0x48, 0x89, 0xc7], None),                      // mov %rax,%rdi
        ] {
            let before = [&[0x90; 8][..], code].concat();
            assert_eq!(source_of_number(&before), register, "{code:x?}");
        }
    }

    #[test]
    fn branches_of_every_kind_are_seen() {
        let mut text = vec![0x90; 600];
        assert!(!jumped_into(&text, 301..305));
        for (at, branch) in [
            (290, &[0xeb, 10][..]),
            (310, &[0x75, 0xf7]),
            (100, &[0xe9, 0xc5, 0, 0, 0]),
            (500, &[0x0f, 0x84, 0x35, 0xff, 0xff, 0xff]),
        ] {
            let kept = text.clone();
            text[at..at + branch.len()].copy_from_slice(branch);
            assert!(jumped_into(&text, 301..305), "{at}");
            text = kept;
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in proptest::collection::vec(any::<u8>(), 0..200), at in 0..200_usize) {
            let at = at.min(text.len());
            let _ = may_be_wanted(&text[..at], &|_| false);
            let _ = jumped_into(&text, at + 1..at + 5);
        }
    }
}

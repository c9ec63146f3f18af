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
    jumped_into_from_near(text, &range) || jumped_into_from_afar(text, &range)
}

/// The same for branches whose distance is one byte: jcc, loop, jmp.
fn jumped_into_from_near(text: &[u8], range: &Range<usize>) -> bool {
    const WITHIN: usize = 130;
    let from = range.start.saturating_sub(WITHIN);
    let near = text.get(from..range.end.saturating_add(WITHIN).min(text.len())).unwrap_or_default();
    near.windows(2).enumerate().any(|(index, code)| {
        let [0x70..=0x7f | 0xe0..=0xe3 | 0xeb, distance] = *code else { return false };
        let behind = from + index + 2;
        let to = behind.checked_add_signed(isize::from(distance.cast_signed()));
        to.is_some_and(|to| range.contains(&to)) && may_begin_at(text, from + index)
    })
}

/// The same for distances of four bytes: call, jmp, jcc. The distance is looked at first, since few fit.
fn jumped_into_from_afar(text: &[u8], range: &Range<usize>) -> bool {
    let from = range.start.saturating_sub(BRANCH_WITHIN);
    let near = text.get(from..range.end.saturating_add(BRANCH_WITHIN).min(text.len())).unwrap_or_default();
    let wanted = i32::try_from(range.start - from).unwrap_or(i32::MAX).wrapping_sub(4);
    let length = i32::try_from(range.len()).unwrap_or(0);
    near.windows(4).zip(0_i32..).any(|(code, index)| {
        let distance = code.first_chunk().map_or(0, |bytes| i32::from_le_bytes(*bytes));
        let hits = (0..length).contains(&distance.wrapping_add(index).wrapping_sub(wanted));
        hits && usize::try_from(index).is_ok_and(|index| is_distance_of_branch(text, from + index))
    })
}

/// Whether the four bytes at `at` are the distance of a call, jmp or jcc.
fn is_distance_of_branch(text: &[u8], at: usize) -> bool {
    match text.get(at.saturating_sub(2)..at) {
        Some([0x0f, 0x80..=0x8f]) => may_begin_at(text, at - 2),
        Some([_, 0xe8 | 0xe9]) => may_begin_at(text, at - 1),
        _ => false,
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

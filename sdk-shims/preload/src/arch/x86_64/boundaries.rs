//! Where instructions begin: a decoder of lengths, and a vote of those who start decoding a little earlier.
//!
//! Code is not marked; whether a byte begins an instruction is known only by decoding from one that does. Decoders
//! that start wrong fall into step within a few instructions, so sixteen of them that agree are right. `sources`
//! asks, to tell a branch from two bytes of a number. It takes any bytes and knows nothing of system calls.

use super::instructions::operands_length;

/// Decoders that vote, and how far before the place in question the last of them starts.
const VOTERS: usize = 16;
const RUN_UP: usize = 12;

/// Whether an instruction may begin at `at`: a quarter of the votes is enough.
pub(super) fn may_begin_at(text: &[u8], at: usize) -> bool {
    let Some(last) = at.checked_sub(RUN_UP) else { return true };
    let first = last.saturating_sub(VOTERS - 1);
    let (mut for_it, mut against) = (0_usize, 0_usize);
    for start in first..=last {
        match arrives_at(text, start, at) {
            Some(true) => for_it += 1,
            Some(false) => against += 1,
            None => {}
        }
    }
    4 * for_it >= for_it + against
}

/// Whether decoding from `start` comes to `at`; `None` where it comes to something that is no instruction.
fn arrives_at(text: &[u8], start: usize, at: usize) -> Option<bool> {
    let mut next = start;
    while next < at {
        next += length(text.get(next..)?)?;
    }
    Some(next == at)
}

/// What follows an opcode.
#[derive(Clone, Copy)]
struct Tail {
    operands: bool,
    immediate: usize,
}

const NONE: Tail = immediate(0);
const OPERANDS: Tail = with_operands(0);

const fn immediate(immediate: usize) -> Tail {
    Tail { operands: false, immediate }
}

const fn with_operands(immediate: usize) -> Tail {
    Tail { operands: true, immediate }
}

/// Length of the instruction that `code` begins with; `None` where it is none that compilers make.
pub(super) fn length(code: &[u8]) -> Option<usize> {
    let prefixes = code.iter().take_while(|byte| is_prefix(**byte)).count();
    let short = code.get(..prefixes)?.contains(&0x66);
    let rex = usize::from(matches!(code.get(prefixes)?, 0x40..=0x4f));
    let wide = rex == 1 && code.get(prefixes)? & 8 != 0;
    let at = prefixes + rex;
    let (opcode, tail) = match *code.get(at..)? {
        [0x0f, 0x38, _, ..] => (3, OPERANDS),
        [0x0f, 0x3a, _, ..] => (3, with_operands(1)),
        [0x0f, opcode, ..] => (2, second_map(opcode)?),
        [0xc5, _, opcode, ..] => (3, of_vector(1, opcode)?),
        [0xc4, map, _, opcode, ..] => (4, of_vector(map & 0x1f, opcode)?),
        [0x62, map, _, _, opcode, ..] => (5, of_vector(map & 7, opcode)?),
        [opcode, ref rest @ ..] => (1, first_map(opcode, rest, short, wide)?),
        [] => return None,
    };
    let at = at + opcode;
    let operands = if tail.operands { operands_length(code.get(at..)?)? } else { 0 };
    Some(at + operands + tail.immediate)
}

const fn is_prefix(byte: u8) -> bool {
    matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3)
}

/// Opcodes of one byte (volume 2, appendix A of the processor's manual).
fn first_map(opcode: u8, rest: &[u8], short: bool, wide: bool) -> Option<Tail> {
    let number = if short { 2 } else { 4 };
    // test takes a number, the others of its group do not.
    let tests = rest.first().is_some_and(|modrm| modrm & 0x38 < 0x10);
    Some(match opcode {
        0x00..=0x3f => match opcode & 7 {
            0..=3 => OPERANDS,
            4 => immediate(1),
            5 => immediate(number),
            _ => return None,
        },
        0x63 | 0x84..=0x8b | 0x8d | 0x8f | 0xd0..=0xd3 | 0xd8..=0xdf | 0xfe | 0xff => OPERANDS,
        0x69 | 0x81 | 0xc7 => with_operands(number),
        0x6b | 0x80 | 0x83 | 0xc0 | 0xc1 | 0xc6 => with_operands(1),
        0xf6 => with_operands(usize::from(tests)),
        0xf7 => with_operands(if tests { number } else { 0 }),
        0x6a | 0x70..=0x7f | 0xa8 | 0xb0..=0xb7 | 0xcd | 0xe0..=0xe3 | 0xeb => immediate(1),
        0x68 | 0xa9 => immediate(number),
        0xe8 | 0xe9 => immediate(4),
        0xb8..=0xbf => immediate(if wide { 8 } else { number }),
        0xc2 => immediate(2),
        0x50..=0x5f | 0x90..=0x99 | 0x9c..=0x9f | 0xa4..=0xa7 | 0xaa..=0xaf | 0xc3 | 0xc9 | 0xcc | 0xf4 => {
            NONE
        }
        _ => return None,
    })
}

/// Opcodes behind `0f`.
const fn second_map(opcode: u8) -> Option<Tail> {
    Some(match opcode {
        0x05 | 0x0b | 0x31 | 0x77 | 0xa2 | 0xc8..=0xcf => NONE,
        0x80..=0x8f => immediate(4),
        0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6 => with_operands(1),
        0x06..=0x0a | 0x0c | 0x0e | 0x0f | 0x24..=0x27 | 0x30 | 0x32..=0x37 | 0x39 | 0x3b..=0x3f => {
            return None;
        }
        _ => OPERANDS,
    })
}

/// Opcodes behind a VEX or EVEX prefix.
const fn of_vector(map: u8, opcode: u8) -> Option<Tail> {
    Some(match (map, opcode) {
        (1, 0x77) => NONE,
        (1, 0x70..=0x73 | 0xc2 | 0xc4..=0xc6) | (3, _) => with_operands(1),
        (1 | 2, _) => OPERANDS,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_are_those_of_the_processor() {
        for code in [
            &[0x55][..],
            &[0xf3, 0x0f, 0x1e, 0xfa],                            // endbr64
            &[0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0], // a long nop
            &[0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8],                // movabs
            &[0x66, 0xc7, 0x44, 0x24, 8, 1, 0],                   // movw $1,8(%rsp)
            &[0xf6, 0x05, 0xa9, 0xe7, 0, 0, 2],                   // testb $2,(%rip)
            &[0xf7, 0xd8],                                        // neg %eax
            &[0x41, 0xf7, 0xc2, 0xff, 0xff, 0xf7, 0xff],          // test $…,%r10d
            &[0x0f, 0x84, 0xd7, 0, 0, 0],                         // je
            &[0x64, 0x48, 0x2b, 0x34, 0x25, 0x28, 0, 0, 0],       // sub %fs:0x28,%rsi
            &[0xc5, 0xfe, 0x6f, 0x06],                            // vmovdqu (%rsi),%ymm0
            &[0xc4, 0xe3, 0x71, 0x0f, 0xc8, 4],                   // vpalignr
            &[0x62, 0xf1, 0xfe, 0x48, 0x6f, 0x46, 1],             // vmovdqu64 0x40(%rsi),%zmm0
            &[0x66, 0x0f, 0x3a, 0x63, 0xc1, 0x1a],                // pcmpistri
            &[0xe8, 1, 2, 3, 4],
            &[0x0f, 0x05],
        ] {
            assert_eq!(length(code), Some(code.len()), "{code:x?}");
        }
        for nothing in [&[0x06][..], &[0x60], &[0xea, 0], &[0x66], &[0x0f], &[]] {
            assert_eq!(length(nothing), None, "{nothing:x?}");
        }
    }

    #[test]
    fn the_middle_of_an_instruction_is_no_beginning() {
        // movl $0xb75, 8(%rsp), again and again: its last bytes look like a branch.
        let text = [0xc7, 0x44, 0x24, 8, 0x75, 0x0b, 0, 0].repeat(8);
        assert!(may_begin_at(&text, 40));
        assert!(!may_begin_at(&text, 44));
        assert!(may_begin_at(&text, 4), "too near to the start to say");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in proptest::collection::vec(any::<u8>(), 0..80), at in 0..100_usize) {
            let _ = (length(&text), may_begin_at(&text, at));
        }
    }
}

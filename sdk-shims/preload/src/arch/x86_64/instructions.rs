//! The few instructions that compilers put around a system call: how long they are, and how they are moved.
//!
//! `sites` asks whether code can be carried along by a stub, `stub` moves it. What is not listed here is not moved,
//! so the site stays as it is. It takes any bytes and knows nothing of system calls.

/// An instruction that means the same at another place, once its distance to data has been mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    length: usize,
    /// Where its four bytes of distance to what it names are: relative to rip.
    relative: Option<usize>,
    writes_rax: bool,
    /// What stands behind it is not run after it.
    jumps: bool,
}

/// What a `ModRM` byte says, with what follows it.
struct Operands {
    length: usize,
    relative: Option<usize>,
    register_is_rax: bool,
    /// The other operand is rax itself, not memory.
    operand_is_rax: bool,
    operation: u8,
}

/// Which operand an instruction writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writes {
    Register,
    Operand,
    /// No general register.
    Nothing,
}

const FS: u8 = 0x64;

/// The first instruction of `code`, where it is one of those that can be moved.
fn first(code: &[u8]) -> Option<Instruction> {
    let (prefixes, rex, rest) = prefixes(code);
    let (opcode, rest) = rest.split_first()?;
    let at = prefixes + 1;
    let wide = rex & 8 != 0;
    match opcode {
        // push; pop
        0x50..=0x57 => plain(at, false),
        0x58..=0x5f => plain(at, *opcode == 0x58 && rex & 1 == 0),
        // mov imm32, r32 (with REX.W it would be ten bytes long)
        0xb8..=0xbf if !wide => plain(at + 4, *opcode == 0xb8 && rex & 1 == 0),
        // jmp rel32
        0xe9 => Some(Instruction { length: at + 4, relative: Some(at), writes_rax: false, jumps: true }),
        // cmp imm32, eax
        0x3d => plain(at + 4, false),
        // add, or, and, sub, xor, mov: r, r/m
        0x01 | 0x09 | 0x21 | 0x29 | 0x31 | 0x89 => with_operands(at, rest, rex, Writes::Operand, 0),
        // add, or, and, sub, xor, mov, movslq, lea: r/m, r
        0x03 | 0x0b | 0x23 | 0x2b | 0x33 | 0x8b | 0x63 | 0x8d => {
            with_operands(at, rest, rex, Writes::Register, 0)
        }
        // cmp, test
        0x39 | 0x3b | 0x85 => with_operands(at, rest, rex, Writes::Nothing, 0),
        // add, or, and, sub, xor, cmp imm, r/m; mov imm32, r/m
        0x81 | 0xc7 => with_operands(at, rest, rex, Writes::Operand, 4),
        0x83 => with_operands(at, rest, rex, Writes::Operand, 1),
        // movups, movaps of vector registers
        0x0f => match rest.split_first()? {
            (0x10 | 0x11 | 0x28 | 0x29, rest) => with_operands(at + 1, rest, rex, Writes::Nothing, 0),
            _ => None,
        },
        _ => None,
    }
}

/// Number of prefix bytes, the REX prefix among them, and what follows.
fn prefixes(code: &[u8]) -> (usize, u8, &[u8]) {
    let (segment, code) = match code {
        [FS, rest @ ..] => (1, rest),
        _ => (0, code),
    };
    match code {
        [rex @ 0x40..=0x4f, rest @ ..] => (segment + 1, *rex, rest),
        _ => (segment, 0, code),
    }
}

#[allow(clippy::unnecessary_wraps, reason = "one arm of a match whose others may not know the instruction")]
const fn plain(length: usize, writes_rax: bool) -> Option<Instruction> {
    Some(Instruction { length, relative: None, writes_rax, jumps: false })
}

/// An instruction whose `ModRM` byte stands at `at`, followed by `immediate` bytes.
fn with_operands(at: usize, rest: &[u8], rex: u8, writes: Writes, immediate: usize) -> Option<Instruction> {
    const COMPARES: u8 = 7;
    let operands = operands(rest, rex)?;
    let writes_rax = match writes {
        Writes::Register => operands.register_is_rax,
        Writes::Operand if immediate > 0 => operands.operand_is_rax && operands.operation != COMPARES,
        Writes::Operand => operands.operand_is_rax,
        Writes::Nothing => false,
    };
    let relative = operands.relative.map(|offset| at + offset);
    Some(Instruction { length: at + operands.length + immediate, relative, writes_rax, jumps: false })
}

/// Volume 2, "Instruction Format", of the processor's manual: `ModRM`, SIB and displacement.
fn operands(rest: &[u8], rex: u8) -> Option<Operands> {
    let modrm = *rest.first()?;
    let (mode, register, memory) = (modrm >> 6, (modrm >> 3) & 7, modrm & 7);
    let sib = if mode != 3 && memory == 4 { Some(*rest.get(1)?) } else { None };
    // A SIB byte without a base has a displacement of four bytes: %fs:0x28.
    let no_base = mode == 0 && sib.is_some_and(|sib| sib & 7 == 5);
    let relative = mode == 0 && memory == 5;
    let displacement = match mode {
        1 => 1,
        2 => 4,
        0 if relative || no_base => 4,
        _ => 0,
    };
    Some(Operands {
        length: 1 + usize::from(sib.is_some()) + displacement,
        relative: relative.then_some(1),
        register_is_rax: register == 0 && rex & 4 == 0,
        operand_is_rax: mode == 3 && memory == 0 && rex & 1 == 0,
        operation: register,
    })
}

/// Length of a `ModRM` byte with what follows it.
pub(super) fn operands_length(rest: &[u8]) -> Option<usize> {
    operands(rest, 0).map(|operands| operands.length)
}

/// Whether all of `code` can be moved, is run to its end and leaves rax alone.
pub(super) fn keep_rax(mut code: &[u8]) -> bool {
    while !code.is_empty() {
        match first(code).filter(|instruction| !instruction.writes_rax && !instruction.jumps) {
            Some(instruction) if instruction.length <= code.len() => {
                code = code.get(instruction.length..).unwrap_or_default();
            }
            _ => return false,
        }
    }
    true
}

/// Length of the first instructions of `code` that make up at least `least` bytes, where all can be moved.
pub(super) fn covering(code: &[u8], least: usize) -> Option<usize> {
    let (mut length, mut jumps) = (0, false);
    while length < least {
        let instruction = first(code.get(length..)?).filter(|_| !jumps)?;
        length += instruction.length;
        jumps = instruction.jumps;
    }
    (length <= code.len()).then_some(length)
}

/// Mends `code`, which stood at `from` and now stands at `to`, instruction by instruction. `None` where a distance
/// has become too long.
pub(super) fn mend(mut code: &mut [u8], from: usize, to: usize) -> Option<()> {
    let moved = i64::try_from(from.wrapping_sub(to).cast_signed()).ok()?;
    while !code.is_empty() {
        let instruction = first(code)?;
        if let Some(at) = instruction.relative {
            let distance = code.get_mut(at..)?.first_chunk_mut::<4>()?;
            let mended = i64::from(i32::from_le_bytes(*distance)).checked_add(moved)?;
            *distance = i32::try_from(mended).ok()?.to_le_bytes();
        }
        code = code.get_mut(instruction.length..)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_are_those_of_the_processor() {
        for (code, length, writes_rax) in [
            (&[0x48, 0x63, 0xf6][..], 3, false),                  // movslq %esi,%rsi
            (&[0x48, 0x81, 0xe6, 0, 0xf0, 0xff, 0xff], 7, false), // and $-4096,%rsi
            (&[0x48, 0x3d, 0, 0xf0, 0xff, 0xff], 6, false),       // cmp $-4096,%rax
            (&[0x83, 0xf8, 0xf0], 3, false),                      // cmp $-16,%eax
            (&[0x83, 0xc0, 1], 3, true),                          // add $1,%eax
            (&[0x64, 0x4c, 0x8b, 0x14, 0x25, 0x28, 0, 0, 0], 9, false), // mov %fs:0x28,%r10
            (&[0x48, 0x8d, 0x35, 0x38, 0xbe, 4, 0], 7, false),    // lea 0x4be38(%rip),%rsi
            (&[0x48, 0x8b, 5, 1, 0, 0, 0], 7, true),              // mov 1(%rip),%rax
            (&[0x89, 0x44, 0x24, 0x1c], 4, false),                // mov %eax,0x1c(%rsp)
            (&[0x48, 0x89, 0xc7], 3, false),                      // mov %rax,%rdi
            (&[0x89, 0xc8], 2, true),                             // mov %ecx,%eax
            (&[0xc7, 0x44, 0x24, 8, 8, 0, 0, 0], 8, false),       // movl $8,8(%rsp)
            (&[0x41, 0x58], 2, false),                            // pop %r8
            (&[0x58], 1, true),                                   // pop %rax
            (&[0x0f, 0x11, 0x44, 0x24, 0x11], 5, false),          // movups %xmm0,0x11(%rsp)
            (&[0x48, 0x89, 0x9c, 0xc4, 0x60, 4, 0, 0], 8, false), // mov %rbx,0x460(%rsp,%rax,8)
        ] {
            let found = first(code).map(|one| (one.length, one.writes_rax));
            assert_eq!(found, Some((length, writes_rax)), "{code:x?}");
        }
    }

    #[test]
    fn what_is_not_listed_is_not_moved() {
        for code in [&[0xe8, 0, 0, 0, 0][..], &[0x74, 2], &[0x0f, 0x05], &[0xc3], &[0xf4], &[0x48], &[]] {
            assert_eq!(first(code), None, "{code:x?}");
        }
    }

    #[test]
    fn nothing_is_taken_from_behind_a_jump() {
        assert_eq!(covering(&[0xe9, 1, 2, 3, 4, 0x90], 3), Some(5));
        assert_eq!(covering(&[0x48, 0x89, 0xc7], 3), Some(3));
        assert_eq!(covering(&[0x89, 0xc2, 0xe9, 1, 2, 3, 4], 3), Some(7));
        assert_eq!(covering(&[0x89, 0xc2, 0x74, 4], 3), None);
        assert!(!keep_rax(&[0xe9, 1, 2, 3, 4]));
    }

    #[test]
    fn a_distance_is_mended_and_never_cut() {
        let mut code = [0x48, 0x8d, 0x35, 0x10, 0, 0, 0, 0x48, 0x89, 0xda];
        mend(&mut code, 0x1_0000, 0x2_0000).unwrap();
        assert_eq!(code, [0x48, 0x8d, 0x35, 0x10, 0, 0xff, 0xff, 0x48, 0x89, 0xda]);
        assert_eq!(mend(&mut code, 0x4_0000_0000, 0), None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(code in proptest::collection::vec(any::<u8>(), 0..40), from: usize, to: usize) {
            let mut code = code;
            let _ = (first(&code), keep_rax(&code), covering(&code, 3));
            let _ = mend(&mut code, from, to);
        }
    }
}

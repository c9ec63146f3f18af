//! Runs a filter as the kernel would, for tests.

use crate::sys::seccomp::Instruction;

/// What a filter sees of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) architecture: u32,
    pub(super) arguments: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.architecture,
            16..64 => {
                let argument = self.arguments[(offset as usize - 16) / 8];
                let shift = if offset.is_multiple_of(8) { 0 } else { 32 };
                u32::try_from(argument >> shift & 0xffff_ffff).unwrap()
            }
            _ => panic!("the filter loads offset {offset}"),
        }
    }
}

/// The value that the program returns, and whether it looked at an argument.
pub(super) fn run(program: &[Instruction], call: &Call) -> (u32, bool) {
    let (mut at, mut accumulator, mut looked) = (0, 0_u32, false);
    loop {
        let instruction = program[at];
        at += 1;
        let test = match instruction.code {
            0x20 => {
                accumulator = call.word(instruction.operand);
                looked |= instruction.operand >= 16;
                continue;
            }
            0x54 => {
                accumulator &= instruction.operand;
                continue;
            }
            0x05 => {
                at += instruction.operand as usize;
                continue;
            }
            0x06 => return (instruction.operand, looked),
            0x15 => accumulator == instruction.operand,
            0x35 => accumulator >= instruction.operand,
            0x45 => accumulator & instruction.operand != 0,
            other => panic!("unknown operation {other:#x}"),
        };
        at += usize::from(if test { instruction.jump_true } else { instruction.jump_false });
    }
}

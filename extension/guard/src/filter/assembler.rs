//! From rules to a classic BPF program (seccomp(2), `linux/filter.h`).
//!
//! It knows jumps, labels and the layout of `struct seccomp_data`, and nothing of what the rules mean. Comparisons
//! are of 32-bit words: an `int` argument is its low word, as the kernel takes it; a pointer is both. `filter` calls
//! it.

use super::table::{Action, Atom, Case, Rule};
use crate::sys::seccomp::{self, Instruction};

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const GOTO: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;
const OFFSET_ARGUMENTS: u32 = 16;

/// `AUDIT_ARCH_*` of this machine.
#[cfg(target_arch = "x86_64")]
pub const ARCHITECTURE: u32 = 0xc000_003e;
/// `AUDIT_ARCH_*` of this machine.
#[cfg(target_arch = "aarch64")]
pub const ARCHITECTURE: u32 = 0xc000_00b7;
/// First number of which nothing is known. Above it are also those of the x32 ABI, which must not slip past comparisons with
/// native ones.
const UNKNOWN: u32 = {
    #[expect(clippy::cast_possible_truncation, reason = "a small number")]
    {
        ringfence_records::calls::LAST as u32 + 1
    }
};
const LEAF: usize = 4;

/// A jump does not reach its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a jump of the filter does not reach its target")]
pub struct TooFar;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Next,
    Label(usize),
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Plain(u16, u32),
    Goto(usize),
    Branch { code: u16, operand: u32, yes: Target, no: Target },
    Place(usize),
}

#[derive(Default)]
struct Assembler {
    steps: Vec<Step>,
    labels: usize,
}

/// Assembles rules that are sorted by number.
pub(super) fn assemble(rules: &[Rule]) -> Result<Vec<Instruction>, TooFar> {
    let mut assembler = Assembler::default();
    assembler.prologue();
    let blocks: Vec<_> = rules.iter().map(|rule| (rule, assembler.label())).collect();
    assembler.tree(&blocks);
    for (rule, label) in &blocks {
        assembler.block(rule, *label);
    }
    assembler.finish()
}

impl Assembler {
    const fn label(&mut self) -> usize {
        self.labels += 1;
        self.labels - 1
    }

    fn branch(&mut self, code: u16, operand: u32, yes: Target, no: Target) {
        self.steps.push(Step::Branch { code, operand, yes, no });
    }

    fn give(&mut self, action: Action) {
        self.steps.push(Step::Plain(RETURN, action.number()));
    }

    fn prologue(&mut self) {
        let (native, known) = (self.label(), self.label());
        self.steps.push(Step::Plain(LOAD, OFFSET_ARCHITECTURE));
        self.branch(JUMP_EQUAL, ARCHITECTURE, Target::Label(native), Target::Next);
        self.steps.push(Step::Plain(RETURN, seccomp::RET_KILL));
        self.steps.extend([Step::Place(native), Step::Plain(LOAD, OFFSET_NUMBER)]);
        self.branch(JUMP_AT_LEAST, UNKNOWN, Target::Next, Target::Label(known));
        self.give(Action::Fail(libc::ENOSYS));
        self.steps.push(Step::Place(known));
    }

    fn tree(&mut self, blocks: &[(&Rule, usize)]) {
        if blocks.len() <= LEAF {
            return self.leaf(blocks);
        }
        let (low, high) = blocks.split_at(blocks.len() / 2);
        let (right, left) = (self.label(), self.label());
        let pivot = high.first().map_or(0, |(rule, _)| rule.call);
        self.branch(JUMP_AT_LEAST, pivot, Target::Next, Target::Label(left));
        self.steps.extend([Step::Goto(right), Step::Place(left)]);
        self.tree(low);
        self.steps.push(Step::Place(right));
        self.tree(high);
    }

    fn leaf(&mut self, blocks: &[(&Rule, usize)]) {
        for (rule, block) in blocks {
            let other = self.label();
            self.branch(JUMP_EQUAL, rule.call, Target::Next, Target::Label(other));
            if rule.cases.is_empty() {
                self.give(rule.otherwise);
            } else {
                self.steps.push(Step::Goto(*block));
            }
            self.steps.push(Step::Place(other));
        }
        self.give(Action::Allow);
    }

    fn block(&mut self, rule: &Rule, label: usize) {
        if rule.cases.is_empty() {
            return;
        }
        self.steps.push(Step::Place(label));
        for case in &rule.cases {
            self.case(case);
        }
        self.give(rule.otherwise);
    }

    fn case(&mut self, case: &Case) {
        let end = self.label();
        for atom in &case.when {
            self.atom(atom, end);
        }
        self.give(case.then);
        self.steps.push(Step::Place(end));
    }

    /// Goes on where the atom holds, to `end` where it does not.
    fn atom(&mut self, atom: &Atom, end: usize) {
        let end = Target::Label(end);
        match atom {
            Atom::Is(argument, value) => {
                self.load(*argument, 0);
                self.branch(JUMP_EQUAL, *value, Target::Next, end);
            }
            Atom::IsNot(argument, value) => {
                self.load(*argument, 0);
                self.branch(JUMP_EQUAL, *value, end, Target::Next);
            }
            Atom::Any(argument, bits) => {
                self.load(*argument, 0);
                self.branch(JUMP_ANY_BIT, *bits, Target::Next, end);
            }
            Atom::No(argument, bits) => {
                self.load(*argument, 0);
                self.branch(JUMP_ANY_BIT, *bits, end, Target::Next);
            }
            Atom::Null(argument) => {
                for word in [0, 4] {
                    self.load(*argument, word);
                    self.branch(JUMP_EQUAL, 0, Target::Next, end);
                }
            }
            Atom::In(argument, values) => {
                let found = self.label();
                self.load(*argument, 0);
                for value in *values {
                    self.branch(JUMP_EQUAL, *value, Target::Label(found), Target::Next);
                }
                if let Target::Label(end) = end {
                    self.steps.push(Step::Goto(end));
                }
                self.steps.push(Step::Place(found));
            }
            Atom::Outside(argument, mask, values) => {
                self.load(*argument, 0);
                if *mask != u32::MAX {
                    self.steps.push(Step::Plain(AND, *mask));
                }
                for value in *values {
                    self.branch(JUMP_EQUAL, *value, end, Target::Next);
                }
            }
        }
    }

    fn load(&mut self, argument: u8, word: u32) {
        self.steps.push(Step::Plain(LOAD, OFFSET_ARGUMENTS + u32::from(argument) * 8 + word));
    }

    fn finish(self) -> Result<Vec<Instruction>, TooFar> {
        let mut places = vec![0; self.labels];
        let mut at = 0;
        for step in &self.steps {
            match step {
                Step::Place(label) => places.get_mut(*label).map_or((), |place| *place = at),
                _ => at += 1,
            }
        }
        let position = |label: usize| places.get(label).copied().ok_or(TooFar);
        let mut program = Vec::with_capacity(at);
        for step in self.steps {
            let next = program.len() + 1;
            let distance = |label| position(label)?.checked_sub(next).ok_or(TooFar);
            let short = |target| match target {
                Target::Next => Ok(0),
                Target::Label(label) => u8::try_from(distance(label)?).map_err(|_| TooFar),
            };
            let instruction = match step {
                Step::Place(_) => continue,
                Step::Plain(code, operand) => Instruction { code, jump_true: 0, jump_false: 0, operand },
                Step::Goto(label) => {
                    let operand = u32::try_from(distance(label)?).map_err(|_| TooFar)?;
                    Instruction { code: GOTO, jump_true: 0, jump_false: 0, operand }
                }
                Step::Branch { code, operand, yes, no } => {
                    Instruction { code, jump_true: short(yes)?, jump_false: short(no)?, operand }
                }
            };
            program.push(instruction);
        }
        Ok(program)
    }
}

impl Action {
    /// The action as a filter returns it.
    pub(super) const fn number(self) -> u32 {
        match self {
            Self::Allow => seccomp::RET_ALLOW,
            Self::Ask => seccomp::RET_NOTIFY,
            Self::Fail(error) => seccomp::RET_ERRNO | (error.unsigned_abs() & 0xffff),
        }
    }
}

//! State of the process that changes what other calls mean: personality, name spaces, filters, modes of the processor.
//!
//! A mapping that the kernel makes executable by itself, a root folder of one's own, or a filter that answers for the
//! kernel would each undo what the library judges. Most states pass: system-calls.txt says why. `handler` calls it.

use ringfence_records::handoff::covers;

use crate::arch::{Flow, number};
use crate::state::State;
use crate::{own, sys};

/// `CLONE_NEWCGROUP`, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWNS.
const NEW_NAMESPACES: usize = 0x7e02_0000;
const CLONE_NEWTIME: usize = 0x80;

/// Judges a call that changes such a state.
pub(crate) fn change(state: &State, call: usize, arguments: [usize; 6]) -> Flow {
    let [first, ..] = arguments;
    if let Some(name) = filter(call, arguments) {
        // A program that was started may restrict itself. In the runtime's own memory a filter would stand between
        // the library's questions and the kernel, and could answer them.
        let in_runtime = state.started_as == state.handoff.runtime_pid;
        return if in_runtime { own::dangerous(state, name) } else { Flow::Proceed };
    }
    let Some(name) = refused(call, first) else { return Flow::Proceed };
    if state.kernel_decides(covers::DANGEROUS) {
        return Flow::Done(sys::pass_whole(call, arguments));
    }
    own::dangerous(state, name)
}

/// The name of a call that would install a seccomp filter.
fn filter(call: usize, [first, ..]: [usize; 6]) -> Option<&'static str> {
    const PR_SET_SECCOMP: i32 = 22;
    const SET_MODES: [i32; 2] = [0, 1];
    match call {
        number::SECCOMP if SET_MODES.contains(&sys::descriptor(first)) => Some("seccomp"),
        number::PRCTL if sys::descriptor(first) == PR_SET_SECCOMP => Some("prctl"),
        _ => None,
    }
}

/// The name of a call that is refused with this first argument.
fn refused(call: usize, first: usize) -> Option<&'static str> {
    /// Linear address masking: addresses with bits that the processor ignores would hide what they point at.
    const ARCH_ENABLE_TAGGED_ADDR: i32 = 0x4002;
    /// `PR_SET_MM`, `PR_SET_SYSCALL_USER_DISPATCH`.
    const MODES: [i32; 2] = [35, 59];
    match call {
        number::PERSONALITY if !is_plain(first) => Some("personality"),
        number::ARCH_PRCTL if sys::descriptor(first) == ARCH_ENABLE_TAGGED_ADDR => Some("arch_prctl"),
        number::PRCTL if MODES.contains(&sys::descriptor(first)) => Some("prctl"),
        number::UNSHARE if first & (NEW_NAMESPACES | CLONE_NEWTIME) != 0 => Some("unshare"),
        number::SETNS => Some("setns"),
        _ => None,
    }
}

/// A question (all ones), Linux as it is, the names of 32-bit machines (`PER_LINUX32`), and 2.6 as the kernel's version.
/// All others change mappings: what is readable would be executable, or addresses would be known beforehand.
const fn is_plain(personality: usize) -> bool {
    matches!(personality & 0xffff_ffff, 0xffff_ffff | 0 | 8 | 0x2_0000 | 0x2_0008)
}

/// Whether clone(2) or `clone3(2)`, whose flags are `first` or stand there, is to begin in another name space.
pub(crate) fn leaves(state: &State, call: usize, first: usize) -> bool {
    let flags = if call == number::CLONE { Some(first) } else { sys::word_at(first) };
    flags.is_some_and(|flags| flags & NEW_NAMESPACES != 0) && !state.kernel_decides(covers::DANGEROUS)
}

/// Judges such a clone.
pub(crate) fn new_namespace(state: &State, call: usize) -> Flow {
    own::dangerous(state, if call == number::CLONE { "clone" } else { "clone3" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_states_that_change_no_mapping_pass() {
        for plain in [usize::MAX, 0xffff_ffff, 0, 8, 0x2_0000, 0x2_0008] {
            assert_eq!(refused(number::PERSONALITY, plain), None, "{plain:x}");
        }
        // READ_IMPLIES_EXEC, ADDR_NO_RANDOMIZE, ADDR_COMPAT_LAYOUT, MMAP_PAGE_ZERO, and what has no name.
        for changing in [0x40_0000, 0x4_0000, 0x20_0000, 0x10_0000, 0x40_0008, 0xffff_fffe] {
            assert_eq!(refused(number::PERSONALITY, changing), Some("personality"), "{changing:x}");
        }
    }

    #[test]
    fn filters_name_spaces_and_masked_addresses_are_known_by_their_low_half() {
        let high = 1 << 32;
        assert_eq!(filter(number::SECCOMP, [high + 1, 0, 0, 0, 0, 0]), Some("seccomp"));
        assert_eq!(filter(number::SECCOMP, [2, 0, 0, 0, 0, 0]), None, "a question");
        assert_eq!(filter(number::PRCTL, [22, 2, 0, 0, 0, 0]), Some("prctl"));
        assert_eq!(refused(number::PRCTL, 15), None, "PR_SET_NAME");
        assert_eq!(refused(number::PRCTL, high + 59), Some("prctl"));
        assert_eq!(refused(number::UNSHARE, 0x400), None, "CLONE_FILES");
        assert_eq!(refused(number::UNSHARE, 0x1000_0000), Some("unshare"));
        assert_eq!(refused(number::ARCH_PRCTL, 0x4002), Some("arch_prctl"));
        assert_eq!(refused(number::ARCH_PRCTL, 0x1002), None, "ARCH_SET_FS");
    }
}

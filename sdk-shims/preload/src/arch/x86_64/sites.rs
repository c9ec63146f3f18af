//! The places in a text where a system call can be taken over, and their shapes.
//!
//! A site is `0f 05`. Where the code before it loads the number and can be moved, the load becomes the jump, and the
//! two bytes of the instruction stay: a call that is let through is made where libc makes it (its cancellation and
//! its unwinding information stay right), and a jump into the middle of the window behaves as before. Where the
//! number comes from a register, the jump takes the place of the instruction itself and of what follows it, provided
//! that nothing jumps there. `patch` calls it; which numbers are wanted is its caller's business.
#![allow(unsafe_code, reason = "vector loads for the search")]

use super::super::Site;
use super::instructions::{covering, keep_rax};
use super::sources::{jumped_into, may_be_wanted};

pub(super) const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// Bytes of a jump, and of a `mov $nr, %eax`.
pub(super) const JUMP: usize = 5;
const MOV_EAX: u8 = 0xb8;
/// Bytes between the load of the number and the instruction that a stub can carry along.
const MAX_CARRIED: usize = 48;
/// What stands before an instruction whose number is known only when it runs.
const GENERIC: [&[u8]; 4] = [
    // glibc's `syscall`: mov 8(%rsp),%r9
    &[0x4c, 0x8b, 0x4c, 0x24, 0x08],
    // The one cancellable call of musl, and of glibc since 2.41 where there are threads: mov %r11,8(%rsp)
    &[0x4c, 0x89, 0x5c, 0x24, 0x08],
    // musl's `syscall`: mov 16(%rdx),%rsi; mov 24(%rdx),%rdx
    &[0x48, 0x8b, 0x72, 0x10, 0x48, 0x8b, 0x52, 0x18],
    // musl's `fopen`: or $O_LARGEFILE,%esi; movslq %esi,%rsi
    &[0x81, 0xce, 0x00, 0x80, 0x00, 0x00, 0x48, 0x63, 0xf6],
];

/// Finds the sites in `text` whose number `wanted` accepts, and the generic ones; `found` takes each.
pub(crate) fn find_sites(text: &[u8], wanted: impl Fn(usize) -> bool, mut found: impl FnMut(Site)) {
    let mut free = 0;
    each_instruction(text, |at| {
        // Two sites that share a byte cannot both be taken over.
        if let Some(site) = shape_at(text, at, &wanted, may_be_moved).filter(|site| site.anchor >= free) {
            free = at + if site.anchor == at { JUMP } else { SYSCALL.len() };
            found(site);
        }
    });
}

/// Bytes that are searched in one step.
const STEP: usize = 64;
/// Bytes that are looked at for that: a pair may begin with the last of them.
const WINDOW: usize = STEP + 1;
const LANE: usize = 16;

/// Calls `hit` with the offset of each `0f 05`, 64 bytes at a time: text is long and this runs at every start.
fn each_instruction(text: &[u8], mut hit: impl FnMut(usize)) {
    let mut at = 0;
    while let Some(window) = text.get(at..).and_then(<[u8]>::first_chunk) {
        // SAFETY: SSE2 is part of the baseline of x86_64.
        if unsafe { holds_pair(window) } {
            each_pair(window, |offset| hit(at + offset));
        }
        at += STEP;
    }
    each_pair(text.get(at..).unwrap_or_default(), |offset| hit(at + offset));
}

fn each_pair(bytes: &[u8], mut hit: impl FnMut(usize)) {
    for (index, pair) in bytes.windows(2).enumerate() {
        if pair == SYSCALL {
            hit(index);
        }
    }
}

/// Whether `0f 05` stands anywhere in `window`.
#[target_feature(enable = "sse2")]
#[inline]
fn holds_pair(window: &[u8; WINDOW]) -> bool {
    use core::arch::x86_64::{
        _mm_and_si128, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
        _mm_setzero_si128,
    };
    let (first, second) = (_mm_set1_epi8(0x0f), _mm_set1_epi8(0x05));
    let mut found = _mm_setzero_si128();
    for lane in 0..STEP / LANE {
        let pointer = window.as_ptr().wrapping_add(lane * LANE);
        // SAFETY: lane * 16 + 16 is at most 64, so the bytes lie in the window; the load needs no alignment.
        let low = unsafe { _mm_loadu_si128(pointer.cast()) };
        // SAFETY: the same, one byte further: the window has 65.
        let high = unsafe { _mm_loadu_si128(pointer.wrapping_add(1).cast()) };
        let pairs = _mm_and_si128(_mm_cmpeq_epi8(low, first), _mm_cmpeq_epi8(high, second));
        found = _mm_or_si128(found, pairs);
    }
    _mm_movemask_epi8(found) != 0
}

/// The site whose call stands at `at`, where a search of this very text has found it: what that search looked for around a call
/// without its number (branches to it, where the number may come from) is most of what it takes, and is not looked for again.
pub(crate) fn site_at(text: &[u8], at: usize, wanted: impl Fn(usize) -> bool) -> Option<Site> {
    let was_found = |_: &[u8], _, _: &_| true;
    if text.get(at..)?.starts_with(&SYSCALL) { shape_at(text, at, &wanted, was_found) } else { None }
}

/// The site whose `0f 05` stands at `at`, if its shape is understood and its number wanted. `bare` says whether one that has no
/// number before it may be taken.
fn shape_at<W: Fn(usize) -> bool>(
    text: &[u8],
    at: usize,
    wanted: &W,
    bare: impl Fn(&[u8], usize, &W) -> bool,
) -> Option<Site> {
    let before = text.get(..at)?;
    if let Some(length) = generic_before(before) {
        return Some(Site { anchor: at - length, call: at, number: None });
    }
    match number_before(text, at) {
        Some((anchor, number)) => wanted(number).then_some(Site { anchor, call: at, number: Some(number) }),
        None => handed_on(before).map(|length| Site { anchor: at - length, call: at, number: None }).or_else(
            || {
                followers(text.get(at..)?)?;
                bare(text, at, wanted).then_some(Site { anchor: at, call: at, number: None })
            },
        ),
    }
}

/// Length of what stands before a call whose number is known only when it runs, where it is one of these.
fn generic_before(before: &[u8]) -> Option<usize> {
    // The cancellable calls of glibc since 2.41, where there is one thread: mov n(%rsp),%rax
    if let Some([0x48, 0x8b, 0x44, 0x24, _]) = before.last_chunk() {
        return Some(JUMP);
    }
    GENERIC.iter().find(|shape| before.ends_with(shape)).map(|shape| shape.len())
}

/// Length of what hands on a call that came as seven arguments, the number one of them: the last is taken from the stack,
/// then registers are moved. musl's cancellable calls end so in a thread that has disabled cancellation.
fn handed_on(before: &[u8]) -> Option<usize> {
    (0..=3).map(|moves| JUMP + moves * 3).find(|length| {
        let code =
            before.len().checked_sub(*length).and_then(|start| before.get(start..)).unwrap_or_default();
        // mov n(%rsp),%r9; mov %reg,%reg ...
        let Some(([0x4c, 0x8b, 0x4c, 0x24, _], moves)) = code.split_first_chunk() else { return false };
        moves.chunks(3).all(|code| matches!(code, [0x48..=0x4f, 0x89, 0xc0..=0xff]))
    })
}

/// Where the code right before the call loads its number, and the number.
fn number_before(text: &[u8], at: usize) -> Option<(usize, usize)> {
    let near = at.checked_sub(JUMP)?;
    (near.saturating_sub(MAX_CARRIED)..=near).rev().find_map(|anchor| {
        let number = loaded_number(text.get(anchor..anchor + JUMP)?)?;
        keep_rax(text.get(anchor + JUMP..at)?).then_some((anchor, number))
    })
}

/// The number that five bytes load into eax, where they are such a load and the number can be a system call's.
fn loaded_number(bytes: &[u8]) -> Option<usize> {
    match *bytes {
        [MOV_EAX, a, b, 0, 0] => Some(usize::from(u16::from_le_bytes([a, b]))),
        _ => None,
    }
}

/// Whether the call itself can be the anchor: its number may be a wanted one, and nothing leads into what is moved.
fn may_be_moved(text: &[u8], at: usize, wanted: &impl Fn(usize) -> bool) -> bool {
    may_be_wanted(text.get(..at).unwrap_or_default(), wanted) && !jumped_into(text, at + 1..at + JUMP)
}

/// The instructions behind a call that a jump in its place covers, where they can be moved. `rest` begins with it.
pub(super) fn followers(rest: &[u8]) -> Option<&[u8]> {
    let behind = rest.get(SYSCALL.len()..)?;
    behind.get(..covering(behind, JUMP - SYSCALL.len())?)
}

#[cfg(test)]
mod tests {
    use super::super::number;
    use super::*;
    use proptest::prelude::*;

    fn sites(text: &[u8]) -> Vec<Site> {
        let mut all = Vec::new();
        find_sites(
            text,
            |number| number == number::SENDTO || number == number::OPENAT,
            |site| all.push(site),
        );
        all
    }

    #[test]
    fn the_shapes_of_glibc_are_understood() {
        let contiguous = [0x90, 0xb8, 0x2c, 0, 0, 0, 0x0f, 0x05, 0xc3];
        assert_eq!(sites(&contiguous), [Site { anchor: 1, call: 6, number: Some(number::SENDTO) }]);
        // sendto(3) of glibc 2.36 where threads exist: two arguments are reloaded from the stack in between.
        let apart = [0xb8, 0x2c, 0, 0, 0, 0x48, 0x8b, 0x74, 0x24, 0x10, 0x8b, 0x7c, 0x24, 0x08, 0x0f, 0x05];
        assert_eq!(sites(&apart), [Site { anchor: 0, call: 14, number: Some(number::SENDTO) }]);
        // __open64_nocancel: mov %rdi,%rsi; mov $AT_FDCWD,%edi.
        let nocancel = [0xb8, 1, 1, 0, 0, 0x48, 0x89, 0xfe, 0xbf, 0x9c, 0xff, 0xff, 0xff, 0x0f, 0x05];
        assert_eq!(sites(&nocancel), [Site { anchor: 0, call: 13, number: Some(number::OPENAT) }]);
        let by_number = [0x4c, 0x8b, 0x4c, 0x24, 0x08, 0x0f, 0x05];
        assert_eq!(sites(&by_number), [Site { anchor: 0, call: 5, number: None }]);
        let from_stack = [0x48, 0x8b, 0x44, 0x24, 0x20, 0x0f, 0x05, 0x5b, 0xc3];
        assert_eq!(sites(&from_stack), [Site { anchor: 0, call: 5, number: None }]);
    }

    #[test]
    fn calls_that_are_handed_on_are_taken_over() {
        for (before, code) in [
            // musl 1.2.2 and 1.2.3 of Debian: mov 0x30(%rsp),%r9; mov %r14,%rsi
            (&[][..], &[0x4c, 0x8b, 0x4c, 0x24, 0x30, 0x4c, 0x89, 0xf6][..]),
            // musl 1.2.5 of Debian: mov %rbx,%rax; mov %r9,%r8; mov 0x20(%rsp),%r9
            (&[0x48, 0x89, 0xd8, 0x4d, 0x89, 0xc8], &[0x4c, 0x8b, 0x4c, 0x24, 0x20]),
            // musl 1.2.5 of Alpine: mov 0x20(%rsp),%r9; mov %r12,%r8; mov %rbp,%rax
            (&[], &[0x4c, 0x8b, 0x4c, 0x24, 0x20, 0x4d, 0x89, 0xe0, 0x48, 0x89, 0xe8]),
        ] {
            // A function before it has another number in the register that is moved into rax; a branch leads behind the call.
            let other =
                [0x41, 0xbc, 0xca, 0, 0, 0, 0xeb, u8::try_from(before.len() + code.len() + 2).unwrap()];
            let text = [&other, before, code, &SYSCALL, &[0x5b, 0x5d, 0x41, 0x5c, 0xc3]].concat();
            let anchor = other.len() + before.len();
            assert_eq!(sites(&text), [Site { anchor, call: anchor + code.len(), number: None }], "{code:x?}");
        }
    }

    #[test]
    fn what_could_mean_something_else_is_left_alone() {
        for text in [
            &[0xb8, 0x2c, 0, 0, 0, 0x89, 0xd0, 0x0f, 0x05][..], // mov %edx,%eax overwrites the number
            &[0xb8, 0x2c, 0, 0, 0, 0xf3, 0x0f, 0x1e, 0xfa, 0x0f, 0x05], // not in the list of what can be moved
            &[0xb8, 0x2c, 0, 0, 0, 0xe8, 1, 2, 3, 4, 0x0f, 0x05],       // a call in between
            &[0xb8, 0x2c, 0, 1, 0, 0x0f, 0x05],                         // not a number of a call
            &[0x0f, 0x05],
        ] {
            assert_eq!(sites(text), [], "{text:x?}");
        }
    }

    #[test]
    fn what_is_relative_to_rip_is_carried_too() {
        // fexecve(3) of glibc 2.43: lea "",%rsi.
        let text = [0xb8, 1, 1, 0, 0, 0x48, 0x8d, 0x35, 0xe5, 0xaa, 0x0c, 0, 0x0f, 0x05];
        assert_eq!(sites(&text), [Site { anchor: 0, call: 12, number: Some(number::OPENAT) }]);
    }

    #[test]
    fn a_number_from_a_register_makes_the_call_itself_the_anchor() {
        // mov $257,%r8d; mov %r8,%rax; syscall; mov %rax,%rdi; call
        let wanted = [0x41, 0xb8, 1, 1, 0, 0, 0x4c, 0x89, 0xc0, 0x0f, 0x05, 0x48, 0x89, 0xc7, 0xe8];
        assert_eq!(sites(&wanted), [Site { anchor: 9, call: 9, number: None }]);
        // futex(2): not wanted.
        let other = [0x41, 0xb8, 0xca, 0, 0, 0, 0x4c, 0x89, 0xc0, 0x0f, 0x05, 0x48, 0x89, 0xc7, 0xe8];
        assert_eq!(sites(&other), []);
        // The same with a branch to what follows the call.
        let merged = [&[0xeb, 11][..], &wanted].concat();
        assert_eq!(sites(&merged), []);
        // Nothing behind it that could be moved.
        let bare = [&wanted[..11], &[0x74, 3]].concat();
        assert_eq!(sites(&bare), []);
    }

    proptest! {
        #[test]
        fn every_pair_is_found_wherever_it_stands(before in 0..100_usize, after in 0..40_usize) {
            let mut text = vec![0x90; before];
            text.extend([0xb8, 0x2c, 0, 0, 0, 0x0f, 0x05]);
            text.extend(vec![0x90; after]);
            prop_assert_eq!(sites(&text), [Site { anchor: before, call: before + 5, number: Some(number::SENDTO) }]);
        }

        #[test]
        fn sites_lie_inside_any_bytes(text in proptest::collection::vec(prop_oneof![Just(0x0f), Just(0x05), Just(0xb8), Just(0), any::<u8>()], 0..300)) {
            find_sites(&text, |_| true, |site| {
                assert!(site.anchor <= site.call && site.call + 2 <= text.len() && site.anchor + JUMP <= text.len());
                assert!(site.call - site.anchor <= JUMP + MAX_CARRIED);
            });
        }
    }
}

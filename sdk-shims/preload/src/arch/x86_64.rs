//! `x86_64`: the system-call instruction, the entry from patched sites, and the sites that are understood.
//!
//! A site is `0f 05` with an anchor of at least five bytes before it that can be replaced by a jump; the two bytes of
//! the instruction itself stay, so that a call which is let through is made where libc makes it (its cancellation
//! and its unwinding information stay right), and a jump into the middle of the window behaves as before.
#![allow(unsafe_code, reason = "system calls, assembly and code bytes are what this module is for")]

use core::arch::{asm, global_asm};

use super::{Flow, Site, Stub};

#[cfg(all(panic = "abort", not(test)))]
mod memory;
pub(crate) mod number;

/// The caller's registers at a patched site, as the entry saves them. The order is that of the pushes in the entry.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Registers {
    /// Arguments of the call, first to sixth.
    pub(crate) arguments: [usize; 6],
    /// Number of the call on the way in, its result on the way out.
    pub(crate) rax: usize,
}

/// Makes a system call. The result is the kernel's: `-4095..0` is an error.
///
/// # Safety
/// Pointer arguments must be what the call expects, or ones that the kernel checks on behalf of the program whose
/// call is passed on.
#[inline]
pub(crate) unsafe fn syscall(number: usize, a: [usize; 6]) -> isize {
    let result;
    let [a0, a1, a2, a3, a4, a5] = a;
    // SAFETY: the kernel keeps every register but rax, rcx and r11; memory is not assumed untouched. The caller
    // vouches for the pointers.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a0, in("rsi") a1, in("rdx") a2, in("r10") a3, in("r8") a4, in("r9") a5,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

// The entry. A stub jumps here with the caller's registers, but for r11, which holds the address behind the site's
// `0f 05` (the instruction clobbers r11, so no caller expects anything in it).
//
//   1. Step over the red zone, save what the kernel would keep and Rust may use: the flags, the caller-saved
//      registers and xmm0..15. The crate is built for the baseline, so the upper halves of ymm and zmm are never
//      written. x87 and mxcsr are not touched by integer code.
//   2. Call the handler with the saved registers.
//   3. al = 0: put everything back and jump to the site's `0f 05`, which then makes the call. Calls after which the
//      stack is another (clone, vfork, rt_sigreturn through `syscall(3)`) always take this way.
//      al = 1: put everything back but rax, and jump behind it.
//
// The unwinding rules (.cfi) make the site the caller: the return address is r11 on the way in and in its slot after.
global_asm!(
    ".text",
    ".p2align 4",
    ".hidden ringfence_entry",
    ".globl ringfence_entry",
    ".type ringfence_entry,@function",
    "ringfence_entry:",
    ".cfi_startproc",
    ".cfi_def_cfa rsp, 0",
    ".cfi_register rip, r11",
    "lea rsp, [rsp - 128]",
    ".cfi_def_cfa_offset 128",
    "push r11",
    ".cfi_def_cfa_offset 136",
    ".cfi_offset rip, -136",
    "push rbp",
    ".cfi_def_cfa_offset 144",
    ".cfi_offset rbp, -144",
    "mov rbp, rsp",
    ".cfi_def_cfa_register rbp",
    "pushfq",
    "push rax",
    "push r9",
    "push r8",
    "push r10",
    "push rdx",
    "push rsi",
    "push rdi",
    "mov rdi, rsp",
    "sub rsp, 256",
    "and rsp, -16",
    "movaps [rsp], xmm0",
    "movaps [rsp + 16], xmm1",
    "movaps [rsp + 32], xmm2",
    "movaps [rsp + 48], xmm3",
    "movaps [rsp + 64], xmm4",
    "movaps [rsp + 80], xmm5",
    "movaps [rsp + 96], xmm6",
    "movaps [rsp + 112], xmm7",
    "movaps [rsp + 128], xmm8",
    "movaps [rsp + 144], xmm9",
    "movaps [rsp + 160], xmm10",
    "movaps [rsp + 176], xmm11",
    "movaps [rsp + 192], xmm12",
    "movaps [rsp + 208], xmm13",
    "movaps [rsp + 224], xmm14",
    "movaps [rsp + 240], xmm15",
    "cld",
    "call {handler}",
    "movaps xmm0, [rsp]",
    "movaps xmm1, [rsp + 16]",
    "movaps xmm2, [rsp + 32]",
    "movaps xmm3, [rsp + 48]",
    "movaps xmm4, [rsp + 64]",
    "movaps xmm5, [rsp + 80]",
    "movaps xmm6, [rsp + 96]",
    "movaps xmm7, [rsp + 112]",
    "movaps xmm8, [rsp + 128]",
    "movaps xmm9, [rsp + 144]",
    "movaps xmm10, [rsp + 160]",
    "movaps xmm11, [rsp + 176]",
    "movaps xmm12, [rsp + 192]",
    "movaps xmm13, [rsp + 208]",
    "movaps xmm14, [rsp + 224]",
    "movaps xmm15, [rsp + 240]",
    "movzx ecx, al",
    "lea rsp, [rbp - 64]",
    "pop rdi",
    "pop rsi",
    "pop rdx",
    "pop r10",
    "pop r8",
    "pop r9",
    "pop rax",
    // Two bytes back, to the site's own instruction, unless the call is done. The kernel leaves in rcx the address
    // behind the instruction; nobody relies on it.
    "mov r11, [rbp + 8]",
    "lea rcx, [rcx + rcx - 2]",
    "add r11, rcx",
    "popfq",
    "pop rbp",
    ".cfi_def_cfa rsp, 136",
    ".cfi_restore rbp",
    ".cfi_register rip, r11",
    "lea rsp, [rsp + 136]",
    ".cfi_def_cfa_offset 0",
    "jmp r11",
    ".cfi_endproc",
    ".size ringfence_entry, . - ringfence_entry",
    // The program's environment through libc's symbol, where there is one.
    ".weak environ",
    ".p2align 4",
    ".hidden ringfence_environ",
    ".globl ringfence_environ",
    ".type ringfence_environ,@function",
    "ringfence_environ:",
    "mov rax, [rip + environ@GOTPCREL]",
    "test rax, rax",
    "je 8f",
    "mov rax, [rax]",
    "8: ret",
    ".size ringfence_environ, . - ringfence_environ",
    // glibc's list of loaded objects; musl has none by name.
    ".weak _r_debug",
    ".p2align 4",
    ".hidden ringfence_link_list",
    ".globl ringfence_link_list",
    ".type ringfence_link_list,@function",
    "ringfence_link_list:",
    "mov rax, [rip + _r_debug@GOTPCREL]",
    "ret",
    ".size ringfence_link_list, . - ringfence_link_list",
    handler = sym from_site,
);

unsafe extern "C" {
    fn ringfence_entry();
    fn ringfence_environ() -> *const *const u8;
    fn ringfence_link_list() -> usize;
}

/// Called by the entry: 0 lets the site's instruction make the call, 1 means that `rax` holds the result.
unsafe extern "C" fn from_site(registers: *mut Registers) -> u8 {
    // SAFETY: the entry passes the address of the seven words it has just pushed; nobody else holds it.
    let registers = unsafe { &mut *registers };
    // The kernel takes the low half (since Linux 5.13; before, it knew no number with bits above).
    match crate::handler::handle(registers.rax & 0xffff_ffff, registers.arguments) {
        Flow::Proceed => 0,
        Flow::Done(result) => {
            registers.rax = result.cast_unsigned();
            1
        }
    }
}

/// Address of the entry, for stubs.
pub(crate) fn entry_address() -> usize {
    ringfence_entry as *const () as usize
}

/// What libc's `environ` points to: null before libc has been initialised, or without libc.
pub(crate) fn environment_of_libc() -> *const *const u8 {
    // SAFETY: the function takes nothing, reads one word through the GOT and checks it first.
    unsafe { ringfence_environ() }
}

/// Address of glibc's `_r_debug`; 0 under another libc.
pub(crate) fn link_list_of_libc() -> usize {
    // SAFETY: the function takes nothing and loads one word from the GOT.
    unsafe { ringfence_link_list() }
}

/// Bytes that a stub needs at most.
pub(crate) const STUB_ROOM: usize = 64;
/// How far a jump goes, less a page or two.
pub(crate) const REACH: usize = 0x7fff_0000;
/// How far below a text room for its stubs is asked for, in turn.
pub(crate) const DISTANCES: [usize; 6] =
    [0x2_0000, 0x100_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];
/// With five levels of page tables; with four, 47 bits.
pub(crate) const END_OF_USER_SPACE: usize = 1 << 56;
/// Which 64-bit word of `struct stat` has `st_mode` in its low half.
pub(crate) const WORD_OF_MODE: usize = 3;
pub(crate) const O_NOFOLLOW: usize = 0o40_0000;
pub(crate) const O_TMPFILE: usize = 0o2020_0000;
const SYSCALL: [u8; 2] = [0x0f, 0x05];
const MOV_EAX: u8 = 0xb8;
/// Bytes of a `mov $nr, %eax`, and of a jump.
const ANCHOR: usize = 5;
/// Bytes between the anchor and the instruction that a stub can carry along.
const MAX_CARRIED: usize = 24;
/// What stands before an instruction whose number is known only when it runs.
const GENERIC: [&[u8]; 4] = [
    // glibc's `syscall`: mov 8(%rsp),%r9
    &[0x4c, 0x8b, 0x4c, 0x24, 0x08],
    // The one cancellable call of musl, and of glibc since 2.41: mov %r11,8(%rsp)
    &[0x4c, 0x89, 0x5c, 0x24, 0x08],
    // musl's `syscall`: mov 16(%rdx),%rsi; mov 24(%rdx),%rdx
    &[0x48, 0x8b, 0x72, 0x10, 0x48, 0x8b, 0x52, 0x18],
    // musl's `fopen`: or $O_LARGEFILE,%esi; movslq %esi,%rsi
    &[0x81, 0xce, 0x00, 0x80, 0x00, 0x00, 0x48, 0x63, 0xf6],
];

/// Finds the sites in `text` whose number `wanted` accepts, and the generic ones; `found` takes each.
pub(crate) fn find_sites(text: &[u8], wanted: impl Fn(usize) -> bool, mut found: impl FnMut(Site)) {
    each_instruction(text, |at| {
        if let Some(site) = site_before(text, at, &wanted) {
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

/// The site whose `0f 05` stands at `at`, if its shape is understood and its number wanted.
fn site_before(text: &[u8], at: usize, wanted: &impl Fn(usize) -> bool) -> Option<Site> {
    let before = text.get(..at)?;
    if let Some(shape) = GENERIC.iter().find(|shape| before.ends_with(shape)) {
        return Some(Site { anchor: at - shape.len(), call: at, number: None });
    }
    let near = at.checked_sub(ANCHOR)?;
    for anchor in (at.saturating_sub(ANCHOR + MAX_CARRIED)..=near).rev() {
        if let Some(number) = loaded_number(text.get(anchor..anchor + ANCHOR)?) {
            let carried = text.get(anchor + ANCHOR..at)?;
            if can_be_carried(carried) {
                return wanted(number).then_some(Site { anchor, call: at, number: Some(number) });
            }
        }
    }
    None
}

/// The number that five bytes load into eax, where they are such a load and the number can be a system call's.
fn loaded_number(bytes: &[u8]) -> Option<usize> {
    match *bytes {
        [MOV_EAX, a, b, 0, 0] => Some(usize::from(u16::from_le_bytes([a, b]))),
        _ => None,
    }
}

/// Whether all of `code` is instructions that do the same wherever they stand, and that leave rax alone.
fn can_be_carried(mut code: &[u8]) -> bool {
    while !code.is_empty() {
        match carried_length(code).and_then(|length| code.get(length..)) {
            Some(rest) => code = rest,
            None => return false,
        }
    }
    true
}

/// Length of the first instruction of `code`, where it is one of the few moves that compilers put between the number
/// and the call: mov, xor, lea, and moves of constants; not relative to rip, not into rax.
fn carried_length(code: &[u8]) -> Option<usize> {
    let (rex, code) = match code {
        [rex @ 0x40..=0x4f, rest @ ..] => (*rex, rest),
        _ => (0, code),
    };
    let prefix = usize::from(rex != 0);
    let (opcode, rest) = code.split_first()?;
    let length = match opcode {
        // mov imm32, r32 (not eax; with REX.W it would be ten bytes long)
        0xb9..=0xbf if rex & 8 == 0 => 1 + 4,
        // mov r, r/m; xor r, r/m
        0x89 | 0x31 => 1 + operand_length(rest, rex, Target::OperandMemory)?,
        // mov r/m, r; xor r/m, r; lea
        0x8b | 0x33 | 0x8d => 1 + operand_length(rest, rex, Target::Register)?,
        // mov imm32, r/m
        0xc7 => 1 + operand_length(rest, rex, Target::OperandMemory)? + 4,
        // add, or, and, sub, xor … imm8, r/m
        0x83 => 1 + operand_length(rest, rex, Target::OperandMemory)? + 1,
        _ => return None,
    };
    Some(prefix + length)
}

/// Which operand of a `ModRM` byte an instruction writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Register,
    OperandMemory,
}

/// Length of a `ModRM` byte with what follows; `None` where it is relative to rip or the instruction writes rax.
fn operand_length(rest: &[u8], rex: u8, target: Target) -> Option<usize> {
    let modrm = *rest.first()?;
    let (mode, register, memory) = (modrm >> 6, (modrm >> 3) & 7, modrm & 7);
    let writes_rax = match target {
        Target::Register => register == 0 && rex & 4 == 0,
        Target::OperandMemory => mode == 3 && memory == 0 && rex & 1 == 0,
    };
    if writes_rax || (mode == 0 && memory == 5) {
        return None;
    }
    let sib = usize::from(mode != 3 && memory == 4);
    let displacement = match mode {
        0 if sib == 1 && rest.get(1)? & 7 == 5 => 4,
        1 => 1,
        2 => 4,
        _ => 0,
    };
    Some(1 + sib + displacement)
}

/// Writes the stub of a site to the start of `room` and returns its length: the anchor's own instruction, what it
/// carries along, the address behind the site into r11, and a jump through the slot that holds the entry's address.
pub(crate) fn write_stub(room: &mut [u8], stub: &Stub<'_>) -> Option<usize> {
    let mut length = 0;
    let mut put = |bytes: &[u8]| {
        room.get_mut(length..length + bytes.len())?.copy_from_slice(bytes);
        length += bytes.len();
        Some(())
    };
    put(stub.carried)?;
    put(&[0x49, 0xbb])?;
    put(&stub.call.checked_add(SYSCALL.len())?.to_le_bytes())?;
    let next = stub.address.checked_add(stub.carried.len() + 16)?;
    put(&[0xff, 0x25])?;
    put(&displacement(stub.entry_slot, next)?.to_le_bytes())?;
    Some(length)
}

/// `jmp rel32` from `anchor` to `stub`.
pub(crate) fn jump(anchor: usize, stub: usize) -> Option<[u8; ANCHOR]> {
    let [a, b, c, d] = displacement(stub, anchor.checked_add(ANCHOR)?)?.to_le_bytes();
    Some([0xe9, a, b, c, d])
}

fn displacement(to: usize, from: usize) -> Option<i32> {
    i32::try_from(to.wrapping_sub(from).cast_signed()).ok()
}

/// Nothing is to be done: what is written is what runs.
pub(crate) const fn publish_text(_: usize, _: usize) {}

/// Whether indirect branches into the text of this object are checked for landing pads: nothing here asks for that.
pub(crate) const fn guards_branches(_: &[u8]) -> bool {
    false
}

/// An address without what the processor ignores of it: it looks at all bits.
pub(crate) const fn untagged(address: usize) -> usize {
    address
}

#[cfg(test)]
mod tests {
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
    }

    #[test]
    fn what_could_mean_something_else_is_left_alone() {
        for text in [
            &[0xb8, 0x2c, 0, 0, 0, 0x89, 0xd0, 0x0f, 0x05][..], // mov %edx,%eax overwrites the number
            &[0xb8, 0x2c, 0, 0, 0, 0x48, 0x8b, 0x3d, 1, 2, 3, 4, 0x0f, 0x05], // relative to rip
            &[0xb8, 0x2c, 0, 0, 0, 0xe8, 1, 2, 3, 4, 0x0f, 0x05], // a call in between
            &[0xb8, 0x2c, 0, 1, 0, 0x0f, 0x05],                 // not a number of a call
            &[0x0f, 0x05],
        ] {
            assert_eq!(sites(text), [], "{text:x?}");
        }
    }

    #[test]
    fn a_stub_is_the_carried_code_and_a_jump() {
        let mut room = [0; STUB_ROOM];
        let length = write_stub(
            &mut room,
            &Stub {
                address: 0x1_0040,
                carried: &[0xb8, 0x2c, 0, 0, 0],
                call: 0x1122_3344_5566_7786,
                entry_slot: 0x1_0018,
            },
        )
        .unwrap();
        assert_eq!(
            &room[..length],
            &[
                0xb8, 0x2c, 0, 0, 0, 0x49, 0xbb, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xff, 0x25,
                0xc3, 0xff, 0xff, 0xff
            ]
        );
    }

    #[test]
    fn jumps_go_both_ways_and_never_too_far() {
        assert_eq!(jump(0x1000, 0x2000), Some([0xe9, 0xfb, 0x0f, 0, 0]));
        assert_eq!(jump(0x2000, 0x1005), Some([0xe9, 0, 0xf0, 0xff, 0xff]));
        assert_eq!(jump(0x1000, 0x1_0000_0000), None);
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
                assert!(site.anchor + ANCHOR <= site.call && site.call + 2 <= text.len());
                assert!(site.call - site.anchor <= ANCHOR + MAX_CARRIED);
            });
        }
    }
}

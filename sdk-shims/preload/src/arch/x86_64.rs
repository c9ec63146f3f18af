//! `x86_64`: the system-call instruction, the entry from patched sites, and the sites that are understood.
//!
//! Shapes of sites and what they jump to are in `sites` and `stub`; the registers and the way in and out are here.
#![allow(unsafe_code, reason = "system calls, assembly and code bytes are what this module is for")]

use core::arch::{asm, global_asm};

use super::Flow;

mod boundaries;
mod instructions;
#[cfg(all(panic = "abort", not(test)))]
mod memory;
pub(crate) mod number;
mod sites;
mod sources;
mod stub;

pub(crate) use sites::{find_sites, site_at};
pub(crate) use stub::{STUB_ROOM, jump, write_stub};

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

/// Calls `run` with `data` on the stack that ends at `top`.
///
/// # Safety
/// Below `top`, a multiple of 16, is memory that nobody else uses and that is enough for `run`, which takes `data`.
pub(crate) unsafe fn call_on(top: usize, run: unsafe extern "C" fn(*mut u8), data: *mut u8) {
    // SAFETY: r12 keeps the stack's pointer over the call; all that a call may change is named. The caller vouches for
    // the rest.
    unsafe {
        asm!(
            "xchg rsp, r12",
            "call {run}",
            "mov rsp, r12",
            run = in(reg) run,
            inout("r12") top => _,
            in("rdi") data,
            clobber_abi("C"),
        );
    }
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

/// The new thread's pointer among the arguments of clone(2).
pub(crate) const fn thread_pointer_of_clone([_, _, _, _, pointer, _]: [usize; 6]) -> usize {
    pointer
}

/// What the thread that runs is known by: the address that both libcs keep in the first word of its control block. A
/// fork keeps it, and a child of vfork(2) shares it.
pub(crate) fn thread_pointer() -> usize {
    let pointer;
    // SAFETY: reads one word of the thread's own control block, which libc has set up before any constructor runs.
    unsafe { asm!("mov {}, fs:[0]", out(reg) pointer, options(nostack, preserves_flags, readonly)) };
    pointer
}

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

//! `aarch64`: the system-call instruction, the entry from patched sites, and what text needs before it can run.
//!
//! Which sites there are and how stubs look is in `sites`. Nothing here knows the policy.
#![allow(unsafe_code, reason = "system calls, assembly and caches are what this module is for")]

use core::arch::{asm, global_asm};

use super::{Flow, Site, Stub};

#[cfg(all(panic = "abort", not(test)))]
mod memory;
pub(crate) mod number;
mod sites;

pub(crate) use sites::{DISTANCES, REACH, STUB_ROOM, find_sites, guards_branches, jump, site_at, write_stub};

/// With 52-bit virtual addresses, which a program gets where it asks for them; else 48 bits.
pub(crate) const END_OF_USER_SPACE: usize = 1 << 52;
/// Which 64-bit word of `struct stat` has `st_mode` in its low half.
pub(crate) const WORD_OF_MODE: usize = 2;
pub(crate) const O_NOFOLLOW: usize = 0o10_0000;
pub(crate) const O_TMPFILE: usize = 0o2004_0000;

/// The caller's registers at a patched site, as the entry saves them.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Registers {
    /// x0 to x5: arguments of the call; the first takes its result.
    arguments: [usize; 6],
    x6_and_x7: [usize; 2],
    /// x8: the number, of which the kernel takes the low 32 bits.
    number: usize,
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
    // SAFETY: the kernel keeps every register but x0; memory is not assumed untouched. The caller vouches for the
    // pointers.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number, inlateout("x0") a0 => result,
            in("x1") a1, in("x2") a2, in("x3") a3, in("x4") a4, in("x5") a5,
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
    // SAFETY: x20 keeps the stack's pointer over the call; all that a call may change is named. The caller vouches for
    // the rest.
    unsafe {
        asm!(
            "mov x9, sp",
            "mov sp, x20",
            "mov x20, x9",
            "blr {run}",
            "mov sp, x20",
            run = in(reg) run,
            inout("x20") top => _,
            in("x0") data,
            out("x9") _,
            clobber_abi("C"),
        );
    }
}

// The entry. A stub calls it with the caller's registers, but for x16 and x17 (the entry's address, and the one
// behind the site) and x29 and x30, all of which stand in the 32 bytes that the stub has taken from the stack.
//
//   1. Save what the kernel would keep and Rust may use: x0..x15, x18, the flags and all of v0..v31. The crate is
//      built for the baseline, so SVE is not used; what a system call leaves of it is unspecified anyway.
//   2. Call the handler with the saved registers.
//   3. 0: put everything back and return: the stub lets the site make the call.
//      1: the same, x0 being the result, and return sixteen bytes further.
//
// The unwinding rules (.cfi) make the site the caller: the return address, which is column 96 where it is not x30, is
// what the stub had put into x17.
global_asm!(
    ".text",
    ".p2align 4",
    ".hidden ringfence_entry",
    ".globl ringfence_entry",
    ".type ringfence_entry,@function",
    "ringfence_entry:",
    ".cfi_startproc",
    ".cfi_return_column 96",
    ".cfi_def_cfa sp, 32",
    ".cfi_offset x29, -32",
    ".cfi_offset x30, -24",
    ".cfi_register 96, x17",
    // A landing pad (bti c), should the library ever be guarded.
    "hint #34",
    "sub sp, sp, #672",
    ".cfi_def_cfa_offset 704",
    "stp x0, x1, [sp]",
    "stp x2, x3, [sp, #16]",
    "stp x4, x5, [sp, #32]",
    "stp x6, x7, [sp, #48]",
    "stp x8, x9, [sp, #64]",
    "stp x10, x11, [sp, #80]",
    "stp x12, x13, [sp, #96]",
    "stp x14, x15, [sp, #112]",
    "mrs x16, nzcv",
    "stp x18, x16, [sp, #128]",
    "stp x30, x17, [sp, #144]",
    ".cfi_offset 96, -552",
    // The frame record that the stub began.
    "add x29, sp, #672",
    ".cfi_def_cfa x29, 32",
    "stp q0, q1, [sp, #160]",
    "stp q2, q3, [sp, #192]",
    "stp q4, q5, [sp, #224]",
    "stp q6, q7, [sp, #256]",
    "stp q8, q9, [sp, #288]",
    "stp q10, q11, [sp, #320]",
    "stp q12, q13, [sp, #352]",
    "stp q14, q15, [sp, #384]",
    "stp q16, q17, [sp, #416]",
    "stp q18, q19, [sp, #448]",
    "stp q20, q21, [sp, #480]",
    "stp q22, q23, [sp, #512]",
    "stp q24, q25, [sp, #544]",
    "stp q26, q27, [sp, #576]",
    "stp q28, q29, [sp, #608]",
    "stp q30, q31, [sp, #640]",
    "mov x0, sp",
    "bl {handler}",
    "ldp q0, q1, [sp, #160]",
    "ldp q2, q3, [sp, #192]",
    "ldp q4, q5, [sp, #224]",
    "ldp q6, q7, [sp, #256]",
    "ldp q8, q9, [sp, #288]",
    "ldp q10, q11, [sp, #320]",
    "ldp q12, q13, [sp, #352]",
    "ldp q14, q15, [sp, #384]",
    "ldp q16, q17, [sp, #416]",
    "ldp q18, q19, [sp, #448]",
    "ldp q20, q21, [sp, #480]",
    "ldp q22, q23, [sp, #512]",
    "ldp q24, q25, [sp, #544]",
    "ldp q26, q27, [sp, #576]",
    "ldp q28, q29, [sp, #608]",
    "ldp q30, q31, [sp, #640]",
    "ldp x30, x17, [sp, #144]",
    "add x30, x30, x0, lsl #4",
    "ldp x18, x16, [sp, #128]",
    "msr nzcv, x16",
    "ldp x14, x15, [sp, #112]",
    "ldp x12, x13, [sp, #96]",
    "ldp x10, x11, [sp, #80]",
    "ldp x8, x9, [sp, #64]",
    "ldp x6, x7, [sp, #48]",
    "ldp x4, x5, [sp, #32]",
    "ldp x2, x3, [sp, #16]",
    "ldp x0, x1, [sp]",
    ".cfi_register 96, x17",
    ".cfi_def_cfa sp, 704",
    "add sp, sp, #672",
    ".cfi_def_cfa_offset 32",
    "ret",
    ".cfi_endproc",
    ".size ringfence_entry, . - ringfence_entry",
    // The program's environment through libc's symbol, where there is one.
    ".weak environ",
    ".p2align 4",
    ".hidden ringfence_environ",
    ".globl ringfence_environ",
    ".type ringfence_environ,@function",
    "ringfence_environ:",
    "adrp x0, :got:environ",
    "ldr x0, [x0, :got_lo12:environ]",
    "cbz x0, 8f",
    "ldr x0, [x0]",
    "8: ret",
    ".size ringfence_environ, . - ringfence_environ",
    // glibc's list of loaded objects; musl has none by name.
    ".weak _r_debug",
    ".p2align 4",
    ".hidden ringfence_link_list",
    ".globl ringfence_link_list",
    ".type ringfence_link_list,@function",
    "ringfence_link_list:",
    "adrp x0, :got:_r_debug",
    "ldr x0, [x0, :got_lo12:_r_debug]",
    "ret",
    ".size ringfence_link_list, . - ringfence_link_list",
    handler = sym from_site,
);

unsafe extern "C" {
    fn ringfence_entry();
    fn ringfence_environ() -> *const *const u8;
    fn ringfence_link_list() -> usize;
}

/// Called by the entry: 0 lets the site make the call, 1 means that the first word holds the result.
unsafe extern "C" fn from_site(registers: *mut Registers) -> usize {
    // SAFETY: the entry passes the address of the words it has just stored; nobody else holds it.
    let registers = unsafe { &mut *registers };
    match crate::handler::handle(registers.number & 0xffff_ffff, registers.arguments) {
        Flow::Proceed => 0,
        Flow::Done(result) => {
            let [first, ..] = &mut registers.arguments;
            *first = result.cast_unsigned();
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

/// What the thread that runs is known by: the register that both libcs keep its control block in. A fork keeps it, and a
/// child of vfork(2) shares it.
pub(crate) fn thread_pointer() -> usize {
    let pointer;
    // SAFETY: reads a register that every program may read.
    unsafe { asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nostack, preserves_flags, nomem)) };
    pointer
}

/// The new thread's pointer among the arguments of clone(2).
pub(crate) const fn thread_pointer_of_clone([_, _, _, pointer, _, _]: [usize; 6]) -> usize {
    pointer
}

/// An address without its top byte, which the processor ignores: the kernel takes such from programs that have asked
/// for it by prctl(2) (Documentation/arch/arm64/tagged-address-abi.rst).
pub(crate) const fn untagged(address: usize) -> usize {
    address & (usize::MAX >> 8)
}

/// Makes instructions that were written to memory the ones that run: data cache to the point of unification, then
/// the instruction cache (Arm ARM, B2.4.4).
pub(crate) fn publish_text(address: usize, length: usize) {
    let kinds: usize;
    // SAFETY: a register that Linux lets programs read.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) kinds, options(nomem, nostack, preserves_flags)) };
    let lines = |shift: u32| {
        let size = 4_usize << (kinds >> shift & 15);
        (address & !(size - 1)..address.saturating_add(length)).step_by(size)
    };
    for line in lines(16) {
        // SAFETY: the caller has just written to this range; cleaning a line changes no contents.
        unsafe { asm!("dc cvau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    for line in lines(0) {
        // SAFETY: as above.
        unsafe { asm!("ic ivau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: barriers.
    unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
}

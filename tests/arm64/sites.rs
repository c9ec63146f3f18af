//! A library with system-call sites of its own, for the arm64 tests: loaded by dlopen(3), hence searched and patched.
//!
//! `across` fills every register that the kernel keeps, opens a file and stores what it finds then. `beside` makes
//! any call, at a site whose neighbour is a branch and cannot be carried along.
#![no_std]

use core::arch::naked_asm;

/// Images of x0..x30, nzcv and v0..v31: 768 bytes before the call, and after it. x8 is openat's number.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub extern "C" fn across(_before: *const u8, _after: *mut u8) {
    naked_asm!(
        "hint #34",
        "sub sp, sp, #176",
        "stp x0, x1, [sp]",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "stp x29, x30, [sp, #96]",
        "stp d8, d9, [sp, #112]",
        "stp d10, d11, [sp, #128]",
        "stp d12, d13, [sp, #144]",
        "stp d14, d15, [sp, #160]",
        "ldr x1, [x0, #248]",
        "msr nzcv, x1",
        ".irp n, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30",
        "ldr q\\n, [x0, #(256 + 16 * \\n)]",
        ".endr",
        ".irp n, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31",
        "ldr q\\n, [x0, #(256 + 16 * \\n)]",
        ".endr",
        ".irp n, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30",
        "ldr x\\n, [x0, #(8 * \\n)]",
        ".endr",
        "ldr x0, [x0]",
        "mov x8, #56",
        "svc #0",
        // The first word of the frame is not needed any more: it takes x0.
        "str x0, [sp]",
        "ldr x0, [sp, #8]",
        ".irp n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30",
        "str x\\n, [x0, #(8 * \\n)]",
        ".endr",
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
        "str q\\n, [x0, #(256 + 16 * \\n)]",
        ".endr",
        "ldr x1, [sp]",
        "str x1, [x0]",
        "mrs x1, nzcv",
        "str x1, [x0, #248]",
        "ldp x19, x20, [sp, #16]",
        "ldp x21, x22, [sp, #32]",
        "ldp x23, x24, [sp, #48]",
        "ldp x25, x26, [sp, #64]",
        "ldp x27, x28, [sp, #80]",
        "ldp x29, x30, [sp, #96]",
        "ldp d8, d9, [sp, #112]",
        "ldp d10, d11, [sp, #128]",
        "ldp d12, d13, [sp, #144]",
        "ldp d14, d15, [sp, #160]",
        "add sp, sp, #176",
        "ret",
    )
}

/// The number and three arguments of a call; what the kernel answers.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub extern "C" fn beside(_number: usize, _first: usize, _second: usize, _third: usize) -> isize {
    naked_asm!(
        "hint #34",
        "mov x8, x0",
        "mov x0, x1",
        "mov x1, x2",
        "mov x2, x3",
        "cbz x8, 1f",
        "svc #0",
        "1: ret",
    )
}

/// Jumps by a register to an instruction that is no landing pad: SIGILL where the text is guarded, else 1.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub extern "C" fn astray() -> usize {
    naked_asm!(
        "hint #34",
        "adr x9, 1f",
        "br x9",
        "nop",
        "1: mov x0, #1",
        "ret",
    )
}

/// execve(2) on another stack, whose upper end is given first.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub extern "C" fn exec_on(
    _stack: *mut u8,
    _path: *const u8,
    _arguments: *const u8,
    _environment: *const u8,
) -> isize {
    naked_asm!(
        "hint #34",
        "stp x29, x30, [sp, #-16]!",
        "mov x9, sp",
        "mov sp, x0",
        "str x9, [sp, #-16]!",
        "mov x0, x1",
        "mov x1, x2",
        "mov x2, x3",
        "mov x8, #221",
        "svc #0",
        "ldr x9, [sp], #16",
        "mov sp, x9",
        "ldp x29, x30, [sp], #16",
        "ret",
    )
}

unsafe extern "C" {
    fn recv(socket: i32, buffer: *mut u8, length: usize, flags: i32) -> isize;
}

/// A thread's function: waits for bytes that never come, in a call that ends a thread when it is cancelled.
#[unsafe(no_mangle)]
pub extern "C" fn wait_for_bytes(socket: usize) -> usize {
    let mut byte = 0;
    // SAFETY: one byte is there to be written to.
    unsafe { recv(socket as i32, &raw mut byte, 1, 0).cast_unsigned() }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

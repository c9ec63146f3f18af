//! A program of musl for the arm64 tests: what it may do, one line each, as `tests/programs/musl.c` of the preload
//! library does on x86_64. Without Rust's library and without a compiler of C: linked to musl's libc.so alone.
#![no_std]
#![no_main]

use core::arch::naked_asm;
use core::ffi::{CStr, c_char, c_int, c_long, c_void};

unsafe extern "C" {
    fn printf(format: *const c_char, ...) -> c_int;
    fn fflush(stream: *mut c_void) -> c_int;
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    fn fopen(path: *const c_char, mode: *const c_char) -> *mut c_void;
    fn syscall(number: c_long, ...) -> c_long;
    fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn connect(socket: c_int, address: *const u8, length: u32) -> c_int;
    fn system(command: *const c_char) -> c_int;
    fn posix_spawn(
        pid: *mut c_int,
        path: *const c_char,
        actions: *const c_void,
        attributes: *const c_void,
        arguments: *const *const c_char,
        environment: *const *const c_char,
    ) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn __errno_location() -> *mut c_int;
    fn __libc_start_main();
}

/// Where the kernel begins: the stack holds the arguments.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    naked_asm!(
        "mov x29, #0",
        "ldr x1, [sp]",
        "add x2, sp, #8",
        "mov x3, #0",
        "mov x4, #0",
        "mov x5, #0",
        "adr x0, {main}",
        "b {libc}",
        main = sym main,
        libc = sym __libc_start_main,
    )
}

/// A name, and whether it could be done, or the error.
fn tell(name: &CStr, done: bool) {
    // SAFETY: formats and arguments fit; errno is the thread's own.
    unsafe {
        let error = if done { 0 } else { *__errno_location() };
        printf(c"%s %d\n".as_ptr(), name.as_ptr(), error);
        fflush(core::ptr::null_mut());
    }
}

extern "C" fn main() -> c_int {
    const SECRET: &CStr = c"/var/task/secret";
    // struct sockaddr_in: 203.0.113.9, port 9.
    const ADDRESS: [u8; 16] = [2, 0, 0, 9, 203, 0, 113, 9, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: as libc documents each call; strings end in NUL, arrays of strings in a null pointer.
    unsafe {
        tell(c"open", open(SECRET.as_ptr(), 0) >= 0);
        tell(c"fopen", !fopen(SECRET.as_ptr(), c"r".as_ptr()).is_null());
        tell(c"syscall", syscall(56, -100_i64, SECRET.as_ptr(), 0_i64) >= 0);
        tell(c"connect", connect(socket(2, 2, 0), ADDRESS.as_ptr(), 16) == 0);
        printf(c"system %d\n".as_ptr(), system(c"exit 3".as_ptr()) >> 8);
        fflush(core::ptr::null_mut());
        let arguments = [c"cat".as_ptr(), SECRET.as_ptr(), core::ptr::null()];
        let (mut pid, mut status) = (0, 0);
        let none = core::ptr::null();
        posix_spawn(
            &raw mut pid,
            c"/usr/bin/cat".as_ptr(),
            none,
            none,
            arguments.as_ptr(),
            arguments[2..].as_ptr().cast(),
        );
        waitpid(pid, &raw mut status, 0);
        printf(c"\nspawn %d\n".as_ptr(), status >> 8);
    }
    0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

//! The system calls that the library makes for itself, typed, and the reading of the program's memory.
//!
//! Decides nothing. Everything goes straight to the kernel: no libc, no `errno`, no allocation, no lock, so that it
//! may run in signal handlers and between vfork(2) and exec.
#![allow(unsafe_code, reason = "raw system calls and raw memory are what this module is for")]

use core::sync::atomic::{AtomicU32, AtomicU64};

use ringfence_records::handoff::WAITS_FOR;

use crate::arch::{self, number, syscall};
pub(crate) use crate::arch::{O_NOFOLLOW, O_TMPFILE};

/// A positive error number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

impl Errno {
    pub(crate) const NOENT: Self = Self(2);
    pub(crate) const SRCH: Self = Self(3);
    pub(crate) const INTR: Self = Self(4);
    pub(crate) const BADF: Self = Self(9);
    pub(crate) const ACCES: Self = Self(13);
    pub(crate) const FAULT: Self = Self(14);
    pub(crate) const PERM: Self = Self(1);
    pub(crate) const EXIST: Self = Self(17);
    pub(crate) const ISDIR: Self = Self(21);
    pub(crate) const INVAL: Self = Self(22);
    pub(crate) const NFILE: Self = Self(23);
    pub(crate) const NOSPC: Self = Self(28);
    pub(crate) const NOSYS: Self = Self(38);
    pub(crate) const LOOP: Self = Self(40);
    pub(crate) const NAMETOOLONG: Self = Self(36);
    pub(crate) const OPNOTSUPP: Self = Self(95);
    pub(crate) const NOBUFS: Self = Self(105);

    /// As the kernel returns it.
    pub(crate) const fn result(self) -> isize {
        -(self.0 as isize)
    }
}

/// Turns the kernel's result into value or error.
pub(crate) fn check(result: isize) -> Result<usize, Errno> {
    match i32::try_from(result) {
        Ok(error @ -4095..=-1) => Err(Errno(-error)),
        _ => Ok(result.cast_unsigned()),
    }
}

/// A file descriptor as an argument of a system call: the kernel looks at the low 32 bits only.
pub(crate) const fn descriptor(argument: usize) -> i32 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "as the kernel reads an int"
    )]
    {
        argument as u32 as i32
    }
}

pub(crate) const fn argument(descriptor: i32) -> usize {
    #[allow(clippy::cast_sign_loss, reason = "as the kernel reads an int")]
    {
        descriptor as usize
    }
}

/// `AT_FDCWD`.
pub(crate) const CWD: i32 = -100;
pub(crate) const O_WRONLY: usize = 1;
pub(crate) const O_ACCMODE: usize = 3;
pub(crate) const O_CREAT: usize = 0o100;
pub(crate) const O_EXCL: usize = 0o200;
pub(crate) const O_TRUNC: usize = 0o1000;
pub(crate) const O_NONBLOCK: usize = 0o4000;
pub(crate) const O_CLOEXEC: usize = 0o200_0000;
pub(crate) const O_PATH: usize = 0o1000_0000;

/// Passes a call of the program on to the kernel with these arguments.
pub(crate) fn pass(number: usize, arguments: [usize; 6]) -> isize {
    // SAFETY: the arguments are the program's own, or copies of them that live until the call returns; the kernel
    // checks every pointer, and what it writes is what the program asked for.
    unsafe { syscall(number, arguments) }
}

/// Passes on a call that no signal interrupts by the kernel's own rules: where the kernel plane is asked about it, a
/// signal that comes first ends it with EINTR, which no program expects and none has to. Nothing was done then.
pub(crate) fn pass_whole(number: usize, arguments: [usize; 6]) -> isize {
    loop {
        let result = pass(number, arguments);
        if result != Errno::INTR.result() {
            return result;
        }
    }
}

/// The same for a call that may wait: a signal that ends it after a while has ended its wait.
pub(crate) fn pass_patiently(number: usize, arguments: [usize; 6]) -> isize {
    loop {
        let begun = milliseconds();
        let result = pass(number, arguments);
        if result != Errno::INTR.result() || has_waited(begun) {
            return result;
        }
    }
}

/// Whether a call that was begun then can have waited for the guard, so that it was taken up.
pub(crate) fn has_waited(begun: u64) -> bool {
    milliseconds().saturating_sub(begun) >= WAITS_FOR
}

/// A clock that nobody sets, in milliseconds.
pub(crate) fn milliseconds() -> u64 {
    const CLOCK_MONOTONIC: usize = 1;
    let mut time = [0_u64; 2];
    pass(number::CLOCK_GETTIME, [CLOCK_MONOTONIC, time.as_mut_ptr() as usize, 0, 0, 0, 0]);
    let [seconds, nanoseconds] = time;
    seconds * 1000 + nanoseconds / 1_000_000
}

/// A descriptor that is closed when it goes out of scope.
#[derive(Debug)]
pub(crate) struct Owned(pub(crate) i32);

impl Drop for Owned {
    fn drop(&mut self) {
        close(self.0);
    }
}

impl Owned {
    /// Gives the descriptor away.
    pub(crate) fn keep(self) -> i32 {
        let descriptor = self.0;
        core::mem::forget(self);
        descriptor
    }
}

pub(crate) fn close(descriptor: i32) {
    pass(number::CLOSE, [argument(descriptor), 0, 0, 0, 0, 0]);
}

/// `openat(2)` of a path that ends in NUL.
pub(crate) fn open_at(directory: i32, path: &[u8], flags: usize) -> Result<Owned, Errno> {
    if path.last() != Some(&0) {
        return Err(Errno::INVAL);
    }
    open_raw(directory, path.as_ptr() as usize, flags)
}

/// `openat(2)` of a path in the program's memory.
pub(crate) fn open_raw(directory: i32, path: usize, flags: usize) -> Result<Owned, Errno> {
    check(pass(number::OPENAT, [argument(directory), path, flags, 0, 0, 0])).map(|fd| Owned(descriptor(fd)))
}

/// `readlinkat(2)`: the part of `buffer` that was filled. Full buffers count as too long.
pub(crate) fn read_link<'b>(directory: i32, path: &[u8], buffer: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    if path.last() != Some(&0) {
        return Err(Errno::INVAL);
    }
    let arguments =
        [argument(directory), path.as_ptr() as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0];
    let length = check(pass(number::READLINKAT, arguments))?;
    if length >= buffer.len() {
        return Err(Errno::NAMETOOLONG);
    }
    buffer.get(..length).ok_or(Errno::NAMETOOLONG)
}

/// What `fstat(2)` tells and rules need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) mode: u32,
    pub(crate) size: u64,
}

impl Identity {
    pub(crate) const fn is_same_file(&self, other: &Self) -> bool {
        self.device == other.device && self.inode == other.inode
    }
}

pub(crate) fn identity(descriptor: i32) -> Result<Identity, Errno> {
    let mut status = [0_u64; 18];
    check(pass(number::FSTAT, [argument(descriptor), status.as_mut_ptr() as usize, 0, 0, 0, 0]))?;
    let [device, inode, _, _, _, _, size, ..] = status;
    let mode = status.get(arch::WORD_OF_MODE).copied().unwrap_or_default();
    if inode == 0 && mode == 0 {
        // No file is so: a filter that the program has put on itself has answered.
        return Err(Errno::ACCES);
    }
    #[allow(clippy::cast_possible_truncation, reason = "st_mode is the low half of its word of struct stat")]
    Ok(Identity { device, inode, mode: mode as u32, size })
}

/// `f_type` of `fstatfs(2)`.
pub(crate) fn filesystem(descriptor: i32) -> Result<u64, Errno> {
    let mut status = [0_u64; 15];
    check(pass(number::FSTATFS, [argument(descriptor), status.as_mut_ptr() as usize, 0, 0, 0, 0]))?;
    Ok(status.first().copied().unwrap_or(0))
}

/// Ends the process with this status, all its threads at once.
pub(crate) fn exit(status: usize) -> ! {
    loop {
        pass(number::EXIT_GROUP, [status, 0, 0, 0, 0, 0]);
    }
}

/// `pread(2)`; the part of `buffer` that was filled.
pub(crate) fn read_at(descriptor: i32, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let offset = usize::try_from(offset).map_err(|_| Errno::INVAL)?;
    check(pass(
        number::PREAD64,
        [argument(descriptor), buffer.as_mut_ptr() as usize, buffer.len(), offset, 0, 0],
    ))
}

pub(crate) fn read(descriptor: i32, buffer: &mut [u8]) -> Result<usize, Errno> {
    check(pass(number::READ, [argument(descriptor), buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0]))
}

/// `getdents64(2)`: how many bytes of `buffer` were filled with entries; 0 at the end.
pub(crate) fn read_folder(descriptor: i32, buffer: &mut [u8]) -> Result<usize, Errno> {
    check(pass(
        number::GETDENTS64,
        [argument(descriptor), buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0],
    ))
}

pub(crate) fn write(descriptor: i32, bytes: &[u8]) -> Result<usize, Errno> {
    check(pass(number::WRITE, [argument(descriptor), bytes.as_ptr() as usize, bytes.len(), 0, 0, 0]))
}

fn small(result: isize) -> u32 {
    u32::try_from(result).unwrap_or(0)
}

pub(crate) fn process_id() -> u32 {
    small(pass(number::GETPID, [0; 6]))
}

pub(crate) fn parent_id() -> u32 {
    small(pass(number::GETPPID, [0; 6]))
}

/// The group of a process; 0 where there is none to be seen.
pub(crate) fn group_of(process: u32) -> u32 {
    small(pass(number::GETPGID, [process as usize, 0, 0, 0, 0, 0]))
}

pub(crate) fn thread_id() -> u32 {
    small(pass(number::GETTID, [0; 6]))
}

pub(crate) fn is_root() -> bool {
    pass(number::GETEUID, [0; 6]) == 0
}

/// Whether this user may write to `path`, which ends in NUL.
pub(crate) fn may_write(path: &[u8]) -> bool {
    const W_OK: usize = 2;
    path.last() == Some(&0)
        && pass(number::FACCESSAT, [argument(CWD), path.as_ptr() as usize, W_OK, 0, 0, 0]) == 0
}

/// Whether this user may read `path`, which ends in NUL.
pub(crate) fn may_read(path: &[u8]) -> bool {
    const R_OK: usize = 4;
    path.last() == Some(&0)
        && pass(number::FACCESSAT, [argument(CWD), path.as_ptr() as usize, R_OK, 0, 0, 0]) == 0
}

/// A descriptor as the kernel returns it.
pub(crate) const fn result_of(descriptor: i32) -> isize {
    descriptor as isize
}

/// Seconds and nanoseconds of the wall clock.
pub(crate) fn now() -> (u64, u32) {
    let mut time = [0_u64; 2];
    pass(number::CLOCK_GETTIME, [0, time.as_mut_ptr() as usize, 0, 0, 0, 0]);
    let [seconds, nanoseconds] = time;
    (seconds, u32::try_from(nanoseconds).unwrap_or(0))
}

/// A socket for sending one report: AF_UNIX datagrams, non-blocking, closed on exec.
pub(crate) fn report_socket() -> Result<Owned, Errno> {
    const AF_UNIX: usize = 1;
    const SOCK_DGRAM_CLOEXEC_NONBLOCK: usize = 2 | 0o200_0000 | 0o4000;
    check(pass(number::SOCKET, [AF_UNIX, SOCK_DGRAM_CLOEXEC_NONBLOCK, 0, 0, 0, 0]))
        .map(|fd| Owned(descriptor(fd)))
}

/// getsockname(2): the local address, as far as `buffer` holds it.
pub(crate) fn socket_name(socket: i32, buffer: &mut [u8; 128]) -> Result<&[u8], Errno> {
    let mut length = 128_u32;
    let pointers = [buffer.as_mut_ptr() as usize, (&raw mut length) as usize];
    let [name, room] = pointers;
    check(pass(number::GETSOCKNAME, [argument(socket), name, room, 0, 0, 0]))?;
    Ok(buffer.get(..length as usize).unwrap_or_default())
}

/// connect(2).
pub(crate) fn connect(socket: i32, address: &[u8]) -> Result<(), Errno> {
    let arguments = [argument(socket), address.as_ptr() as usize, address.len(), 0, 0, 0];
    check(pass(number::CONNECT, arguments)).map(|_| ())
}

/// `sendto(2)` with flags `MSG_DONTWAIT` and `MSG_NOSIGNAL`; to the socket's peer where `address` is empty.
pub(crate) fn send_to(socket: i32, bytes: &[u8], address: &[u8]) -> Result<usize, Errno> {
    const FLAGS: usize = 0x40 | 0x4000;
    check(pass(
        number::SENDTO,
        [
            argument(socket),
            bytes.as_ptr() as usize,
            bytes.len(),
            FLAGS,
            // A null pointer, or the kernel plane would take it for a destination.
            if address.is_empty() { 0 } else { address.as_ptr() as usize },
            address.len(),
        ],
    ))
}

/// An integer socket option of level `SOL_SOCKET`.
pub(crate) fn socket_option(socket: i32, option: usize) -> Result<i32, Errno> {
    const SOL_SOCKET: usize = 1;
    let (mut value, mut length) = (0_i32, 4_u32);
    check(pass(
        number::GETSOCKOPT,
        [argument(socket), SOL_SOCKET, option, &raw mut value as usize, &raw mut length as usize, 0],
    ))?;
    Ok(value)
}

/// The state of a TCP socket (`TCP_INFO`, its first byte); `None` for other sockets.
pub(crate) fn tcp_state(socket: i32) -> Option<u8> {
    const IPPROTO_TCP: usize = 6;
    const TCP_INFO: usize = 11;
    let (mut info, mut length) = ([0_u8; 8], 8_u32);
    let arguments =
        [argument(socket), IPPROTO_TCP, TCP_INFO, info.as_mut_ptr() as usize, &raw mut length as usize, 0];
    check(pass(number::GETSOCKOPT, arguments)).ok()?;
    info.first().copied()
}

/// `fcntl(2)` with a number.
pub(crate) fn control(descriptor: i32, command: usize, value: usize) -> Result<usize, Errno> {
    check(pass(number::FCNTL, [argument(descriptor), command, value, 0, 0, 0]))
}

/// A memfd with these contents that is inherited and that can never be changed again.
pub(crate) fn memory_file(name: &[u8], contents: &[u8]) -> Result<Owned, Errno> {
    const MFD_ALLOW_SEALING: usize = 2;
    const F_ADD_SEALS: usize = 1033;
    const ALL_SEALS: usize = 0xf;
    if name.last() != Some(&0) {
        return Err(Errno::INVAL);
    }
    let file = check(pass(number::MEMFD_CREATE, [name.as_ptr() as usize, MFD_ALLOW_SEALING, 0, 0, 0, 0]))?;
    let file = Owned(descriptor(file));
    if write(file.0, contents)? != contents.len() {
        return Err(Errno::NOSPC);
    }
    control(file.0, F_ADD_SEALS, ALL_SEALS)?;
    Ok(file)
}

const PROT_READ: usize = 1;
const PROT_WRITE: usize = 2;
const PROT_EXEC: usize = 4;
/// aarch64 only; EINVAL where the processor cannot (`asm/mman.h`).
pub(crate) const PROT_BTI: usize = 0x10;
const MAP_SHARED: usize = 1;
const MAP_PRIVATE: usize = 2;
const MAP_ANONYMOUS: usize = 0x20;

/// Maps `length` bytes of a file read-only for the rest of the life of the process.
pub(crate) fn map_shared(file: i32, length: usize) -> Result<&'static [u8], Errno> {
    let address = check(pass(number::MMAP, [0, length, PROT_READ, MAP_SHARED, argument(file), 0]))?;
    // SAFETY: the kernel has just mapped `length` readable bytes there, and nothing of ours unmaps them. The handoff
    // is sealed against writing and shrinking; the caller checks that, and its length.
    Ok(unsafe { core::slice::from_raw_parts(address as *const u8, length) })
}

/// Maps the words of a page that another process writes.
pub(crate) fn map_words(file: i32, words: usize) -> Result<&'static [AtomicU32], Errno> {
    let address = check(pass(number::MMAP, [0, words * 4, PROT_READ, MAP_SHARED, argument(file), 0]))?;
    // SAFETY: the mapping is page-aligned and readable; the caller checked that the file is long enough. Words are
    // only loaded, and atomically, so concurrent writes by the agent are no race.
    Ok(unsafe { core::slice::from_raw_parts(address as *const AtomicU32, words) })
}

/// Fresh memory of at least `length` bytes, near `hint` where the kernel can; page-aligned and zero.
pub(crate) fn memory_near(hint: usize, length: usize) -> Result<&'static mut [u8], Errno> {
    let address = check(pass(
        number::MMAP,
        [hint, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, usize::MAX, 0],
    ))?;
    // SAFETY: the mapping is new, readable, writable and known to nobody else.
    Ok(unsafe { core::slice::from_raw_parts_mut(address as *mut u8, length) })
}

/// A private, writable copy of the first `length` bytes of a file.
pub(crate) fn map_private(file: i32, length: usize) -> Result<&'static mut [u8], Errno> {
    let address =
        check(pass(number::MMAP, [0, length, PROT_READ | PROT_WRITE, MAP_PRIVATE, argument(file), 0]))?;
    // SAFETY: the mapping is new, readable, writable, private, and known to nobody else; callers ask for no more than
    // the first page of a file that has one.
    Ok(unsafe { core::slice::from_raw_parts_mut(address as *mut u8, length) })
}

/// Page-aligned memory as words.
pub(crate) fn as_words(memory: &mut [u8]) -> &mut [usize] {
    // SAFETY: any bytes are words; `align_to_mut` keeps to the aligned middle, which is all of a page-aligned range.
    unsafe { memory.align_to_mut::<usize>().1 }
}

/// Page-aligned memory as words that several threads may use.
pub(crate) fn as_atomic_words(memory: &'static mut [u8]) -> &'static [AtomicU64] {
    // SAFETY: any bytes are such words, and nobody else has the memory; `align_to` keeps to the aligned middle.
    unsafe { memory.align_to::<AtomicU64>().1 }
}

/// Memory that is given back in the end. For buffers on the way of an exec: musl's `posix_spawn(3)` gives its child 5 KiB of
/// stack, and what lies below is its parent's.
pub(crate) struct Buffer(&'static mut [u8]);

impl Buffer {
    /// Zeroed.
    pub(crate) fn new(length: usize) -> Result<Self, Errno> {
        memory_near(0, length).map(Self)
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        unmap(self.0.as_ptr() as usize, self.0.len());
    }
}

/// Gives mapped memory back.
pub(crate) fn unmap(address: usize, length: usize) {
    pass(number::MUNMAP, [address, length, 0, 0, 0, 0]);
}

/// How a range of memory may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Read,
    Write,
    Execute,
    /// The same, and indirect branches must arrive at a landing pad, where the processor knows such.
    ExecuteGuarded,
}

/// `mprotect(2)`; never writable and executable at once.
pub(crate) fn protect(address: usize, length: usize, how: Use) -> Result<(), Errno> {
    let bits = match how {
        Use::Read => PROT_READ,
        Use::Write => PROT_READ | PROT_WRITE,
        Use::Execute => PROT_READ | PROT_EXEC,
        Use::ExecuteGuarded => PROT_READ | PROT_EXEC | PROT_BTI,
    };
    match check(pass(number::MPROTECT, [address, length, bits, 0, 0, 0])) {
        Err(Errno::INVAL) if how == Use::ExecuteGuarded => protect(address, length, Use::Execute),
        result => result.map(drop),
    }
}

/// Lowest address that a pointer of the program can have (`mmap_min_addr`); below it the kernel answers EFAULT.
const LOWEST: usize = 0x1000;
/// Highest one: user space ends here on any processor of this kind.
const HIGHEST: usize = arch::END_OF_USER_SPACE;

/// Whether `address` can be a pointer at all. A wild pointer in this range faults in the library, where the kernel
/// would have answered EFAULT.
pub(crate) const fn plausible(address: usize) -> bool {
    let address = arch::untagged(address);
    address >= LOWEST && address < HIGHEST
}

/// Whether the program's memory can be read there, at both ends: asked of the kernel, which takes a set of signals from an
/// address before it looks at what is to be done with it. For calls that seldom come: it costs a system call.
pub(crate) fn is_readable(address: usize, length: usize) -> bool {
    const NO_SUCH_CHANGE: usize = 77;
    const SET: usize = 8;
    let there = |at: usize| {
        let arguments = [NO_SUCH_CHANGE, at, 0, SET, 0, 0];
        check(pass(number::RT_SIGPROCMASK, arguments)) != Err(Errno::FAULT)
    };
    let Some(last) = address.checked_add(length.saturating_sub(SET)) else { return false };
    plausible(address) && plausible(last) && there(address) && there(last)
}

/// The string at `address` in the program's memory, without its NUL, at most `limit` bytes.
///
/// `None` for what can be no pointer, and for strings that are longer.
pub(crate) fn string_at(address: usize, limit: usize) -> Option<&'static [u8]> {
    if !plausible(address) {
        return None;
    }
    let start = address as *const u8;
    // SAFETY: the program passes this pointer to a system call that reads a string there; each byte is read once and
    // the walk ends at the NUL, as the kernel's does. The slice is used before the call is over; another thread that
    // writes to it meanwhile makes bytes differ, which the callers' checks tolerate.
    let length = (0..limit).find(|offset| unsafe { start.add(*offset).read_volatile() } == 0)?;
    // SAFETY: as above; `length` bytes were just read there.
    Some(unsafe { core::slice::from_raw_parts(start, length) })
}

/// `length` bytes at `address` in the program's memory.
pub(crate) fn bytes_at(address: usize, length: usize) -> Option<&'static [u8]> {
    if length == 0 {
        return Some(&[]);
    }
    if !plausible(address) || length > HIGHEST - arch::untagged(address) {
        return None;
    }
    // SAFETY: the program passes this range to a system call that reads it; see `string_at`.
    Some(unsafe { core::slice::from_raw_parts(address as *const u8, length) })
}

/// Copies `into.len()` bytes from `address` in the program's memory; false for what can be no pointer.
pub(crate) fn copy_from(address: usize, into: &mut [u8]) -> bool {
    let Some(bytes) = bytes_at(address, into.len()) else { return false };
    into.copy_from_slice(bytes);
    true
}

/// The word at `address` in the program's memory.
pub(crate) fn word_at(address: usize) -> Option<usize> {
    let mut word = [0; size_of::<usize>()];
    copy_from(address, &mut word).then(|| usize::from_ne_bytes(word))
}

/// Writes a 32-bit number into the program's memory, as a system call that returns one there would.
pub(crate) fn put_number(address: usize, value: u32) {
    if plausible(address) {
        // SAFETY: the program passes this address to a call that writes an int there.
        unsafe { (address as *mut u32).write_unaligned(value) };
    }
}

/// Writes into the program's memory, over bytes that the kernel has just written there.
pub(crate) fn put_bytes(address: usize, bytes: &[u8]) {
    if plausible(address) {
        // SAFETY: a call of the program has just been answered there with at least as many bytes.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
    }
}

/// The text of a loaded object, read-only.
pub(crate) fn text_at(address: usize, length: usize) -> &'static [u8] {
    // SAFETY: callers pass the bounds of an executable segment that the loader (or the kernel, in the mmap that has
    // just returned) has mapped readable and that no other thread unmaps: at start there is none, and a mapping that
    // has not been returned yet is known to nobody.
    unsafe { core::slice::from_raw_parts(address as *const u8, length) }
}

/// Overwrites `bytes.len()` bytes of text that was made writable.
pub(crate) fn write_text(address: usize, bytes: &[u8]) {
    // SAFETY: callers have just made the segment writable and found the site inside it; no thread runs it meanwhile.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
}

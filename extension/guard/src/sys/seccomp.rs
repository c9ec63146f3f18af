//! seccomp(2) with a user-notification listener (`seccomp_unotify(2)`, kernel 5.0; ADDFD 5.9).
//!
//! Always the raw call, never prctl(2), which Lambda refuses.
#![allow(unsafe_code, reason = "wraps seccomp(2) and the listener's ioctls")]

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use super::{Errno, check, check_int};

const SET_MODE_FILTER: u32 = 1;
const GET_ACTION_AVAILABLE: u32 = 2;
const GET_NOTIFICATION_SIZES: u32 = 3;

/// `SECCOMP_RET_ALLOW`.
pub const RET_ALLOW: u32 = 0x7fff_0000;
/// `SECCOMP_RET_USER_NOTIF`.
pub const RET_NOTIFY: u32 = 0x7fc0_0000;
/// `SECCOMP_RET_ERRNO`; the error number is added.
pub const RET_ERRNO: u32 = 0x0005_0000;
/// `SECCOMP_RET_KILL_PROCESS`.
pub const RET_KILL: u32 = 0x8000_0000;

/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: no speculation mitigations for the whole function (default before 5.16).
pub const FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` (5.19): a received notification is interrupted by fatal signals only.
pub const FLAG_WAIT_KILLABLE: u32 = 1 << 5;

/// `ERESTARTSYS`, an answer for the kernel and not for programs: on its way out with a signal the caller returns `EINTR` or
/// makes the call again, as the signal's handler wants it. Without a signal on the way the program would see the number.
pub const RESTART: Errno = Errno(512);

const RECEIVE: u64 = 0xc050_2100;
const SEND: u64 = 0xc018_2101;
const VALID: u64 = 0x4008_2102;
const ADD: u64 = 0x4018_2103;
const SET_FLAGS: u64 = 0x4008_2104;
const RESPOND_CONTINUE: u32 = 1;
const ADD_SEND: u32 = 1 << 1;
const SYNC_WAKE_UP: u64 = 1;

/// One instruction of a classic BPF program (`struct sock_filter`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip where a comparison holds.
    pub jump_true: u8,
    /// Instructions to skip where it does not.
    pub jump_false: u8,
    /// Operand.
    pub operand: u32,
}

#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

/// A system call that waits for its answer (`struct seccomp_notif`).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Notification {
    /// Names the notification to the listener.
    pub id: u64,
    /// The thread, in the listener's process name space.
    pub thread: u32,
    flags: u32,
    /// Number of the system call.
    pub number: i32,
    /// `AUDIT_ARCH_*`.
    pub architecture: u32,
    /// Where the call was made.
    pub instruction_pointer: u64,
    /// The six registers.
    pub arguments: [u64; 6],
}

#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

#[repr(C)]
struct AddDescriptor {
    id: u64,
    flags: u32,
    source: u32,
    number: u32,
    number_flags: u32,
}

const _: () = assert!(
    size_of::<Notification>() == 80 && size_of::<Response>() == 24 && size_of::<AddDescriptor>() == 24
);

/// Whether the kernel knows user notification (`SECCOMP_GET_ACTION_AVAIL`).
///
/// # Errors
/// `EOPNOTSUPP` where it does not, `EPERM` or `ENOSYS` where seccomp(2) may not be called.
pub fn notification_available() -> Result<(), Errno> {
    let action = RET_NOTIFY;
    // SAFETY: the kernel reads one u32.
    check(unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAILABLE, 0, &raw const action) }).map(drop)
}

/// Whether the kernel's structures have the sizes that this module knows (`SECCOMP_GET_NOTIF_SIZES`).
///
/// # Errors
/// `EINVAL` where they differ, otherwise the error of seccomp(2).
pub fn sizes_agree() -> Result<(), Errno> {
    let mut sizes = [0_u16; 3];
    // SAFETY: the kernel writes three u16.
    check(unsafe { libc::syscall(libc::SYS_seccomp, GET_NOTIFICATION_SIZES, 0, sizes.as_mut_ptr()) })?;
    (sizes == [80, 24, 64]).then_some(()).ok_or(Errno::EINVAL)
}

/// Whether the kernel knows [`FLAG_WAIT_KILLABLE`] (5.19). It says so before it looks at a program, which there is none.
#[must_use]
pub fn waits_killable() -> bool {
    let flags = FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE;
    let nothing = std::ptr::null::<Program>();
    // SAFETY: the kernel checks the pointer and refuses the null one (EFAULT), so nothing is installed.
    let returned = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, nothing) };
    check(returned) == Err(Errno::EFAULT)
}

/// Installs `program` on the calling thread, and returns the listener's number where `flags` ask for one, else 0.
///
/// # Errors
/// The error of seccomp(2): `EPERM`, `ENOSYS`, `EBUSY` where there is a listener already, `EINVAL` for an unknown flag.
pub fn install(program: &[Instruction], flags: u32) -> Result<RawFd, Errno> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let program = Program { length, instructions: program.as_ptr() };
    // SAFETY: the program structure and its instructions outlive the call, and the length is theirs.
    let number =
        check(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const program) })?;
    RawFd::try_from(number).map_err(|_| Errno::EINVAL)
}

/// Whether the kernel knows this flag of `SECCOMP_SET_MODE_FILTER`, for filters with a listener. Nothing is installed.
#[must_use]
pub fn knows_flag(flag: u32) -> bool {
    let none = std::ptr::null::<Program>();
    // SAFETY: the flags are looked at before the program, and a null pointer to it is refused (EFAULT).
    let returned =
        unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, FLAG_NEW_LISTENER | flag, none) };
    check(returned) == Err(Errno::EFAULT)
}

/// The listener of a filter.
#[derive(Debug)]
pub struct Listener {
    file: OwnedFd,
    one_step: bool,
}

impl Listener {
    /// Takes over the listener's descriptor.
    #[must_use]
    pub fn new(file: OwnedFd) -> Self {
        let mut listener = Self { file, one_step: false };
        // No notification has this id; a kernel that does not know the flag does not look for it.
        let asked = listener.add(u64::MAX, listener.file.as_fd(), true, ADD_SEND);
        listener.one_step = asked == Err(Errno::ENOENT) && !taken_away("ADDFD_SEND");
        listener
    }

    /// Whether a descriptor can be put into the target and the call answered in one step (5.14).
    #[must_use]
    pub const fn answers_in_one_step(&self) -> bool {
        self.one_step
    }

    /// The number to wait on.
    #[must_use]
    pub fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Asks that waking the supervisor hands it the caller's CPU (6.6): 3 us instead of up to 45 a call.
    ///
    /// # Errors
    /// `EINVAL` on older kernels. The flags go by value; a pointer would be refused the same way.
    pub fn wake_on_same_cpu(&self) -> Result<(), Errno> {
        // SAFETY: this ioctl takes an integer.
        check_int(unsafe { libc::ioctl(self.file.as_raw_fd(), SET_FLAGS as _, SYNC_WAKE_UP) }).map(drop)
    }

    /// The next notification.
    ///
    /// # Errors
    /// `ENOENT` where the target was gone before it could be read, `EINTR`.
    pub fn receive(&self) -> Result<Notification, Errno> {
        let mut notification = Notification::default();
        // SAFETY: the structure is zeroed and of the size in the request, which the kernel fills.
        check_int(unsafe { libc::ioctl(self.file.as_raw_fd(), RECEIVE as _, &raw mut notification) })?;
        Ok(notification)
    }

    /// Whether the target still waits. Everything read of it before this holds for it and not for a successor.
    #[must_use]
    pub fn still_waits(&self, id: u64) -> bool {
        // SAFETY: the kernel reads one u64.
        unsafe { libc::ioctl(self.file.as_raw_fd(), VALID as _, &raw const id) == 0 }
    }

    fn send(&self, response: &Response) -> Result<(), Errno> {
        // SAFETY: the structure is initialised and of the size in the request.
        check_int(unsafe { libc::ioctl(self.file.as_raw_fd(), SEND as _, std::ptr::from_ref(response)) })
            .map(drop)
    }

    /// Makes the call return `value`.
    ///
    /// # Errors
    /// `ENOENT` where the target no longer waits.
    pub fn succeed(&self, id: u64, value: i64) -> Result<(), Errno> {
        self.send(&Response { id, value, error: 0, flags: 0 })
    }

    /// Makes the call fail with `error`.
    ///
    /// # Errors
    /// `ENOENT` where the target no longer waits.
    pub fn fail(&self, id: u64, error: Errno) -> Result<(), Errno> {
        self.send(&Response { id, value: 0, error: error.0.saturating_neg(), flags: 0 })
    }

    /// Lets the kernel make the call as it stands. Only `kernel::answer` may call this, with a proof in hand.
    ///
    /// # Errors
    /// `ENOENT` where the target no longer waits.
    pub fn proceed(&self, id: u64) -> Result<(), Errno> {
        self.send(&Response { id, value: 0, error: 0, flags: RESPOND_CONTINUE })
    }

    /// Puts a duplicate of `file` into the target and makes the call return its number there, in one step (5.14).
    ///
    /// # Errors
    /// `EINVAL` before 5.14, `EMFILE` where the target has no room, `ENOENT` where it no longer waits.
    pub fn answer_with_descriptor(
        &self,
        id: u64,
        file: BorrowedFd<'_>,
        close_on_exec: bool,
    ) -> Result<(), Errno> {
        if !self.one_step {
            return Err(Errno::EINVAL);
        }
        self.add(id, file, close_on_exec, ADD_SEND).map(drop)
    }

    /// Puts a duplicate of `file` into the target and returns its number there; the call still waits.
    ///
    /// # Errors
    /// `EMFILE` where the target has no room, `ENOENT` where it no longer waits.
    pub fn add_descriptor(&self, id: u64, file: BorrowedFd<'_>, close_on_exec: bool) -> Result<i64, Errno> {
        self.add(id, file, close_on_exec, 0)
    }

    fn add(&self, id: u64, file: BorrowedFd<'_>, close_on_exec: bool, flags: u32) -> Result<i64, Errno> {
        let source = u32::try_from(file.as_raw_fd()).map_err(|_| Errno(libc::EBADF))?;
        let number_flags = if close_on_exec { libc::O_CLOEXEC.unsigned_abs() } else { 0 };
        let add = AddDescriptor { id, flags, source, number: 0, number_flags };
        // SAFETY: the structure is initialised and of the size in the request.
        let number = check_int(unsafe { libc::ioctl(self.file.as_raw_fd(), ADD as _, &raw const add) })?;
        Ok(i64::try_from(number).unwrap_or(-1))
    }
}

/// For tests of what kernels before 5.14 do: a filter cannot take away a flag that stands in memory. Released guards
/// have no such switch.
fn taken_away(feature: &str) -> bool {
    cfg!(debug_assertions)
        && std::env::var("RINGFENCE_TEST_WITHOUT").is_ok_and(|names| names.contains(feature))
}

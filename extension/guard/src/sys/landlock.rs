//! Landlock (landlock(7)): rules that a process puts on itself and its children, kept by the kernel alone.
#![allow(unsafe_code, reason = "wraps system calls that libc has no functions for")]

use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use super::{Errno, check};

const VERSION: u32 = 1;
const RULE_PATH_BENEATH: i32 = 1;

/// Execute a file.
pub const EXECUTE: u64 = 1;
/// Open a file for writing.
pub const WRITE_FILE: u64 = 1 << 1;
/// Remove names, and make files of every kind: the bits from `REMOVE_DIR` to `MAKE_SYM`.
pub const CHANGE_NAMES: u64 = 0x1ff0;
/// Make a socket's node: bind(2).
pub const MAKE_SOCKET: u64 = 1 << 9;
/// Rename and link from one folder to another (version 2). What no rule allows is refused, handled or not.
pub const REFER: u64 = 1 << 13;
/// bind(2) of TCP sockets (version 4).
pub const BIND_TCP: u64 = 1;
/// connect(2) of TCP sockets (version 4).
pub const CONNECT_TCP: u64 = 1 << 1;
/// Abstract AF_UNIX sockets of others (version 6).
pub const SCOPE_ABSTRACT: u64 = 1;
/// Signals to others (version 6).
pub const SCOPE_SIGNAL: u64 = 1 << 1;

/// What is refused unless a rule allows it (`struct landlock_ruleset_attr`).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Handled {
    /// On files.
    pub files: u64,
    /// On the network.
    pub network: u64,
    /// Towards processes outside.
    pub scoped: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// The version of the kernel's interface; 0 where there is none.
#[must_use]
pub fn version() -> u32 {
    let none = std::ptr::null::<u8>();
    // SAFETY: with this flag no attribute is read.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0, VERSION) };
    u32::try_from(version).unwrap_or(0)
}

/// Rules in the making.
#[derive(Debug)]
pub struct Ruleset(OwnedFd);

impl Ruleset {
    /// Rules that refuse what is handled.
    ///
    /// # Errors
    /// `E2BIG` or `EINVAL` for what this kernel does not know, `ENOMSG` where nothing is handled.
    pub fn new(handled: Handled) -> Result<Self, Errno> {
        // Kernels before version 4 and 6 know the first field or two only, and take the size for what is passed.
        let fields = if handled.scoped != 0 {
            3
        } else if handled.network != 0 {
            2
        } else {
            1
        };
        let size = fields * size_of::<u64>();
        // SAFETY: the structure is initialised and at least as long as the size says.
        let returned =
            unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const handled, size, 0) };
        let number = RawFd::try_from(check(returned)?).map_err(|_| Errno::EINVAL)?;
        // SAFETY: the call has just made this descriptor, and nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(number) }))
    }

    /// Allows `allowed` for a file, or for all that is below a folder.
    ///
    /// # Errors
    /// `EINVAL` for a right that is not handled, or that files do not have.
    pub fn allow(&self, parent: BorrowedFd<'_>, allowed: u64) -> Result<(), Errno> {
        let rule = PathBeneath { allowed, parent: parent.as_raw_fd() };
        // SAFETY: the structure is initialised and of the kind that is passed.
        let returned = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                self.0.as_raw_fd(),
                RULE_PATH_BENEATH,
                &raw const rule,
                0,
            )
        };
        check(returned).map(drop)
    }

    /// Puts the rules on this thread, for good. It must have no_new_privs.
    ///
    /// # Errors
    /// `EPERM` without no_new_privs, `E2BIG` where it has too many such rules already.
    pub fn restrict_self(&self) -> Result<(), Errno> {
        // SAFETY: landlock_restrict_self takes two integers.
        check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.0.as_raw_fd(), 0) }).map(drop)
    }
}

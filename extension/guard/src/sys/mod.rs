//! System calls, wrapped safely: the only modules of the guard with unsafe code.
//!
//! Each decides nothing; it turns one family of calls into functions over owned descriptors and slices. It must not
//! know policy or messages. Everything else in the crate calls it.

pub mod descriptor;
pub mod file;
pub mod landlock;
pub mod limit;
pub mod map;
pub mod memory;
pub mod others;
pub mod process;
pub mod seccomp;
pub mod socket;

use std::ffi::CString;
use std::fmt;

/// An error number as the kernel gives it (errno(3)), always positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// Bad address.
    pub const EFAULT: Self = Self(libc::EFAULT);
    /// Operation not permitted.
    pub const EPERM: Self = Self(libc::EPERM);
    /// Permission denied.
    pub const EACCES: Self = Self(libc::EACCES);
    /// Invalid argument.
    pub const EINVAL: Self = Self(libc::EINVAL);
    /// No such file or directory; as an answer of the listener: the target is gone.
    pub const ENOENT: Self = Self(libc::ENOENT);

    /// The error of the last failed call of this thread.
    #[must_use]
    pub fn last() -> Self {
        Self(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
    }

    /// The symbol, for the few that probes meet; others as a number.
    #[must_use]
    pub const fn symbol(self) -> Option<&'static str> {
        Some(match self.0 {
            libc::EPERM => "EPERM",
            libc::ENOENT => "ENOENT",
            libc::EACCES => "EACCES",
            libc::EBUSY => "EBUSY",
            libc::EINVAL => "EINVAL",
            libc::EMFILE => "EMFILE",
            libc::ENOSYS => "ENOSYS",
            libc::EOPNOTSUPP => "EOPNOTSUPP",
            libc::ESRCH => "ESRCH",
            libc::ETIMEDOUT => "ETIMEDOUT",
            libc::ECONNREFUSED => "ECONNREFUSED",
            libc::EFAULT => "EFAULT",
            _ => return None,
        })
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.symbol() {
            Some(symbol) => f.write_str(symbol),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl std::error::Error for Errno {}

impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// A system call as it stands, for tests of filters that refuse it.
#[cfg(test)]
pub fn call_refused(number: u32, arguments: [u64; 6]) -> Result<usize, Errno> {
    let [first, second, third, fourth, fifth, sixth] = arguments;
    // SAFETY: the caller's filter answers for the call, so the kernel never looks at the arguments.
    #[allow(unsafe_code, reason = "a system call by its number")]
    check(unsafe { libc::syscall(number.into(), first, second, third, fourth, fifth, sixth) })
}

/// What a call returned, with -1 turned into the thread's errno.
fn check(returned: libc::c_long) -> Result<usize, Errno> {
    usize::try_from(returned).map_err(|_| Errno::last())
}

/// The same for calls that return an `int`.
fn check_int(returned: libc::c_int) -> Result<usize, Errno> {
    check(libc::c_long::from(returned))
}

/// A path as the kernel takes it. A path with a NUL byte names nothing.
///
/// # Errors
/// `ENOENT` for a NUL byte.
pub fn c_path(path: &[u8]) -> Result<CString, Errno> {
    CString::new(path).map_err(|_| Errno::ENOENT)
}

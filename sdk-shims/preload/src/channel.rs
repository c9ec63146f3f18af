//! The runtime's own way to the agent: a socket that is connected once.
//!
//! The runtime speaks to the agent at every invocation. Under the kernel plane each new socket and each send to an
//! address is a question to the guard, two of them at every invocation; a send on a connected socket is none. The
//! program is not kept from closing the socket: its inode tells, and then it is made anew. `report` calls it.

use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use crate::sys::{self, Errno};

/// Lowest number of the socket: out of the way of what programs count on.
const ABOVE: usize = 900;
const F_DUPFD_CLOEXEC: usize = 1030;

static SOCKET: AtomicI32 = AtomicI32::new(-1);
static INODE: AtomicU64 = AtomicU64::new(0);

/// The connected socket; made where there is none.
///
/// # Errors
/// Those of socket(2), fcntl(2) and connect(2).
pub(crate) fn to(address: &[u8]) -> Result<i32, Errno> {
    let known = SOCKET.load(Ordering::Acquire);
    if known >= 0 && sys::identity(known).is_ok_and(|now| now.inode == INODE.load(Ordering::Acquire)) {
        return Ok(known);
    }
    let low = sys::report_socket()?;
    sys::connect(low.0, address)?;
    let socket = sys::control(low.0, F_DUPFD_CLOEXEC, ABOVE).map(sys::descriptor)?;
    INODE.store(sys::identity(socket)?.inode, Ordering::Release);
    SOCKET.store(socket, Ordering::Release);
    Ok(socket)
}

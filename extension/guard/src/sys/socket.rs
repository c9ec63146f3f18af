//! Sockets: the guard's own conversation with the agent, and calls made on a target's open socket.
#![allow(unsafe_code, reason = "wraps calls of libc")]

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::{Errno, check, check_int, descriptor};

/// A new socket, closed at exec.
///
/// # Errors
/// The error of socket(2).
pub fn create(domain: i32, kind: i32, protocol: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: socket(2) takes three integers.
    let number = check_int(unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) })?;
    Ok(descriptor::adopt(RawFd::try_from(number).unwrap_or(-1)))
}

/// connect(2) with an address as the kernel takes it.
///
/// # Errors
/// The error of connect(2).
pub fn connect(socket: BorrowedFd<'_>, address: &[u8]) -> Result<(), Errno> {
    // SAFETY: the address is a slice of initialised bytes and the length is its own.
    check_int(unsafe { libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), length(address)) })
        .map(drop)
}

/// bind(2) with an address as the kernel takes it.
///
/// # Errors
/// The error of bind(2).
pub fn bind(socket: BorrowedFd<'_>, address: &[u8]) -> Result<(), Errno> {
    // SAFETY: the address is a slice of initialised bytes and the length is its own.
    check_int(unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr().cast(), length(address)) }).map(drop)
}

/// listen(2).
///
/// # Errors
/// The error of listen(2).
pub fn listen(socket: BorrowedFd<'_>, backlog: i32) -> Result<(), Errno> {
    // SAFETY: listen(2) takes two integers.
    check_int(unsafe { libc::listen(socket.as_raw_fd(), backlog) }).map(drop)
}

/// The address that a socket is bound to, as the kernel writes it.
///
/// # Errors
/// The error of getsockname(2).
pub fn name<'b>(socket: BorrowedFd<'_>, into: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    let mut size = length(into);
    // SAFETY: the kernel writes at most `size` bytes into the buffer, which has as many.
    check_int(unsafe { libc::getsockname(socket.as_raw_fd(), into.as_mut_ptr().cast(), &raw mut size) })?;
    Ok(into.get(..usize::try_from(size).unwrap_or(0)).unwrap_or_default())
}

/// Whether a socket is connected (getpeername(2)).
#[must_use]
pub fn has_peer(socket: BorrowedFd<'_>) -> bool {
    let mut room = [0_u8; 128];
    let mut size = length(&room);
    // SAFETY: the kernel writes at most `size` bytes into the buffer, which has as many.
    unsafe { libc::getpeername(socket.as_raw_fd(), room.as_mut_ptr().cast(), &raw mut size) == 0 }
}

fn length(address: &[u8]) -> libc::socklen_t {
    libc::socklen_t::try_from(address.len()).unwrap_or(0)
}

/// One integer option of a socket.
///
/// # Errors
/// The error of getsockopt(2).
pub fn option(socket: BorrowedFd<'_>, level: i32, name: i32) -> Result<i32, Errno> {
    let mut value = 0_i32;
    let mut size = length(&[0; 4]);
    // SAFETY: the kernel writes at most `size` bytes, which is the size of the integer.
    let returned =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut size) };
    check_int(returned).map(|_| value)
}

/// Whether calls on a socket wait for room, or for a connection, as long as that takes (`SO_SNDTIMEO`).
#[must_use]
pub fn waits_for_ever(socket: BorrowedFd<'_>) -> bool {
    let mut time = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let mut size = libc::socklen_t::try_from(size_of::<libc::timeval>()).unwrap_or(0);
    // SAFETY: the kernel writes at most `size` bytes, which is the size of the structure.
    let returned = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDTIMEO,
            (&raw mut time).cast(),
            &raw mut size,
        )
    };
    returned == 0 && time.tv_sec == 0 && time.tv_usec == 0
}

/// What is sent in one message on a target's socket.
#[derive(Debug, Clone, Copy, Default)]
pub struct Parcel<'a> {
    /// Address as the kernel takes it; empty for none.
    pub address: &'a [u8],
    /// The data, in one piece.
    pub data: &'a [u8],
    /// Control messages as the kernel takes them; empty for none.
    pub control: &'a [u8],
    /// `MSG_*`.
    pub flags: i32,
}

/// sendmsg(2).
///
/// # Errors
/// The error of sendmsg(2). Never raises SIGPIPE: `MSG_NOSIGNAL` is always added.
pub fn send(socket: BorrowedFd<'_>, parcel: &Parcel<'_>) -> Result<usize, Errno> {
    let mut data =
        libc::iovec { iov_base: parcel.data.as_ptr().cast_mut().cast(), iov_len: parcel.data.len() };
    // SAFETY: all-zero is a valid msghdr (null pointers, zero lengths); musl has private padding in it.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut data;
    message.msg_iovlen = 1;
    if !parcel.address.is_empty() {
        message.msg_name = parcel.address.as_ptr().cast_mut().cast();
        message.msg_namelen = length(parcel.address);
    }
    if !parcel.control.is_empty() {
        message.msg_control = parcel.control.as_ptr().cast_mut().cast();
        #[allow(clippy::useless_conversion, reason = "the type differs between glibc and musl")]
        {
            message.msg_controllen = parcel.control.len().try_into().unwrap_or(0);
        }
    }
    // SAFETY: every pointer in the message is null or to a slice of the parcel with its own length; sending only
    // reads them.
    check(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, parcel.flags | libc::MSG_NOSIGNAL) }
        as libc::c_long)
}

/// Credentials of the process at the other end of a connected AF_UNIX socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Process id.
    pub pid: u32,
    /// User id.
    pub user: u32,
}

/// `SO_PEERCRED`.
///
/// # Errors
/// The error of getsockopt(2).
pub fn peer(socket: BorrowedFd<'_>) -> Result<Peer, Errno> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = libc::socklen_t::try_from(size_of::<libc::ucred>()).unwrap_or(0);
    // SAFETY: the kernel writes at most `size` bytes, which is the size of the structure.
    let returned = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut size,
        )
    };
    check_int(returned)?;
    Ok(Peer { pid: credentials.pid.unsigned_abs(), user: credentials.uid })
}

/// Receives one message and at most one descriptor with it, without blocking.
///
/// # Errors
/// The error of recvmsg(2): `EAGAIN` where nothing waits.
pub fn receive(socket: BorrowedFd<'_>, into: &mut [u8]) -> Result<(usize, Option<OwnedFd>), Errno> {
    #[repr(C, align(8))]
    struct Control([u8; 64]);
    let mut control = Control([0; 64]);
    let mut data = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // SAFETY: all-zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut data;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = 24;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the buffers are valid for writes of the given lengths; 24 bytes hold one descriptor, so the kernel
    // closes any more that were sent.
    let received =
        check(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) } as libc::c_long)?;
    let [length, _, _, _, _, _, _, _, level, _, _, _, kind, _, _, _, a, b, c, d, ..] = control.0;
    let descriptor = (message.msg_controllen as usize >= 20
        && i32::from(length) >= 20
        && i32::from(level) == libc::SOL_SOCKET
        && i32::from(kind) == libc::SCM_RIGHTS)
        .then(|| descriptor::adopt(RawFd::from_ne_bytes([a, b, c, d])));
    Ok((received, descriptor))
}

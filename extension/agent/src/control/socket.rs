//! SOCK_SEQPACKET for tokio, which has no type of its own for it: its stream type does, as long as messages are taken
//! with `try_read`, which asks the kernel until there is nothing (`read` would stop after the first short message).
//!
//! It moves messages and the state page's descriptor; what they mean is decided by [`super`].

use std::ffi::OsStr;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::sys::socket::{ControlMessage, MsgFlags, recv, sendmsg};
use ringfence_records::message::CONTROL_SOCKET;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

/// Guards that may wait to be accepted; there is one.
const BACKLOG: i32 = 8;

/// The bound socket.
#[derive(Debug)]
pub(crate) struct Listener(UnixListener);

/// Binds the control socket of the environment whose Runtime API is at `api`.
///
/// # Errors
/// `EADDRINUSE` if another process has the name: no guard can then be trusted to find the agent.
pub(crate) fn bind(api: &str) -> io::Result<Bound> {
    // A leading NUL makes the name abstract (unix(7)).
    let name = [b"\0", CONTROL_SOCKET, api.as_bytes()].concat();
    let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
    socket.bind(&SockAddr::unix(OsStr::from_bytes(&name))?)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(Bound(socket))
}

/// The control socket, bound and listening, before there is an event loop.
#[derive(Debug)]
pub(crate) struct Bound(Socket);

/// Takes the socket into the event loop.
///
/// # Errors
/// Those of registering a descriptor with the reactor.
pub(crate) fn listen(bound: Bound) -> io::Result<Listener> {
    Ok(Listener(UnixListener::from_std(OwnedFd::from(bound.0).into())?))
}

impl Listener {
    /// Waits for a connection.
    ///
    /// # Errors
    /// Those of accept4(2).
    pub(crate) async fn accept(&self) -> io::Result<Connection> {
        self.0.accept().await.map(|(stream, _)| Connection(stream))
    }
}

/// A connection with a guard.
#[derive(Debug)]
pub(crate) struct Connection(UnixStream);

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Connection {
    /// Waits for a message; 0 bytes where the other side has closed.
    ///
    /// # Errors
    /// Those of recv(2).
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.0.readable().await?;
            match self.0.try_read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    /// A message that is there already.
    pub(super) fn try_receive(&self, buffer: &mut [u8]) -> Option<usize> {
        // The kernel is asked directly: tokio may not have heard yet that something is there.
        recv(self.0.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT).ok()
    }

    /// Sends a message with a descriptor.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub(super) fn send_with(&self, bytes: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let descriptors = [descriptor.as_raw_fd()];
        let attached = [ControlMessage::ScmRights(&descriptors)];
        let message = [IoSlice::new(bytes)];
        sendmsg::<()>(self.as_fd().as_raw_fd(), &message, &attached, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }
}

//! The control channel between service and sandbox: packets of JSON, each with at most one descriptor.
//!
//! Decides framing and size limits; must not know what the messages mean.
//! Called by the service's [`super::Sandbox`] and by the sandbox's sub-commands.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest packet in bytes. An environment is at most 4 KB on Lambda; this leaves room for a large plan.
const PACKET_MAX: usize = 160 * 1024;

/// Both ends of a new channel.
///
/// # Errors
/// The system's, when no socket can be had.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message and, with it, a descriptor.
///
/// # Errors
/// The system's, and `InvalidInput` for a message beyond the packet limit.
pub(super) fn send<T: Serialize>(
    channel: impl AsFd,
    message: &T,
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > PACKET_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "control message too long"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let passed: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
    if !passed.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&passed));
    }
    sendmsg(channel, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message; `None` when the other end is gone.
///
/// # Errors
/// The system's, and `InvalidData` for what is no such message.
pub(super) fn receive<T: DeserializeOwned>(channel: impl AsFd) -> io::Result<Option<(T, Option<OwnedFd>)>> {
    let mut bytes = vec![0u8; PACKET_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(channel, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
    if received == 0 {
        return Ok(None);
    }
    let mut descriptor = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            descriptor = descriptors.last();
        }
    }
    let text = bytes.get(..received).unwrap_or_default();
    Ok(Some((serde_json::from_slice(text)?, descriptor)))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;

    #[test]
    fn a_message_arrives_with_its_descriptor_and_the_end_is_seen() {
        let (a, b) = pair().unwrap();
        let file = File::open("/proc/version").unwrap();
        send(&a, &"hello", Some(file.as_fd())).unwrap();
        send(&a, &"bare", None).unwrap();
        drop(a);
        let (text, descriptor) = receive::<String>(&b).unwrap().unwrap();
        let mut read = String::new();
        File::from(descriptor.unwrap()).read_to_string(&mut read).unwrap();
        assert_eq!(text, "hello");
        assert!(read.starts_with("Linux"));
        assert!(receive::<String>(&b).unwrap().unwrap().1.is_none());
        assert!(receive::<String>(&b).unwrap().is_none());
    }
}

//! The control channel between service and sandbox: packets of JSON, each with a few descriptors.
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

/// Most descriptors of one packet: standard output, standard error and log of a process.
const DESCRIPTORS_MAX: usize = 3;

/// Both ends of a new channel.
///
/// # Errors
/// The system's, when no socket can be had.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message and, with it, up to three descriptors.
///
/// # Errors
/// The system's, and `InvalidInput` for a message beyond the packet limit.
pub(super) fn send<T: Serialize>(
    channel: impl AsFd,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > PACKET_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "control message too long"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if descriptors.len() > DESCRIPTORS_MAX
        || !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors))
    {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one message"));
    }
    sendmsg(channel, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message; `None` when the other end is gone.
///
/// # Errors
/// The system's, and `InvalidData` for what is no such message.
pub(super) fn receive<T: DeserializeOwned>(channel: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = vec![0u8; PACKET_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(channel, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
    if received == 0 {
        return Ok(None);
    }
    let mut passed = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            passed.extend(descriptors);
        }
    }
    let text = bytes.get(..received).unwrap_or_default();
    Ok(Some((serde_json::from_slice(text)?, passed)))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;

    #[test]
    fn a_message_arrives_with_its_descriptors_and_the_end_is_seen() {
        let (a, b) = pair().unwrap();
        let file = File::open("/proc/version").unwrap();
        send(&a, &"hello", &[file.as_fd()]).unwrap();
        send(&a, &"three", &[file.as_fd(); 3]).unwrap();
        assert!(send(&a, &"four", &[file.as_fd(); 4]).is_err());
        send(&a, &"bare", &[]).unwrap();
        drop(a);
        let (text, mut descriptors) = receive::<String>(&b).unwrap().unwrap();
        let mut read = String::new();
        File::from(descriptors.pop().unwrap()).read_to_string(&mut read).unwrap();
        assert_eq!(text, "hello");
        assert!(read.starts_with("Linux"));
        assert_eq!(receive::<String>(&b).unwrap().unwrap().1.len(), 3);
        assert!(receive::<String>(&b).unwrap().unwrap().1.is_empty());
        assert!(receive::<String>(&b).unwrap().is_none());
    }
}

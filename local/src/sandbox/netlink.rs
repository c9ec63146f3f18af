//! The loopback device of a new network name space: up, and with the addresses of a private world.
//!
//! Speaks rtnetlink (man 7 rtnetlink) with hand-made messages, so that no `ip` program is needed.
//! Called once by the sandbox, single-threaded, before anything runs in it.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// The loopback device is the first of every name space.
const LOOPBACK_INDEX: u32 = 1;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
/// `NLM_F_REQUEST` | `NLM_F_ACK`
const CHANGE: u16 = 0x1 | 0x4;
/// The same with `NLM_F_REPLACE` | `NLM_F_CREATE`, which a link does not take.
const ADD: u16 = CHANGE | 0x100 | 0x400;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFF_UP: u32 = 1;
/// No duplicate address detection: it would make an IPv6 address unusable for a second.
const IFA_F_NODAD: u8 = 2;
/// `RT_SCOPE_HOST`: packets to it never leave.
const SCOPE_HOST: u8 = 254;

/// A routing socket of this name space.
#[derive(Debug)]
pub(super) struct Loopback(OwnedFd);

impl Loopback {
    /// Opens the socket.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn open() -> io::Result<Self> {
        // Protocol 0 is NETLINK_ROUTE.
        Ok(Self(socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?))
    }

    /// Takes the device up.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(super) fn up(&self) -> io::Result<()> {
        self.ask(&message(RTM_NEWLINK, CHANGE, &link_up()))
    }

    /// Adds an address as a host route, so that nothing else becomes reachable.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(super) fn add(&self, address: IpAddr) -> io::Result<()> {
        self.ask(&message(RTM_NEWADDR, ADD, &new_address(address)))
    }

    fn ask(&self, message: &[u8]) -> io::Result<()> {
        send(&self.0, message, SendFlags::empty())?;
        let mut answer = [0u8; 4096];
        let (_, length) = recv(&self.0, answer.as_mut_slice(), RecvFlags::empty())?;
        acknowledged(answer.get(..length).unwrap_or_default())
    }
}

/// An `NLMSG_ERROR` with code 0 is the acknowledgement.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let code = answer.get(16..20).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
    match code {
        Some(0) => Ok(()),
        Some(negative) => Err(io::Error::from_raw_os_error(-negative)),
        None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "short netlink answer")),
    }
}

/// struct nlmsghdr and its body.
fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(16 + body.len());
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(1u32.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend(body);
    bytes
}

/// struct ifinfomsg.
fn link_up() -> Vec<u8> {
    let mut body = vec![0u8; 4];
    body.extend(LOOPBACK_INDEX.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    body
}

/// struct ifaddrmsg with both address attributes.
fn new_address(address: IpAddr) -> Vec<u8> {
    let (family, bits, octets) = match address {
        IpAddr::V4(v4) => (2u8, 32u8, v4.octets().to_vec()),
        IpAddr::V6(v6) => (10u8, 128u8, v6.octets().to_vec()),
    };
    let mut body = vec![family, bits, IFA_F_NODAD, SCOPE_HOST];
    body.extend(LOOPBACK_INDEX.to_ne_bytes());
    for attribute in [IFA_LOCAL, IFA_ADDRESS] {
        body.extend(u16::try_from(4 + octets.len()).unwrap_or(u16::MAX).to_ne_bytes());
        body.extend(attribute.to_ne_bytes());
        body.extend(&octets);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_error_and_a_short_answer_too() {
        let mut answer = message(2, 0, &(-1i32).to_ne_bytes());
        assert_eq!(acknowledged(&answer).unwrap_err().raw_os_error(), Some(1));
        answer.truncate(10);
        assert!(acknowledged(&answer).is_err());
    }

    #[test]
    fn an_address_message_has_the_length_it_says() {
        let m = message(RTM_NEWADDR, ADD, &new_address("203.0.113.10".parse().unwrap()));
        assert_eq!(m.len(), 16 + 8 + 2 * 8);
        assert_eq!(u32::from_ne_bytes(m[..4].try_into().unwrap()) as usize, m.len());
    }
}

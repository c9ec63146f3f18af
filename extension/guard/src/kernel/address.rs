//! Socket addresses as a target gives them: parsed, made canonical, written again.
//!
//! It takes any bytes and decides nothing. What goes to the kernel is written from the parsed form, so nothing that
//! was not judged gets there (scope ids, flow labels, trailing bytes).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::arguments::low_word;
use crate::sys::{Errno, memory};

/// Longest address that is read, `sizeof(struct sockaddr_storage)`.
pub const MAX_ADDRESS: usize = 128;
const INET_LENGTH: usize = 16;
const INET6_SHORTEST: usize = 24;
const INET6_LENGTH: usize = 28;
const FAMILY: usize = 2;

/// An address on an IPv4 or IPv6 socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Internet {
    /// No address: dissolves an association (connect(2)), or leaves a datagram to the one that there is.
    Unspecified,
    /// An address in the family in which it was given.
    At(SocketAddr),
}

/// An address copied from the target.
#[derive(Debug, Clone, Copy)]
pub struct GivenAddress {
    bytes: [u8; MAX_ADDRESS],
    length: usize,
}

impl GivenAddress {
    /// Copies `length` bytes at `address`.
    ///
    /// # Errors
    /// `EINVAL` for a length that no address has, `EFAULT` for memory that is not there.
    pub fn read(thread: u32, address: u64, length: u64) -> Result<Self, Errno> {
        Self::copied(length, |room| memory::read_exactly(thread, address, room))
    }

    /// An address of `length` bytes that `copy` fetches.
    pub fn copied(length: u64, copy: impl FnOnce(&mut [u8]) -> Result<(), Errno>) -> Result<Self, Errno> {
        let length = usize::try_from(low_word(length)).ok().filter(|length| *length <= MAX_ADDRESS);
        let mut given = Self { bytes: [0; MAX_ADDRESS], length: length.ok_or(Errno::EINVAL)? };
        copy(given.bytes.get_mut(..given.length).ok_or(Errno::EINVAL)?)?;
        Ok(given)
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The family at the start of an address.
#[must_use]
pub fn family(bytes: &[u8]) -> Option<i32> {
    bytes.get(..FAMILY)?.try_into().ok().map(|family| i32::from(u16::from_ne_bytes(family)))
}

/// Whether a socket address begins as an IPv4 or IPv6 address. Sockets of other families take no such address.
#[must_use]
pub fn is_internet(bytes: &[u8]) -> bool {
    matches!(family(bytes), Some(libc::AF_INET | libc::AF_INET6))
}

impl Internet {
    /// Parses an address for a socket of `domain`. On IPv4 sockets a datagram's `AF_UNSPEC` is an IPv4 address
    /// (udp(7)), which `unspecified_is_inet` asks for; on IPv6 sockets it is none.
    ///
    /// # Errors
    /// `EINVAL` for a length that no such address has, `EAFNOSUPPORT` for another family.
    pub fn parse(bytes: &[u8], domain: i32, unspecified_is_inet: bool) -> Result<Self, Errno> {
        match family(bytes).ok_or(Errno::EINVAL)? {
            libc::AF_UNSPEC if unspecified_is_inet && domain == libc::AF_INET => inet(bytes),
            libc::AF_UNSPEC => Ok(Self::Unspecified),
            libc::AF_INET => inet(bytes),
            libc::AF_INET6 if domain == libc::AF_INET6 => inet6(bytes),
            _ => Err(Errno(libc::EAFNOSUPPORT)),
        }
    }
}

fn port(bytes: &[u8]) -> Option<u16> {
    bytes.get(2..4)?.try_into().ok().map(u16::from_be_bytes)
}

fn inet(bytes: &[u8]) -> Result<Internet, Errno> {
    let parsed = || {
        let address: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
        Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(address)), port(bytes)?))
    };
    (bytes.len() >= INET_LENGTH).then(parsed).flatten().map(Internet::At).ok_or(Errno::EINVAL)
}

fn inet6(bytes: &[u8]) -> Result<Internet, Errno> {
    let parsed = || {
        let address: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
        Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)), port(bytes)?))
    };
    (bytes.len() >= INET6_SHORTEST).then(parsed).flatten().map(Internet::At).ok_or(Errno::EINVAL)
}

/// The address that rules are asked about: IPv4 out of IPv6, loopback for the unspecified one.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip().to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Whether it is an IPv6 link-local address, which means nothing without the scope that is not passed on.
#[must_use]
pub const fn is_link_local_v6(address: IpAddr) -> bool {
    match address {
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
        IpAddr::V4(_) => false,
    }
}

/// An address as the kernel takes it.
#[derive(Debug, Clone, Copy)]
pub struct Encoded {
    bytes: [u8; INET6_LENGTH],
    length: usize,
}

impl Encoded {
    /// `AF_UNSPEC`, which dissolves an association.
    #[must_use]
    pub const fn unspecified() -> Self {
        Self { bytes: [0; INET6_LENGTH], length: INET_LENGTH }
    }

    /// Writes `address` in the family that `like` has: IPv4 becomes IPv4-mapped where an IPv6 address was given.
    #[must_use]
    pub fn like(like: SocketAddr, address: SocketAddr) -> Self {
        match (like, address.ip()) {
            (SocketAddr::V6(_), IpAddr::V4(v4)) => {
                Self::new(SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()))
            }
            _ => Self::new(address),
        }
    }

    /// Writes `address` in its own family.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let mut bytes = [0; INET6_LENGTH];
        let port = address.port().to_be_bytes();
        let (family, length) = match address {
            SocketAddr::V4(v4) => {
                put(&mut bytes, 4, &v4.ip().octets());
                (libc::AF_INET, INET_LENGTH)
            }
            SocketAddr::V6(v6) => {
                put(&mut bytes, 8, &v6.ip().octets());
                (libc::AF_INET6, INET6_LENGTH)
            }
        };
        put(&mut bytes, 0, &u16::try_from(family).unwrap_or(0).to_ne_bytes());
        put(&mut bytes, 2, &port);
        Self { bytes, length }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(room) = bytes.get_mut(at..at + value.len()) {
        room.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str, domain: i32) -> Internet {
        Internet::parse(Encoded::new(text.parse().unwrap()).as_bytes(), domain, false).unwrap()
    }

    #[test]
    fn disguises_of_an_address_are_one_address() {
        for (given, expected) in [
            ("[::ffff:10.0.0.1]:80", "10.0.0.1:80"),
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("[::ffff:0.0.0.0]:80", "127.0.0.1:80"),
        ] {
            let Internet::At(address) = parse(given, libc::AF_INET6) else { panic!("{given}") };
            assert_eq!(canonical(address), expected.parse().unwrap(), "{given}");
        }
    }

    #[test]
    fn a_datagram_without_family_is_inet_or_has_no_address() {
        let mut bytes = Encoded::new("10.0.0.1:53".parse().unwrap()).as_bytes().to_vec();
        bytes[..2].fill(0);
        let address = Internet::At("10.0.0.1:53".parse().unwrap());
        assert_eq!(Internet::parse(&bytes, libc::AF_INET, true), Ok(address));
        assert_eq!(Internet::parse(&bytes, libc::AF_INET, false), Ok(Internet::Unspecified));
        assert_eq!(Internet::parse(&bytes, libc::AF_INET6, true), Ok(Internet::Unspecified));
    }

    #[test]
    fn a_redirect_keeps_the_family_of_the_socket() {
        let resolver = "127.0.0.1:5300".parse().unwrap();
        let encoded = Encoded::like("[2001:db8::1]:53".parse().unwrap(), resolver);
        let Ok(Internet::At(address)) = Internet::parse(encoded.as_bytes(), libc::AF_INET6, false) else {
            panic!()
        };
        assert_eq!(canonical(address), resolver);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..MAX_ADDRESS), datagram: bool) {
            for domain in [libc::AF_INET, libc::AF_INET6] {
                let _ = Internet::parse(&bytes, domain, datagram);
            }
        }

        #[test]
        fn what_is_written_is_read(ip: IpAddr, port: u16) {
            let address = SocketAddr::new(ip, port);
            let parsed = Internet::parse(Encoded::new(address).as_bytes(), libc::AF_INET6, false);
            prop_assert_eq!(parsed, Ok(Internet::At(address)));
        }
    }
}

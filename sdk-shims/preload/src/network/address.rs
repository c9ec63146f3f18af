//! Socket addresses: a bounded copy out of the program's memory, its meaning, and another destination put into it.
//!
//! It takes any bytes and decides nothing.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::sys;

const AF_UNSPEC: u16 = 0;
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `sizeof(struct sockaddr_in)`; the kernel takes no less.
const INTERNET: usize = 16;
/// Length of `struct sockaddr_in6` without its scope, the least that the kernel takes (`SIN6_LEN_RFC2133`).
const INTERNET6: usize = 24;

/// A copy of an address, so that nobody changes it between verdict and call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copied {
    bytes: [u8; Self::LONGEST],
    length: usize,
}

/// What an address means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Address<'a> {
    Internet(SocketAddr),
    /// A path, or an abstract name with its leading zero.
    Unix(&'a [u8]),
    /// Another family, or nothing that the kernel would take.
    Other,
}

impl Address<'_> {
    /// The same without the borrowed name.
    pub(super) const fn owned(self) -> Address<'static> {
        match self {
            Self::Internet(to) => Address::Internet(to),
            Self::Unix(_) => Address::Unix(b""),
            Self::Other => Address::Other,
        }
    }
}

impl Copied {
    /// `sizeof(struct sockaddr_storage)`: the kernel refuses longer ones.
    const LONGEST: usize = 128;

    /// Copies an address; `None` where the kernel will refuse it by pointer or length.
    pub(super) fn read(address: usize, length: usize) -> Option<Self> {
        // The length is an int to the kernel.
        let length = length & 0xffff_ffff;
        let mut bytes = [0; Self::LONGEST];
        let room = bytes.get_mut(..length)?;
        (length >= 2 && sys::copy_from(address, room)).then_some(Self { bytes, length })
    }

    /// The bytes of the address.
    pub(super) fn filled(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The path of an AF_UNIX address, empty for abstract and unnamed ones (unix(7)).
    pub(super) fn path(&self) -> &[u8] {
        let path = self.filled().strip_prefix(&1_u16.to_ne_bytes()).unwrap_or_default();
        path.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// Its meaning. `unspecified_is_internet`: for bind and datagrams the kernel reads `AF_UNSPEC` as AF_INET, while
    /// for connect it dissolves the connection.
    pub(super) fn parse(&self, unspecified_is_internet: bool) -> Address<'_> {
        let bytes = self.filled();
        let family = bytes.first_chunk().map_or(AF_UNSPEC, |family| u16::from_ne_bytes(*family));
        match family {
            AF_UNIX => Address::Unix(bytes.get(2..).unwrap_or_default()),
            AF_INET => internet(bytes),
            AF_INET6 => internet6(bytes),
            AF_UNSPEC if unspecified_is_internet => internet(bytes),
            _ => Address::Other,
        }
    }

    /// Whether a family that is none of the internet stays on this machine: the end of a connection (`AF_UNSPEC`),
    /// the kernel's own interfaces (netlink, crypto).
    pub(super) fn is_harmless(&self) -> bool {
        const AF_NETLINK: u16 = 16;
        const AF_ALG: u16 = 38;
        let family = self.filled().first_chunk().map_or(AF_UNSPEC, |family| u16::from_ne_bytes(*family));
        // An address of the internet that is too short for one is the kernel's to refuse.
        matches!(family, AF_UNSPEC | AF_UNIX | AF_INET | AF_INET6 | AF_NETLINK | AF_ALG)
    }

    /// Puts another destination in, in the form of the family that stands there.
    pub(super) fn set(&mut self, to: SocketAddr) {
        let [low, high, ..] = self.bytes;
        let port = to.port().to_be_bytes();
        if u16::from_ne_bytes([low, high]) == AF_INET6 {
            let address = match to.ip() {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            self.put(2, &port);
            self.put(8, &address.octets());
        } else if let IpAddr::V4(v4) = to.ip() {
            self.put(2, &port);
            self.put(4, &v4.octets());
        }
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        if let Some(room) = self.bytes.get_mut(at..at + value.len()) {
            room.copy_from_slice(value);
        }
    }

    /// Pointer and length, as a call takes them; valid while the copy lives.
    pub(super) fn raw(&self) -> (usize, usize) {
        (self.bytes.as_ptr() as usize, self.length)
    }
}

fn internet(bytes: &[u8]) -> Address<'static> {
    let Some([_, _, high, low, a, b, c, d]) = bytes.first_chunk().filter(|_| bytes.len() >= INTERNET) else {
        return Address::Other;
    };
    Address::Internet(SocketAddr::new([*a, *b, *c, *d].into(), u16::from_be_bytes([*high, *low])))
}

fn internet6(bytes: &[u8]) -> Address<'static> {
    let port: Option<[u8; 2]> = bytes.get(2..4).and_then(|port| port.try_into().ok());
    let address: Option<[u8; 16]> = bytes.get(8..INTERNET6).and_then(|address| address.try_into().ok());
    match (port, address) {
        (Some(port), Some(address)) => {
            Address::Internet(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)), u16::from_be_bytes(port)))
        }
        _ => Address::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn copied(bytes: &[u8]) -> Copied {
        Copied::read(bytes.as_ptr() as usize, bytes.len()).unwrap()
    }

    const V4: [u8; 16] = [2, 0, 0x1f, 0x90, 203, 0, 113, 9, 0, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn an_address_means_what_the_kernel_reads() {
        let to = Address::Internet("203.0.113.9:8080".parse().unwrap());
        assert_eq!(copied(&V4).parse(false), to);
        assert_eq!(copied(&V4[..15]).parse(false), Address::Other);
        let mut unspecified = V4;
        unspecified[0] = 0;
        assert_eq!(copied(&unspecified).parse(true), to);
        assert_eq!(copied(&unspecified).parse(false), Address::Other);
        assert_eq!(copied(b"\x01\0\0name").parse(false), Address::Unix(b"\0name"));
    }

    #[test]
    fn another_destination_takes_the_form_of_the_family() {
        let mut copy = copied(&V4);
        copy.set("127.0.0.1:5353".parse().unwrap());
        assert_eq!(copy.parse(false), Address::Internet("127.0.0.1:5353".parse().unwrap()));
        let mut six = [0_u8; 28];
        six[0] = 10;
        let mut copy = copied(&six);
        copy.set("127.0.0.1:5353".parse().unwrap());
        assert_eq!(copy.parse(false), Address::Internet("[::ffff:127.0.0.1]:5353".parse().unwrap()));
    }

    #[test]
    fn lengths_that_the_kernel_refuses_are_not_copied() {
        let bytes = [0_u8; 200];
        let at = bytes.as_ptr() as usize;
        assert!(Copied::read(at, 1).is_none());
        assert!(Copied::read(at, 129).is_none());
        assert!(Copied::read(at, usize::MAX).is_none());
        assert!(Copied::read(0, 16).is_none());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 2..128), family in 0..12_u8) {
            let mut bytes = bytes;
            bytes[0] = family;
            bytes[1] = 0;
            let mut copy = copied(&bytes);
            let _ = copy.parse(true);
            copy.set("[2001:db8::1]:53".parse().unwrap());
            let _ = copy.parse(false);
        }
    }
}

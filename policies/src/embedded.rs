//! IPv4 addresses that IPv6 addresses lead to by way of a translator or a tunnel.
//!
//! A packet to `64:ff9b::a9fe:a9fe` reaches 169.254.169.254 where there is NAT64, so what denies the one must deny the other.
//! Both forms of the policy ask, for `egress.deny` only: an entry of `allow` means the address that it names. An
//! operator's own prefix (RFC 6052, section 2.2) cannot be told from other addresses.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The IPv4 addresses that `address` may stand for; none for IPv4 itself, and for what `to_canonical` makes IPv4.
///
/// Where the prefix says that an IPv4 address is in there but not how long it is itself (`64:ff9b:1::/48`), each place counts.
pub fn embedded(address: IpAddr) -> impl Iterator<Item = Ipv4Addr> {
    let found = match address {
        IpAddr::V4(_) => [None; 4],
        IpAddr::V6(address) => inside(address),
    };
    found.into_iter().flatten()
}

fn inside(address: Ipv6Addr) -> [Option<Ipv4Addr>; 4] {
    let octets = address.octets();
    let at = |places: [usize; 4]| {
        Some(Ipv4Addr::from(places.map(|place| octets.get(place).copied().unwrap_or(0))))
    };
    let last = at([12, 13, 14, 15]);
    match address.segments() {
        // NAT64's well-known prefix (RFC 6052), and SIIT's (RFC 2765).
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => [last, None, None, None],
        // Prefixes for local use (RFC 8215), of 96, 48, 56 or 64 bits. Octet 8 is never part of the address (RFC 6052).
        [0x64, 0xff9b, 1, ..] => [last, at([6, 7, 9, 10]), at([7, 9, 10, 11]), at([9, 10, 11, 12])],
        // 6to4 (RFC 3056).
        [0x2002, ..] => [at([2, 3, 4, 5]), None, None, None],
        // Teredo (RFC 4380): the client's address, inverted.
        [0x2001, 0, ..] => [last.map(|client| Ipv4Addr::from_bits(!client.to_bits())), None, None, None],
        // IPv4-compatible (RFC 4291, section 2.5.5.1), but for the unspecified address and loopback.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => [last, None, None, None],
        _ => [None; 4],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(address: &str) -> impl Iterator<Item = Ipv4Addr> {
        embedded(address.parse().unwrap())
    }

    #[test]
    fn each_way_to_write_an_address_is_known() {
        let metadata = Ipv4Addr::new(169, 254, 169, 254);
        for address in [
            "64:ff9b::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:a9fe:a9:fe00::",
            "64:ff9b:1:a9fe:ffa9:fe12:3456:789a",
            "64:ff9b:1:42a9:fe:a9fe::",
            "64:ff9b:1:4243:a9:fea9:fe00:0",
            "2002:a9fe:a9fe::1",
            "2001::5601:5601",
            "::169.254.169.254",
        ] {
            assert!(forms(address).any(|form| form == metadata), "{address}");
        }
    }

    #[test]
    fn other_addresses_lead_nowhere_else() {
        for address in
            ["169.254.169.254", "::", "::1", "2001:db8::a9fe:a9fe", "64:ff9c::1", "64:ff9b::1:0:1", "fe80::1"]
        {
            assert_eq!(forms(address).count(), 0, "{address}");
        }
    }
}

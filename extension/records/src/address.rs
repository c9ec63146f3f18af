//! Addresses as messages and the two pages write them: sixteen bytes of IPv6 and a port.
//!
//! It decides nothing; IPv4 is mapped, so that one form serves both.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Bytes of an encoded address: 16 of IPv6 (IPv4 mapped), 2 of port, little endian.
pub const ADDRESS_LENGTH: usize = 18;

/// Encodes an address for [`tag::ADDRESS`] and the handoff.
#[must_use]
pub fn encode_address(address: SocketAddr) -> [u8; ADDRESS_LENGTH] {
    let mut out = [0_u8; ADDRESS_LENGTH];
    let (ip, port) = out.split_at_mut(16);
    ip.copy_from_slice(&octets(address.ip()));
    port.copy_from_slice(&address.port().to_le_bytes());
    out
}

/// The sixteen bytes by which the state page and messages know an address.
#[must_use]
pub const fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// Reads an encoded address; IPv4-mapped ones come back as IPv4.
#[must_use]
pub fn decode_address(value: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = value.split_at_checked(16)?;
    let ip: [u8; 16] = ip.try_into().ok()?;
    let port: [u8; 2] = port.try_into().ok()?;
    Some(SocketAddr::new(Ipv6Addr::from(ip).to_canonical(), u16::from_le_bytes(port)))
}

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

/// The address in a variable such as `AWS_LAMBDA_RUNTIME_API`: `host:port`, perhaps as a URL; `localhost` is 127.0.0.1.
/// `None` if the host is a name: no plane could recognise it.
#[must_use]
pub fn address_of_api(text: &str) -> Option<SocketAddr> {
    let text = text.strip_prefix("http://").unwrap_or(text);
    let text = text.split_once('/').map_or(text, |(authority, _)| authority);
    match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?))),
        None => text.parse().ok(),
    }
}

/// The address in such a variable if it may be that of a proxy in front of the Runtime API: one of this machine only. An
/// address elsewhere would let a variable open a way out that no rule allows.
#[must_use]
pub fn address_of_proxy(text: &str) -> Option<SocketAddr> {
    address_of_api(text).filter(|address| address.ip().to_canonical().is_loopback() && address.port() != 0)
}

/// Returns `true` if a connection to `target` reaches what listens at `api`. A socket that listens on every address does
/// so on all loopback addresses.
#[must_use]
pub fn leads_to(api: SocketAddr, target: SocketAddr) -> bool {
    let both_here = api.ip().to_canonical().is_loopback() && target.ip().to_canonical().is_loopback();
    api == target || (both_here && api.port() == target.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_api_is_an_address_with_a_port() {
        let table = [
            ("169.254.100.1:9001", Some("169.254.100.1:9001")),
            ("localhost:9002", Some("127.0.0.1:9002")),
            ("http://127.0.0.1:9000", Some("127.0.0.1:9000")),
            ("http://127.0.0.1:9000/", Some("127.0.0.1:9000")),
            ("[::1]:9000", Some("[::1]:9000")),
            ("sandbox.localdomain:9001", None),
            ("localhost:x", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(address_of_api(text), expected.map(|it| it.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_proxy_is_on_this_machine() {
        assert!(address_of_proxy("127.0.0.1:9002").is_some() && address_of_proxy("[::1]:9002").is_some());
        for no in ["127.0.0.1:0", "203.0.113.9:443", "169.254.100.1:9001"] {
            assert_eq!(address_of_proxy(no), None, "{no}");
        }
    }

    #[test]
    fn every_loopback_address_leads_to_what_listens_on_one() {
        let [api, other, far] = ["127.0.0.1:9002", "[::ffff:127.0.0.9]:9002", "169.254.100.1:9001"]
            .map(|text| text.parse().unwrap());
        assert!(leads_to(api, other) && leads_to(far, far));
        assert!(!leads_to(api, "127.0.0.1:9003".parse().unwrap()) && !leads_to(far, api));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in ".{0,60}") {
            let _ = address_of_proxy(&text);
        }
    }
}

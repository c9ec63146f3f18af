//! What a name means before any policy is asked: the machine itself, a service of a host, an address the other way round.
//!
//! Text alone: it knows neither the policy nor the network. [`super`] asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::packet::{TYPE_HTTPS, TYPE_SRV, TYPE_SVCB, TYPE_TXT};

/// Longest name of a service (RFC 6335, section 5.1), without its underscore.
const MAX_SERVICE: usize = 15;
/// Labels that stand between a service and its host.
const PROTOCOLS: [&[u8]; 5] = [b"_tcp", b"_udp", b"_sctp", b"_tls", b"_https"];
/// Search domains that count (resolv.conf(5)).
const MAX_SEARCH: usize = 6;

/// How this machine is called, and the domains that its resolver appends.
#[derive(Debug, Default)]
pub(super) struct Machine {
    host: Vec<u8>,
    search: Vec<Vec<u8>>,
}

impl Machine {
    /// This one.
    pub(super) fn this() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self::new(&host, &std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
    }

    fn new(host: &str, configuration: &str) -> Self {
        let lower = |text: &str| text.trim_end_matches('.').to_ascii_lowercase().into_bytes();
        let domains = |line: &str| {
            let line = line.trim();
            let words = line.strip_prefix("search").or_else(|| line.strip_prefix("domain"))?;
            words.starts_with([' ', '\t']).then(|| words.split_ascii_whitespace().map(lower).collect())
        };
        // The last line counts.
        let mut search: Vec<Vec<u8>> =
            configuration.lines().filter_map(domains).next_back().unwrap_or_default();
        search.retain(|domain| !domain.is_empty());
        search.truncate(MAX_SEARCH);
        Self { host: lower(host.trim()), search }
    }

    /// Returns `true` for the host name of this machine, also with a search domain. The function cannot change it, so it
    /// carries nothing out.
    pub(super) fn is_called(&self, name: &[u8]) -> bool {
        !self.host.is_empty() && (name == self.host || self.without_search(name) == self.host)
    }

    /// The name without the search domain that a client may have appended.
    pub(super) fn without_search<'n>(&self, name: &'n [u8]) -> &'n [u8] {
        let cut = |domain: &Vec<u8>| name.strip_suffix(domain.as_slice())?.strip_suffix(b".");
        self.search.iter().find_map(cut).filter(|rest| !rest.is_empty()).unwrap_or(name)
    }
}

/// Returns `true` for `localhost`, the names below it (RFC 6761, section 6.3), and the two that hosts(5) of Debian and of
/// Amazon Linux have.
pub(super) fn is_loopback(name: &[u8]) -> bool {
    let is_below =
        name.strip_suffix(b"localhost").is_some_and(|rest| rest.is_empty() || rest.ends_with(b"."));
    is_below || matches!(name, b"ip6-localhost" | b"ip6-loopback" | b"localhost.localdomain" | b"localhost6")
}

/// The host whose service is asked for: of `_mongodb._tcp.db.example` (RFC 2782) and `_8443._https.db.example` (RFC 9460,
/// section 2.3) that is `db.example`.
pub(super) fn host_of_service(name: &[u8], kind: u16) -> Option<&[u8]> {
    if !matches!(kind, TYPE_SRV | TYPE_TXT | TYPE_SVCB | TYPE_HTTPS) {
        return None;
    }
    let (service, rest) = split(name)?;
    let (protocol, host) = split(rest)?;
    let service = service.strip_prefix(b"_")?;
    let is_service = (1..=MAX_SERVICE).contains(&service.len())
        && service.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    (is_service && PROTOCOLS.contains(&protocol) && !host.is_empty()).then_some(host)
}

fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let dot = name.iter().position(|byte| *byte == b'.')?;
    Some((name.get(..dot)?, name.get(dot + 1..)?))
}

/// The address of a reverse name (RFC 1035, section 3.5; RFC 3596, section 2.5).
pub(super) fn address_of_reverse(name: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(name).ok()?;
    if let Some(octets) = text.strip_suffix(".in-addr.arpa") {
        let mut parts: Vec<&str> = octets.split('.').take(5).collect();
        parts.reverse();
        return parts.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    let nibbles = text.strip_suffix(".ip6.arpa")?.split('.');
    let (mut value, mut count) = (0_u128, 0);
    for nibble in nibbles.rev().take(33) {
        let digit = nibble.chars().next().filter(|_| nibble.len() == 1)?.to_digit(16)?;
        value = value << 4 | u128::from(digit);
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from(value).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_machine_knows_its_name_and_its_search_domains() {
        let machine = Machine::new(
            "Box-7\n",
            "search a.example\nnameserver 192.0.2.1\nsearch Ec2.internal b.example.\n",
        );
        assert!(machine.is_called(b"box-7") && machine.is_called(b"box-7.ec2.internal"));
        assert!(!machine.is_called(b"box-7.a.example") && !machine.is_called(b"x.box-7"));
        assert_eq!(machine.without_search(b"evil.example.ec2.internal"), b"evil.example");
        assert_eq!(machine.without_search(b"evil.example.b.example"), b"evil.example");
        assert_eq!(machine.without_search(b"ec2.internal"), b"ec2.internal");
        assert_eq!(machine.without_search(b"xec2.internal"), b"xec2.internal");
        let bare = Machine::new("", "searching x\n");
        assert!(!bare.is_called(b"") && bare.search.is_empty());
    }

    #[test]
    fn names_of_this_machine_are_told_from_names_that_look_so() {
        for name in ["localhost", "app.localhost", "a.b.localhost", "ip6-localhost", "localhost.localdomain"]
        {
            assert!(is_loopback(name.as_bytes()), "{name}");
        }
        for name in ["notlocalhost", "localhost.example", "localhost.evil", "", "ip6-localhost.example"] {
            assert!(!is_loopback(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_service_is_its_hosts() {
        let host = |name: &str, kind| {
            host_of_service(name.as_bytes(), kind).map(|host| String::from_utf8_lossy(host).into_owned())
        };
        assert_eq!(host("_mongodb._tcp.db.example", TYPE_SRV).as_deref(), Some("db.example"));
        assert_eq!(host("_8443._https.db.example", TYPE_HTTPS).as_deref(), Some("db.example"));
        for (name, kind) in [
            ("_mongodb._tcp.db.example", 1),
            ("mongodb._tcp.db.example", TYPE_SRV),
            ("_stolen-bytes-of-a-secret._tcp.db.example", TYPE_SRV),
            ("_x._secret.db.example", TYPE_SRV),
            ("_a.b._tcp.db.example", TYPE_SRV),
            ("_mongodb._tcp", TYPE_SRV),
            ("_mongodb._tcp.", TYPE_SRV),
            ("_._tcp.db.example", TYPE_SRV),
        ] {
            assert_eq!(host(name, kind), None, "{name}");
        }
    }

    #[test]
    fn reverse_names_are_addresses() {
        let of = |name: &str| address_of_reverse(name.as_bytes()).map(|address| address.to_string());
        assert_eq!(of("10.113.0.203.in-addr.arpa").as_deref(), Some("203.0.113.10"));
        let six = "0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(of(six).as_deref(), Some("2001:db8::10"));
        for name in [
            "113.0.203.in-addr.arpa",
            "secret.10.113.0.203.in-addr.arpa",
            "300.1.1.1.in-addr.arpa",
            "in-addr.arpa",
            "1.2.ip6.arpa",
            "x.y",
        ] {
            assert_eq!(of(name), None, "{name}");
        }
        assert_eq!(of(&format!("f.{six}")), None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(name in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'_'), any::<u8>()], 0..300), text in "[a-z. \n]{0,200}", kind: u16) {
            let machine = Machine::new(&text, &text);
            prop_assert!(machine.without_search(&name).len() <= name.len());
            let _ = (machine.is_called(&name), is_loopback(&name), address_of_reverse(&name));
            prop_assert!(host_of_service(&name, kind).is_none_or(|host| name.ends_with(host)));
        }

        #[test]
        fn every_address_has_its_reverse_name(octets: [u8; 4]) {
            let [a, b, c, d] = octets;
            prop_assert_eq!(address_of_reverse(format!("{d}.{c}.{b}.{a}.in-addr.arpa").as_bytes()), Some(octets.into()));
        }
    }
}

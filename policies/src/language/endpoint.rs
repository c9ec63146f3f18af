//! Entries of `egress.allow` and `egress.deny`: a host, name suffix, address or network, with ports.
//!
//! It decides how an entry is written and what it covers. The egress section holds the type, the typed verdict asks
//! it, and the compiler turns it into a target.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::diagnostic::Findings;
use super::value::{Node, Value, print_string, wrong};

/// One entry: where, and which ports.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The hosts that it covers.
    pub host: Host,
    /// The ports that it covers.
    pub ports: Ports,
}

/// The hosts that an [`Endpoint`] covers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// `*`: every host, with or without a name.
    Any,
    /// A host name in lower case.
    Name(String),
    /// `*.example.com`, held without the star: all names below it, at any depth, but not the name itself.
    Below(String),
    /// An address or a network.
    Network(Network),
}

/// An IP network in CIDR notation; a single address has the full prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    /// The network's address, with all host bits zero.
    pub address: IpAddr,
    /// Length of the prefix in bits.
    pub prefix: u8,
}

/// A range of ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ports {
    /// First port.
    pub low: u16,
    /// Last port.
    pub high: u16,
}

impl Ports {
    /// Every port: what an entry without one means.
    pub const ALL: Self = Self { low: 0, high: u16::MAX };

    fn parse(text: &str) -> Option<Self> {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| -> Option<u16> {
            text.bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| text.parse().ok())?
                .filter(|port| *port > 0)
        };
        let (low, high) = (port(low)?, port(high)?);
        (low <= high).then_some(Self { low, high })
    }

    pub(super) const fn has(self, port: u16) -> bool {
        self.low <= port && port <= self.high
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(longest);
        (prefix <= longest).then(|| Self { address: masked(address, prefix), prefix }.canonical())
    }

    /// IPv4-mapped networks as IPv4, as destinations are given.
    fn canonical(self) -> Self {
        match (self.address.to_canonical(), self.prefix.checked_sub(96)) {
            (IpAddr::V4(address), Some(prefix)) if self.address.is_ipv6() => {
                Self { address: IpAddr::V4(address), prefix }
            }
            _ => self,
        }
    }

    pub(super) fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix) == self.address
    }
}

/// `address` with all but the first `prefix` bits zero.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - prefix.min(128)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

/// What an entry is refused for: what was expected, and what to do.
type Refusal = (&'static str, &'static str);

const BAD_PORT: Refusal = ("a port from 1 to 65535, or a range of them", "write host:443 or host:5000-5100");

impl Endpoint {
    /// Parses an entry; `None` where it is wrong.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        Self::parse(text).ok()
    }

    fn parse(text: &str) -> Result<Self, Refusal> {
        if text.contains("://") {
            return Err(("a host, not a URL", "leave out the scheme and the path: write host:443"));
        }
        if let Some(bracketed) = text.strip_prefix('[') {
            return Self::parse_bracketed(bracketed);
        }
        // Two colons or more: an IPv6 address without brackets, hence without a port.
        let (host, ports) = match text.split_once(':') {
            Some((host, ports)) if !ports.contains(':') => (host, Ports::parse(ports).ok_or(BAD_PORT)?),
            _ => (text, Ports::ALL),
        };
        Ok(Self { host: Host::parse(host)?, ports })
    }

    fn parse_bracketed(text: &str) -> Result<Self, Refusal> {
        const BAD: Refusal = ("an IPv6 address in brackets", "write [2001:db8::1]:443 or [2001:db8::]/32");
        let (address, rest) = text.split_once(']').ok_or(BAD)?;
        let (prefix, ports) = match rest.split_once(':') {
            Some((prefix, ports)) => (prefix, Ports::parse(ports).ok_or(BAD_PORT)?),
            None => (rest, Ports::ALL),
        };
        if !address.contains(':') || !(prefix.is_empty() || prefix.starts_with('/')) {
            return Err(BAD);
        }
        let network = Network::parse(&format!("{address}{prefix}")).ok_or(BAD)?;
        Ok(Self { host: Host::Network(network), ports })
    }

    /// Whether the entry covers `address` and `port`; `names` says which name patterns led to the address.
    pub(super) fn covers(&self, address: IpAddr, port: u16, by_name: impl Fn(&Host) -> bool) -> bool {
        self.ports.has(port) && self.covers_address(address, by_name)
    }

    /// Whether the entry covers `address`, at some port.
    pub(super) fn covers_address(&self, address: IpAddr, by_name: impl Fn(&Host) -> bool) -> bool {
        match &self.host {
            Host::Any => true,
            Host::Network(network) => network.has(address),
            name => by_name(name),
        }
    }
}

impl Host {
    fn parse(text: &str) -> Result<Self, Refusal> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let looks_like_address = text.contains([':', '/'])
            || text
                .rsplit('.')
                .next()
                .is_some_and(|last| !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()));
        if looks_like_address {
            return Network::parse(text)
                .map(Self::Network)
                .ok_or(("an IP address or network", "write 10.0.0.0/8, 10.1.2.3 or 2001:db8::/32"));
        }
        let (name, below) = text.strip_prefix("*.").map_or((text, false), |suffix| (suffix, true));
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if name.contains('*') {
            return Err((
                "`*.` at the start as the only wildcard",
                "write *.example.com for all names below example.com",
            ));
        }
        if !is_host_name(&name) {
            return Err((
                "a host name, address or network",
                "write host:443, *.example.com:443 or 10.0.0.0/8:5432",
            ));
        }
        Ok(if below { Self::Below(name) } else { Self::Name(name) })
    }

    /// Whether the pattern matches the host name `name`. Addresses match no name.
    pub(super) fn matches_name(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        match self {
            Self::Any => true,
            Self::Name(own) => *own == name,
            Self::Below(suffix) => {
                name.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            Self::Network(_) => false,
        }
    }

    /// Whether this is a name pattern, which has an index in the compiled form.
    pub(super) const fn is_name(&self) -> bool {
        matches!(self, Self::Name(_) | Self::Below(_))
    }
}

/// Letters, digits, hyphens and underscores in labels of 1 to 63, 253 in all (RFC 1035, section 2.3.4).
fn is_host_name(name: &str) -> bool {
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= 253 && name.split('.').all(label_fits)
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Any => f.write_str("*")?,
            Host::Name(name) => f.write_str(name)?,
            Host::Below(suffix) => write!(f, "*.{suffix}")?,
            Host::Network(network) => network.fmt(f)?,
        }
        match self.ports {
            Ports::ALL => Ok(()),
            Ports { low, high } if low == high => write!(f, ":{low}"),
            Ports { low, high } => write!(f, ":{low}-{high}"),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = match self.address {
            IpAddr::V4(address) => write!(f, "{address}").map(|()| 32)?,
            IpAddr::V6(address) => write!(f, "[{address}]").map(|()| 128)?,
        };
        if self.prefix == longest { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

impl Value for Endpoint {
    fn read(node: &Node<'_>, findings: &mut Findings<'_>) -> Option<Self> {
        let text = node.get_ref().as_str();
        match text.map_or(Err(("a host in quotes", "write \"host:443\"")), Self::parse) {
            Ok(endpoint) => Some(endpoint),
            Err((expected, hint)) => {
                wrong(node, findings, expected, hint);
                None
            }
        }
    }

    fn print(&self, out: &mut String) {
        print_string(&self.to_string(), out);
    }

    fn schema() -> String {
        "{\"type\": \"string\", \"minLength\": 1, \"maxLength\": 300}".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn entries_print_as_they_are_meant() {
        let table = [
            ("Example.COM.:443", Some("example.com:443")),
            ("*.internal.example", Some("*.internal.example")),
            ("10.1.2.3/8:5432", Some("10.0.0.0/8:5432")),
            ("169.254.169.254", Some("169.254.169.254")),
            ("[2001:db8::1]:443", Some("[2001:db8::1]:443")),
            ("[2001:db8::1]/32:1-2", Some("[2001:db8::]/32:1-2")),
            ("2001:db8::/32", Some("[2001:db8::]/32")),
            ("::ffff:10.0.0.1", Some("10.0.0.1")),
            ("*:443", Some("*:443")),
            ("localhost:5000-5100", Some("localhost:5000-5100")),
            ("https://example.com", None),
            ("example.com:0", None),
            ("example.com:70000", None),
            ("example.com:9-8", None),
            ("a.*.example.com", None),
            ("exa mple.com", None),
            ("10.0.0.1/33", None),
            ("999.1.1.1", None),
            ("", None),
            ("[::1", None),
            ("[10.0.0.1]", None),
        ];
        for (text, printed) in table {
            let endpoint = Endpoint::new(text);
            assert_eq!(endpoint.as_ref().map(ToString::to_string).as_deref(), printed, "{text}");
            let again = endpoint.as_ref().and_then(|endpoint| Endpoint::new(&endpoint.to_string()));
            assert_eq!(again, endpoint, "{text}");
        }
    }
}

//! Destinations as a list that a person reads: one entry where many lead to one place.
//!
//! A name with a port stands for the name alone. Many names below one parent, and many addresses in one network, become one
//! entry. It must not widen an entry to a parent that others share, such as a whole top-level domain or `amazonaws.com`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::draft::List;

/// More names below one parent than this are made up, or buckets by the dozen.
const MAX_NAMES: usize = 16;
/// More addresses in one network than this are one service that rotates them.
const MAX_ADDRESSES: usize = 8;
/// Labels that a parent has at least before it may stand for its names.
const MIN_LABELS: usize = 3;

/// The list with what belongs together in one entry.
pub(super) fn gathered(list: List) -> List {
    let with_port: Vec<String> = list.keys().filter_map(|entry| Some(split(entry)?.0.to_owned())).collect();
    let mut entries = List::new();
    for (entry, seen) in list {
        // A look-up that a connection followed: the entry of the connection covers it.
        if split(&entry).is_none() && with_port.contains(&entry) {
            continue;
        }
        entries.entry(entry).or_default().merge(&seen);
    }
    gather(gather(entries, network, MAX_ADDRESSES), parent, MAX_NAMES)
}

/// Puts entries of one group into one, where there are more than so many.
fn gather(list: List, group: fn(&str) -> Option<String>, most: usize) -> List {
    let mut sizes: BTreeMap<String, usize> = BTreeMap::new();
    for name in list.keys().filter_map(|entry| group(entry)) {
        *sizes.entry(name).or_default() += 1;
    }
    let mut gathered = List::new();
    for (entry, seen) in list {
        let name = group(&entry).filter(|name| sizes.get(name).is_some_and(|size| *size > most));
        gathered.entry(name.unwrap_or(entry)).or_default().merge(&seen);
    }
    gathered
}

/// Host and port of an entry that has a port.
fn split(entry: &str) -> Option<(&str, &str)> {
    let (host, port) = entry.rsplit_once(':')?;
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_host = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
    (is_port && is_host).then_some((host, port))
}

/// `*.parent:port` for a name.
fn parent(entry: &str) -> Option<String> {
    let (host, port) = split(entry).map_or((entry, ""), |(host, port)| (host, port));
    let (_, parent) = host.split_once('.')?;
    if host.starts_with('*') || address(host).is_some() || parent.split('.').count() < MIN_LABELS {
        return None;
    }
    Some(if port.is_empty() { format!("*.{parent}") } else { format!("*.{parent}:{port}") })
}

/// `network/prefix:port` for an address.
fn network(entry: &str) -> Option<String> {
    let (host, port) = split(entry)?;
    match address(host)? {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            Some(format!("{a}.{b}.{c}.0/24:{port}"))
        }
        IpAddr::V6(address) => {
            let network = std::net::Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX));
            Some(format!("[{network}]/64:{port}"))
        }
    }
}

fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_policy::Endpoint;

    fn entries(names: impl IntoIterator<Item = String>) -> Vec<String> {
        let list = names.into_iter().map(|name| (name, super::super::evidence::Seen::default())).collect();
        gathered(list).into_keys().collect()
    }

    #[test]
    fn what_belongs_together_becomes_one_entry() {
        let buckets = (0..20).map(|n| format!("b{n}.s3.eu-west-1.amazonaws.com:443"));
        assert_eq!(entries(buckets), ["*.s3.eu-west-1.amazonaws.com:443"]);
        let few = ["a.example.com", "a.example.com:443", "b.example.com"].map(str::to_owned);
        assert_eq!(entries(few), ["a.example.com:443", "b.example.com"]);
        let many = (0..40).map(|n| format!("x{n}.example.com:443"));
        assert_eq!(entries(many).len(), 40, "a parent of two labels may be anybody's");
        let rotating = (1..20).map(|n| format!("203.0.113.{n}:443"));
        assert_eq!(entries(rotating), ["203.0.113.0/24:443"]);
        let sixth = (1..20).map(|n| format!("[2001:db8::{n:x}]:443"));
        assert_eq!(entries(sixth), ["[2001:db8::]/64:443"]);
    }

    #[test]
    fn each_entry_is_one_that_the_language_takes() {
        for entry in ["*.s3.eu-west-1.amazonaws.com:443", "203.0.113.0/24:443", "[2001:db8::]/64:443"] {
            assert!(Endpoint::new(entry).is_some(), "{entry}");
        }
    }
}

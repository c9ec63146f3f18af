//! The name servers of resolv.conf(5), for which the guarded resolver stands in.
//!
//! It parses one file with a bound; it decides nothing. `launch` calls it.

use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};

use ringfence_records::handoff::MAX_NAME_SERVERS;

const MAX_READ: u64 = 16 * 1024;
const PORT: u16 = 53;

/// The first three name servers; the local host where there is none, as resolv.conf(5) has it.
#[must_use]
pub fn name_servers() -> Vec<SocketAddr> {
    let mut text = Vec::new();
    let _ = File::open("/etc/resolv.conf").and_then(|file| file.take(MAX_READ).read_to_end(&mut text));
    parse(&String::from_utf8_lossy(&text))
}

fn parse(text: &str) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    let addresses = servers.filter_map(|word| word.split('%').next().unwrap_or(word).parse::<IpAddr>().ok());
    let found: Vec<_> = addresses
        .map(|address| SocketAddr::new(address.to_canonical(), PORT))
        .take(MAX_NAME_SERVERS)
        .collect();
    if found.is_empty() { vec![SocketAddr::from(([127, 0, 0, 1], PORT))] } else { found }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn comments_and_options_are_skipped_and_three_are_enough() {
        let text = "# nameserver 9.9.9.9\noptions ndots:5\nnameserver 169.254.78.1\nnameserver\tfe80::1%eth0\n\
                    nameserver x\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n";
        let shown: Vec<_> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["169.254.78.1:53", "[fe80::1]:53", "10.0.0.2:53"]);
        assert_eq!(parse("")[0].to_string(), "127.0.0.1:53");
    }
}

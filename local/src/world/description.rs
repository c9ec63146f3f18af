//! The world file: TOML into hosts whose every number is checked.
//!
//! Decides what a world may be (at most 64 addresses and 256 services, no port twice at an address). Called once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

/// Where the sandbox's resolver listens, as on Lambda a link-local address.
pub(crate) const RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 78, 1));

/// Most addresses of a world.
const ADDRESSES_MAX: usize = 64;
/// Most ports of a world.
const PORTS_MAX: usize = 256;

/// A world's hosts.
#[derive(Debug)]
pub(crate) struct Description {
    pub(crate) hosts: Vec<Host>,
}

/// One host, as the rest of the module needs it.
#[derive(Debug)]
pub(crate) struct Host {
    /// The first name, by which its sinks are called.
    pub(crate) name: String,
    /// All names in lower case; `*.` in front makes every sub-name one.
    pub(crate) names: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) tcp: Vec<u16>,
    pub(crate) udp: Vec<u16>,
    pub(crate) dns: Vec<u16>,
    pub(crate) tls: Vec<u16>,
    /// Ports with an HTTP service.
    pub(crate) sites: BTreeMap<u16, Site>,
}

/// What an HTTP port answers.
#[derive(Debug, Default)]
pub(crate) struct Site {
    pub(crate) tls: bool,
    pub(crate) pages: Arc<Vec<Page>>,
}

/// One answer and what it is for.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// The path; `*` at its end stands for anything.
    pub(crate) path: String,
    /// Headers that the request must have, with their values.
    pub(crate) wanted: BTreeMap<String, String>,
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WorldFile {
    #[serde(default)]
    host: Vec<HostTable>,
    #[serde(default)]
    hosts: Vec<HostTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostTable {
    name: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    #[serde(default)]
    tcp: Vec<u16>,
    #[serde(default)]
    udp: Vec<u16>,
    #[serde(default)]
    dns: Vec<u16>,
    #[serde(default)]
    tls: Vec<u16>,
    #[serde(default)]
    http: Vec<HttpTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpTable {
    port: Option<u16>,
    #[serde(default)]
    tls: bool,
    path: Option<String>,
    #[serde(default, rename = "match")]
    wanted: BTreeMap<String, String>,
    status: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    body_file: Option<PathBuf>,
}

impl Description {
    /// Understands a world file; paths in it are relative to `directory`.
    pub(crate) fn parse(text: &str, directory: &Path) -> Result<Self, String> {
        let file: WorldFile = toml::from_str(text).map_err(|e| e.to_string())?;
        let hosts: Result<Vec<Host>, String> =
            file.host.into_iter().chain(file.hosts).map(|h| host(h, directory)).collect();
        let description = Self { hosts: hosts? };
        description.check()?;
        Ok(description)
    }

    fn check(&self) -> Result<(), String> {
        let mut taken = BTreeSet::new();
        for host in &self.hosts {
            let stream = host.tcp.iter().chain(&host.tls).chain(host.sites.keys()).chain(&host.dns);
            let datagram = host.udp.iter().chain(&host.dns);
            let ports = stream.map(|p| (false, *p)).chain(datagram.map(|p| (true, *p)));
            for (udp, port) in ports {
                for address in &host.addresses {
                    if port == 0 || !taken.insert((udp, *address, port)) {
                        return Err(format!("{}: port {port} at {address} is 0 or taken already", host.name));
                    }
                }
            }
        }
        let addresses: usize = self.hosts.iter().map(|h| h.addresses.len()).sum();
        if addresses > ADDRESSES_MAX || taken.len() > PORTS_MAX {
            return Err(format!("more than {ADDRESSES_MAX} addresses or {PORTS_MAX} ports"));
        }
        Ok(())
    }
}

fn host(table: HostTable, directory: &Path) -> Result<Host, String> {
    let names: Vec<String> =
        table.name.into_iter().chain(table.names).map(|n| n.to_ascii_lowercase()).collect();
    let name = names.first().cloned().ok_or("a host needs a name")?;
    if !names.iter().all(|n| is_name(n)) {
        return Err(format!("{name}: not a host name"));
    }
    if table.addresses.iter().any(|a| a.is_unspecified() || a.is_multicast() || *a == RESOLVER) {
        return Err(format!("{name}: an address that no host can have here"));
    }
    let mut sites: BTreeMap<u16, (bool, Vec<Page>)> = BTreeMap::new();
    for http in table.http {
        let port = http.port.unwrap_or(if http.tls { 443 } else { 80 });
        let site = sites.entry(port).or_insert((http.tls, Vec::new()));
        if site.0 != http.tls {
            return Err(format!("{name}: port {port} cannot be both with and without tls"));
        }
        site.1.push(page(http, directory)?);
    }
    let sites =
        sites.into_iter().map(|(port, (tls, pages))| (port, Site { tls, pages: Arc::new(pages) })).collect();
    let HostTable { addresses, tcp, udp, dns, tls, .. } =
        HostTable { name: None, names: vec![], http: vec![], ..table };
    Ok(Host { name, names, addresses, tcp, udp, dns, tls, sites })
}

fn is_name(name: &str) -> bool {
    let plain = name.strip_prefix("*.").unwrap_or(name);
    let label = |l: &str| {
        !l.is_empty() && l.len() < 64 && l.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    plain.len() < 254 && plain.split('.').all(label)
}

fn page(http: HttpTable, directory: &Path) -> Result<Page, String> {
    let body = match (http.body, http.body_file) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(file)) => {
            let path = directory.join(file);
            fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?
        }
        (None, None) => Vec::new(),
        (Some(_), Some(_)) => return Err("body and body_file exclude each other".into()),
    };
    if http.headers.iter().any(|(n, v)| n.contains(['\r', '\n', ':']) || v.contains(['\r', '\n'])) {
        return Err("a header with a line break".into());
    }
    Ok(Page {
        path: http.path.unwrap_or_else(|| "/".into()),
        wanted: http.wanted,
        status: http.status.unwrap_or(200),
        headers: http.headers,
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Description, String> {
        Description::parse(text, Path::new("/"))
    }

    #[test]
    fn a_host_may_have_everything() {
        let world = parse(
            "[[host]]\nname = 'API.example.com'\nnames = ['*.evil.example']\naddresses = ['203.0.113.10', '2001:db8::1']\n\
             tcp = [4444]\nudp = [9999]\ndns = [53]\ntls = [443]\n[[host.http]]\nport = 80\npath = '/a'\nbody = 'x'\n",
        )
        .unwrap();
        let host = &world.hosts[0];
        assert_eq!(host.name, "api.example.com");
        assert_eq!(host.sites[&80].pages[0].body, b"x");
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = |text: &str| parse(text).unwrap_err();
        assert!(wrong("[[host]]\nname='a'\naddresses=['203.0.113.1']\ntpc=[1]").contains("tpc"));
        assert!(wrong("[[host]]\naddresses=['203.0.113.1']").contains("name"));
        assert!(wrong("[[host]]\nname='a'\naddresses=['203.0.113.1']\ntcp=[53]\ndns=[53]").contains("53"));
        assert!(wrong("[[host]]\nname='a'\naddresses=['169.254.78.1']").contains("address"));
    }
}

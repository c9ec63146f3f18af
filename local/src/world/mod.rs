//! A private world: hosts with names, addresses and services that the function can reach, and nothing else.
//!
//! Decides which sockets are needed and what stands behind each; what arrives is counted. Knows nothing of Lambda.
//! Called by the run: it lends the sandbox's plan addresses and sockets, and serves the sockets that come back.

mod authority;
mod description;
mod dns;
mod services;
mod sinks;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use crate::error::LocalError;
use crate::sandbox::plan::SocketPlan;
use authority::Authority;
use description::{Description, RESOLVER};
use dns::Zone;
use services::{Service, Services};
use sinks::Sink;
pub(crate) use sinks::SinkLine;

/// Longest world file in bytes.
const FILE_MAX: u64 = 1024 * 1024;
const DNS_PORT: u16 = 53;

/// A world that has been understood and can be served.
pub(crate) struct World {
    description: Description,
    authority: Authority,
    sinks: Vec<Arc<Sink>>,
    /// What stands behind each socket of [`World::sockets`], in that order.
    planned: Vec<(SocketPlan, Service)>,
}

/// A world that is being served.
pub(crate) struct Served {
    services: Services,
    sinks: Vec<Arc<Sink>>,
}

impl World {
    /// Reads a world file.
    pub(crate) fn load(path: &Path) -> Result<Self, LocalError> {
        let wrong = |reason: String| LocalError::Usage(format!("world {}: {reason}", path.display()));
        let size = fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len();
        if size > FILE_MAX {
            return Err(wrong("longer than 1 MiB".into()));
        }
        let text = fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
        let directory = path.parent().unwrap_or(Path::new("."));
        let description = Description::parse(&text, directory).map_err(wrong)?;
        Self::new(description)
            .map_err(|reason| LocalError::environment("prepare the world's certificates", reason))
    }

    fn new(description: Description) -> Result<Self, String> {
        let authority = Authority::new()?;
        let mut world = Self { description, authority, sinks: Vec::new(), planned: Vec::new() };
        world.plan_hosts()?;
        world.plan_resolver();
        Ok(world)
    }

    fn plan_hosts(&mut self) -> Result<(), String> {
        for host in &self.description.hosts {
            let mut add = |sinks: &mut Vec<Arc<Sink>>,
                           udp: &[bool],
                           port: u16,
                           transport,
                           service: &dyn Fn(Arc<Sink>) -> Service| {
                let sink = Arc::new(Sink::new(&host.name, port, transport));
                sinks.push(Arc::clone(&sink));
                for (address, udp) in host.addresses.iter().flat_map(|a| udp.iter().map(move |u| (*a, *u))) {
                    let socket = SocketPlan { udp, address: SocketAddr::new(address, port) };
                    self.planned.push((socket, service(Arc::clone(&sink))));
                }
            };
            let identity = self.authority.identity(host)?;
            for port in &host.tcp {
                add(&mut self.sinks, &[false], *port, "tcp", &Service::Count);
            }
            for port in &host.udp {
                add(&mut self.sinks, &[true], *port, "udp", &Service::Count);
            }
            for port in &host.dns {
                add(&mut self.sinks, &[true, false], *port, "dns", &Service::NameServer);
            }
            for port in &host.tls {
                add(&mut self.sinks, &[false], *port, "tls", &|sink| {
                    Service::CountTls(sink, Arc::clone(&identity))
                });
            }
            for (port, site) in &host.sites {
                let identity = site.tls.then(|| Arc::clone(&identity));
                add(&mut self.sinks, &[false], *port, "http", &|sink| {
                    Service::Http(sink, identity.clone(), Arc::clone(&site.pages))
                });
            }
        }
        Ok(())
    }

    fn plan_resolver(&mut self) {
        let zone = Arc::new(Zone::new(&self.description, &self.sinks));
        for udp in [true, false] {
            let socket = SocketPlan { udp, address: SocketAddr::new(RESOLVER, DNS_PORT) };
            self.planned.push((socket, Service::Resolver(Arc::clone(&zone))));
        }
    }

    /// The addresses that the world's loopback device has.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> =
            self.description.hosts.iter().flat_map(|h| h.addresses.iter().copied()).collect();
        addresses.push(RESOLVER);
        addresses.sort();
        addresses.dedup();
        addresses.retain(|a| !a.is_loopback());
        addresses
    }

    /// The sockets to bind there.
    pub(crate) fn sockets(&self) -> Vec<SocketPlan> {
        self.planned.iter().map(|(socket, _)| *socket).collect()
    }

    /// The certificate authority that the sandbox shall trust, in PEM.
    pub(crate) fn authority_pem(&self) -> &str {
        self.authority.pem()
    }

    /// Serves the sockets, which come in the order of [`World::sockets`].
    pub(crate) fn serve(self, sockets: impl Iterator<Item = OwnedFd>) -> Result<Served, LocalError> {
        let mut services = Services::default();
        for ((plan, service), socket) in self.planned.into_iter().zip(sockets) {
            services
                .add(plan.udp, socket, service)
                .map_err(|e| LocalError::environment("serve the world", e))?;
        }
        Ok(Served { services, sinks: self.sinks })
    }
}

impl Served {
    /// Takes in what is still on the way, and says what arrived.
    pub(crate) fn finish(&self) -> Vec<SinkLine> {
        self.services.settle();
        self.sinks.iter().map(|sink| sink.line()).collect()
    }
}

//! What the launch has found out before the runtime's process exists.
//!
//! It decides nothing: [`super::run`] fills it in, and the kernel plane takes from it what decisions need.

use std::net::{Ipv4Addr, SocketAddr};

use ringfence_records::handoff::MAX_PROXIES;
use ringfence_records::message::address_of_proxy;

use super::agent::{Agent, AgentError, Door};
use super::policy::Loaded;
use super::probe::Capabilities;
use super::runtime::Runtime;
use super::settings::Settings;
use super::shims::Hook;

/// Everything that is known before the runtime's process exists.
#[derive(Debug)]
pub struct Plan {
    /// Arguments and environment.
    pub settings: Settings,
    /// The policy.
    pub policy: Loaded,
    /// The runtime behind the wrappers.
    pub runtime: Runtime,
    /// What the platform allows.
    pub capabilities: Capabilities,
    /// Name servers that the resolver stands in for.
    pub name_servers: Vec<SocketAddr>,
    /// Why the preload library will not be in the runtime; empty where it will.
    pub no_preload: String,
    /// The children's seccomp filter; empty where there is none.
    pub child_filter: Vec<u8>,
    /// The language hook that is loaded.
    pub hook: Hook,
    /// The way to the agent, until it is greeted.
    pub door: Result<Door, AgentError>,
}

impl Plan {
    /// Whether the runtime may ask for its events by a program that it starts: a shell, or any other that is not one of the
    /// platform's own runtimes, whose bootstrap names itself.
    #[must_use]
    pub fn asks_by_child(&self) -> bool {
        self.runtime.identity.inode == 0 || self.settings.variable("AWS_EXECUTION_ENV").is_none()
    }

    /// The runtime's own command, without the wrappers before it.
    #[must_use]
    pub fn own_command(&self) -> Vec<u8> {
        let search = self.settings.variable("PATH").unwrap_or_default();
        self.runtime.own_command(&self.settings.command, search)
    }

    /// The platform's own API: the agent knows it, and the guard's variable may be a wrapper's.
    #[must_use]
    pub fn platforms_api(&self, agent: Option<&Agent>) -> Option<SocketAddr> {
        agent.and_then(|agent| agent.runtime_api).or(self.settings.runtime_api)
    }

    /// Proxies in front of it that are known before the runtime starts: the one that a wrapper before the guard has put
    /// into its variable, and a web adapter's.
    #[must_use]
    pub fn proxies(&self, agent: Option<&Agent>) -> [Option<SocketAddr>; MAX_PROXIES] {
        let api = self.platforms_api(agent);
        let wrappers = address_of_proxy(&self.settings.runtime_api_text).filter(|proxy| Some(*proxy) != api);
        [wrappers, self.settings.adapters_proxy]
    }
}

/// The guarded resolver, where the agent has one.
#[must_use]
pub fn resolver(agent: &Agent) -> Option<SocketAddr> {
    (agent.resolver_port != 0).then(|| SocketAddr::from((Ipv4Addr::LOCALHOST, agent.resolver_port)))
}

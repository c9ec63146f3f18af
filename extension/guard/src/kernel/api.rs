//! Where the Runtime API is: the platform's own address, and proxies in front of it.
//!
//! A wrapper behind the guard may give the runtime another address than the guard has. The runtime's environment shows
//! it as execve(2) laid it down, before any code of the function ran. Only loopback addresses are believed: an address
//! elsewhere would let a variable open a way out. It decides nothing about who may connect; `connect` calls it.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;

use ringfence_policy::Phase;
use ringfence_records::message::{address_of_proxy, leads_to};

use super::Supervisor;

/// Bytes of an environment that are read; Lambda allows 4 KiB of variables beside its own.
const MAX_ENVIRONMENT: u64 = 256 * 1024;
const VARIABLE: &[u8] = b"AWS_LAMBDA_RUNTIME_API=";

impl Supervisor {
    /// Returns `true` if a connection to `target` reaches the Runtime API, itself or by a proxy.
    pub(super) fn leads_to_api(&self, target: SocketAddr) -> bool {
        if self.apis.iter().any(|api| leads_to(*api, target)) {
            return true;
        }
        if !target.ip().is_loopback() {
            return false;
        }
        // Wrappers run in init only. Later the function could have written over its environment.
        if self.published().0 == Phase::Init
            && !self.facts.invoked()
            && let Some(proxy) = proxy_of(self.runtime)
            && !self.apis.contains(&proxy)
        {
            self.facts.note_proxy(proxy.port());
        }
        self.facts.proxy() == target.port() && target.port() != 0
    }
}

/// The proxy that the environment of `process` names.
fn proxy_of(process: u32) -> Option<SocketAddr> {
    let mut environment = Vec::new();
    let file = File::open(format!("/proc/{process}/environ")).ok()?;
    file.take(MAX_ENVIRONMENT).read_to_end(&mut environment).ok()?;
    proxy_in(&environment)
}

fn proxy_in(environment: &[u8]) -> Option<SocketAddr> {
    let value = environment.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(VARIABLE))?;
    address_of_proxy(std::str::from_utf8(value).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_this_machines_addresses_are_proxies() {
        let found = |text: &str| proxy_in(text.as_bytes());
        let own = "A=b\0AWS_LAMBDA_RUNTIME_API=127.0.0.1:9002\0C=d\0";
        assert_eq!(found(own), Some(([127, 0, 0, 1], 9002).into()));
        assert_eq!(found("AWS_LAMBDA_RUNTIME_API=203.0.113.9:443\0"), None);
        assert_eq!(found("XAWS_LAMBDA_RUNTIME_API=127.0.0.1:9002\0"), None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = proxy_in(&[VARIABLE, &bytes].concat());
        }
    }
}

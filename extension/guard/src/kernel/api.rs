//! Where the Runtime API is, and which process besides the runtime may speak to it.
//!
//! A wrapper behind the guard may give the runtime another address than the guard has. The runtime's environment shows
//! it as execve(2) laid it down, before any code of the function ran. Only loopback addresses are believed: an address
//! elsewhere would let a variable open a way out. The verdict is the policy's; `connect` and `send` call it.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;

use ringfence_policy::{Phase, Role};
use ringfence_records::message::{address_of_proxy, leads_to};
use ringfence_records::page::{self, FileId};

use super::Supervisor;
use super::target::{self, Caller};

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

impl Supervisor {
    /// What a caller is towards the Runtime API. A runtime that is a shell starts a program to ask for its events; a wrapper may
    /// have forked before it started the runtime. The first to ask in init is published by the agent.
    pub(super) fn role_at_api(&self, caller: &Caller) -> Role {
        let is_runtime = caller.role == Role::Runtime && !self.asks_by_another(caller.process);
        if is_runtime || self.asks_for_runtime(caller.process) { Role::Runtime } else { Role::Child }
    }

    /// Whether another program than that of `process` asks for the events: a runtime that is a shell has no business there.
    fn asks_by_another(&self, process: u32) -> bool {
        let poller = page::View::new(self.state.page.words()).and_then(|view| view.poller());
        poller.is_some_and(|poller| {
            target::executable(process)
                .is_ok_and(|own| poller != FileId { device: own.device, inode: own.inode })
        })
    }

    fn asks_for_runtime(&self, process: u32) -> bool {
        let Some(view) = page::View::new(self.state.page.words()) else { return false };
        let Ok(own) = target::executable(process) else { return false };
        let may = match view.poller() {
            Some(poller) => poller == FileId { device: own.device, inode: own.inode },
            None => view.phase().0 == Phase::Init && (self.asks_by_child || own == self.runtime_file),
        };
        may && self.is_direct(process)
    }

    /// Whether a fork of the runtime, which has executed nothing else, started a process. A fork has its parent's stack where
    /// that one has it; each exec makes another.
    fn is_direct(&self, process: u32) -> bool {
        const MAX_FORKS: usize = 4;
        let of_runtime = (target::executable(self.runtime), target::stack_start(self.runtime));
        let mut ancestor = process;
        for _ in 0..MAX_FORKS {
            match target::parent_of(ancestor) {
                Some(parent) if parent == self.runtime => return true,
                Some(parent) if (target::executable(parent), target::stack_start(parent)) == of_runtime => {
                    ancestor = parent;
                }
                _ => return false,
            }
        }
        false
    }

    /// Whether the client of `process` keeps a second connection for its answers, going by its program's name.
    pub(super) fn answers_apart(process: u32) -> bool {
        let mut path = [0; 512];
        target::link(process, format_args!("exe"), &mut path)
            .is_ok_and(|path| path.ends_with(b"/node") || path.ends_with(b"/php"))
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

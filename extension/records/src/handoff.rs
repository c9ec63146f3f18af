//! The handoff: what the guard tells the preload library of every process, in a memfd sealed against any change.
//!
//! It is written once, before the runtime starts. The descriptors of the handoff and of the state page are inherited
//! under the numbers that [`ENVIRONMENT`] names; the preload library keeps both open and passes them on. Decoding
//! takes any bytes: what is missing or malformed makes `Handoff::decode` answer `None`, and then nothing is claimed.

use core::net::SocketAddr;

use ringfence_policy::Plane;

use crate::clients::Spare;
use crate::message::{self, List};

/// Variable that tells the preload library the descriptors: `handoff,state`, decimal, for example `961,960`. A third
/// part, `invoked`, says that the runtime had asked for an event before this process began: init is over, even where
/// the agent has not yet written so.
pub const ENVIRONMENT: &str = "RINGFENCE_FDS";
/// See [`ENVIRONMENT`]: what follows the descriptors once init is over.
pub const INVOKED: &str = ",invoked";
/// See [`ENVIRONMENT`]: what follows that if a fork of the runtime, which has executed nothing else, started the program.
pub const DIRECT: &str = ",direct";
/// See [`ENVIRONMENT`]: what follows that if the runtime speaks to a proxy in front of the Runtime API that only a wrapper
/// behind the guard named, and then its port on the loopback interface.
pub const PROXY: &str = ",proxy=";
/// See [`ENVIRONMENT`]: what follows all that where the program was started in a scope of the function, and then the
/// scope's limits in decimal.
pub const SCOPE: &str = ",scope=";
/// Longest command of a runtime that is handed down, and longest command line that is looked at, in bytes.
pub const MAX_COMMAND: usize = 4096;
/// See [`MAX_COMMAND`].
pub const MAX_COMMAND_LINE: usize = 16 * 1024;
/// Largest handoff in bytes.
pub const MAX_SIZE: usize = 160 * 1024;
const MAGIC: &[u8; 8] = b"RFHAND01";

/// Which actions the kernel plane decides, so that the process plane leaves them alone. Bits of `kernel_covers`.
pub mod covers {
    /// exec.
    pub const EXEC: u32 = 1;
    /// connect, sendto, sendmsg, sendmmsg.
    pub const EGRESS: u32 = 2;
    /// bind.
    pub const BIND: u32 = 4;
    /// Opens that write.
    pub const OPEN_WRITE: u32 = 8;
    /// Dangerous system calls.
    pub const DANGEROUS: u32 = 16;
    /// No decision on a rule: opens that write are asked about for the sake of the memory of processes, so a signal can
    /// end them before they have begun.
    pub const OPENS_ASKED: u32 = 32;
}

/// How long a call of the function has waited for the guard, in milliseconds, before a signal may end that wait. A call that a
/// signal ends sooner was not taken up yet: it would not have waited, and the process plane makes it again.
pub const WAITS_FOR: u64 = 20;

/// Most proxies in front of the Runtime API that are known before the runtime starts.
pub const MAX_PROXIES: usize = 2;

/// Most name servers that are remembered, as resolv.conf(5) allows three.
pub const MAX_NAME_SERVERS: usize = 3;

/// The contents of the handoff, borrowed from the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handoff<'a> {
    /// The compiled policy, not yet validated: `CompiledPolicy::new` does that.
    pub policy_bytes: &'a [u8],
    /// Strongest plane.
    pub strongest: Plane,
    /// What the kernel plane decides; bits of [`covers`].
    pub kernel_covers: u32,
    /// Process id of the runtime, as it sees itself.
    pub runtime_pid: u32,
    /// Process id of the guard; 0 where it has become the runtime.
    pub guard_pid: u32,
    /// Process id of the agent; 0 where there is none.
    pub agent_pid: u32,
    /// Device of the runtime's own executable, behind all wrappers.
    pub runtime_device: u64,
    /// Inode of the same.
    pub runtime_inode: u64,
    /// The runtime's own command as `/proc/<pid>/cmdline` shows it, from its executable on; empty where it is not known.
    pub command: &'a [u8],
    /// Abstract name of the report socket; empty where there is no agent, and violations go to standard error.
    pub report_address: &'a [u8],
    /// Whether the runtime's client runs workers that serve events too (Managed Instances).
    pub concurrent: bool,
    /// Which connections to the Runtime API the runtime's client may have besides the one by which it asks.
    pub spare: Spare,
    /// Whether the runtime may be one that asks for its events by a program that it starts, as a shell does by curl. The
    /// platform's own runtimes never do.
    pub asks_by_child: bool,
    /// The language hook that judges what reads the environment in the runtime; one of [`hooks`].
    pub reads_hook: u8,
    /// Address of the Runtime API.
    pub runtime_api: Option<SocketAddr>,
    /// Proxies in front of it, on this machine.
    pub proxies: [Option<SocketAddr>; MAX_PROXIES],
    /// The guarded resolver; `None` where there is none.
    pub resolver: Option<SocketAddr>,
    /// Name servers of resolv.conf(5), for which the resolver stands in.
    pub name_servers: [Option<SocketAddr>; MAX_NAME_SERVERS],
    /// Path of the preload library, for children whose environment was cleared.
    pub preload_path: &'a [u8],
    /// The children's seccomp filter as an array of `struct sock_filter`; empty where there is none.
    pub child_filter: &'a [u8],
    /// Function name, for records without an agent.
    pub function: &'a [u8],
    /// `sha256:…` of the policy, for records without an agent.
    pub policy_hash: &'a [u8],
    /// What brings the language hook into the runtime's executable, as [`crate::hook::entries`] reads it.
    pub hook: &'a [u8],
}

/// Language hooks.
pub mod hooks {
    /// There is none: the process plane alone sees reads of the environment, and cannot tell the SDKs from others.
    pub const NONE: u8 = 0;
    /// One of a language that copies its environment, so that getenv(3) is called by native code alone.
    pub const COPIES: u8 = 1;
    /// Node's: Node reads its environment by getenv(3), whichever code asks.
    pub const NODE: u8 = 2;
}

mod tag {
    pub(super) const POLICY: u8 = 1;
    pub(super) const STRONGEST: u8 = 2;
    pub(super) const KERNEL_COVERS: u8 = 3;
    pub(super) const RUNTIME_PID: u8 = 4;
    pub(super) const GUARD_PID: u8 = 5;
    pub(super) const AGENT_PID: u8 = 6;
    pub(super) const RUNTIME_DEVICE: u8 = 7;
    pub(super) const RUNTIME_INODE: u8 = 8;
    pub(super) const COMMAND: u8 = 41;
    pub(super) const REPORT_ADDRESS: u8 = 9;
    pub(super) const RUNTIME_API: u8 = 10;
    pub(super) const RESOLVER: u8 = 11;
    pub(super) const NAME_SERVER: u8 = 12;
    pub(super) const PRELOAD_PATH: u8 = 13;
    pub(super) const CHILD_FILTER: u8 = 14;
    pub(super) const FUNCTION: u8 = 15;
    pub(super) const POLICY_HASH: u8 = 16;
    pub(super) const CONCURRENT: u8 = 17;
    pub(super) const READS_HOOK: u8 = 40;
    pub(super) const SPARE: u8 = 42;
    pub(super) const ASKS_BY_CHILD: u8 = 43;
    pub(super) const PROXY: u8 = 30;
    pub(super) const HOOK: u8 = 18;
}

impl<'a> Handoff<'a> {
    /// Writes the handoff with `put`, which appends bytes (to a Vec in the guard). Fields carry a 32-bit length.
    pub fn encode(&self, mut put: impl FnMut(&[u8])) {
        put(MAGIC);
        let mut field = |tag: u8, value: &[u8]| {
            put(&[tag]);
            put(&u32::try_from(value.len()).unwrap_or(0).to_le_bytes());
            put(value);
        };
        field(tag::POLICY, self.policy_bytes);
        field(tag::STRONGEST, &[message::plane_number(self.strongest)]);
        field(tag::KERNEL_COVERS, &self.kernel_covers.to_le_bytes());
        field(tag::RUNTIME_PID, &self.runtime_pid.to_le_bytes());
        field(tag::GUARD_PID, &self.guard_pid.to_le_bytes());
        field(tag::AGENT_PID, &self.agent_pid.to_le_bytes());
        field(tag::RUNTIME_DEVICE, &self.runtime_device.to_le_bytes());
        field(tag::RUNTIME_INODE, &self.runtime_inode.to_le_bytes());
        field(tag::COMMAND, self.command);
        field(tag::CONCURRENT, &[u8::from(self.concurrent)]);
        field(tag::SPARE, &[self.spare as u8]);
        field(tag::ASKS_BY_CHILD, &[u8::from(self.asks_by_child)]);
        field(tag::READS_HOOK, &[self.reads_hook]);
        for (tag, address) in [(tag::RUNTIME_API, self.runtime_api), (tag::RESOLVER, self.resolver)] {
            if let Some(address) = address {
                field(tag, &message::encode_address(address));
            }
        }
        for address in self.proxies.into_iter().flatten() {
            field(tag::PROXY, &message::encode_address(address));
        }
        for address in self.name_servers.into_iter().flatten() {
            field(tag::NAME_SERVER, &message::encode_address(address));
        }
        field(tag::REPORT_ADDRESS, self.report_address);
        field(tag::PRELOAD_PATH, self.preload_path);
        field(tag::CHILD_FILTER, self.child_filter);
        field(tag::FUNCTION, self.function);
        field(tag::POLICY_HASH, self.policy_hash);
        field(tag::HOOK, self.hook);
    }

    /// Reads a handoff. `None` where it is not one.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut fields = Fields { rest: bytes.strip_prefix(MAGIC)? };
        let (first, policy_bytes) = fields.next()?;
        if first != tag::POLICY {
            return None;
        }
        let mut handoff = Self::with_policy(policy_bytes);
        let mut servers: List<'a, MAX_NAME_SERVERS> = List::new();
        for (tag, value) in fields {
            if tag == tag::NAME_SERVER {
                servers.push(value);
            } else {
                handoff.set(tag, value)?;
            }
        }
        for (slot, value) in handoff.name_servers.iter_mut().zip(servers.as_slice()) {
            *slot = Some(message::decode_address(value)?);
        }
        Some(handoff)
    }

    /// A handoff that says nothing but the policy: the strictest reading of everything else.
    #[must_use]
    pub const fn with_policy(policy_bytes: &'a [u8]) -> Self {
        Self {
            policy_bytes,
            strongest: Plane::Process,
            kernel_covers: 0,
            runtime_pid: 0,
            guard_pid: 0,
            agent_pid: 0,
            runtime_device: 0,
            runtime_inode: 0,
            command: &[],
            concurrent: false,
            spare: Spare::None,
            asks_by_child: false,
            reads_hook: hooks::NONE,
            report_address: &[],
            runtime_api: None,
            proxies: [None; MAX_PROXIES],
            resolver: None,
            name_servers: [None; MAX_NAME_SERVERS],
            preload_path: &[],
            child_filter: &[],
            function: &[],
            policy_hash: &[],
            hook: &[],
        }
    }

    /// Returns `true` if a connection to `target` reaches the Runtime API, itself or by a proxy.
    #[must_use]
    pub fn leads_to_api(&self, target: SocketAddr) -> bool {
        let mut known = self.runtime_api.into_iter().chain(self.proxies.into_iter().flatten());
        known.any(|api| message::leads_to(api, target))
    }

    fn set(&mut self, tag: u8, value: &'a [u8]) -> Option<()> {
        match tag {
            tag::STRONGEST => self.strongest = message::plane_from(*value.first()?)?,
            tag::KERNEL_COVERS => self.kernel_covers = number(value)?,
            tag::RUNTIME_PID => self.runtime_pid = number(value)?,
            tag::GUARD_PID => self.guard_pid = number(value)?,
            tag::AGENT_PID => self.agent_pid = number(value)?,
            tag::RUNTIME_DEVICE => self.runtime_device = crate::wire::long(value)?,
            tag::RUNTIME_INODE => self.runtime_inode = crate::wire::long(value)?,
            tag::COMMAND => self.command = value,
            tag::CONCURRENT => self.concurrent = *value.first()? != 0,
            tag::SPARE => self.spare = Spare::from_number(*value.first()?),
            tag::ASKS_BY_CHILD => self.asks_by_child = *value.first()? != 0,
            tag::READS_HOOK => self.reads_hook = *value.first()?,
            tag::RUNTIME_API => self.runtime_api = Some(message::decode_address(value)?),
            tag::PROXY => {
                let proxy = message::decode_address(value)?;
                if let Some(slot) = self.proxies.iter_mut().find(|slot| slot.is_none()) {
                    *slot = Some(proxy);
                }
            }
            tag::RESOLVER => self.resolver = Some(message::decode_address(value)?),
            tag::REPORT_ADDRESS => self.report_address = value,
            tag::PRELOAD_PATH => self.preload_path = value,
            tag::CHILD_FILTER => self.child_filter = value,
            tag::FUNCTION => self.function = value,
            tag::POLICY_HASH => self.policy_hash = value,
            tag::HOOK => self.hook = value,
            _ => {}
        }
        Some(())
    }
}

/// Returns `true` if a program with this command line is a wrapper that is still to start the runtime: the runtime's
/// `command` stands behind words of its own. Instrumentation in the runtime's language is started so.
#[must_use]
pub fn is_wrapper(line: &[u8], command: &[u8]) -> bool {
    !command.is_empty() && line.strip_suffix(command).is_some_and(|own| own.ends_with(b"\0"))
}

fn number(value: &[u8]) -> Option<u32> {
    crate::wire::number(value)
}

struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (tag, rest) = self.rest.split_first()?;
        let (length, rest) = rest.split_at_checked(4)?;
        let length = usize::try_from(number(length)?).ok()?;
        let (value, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some((*tag, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(handoff: &Handoff<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        handoff.encode(|part| bytes.extend_from_slice(part));
        bytes
    }

    #[test]
    fn what_is_handed_down_arrives() {
        let mut handoff = Handoff::with_policy(b"policy");
        handoff.strongest = Plane::Kernel;
        handoff.kernel_covers = covers::EXEC | covers::EGRESS;
        handoff.runtime_pid = 9;
        handoff.runtime_inode = 1 << 40;
        handoff.concurrent = true;
        handoff.spare = Spare::Errors;
        handoff.asks_by_child = true;
        handoff.reads_hook = hooks::NODE;
        handoff.runtime_api = Some("127.0.0.1:9001".parse().unwrap());
        handoff.name_servers[0] = Some("169.254.78.1:53".parse().unwrap());
        handoff.proxies[0] = Some("127.0.0.1:9002".parse().unwrap());
        handoff.report_address = b"ringfence-report-x";
        handoff.hook = b"PPYTHONPATH=/x\0";
        handoff.command = b"/bin/python\0app.py\0";
        assert_eq!(Handoff::decode(&encoded(&handoff)), Some(handoff));
    }

    #[test]
    fn a_wrapper_is_told_by_the_command_behind_its_own() {
        let command = b"/bin/python\0app.py\0";
        assert!(is_wrapper(b"python\0/opt/instrument\0/bin/python\0app.py\0", command));
        for line in [
            &b"/bin/python\0app.py\0"[..],
            b"/usr/bin/python\0app.py\0",
            b"/bin/python\0-X\0dev\0app.py\0",
            b"python\0/opt/instrument\0/bin/python\0app.py",
            b"",
        ] {
            assert!(!is_wrapper(line, command), "{}", String::from_utf8_lossy(line));
        }
        assert!(!is_wrapper(b"python\0", b""));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), flip: u16) {
            let _ = Handoff::decode(&bytes);
            let mut good = encoded(&Handoff::with_policy(&bytes));
            let at = usize::from(flip) % good.len();
            good[at] ^= 0x41;
            let _ = Handoff::decode(&good);
        }
    }
}

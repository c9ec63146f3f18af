//! Where everything stands in the compiled form: the one description that its writer and its reader share.
//!
//! All numbers are little-endian; all offsets count from the first byte, so the bytes may be mapped anywhere.
//!
//! ```text
//! header (HEADER_SIZE) | views (VIEW_SIZE each) | lists, in any order
//! list of globs   : count u16, then for each: length u16, literal-prefix length u16, bytes
//! list of names   : count u16, then for each: kind u16 (0 the name itself, 1 names below it), length u16, bytes
//! list of strings : count u16, then for each: length u16, 0 u16, bytes
//! list of targets : count u16, then TARGET_SIZE bytes for each
//! limits          : five u64, u64::MAX where there is none
//! ```
//!
//! A view is what the policy says in one phase to one role. Eight combinations share as many views as differ.

/// First bytes of every compiled policy.
pub(crate) const MAGIC: [u8; 4] = *b"RFPC";
/// Version of this layout.
pub(crate) const VERSION: u16 = 1;
/// No compiled policy is longer (its length is a u16).
#[cfg(feature = "language")]
pub(crate) const MAX_SIZE: usize = 0xffff;

/// Fields of the header.
pub(crate) mod header {
    pub(crate) const VERSION: usize = 4;
    pub(crate) const LENGTH: usize = 6;
    /// Mode of the policy as a whole, which judges attacks on the protection itself.
    pub(crate) const MODE: usize = 8;
    pub(crate) const ON_DEGRADED: usize = 9;
    /// List of names, the pool that targets and `Destination::names` index.
    pub(crate) const NAMES: usize = 10;
    /// List of globs: variables that children do not inherit.
    pub(crate) const STRIP: usize = 12;
    /// List of strings: names of planted variables.
    pub(crate) const DECOYS: usize = 14;
    pub(crate) const LIMITS: usize = 16;
    /// List of strings: system calls denied beyond the profile.
    pub(crate) const SYSCALLS_DENIED: usize = 18;
    /// 0 none, 1 baseline, 2 strict.
    pub(crate) const SYSCALLS: usize = 20;
    /// Bits: 1 children lose the credential variables, 2 names are checked in the traffic too, from 4 on a bit for each
    /// credential variable, in the vocabulary's order, that any code may read.
    pub(crate) const FLAGS: usize = 21;
    /// Eight bytes: the view of each phase and role, at `phase * 2 + role`.
    pub(crate) const VIEW_OF: usize = 22;
    pub(crate) const VIEW_COUNT: usize = 30;
}
/// Size of the header in bytes.
pub(crate) const HEADER_SIZE: usize = 32;
/// Combinations of phase and role.
pub(crate) const COMBINATIONS: usize = 8;
/// Bit of the flags: children lose the credential variables.
pub(crate) const FLAG_HIDE_CREDENTIALS: u8 = 1;
/// Bit of the flags: `egress.names = "sni"`.
pub(crate) const FLAG_SNI: u8 = 2;
/// The first bit of the flags for credential variables that any code may read.
pub(crate) const FLAG_MAY_READ: u8 = 4;
/// All flags that there are.
pub(crate) const FLAGS_KNOWN: u8 = 63;

/// Fields of a view. Modes are 0 off, 1 observe, 2 enforce; restrictions are 0 allow, 1 report, 2 deny; lists are
/// offsets, 0 where the key is absent.
pub(crate) mod view {
    pub(crate) const PROCESS_MODE: usize = 0;
    pub(crate) const EGRESS_MODE: usize = 1;
    pub(crate) const TMP_MODE: usize = 2;
    pub(crate) const FILES_MODE: usize = 3;
    pub(crate) const CREDENTIALS_MODE: usize = 4;
    /// Mode of the rule on binaries that the strongest plane cannot follow.
    pub(crate) const UNCOVERED_MODE: usize = 5;
    pub(crate) const SHELLS: usize = 6;
    pub(crate) const FROM_WRITABLE: usize = 7;
    /// 0 allow, 1 loopback, 2 deny.
    pub(crate) const LISTEN: usize = 8;
    /// 0 any process, 1 the runtime.
    pub(crate) const RUNTIME_API: usize = 9;
    /// 0 allow, 1 deny, 2 the list.
    pub(crate) const TMP_WRITES: usize = 10;
    pub(crate) const READS: usize = 11;
    /// 0 the environment, 1 not the environment of children.
    pub(crate) const EXPOSE: usize = 12;
    /// 1 where the process section says anything: the runtime may then not replace itself.
    pub(crate) const PROCESS_PRESENT: usize = 13;
    /// List of globs.
    pub(crate) const PROCESS_ALLOW: usize = 14;
    /// List of targets.
    pub(crate) const EGRESS_ALLOW: usize = 16;
    /// List of targets.
    pub(crate) const EGRESS_DENY: usize = 18;
    /// List of globs.
    pub(crate) const TMP_WRITES_LIST: usize = 20;
    /// List of globs.
    pub(crate) const DENY_READ: usize = 22;
    /// List of globs.
    pub(crate) const DENY_WRITE: usize = 24;
}
/// Size of a view in bytes.
pub(crate) const VIEW_SIZE: usize = 26;

/// Fields of a target: what an entry of `egress.allow` or `egress.deny` became.
pub(crate) mod target {
    /// 0 any host, 1 an IPv4 network, 2 an IPv6 network, 3 a name.
    pub(crate) const KIND: usize = 0;
    /// Length of the network's prefix in bits.
    pub(crate) const PREFIX: usize = 1;
    pub(crate) const PORT_LOW: usize = 2;
    pub(crate) const PORT_HIGH: usize = 4;
    /// Index into the list of names.
    pub(crate) const NAME: usize = 6;
    /// Sixteen bytes in network order; an IPv4 address stands in the first four.
    pub(crate) const ADDRESS: usize = 8;
}
/// Size of a target in bytes.
pub(crate) const TARGET_SIZE: usize = 24;
/// Size of the limits block in bytes.
pub(crate) const LIMITS_SIZE: usize = 40;

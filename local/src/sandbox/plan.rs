//! What the service tells the sandbox to build, and what they say to each other afterwards.
//!
//! Plain data: one JSON object a packet on a SOCK_SEQPACKET pair, at most three descriptors with it.
//! Written by the service, read by the sandbox's sub-commands, and the other way round.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::options::Profile;

/// The uid of every Lambda sandbox process.
pub const SANDBOX_UID: u32 = 993;
/// The gid of every Lambda sandbox process.
pub const SANDBOX_GID: u32 = 990;

/// The whole environment of one run.
#[derive(Debug, Serialize, Deserialize)]
pub struct SandboxPlan {
    /// An empty directory of the host on which the new root is assembled.
    pub root: PathBuf,
    /// Host directory that becomes /var/task.
    pub task: PathBuf,
    /// Host directory that becomes /var/runtime.
    pub runtime: PathBuf,
    /// What stands at /var/lang.
    pub lang: Lang,
    /// Host directory that becomes /opt.
    pub opt: PathBuf,
    /// Host file that becomes /var/policy/policy.toml.
    pub policy: Option<PathBuf>,
    /// The text of /lambda-entrypoint.sh, which AWS's base images have.
    pub entrypoint: Option<String>,
    /// Host directory whose files go over those of /etc.
    pub etc: PathBuf,
    /// Size of /tmp in bytes.
    pub tmp_bytes: u64,
    /// What the processes can reach.
    pub network: NetworkPlan,
}

/// What stands at /var/lang.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Lang {
    /// An interpreter's whole prefix, mounted read-only.
    pub prefix: Option<PathBuf>,
    /// Without a prefix: links `/var/lang/bin/NAME` to programs that are on the mounted host file system anyway.
    pub links: Vec<(String, PathBuf)>,
    /// Without a prefix: files below /var/lang, by their relative path, with their text.
    pub files: Vec<(String, String)>,
    /// Host directories that go over places below /var/lang, by their relative path.
    pub mounts: Vec<(String, PathBuf)>,
}

/// What the processes can reach.
#[derive(Debug, Serialize, Deserialize)]
pub struct NetworkPlan {
    /// A network name space of its own, or the caller's.
    pub private: bool,
    /// Addresses for its loopback device.
    pub addresses: Vec<IpAddr>,
    /// Sockets to bind there and hand back, each with its place in this list.
    pub sockets: Vec<SocketPlan>,
}

/// One socket that the service will serve.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct SocketPlan {
    /// UDP, or a TCP listener.
    pub udp: bool,
    /// Where it is bound.
    pub address: SocketAddr,
}

/// How to start one process of the sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StartPlan {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub cwd: String,
    /// The filter that it and its children live under.
    pub profile: Profile,
    /// The number under which it gets the descriptor for framed log records, when it gets one.
    pub log_fd: Option<u16>,
}

/// From the service to the sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Start a process as uid 993 in a process group of its own. The descriptors are its standard output, its
    /// standard error and, when its plan has a number for it, its log.
    Spawn {
        /// The service's name for it, which comes back in [`Report::Exited`].
        id: u32,
        /// What to start.
        start: StartPlan,
    },
    /// Send a signal to the process group of a started process.
    Signal {
        /// Which process.
        id: u32,
        /// The signal's number.
        signal: i32,
    },
    /// Kill everything in the sandbox.
    KillAll,
    /// Connect to an address in the sandbox's network name space.
    Connect(SocketAddr),
    /// Say how much memory the sandbox has used at most.
    Memory,
}

/// From the sandbox to the service.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// The socket with this place in the plan; it is the descriptor.
    Socket(usize),
    /// The sandbox is complete.
    Ready,
    /// The sandbox could not be built.
    Failed {
        /// What was being done.
        step: String,
        /// Why it failed, and what to do.
        reason: String,
    },
    /// A started process ended.
    Exited {
        /// Which process.
        id: u32,
        /// Its exit status, or `None` when a signal killed it.
        code: Option<i32>,
        /// The signal that killed it.
        signal: Option<i32>,
    },
    /// The answer to a request: nothing more to say, a connection (the descriptor) or a number.
    Done(u64),
    /// The request failed.
    Refused(String),
}

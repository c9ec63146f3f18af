//! What can happen, which process does it, and what is decided: the vocabulary that every plane shares.
//!
//! A plane describes an event as an [`Action`] in a [`Context`] and asks `verdict`; it gets a [`Verdict`] and the
//! [`Rule`] that decided. Nothing here allocates, reads a clock or touches the system, so the guard, the agent and
//! the preload library all use the same types.

use core::net::IpAddr;

/// Something that a process of the function is about to do, with all that a rule may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// A program is to be executed.
    Exec(Exec<'a>),
    /// A file is to be mapped executable (a library loaded, a plug-in opened).
    MapExecutable {
        /// Resolved absolute path, or what `/proc/self/fd` calls it (`/memfd:x (deleted)`).
        path: &'a [u8],
        /// Where the file lives.
        origin: Origin,
    },
    /// A connection is to be opened, or a datagram sent to an address.
    Connect(Destination<'a>),
    /// A host name is to be looked up. The name is lower case, without the final dot.
    Resolve {
        /// The name as it would stand in a policy.
        name: &'a [u8],
    },
    /// A local address is to be bound for a listener or an unconnected datagram socket.
    Bind {
        /// Local address, IPv4-mapped IPv6 already turned into IPv4.
        address: IpAddr,
        /// Local port in host byte order; 0 asks the kernel for one.
        port: u16,
    },
    /// A file is to be opened for reading. The path is absolute and resolved.
    OpenRead {
        /// Resolved absolute path. `/proc/self` is given as `/proc/<pid>`.
        path: &'a [u8],
    },
    /// A file is to be opened for writing, created, truncated, renamed over or removed.
    OpenWrite {
        /// Resolved absolute path.
        path: &'a [u8],
    },
    /// The value of an environment variable that holds a credential is read.
    ReadCredential {
        /// Name of the variable.
        variable: &'a [u8],
        /// Whether the reader is an AWS SDK or the runtime client itself.
        by_sdk: bool,
    },
    /// A child is to be started with credential variables in its environment.
    InheritCredentials {
        /// Name of the first such variable.
        variable: &'a [u8],
    },
    /// A call that no function needs and that only serves attacks on the protection itself or on other processes
    /// (`ptrace`, `process_vm_writev`, `io_uring_setup`, signals at the guard …).
    Dangerous {
        /// Name of the system call.
        call: &'a str,
    },
}

/// An execution, as [`Action::Exec`] carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exec<'a> {
    /// The path as the caller gave it: `/bin/sh`, though that may be a link to dash.
    pub given: &'a [u8],
    /// Resolved absolute path of the file that would run.
    pub resolved: &'a [u8],
    /// Where the file lives.
    pub origin: Origin,
    /// How the file would be loaded.
    pub linkage: Linkage,
    /// Whether it would run as the interpreter that a script names, and `process.allow` lists that script
    /// (`CompiledPolicy::lists_script`). The script was judged before.
    pub by_listed_script: bool,
}

/// Where a file lives, as far as rules care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// On a part of the file system that the function cannot write.
    #[default]
    ReadOnly,
    /// In `/tmp`, `/dev/shm`, `/mnt` or another writable place.
    Writable,
    /// An anonymous memory file (`memfd_create(2)`).
    Memory,
    /// A file whose name is gone.
    Deleted,
}

/// How an executable would be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Linkage {
    /// Dynamically linked ELF of this architecture: the preload library will be in it.
    #[default]
    Dynamic,
    /// ELF without a program interpreter: the preload library cannot be in it.
    Static,
    /// ELF of another architecture or class.
    Foreign,
    /// The dynamic loader itself, run as a command.
    Loader,
    /// A text file with `#!`; its interpreter is judged next, as an [`Exec`] too.
    Script,
    /// None of these, or it could not be read.
    Unknown,
}

/// Where a packet or connection would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination<'a> {
    /// Canonical address: IPv4-mapped IPv6 turned into IPv4, the unspecified address into loopback.
    pub address: IpAddr,
    /// Port in host byte order.
    pub port: u16,
    /// Transport.
    pub transport: Transport,
    /// Indices of the name patterns (see `CompiledPolicy::name_patterns`) that the guarded resolver has tied to this
    /// address. Empty where no name led here.
    pub names: &'a [u16],
    /// True where this is the address of the Runtime API (`AWS_LAMBDA_RUNTIME_API`).
    pub runtime_api: bool,
    /// True where it is the guarded resolver, or another service of Ringfence itself.
    pub own_service: bool,
    /// For the Runtime API: whether the caller already holds an open connection to it.
    pub second_connection: bool,
}

impl Destination<'_> {
    /// Whether this is how getaddrinfo(3) asks which source address leads to a destination (RFC 6724, section 5): a
    /// datagram socket connected to port 0. Whatever entry covers the address covers it, whichever port it names.
    #[must_use]
    pub const fn is_probe(&self) -> bool {
        matches!(self.transport, Transport::Datagram) && self.port == 0
    }

    /// The same question where a connect(2) asks it by another port: Go takes that of name servers (`net/addrselect.go`),
    /// musl the last one (`lookup_name.c`). A plane that would refuse such a connect connects to port 0 in its place: the
    /// answer is the same, and no service has that port. Not for datagrams that carry an address.
    #[must_use]
    pub fn as_probe(&self) -> Option<Self> {
        const OF_GO: u16 = 53;
        const OF_MUSL: u16 = u16::MAX;
        let asks = matches!(self.transport, Transport::Datagram) && matches!(self.port, OF_GO | OF_MUSL);
        asks.then_some(Self { port: 0, ..*self })
    }
}

/// Transport protocol of a [`Destination`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Transport {
    /// A stream: TCP.
    #[default]
    Stream,
    /// Datagrams: UDP.
    Datagram,
}

/// Part of the life of an execution environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Phase {
    /// From the start to the first INVOKE.
    Init,
    /// While an invocation runs. Also assumed if the phase is not known: it is the strictest.
    #[default]
    Invoke,
    /// Between the end of one invocation and the next event.
    Between,
    /// After SHUTDOWN.
    Shutdown,
}

/// Which process acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Role {
    /// The language runtime itself, that is, the process that the platform started through the launcher.
    Runtime,
    /// Any process that it started, at whatever depth.
    #[default]
    Child,
}

/// The place that enforces or observes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Plane {
    /// The guard's seccomp filter and its supervisor.
    Kernel,
    /// The preload library and the language shims.
    Process,
    /// The agent.
    Platform,
}

impl Plane {
    /// The word that records use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Process => "process",
            Self::Platform => "platform",
        }
    }
}

/// The circumstances of an [`Action`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Part of the environment's life.
    pub phase: Phase,
    /// Runtime or child.
    pub role: Role,
    /// The strongest plane that covers this process. Where it is [`Plane::Process`], a binary that the preload
    /// library cannot enter is refused unless the policy names its exact path.
    pub strongest: Plane,
    /// False until the launcher's own chain of wrappers has reached the runtime's executable. Until then process
    /// rules do not apply: a wrapper is configuration, not the function.
    pub launched: bool,
}

/// What is to be done with an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Goes ahead, no record.
    Allow,
    /// Goes ahead and is recorded (mode `observe`, or a rule whose value is `report`).
    Report,
    /// Does not happen and is recorded.
    Deny,
}

/// A [`Decision`] and the rule it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// What to do.
    pub decision: Decision,
    /// The rule that decided. For [`Decision::Allow`] it says which rule was consulted.
    pub rule: Rule,
}

/// Every rule that a verdict can name, by its place in the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rule {
    /// No rule speaks of it.
    None = 0,
    /// `process.allow`: what children may be.
    ProcessAllow = 1,
    /// `process.shells`.
    ProcessShells = 2,
    /// `process.from_writable`.
    ProcessFromWritable = 3,
    /// A binary that the strongest plane could not follow (static, foreign, or the loader as a command).
    ProcessUncovered = 4,
    /// `process.survivors`.
    ProcessSurvivors = 5,
    /// `process.environment`.
    ProcessEnvironment = 6,
    /// `process.syscalls`.
    ProcessSyscalls = 7,
    /// `process.limits`.
    ProcessLimits = 8,
    /// `egress.allow`.
    EgressAllow = 9,
    /// `egress.deny`.
    EgressDeny = 10,
    /// `egress.names`.
    EgressNames = 11,
    /// `egress.listen`.
    EgressListen = 12,
    /// `egress.runtime_api`.
    EgressRuntimeApi = 13,
    /// `tmp.residue`.
    TmpResidue = 14,
    /// `tmp.writes`.
    TmpWrites = 15,
    /// `tmp.max`.
    TmpMax = 16,
    /// `tmp.secrets`.
    TmpSecrets = 17,
    /// `files.deny_read`.
    FilesDenyRead = 18,
    /// `files.deny_write`.
    FilesDenyWrite = 19,
    /// `credentials.expose`.
    CredentialsExpose = 20,
    /// `credentials.reads`.
    CredentialsReads = 21,
    /// `credentials.decoys`.
    CredentialsDecoys = 22,
    /// `integrity.verify`.
    IntegrityVerify = 23,
    /// `anomaly.duration`.
    AnomalyDuration = 24,
    /// `anomaly.memory`.
    AnomalyMemory = 25,
    /// Not of the policy: attacks on the protection itself are always refused.
    SelfProtection = 26,
    /// `code.evaluate`.
    CodeEvaluate = 27,
    /// `code.deserialize`.
    CodeDeserialize = 28,
    /// `code.native`.
    CodeNative = 29,
    /// `code.imports`.
    CodeImports = 30,
    /// `report.format`.
    ReportFormat = 31,
    /// `report.metrics`.
    ReportMetrics = 32,
    /// `report.webhook`.
    ReportWebhook = 33,
    /// `rule.when.process` with a glob: a rule for single executables.
    RuleProcess = 34,
}

impl Rule {
    /// Every rule but [`Rule::None`], in the order of the policy's sections.
    pub const ALL: [Self; 34] = [
        Self::ProcessAllow,
        Self::ProcessShells,
        Self::ProcessFromWritable,
        Self::ProcessUncovered,
        Self::ProcessSurvivors,
        Self::ProcessEnvironment,
        Self::ProcessSyscalls,
        Self::ProcessLimits,
        Self::EgressAllow,
        Self::EgressDeny,
        Self::EgressNames,
        Self::EgressListen,
        Self::EgressRuntimeApi,
        Self::TmpResidue,
        Self::TmpWrites,
        Self::TmpMax,
        Self::TmpSecrets,
        Self::FilesDenyRead,
        Self::FilesDenyWrite,
        Self::CredentialsExpose,
        Self::CredentialsReads,
        Self::CredentialsDecoys,
        Self::CodeEvaluate,
        Self::CodeDeserialize,
        Self::CodeNative,
        Self::CodeImports,
        Self::IntegrityVerify,
        Self::AnomalyDuration,
        Self::AnomalyMemory,
        Self::ReportFormat,
        Self::ReportMetrics,
        Self::ReportWebhook,
        Self::RuleProcess,
        Self::SelfProtection,
    ];

    /// The rule whose number is `number`, as messages between processes carry it.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| *rule as u8 == number)
    }

    /// The name that records and the policy use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ProcessAllow => "process.allow",
            Self::ProcessShells => "process.shells",
            Self::ProcessFromWritable => "process.from_writable",
            Self::ProcessUncovered => "process.uncovered",
            Self::ProcessSurvivors => "process.survivors",
            Self::ProcessEnvironment => "process.environment",
            Self::ProcessSyscalls => "process.syscalls",
            Self::ProcessLimits => "process.limits",
            Self::EgressAllow => "egress.allow",
            Self::EgressDeny => "egress.deny",
            Self::EgressNames => "egress.names",
            Self::EgressListen => "egress.listen",
            Self::EgressRuntimeApi => "egress.runtime_api",
            Self::TmpResidue => "tmp.residue",
            Self::TmpWrites => "tmp.writes",
            Self::TmpMax => "tmp.max",
            Self::TmpSecrets => "tmp.secrets",
            Self::FilesDenyRead => "files.deny_read",
            Self::FilesDenyWrite => "files.deny_write",
            Self::CredentialsExpose => "credentials.expose",
            Self::CredentialsReads => "credentials.reads",
            Self::CredentialsDecoys => "credentials.decoys",
            Self::IntegrityVerify => "integrity.verify",
            Self::AnomalyDuration => "anomaly.duration",
            Self::AnomalyMemory => "anomaly.memory",
            Self::CodeEvaluate => "code.evaluate",
            Self::CodeDeserialize => "code.deserialize",
            Self::CodeNative => "code.native",
            Self::CodeImports => "code.imports",
            Self::ReportFormat => "report.format",
            Self::ReportMetrics => "report.metrics",
            Self::ReportWebhook => "report.webhook",
            Self::RuleProcess => "rule.when.process",
            Self::SelfProtection => "self_protection",
        }
    }
}

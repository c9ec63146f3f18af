//! The messages between guard, agent, preload library and language shims.
//!
//! They travel over two abstract AF_UNIX sockets of the agent: a SOCK_SEQPACKET one for the guard (`Hello`,
//! `Welcome`, then its reports) and a SOCK_DGRAM one for all processes of the function (`Violation`, `Hint`,
//! `RuntimeUp`, `InvocationOver`). What arrives on the second is a claim by code that may be hostile: it is shown as
//! evidence and never changes a verdict.

use core::net::SocketAddr;

use ringfence_policy::{Plane, Rule};

use crate::wire::{self, Message, Writer};

pub use crate::address::{
    ADDRESS_LENGTH, address_of_api, address_of_proxy, decode_address, encode_address, leads_to, octets,
};
pub use crate::coverage::{Coverage, CoverageLine};

/// Start of the abstract name of the guard's socket; the value of `AWS_LAMBDA_RUNTIME_API` follows, so that several
/// environments in one network name space keep apart.
pub const CONTROL_SOCKET: &[u8] = b"ringfence-control-";
/// Start of the abstract name of the report socket; a random part chosen by the agent follows.
pub const REPORT_SOCKET: &[u8] = b"ringfence-report-";
/// How long that random part is.
pub const REPORT_SOCKET_RANDOM: usize = 32;

/// Whether an abstract name is one of the agent's. No process of the function may take it, also when the agent is gone: guards
/// and libraries would speak to the process that has it.
#[must_use]
pub fn is_agents_name(name: &[u8]) -> bool {
    name.starts_with(CONTROL_SOCKET) || name.starts_with(REPORT_SOCKET)
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A verdict other than allow was given. From guard, preload library or shim.
    Violation = 1,
    /// Where in the function's code something is about to happen. From language shims, before the system call.
    Hint = 2,
    /// The preload library is in the runtime's own executable: the wrappers are through. From the preload library.
    RuntimeUp = 3,
    /// The runtime, or a process that it has do so, asks for the next event, so its invocation is over. From the preload
    /// library.
    InvocationOver = 4,
    /// A protection that was announced does not hold. From any sender; `detail` says what.
    Degraded = 5,
    /// A language hook is in the runtime: `name` says of which language, `detail` what it has put in place. From the hook.
    HookUp = 6,
    /// A process that is not the runtime's answers an invocation (a shell's curl): what comes after it belongs to the next
    /// one. From the preload library.
    Answered = 7,
    /// Guard to agent: its processes, and what it covers.
    Hello = 8,
    /// Agent to guard: where to report; carries the state page as SCM_RIGHTS.
    Welcome = 9,
    /// The preload library has seen the runtime's process serve: it listens. From the preload library, in the place of a
    /// request for an event, which a web server behind an adapter never makes.
    AtWork = 10,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Violation,
        Self::Hint,
        Self::RuntimeUp,
        Self::InvocationOver,
        Self::Degraded,
        Self::HookUp,
        Self::Answered,
        Self::AtWork,
        Self::Hello,
        Self::Welcome,
    ];

    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// What was done, by the word that records use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ActionKind {
    /// Execution of a program.
    Exec = 1,
    /// A file mapped executable.
    MapExecutable = 2,
    /// A connection.
    Connect = 3,
    /// A datagram with a destination.
    Send = 4,
    /// A name looked up.
    Resolve = 5,
    /// A local address bound.
    Bind = 6,
    /// A file opened for reading.
    OpenRead = 7,
    /// A file opened for writing.
    OpenWrite = 8,
    /// A credential variable read.
    ReadCredential = 9,
    /// A child started with credentials.
    InheritCredentials = 10,
    /// A dangerous system call.
    Dangerous = 11,
    /// A process outlives its invocation.
    Survive = 12,
    /// A file is left behind.
    Residue = 13,
    /// Text from the event evaluated as code. From language hooks.
    Evaluate = 14,
    /// An object restored from data, by the name of its class. From language hooks.
    Deserialize = 15,
    /// The language left for what lies below it. From language hooks.
    Native = 16,
    /// A module loaded from a writable place. From language hooks.
    Import = 17,
}

impl ActionKind {
    const ALL: [Self; 17] = [
        Self::Exec,
        Self::MapExecutable,
        Self::Connect,
        Self::Send,
        Self::Resolve,
        Self::Bind,
        Self::OpenRead,
        Self::OpenWrite,
        Self::ReadCredential,
        Self::InheritCredentials,
        Self::Dangerous,
        Self::Survive,
        Self::Residue,
        Self::Evaluate,
        Self::Deserialize,
        Self::Native,
        Self::Import,
    ];

    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// The word that records use for `action`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::MapExecutable => "map_executable",
            Self::Connect => "connect",
            Self::Send => "send",
            Self::Resolve => "resolve",
            Self::Bind => "bind",
            Self::OpenRead => "open_read",
            Self::OpenWrite => "open_write",
            Self::ReadCredential => "read_credential",
            Self::InheritCredentials => "inherit_credentials",
            Self::Dangerous => "dangerous_call",
            Self::Survive => "survive",
            Self::Residue => "residue",
            Self::Evaluate => "evaluate",
            Self::Deserialize => "deserialize",
            Self::Native => "native",
            Self::Import => "import",
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Outcome {
    /// It went ahead and was only written down.
    #[default]
    Reported = 1,
    /// It did not happen.
    Blocked = 2,
    /// The process was killed.
    Killed = 3,
    /// What was left behind was removed.
    Wiped = 4,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Reported, Self::Blocked, Self::Killed, Self::Wiped];

    /// The outcome with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| *outcome as u8 == number)
    }

    /// The word that records use for `verdict`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Blocked => "blocked",
            Self::Killed => "killed",
            Self::Wiped => "wiped",
        }
    }
}

/// Field tags. Numbers are part of the protocol with the language shims: add, never change.
pub mod tag {
    #![allow(
        missing_docs,
        reason = "each is the name of a field of `Report`, `Hello` or `Welcome`, documented there"
    )]
    pub const PID: u8 = 1;
    pub const PARENT: u8 = 2;
    pub const THREAD: u8 = 3;
    pub const ACTION: u8 = 4;
    pub const OUTCOME: u8 = 5;
    pub const RULE: u8 = 6;
    pub const PLANE: u8 = 7;
    pub const PATH: u8 = 8;
    pub const ARGUMENT: u8 = 9;
    pub const ADDRESS: u8 = 10;
    pub const NAME: u8 = 11;
    pub const EXE: u8 = 12;
    pub const CODE: u8 = 13;
    pub const FRAME: u8 = 14;
    pub const REQUEST: u8 = 15;
    pub const DETAIL: u8 = 16;
    pub const DROPPED: u8 = 17;
    pub const ERRNO: u8 = 18;
    pub const CHAIN: u8 = 19;
    pub const ANCESTORS: u8 = 20;
    pub const POLICY_HASH: u8 = 32;
    pub const COVERAGE: u8 = 33;
    pub const PROBE: u8 = 34;
    pub const STRONGEST: u8 = 35;
    pub const REPORT_ADDRESS: u8 = 36;
    pub const RESOLVER_PORT: u8 = 37;
    pub const POLICY_SOURCE: u8 = 38;
    pub const NAME_SERVER: u8 = 39;
    pub const REFUSED: u8 = 40;
    pub const NO_PRELOAD: u8 = 41;
    /// In a Hello: the process that tells the guard for whom a signal is; 0 where there is none.
    pub const WITNESS: u8 = 42;
    /// The runtime's client may have connections to its API that it does not use.
    pub const SPARE: u8 = 43;
    /// In a Welcome: the platform's own Runtime API, which a wrapper may have hidden from the guard.
    pub const RUNTIME_API: u8 = 50;
}

/// Most arguments of a command that a message carries.
pub const MAX_ARGUMENTS: usize = 8;
/// Longest argument in bytes; the rest is cut.
pub const MAX_ARGUMENT: usize = 128;
/// Longest path in bytes.
pub const MAX_PATH: usize = 1024;
/// Longest other text in bytes.
pub const MAX_TEXT: usize = 256;
/// Most frames of the function's own code that a message carries.
pub const MAX_FRAMES: usize = 8;
/// Most ancestors of a process that a message names.
pub const MAX_ANCESTORS: usize = 8;

/// A short list of byte strings without allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct List<'a, const N: usize> {
    items: [&'a [u8]; N],
    used: usize,
}

impl<const N: usize> Default for List<'_, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a, const N: usize> List<'a, N> {
    /// An empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self { items: [&[]; N], used: 0 }
    }

    /// Adds an item; one too many is left out.
    pub fn push(&mut self, item: &'a [u8]) {
        if let Some(slot) = self.items.get_mut(self.used) {
            *slot = item;
            self.used += 1;
        }
    }

    /// The items.
    #[must_use]
    pub fn as_slice(&self) -> &[&'a [u8]] {
        self.items.get(..self.used).unwrap_or_default()
    }
}

/// A violation, a hint or one of the small notices: which process did what, and what came of it.
///
/// Every field is optional on the wire; a missing number is 0 and a missing text empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report<'a> {
    /// What the message is.
    pub kind: Kind,
    /// Process that acted, as its own name space numbers it.
    pub pid: u32,
    /// Its parent.
    pub parent: u32,
    /// Its thread.
    pub thread: u32,
    /// What it did.
    pub action: ActionKind,
    /// What came of it.
    pub outcome: Outcome,
    /// The rule that decided.
    pub rule: Rule,
    /// Plane that decided.
    pub plane: Plane,
    /// File, for actions on files.
    pub path: &'a [u8],
    /// Arguments, for exec.
    pub arguments: List<'a, MAX_ARGUMENTS>,
    /// Address, for actions on the network.
    pub address: Option<SocketAddr>,
    /// Host name, variable, or name of the system call.
    pub name: &'a [u8],
    /// Executable of the process that acted.
    pub exe: &'a [u8],
    /// `file:line` in the function's own code.
    pub code: &'a [u8],
    /// Frames from there up to the handler, `file:line function`.
    pub frames: List<'a, MAX_FRAMES>,
    /// Chain of processes from the runtime down, `python3.13 > sh > curl`.
    pub chain: &'a [u8],
    /// Ancestors of the process that acted, its parent first, up to the runtime; 0 where there are no more.
    pub ancestors: [u32; MAX_ANCESTORS],
    /// Anything else that a person should read.
    pub detail: &'a [u8],
    /// Request id, for `InvocationOver` and `Answered`: the last invocation that the process answered; empty before the
    /// first.
    pub request: &'a [u8],
    /// Messages that this sender could not send since its last one.
    pub dropped: u32,
}

impl<'a> Report<'a> {
    /// A report of `kind` with everything else empty.
    #[must_use]
    pub const fn new(kind: Kind, action: ActionKind) -> Self {
        Self {
            kind,
            pid: 0,
            parent: 0,
            thread: 0,
            action,
            outcome: Outcome::Reported,
            rule: Rule::None,
            plane: Plane::Process,
            path: &[],
            arguments: List::new(),
            address: None,
            name: &[],
            exe: &[],
            code: &[],
            frames: List::new(),
            chain: &[],
            ancestors: [0; MAX_ANCESTORS],
            detail: &[],
            request: &[],
            dropped: 0,
        }
    }

    /// Writes the message into `buffer` (of [`wire::MAX_MESSAGE`] bytes) and returns it.
    #[must_use]
    pub fn encode<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let mut out = Writer::new(buffer, self.kind as u8)?;
        out.byte(tag::ACTION, self.action as u8);
        out.byte(tag::OUTCOME, self.outcome as u8);
        out.byte(tag::RULE, self.rule as u8);
        out.byte(tag::PLANE, plane_number(self.plane));
        out.number(tag::PID, self.pid);
        for (tag, value) in
            [(tag::PARENT, self.parent), (tag::THREAD, self.thread), (tag::DROPPED, self.dropped)]
        {
            if value != 0 {
                out.number(tag, value);
            }
        }
        if let Some(address) = self.address {
            out.bytes(tag::ADDRESS, &encode_address(address), ADDRESS_LENGTH);
        }
        self.encode_ancestors(&mut out);
        self.encode_texts(&mut out);
        Some(out.finish())
    }

    fn encode_ancestors(&self, out: &mut Writer<'_>) {
        let mut bytes = [0; MAX_ANCESTORS * 4];
        let known = self.ancestors.iter().take_while(|pid| **pid != 0);
        let mut used = 0;
        for (room, pid) in bytes.chunks_exact_mut(4).zip(known) {
            room.copy_from_slice(&pid.to_le_bytes());
            used += 4;
        }
        if used != 0 {
            out.bytes(tag::ANCESTORS, bytes.get(..used).unwrap_or_default(), bytes.len());
        }
    }

    fn set_ancestors(&mut self, value: &[u8]) {
        let numbers = value.chunks_exact(4).map(|bytes| wire::number(bytes).unwrap_or(0));
        for (slot, pid) in self.ancestors.iter_mut().zip(numbers) {
            *slot = pid;
        }
    }

    /// Whether `pid` is the process that acted, its parent, or another ancestor.
    #[must_use]
    pub fn descends_from(&self, pid: u32) -> bool {
        pid != 0 && (pid == self.pid || pid == self.parent || self.ancestors.contains(&pid))
    }

    fn encode_texts(&self, out: &mut Writer<'_>) {
        let texts = [
            (tag::PATH, self.path, MAX_PATH),
            (tag::NAME, self.name, MAX_TEXT),
            (tag::EXE, self.exe, MAX_TEXT),
            (tag::CODE, self.code, MAX_TEXT),
            (tag::CHAIN, self.chain, MAX_TEXT),
            (tag::DETAIL, self.detail, MAX_TEXT),
            (tag::REQUEST, self.request, MAX_ARGUMENT),
        ];
        for (tag, value, limit) in texts {
            if !value.is_empty() {
                out.bytes(tag, value, limit);
            }
        }
        for argument in self.arguments.as_slice() {
            out.bytes(tag::ARGUMENT, argument, MAX_ARGUMENT);
        }
        for frame in self.frames.as_slice() {
            out.bytes(tag::FRAME, frame, MAX_ARGUMENT);
        }
    }

    /// Reads a message. `None` where it is not one, or of a kind that is not a report.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let message = Message::parse(bytes)?;
        let kind = Kind::from_number(message.kind)?;
        if matches!(kind, Kind::Hello | Kind::Welcome) {
            return None;
        }
        let mut report = Self::new(kind, ActionKind::Dangerous);
        for (tag, value) in message.fields() {
            report.set(tag, value);
        }
        Some(report)
    }

    fn set(&mut self, tag: u8, value: &'a [u8]) {
        let first = value.first().copied().unwrap_or(0);
        match tag {
            tag::PID => self.pid = wire::number(value).unwrap_or(0),
            tag::PARENT => self.parent = wire::number(value).unwrap_or(0),
            tag::THREAD => self.thread = wire::number(value).unwrap_or(0),
            tag::DROPPED => self.dropped = wire::number(value).unwrap_or(0),
            tag::ACTION => self.action = ActionKind::from_number(first).unwrap_or(self.action),
            tag::OUTCOME => self.outcome = Outcome::from_number(first).unwrap_or(self.outcome),
            tag::RULE => self.rule = Rule::from_number(first).unwrap_or(Rule::None),
            tag::PLANE => self.plane = plane_from(first).unwrap_or(self.plane),
            tag::ADDRESS => self.address = decode_address(value),
            tag::PATH => self.path = value,
            tag::NAME => self.name = value,
            tag::EXE => self.exe = value,
            tag::CODE => self.code = value,
            tag::CHAIN => self.chain = value,
            tag::ANCESTORS => self.set_ancestors(value),
            tag::DETAIL => self.detail = value,
            tag::REQUEST => self.request = value,
            tag::ARGUMENT => self.arguments.push(value),
            tag::FRAME => self.frames.push(value),
            _ => {}
        }
    }
}

/// The number of a plane on the wire; 0 is none.
#[must_use]
pub const fn plane_number(plane: Plane) -> u8 {
    match plane {
        Plane::Kernel => 1,
        Plane::Process => 2,
        Plane::Platform => 3,
    }
}

/// The plane with this number.
#[must_use]
pub const fn plane_from(number: u8) -> Option<Plane> {
    match number {
        1 => Some(Plane::Kernel),
        2 => Some(Plane::Process),
        3 => Some(Plane::Platform),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_report_survives_the_wire() {
        let mut report = Report::new(Kind::Violation, ActionKind::Exec);
        report.pid = 17;
        report.outcome = Outcome::Blocked;
        report.rule = Rule::ProcessShells;
        report.plane = Plane::Kernel;
        report.path = b"/bin/sh";
        report.arguments.push(b"sh");
        report.arguments.push(b"-c");
        report.address = Some("203.0.113.9:443".parse().unwrap());
        let mut buffer = [0; wire::MAX_MESSAGE];
        let bytes = report.encode(&mut buffer).unwrap();
        assert_eq!(Report::decode(bytes), Some(report));
    }

    #[test]
    fn numbers_and_kinds_agree() {
        for rule in Rule::ALL {
            assert_eq!(Rule::from_number(rule as u8), Some(rule));
        }
        for action in ActionKind::ALL {
            assert_eq!(ActionKind::from_number(action as u8), Some(action));
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Report::decode(&bytes);
            let _ = CoverageLine::read(&bytes);
            let _ = decode_address(&bytes);
        }
    }
}

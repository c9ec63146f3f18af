//! The compiled policy: flat, position-independent bytes that every process of the function can evaluate.
//!
//! [`CompiledPolicy::new`] checks the bytes once; evaluation then never allocates, never panics and takes no lock, so
//! it may run after vfork(2) and in signal handlers. It must not know the language, nor how a plane reached it. The
//! guard and the preload library call it for every action.

pub(crate) mod layout;
mod lists;
mod prefixes;
mod validate;
mod verdict;

use core::fmt;

use crate::{Phase, Role, glob, vocabulary};
use layout::{header, view};
use lists::{Entries, Names};

/// A policy in its compiled form, borrowed from wherever it is mapped.
#[derive(Debug, Clone, Copy)]
pub struct CompiledPolicy<'a> {
    bytes: &'a [u8],
}

/// Why bytes are no compiled policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompiledError {
    /// They do not begin as a compiled policy does.
    NotAPolicy,
    /// They were written by another version of Ringfence.
    Version {
        /// The version found.
        found: u16,
    },
    /// There are fewer bytes than the header says.
    Truncated,
    /// A field points outside, or holds a value that has no meaning.
    Malformed {
        /// Offset of the field.
        at: usize,
    },
}

impl fmt::Display for CompiledError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPolicy => f.write_str("not a compiled policy"),
            Self::Version { found } => {
                write!(f, "compiled policy of version {found}, expected {}", layout::VERSION)
            }
            Self::Truncated => f.write_str("compiled policy is truncated"),
            Self::Malformed { at } => write!(f, "compiled policy is malformed at byte {at}"),
        }
    }
}

impl core::error::Error for CompiledError {}

/// The base of the children's system-call profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SyscallProfile {
    /// `process.syscalls` is absent: children get what the runtime gets.
    None,
    /// What attacks need and programs do not.
    Baseline,
    /// What converters and other small tools need, and no more.
    Strict,
}

/// `process.limits`, as prlimit(2) takes them; `None` leaves a limit alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Processes at one time.
    pub processes: Option<u64>,
    /// Bytes of address space.
    pub memory: Option<u64>,
    /// Seconds of CPU time.
    pub cpu_seconds: Option<u64>,
    /// Open file descriptors.
    pub open_files: Option<u64>,
    /// Bytes of any one file written.
    pub file_size: Option<u64>,
}

impl<'a> CompiledPolicy<'a> {
    /// Checks `bytes` completely and wraps them. Bytes after the policy's own length (the rest of a page) are ignored.
    ///
    /// # Errors
    /// [`CompiledError`] says what is wrong with the bytes.
    pub fn new(bytes: &'a [u8]) -> Result<Self, CompiledError> {
        validate::validate(bytes).map(|bytes| Self { bytes })
    }

    /// The bytes of the policy, without what followed them.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether the start should fail where a rule cannot be enforced (`on_degraded = "refuse"`).
    #[must_use]
    pub fn refuse_when_degraded(&self) -> bool {
        self.byte(header::ON_DEGRADED) == 1
    }

    /// Indices of the name patterns, of `egress.allow` and `egress.deny` alike, that match `name`. The resolver keeps
    /// them with the addresses that it resolved and hands them over as `Destination::names`.
    pub fn name_patterns<'n>(&self, name: &'n [u8]) -> impl Iterator<Item = u16> + use<'a, 'n> {
        Names::at(self.bytes, self.offset(header::NAMES)).matching(name)
    }

    /// The pattern of `egress.deny` that is `name` itself and denies all of its ports in `phase`.
    #[must_use]
    pub fn closing_pattern(&self, name: &[u8], phase: Phase) -> Option<u16> {
        let names = Names::at(self.bytes, self.offset(header::NAMES));
        let denied = self.view(phase, Role::Runtime).targets(view::EGRESS_DENY);
        let mut whole = denied.filter(|target| target.takes_every_port()).filter_map(lists::Target::name);
        whole.find(|index| names.is(*index, name))
    }

    /// Whether children do not get the variable `name`: `process.environment.strip`, and the role's credentials where
    /// `credentials.expose` hides them. Always false in sections that only observe.
    #[must_use]
    pub fn strip_variable(&self, name: &[u8]) -> bool {
        let hides = self.byte(header::FLAGS) & layout::FLAG_HIDE_CREDENTIALS != 0;
        (hides && vocabulary::is_role_credential(name))
            || self.entries(header::STRIP).any(|entry| glob::matches(entry.bytes, name))
    }

    /// Whether the variable `name` holds a credential or a planted one.
    #[must_use]
    pub fn is_credential(&self, name: &[u8]) -> bool {
        vocabulary::is_role_credential(name) || self.entries(header::DECOYS).any(|entry| entry.bytes == name)
    }

    /// Whether any code may read the credential variable `name` (`credentials.reads_allow_variables`).
    #[must_use]
    pub fn may_be_read(&self, name: &[u8]) -> bool {
        vocabulary::credential_bit(name)
            .is_some_and(|bit| self.byte(header::FLAGS) & (layout::FLAG_MAY_READ << bit) != 0)
    }

    /// Limits that children run under; none where the section only observes.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let at = self.offset(header::LIMITS);
        let limit = |index: usize| {
            (at != 0).then(|| lists::u64_at(self.bytes, at + index * 8)).filter(|value| *value != u64::MAX)
        };
        Limits {
            processes: limit(0),
            memory: limit(1),
            cpu_seconds: limit(2),
            open_files: limit(3),
            file_size: limit(4),
        }
    }

    /// The system-call profile that children run under; none where the section only observes.
    #[must_use]
    pub fn syscall_profile(&self) -> SyscallProfile {
        match self.byte(header::SYSCALLS) {
            0 => SyscallProfile::None,
            1 => SyscallProfile::Baseline,
            _ => SyscallProfile::Strict,
        }
    }

    /// System calls that children are denied beyond their profile, by name.
    pub fn denied_syscalls(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.entries(header::SYSCALLS_DENIED).filter_map(|entry| core::str::from_utf8(entry.bytes).ok())
    }

    /// Whether names are to be checked in the traffic too (`egress.names = "sni"`).
    #[must_use]
    pub fn checks_names_in_traffic(&self) -> bool {
        self.byte(header::FLAGS) & layout::FLAG_SNI != 0
    }

    /// Whether some exec could be refused or reported.
    #[must_use]
    pub fn has_exec_rules(&self) -> bool {
        self.any_view(|view| view.process_rules() || view.byte(view::UNCOVERED_MODE) != 0)
    }

    /// Whether nothing is ever executed from a writable place, in no phase and by no process, and that is enforced.
    #[must_use]
    pub fn never_runs_from_writable(&self) -> bool {
        !self.any_view(View::runs_from_writable)
    }

    /// Whether some executable mapping could be refused or reported.
    #[must_use]
    pub fn has_map_rules(&self) -> bool {
        self.any_view(|view| view.byte(view::PROCESS_MODE) != 0 && view.byte(view::FROM_WRITABLE) != 0)
    }

    /// Whether some connection or datagram could be refused or reported.
    #[must_use]
    pub fn has_egress_rules(&self) -> bool {
        self.any_view(|view| {
            let lists = view.has(view::EGRESS_ALLOW) || view.has(view::EGRESS_DENY);
            view.byte(view::EGRESS_MODE) != 0 && (lists || view.byte(view::RUNTIME_API) != 0)
        })
    }

    /// Whether some connection or datagram could be refused.
    #[must_use]
    pub fn enforces_egress(&self) -> bool {
        self.any_view(View::refuses_destinations)
    }

    /// Whether host names matter: there is an allow list, or a denied name.
    #[must_use]
    pub fn has_name_rules(&self) -> bool {
        self.any_view(|view| {
            view.byte(view::EGRESS_MODE) != 0 && (view.has(view::EGRESS_ALLOW) || view.denies_a_name())
        })
    }

    /// Whether some bind could be refused or reported.
    #[must_use]
    pub fn has_bind_rules(&self) -> bool {
        self.any_view(|view| view.byte(view::EGRESS_MODE) != 0 && view.byte(view::LISTEN) != 0)
    }

    /// Whether some open for reading could be refused or reported in `phase`.
    #[must_use]
    pub fn has_read_rules(&self, phase: Phase) -> bool {
        phase != Phase::Init
            && [Role::Runtime, Role::Child].into_iter().any(|role| {
                let view = self.view(phase, role);
                view.byte(view::FILES_MODE) != 0 && view.has(view::DENY_READ)
            })
    }

    /// Whether some open for writing could be refused or reported.
    #[must_use]
    pub fn has_write_rules(&self) -> bool {
        self.any_view(|view| {
            let files = view.byte(view::FILES_MODE) != 0 && view.has(view::DENY_WRITE);
            files || (view.byte(view::TMP_MODE) != 0 && view.byte(view::TMP_WRITES) != 0)
        })
    }

    /// Whether some read of a credential variable, or its way into a child, could be refused or reported.
    #[must_use]
    pub fn has_credential_rules(&self) -> bool {
        self.any_view(|view| {
            let keys = view.byte(view::READS) | view.byte(view::EXPOSE);
            view.byte(view::CREDENTIALS_MODE) != 0 && keys != 0
        })
    }

    fn byte(&self, at: usize) -> u8 {
        lists::u8_at(self.bytes, at)
    }

    fn offset(&self, field: usize) -> usize {
        usize::from(lists::u16_at(self.bytes, field))
    }

    fn entries(&self, field: usize) -> Entries<'a> {
        Entries::at(self.bytes, self.offset(field))
    }

    fn any_view(&self, test: impl Fn(View<'a>) -> bool) -> bool {
        (0..usize::from(self.byte(header::VIEW_COUNT))).any(|index| test(self.view_number(index)))
    }

    fn view(&self, phase: Phase, role: Role) -> View<'a> {
        self.view_number(usize::from(self.byte(header::VIEW_OF + combination(phase, role))))
    }

    const fn view_number(&self, index: usize) -> View<'a> {
        View { bytes: self.bytes, start: layout::HEADER_SIZE + index * layout::VIEW_SIZE }
    }
}

/// The number of a combination of phase and role, below [`layout::COMBINATIONS`].
pub(crate) const fn combination(phase: Phase, role: Role) -> usize {
    let phase = match phase {
        Phase::Init => 0,
        Phase::Invoke => 1,
        Phase::Between => 2,
        Phase::Shutdown => 3,
    };
    phase * 2 + matches!(role, Role::Child) as usize
}

/// What the policy says in one phase to one role.
#[derive(Clone, Copy)]
struct View<'a> {
    bytes: &'a [u8],
    start: usize,
}

impl<'a> View<'a> {
    fn byte(self, field: usize) -> u8 {
        lists::u8_at(self.bytes, self.start + field)
    }

    fn offset(self, field: usize) -> usize {
        usize::from(lists::u16_at(self.bytes, self.start + field))
    }

    fn has(self, field: usize) -> bool {
        self.offset(field) != 0
    }

    fn entries(self, field: usize) -> Entries<'a> {
        Entries::at(self.bytes, self.offset(field))
    }

    fn targets(self, field: usize) -> lists::Targets<'a> {
        lists::Targets::at(self.bytes, self.offset(field))
    }

    fn process_rules(self) -> bool {
        self.byte(view::PROCESS_MODE) != 0 && self.byte(view::PROCESS_PRESENT) != 0
    }

    fn denies_a_name(self) -> bool {
        self.targets(view::EGRESS_DENY).any(|target| target.name().is_some())
    }
}

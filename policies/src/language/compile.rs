//! From the typed policy to the compiled form.
//!
//! It resolves everything that does not depend on an action: the date, the narrowed rules, the modes, the index of
//! each name. The layout is described in `compiled::layout`; the guard calls this once per start.

use std::net::IpAddr;

use super::endpoint::{Endpoint, Host};
use super::{
    Date, Expose, Listen, Mode, Names, OnDegraded, PathGlob, Policy, Process, Profile, Restriction,
    RuntimeApi, Sections, Writes,
};
use crate::compiled::combination;
use crate::compiled::layout::{
    COMBINATIONS, FLAG_HIDE_CREDENTIALS, FLAG_MAY_READ, FLAG_SNI, HEADER_SIZE, MAGIC, MAX_SIZE, VERSION,
    VIEW_SIZE, header, view,
};
use crate::vocabulary::credential_bit;
use crate::{Phase, Role, glob};

/// Why a policy has no compiled form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// Its lists are too long for the compiled form.
    #[error(
        "the compiled policy needs {size} bytes, and has room for 65535: shorten its lists with wildcards"
    )]
    TooLarge {
        /// Bytes that it would need.
        size: usize,
    },
}

impl Policy {
    /// The compiled form of the policy as it is on `today` (see [`Policy::effective`]).
    ///
    /// # Errors
    /// [`CompileError::TooLarge`] where the lists do not fit.
    pub fn compile(&self, today: Date) -> Result<Vec<u8>, CompileError> {
        let policy = self.effective(today);
        let names = policy.name_patterns();
        let (views, view_of) = policy.views();
        let mut image = Image::new(views.len());
        image.header(&policy, &names);
        for (index, number) in view_of.into_iter().enumerate() {
            image.put(header::VIEW_OF + index, &[number]);
        }
        for (index, sections) in views.iter().enumerate() {
            image.view(HEADER_SIZE + index * VIEW_SIZE, sections, policy.mode, &names);
        }
        image.finish()
    }

    /// The different views that there are, and the number of the view of each combination.
    fn views(&self) -> (Vec<Sections>, [u8; COMBINATIONS]) {
        let mut views: Vec<Sections> = Vec::new();
        let mut view_of = [0; COMBINATIONS];
        for phase in [Phase::Init, Phase::Invoke, Phase::Between, Phase::Shutdown] {
            for role in [Role::Runtime, Role::Child] {
                let sections = self.sections_in(phase, role);
                let index = views.iter().position(|known| *known == sections).unwrap_or_else(|| {
                    views.push(sections);
                    views.len() - 1
                });
                if let Some(slot) = view_of.get_mut(combination(phase, role)) {
                    *slot = u8::try_from(index).unwrap_or(0);
                }
            }
        }
        (views, view_of)
    }

    /// The mode of the rule on programs that the strongest plane cannot follow, where it is strictest.
    pub(super) fn uncovered_mode(&self) -> Mode {
        let (views, _) = self.views();
        let modes = views.iter().map(|sections| strictest_mode(sections, self.mode));
        modes.max_by_key(|mode| mode_number(*mode)).unwrap_or(Mode::Off)
    }

    /// The sections with all narrowed rules that hold in `phase` for `role` laid over them.
    #[must_use]
    pub fn sections_in(&self, phase: Phase, role: Role) -> Sections {
        let mut sections = self.base.clone();
        for rule in self.rules.iter().filter(|rule| rule.when.holds(phase, role)) {
            sections.overlay(&rule.sections);
        }
        sections
    }
}

/// The bytes as they are put together. Equal lists are stored once.
struct Image {
    bytes: Vec<u8>,
    lists: Vec<(Vec<u8>, usize)>,
    /// An offset that did not fit: the policy is too large.
    overflow: bool,
}

impl Image {
    fn new(views: usize) -> Self {
        let mut image =
            Self { bytes: vec![0; HEADER_SIZE + views * VIEW_SIZE], lists: Vec::new(), overflow: false };
        image.put(0, &MAGIC);
        image.put(header::VERSION, &VERSION.to_le_bytes());
        image.put(header::VIEW_COUNT, &[u8::try_from(views).unwrap_or(0)]);
        image
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        for (slot, byte) in self.bytes.iter_mut().skip(at).zip(bytes) {
            *slot = *byte;
        }
    }

    /// Stores `list` and writes its offset at `field`.
    fn put_list(&mut self, field: usize, list: Vec<u8>) {
        let known = self.lists.iter().find(|(known, _)| *known == list).map(|(_, offset)| *offset);
        let offset = known.unwrap_or_else(|| {
            let offset = self.bytes.len();
            self.bytes.extend_from_slice(&list);
            self.lists.push((list, offset));
            offset
        });
        self.overflow |= u16::try_from(offset).is_err();
        self.put(field, &small(offset).to_le_bytes());
    }

    fn finish(mut self) -> Result<Vec<u8>, CompileError> {
        let size = self.bytes.len();
        if self.overflow || size > MAX_SIZE {
            return Err(CompileError::TooLarge { size });
        }
        self.put(header::LENGTH, &small(size).to_le_bytes());
        Ok(self.bytes)
    }

    fn header(&mut self, policy: &Policy, names: &[&Host]) {
        let Sections { process, egress, credentials, .. } = &policy.base;
        let hides = credentials.expose.is_some_and(|expose| expose != Expose::Environment)
            && credentials.mode.unwrap_or(policy.mode) == Mode::Enforce;
        let sni = egress.names == Some(Names::Sni) && egress.mode.unwrap_or(policy.mode) != Mode::Off;
        let flags = u8::from(hides) * FLAG_HIDE_CREDENTIALS + u8::from(sni) * FLAG_SNI;
        let may_be_read = credentials.reads_allow_variables.iter().flatten();
        let flags = may_be_read
            .filter_map(|variable| credential_bit(variable.as_str().as_bytes()))
            .fold(flags, |flags, bit| flags | FLAG_MAY_READ << bit);
        self.put(header::MODE, &[mode_number(policy.mode)]);
        self.put(header::ON_DEGRADED, &[u8::from(policy.on_degraded == OnDegraded::Refuse)]);
        self.put(header::FLAGS, &[flags]);
        self.put_list(header::NAMES, names_list(names));
        if let Some(decoys) = &credentials.decoys {
            self.put_list(header::DECOYS, string_list(decoys.0.iter().map(super::VariableName::as_str)));
        }
        // What observes must not change what children are.
        if process.mode.unwrap_or(policy.mode) == Mode::Enforce {
            self.children(process);
        }
    }

    fn children(&mut self, process: &Process) {
        if let Some(strip) = process.environment.as_ref().and_then(|environment| environment.strip.as_ref()) {
            self.put_list(header::STRIP, glob_list(strip.0.iter().map(super::VariableGlob::as_str)));
        }
        if let Some(syscalls) = &process.syscalls {
            let number = match syscalls.extends {
                Profile::Baseline => 1,
                Profile::Strict => 2,
            };
            self.put(header::SYSCALLS, &[number]);
            self.put_list(
                header::SYSCALLS_DENIED,
                string_list(syscalls.deny.iter().map(super::SyscallName::as_str)),
            );
        }
        if let Some(limits) = &process.limits {
            let count = |count: Option<super::Count>| count.map(|count| u64::from(count.0));
            let size = |size: Option<super::ByteSize>| size.map(|size| size.0);
            let all = [
                count(limits.processes),
                size(limits.memory),
                count(limits.cpu_seconds),
                count(limits.open_files),
                size(limits.file_size),
            ];
            let block = all.iter().flat_map(|limit| limit.unwrap_or(u64::MAX).to_le_bytes()).collect();
            self.put_list(header::LIMITS, block);
        }
    }

    fn view(&mut self, start: usize, sections: &Sections, mode: Mode, names: &[&Host]) {
        let Sections { process, egress, tmp, files, credentials, .. } = sections;
        let mode_of = |own: Option<Mode>| mode_number(own.unwrap_or(mode));
        let numbers = [
            (view::PROCESS_MODE, mode_of(process.mode)),
            (view::EGRESS_MODE, mode_of(egress.mode)),
            (view::TMP_MODE, mode_of(tmp.mode)),
            (view::FILES_MODE, mode_of(files.mode)),
            (view::CREDENTIALS_MODE, mode_of(credentials.mode)),
            (view::UNCOVERED_MODE, mode_number(strictest_mode(sections, mode))),
            (view::SHELLS, restriction_number(process.shells)),
            (view::FROM_WRITABLE, restriction_number(process.from_writable)),
            (view::LISTEN, listen_number(egress.listen)),
            (view::RUNTIME_API, u8::from(egress.runtime_api != Some(RuntimeApi::Any))),
            (view::TMP_WRITES, writes_number(tmp.writes.as_ref())),
            (view::READS, restriction_number(credentials.reads)),
            (view::EXPOSE, u8::from(credentials.expose.is_some_and(|expose| expose != Expose::Environment))),
            (view::PROCESS_PRESENT, u8::from(process_is_present(process))),
        ];
        for (field, number) in numbers {
            self.put(start + field, &[number]);
        }
        self.view_lists(start, sections, names);
    }

    fn view_lists(&mut self, start: usize, sections: &Sections, names: &[&Host]) {
        let Sections { process, egress, tmp, files, .. } = sections;
        let only = match &tmp.writes {
            Some(Writes::Only(globs)) => Some(globs),
            _ => None,
        };
        let globs = [
            (view::PROCESS_ALLOW, process.allow.as_ref()),
            (view::TMP_WRITES_LIST, only),
            (view::DENY_READ, files.deny_read.as_ref().map(|deny| &deny.0)),
            (view::DENY_WRITE, files.deny_write.as_ref().map(|deny| &deny.0)),
        ];
        for (field, globs) in globs {
            if let Some(globs) = globs {
                self.put_list(start + field, glob_list(globs.iter().map(PathGlob::as_str)));
            }
        }
        let targets = [
            (view::EGRESS_ALLOW, egress.allow.as_ref()),
            (view::EGRESS_DENY, egress.deny.as_ref().map(|deny| &deny.0)),
        ];
        for (field, targets) in targets {
            if let Some(targets) = targets {
                self.put_list(start + field, target_list(targets, names));
            }
        }
    }
}

const fn mode_number(mode: Mode) -> u8 {
    match mode {
        Mode::Off => 0,
        Mode::Observe => 1,
        Mode::Enforce => 2,
    }
}

const fn restriction_number(restriction: Option<Restriction>) -> u8 {
    match restriction {
        None | Some(Restriction::Allow) => 0,
        Some(Restriction::Report) => 1,
        Some(Restriction::Deny) => 2,
    }
}

const fn listen_number(listen: Option<Listen>) -> u8 {
    match listen {
        None | Some(Listen::Allow) => 0,
        Some(Listen::Loopback) => 1,
        Some(Listen::Deny) => 2,
    }
}

const fn writes_number(writes: Option<&Writes>) -> u8 {
    match writes {
        None | Some(Writes::Allow) => 0,
        Some(Writes::Deny) => 1,
        Some(Writes::Only(_)) => 2,
    }
}

/// Whether any key but the mode is set.
fn process_is_present(process: &Process) -> bool {
    *process != Process { mode: process.mode, ..Process::default() }
}

/// The strictest mode among the sections that judge anything in this view.
fn strictest_mode(sections: &Sections, mode: Mode) -> Mode {
    let Sections { process, egress, tmp, files, credentials, .. } = sections;
    let egress_judges = egress.runtime_api != Some(RuntimeApi::Any)
        || egress.allow.is_some()
        || egress.deny.is_some()
        || egress.listen.is_some();
    let judging = [
        (process_is_present(process), process.mode),
        (egress_judges, egress.mode),
        (tmp.writes.is_some(), tmp.mode),
        (files.deny_read.is_some() || files.deny_write.is_some(), files.mode),
        (credentials.expose.is_some() || credentials.reads.is_some(), credentials.mode),
    ];
    let modes = judging.into_iter().filter(|(judges, _)| *judges).map(|(_, own)| own.unwrap_or(mode));
    modes.max_by_key(|mode| mode_number(*mode)).unwrap_or(Mode::Off)
}

/// `value` as the compiled form holds lengths; what does not fit makes the whole too large and is refused in the end.
fn small(value: usize) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

/// A list of entries with a tag each.
fn tagged_list<'e>(entries: impl Iterator<Item = (usize, usize, &'e str)>) -> Vec<u8> {
    let mut list = vec![0, 0];
    let mut count = 0;
    for (first, second, text) in entries {
        count += 1;
        list.extend(small(first).to_le_bytes());
        list.extend(small(second).to_le_bytes());
        list.extend(text.as_bytes());
    }
    let count = small(count).to_le_bytes();
    list.iter_mut().zip(count).for_each(|(slot, byte)| *slot = byte);
    list
}

fn glob_list<'e>(globs: impl Iterator<Item = &'e str>) -> Vec<u8> {
    tagged_list(globs.map(|glob| (glob.len(), glob::literal_prefix(glob.as_bytes()), glob)))
}

fn string_list<'e>(strings: impl Iterator<Item = &'e str>) -> Vec<u8> {
    tagged_list(strings.map(|string| (string.len(), 0, string)))
}

fn names_list(names: &[&Host]) -> Vec<u8> {
    tagged_list(names.iter().filter_map(|host| match host {
        Host::Name(name) => Some((name.len(), 0, name.as_str())),
        Host::Below(suffix) => Some((suffix.len(), 1, suffix.as_str())),
        Host::Any | Host::Network(_) => None,
    }))
}

fn target_list(endpoints: &[Endpoint], names: &[&Host]) -> Vec<u8> {
    let mut list = small(endpoints.len()).to_le_bytes().to_vec();
    for endpoint in endpoints {
        let index = names.iter().position(|name| **name == endpoint.host).unwrap_or(0);
        let (kind, prefix, address) = match &endpoint.host {
            Host::Any => (0, 0, [0; 16]),
            Host::Network(network) => network_fields(network.address, network.prefix),
            Host::Name(_) | Host::Below(_) => (3, 0, [0; 16]),
        };
        list.extend([kind, prefix]);
        list.extend(endpoint.ports.low.to_le_bytes());
        list.extend(endpoint.ports.high.to_le_bytes());
        list.extend(small(index).to_le_bytes());
        list.extend(address);
    }
    list
}

fn network_fields(address: IpAddr, prefix: u8) -> (u8, u8, [u8; 16]) {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            (1, prefix, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        }
        IpAddr::V6(address) => (2, prefix, address.octets()),
    }
}

//! What one policy permits that another does not: the exact difference, action by action.
//!
//! The patterns of both policies divide programs, files, hosts and ports into parts ([`super::regions`]); both policies are
//! asked about an example of each part, for each process and phase. It must not know how a difference is shown.

use std::net::IpAddr;

use super::regions::{Part, of_addresses, of_names, of_paths, of_ports};
use super::{
    CredentialVariable, Endpoint, Host, Language, Mode, Network, PackageName, PathGlob, Policy, Process,
    Profile, Sections, SyscallName, Syscalls, VariableGlob, Writes,
};
use crate::vocabulary::{SHELLS, WRITABLE_PLACES, is_in_writable_place, is_shell};
use crate::{
    Action, Context, Decision, Destination, Exec, Linkage, Origin, Phase, Plane, Role, Rule, Transport,
    Verdict,
};

/// Stands for the address of a host that is known by its name (RFC 5737: documentation).
const SOME_ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1));
const PHASES: [Phase; 4] = [Phase::Init, Phase::Invoke, Phase::Between, Phase::Shutdown];
const ROLES: [Role; 2] = [Role::Runtime, Role::Child];

/// What a change of policy does to an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It was denied, and no longer is.
    Permitted,
    /// It was not denied, and now is.
    Denied,
    /// It went ahead, and is now recorded.
    Reported,
    /// It was recorded, and now goes ahead in silence.
    Unreported,
}

impl Effect {
    pub(super) const fn of(before: Decision, after: Decision) -> Option<Self> {
        match (before, after) {
            (Decision::Deny, Decision::Allow | Decision::Report) => Some(Self::Permitted),
            (Decision::Allow | Decision::Report, Decision::Deny) => Some(Self::Denied),
            (Decision::Allow, Decision::Report) => Some(Self::Reported),
            (Decision::Report, Decision::Allow) => Some(Self::Unreported),
            _ => None,
        }
    }
}

/// A part of the language whose lists can be compared by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// `process.allow`.
    Programs,
    /// `[files]`, `tmp.writes` and `tmp.keep`.
    Files,
    /// `egress.allow` and `egress.deny`.
    Hosts,
}

/// Actions that the two policies treat differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What becomes of them.
    pub effect: Effect,
    /// The word for the action: `exec`, `connect`.
    pub action: &'static str,
    /// Which ones: a pattern, or words. A pattern speaks for what no more exact pattern of its list covers.
    pub what: String,
    /// One of them, if `what` is a pattern.
    pub example: Option<String>,
    /// For which processes, in which phases.
    pub who: Vec<(Role, Phase)>,
    /// The rule that denied or reported it before, or does now.
    pub rule: Rule,
}

/// The difference of two policies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// What is different, in the order of the language.
    pub changes: Vec<Change>,
    /// Lists that have too many patterns to be divided, by the action that they speak of.
    pub unknown: Vec<&'static str>,
}

impl Policy {
    /// What `newer` does differently. Dates are not looked at: call [`Policy::effective`] first.
    #[must_use]
    pub fn difference(&self, newer: &Self) -> Difference {
        let mut compared = Comparison { old: self, new: newer, found: Difference::default() };
        compared.programs();
        compared.mappings();
        compared.files();
        compared.hosts();
        compared.listeners();
        compared.credentials();
        compared.afterwards();
        compared.children();
        compared.hooks();
        compared.found
    }

    /// Whether `other` treats nothing of `area` differently. If that cannot be told, it is `false`.
    #[must_use]
    pub fn is_same_in(&self, area: Area, other: &Self) -> bool {
        let mut compared = Comparison { old: self, new: other, found: Difference::default() };
        match area {
            Area::Programs => compared.programs(),
            Area::Files => compared.files(),
            Area::Hosts => compared.hosts(),
        }
        compared.found == Difference::default()
    }

    fn all_sections(&self) -> impl Iterator<Item = &Sections> {
        std::iter::once(&self.base).chain(self.rules.iter().map(|rule| &rule.sections))
    }
}

struct Comparison<'p> {
    old: &'p Policy,
    new: &'p Policy,
    found: Difference,
}

/// What a change is about.
struct Subject {
    action: &'static str,
    what: String,
    example: Option<String>,
}

impl Subject {
    fn plain(action: &'static str, what: &str) -> Self {
        Self { action, what: what.to_owned(), example: None }
    }
}

impl<'p> Comparison<'p> {
    /// What all sections of both policies have, each once.
    fn both<T: PartialEq + 'p>(&self, list: impl Fn(&'p Sections) -> Vec<&'p T>) -> Vec<&'p T> {
        let mut all: Vec<&T> = Vec::new();
        for sections in self.old.all_sections().chain(self.new.all_sections()) {
            for entry in list(sections) {
                if !all.contains(&entry) {
                    all.push(entry);
                }
            }
        }
        all
    }

    /// Notes that the two policies differ, if they do.
    fn note(&mut self, subject: &Subject, who: (Role, Phase), before: Verdict, after: Verdict) {
        let Some(effect) = Effect::of(before.decision, after.decision) else { return };
        let rule = match effect {
            Effect::Permitted | Effect::Unreported => before.rule,
            Effect::Denied | Effect::Reported => after.rule,
        };
        let known = self.found.changes.iter_mut().find(|change| {
            change.effect == effect
                && change.action == subject.action
                && change.what == subject.what
                && change.rule == rule
        });
        if let Some(change) = known {
            if !change.who.contains(&who) {
                change.who.push(who);
            }
            return;
        }
        self.found.changes.push(Change {
            effect,
            action: subject.action,
            what: subject.what.clone(),
            example: subject.example.clone(),
            who: vec![who],
            rule,
        });
    }

    /// Asks both policies for every process and phase.
    fn ask(&mut self, subject: &Subject, judge: impl Fn(&Policy, &Context) -> Verdict) {
        for phase in PHASES {
            for role in ROLES {
                let context = Context { phase, role, strongest: Plane::Process, launched: true };
                let (before, after) = (judge(self.old, &context), judge(self.new, &context));
                self.note(subject, (role, phase), before, after);
            }
        }
    }

    fn programs(&mut self) {
        let listed = self.both(|sections| sections.process.allow.iter().flatten().collect());
        // Kinds of programs that no rule tells apart need no parts of their own.
        let speak =
            |says: fn(&Sections) -> bool| self.old.all_sections().chain(self.new.all_sections()).any(says);
        let shells = if speak(|sections| sections.process.shells.is_some()) { &SHELLS[..] } else { &[] };
        let places = if speak(|sections| sections.process.from_writable.is_some()) {
            &WRITABLE_PLACES[..]
        } else {
            &[]
        };
        let kinds: Vec<PathGlob> = shells
            .iter()
            .map(|shell| format!("/**/{shell}"))
            .chain(places.iter().map(|place| format!("{}*/**", String::from_utf8_lossy(place))))
            .filter_map(|glob| PathGlob::new(&glob))
            .collect();
        let globs: Vec<&PathGlob> = listed.iter().copied().chain(&kinds).collect();
        let Some(parts) = of_paths(&globs) else { return self.found.unknown.push("exec") };
        for part in parts {
            let path = part.example.as_bytes();
            let origin = if is_in_writable_place(path) { Origin::Writable } else { Origin::ReadOnly };
            let mut kind = String::new();
            if !shells.is_empty() && is_shell(path) {
                kind.push_str(", shells");
            }
            if !places.is_empty() && origin == Origin::Writable {
                kind.push_str(", where the function can write");
            }
            let named = label(&listed, &part, "any other program");
            for (linkage, what) in [
                (Linkage::Dynamic, format!("{named}{kind}")),
                (Linkage::Static, format!("{named}{kind}, linked statically")),
            ] {
                let subject = Subject { action: "exec", what, example: Some(part.example.clone()) };
                self.ask(&subject, |policy, context| {
                    let (given, resolved) = (path, path);
                    let exec = Exec { given, resolved, origin, linkage, by_listed_script: false };
                    policy.verdict(&Action::Exec(exec), context)
                });
            }
        }
        self.same_for_static();
    }

    /// A static program that is treated as any other of its kind needs no words of its own.
    fn same_for_static(&mut self) {
        let changes = std::mem::take(&mut self.found.changes);
        let dynamic: Vec<Change> =
            changes.iter().filter(|change| !change.what.ends_with(", linked statically")).cloned().collect();
        let is_new = |change: &Change| {
            change.what.strip_suffix(", linked statically").is_none_or(|what| {
                !dynamic.iter().any(|other| {
                    other.what == what && other.effect == change.effect && other.who == change.who
                })
            })
        };
        self.found.changes = changes.into_iter().filter(is_new).collect();
    }

    fn mappings(&mut self) {
        let subject = Subject::plain("map-executable", "files that the function can write");
        self.ask(&subject, |policy, context| {
            policy.verdict(&Action::MapExecutable { path: b"/tmp/x", origin: Origin::Writable }, context)
        });
    }

    fn files(&mut self) {
        let read = self.both(|sections| sections.files.deny_read.iter().flat_map(|deny| &deny.0).collect());
        self.paths("open-read", &read, |policy, context, path| {
            policy.verdict(&Action::OpenRead { path }, context)
        });
        let written = self.both(|sections| {
            let denied = sections.files.deny_write.iter().flat_map(|deny| &deny.0);
            let listed = sections.tmp.writes.iter().flat_map(|writes| match writes {
                Writes::Only(globs) => globs.as_slice(),
                Writes::Allow | Writes::Deny => &[],
            });
            denied.chain(listed).collect()
        });
        let Some(tmp) = PathGlob::new(BELOW_TMP) else { return };
        let globs: Vec<&PathGlob> = written.iter().copied().chain([&tmp]).collect();
        self.paths("open-write", &globs, |policy, context, path| {
            policy.verdict(&Action::OpenWrite { path }, context)
        });
        let kept = self.both(|sections| sections.tmp.keep.iter().flatten().collect());
        let globs: Vec<&PathGlob> = kept.iter().copied().chain([&tmp]).collect();
        self.paths("residue", &globs, |policy, _, path| {
            let path = String::from_utf8_lossy(path);
            let left = path.starts_with("/tmp/") && !policy.keeps(&path);
            left.then(|| policy.opinion_on(Rule::TmpResidue)).flatten().unwrap_or(NOTHING)
        });
    }

    fn paths(
        &mut self,
        action: &'static str,
        globs: &[&PathGlob],
        judge: impl Fn(&Policy, &Context, &[u8]) -> Verdict,
    ) {
        let Some(parts) = of_paths(globs) else { return self.found.unknown.push(action) };
        for part in parts {
            let what = label(globs, &part, "any other file");
            let subject = Subject { action, what, example: Some(part.example.clone()) };
            self.ask(&subject, |policy, context| judge(policy, context, part.example.as_bytes()));
        }
    }

    fn hosts(&mut self) {
        let endpoints = self.both(|sections| {
            let denied = sections.egress.deny.iter().flat_map(|deny| &deny.0);
            sections.egress.allow.iter().flatten().chain(denied).collect()
        });
        let ports = of_ports(endpoints.iter().copied());
        let hosts: Vec<&Host> = endpoints.iter().map(|endpoint| &endpoint.host).collect();
        for part in of_names(&hosts) {
            let what = host_label(&hosts, &part, "any other name");
            let subject =
                Subject { action: "resolve", what: what.clone(), example: Some(part.example.clone()) };
            self.ask(&subject, |policy, context| {
                policy.verdict(&Action::Resolve { name: part.example.as_bytes() }, context)
            });
            for (low, high) in &ports {
                let ports = interval(*low, *high);
                let example = Some(format!("{}:{low}", part.example));
                let subject = Subject { action: "connect", what: format!("{what}{ports}"), example };
                self.ask(&subject, |policy, context| by_name(policy, *context, &part.example, *low));
            }
        }
        let networks: Vec<Network> = hosts
            .iter()
            .filter_map(|host| match host {
                Host::Network(network) => Some(*network),
                _ => None,
            })
            .collect();
        let ends: Vec<&Host> =
            hosts.iter().copied().filter(|host| matches!(host, Host::Network(_))).collect();
        for part in of_addresses(&networks) {
            let other =
                if part.example.is_ipv4() { "any other IPv4 address" } else { "any other IPv6 address" };
            let what = host_label(&ends, &part, other);
            for (low, high) in &ports {
                let example = Some(std::net::SocketAddr::new(part.example, *low).to_string());
                let what = format!("{what}{}", interval(*low, *high));
                let subject = Subject { action: "connect", what, example };
                self.ask(&subject, |policy, context| {
                    policy.verdict(&Action::Connect(destination(part.example, *low, &[])), context)
                });
            }
        }
        self.join_ports();
        let subject =
            Subject::plain("connect", "the Runtime API, over another connection than the runtime's");
        self.ask(&subject, |policy, context| {
            let api = Destination {
                runtime_api: true,
                second_connection: true,
                ..destination(LOOPBACK, 9001, &[])
            };
            policy.verdict(&Action::Connect(api), context)
        });
    }

    /// Intervals of ports that follow each other and are treated alike become one.
    fn join_ports(&mut self) {
        let mut joined: Vec<Change> = Vec::new();
        for change in std::mem::take(&mut self.found.changes) {
            let parsed = |change: &Change| -> Option<(String, u16, u16)> {
                let (host, ports) =
                    change.what.rsplit_once(" port ").or_else(|| change.what.rsplit_once(" ports "))?;
                let (low, high) = ports.split_once('-').unwrap_or((ports, ports));
                Some((host.to_owned(), low.parse().ok()?, high.parse().ok()?))
            };
            let Some((host, low, high)) = parsed(&change) else {
                joined.push(change);
                continue;
            };
            let before = joined.iter_mut().find_map(|known| {
                let (own, first, last) = parsed(known)?;
                let follows = own == host
                    && last.checked_add(1) == Some(low)
                    && known.effect == change.effect
                    && known.action == change.action
                    && known.who == change.who;
                follows.then_some((known, first))
            });
            match before {
                Some((known, first)) => known.what = format!("{host}{}", interval(first, high)),
                None => joined.push(change),
            }
        }
        for change in &mut joined {
            let all = format!(" ports 1-{}", u16::MAX);
            if let Some(host) = change.what.strip_suffix(&all) {
                change.what = format!("{host}, every port");
            }
        }
        self.found.changes = joined;
    }

    fn listeners(&mut self) {
        for (address, what) in [
            ("127.0.0.1", "addresses of the loopback interface"),
            ("192.0.2.1", "addresses of other interfaces"),
        ] {
            let Ok(address) = address.parse() else { continue };
            self.ask(&Subject::plain("bind", what), |policy, context| {
                policy.verdict(&Action::Bind { address, port: 8080 }, context)
            });
        }
    }

    fn credentials(&mut self) {
        let packages =
            self.both(|sections| sections.credentials.reads_allow_packages.iter().flatten().collect());
        let packages = packages.iter().map(|package: &&PackageName| Some(package.as_str())).chain([None]);
        let variables = [
            CredentialVariable::AccessKeyId,
            CredentialVariable::SecretAccessKey,
            CredentialVariable::SessionToken,
            CredentialVariable::ContainerToken,
        ];
        for package in packages {
            for variable in variables {
                let variable = variable.as_str();
                let by = package
                    .map_or_else(|| "by any other code".to_owned(), |name| format!("by the package {name}"));
                let subject = Subject::plain("read-credential", &format!("{variable} {by}"));
                self.ask(&subject, |policy, context| {
                    let by_sdk = policy.exempts_read(variable, package);
                    let variable = variable.as_bytes();
                    policy.verdict(&Action::ReadCredential { variable, by_sdk }, context)
                });
            }
        }
        let subject = Subject::plain("inherit-credentials", "by children");
        self.ask(&subject, |policy, context| {
            policy.verdict(&Action::InheritCredentials { variable: b"AWS_SECRET_ACCESS_KEY" }, context)
        });
    }

    /// What agent and hooks judge.
    fn afterwards(&mut self) {
        for (rule, action, what) in [
            (Rule::ProcessSurvivors, "survive", "processes that outlive their invocation"),
            (Rule::CodeEvaluate, "evaluate", "text of the event as code"),
            (Rule::CodeDeserialize, "deserialize", "objects that run code"),
            (Rule::CodeNative, "native", "native code during an invocation"),
            (Rule::CodeImports, "import", "modules from where the function can write"),
        ] {
            self.ask(&Subject::plain(action, what), |policy, _| policy.opinion_on(rule).unwrap_or(NOTHING));
        }
        self.ask(&Subject::plain("dangerous-call", "calls that serve attacks alone"), |policy, context| {
            policy.verdict(&Action::Dangerous { call: "ptrace" }, context)
        });
    }

    /// What is taken from children: it acts where its section enforces.
    fn children(&mut self) {
        let (old, new) = (enforced(self.old), enforced(self.new));
        let strip = |process: Option<&'p Process>| -> Vec<&'p VariableGlob> {
            let environment = process.and_then(|process| process.environment.as_ref());
            environment
                .and_then(|environment| environment.strip.as_ref())
                .map_or_else(Vec::new, |deny| deny.0.iter().collect())
        };
        let (before, after) = (strip(old), strip(new));
        let globs: Vec<PathGlob> = before
            .iter()
            .chain(&after)
            .filter_map(|glob| PathGlob::new(&format!("/{}", glob.as_str())))
            .collect();
        match of_paths(&globs.iter().collect::<Vec<_>>()) {
            None => self.found.unknown.push("inherit"),
            Some(parts) => {
                for part in parts {
                    let strips =
                        |from: usize, to: usize| part.matched.iter().any(|index| (from..to).contains(index));
                    let listed: Vec<&PathGlob> = globs.iter().collect();
                    let named = label(&listed, &part, "/any other variable");
                    let what = named.strip_prefix('/').unwrap_or(&named).to_owned();
                    let example = part.example.strip_prefix('/').map(str::to_owned);
                    let subject = Subject { action: "inherit", what, example };
                    let middle = before.len();
                    let pair = (strips(0, middle), strips(middle, globs.len()));
                    self.note_children(&subject, Rule::ProcessEnvironment, pair);
                }
            }
        }
        self.system_calls(old, new);
        let limits = |process: Option<&'p Process>| {
            let limits = process.and_then(|process| process.limits.as_ref());
            [
                ("processes", limits.and_then(|limits| limits.processes).map(|count| u64::from(count.0))),
                ("memory", limits.and_then(|limits| limits.memory).map(|size| size.0)),
                ("cpu_seconds", limits.and_then(|limits| limits.cpu_seconds).map(|count| u64::from(count.0))),
                ("open_files", limits.and_then(|limits| limits.open_files).map(|count| u64::from(count.0))),
                ("file_size", limits.and_then(|limits| limits.file_size).map(|size| size.0)),
            ]
        };
        for ((name, before), (_, after)) in limits(old).into_iter().zip(limits(new)) {
            let most = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
            let shown =
                |limit: Option<u64>| limit.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string());
            let what = format!("more than {} {name}", shown(before.min(after).or(before).or(after)));
            let subject = Subject { action: "use", what, example: None };
            self.note_children(
                &subject,
                Rule::ProcessLimits,
                (most(before) < most(after), most(after) < most(before)),
            );
        }
    }

    fn system_calls(&mut self, old: Option<&'p Process>, new: Option<&'p Process>) {
        let says = |process: Option<&'p Process>| process.and_then(|process| process.syscalls.as_ref());
        let (old, new) = (says(old), says(new));
        for (profile, what) in [
            (Profile::Baseline, "calls that the profile baseline denies"),
            (Profile::Strict, "calls that the profile strict denies"),
        ] {
            // The profile strict has all that baseline has.
            let denies = |says: Option<&Syscalls>| {
                says.is_some_and(|says| says.extends == profile || says.extends == Profile::Strict)
            };
            let subject = Subject::plain("system-call", what);
            self.note_children(&subject, Rule::ProcessSyscalls, (denies(old), denies(new)));
        }
        let mut names: Vec<&str> =
            [old, new].into_iter().flatten().flat_map(|says| &says.deny).map(SyscallName::as_str).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let denies = |says: Option<&Syscalls>| {
                says.is_some_and(|says| says.deny.iter().any(|deny| deny.as_str() == name))
            };
            self.note_children(
                &Subject::plain("system-call", name),
                Rule::ProcessSyscalls,
                (denies(old), denies(new)),
            );
        }
    }

    /// Notes what is denied to children before and after.
    fn note_children(&mut self, subject: &Subject, rule: Rule, (before, after): (bool, bool)) {
        let verdict = |denied| if denied { Verdict { decision: Decision::Deny, rule } } else { NOTHING };
        for phase in PHASES {
            self.note(subject, (Role::Child, phase), verdict(before), verdict(after));
        }
    }

    /// A hook that is not loaded judges nothing.
    fn hooks(&mut self) {
        for (language, name) in
            [(Language::Python, "Python"), (Language::Node, "Node"), (Language::Java, "Java")]
        {
            let decision = |policy: &Policy| {
                let decision = if policy.loads_hook(language) { Decision::Deny } else { Decision::Allow };
                Verdict { decision, rule: Rule::None }
            };
            let (before, after) = (decision(self.old), decision(self.new));
            let subject = Subject::plain("hooks", &format!("what the hook for {name} would judge"));
            for phase in PHASES {
                self.note(&subject, (Role::Runtime, phase), before, after);
            }
        }
    }
}

/// The section `[process]`, where it enforces.
fn enforced(policy: &Policy) -> Option<&Process> {
    let mode = policy.base.process.mode.unwrap_or(policy.mode);
    (mode == Mode::Enforce).then_some(&policy.base.process)
}

/// All that lies in /tmp, but for the folder itself.
const BELOW_TMP: &str = "/tmp/*/**";
/// What no rule speaks of.
const NOTHING: Verdict = Verdict { decision: Decision::Allow, rule: Rule::None };
const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

const fn destination(address: IpAddr, port: u16, names: &[u16]) -> Destination<'_> {
    Destination {
        address,
        port,
        transport: Transport::Stream,
        names,
        runtime_api: false,
        own_service: false,
        second_connection: false,
    }
}

/// A connection by name is a look-up and a connection: the stricter says.
fn by_name(policy: &Policy, context: Context, name: &str, port: u16) -> Verdict {
    let looked_up = policy.verdict(&Action::Resolve { name: name.as_bytes() }, &context);
    let names = policy.patterns_of(name);
    let connected = policy.verdict(&Action::Connect(destination(SOME_ADDRESS, port, &names)), &context);
    let strictness = |verdict: &Verdict| match verdict.decision {
        Decision::Allow => 0,
        Decision::Report => 1,
        Decision::Deny => 2,
    };
    if strictness(&connected) > strictness(&looked_up) { connected } else { looked_up }
}

/// The most exact glob that covers a part.
fn label(listed: &[&PathGlob], part: &Part<String>, other: &str) -> String {
    let globs = part.matched.iter().filter_map(|index| listed.get(*index)).map(|glob| glob.as_str());
    let exactness = |glob: &str| glob.bytes().filter(|byte| !b"*?[]!\\".contains(byte)).count();
    match globs.max_by_key(|glob| exactness(glob)).unwrap_or(other) {
        BELOW_TMP => "any other file in /tmp".to_owned(),
        glob => glob.to_owned(),
    }
}

/// The most exact entry that covers a part, without its port.
fn host_label<T>(hosts: &[&Host], part: &Part<T>, other: &str) -> String {
    let exactness = |host: &Host| match host {
        Host::Any => 0,
        Host::Network(network) => 1 + usize::from(network.prefix),
        Host::Below(suffix) => 1 + suffix.len(),
        Host::Name(_) => usize::MAX,
    };
    let matched = part.matched.iter().filter_map(|index| hosts.get(*index));
    let best = matched.filter(|host| !matches!(host, Host::Any)).max_by_key(|host| exactness(host));
    best.map_or_else(
        || other.to_owned(),
        |host| Endpoint { host: (**host).clone(), ports: super::Ports::ALL }.to_string(),
    )
}

fn interval(low: u16, high: u16) -> String {
    if low == high { format!(" port {low}") } else { format!(" ports {low}-{high}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        Policy::parse("policy.toml", text).unwrap_or_else(|findings| panic!("{findings}")).policy
    }

    fn shown(old: &str, new: &str) -> Vec<String> {
        let difference = policy(old).difference(&policy(new));
        assert!(difference.unknown.is_empty());
        let line = |change: &Change| {
            let Change { effect, action, what, who, rule, .. } = change;
            format!("{effect:?} {action} {what} ({}, {} of 8)", rule.as_str(), who.len())
        };
        difference.changes.iter().map(line).collect()
    }

    #[test]
    fn a_policy_is_no_different_from_itself() {
        for text in ["", "extends = \"web-api\"\negress.allow = [\"a.example:443\"]\n"] {
            assert!(shown(text, text).is_empty());
        }
        // Two ways to say the same.
        assert!(shown("process.allow = [\"/a/*\", \"/a/b*\"]", "process.allow = [\"/a/*\"]").is_empty());
        assert!(
            shown("egress.allow = [\"10.0.0.0/8\"]", "egress.allow = [\"10.0.0.0/9\", \"10.128.0.0/9\"]")
                .is_empty()
        );
        assert!(
            shown(
                "egress.allow = [\"a.example:1-9\"]",
                "egress.allow = [\"a.example:1-4\", \"a.example:5-9\"]"
            )
            .is_empty()
        );
    }

    #[test]
    fn what_is_permitted_and_denied_is_told_apart() {
        insta::assert_snapshot!(
            shown(
                "[process]\nallow = [\"/usr/bin/convert\"]\n[egress]\nallow = [\"*.example.com:443\"]\n",
                "[process]\nallow = [\"/usr/bin/*\"]\nshells = \"deny\"\n[egress]\nallow = [\"api.example.com\", \"10.0.0.0/8:5432\"]\n[tmp]\nresidue = \"wipe\"\nkeep = [\"/tmp/cache/**\"]\n"
            )
            .join("\n"),
            @"
        Denied exec /usr/bin/convert, linked statically (process.uncovered, 4 of 8)
        Permitted exec /usr/bin/* (process.allow, 4 of 8)
        Denied residue any other file in /tmp (tmp.residue, 8 of 8)
        Denied resolve *.example.com (egress.names, 8 of 8)
        Denied connect *.example.com port 443 (egress.names, 8 of 8)
        Permitted connect api.example.com ports 1-442 (egress.allow, 8 of 8)
        Permitted connect api.example.com ports 444-65535 (egress.allow, 8 of 8)
        Permitted connect 10.0.0.0/8 port 5432 (egress.allow, 8 of 8)
        "
        );
    }

    #[test]
    fn a_narrowed_rule_is_told_for_its_phase() {
        let narrowed = "egress.allow = [\"a.example\"]\n[[rule]]\nwhen = { phase = \"init\", process = \"runtime\" }\negress.allow = []\n";
        let lines = shown("egress.allow = [\"a.example\"]", narrowed);
        assert_eq!(
            lines,
            [
                "Denied resolve a.example (egress.names, 1 of 8)",
                "Denied connect a.example, every port (egress.names, 1 of 8)"
            ]
        );
    }

    #[test]
    fn what_is_taken_from_children_is_compared() {
        insta::assert_snapshot!(
            shown(
                "[process]\nlimits = { processes = 10, memory = \"1MiB\" }\nsyscalls = \"strict\"\nenvironment = { strip = [\"AWS_*\"] }\n",
                "[process]\nlimits = { processes = 20, file_size = \"1KiB\" }\nsyscalls = { extends = \"baseline\", deny = [\"chmod\"] }\nenvironment = { strip = [\"AWS_SECRET*\"] }\n[hooks]\nnode = false\n"
            )
            .join("\n"),
            @"
        Permitted inherit AWS_* (process.environment, 4 of 8)
        Permitted system-call calls that the profile strict denies (process.syscalls, 4 of 8)
        Denied system-call chmod (process.syscalls, 4 of 8)
        Permitted use more than 10 processes (process.limits, 4 of 8)
        Permitted use more than 1048576 memory (process.limits, 4 of 8)
        Denied use more than 1024 file_size (process.limits, 4 of 8)
        Permitted hooks what the hook for Node would judge (none, 4 of 8)
        "
        );
    }
}

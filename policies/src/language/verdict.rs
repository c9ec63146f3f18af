//! What the typed policy says about an action: the meaning of the language.
//!
//! Each key is looked up in the last narrowed rule that sets it, else in the policy; each rule that speaks of the
//! action gives its opinion; the strictest wins, and among equals the first. The compiled form evaluates the same
//! meaning on its own, and a property test holds the two together.

use std::net::IpAddr;

use super::endpoint::Host;
use super::{Expose, Listen, Mode, Policy, Residue, Restriction, RuntimeApi, Sections, Survivors, Writes};
use crate::embedded::embedded;
use crate::vocabulary::{is_below, is_localhost, is_shell, is_trusted_name};
use crate::{
    Action, Context, Decision, Destination, Exec, Linkage, Origin, Phase, Plane, Role, Rule, Verdict,
};

/// What one rule says, before the mode of its section softens it.
#[derive(Debug, Clone, Copy)]
struct Opinion {
    mode: Mode,
    says: Restriction,
    rule: Rule,
}

impl Opinion {
    fn verdict(self) -> Option<Verdict> {
        let decision = match (self.mode, self.says) {
            (Mode::Off, _) => return None,
            (_, Restriction::Allow) => Decision::Allow,
            (_, Restriction::Report) | (Mode::Observe, Restriction::Deny) => Decision::Report,
            (Mode::Enforce, Restriction::Deny) => Decision::Deny,
        };
        Some(Verdict { decision, rule: self.rule })
    }
}

impl Policy {
    /// What is to be done with `action` in `context`, and the rule that says so. `enforce_after` is not looked at:
    /// ask [`Policy::effective`] first.
    #[must_use]
    pub fn verdict(&self, action: &Action<'_>, context: &Context) -> Verdict {
        let opinions = View { policy: self, context }.opinions(action);
        let spoken = || opinions.iter().filter_map(|opinion| opinion.verdict());
        let with = |decision| spoken().find(|verdict| verdict.decision == decision);
        with(Decision::Deny)
            .or_else(|| with(Decision::Report))
            .or_else(|| with(Decision::Allow))
            .unwrap_or(Verdict { decision: Decision::Allow, rule: Rule::None })
    }

    /// What each rule says that speaks of `action` in `context`, the mode of its section applied. The strictest is the
    /// verdict, and among equals the first.
    #[must_use]
    pub fn opinions(&self, action: &Action<'_>, context: &Context) -> Vec<Verdict> {
        View { policy: self, context }.opinions(action).into_iter().filter_map(Opinion::verdict).collect()
    }

    /// What is done about the deeds that agent and hooks judge, and for which there is no [`Action`]: what outlives an
    /// invocation, and `[code]`. `None` where the policy does not speak of `rule`, or it is no such rule.
    #[must_use]
    pub fn opinion_on(&self, rule: Rule) -> Option<Verdict> {
        let Sections { process, tmp, code, .. } = &self.base;
        let (mode, says) = match rule {
            Rule::ProcessSurvivors => (process.mode, process.survivors.map(survivors)),
            Rule::TmpResidue => (tmp.mode, tmp.residue.map(residue)),
            Rule::CodeEvaluate => (code.mode, code.evaluate),
            Rule::CodeDeserialize => (code.mode, code.deserialize),
            Rule::CodeNative => (code.mode, code.native),
            Rule::CodeImports => (code.mode, code.imports),
            _ => return None,
        };
        Opinion { mode: mode.unwrap_or(self.mode), says: says?, rule }.verdict()
    }

    /// Whether `credentials.reads` leaves this read alone: of a variable that any code may read, or by a package that may.
    #[must_use]
    pub fn exempts_read(&self, variable: &str, package: Option<&str>) -> bool {
        let credentials = &self.base.credentials;
        let variables = credentials.reads_allow_variables.iter().flatten();
        let packages = credentials.reads_allow_packages.iter().flatten();
        variables.into_iter().any(|allowed| allowed.as_str() == variable)
            || package.is_some_and(|package| packages.into_iter().any(|allowed| allowed.as_str() == package))
    }

    /// Whether `tmp.keep` lets this file stay.
    #[must_use]
    pub fn keeps(&self, path: &str) -> bool {
        self.base.tmp.keep.iter().flatten().any(|glob| glob.matches(path.as_bytes()))
    }

    /// The indices of the patterns that match `name`, as [`Destination::names`] holds them.
    #[must_use]
    pub fn patterns_of(&self, name: &str) -> Vec<u16> {
        let patterns = self.name_patterns();
        let matching = patterns.iter().enumerate().filter(|(_, host)| host.matches_name(name));
        matching.filter_map(|(index, _)| u16::try_from(index).ok()).collect()
    }

    /// Whether `exec` is a script that `process.allow` lists, in a place that the function cannot write. Its interpreter
    /// is part of it then: judge that with [`Exec::by_listed_script`].
    #[must_use]
    pub fn lists_script(&self, exec: &Exec<'_>, context: &Context) -> bool {
        exec.linkage == Linkage::Script
            && exec.origin == Origin::ReadOnly
            && View { policy: self, context }.names_program(exec)
    }

    /// Name patterns of `egress.allow` and `egress.deny`, of the policy and then of each narrowed rule, each once.
    /// Their order gives the indices that [`Destination::names`] holds.
    #[must_use]
    pub fn name_patterns(&self) -> Vec<&Host> {
        let all = std::iter::once(&self.base).chain(self.rules.iter().map(|rule| &rule.sections));
        let mut hosts: Vec<&Host> = Vec::new();
        for egress in all.map(|sections| &sections.egress) {
            let denied = egress.deny.iter().flat_map(|deny| &deny.0);
            for endpoint in egress.allow.iter().flatten().chain(denied) {
                if endpoint.host.is_name() && !hosts.contains(&&endpoint.host) {
                    hosts.push(&endpoint.host);
                }
            }
        }
        hosts
    }
}

/// The policy as one context sees it.
struct View<'p> {
    policy: &'p Policy,
    context: &'p Context,
}

impl<'p> View<'p> {
    /// The value of a key: the last narrowed rule that holds and sets it, else the policy's own.
    fn get<T>(&self, key: impl Fn(&'p Sections) -> Option<&'p T>) -> Option<&'p T> {
        let holds =
            self.policy.rules.iter().filter(|rule| rule.when.holds(self.context.phase, self.context.role));
        holds.rev().find_map(|rule| key(&rule.sections)).or_else(|| key(&self.policy.base))
    }

    fn mode(&self, key: impl Fn(&'p Sections) -> Option<&'p Mode>) -> Mode {
        self.get(key).copied().unwrap_or(self.policy.mode)
    }

    fn process(&self, says: Restriction, rule: Rule) -> Opinion {
        Opinion { mode: self.mode(|sections| sections.process.mode.as_ref()), says, rule }
    }

    fn egress(&self, says: Restriction, rule: Rule) -> Opinion {
        Opinion { mode: self.mode(|sections| sections.egress.mode.as_ref()), says, rule }
    }

    fn files(&self, says: Restriction, rule: Rule) -> Opinion {
        Opinion { mode: self.mode(|sections| sections.files.mode.as_ref()), says, rule }
    }

    fn opinions(&self, action: &Action<'_>) -> Vec<Opinion> {
        match action {
            Action::Exec(exec) => self.exec(exec),
            Action::MapExecutable { origin, .. } => self.writable_origin(*origin).into_iter().collect(),
            Action::Connect(destination) => self.connect(destination).into_iter().collect(),
            Action::Resolve { name } => self.resolve(name).into_iter().collect(),
            Action::Bind { address, port } => self.bind(*address, *port).into_iter().collect(),
            Action::OpenRead { path } => self.open_read(path).into_iter().collect(),
            Action::OpenWrite { path } => self.open_write(path),
            Action::ReadCredential { by_sdk, .. } => self.read_credential(*by_sdk).into_iter().collect(),
            Action::InheritCredentials { .. } => self.inherit_credentials().into_iter().collect(),
            Action::Dangerous { .. } => {
                vec![Opinion { mode: self.policy.mode, says: Restriction::Deny, rule: Rule::SelfProtection }]
            }
        }
    }

    fn exec(&self, exec: &Exec<'_>) -> Vec<Opinion> {
        if !self.context.launched {
            return Vec::new();
        }
        let all =
            [self.writable_origin(exec.origin), self.shell(exec), self.uncovered(exec), self.allowed(exec)];
        all.into_iter().flatten().collect()
    }

    fn writable_origin(&self, origin: Origin) -> Option<Opinion> {
        let says = *self.get(|sections| sections.process.from_writable.as_ref())?;
        (origin != Origin::ReadOnly && says != Restriction::Allow)
            .then(|| self.process(says, Rule::ProcessFromWritable))
    }

    fn shell(&self, exec: &Exec<'_>) -> Option<Opinion> {
        let says = *self.get(|sections| sections.process.shells.as_ref())?;
        let shell = !exec.by_listed_script && (is_shell(exec.given) || is_shell(exec.resolved));
        (shell && says != Restriction::Allow).then(|| self.process(says, Rule::ProcessShells))
    }

    /// A program that the strongest plane could not follow would be outside every rule, so it is judged by the
    /// strictest mode in the policy. Naming its exact path says that this is known.
    fn uncovered(&self, exec: &Exec<'_>) -> Option<Opinion> {
        let followed = match exec.linkage {
            Linkage::Dynamic | Linkage::Script => true,
            Linkage::Loader => false,
            Linkage::Static | Linkage::Foreign | Linkage::Unknown => self.context.strongest != Plane::Process,
        };
        let allow = self.get(|sections| sections.process.allow.as_ref()).map_or(&[][..], Vec::as_slice);
        let named = |path: &[u8]| allow.iter().any(|glob| glob.is_exactly(path));
        let by_name = has_trusted_name(exec) && named(exec.given);
        (!followed && !named(exec.resolved) && !by_name).then(|| Opinion {
            mode: self.strictest_mode(),
            says: Restriction::Deny,
            rule: Rule::ProcessUncovered,
        })
    }

    /// The strictest mode among the sections that say anything here. Egress always does: it protects the Runtime API.
    fn strictest_mode(&self) -> Mode {
        let modes = [
            self.process_speaks().then(|| self.mode(|sections| sections.process.mode.as_ref())),
            self.egress_speaks().then(|| self.mode(|sections| sections.egress.mode.as_ref())),
            self.tmp_speaks().then(|| self.mode(|sections| sections.tmp.mode.as_ref())),
            self.files_speak().then(|| self.mode(|sections| sections.files.mode.as_ref())),
            self.credentials_speak().then(|| self.mode(|sections| sections.credentials.mode.as_ref())),
        ];
        let any = |mode| modes.contains(&Some(mode));
        if any(Mode::Enforce) {
            Mode::Enforce
        } else if any(Mode::Observe) {
            Mode::Observe
        } else {
            Mode::Off
        }
    }

    fn process_speaks(&self) -> bool {
        self.get(|sections| sections.process.allow.as_ref()).is_some()
            || self.get(|sections| sections.process.shells.as_ref()).is_some()
            || self.get(|sections| sections.process.from_writable.as_ref()).is_some()
            || self.policy.base.process.survivors.is_some()
            || self.policy.base.process.environment.is_some()
            || self.policy.base.process.syscalls.is_some()
            || self.policy.base.process.limits.is_some()
    }

    fn egress_speaks(&self) -> bool {
        self.runtime_api() == RuntimeApi::Runtime
            || self.get(|sections| sections.egress.allow.as_ref()).is_some()
            || self.get(|sections| sections.egress.deny.as_ref()).is_some()
            || self.get(|sections| sections.egress.listen.as_ref()).is_some()
    }

    fn tmp_speaks(&self) -> bool {
        self.get(|sections| sections.tmp.writes.as_ref()).is_some()
    }

    fn files_speak(&self) -> bool {
        self.get(|sections| sections.files.deny_read.as_ref()).is_some()
            || self.get(|sections| sections.files.deny_write.as_ref()).is_some()
    }

    fn credentials_speak(&self) -> bool {
        self.get(|sections| sections.credentials.expose.as_ref()).is_some()
            || self.get(|sections| sections.credentials.reads.as_ref()).is_some()
    }

    /// The runtime that replaces itself after launch is an attack, whatever it becomes; children may be what the
    /// list says, by resolved path or by a name that the function cannot have forged.
    fn allowed(&self, exec: &Exec<'_>) -> Option<Opinion> {
        if self.context.role == Role::Runtime {
            return self.process_speaks().then(|| self.process(Restriction::Deny, Rule::ProcessAllow));
        }
        self.get(|sections| sections.process.allow.as_ref())?;
        Some(self.process(allow_if(exec.by_listed_script || self.names_program(exec)), Rule::ProcessAllow))
    }

    /// Whether there is a list of programs and it has this one.
    fn names_program(&self, exec: &Exec<'_>) -> bool {
        let allow = self.get(|sections| sections.process.allow.as_ref()).map_or(&[][..], Vec::as_slice);
        let listed = |path: &[u8]| allow.iter().any(|glob| glob.matches(path));
        listed(exec.resolved) || (has_trusted_name(exec) && listed(exec.given))
    }

    fn runtime_api(&self) -> RuntimeApi {
        self.get(|sections| sections.egress.runtime_api.as_ref()).copied().unwrap_or(RuntimeApi::Runtime)
    }

    fn connect(&self, to: &Destination<'_>) -> Option<Opinion> {
        if to.own_service {
            return None;
        }
        let patterns = self.policy.name_patterns();
        let leads_here = |host: &Host| {
            let index = patterns.iter().position(|pattern| *pattern == host);
            index.is_some_and(|index| to.names.iter().any(|name| usize::from(*name) == index))
        };
        let address = to.address.to_canonical();
        let covers = |endpoint: &super::Endpoint| endpoint.covers(address, to.port, leads_here);
        let deny = self.get(|sections| sections.egress.deny.as_ref());
        // A translator would lead to the IPv4 address that is written into this one.
        let leads_to = |endpoint: &super::Endpoint| {
            embedded(address).any(|v4| endpoint.covers(v4.into(), to.port, |_| false))
        };
        let denied = deny.is_some_and(|deny| deny.0.iter().any(|entry| covers(entry) || leads_to(entry)));
        if to.runtime_api {
            return self.connect_to_runtime_api(to, denied);
        }
        if denied {
            return Some(self.egress(Restriction::Deny, Rule::EgressDeny));
        }
        if address.is_loopback() || address.is_unspecified() {
            return None;
        }
        let allow = self.get(|sections| sections.egress.allow.as_ref())?;
        let probed =
            |endpoint: &super::Endpoint| to.is_probe() && endpoint.covers_address(address, leads_here);
        let found = allow.iter().any(|endpoint| covers(endpoint) || probed(endpoint));
        Some(self.egress(allow_if(found), Rule::EgressAllow))
    }

    /// No list closes the runtime's own way to its API: a policy that did would only break the function.
    fn connect_to_runtime_api(&self, to: &Destination<'_>, denied: bool) -> Option<Opinion> {
        let guarded = self.runtime_api() == RuntimeApi::Runtime;
        let intrudes = match self.context.role {
            Role::Child => true,
            Role::Runtime => {
                to.second_connection && !matches!(self.context.phase, Phase::Init | Phase::Shutdown)
            }
        };
        if guarded {
            return Some(self.egress(allow_if(!intrudes), Rule::EgressRuntimeApi));
        }
        (denied && self.context.role == Role::Child).then(|| self.egress(Restriction::Deny, Rule::EgressDeny))
    }

    fn resolve(&self, name: &[u8]) -> Option<Opinion> {
        // Patterns are ASCII, so what replaces bytes that are no text changes no match.
        let text = String::from_utf8_lossy(name);
        let matches = |host: &Host| host.is_name() && host.matches_name(&text);
        let deny = self.get(|sections| sections.egress.deny.as_ref());
        let denied =
            |endpoint: &super::Endpoint| endpoint.ports == super::Ports::ALL && matches(&endpoint.host);
        if deny.is_some_and(|deny| deny.0.iter().any(denied)) {
            return Some(self.egress(Restriction::Deny, Rule::EgressDeny));
        }
        if is_localhost(name.strip_suffix(b".").unwrap_or(name)) {
            return None;
        }
        let allow = self.get(|sections| sections.egress.allow.as_ref())?;
        let found = allow.iter().any(|endpoint| endpoint.host == Host::Any || matches(&endpoint.host));
        Some(self.egress(allow_if(found), Rule::EgressNames))
    }

    /// Port 0 of the unspecified address is what clients bind (UDP before a query, TCP before a connect): nobody can
    /// be told of such a listener in advance, so it is no listener.
    fn bind(&self, address: IpAddr, port: u16) -> Option<Opinion> {
        let address = address.to_canonical();
        let is_client = address.is_unspecified() && port == 0;
        let allowed = match self.get(|sections| sections.egress.listen.as_ref())? {
            Listen::Allow => return None,
            Listen::Loopback => is_client || address.is_loopback(),
            Listen::Deny => is_client,
        };
        Some(self.egress(allow_if(allowed), Rule::EgressListen))
    }

    fn open_read(&self, path: &[u8]) -> Option<Opinion> {
        let deny = self.get(|sections| sections.files.deny_read.as_ref())?;
        (self.context.phase != Phase::Init && deny.0.iter().any(|glob| glob.matches(path)))
            .then(|| self.files(Restriction::Deny, Rule::FilesDenyRead))
    }

    fn open_write(&self, path: &[u8]) -> Vec<Opinion> {
        let deny = self.get(|sections| sections.files.deny_write.as_ref());
        let denied = deny.is_some_and(|deny| deny.0.iter().any(|glob| glob.matches(path)));
        let files = denied.then(|| self.files(Restriction::Deny, Rule::FilesDenyWrite));
        files.into_iter().chain(self.write_in_tmp(path)).collect()
    }

    fn write_in_tmp(&self, path: &[u8]) -> Option<Opinion> {
        let writes = self.get(|sections| sections.tmp.writes.as_ref())?;
        let allowed = match writes {
            Writes::Allow => return None,
            Writes::Deny => false,
            Writes::Only(globs) => globs.iter().any(|glob| glob.matches(path)),
        };
        let mode = self.mode(|sections| sections.tmp.mode.as_ref());
        is_below(path, b"/tmp").then(|| Opinion { mode, says: allow_if(allowed), rule: Rule::TmpWrites })
    }

    fn read_credential(&self, by_sdk: bool) -> Option<Opinion> {
        let says = *self.get(|sections| sections.credentials.reads.as_ref())?;
        let mode = self.mode(|sections| sections.credentials.mode.as_ref());
        (!by_sdk && says != Restriction::Allow).then_some(Opinion {
            mode,
            says,
            rule: Rule::CredentialsReads,
        })
    }

    fn inherit_credentials(&self) -> Option<Opinion> {
        let expose = *self.get(|sections| sections.credentials.expose.as_ref())?;
        let mode = self.mode(|sections| sections.credentials.mode.as_ref());
        (expose != Expose::Environment).then_some(Opinion {
            mode,
            says: Restriction::Deny,
            rule: Rule::CredentialsExpose,
        })
    }
}

const fn survivors(key: Survivors) -> Restriction {
    match key {
        Survivors::Allow => Restriction::Allow,
        Survivors::Report => Restriction::Report,
        Survivors::Kill => Restriction::Deny,
    }
}

const fn residue(key: Residue) -> Restriction {
    match key {
        Residue::Allow => Restriction::Allow,
        Residue::Report => Restriction::Report,
        Residue::Wipe => Restriction::Deny,
    }
}

const fn allow_if(allowed: bool) -> Restriction {
    if allowed { Restriction::Allow } else { Restriction::Deny }
}

fn has_trusted_name(exec: &Exec<'_>) -> bool {
    exec.origin == Origin::ReadOnly && is_trusted_name(exec.given)
}

//! What the compiled policy says about an action.
//!
//! Every rule that speaks of the action is asked, and the strictest answer wins; among equals the first. It knows
//! neither the language nor the plane that asks. [`CompiledPolicy::verdict`] is the entry.

use core::net::IpAddr;

use super::layout::{header, view};
use super::lists::{self, Names};
use super::{CompiledPolicy, View};
use crate::embedded::embedded;
use crate::vocabulary::{is_below, is_shell, is_trusted_name};
use crate::{
    Action, Context, Decision, Destination, Exec, Linkage, Origin, Phase, Plane, Role, Rule, Verdict,
};

const OBSERVE: u8 = 1;
const ENFORCE: u8 = 2;
const REPORT: u8 = 1;
const DENY: u8 = 2;
const NOTHING: Verdict = Verdict { decision: Decision::Allow, rule: Rule::None };

impl CompiledPolicy<'_> {
    /// What is to be done with `action` in `context`, and the rule that says so.
    #[must_use]
    pub fn verdict(&self, action: &Action<'_>, context: &Context) -> Verdict {
        let view = self.view(context.phase, context.role);
        match action {
            Action::Exec(_) if !context.launched => NOTHING,
            Action::Exec(exec) => view.exec(exec, *context),
            Action::MapExecutable { origin, .. } => {
                view.in_mode(view::PROCESS_MODE, view.writable_origin(*origin)).unwrap_or(NOTHING)
            }
            Action::Connect(destination) => {
                view.in_mode(view::EGRESS_MODE, view.connect(destination, *context)).unwrap_or(NOTHING)
            }
            Action::Resolve { name } => {
                let names = Names::at(self.bytes, self.offset(header::NAMES));
                view.in_mode(view::EGRESS_MODE, view.resolve(&names, name)).unwrap_or(NOTHING)
            }
            Action::Bind { address, port } => {
                view.in_mode(view::EGRESS_MODE, view.bind(*address, *port)).unwrap_or(NOTHING)
            }
            Action::OpenRead { path } => {
                view.in_mode(view::FILES_MODE, view.open_read(path, context.phase)).unwrap_or(NOTHING)
            }
            Action::OpenWrite { path } => view.open_write(path),
            Action::ReadCredential { by_sdk, .. } => {
                view.in_mode(view::CREDENTIALS_MODE, view.read_credential(*by_sdk)).unwrap_or(NOTHING)
            }
            Action::InheritCredentials { .. } => {
                view.in_mode(view::CREDENTIALS_MODE, view.inherit_credentials()).unwrap_or(NOTHING)
            }
            Action::Dangerous { .. } => {
                apply_mode(self.byte(header::MODE), Some((DENY, Rule::SelfProtection))).unwrap_or(NOTHING)
            }
        }
    }
}

impl CompiledPolicy<'_> {
    /// Whether `exec` is a script that `process.allow` lists, in a place that the function cannot write. Its interpreter
    /// is part of it then: judge that with [`Exec::by_listed_script`].
    #[must_use]
    pub fn lists_script(&self, exec: &Exec<'_>, context: &Context) -> bool {
        let view = self.view(context.phase, context.role);
        exec.linkage == Linkage::Script
            && exec.origin == Origin::ReadOnly
            && view.has(view::PROCESS_ALLOW)
            && view.names_program(exec)
    }
}

/// What one rule says before its section's mode is applied: a restriction (0 allow, 1 report, 2 deny) and the rule.
type Saying = Option<(u8, Rule)>;

/// Softens what a rule says by the mode of its section: off silences it, observe turns a denial into a report.
fn apply_mode(mode: u8, saying: Saying) -> Option<Verdict> {
    let (restriction, rule) = saying?;
    let decision = match (mode, restriction) {
        (ENFORCE, DENY) => Decision::Deny,
        (OBSERVE, DENY) | (OBSERVE | ENFORCE, REPORT) => Decision::Report,
        (OBSERVE | ENFORCE, _) => Decision::Allow,
        _ => return None,
    };
    Some(Verdict { decision, rule })
}

/// The stricter of two verdicts; the first where they are equal, unless no rule spoke there.
fn stricter(first: Verdict, second: Verdict) -> Verdict {
    if rank(second) > rank(first) { second } else { first }
}

fn rank(verdict: Verdict) -> u8 {
    match verdict.decision {
        Decision::Allow => u8::from(verdict.rule != Rule::None),
        Decision::Report => 2,
        Decision::Deny => 3,
    }
}

impl View<'_> {
    fn in_mode(self, field: usize, saying: Saying) -> Option<Verdict> {
        apply_mode(self.byte(field), saying)
    }

    fn exec(self, exec: &Exec<'_>, context: Context) -> Verdict {
        let uncovered = apply_mode(self.byte(view::UNCOVERED_MODE), self.uncovered(exec, context));
        [
            self.in_mode(view::PROCESS_MODE, self.writable_origin(exec.origin)),
            self.in_mode(view::PROCESS_MODE, self.shell(exec)),
            uncovered,
            self.in_mode(view::PROCESS_MODE, self.allowed(exec, context.role)),
        ]
        .into_iter()
        .flatten()
        .fold(NOTHING, stricter)
    }

    fn writable_origin(self, origin: Origin) -> Saying {
        let restriction = self.byte(view::FROM_WRITABLE);
        (origin != Origin::ReadOnly && restriction != 0).then_some((restriction, Rule::ProcessFromWritable))
    }

    /// Whether a program in a writable place may run, as far as this rule goes.
    pub(super) fn runs_from_writable(self) -> bool {
        (self.byte(view::PROCESS_MODE), self.byte(view::FROM_WRITABLE)) != (ENFORCE, DENY)
    }

    /// Whether some destination is refused.
    pub(super) fn refuses_destinations(self) -> bool {
        let speaks =
            self.has(view::EGRESS_ALLOW) || self.has(view::EGRESS_DENY) || self.byte(view::RUNTIME_API) != 0;
        self.byte(view::EGRESS_MODE) == ENFORCE && speaks
    }

    fn shell(self, exec: &Exec<'_>) -> Saying {
        let restriction = self.byte(view::SHELLS);
        let is_shell = !exec.by_listed_script && (is_shell(exec.given) || is_shell(exec.resolved));
        (restriction != 0 && is_shell).then_some((restriction, Rule::ProcessShells))
    }

    fn uncovered(self, exec: &Exec<'_>, context: Context) -> Saying {
        let escapes = match exec.linkage {
            Linkage::Loader => true,
            Linkage::Static | Linkage::Foreign | Linkage::Unknown => context.strongest == Plane::Process,
            Linkage::Dynamic | Linkage::Script => false,
        };
        let named = |path: &[u8]| self.entries(view::PROCESS_ALLOW).any(|entry| entry.names_exactly(path));
        (escapes && !named(exec.resolved) && !(by_trusted_name(exec) && named(exec.given)))
            .then_some((DENY, Rule::ProcessUncovered))
    }

    fn allowed(self, exec: &Exec<'_>, role: Role) -> Saying {
        if role == Role::Runtime {
            return (self.byte(view::PROCESS_PRESENT) != 0).then_some((DENY, Rule::ProcessAllow));
        }
        if !self.has(view::PROCESS_ALLOW) {
            return None;
        }
        let found = exec.by_listed_script || self.names_program(exec);
        Some((if found { 0 } else { DENY }, Rule::ProcessAllow))
    }

    /// Whether the list has the program, by its resolved path or by a name that the function cannot have forged.
    fn names_program(self, exec: &Exec<'_>) -> bool {
        self.lists(view::PROCESS_ALLOW, exec.resolved)
            || (by_trusted_name(exec) && self.lists(view::PROCESS_ALLOW, exec.given))
    }

    fn connect(self, to: &Destination<'_>, context: Context) -> Saying {
        if to.own_service {
            return None;
        }
        let address = to.address.to_canonical();
        let denied = self.targets(view::EGRESS_DENY).any(|target| {
            target.covers(address, to.port, to.names)
                || embedded(address).any(|within| target.covers(within.into(), to.port, &[]))
        });
        if to.runtime_api {
            return self.connect_to_runtime_api(to, context, denied);
        }
        if denied {
            return Some((DENY, Rule::EgressDeny));
        }
        if address.is_loopback() || address.is_unspecified() || !self.has(view::EGRESS_ALLOW) {
            return None;
        }
        let found = self.targets(view::EGRESS_ALLOW).any(|target| {
            target.covers(address, to.port, to.names)
                || (to.is_probe() && target.covers_address(address, to.names))
        });
        Some((if found { 0 } else { DENY }, Rule::EgressAllow))
    }

    /// The runtime's own way to its API is never closed by a list; others may be kept off it.
    fn connect_to_runtime_api(self, to: &Destination<'_>, context: Context, denied: bool) -> Saying {
        let guarded = self.byte(view::RUNTIME_API) != 0;
        match context.role {
            Role::Child if guarded => Some((DENY, Rule::EgressRuntimeApi)),
            Role::Child if denied => Some((DENY, Rule::EgressDeny)),
            Role::Runtime if guarded && to.second_connection && serves(context.phase) => {
                Some((DENY, Rule::EgressRuntimeApi))
            }
            _ if guarded => Some((0, Rule::EgressRuntimeApi)),
            _ => None,
        }
    }

    fn resolve(self, names: &Names<'_>, name: &[u8]) -> Saying {
        let matched = |index: Option<u16>| index.is_some_and(|index| names.matches(index, name));
        // A denied port of a host leaves its name resolvable for the others.
        if self.targets(view::EGRESS_DENY).any(|target| target.takes_every_port() && matched(target.name())) {
            return Some((DENY, Rule::EgressDeny));
        }
        if lists::is_localhost(name) || !self.has(view::EGRESS_ALLOW) {
            return None;
        }
        let found =
            self.targets(view::EGRESS_ALLOW).any(|target| target.kind() == 0 || matched(target.name()));
        Some((if found { 0 } else { DENY }, Rule::EgressNames))
    }

    fn bind(self, address: IpAddr, port: u16) -> Saying {
        let address = address.to_canonical();
        let by_kernel = address.is_unspecified() && port == 0;
        match self.byte(view::LISTEN) {
            0 => None,
            1 if by_kernel || address.is_loopback() => Some((0, Rule::EgressListen)),
            _ if by_kernel => Some((0, Rule::EgressListen)),
            _ => Some((DENY, Rule::EgressListen)),
        }
    }

    fn open_read(self, path: &[u8], phase: Phase) -> Saying {
        if phase == Phase::Init || !self.has(view::DENY_READ) {
            return None;
        }
        self.lists(view::DENY_READ, path).then_some((DENY, Rule::FilesDenyRead))
    }

    fn open_write(self, path: &[u8]) -> Verdict {
        let denied = (self.has(view::DENY_WRITE) && self.lists(view::DENY_WRITE, path))
            .then_some((DENY, Rule::FilesDenyWrite));
        let files = self.in_mode(view::FILES_MODE, denied).unwrap_or(NOTHING);
        stricter(files, self.in_mode(view::TMP_MODE, self.write_in_tmp(path)).unwrap_or(NOTHING))
    }

    fn write_in_tmp(self, path: &[u8]) -> Saying {
        let kind = self.byte(view::TMP_WRITES);
        if kind == 0 || !is_below(path, b"/tmp") {
            return None;
        }
        let allowed = kind == 2 && self.lists(view::TMP_WRITES_LIST, path);
        Some((if allowed { 0 } else { DENY }, Rule::TmpWrites))
    }

    fn read_credential(self, by_sdk: bool) -> Saying {
        let restriction = self.byte(view::READS);
        (!by_sdk && restriction != 0).then_some((restriction, Rule::CredentialsReads))
    }

    fn inherit_credentials(self) -> Saying {
        (self.byte(view::EXPOSE) != 0).then_some((DENY, Rule::CredentialsExpose))
    }

    /// Whether the list of globs at `field` matches `path`.
    fn lists(self, field: usize, path: &[u8]) -> bool {
        self.entries(field).any(|entry| entry.matches(path))
    }
}

/// Whether an invocation may be running. The agent hears of one a little later than the runtime, so the time between
/// two invocations counts.
const fn serves(phase: Phase) -> bool {
    matches!(phase, Phase::Invoke | Phase::Between)
}

/// Whether the path that the caller gave may stand for the file (`/usr/bin/convert` for what it links to).
fn by_trusted_name(exec: &Exec<'_>) -> bool {
    exec.origin == Origin::ReadOnly && is_trusted_name(exec.given)
}

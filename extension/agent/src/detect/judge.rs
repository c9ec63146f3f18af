//! What the policy says of something that was found, not seen.
//!
//! It makes the [`Action`] that a plane would have asked about and asks the same question. It neither looks for
//! anything nor acts; [`super`] does.

use std::net::SocketAddr;
use std::path::Path;

use ringfence_policy::{
    Action, Context, Decision, Destination, Exec, Linkage, Origin, Phase, Plane, Role, Transport, Verdict,
};
use ringfence_records::page::View;

use super::image::Image;
use super::mappings::origin_of;
use super::script;
use crate::page::StatePage;
use crate::policy::Rules;
use crate::proc::Process;

/// Name patterns of one address that are looked at, as in the process plane.
const MAX_NAMES: usize = 16;
/// Name patterns of a policy that are tried where an address could have any of them.
const MAX_PATTERNS: u16 = 1024;
/// Where programs are looked for by a bare name, besides PATH.
const PLACES: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/bin";

/// The policy and the circumstances.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judge<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) page: &'a StatePage,
    pub(crate) phase: Phase,
    pub(crate) strongest: Plane,
    /// The Runtime API.
    pub(crate) api: Option<SocketAddr>,
    /// Whether the function's look-ups came to the guarded resolver; if not, nothing is known of an address's names.
    pub(crate) names_are_tied: bool,
    /// Whether what is found may be as old as init, whose own rules then count too.
    pub(crate) since_init: bool,
}

impl Judge<'_> {
    fn verdict(&self, action: &Action<'_>, role: Role) -> Verdict {
        let ask = |phase| self.rules.judge(action, self.context(phase, role));
        let now = ask(self.phase);
        if !self.since_init || now.decision == Decision::Allow {
            return now;
        }
        let then = ask(Phase::Init);
        if then.decision == Decision::Allow { then } else { now }
    }

    const fn context(&self, phase: Phase, role: Role) -> Context {
        Context { phase, role, strongest: self.strongest, launched: true }
    }

    /// An execution. The name that the caller gave is not known any more, and rules may speak of a link
    /// (`/usr/bin/convert`): what the process calls itself counts where it really leads to the file.
    pub(super) fn exec(&self, process: &Process, image: &Image, role: Role) -> Verdict {
        let resolved = &process.exe;
        let origin = origin_of(resolved);
        let linkage = image.linkage(resolved);
        let by_listed_script = script::of(process, resolved).is_some_and(|found| {
            let given = found.as_os_str().as_encoded_bytes();
            let origin = origin_of(given);
            let script =
                Exec { given, resolved: given, origin, linkage: Linkage::Script, by_listed_script: false };
            self.rules.lists_script(&script, self.context(self.phase, role))
        });
        let ask = |given: &[u8]| {
            let exec = Exec { given, resolved, origin, linkage, by_listed_script };
            self.verdict(&Action::Exec(exec), role)
        };
        let by_file = ask(resolved);
        if by_file.decision == Decision::Allow || origin != Origin::ReadOnly {
            return by_file;
        }
        let mut by_name =
            names(process).into_iter().filter(|name| leads_to(name, resolved)).map(|name| ask(&name));
        by_name.find(|verdict| verdict.decision == Decision::Allow).unwrap_or(by_file)
    }

    pub(super) fn mapping(&self, path: &[u8], origin: Origin, role: Role) -> Verdict {
        self.verdict(&Action::MapExecutable { path, origin }, role)
    }

    pub(super) fn listener(&self, local: SocketAddr, role: Role) -> Verdict {
        self.verdict(&Action::Bind { address: local.ip(), port: local.port() }, role)
    }

    pub(super) fn is_api(&self, to: SocketAddr) -> bool {
        self.api == Some(to)
    }

    /// A connection; `is_second`: to the Runtime API, besides those that the runtime's client keeps.
    pub(super) fn connection(
        &self,
        to: SocketAddr,
        transport: Transport,
        role: Role,
        is_second: bool,
    ) -> Verdict {
        let mut names = [0; MAX_NAMES];
        let found = View::new(self.page).map_or(0, |view| view.names(to.ip(), &mut names));
        let ask = |names: &[u16]| {
            let destination = Destination {
                address: to.ip(),
                port: to.port(),
                transport,
                names,
                runtime_api: self.is_api(to),
                own_service: false,
                second_connection: is_second,
            };
            self.verdict(&Action::Connect(destination), role)
        };
        let by_address = ask(names.get(..found).unwrap_or_default());
        if self.names_are_tied || by_address.decision == Decision::Allow {
            return by_address;
        }
        // The address may be that of an allowed host: only a port that no host has is told.
        let mut by_name = (0..MAX_PATTERNS).map(|pattern| ask(&[pattern]));
        by_name.find(|verdict| verdict.decision == Decision::Allow).unwrap_or(by_address)
    }
}

/// Paths by which a process may have been started: its first argument, or that name or its own in the usual places.
fn names(process: &Process) -> Vec<Vec<u8>> {
    let first = process.arguments.first().map(Vec::as_slice).unwrap_or_default();
    if first.starts_with(b"/") {
        return vec![first.to_vec()];
    }
    let search = std::env::var("PATH").unwrap_or_default();
    let places = search.split(':').chain(PLACES.split(':')).filter(|place| place.starts_with('/'));
    let bare: Vec<&[u8]> =
        [first, &process.name].into_iter().filter(|name| !name.is_empty() && !name.contains(&b'/')).collect();
    places
        .take(32)
        .flat_map(|place| bare.iter().map(move |name| [place.as_bytes(), b"/", name].concat()))
        .collect()
}

fn leads_to(name: &[u8], resolved: &[u8]) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let path = Path::new(std::ffi::OsStr::from_bytes(name));
    std::fs::canonicalize(path).is_ok_and(|found| found.as_os_str().as_bytes() == resolved)
}

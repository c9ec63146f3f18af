//! The launcher: from the platform's exec to the runtime's.
//!
//! It loads the policy, probes the platform, greets the agent, hands everything down, and then becomes the runtime
//! (process plane) or becomes its parent and supervisor (kernel plane). Whatever of ours fails, the runtime starts
//! all the same and the failure is reported, unless the policy says `on_degraded = "refuse"`. `main` calls it.

pub mod agent;
pub mod coverage;
pub mod environments;
pub mod features;
pub mod pages;
mod plan;
pub mod policy;
pub mod probe;
pub mod resolvers;
pub mod runtime;
pub mod settings;
pub mod shims;
pub mod start;

use ringfence_policy::{CompiledPolicy, Plane};
use ringfence_records::clients::Spare;
use ringfence_records::handoff::Handoff;
use ringfence_records::message::CoverageLine;

use crate::filter::profile;
use crate::kernel;
use crate::kernel::wall::Raised;
use crate::kernel::witness::Witness;
use crate::notice;
use crate::sys::Errno;
pub use plan::{Plan, resolver};

use agent::{Agent, AgentError, Door, Hello};
use coverage::{Means, Reads};
use features::Features;
use pages::{Inherited, State};
use policy::Loaded;
use probe::Capabilities;
use runtime::Runtime;
use settings::Settings;
use shims::{Hook, Loading};
use start::{Additions, become_command, say};

/// Status with which a refused start ends, so that the platform's init fails.
const REFUSED: i32 = 1;

/// What it means that opens are asked about though no rule speaks of them.
const OPENS_ASKED: &str = "opens that write go through the guard: nothing else keeps /proc/<pid>/mem";

/// What it means that nobody judges look-ups.
const NO_RESOLVER: &str = "egress.names: no guarded resolver: look-ups go to the name servers unjudged, and no address is \
                           known by its name, so connections are allowed by address only";

/// Runs the whole launch. Returns the status to end with; in the process plane it does not return at all.
#[must_use]
pub fn run() -> i32 {
    let settings = Settings::read();
    settings.trouble.iter().for_each(|trouble| say(trouble));
    if settings.off {
        return become_command(&settings.command, &settings.environment);
    }
    match policy::load(&settings) {
        Ok(policy) if policy.is_off() => become_command(&settings.command, &settings.environment),
        Ok(policy) => Plan::new(settings, policy).launch(),
        Err(diagnostics) => refuse(Door::find(&settings.runtime_api_text), &Hello::default(), &diagnostics),
    }
}

/// Ends the start: prints why, and tells the agent so that it stands in the log.
fn refuse(door: Result<Door, AgentError>, hello: &Hello<'_>, reason: &str) -> i32 {
    say(&format!("the start is refused\n{reason}"));
    if let Ok(door) = door {
        let _ = door.say(&Hello { refused: reason, ..hello.clone() });
    }
    REFUSED
}

impl Plan {
    fn new(mut settings: Settings, mut policy: Loaded) -> Self {
        let runtime = Runtime::find(&settings.command, settings.variable("PATH").unwrap_or_default());
        let mut capabilities = Capabilities::probe();
        let hook = Hook::choose(&settings, &runtime, &policy.hooks);
        capabilities.lines.push(hook.line());
        shims::add_to_command(&mut settings, &runtime, hook);
        let no_preload = no_preload(&settings, &runtime);
        let child_filter = match (capabilities.notification, CompiledPolicy::new(&policy.compiled)) {
            (Ok(()), Ok(compiled)) => profile::compile(&compiled),
            _ => profile::Compiled::default(),
        };
        let unknown =
            child_filter.unknown.iter().map(|name| format!("process.syscalls: {name} is not known here"));
        policy.remarks.extend(unknown);
        let name_servers = resolvers::name_servers();
        let child_filter = child_filter.bytes;
        let door = Door::find(&settings.runtime_api_text);
        Self { settings, policy, runtime, capabilities, name_servers, no_preload, child_filter, hook, door }
    }

    fn launch(mut self) -> i32 {
        let child = self.try_kernel_plane();
        let door = std::mem::replace(&mut self.door, Err(AgentError::Silent));
        if child.is_none() && !self.capabilities.no_new_privileges {
            self.child_filter.clear();
        }
        let kernel = child.as_ref().map_or(0, |child| kernel::covered(&self) | child.asks_besides());
        let in_proc = child.as_ref().is_some_and(|child| kernel::holds_writes_in_proc(&self, child));
        let means = Means { holds_writes_in_proc: in_proc, ..self.means(kernel) };
        let lines = coverage::describe(&self.policy.rules, &means);
        let missing = coverage::uncovered(&self.policy.rules, &lines, door.is_ok());
        let runtime = child.as_ref().map_or_else(std::process::id, |child| child.pid);
        let hello = Hello {
            witness: child.as_ref().and_then(|child| child.witness.as_ref()).map_or(0, Witness::pid),
            ..self.hello(runtime, child.as_ref().map_or(0, |_| std::process::id()), &lines)
        };
        if self.policy.refuse_when_degraded && !missing.is_empty() {
            let names: Vec<_> = missing.iter().map(|rule| rule.as_str()).collect();
            let reason = format!("on_degraded = \"refuse\", and nothing here enforces {}", names.join(", "));
            child.into_iter().for_each(kernel::child::Child::abandon);
            return refuse(door, &hello, &reason);
        }
        let (agent, trouble) = greet(door, &hello);
        let unresolved =
            agent.as_ref().is_none_or(|agent| agent.resolver_port == 0).then(|| NO_RESOLVER.to_owned());
        trouble
            .into_iter()
            .chain(unresolved.filter(|_| {
                self.policy.rules.iter().any(|rule_use| rule_use.rule == ringfence_policy::Rule::EgressNames)
            }))
            .chain(self.policy.remarks.iter().cloned())
            .for_each(|text| notice::degraded(&text));
        self.hand_over(child, runtime, kernel, agent)
    }

    /// Starts the child with the filter, where the platform allows; otherwise says in the probe lines why not.
    fn try_kernel_plane(&mut self) -> Option<kernel::child::Child> {
        if self.settings.process_plane_only {
            self.capabilities.lines.push("RINGFENCE_PLANE=process".to_owned());
            return None;
        }
        if self.capabilities.notification.is_err() {
            return None;
        }
        let started = kernel::child::Child::start(self);
        let result = started.as_ref().map(drop).map_err(|error| *error);
        self.capabilities.lines.push(probe::line("seccomp(NEW_LISTENER)", result));
        if let Ok(child) = &started {
            let features = Features::probe(self.capabilities.reach, &child.listener);
            self.capabilities.lines.push(features.to_string());
            let wall = child.wall.map(Raised::describe);
            self.capabilities
                .lines
                .push(wall.unwrap_or_else(|error| probe::line("landlock_restrict_self(2)", Err(error))));
            if child.asks_besides() != 0 {
                self.capabilities.lines.push(OPENS_ASKED.to_owned());
            }
        }
        started.ok()
    }

    /// Without a hook nothing is denied, whatever the policy says.
    fn reads(&self) -> Reads {
        let denied = self.policy.hooks.deny_reads() && !matches!(self.hook, Hook::None(_));
        if denied { Reads::Denied } else { Reads::Recorded }
    }

    fn means(&self, kernel: u32) -> Means<'_> {
        Means {
            kernel,
            holds_writes_in_proc: false,
            no_preload: &self.no_preload,
            child_filter: !self.child_filter.is_empty(),
            hook: self.hook,
            reads: self.reads(),
        }
    }

    fn hello<'a>(&'a self, runtime: u32, guard: u32, coverage: &'a [CoverageLine<'a>]) -> Hello<'a> {
        Hello {
            policy_hash: &self.policy.digest,
            policy_source: &self.policy.source,
            no_preload: &self.no_preload,
            spare: self.runtime.spare(self.settings.managed) != Spare::None,
            runtime,
            guard,
            witness: 0,
            strongest: Some(if guard == 0 { Plane::Process } else { Plane::Kernel }),
            coverage,
            probes: &self.capabilities.lines,
            executable: self.runtime.path.as_os_str().as_encoded_bytes(),
            name_servers: &self.name_servers,
            refused: "",
        }
    }

    fn hand_over(
        self,
        child: Option<kernel::child::Child>,
        runtime: u32,
        kernel: u32,
        agent: Option<Agent>,
    ) -> i32 {
        let prepared = self.prepare(runtime, kernel, agent.as_ref(), child.is_none());
        let (additions, state) = match prepared {
            Ok((additions, inherited, state)) => (additions, Some((inherited, state))),
            Err(error) => {
                notice::degraded(&format!("handing the policy down failed: {error}"));
                (Additions::none(), None)
            }
        };
        match (child, state) {
            (None, _) => become_command(&self.settings.command, &additions.apply(&self.settings.environment)),
            (Some(child), Some((_, state))) => kernel::supervise(&self, child, agent, state, &additions),
            (Some(child), None) => {
                if let Ok(state) = State::own(false) {
                    kernel::supervise(&self, child, agent, state, &additions)
                } else {
                    child.abandon();
                    become_command(&self.settings.command, &self.settings.environment)
                }
            }
        }
    }

    fn prepare(
        &self,
        runtime: u32,
        kernel: u32,
        agent: Option<&Agent>,
        launched: bool,
    ) -> Result<(Additions, Inherited, State), Errno> {
        let state = match agent {
            Some(agent) => State::of_agent(agent.state.try_clone()?)?,
            None => State::own(launched)?,
        };
        let mut handoff = self.handoff(runtime, kernel, agent);
        let command = self.own_command();
        handoff.command = &command;
        let loading = Loading::new(&self.settings, self.hook, &self.policy.hooks, agent);
        handoff.hook = &loading.list;
        let preload = self.settings.preload_library();
        handoff.preload_path = preload.as_os_str().as_encoded_bytes();
        let mut inherited = Inherited::place(&pages::seal_handoff(&handoff)?, &state.file)?;
        let mut additions = self.additions(agent, &inherited);
        if shims::is_direct(&self.settings, &self.runtime) {
            loading.apply(&mut additions, &self.settings);
        }
        inherited.report = loading.report;
        Ok((additions, inherited, state))
    }

    fn handoff<'a>(&'a self, runtime: u32, kernel: u32, agent: Option<&'a Agent>) -> Handoff<'a> {
        let mut handoff = Handoff::with_policy(&self.policy.compiled);
        if kernel != 0 {
            handoff.strongest = Plane::Kernel;
            handoff.guard_pid = std::process::id();
        }
        handoff.kernel_covers = kernel;
        handoff.runtime_pid = runtime;
        handoff.runtime_device = self.runtime.identity.device;
        handoff.runtime_inode = self.runtime.identity.inode;
        handoff.concurrent = self.settings.concurrent;
        handoff.spare = self.runtime.spare(self.settings.managed);
        handoff.asks_by_child = self.asks_by_child();
        handoff.runtime_api = self.platforms_api(agent);
        handoff.proxies = self.proxies(agent);
        // Without a way to the agent the hooks of these languages do nothing.
        handoff.reads_hook = self.hook.reads_environment();
        handoff.child_filter = &self.child_filter;
        handoff.function = self.settings.function.as_bytes();
        handoff.policy_hash = self.policy.digest.as_bytes();
        if let Some(agent) = agent {
            handoff.agent_pid = agent.pid;
            handoff.report_address = &agent.report_address;
            handoff.resolver = resolver(agent);
        }
        for (slot, server) in handoff.name_servers.iter_mut().zip(&self.name_servers) {
            *slot = Some(*server);
        }
        handoff
    }

    fn additions(&self, agent: Option<&Agent>, inherited: &Inherited) -> Additions {
        let mut additions = Additions::none();
        additions.set(ringfence_records::handoff::ENVIRONMENT, inherited.numbers.as_bytes());
        if let Some(agent) = agent {
            additions.set("RINGFENCE_REPORT", &agent.report_address);
        }
        let preload = self.settings.preload_library();
        if preload.is_file() {
            additions.prepend(&self.settings, "LD_PRELOAD", &preload);
        }
        additions
    }
}

fn greet(door: Result<Door, AgentError>, hello: &Hello<'_>) -> (Option<Agent>, Option<String>) {
    match door.and_then(|door| door.greet(hello)) {
        Ok(agent) => (Some(agent), None),
        Err(error) => (None, Some(error.to_string())),
    }
}

/// Why the preload library will not be in the runtime; empty where it will.
fn no_preload(settings: &Settings, runtime: &Runtime) -> String {
    let library = settings.preload_library();
    if !library.is_file() {
        return format!("no preload library at {}", library.display());
    }
    if runtime.is_static {
        return format!(
            "{} is statically linked: the preload library cannot enter it",
            runtime.path.display()
        );
    }
    String::new()
}

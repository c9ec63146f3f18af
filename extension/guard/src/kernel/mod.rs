//! The kernel plane: the guard as the runtime's parent and the supervisor of its system calls.
//!
//! One thread at a time receives notifications, decides each on a copy of what the call asks for, and answers; another one
//! takes its place where a target holds it up; workers carry out what may wait. Parse, verdict and execution are separate modules: [`target`] and [`address`] read,
//! `CompiledPolicy::verdict` decides, [`exec`], [`connect`], [`send`] and [`others`] carry out. Whatever fails ends in
//! an error for the caller, never in a call that goes ahead. `launch` calls [`supervise`].

mod acquaintances;
pub mod address;
pub mod answer;
mod api;
mod api_connections;
mod arguments;
mod beside;
mod callers;
pub mod child;
mod claims;
mod connect;
mod crew;
mod exec;
mod facts;
mod listen;
mod local_bind;
mod lock;
mod lookup;
mod message;
mod names;
mod numbers;
mod open;
mod others;
mod processor;
mod registry;
mod report;
mod rights;
mod send;
mod settings;
mod shares;
mod signals;
mod sockets;
mod target;
mod threads;
mod undelivered;
mod verify;
pub mod wall;
pub mod witness;
mod workers;

use std::fs::File;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use ringfence_policy::{CompiledPolicy, Context, Phase, Plane, Rule};
use ringfence_records::handoff::covers;
use ringfence_records::message::Report;
use ringfence_records::page;

use crate::filter::table;
use crate::launch::agent::Agent;
use crate::launch::pages::State;
use crate::launch::probe::Reach;
use crate::launch::start::Additions;
use crate::launch::{self, Plan};
use crate::notice;
use crate::sys::Errno;
use crate::sys::descriptor::{Alarm, Identity};
use crate::sys::file;
use crate::sys::limit::Limit;
use crate::sys::process;
use crate::sys::seccomp::{self, Listener, Notification};
use acquaintances::{Acquaintance, Acquaintances, Grain};
use answer::Answer;
use api_connections::ApiConnections;
use beside::Beside;
use callers::Standing;
use child::Child;
use crew::Crew;
use facts::Facts;
use open::Files;
use registry::Registry;
use report::Reporter;
use send::Scratch;
use settings::Setting;
use target::Caller;
use undelivered::Undelivered;
use verify::Verifier;
use witness::Witness;
use workers::Workers;

/// What a call comes to whose caller is not there any more.
const GONE: Answer = Answer::Fail(Errno(libc::ESRCH));
const PR_SET_DUMPABLE: i32 = 4;
const PR_SET_CHILD_SUBREAPER: i32 = 36;

/// What this plane decides, as the handoff says it. Binds where there are rules for them.
#[must_use]
pub fn covered(plan: &Plan) -> u32 {
    let bind = if binds_are_supervised(plan) { covers::BIND } else { 0 };
    let writes = if writes_are_supervised(plan) { covers::OPEN_WRITE } else { 0 };
    covers::EXEC | covers::EGRESS | covers::DANGEROUS | bind | writes
}

/// Whether bind(2) is asked about.
#[must_use]
pub fn binds_are_supervised(plan: &Plan) -> bool {
    CompiledPolicy::new(&plan.policy.compiled).is_ok_and(|policy| policy.has_bind_rules())
}

/// Returns `true` if opens that write and calls that change names are judged: only if a rule speaks of files elsewhere than
/// in `/proc`. Rules on that alone hold by what keeps the memory of processes: see [`holds_writes_in_proc`].
#[must_use]
pub fn writes_are_supervised(plan: &Plan) -> bool {
    CompiledPolicy::new(&plan.policy.compiled)
        .is_ok_and(|policy| policy.has_write_rules() && !policy.writes_in_proc_only())
}

/// Returns `true` if all rules on writing speak of `/proc`, and this plane holds them: the guard is asked about each open that
/// writes, or Landlock refuses all of them there.
#[must_use]
pub fn holds_writes_in_proc(plan: &Plan, child: &Child) -> bool {
    let asked = child.asks_besides() & covers::OPENS_ASKED != 0;
    let refused = child.wall.is_ok_and(wall::Raised::keeps_proc);
    CompiledPolicy::new(&plan.policy.compiled).is_ok_and(|policy| policy.writes_in_proc_only())
        && (asked || refused)
}

/// Lets the child become the runtime and supervises it until it ends. Returns the status to end with.
#[must_use]
pub fn supervise(
    plan: &Plan,
    child: Child,
    agent: Option<Agent>,
    state: State,
    additions: &Additions,
) -> i32 {
    // Refused on Lambda, where the guard's file is not readable and it is not dumpable for that reason.
    let _ = process::prctl(PR_SET_DUMPABLE, 0);
    let _ = process::prctl(PR_SET_CHILD_SUBREAPER, 1);
    process::forbid_core_dumps();
    process::raise_descriptor_limit();
    file::lift_length_limit();
    // What is made for the function gets the function's mask, of each caller its own; one of the guard would be all threads'.
    file::set_mask(0);
    workers::prepare();
    // It is needed until the process ends, by every thread.
    let compiled: &'static [u8] = Vec::leak(plan.policy.compiled.clone());
    let Ok(policy) = CompiledPolicy::new(compiled) else {
        child.abandon();
        notice::degraded("the compiled policy is not valid: this is a bug");
        return 1;
    };
    if let Err(error) = child.go(additions) {
        child.abandon();
        notice::degraded(&format!("the runtime could not be started: {error}"));
        return 1;
    }
    let signals_are_walled = child.wall.is_ok_and(wall::Raised::keeps_signals);
    let (runtime, listener, signals, witness) = child.into_parts();
    let witness_id = witness.as_ref().map_or(0, Witness::pid);
    let mut supervisor = Supervisor::new(plan, policy, (runtime, listener), witness_id, agent, state);
    supervisor.signals_are_walled = signals_are_walled;
    let beside = Beside::new(runtime, signals, witness, Arc::clone(&supervisor.verifier));
    threads::run(supervisor, beside)
}

/// Everything that decisions need: of each thread that decides its own, and what all share behind handles. Nobody holds a
/// lock of what is shared while he asks a target for anything, or that target could hold up everybody.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the launch or the thread")]
struct Supervisor {
    listener: Arc<Listener>,
    /// The process id of the witness; 0 without one.
    witness: u32,
    /// Whether Landlock keeps the function's signals within it.
    signals_are_walled: bool,
    alarm: Option<Arc<Alarm>>,
    /// The threads that answer; none where there is only one.
    crew: Option<Arc<Crew>>,
    policy: CompiledPolicy<'static>,
    state: Arc<State>,
    reporter: Reporter,
    verifier: Arc<Mutex<Verifier>>,
    workers: Workers,
    registry: Arc<Registry>,
    /// This thread's own.
    scratch: Scratch,
    api_connections: Arc<Mutex<ApiConnections>>,
    reach: Reach,
    acquaintances: Arc<Acquaintances>,
    /// The caller of this thread's call, if it was known before.
    known_as: Option<Acquaintance>,
    /// For calls that must not wait; of the thread that makes them.
    limit: Option<Limit>,
    /// Whether this thread has a working folder of its own.
    own_folder: bool,
    /// What tells whether this thread wants for a processor, if it could open that while nobody could keep it from it.
    stat: Option<Arc<File>>,
    undelivered: Undelivered,
    /// Whether only the end of a caller takes it out of its wait (5.19), so that no call is made twice.
    waits_killable: bool,
    /// This thread's own.
    files: Files,
    runtime: u32,
    runtime_file: Identity,
    /// The runtime's own command, without the wrappers before it.
    command: Arc<[u8]>,
    /// Whether the runtime may ask for its events by a program that it starts.
    asks_by_child: bool,
    facts: Arc<Facts>,
    concurrent: bool,
    child_filter: bool,
    guard: u32,
    agent: u32,
    /// Whether the preload library tells when the runtime first asks for an event.
    sees_requests: bool,
    /// The Runtime API and the proxies in front of it that were known at the launch.
    apis: Arc<[SocketAddr]>,
    resolver: Option<SocketAddr>,
    name_servers: Arc<[SocketAddr]>,
}

impl Supervisor {
    fn new(
        plan: &Plan,
        policy: CompiledPolicy<'static>,
        (runtime, listener): (u32, Listener),
        witness: u32,
        agent: Option<Agent>,
        state: State,
    ) -> Self {
        let listener = Arc::new(listener);
        let _ = listener.wake_on_same_cpu();
        let registry = Arc::new(Registry::default());
        let undelivered = Undelivered::default();
        let proxies = plan.proxies(agent.as_ref()).into_iter().flatten();
        let apis = plan.platforms_api(agent.as_ref()).into_iter().chain(proxies).collect();
        Self {
            workers: Workers::new(Arc::clone(&listener), Arc::clone(&registry), undelivered.clone()),
            listener,
            witness,
            signals_are_walled: false,
            alarm: Alarm::new().ok().map(Arc::new),
            crew: None,
            policy,
            agent: agent.as_ref().map_or(0, |agent| agent.pid),
            resolver: agent.as_ref().and_then(launch::resolver),
            reporter: Reporter::new(
                agent.map(|agent| agent.connection),
                state.page,
                plan.policy.digest.clone(),
                runtime,
            ),
            state: Arc::new(state),
            verifier: Arc::new(Mutex::new(Verifier::new(runtime, plan.runtime.identity))),
            registry,
            scratch: Scratch::default(),
            api_connections: Arc::new(Mutex::new(ApiConnections::new(
                plan.runtime.is_node(),
                (plan.runtime.spare(plan.settings.managed), plan.runtime.is_interpreter()),
                plan.settings.concurrent,
            ))),
            reach: plan.capabilities.reach,
            acquaintances: Arc::new(Acquaintances::new(match plan.capabilities.reach {
                Reach::FetchByThread => Grain::Thread,
                Reach::FetchByProcess | Reach::Registry => Grain::Process,
            })),
            known_as: None,
            limit: None,
            own_folder: false,
            stat: None,
            undelivered,
            waits_killable: seccomp::waits_killable(),
            files: Files::default(),
            runtime,
            runtime_file: plan.runtime.identity,
            command: plan.own_command().into(),
            asks_by_child: plan.asks_by_child(),
            facts: Arc::new(Facts::default()),
            concurrent: plan.settings.concurrent,
            child_filter: !plan.child_filter.is_empty(),
            guard: process::own(),
            apis,
            // Go's requests pass the library by.
            sees_requests: plan.no_preload.is_empty() && !plan.runtime.is_of_go(),
            name_servers: plan.name_servers.as_slice().into(),
        }
    }

    /// The same for one more thread.
    fn another(&self) -> Self {
        Self {
            listener: Arc::clone(&self.listener),
            witness: self.witness,
            signals_are_walled: self.signals_are_walled,
            alarm: self.alarm.clone(),
            crew: self.crew.clone(),
            policy: self.policy,
            state: Arc::clone(&self.state),
            reporter: self.reporter.clone(),
            verifier: Arc::clone(&self.verifier),
            workers: self.workers.clone(),
            registry: Arc::clone(&self.registry),
            scratch: Scratch::default(),
            api_connections: Arc::clone(&self.api_connections),
            reach: self.reach,
            acquaintances: Arc::clone(&self.acquaintances),
            known_as: None,
            limit: None,
            own_folder: false,
            stat: None,
            undelivered: self.undelivered.clone(),
            waits_killable: self.waits_killable,
            files: self.files.another(),
            runtime: self.runtime,
            runtime_file: self.runtime_file,
            command: Arc::clone(&self.command),
            asks_by_child: self.asks_by_child,
            facts: Arc::clone(&self.facts),
            concurrent: self.concurrent,
            child_filter: self.child_filter,
            guard: self.guard,
            agent: self.agent,
            apis: Arc::clone(&self.apis),
            sees_requests: self.sees_requests,
            resolver: self.resolver,
            name_servers: Arc::clone(&self.name_servers),
        }
    }

    fn verifier(&self) -> MutexGuard<'_, Verifier> {
        lock::lock(&self.verifier)
    }

    /// What was carried out while a signal took its caller away must not be carried out again.
    fn keep_result(&mut self, notification: &Notification, value: i64) {
        if matches!(libc::c_long::from(notification.number), libc::SYS_sendto | libc::SYS_sendmsg) {
            self.undelivered.remember(notification, self.scratch.sent(), value);
        }
        if others::signals_by_number(notification.number.into()) {
            self.undelivered.remember(notification, &[], value);
        }
        if names::changes(notification.number.into()) || open::opens(notification.number.into()) {
            self.undelivered.remember(notification, self.files.asked(), value);
        }
    }

    fn decide(&mut self, notification: &Notification) -> Answer {
        self.known_as = None;
        if notification.thread == self.runtime && self.facts.take_own_code() {
            // The guard's file may be unreadable, and then this copy of it cannot be looked into.
            return Answer::ContinueExec(Verifier::expect_own());
        }
        if let Some(caller) = self.recognise(notification) {
            let answer = self.carry_out(notification, &caller);
            if answer != GONE || self.is_known(&caller) {
                return answer;
            }
            // The number is another thread's by now; that showed before anything was decided.
        }
        let Ok(caller) = self.identify(notification.thread) else {
            return Answer::Fail(Errno::EPERM);
        };
        match self.look_at(notification, &caller) {
            Standing::Refused => return Answer::Fail(Errno::EPERM),
            Standing::Expected => self.get_acquainted(notification, caller),
            Standing::Tolerated => {}
        }
        self.carry_out(notification, &caller)
    }

    fn carry_out(&mut self, notification: &Notification, caller: &Caller) -> Answer {
        match libc::c_long::from(notification.number) {
            libc::SYS_execve => self.exec_and_part(notification, caller, false),
            libc::SYS_execveat => self.exec_and_part(notification, caller, true),
            libc::SYS_socket => self.make_socket(notification, caller),
            libc::SYS_connect => self.connect(notification, caller),
            libc::SYS_bind => self.bind(notification, caller),
            libc::SYS_listen => self.listen(notification, caller),
            libc::SYS_sendto => self.send_to(notification, caller),
            libc::SYS_sendmsg => self.send_message(notification, caller),
            libc::SYS_sendmmsg => self.send_messages(notification, caller),
            libc::SYS_seccomp => Self::restrict_itself(caller),
            libc::SYS_landlock_create_ruleset => Self::tell_landlock_version(notification),
            libc::SYS_setpgid => self.join_group(notification, caller),
            call if open::opens(call) => self.open(notification, caller),
            call if names::changes(call) => self.change_names(notification, caller),
            other => self.decide_dangerous(notification, caller, other),
        }
    }

    /// Decides an exec. What the process runs is about to change then, and is looked at anew.
    fn exec_and_part(&mut self, notification: &Notification, caller: &Caller, at: bool) -> Answer {
        let answer = self.exec(notification, caller, at);
        if matches!(answer, Answer::ContinueExec(_)) {
            self.part_from(caller.process);
            self.wake();
        }
        answer
    }

    fn decide_dangerous(
        &mut self,
        notification: &Notification,
        caller: &Caller,
        call: libc::c_long,
    ) -> Answer {
        match call {
            libc::SYS_kill => self.signal_process(notification, caller, false),
            libc::SYS_rt_sigqueueinfo => self.signal_process(notification, caller, true),
            libc::SYS_tkill => self.signal_thread(notification, caller),
            libc::SYS_tgkill => self.signal_thread_of(notification, caller, "tgkill"),
            libc::SYS_rt_tgsigqueueinfo => self.signal_thread_of(notification, caller, "rt_tgsigqueueinfo"),
            call if Setting::is_made_by(call) => self.set_other(notification, caller, call),
            call if others::is_on_itself(call, notification, caller) => Answer::Continue(others::OWN),
            other => self.refused(caller, other),
        }
    }

    fn refused(&mut self, caller: &Caller, call: libc::c_long) -> Answer {
        let Some(name) = table::reported(call) else { return Answer::Fail(Errno(libc::ENOSYS)) };
        self.refuse(caller, name, b"");
        Answer::Fail(Errno::EPERM)
    }

    /// The circumstances of a call by `caller`, as the state page tells them now.
    fn context(&self, caller: &Caller) -> Context {
        let (phase, launched) = self.published();
        let phase = if phase == Phase::Init && self.facts.invoked() { Phase::Invoke } else { phase };
        let launched = launched || self.facts.launched();
        Context { phase, role: caller.role, strongest: Plane::Kernel, launched }
    }

    /// Phase and launch state as the agent knows them.
    fn published(&self) -> (Phase, bool) {
        page::View::new(self.state.page.words()).map_or((Phase::Invoke, false), |view| view.phase())
    }

    fn report(&self, caller: &Caller, mut report: Report<'_>, rule: Rule) {
        report.rule = rule;
        report.plane = Plane::Kernel;
        self.reporter.send(caller, &report);
    }
}

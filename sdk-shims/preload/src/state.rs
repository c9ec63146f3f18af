//! What the library knows for the whole life of the process: the handoff, the policy, the state page.
//!
//! Set once by the constructor before any site is patched, read by everything else. It decides nothing; it answers
//! who this process is and in which phase the environment is.
#![allow(unsafe_code, reason = "a cell that is written once, before other threads exist")]

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ringfence_policy::{Action, CompiledPolicy, Context, Decision, Phase, Plane, Role, Verdict};
use ringfence_records::handoff::{Handoff, covers};
use ringfence_records::page::{FileId, View};

use crate::children::Mark;
use crate::remembered::{Remembered, When};
use crate::table::Table;
use crate::{shielded, sys};

/// A descriptor of ours with the inode that it must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) number: i32,
    pub(crate) inode: u64,
}

/// Everything that stays the same after the constructor.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own about this process")]
pub(crate) struct State {
    pub(crate) handoff: Handoff<'static>,
    /// The handoff as mapped, for passing on.
    pub(crate) handoff_bytes: &'static [u8],
    pub(crate) policy: CompiledPolicy<'static>,
    pub(crate) words: &'static [AtomicU32],
    /// Handoff and state page.
    pub(crate) descriptors: [Descriptor; 2],
    /// Process id when the constructor ran.
    pub(crate) started_as: u32,
    /// Executable of this process.
    pub(crate) executable: sys::Identity,
    /// The library's own file, where it could be seen.
    pub(crate) library: Option<sys::Identity>,
    /// Device of the procfs at /proc.
    pub(crate) proc_device: u64,
    /// Loopback port of a proxy in front of the Runtime API, which a wrapper behind the guard has named; 0 for none.
    pub(crate) proxy: u16,
    /// Whether this program is a wrapper that is still to start the runtime, though it runs the runtime's executable.
    pub(crate) wraps: bool,
    /// Whether a fork of the runtime, which has executed nothing else, started this program.
    pub(crate) is_direct: bool,
    /// Whether this is Node, going by its name: its client keeps several connections to the API.
    pub(crate) is_node: bool,
    /// Whether the program makes code at run time, as just-in-time compilers do.
    pub(crate) compiles: bool,
    pub(crate) rules: Rules,
    /// Files that may be read, where rules on reading speak of any but those of /proc.
    pub(crate) remembered: Option<Remembered>,
    /// Tells a new fork, which gets limits then, where there are any.
    pub(crate) fork_mark: Option<Mark>,
    /// Sites of this process's libc, for the programs that it starts.
    pub(crate) sites: Table,
}

/// Which rules there are at all, asked once.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is the answer to one question of the policy")]
pub(crate) struct Rules {
    pub(crate) exec: bool,
    pub(crate) map: bool,
    pub(crate) egress: bool,
    pub(crate) bind: bool,
    /// Rules on writing that may speak of any file.
    pub(crate) write: bool,
    /// Rules on writing, and all of them speak of procfs.
    pub(crate) write_in_proc: bool,
    pub(crate) credentials: bool,
    /// By phase: init, invoke, between, shutdown.
    pub(crate) read: [bool; 4],
    /// Whether all rules on reading speak of procfs.
    pub(crate) read_in_proc_only: bool,
    /// Whether no rule on reading or writing speaks of one of its few files that have a size.
    pub(crate) procfs_looks_empty: bool,
}

impl Rules {
    /// Asks the policy, leaving out what the kernel plane decides.
    pub(crate) fn of(policy: &CompiledPolicy<'_>, kernel_covers: u32) -> Self {
        let ours = |bit: u32| kernel_covers & bit == 0;
        Self {
            exec: policy.has_exec_rules() && ours(covers::EXEC),
            map: policy.has_map_rules(),
            egress: policy.has_egress_rules() && ours(covers::EGRESS),
            bind: policy.has_bind_rules() && ours(covers::BIND),
            write: policy.has_write_rules() && !policy.writes_in_proc_only() && ours(covers::OPEN_WRITE),
            write_in_proc: policy.writes_in_proc_only() && ours(covers::OPEN_WRITE | covers::OPENS_ASKED),
            credentials: policy.has_credential_rules(),
            read: [Phase::Init, Phase::Invoke, Phase::Between, Phase::Shutdown]
                .map(|phase| policy.has_read_rules(phase)),
            read_in_proc_only: policy.denied_read_prefixes().all(|prefix| prefix.starts_with(b"/proc/")),
            procfs_looks_empty: !may_have_a_size(policy),
        }
    }

    /// Whether any rule on reading, in any phase, speaks of other files than those of /proc.
    pub(crate) fn read_elsewhere(&self) -> bool {
        self.read.contains(&true) && !self.read_in_proc_only
    }

    pub(crate) fn read_in(&self, phase: Phase) -> bool {
        let [init, invoke, between, shutdown] = self.read;
        match phase {
            Phase::Init => init,
            Phase::Invoke => invoke,
            Phase::Between => between,
            Phase::Shutdown => shutdown,
        }
    }
}

/// Whether a rule on reading or writing may speak of a file of procfs that has a size (`proc_set_size` in the kernel's source).
fn may_have_a_size(policy: &CompiledPolicy<'_>) -> bool {
    const SIZED: [&[u8]; 5] = [b"kcore", b"config.gz", b"vmcore", b"profile", b"bus/pci/00/00.0"];
    let prefixes = policy.denied_read_prefixes().chain(policy.denied_write_prefixes());
    prefixes.filter_map(|prefix| prefix.strip_prefix(b"/proc/")).any(|start| {
        // A literal start: the rest may be anything. None: the names themselves are asked for.
        start.starts_with(b"bus/") || (!start.is_empty() && SIZED.iter().any(|name| name.starts_with(start)))
    }) || SIZED.iter().any(|name| is_denied_somewhere(policy, name))
}

/// Whether reading or writing `/proc/<name>` is denied in any phase.
fn is_denied_somewhere(policy: &CompiledPolicy<'_>, name: &[u8]) -> bool {
    let mut path = [0; 32];
    let start = b"/proc/";
    for (to, from) in path.iter_mut().zip(start.iter().chain(name)) {
        *to = *from;
    }
    let path = path.get(..start.len() + name.len()).unwrap_or_default();
    [Phase::Init, Phase::Invoke, Phase::Between, Phase::Shutdown].into_iter().any(|phase| {
        [Role::Runtime, Role::Child].into_iter().any(|role| {
            let context = Context { phase, role, strongest: Plane::Process, launched: true };
            let denies = |action| policy.verdict(&action, &context).decision != Decision::Allow;
            denies(Action::OpenRead { path }) || denies(Action::OpenWrite { path })
        })
    })
}

impl State {
    /// The library's own path, with a NUL.
    pub(crate) fn own_path<'b>(&self, buffer: &'b mut [u8; 1024]) -> Option<&'b [u8]> {
        let path = self.handoff.preload_path;
        buffer.get_mut(..path.len())?.copy_from_slice(path);
        buffer.get(..=path.len())
    }

    /// Phase and launch state, three loads. The agent hears of the first invocation a little later than the runtime,
    /// so init is over here as soon as the runtime has asked for an event.
    pub(crate) fn phase(&self) -> (Phase, bool) {
        let (phase, launched) = View::new(self.words).map_or((Phase::Invoke, true), |view| view.phase());
        if phase == Phase::Init && has_been_invoked() {
            return (Phase::Invoke, true);
        }
        (phase, launched)
    }

    /// Whether this process, by its id, is the runtime or one of its workers.
    pub(crate) fn role(&self) -> Role {
        let pid = sys::process_id();
        if pid == self.handoff.runtime_pid || self.is_worker() { Role::Runtime } else { Role::Child }
    }

    /// Whether this is the runtime's own executable in the runtime's process, or a fork of it: the wrappers are
    /// through, whether the agent has heard of it or not.
    pub(crate) fn is_runtime(&self) -> bool {
        !self.wraps && self.runs_runtimes_file()
    }

    /// The same of a wrapper, too, that the runtime's executable runs.
    pub(crate) fn runs_runtimes_file(&self) -> bool {
        self.started_as == self.handoff.runtime_pid
            && self.executable.inode == self.handoff.runtime_inode
            && self.executable.device == self.handoff.runtime_device
    }

    /// Under Managed Instances the runtime's client forks workers that serve events too.
    fn is_worker(&self) -> bool {
        self.handoff.concurrent && self.is_runtime() && sys::parent_id() == self.handoff.runtime_pid
    }

    /// Whether this process is a fork of the runtime that has not exec'ed yet. Only here do children get what they
    /// then pass on to their own: a filter that every generation installed again would grow without end.
    pub(crate) fn is_fork_of_runtime(&self) -> bool {
        self.started_as == self.handoff.runtime_pid && sys::process_id() != self.started_as
    }

    /// Returns `true` if a connection to `target` reaches the Runtime API, itself or by a proxy.
    pub(crate) fn leads_to_api(&self, target: SocketAddr) -> bool {
        let by_proxy = target.port() == self.proxy && self.proxy != 0 && target.ip().is_loopback();
        by_proxy || self.handoff.leads_to_api(target)
    }

    /// Returns `true` if this process asks for events in the runtime's place. A runtime that is a shell starts a program for
    /// that; a wrapper may have forked before it started the runtime. The first to ask in init is published by the agent.
    pub(crate) fn asks_for_runtime(&self) -> bool {
        let Some(view) = View::new(self.words).filter(|_| self.is_direct) else { return false };
        let own = self.own_file();
        let runtime = FileId { device: self.handoff.runtime_device, inode: self.handoff.runtime_inode };
        match view.poller() {
            Some(poller) => poller == own,
            None => view.phase().0 == Phase::Init && (self.handoff.asks_by_child || runtime == own),
        }
    }

    /// Returns `true` if this process asks for events in the runtime's place, and the agent has not published so yet.
    pub(crate) fn asks_first(&self) -> bool {
        self.handoff.agent_pid != 0 && self.poller().is_none() && self.asks_for_runtime()
    }

    fn poller(&self) -> Option<FileId> {
        View::new(self.words).and_then(|view| view.poller())
    }

    /// Returns `true` if this process runs the program that asks for events, and another program has started it. The kernel
    /// plane cannot tell the two apart where a child of the runtime executes one program after the other.
    pub(crate) fn runs_poller_for_another(&self) -> bool {
        !self.is_direct && self.role() == Role::Child && self.poller() == Some(self.own_file())
    }

    const fn own_file(&self) -> FileId {
        FileId { device: self.executable.device, inode: self.executable.inode }
    }

    /// What this process is towards the Runtime API. A runtime that asks by another program has no business there itself.
    pub(crate) fn role_at_api(&self) -> Role {
        if self.asks_for_runtime() {
            return Role::Runtime;
        }
        if self.poller().is_some_and(|poller| poller != self.own_file()) { Role::Child } else { self.role() }
    }

    /// Whether the platform may still be waiting for the start to end, as far as the agent knows.
    pub(crate) fn may_be_in_init(&self) -> bool {
        View::new(self.words).is_some_and(|view| view.phase().0 == Phase::Init)
    }

    pub(crate) fn when(&self) -> When {
        let (phase, launched) = self.phase();
        When { phase, launched: launched || self.is_runtime() }
    }

    pub(crate) fn context(&self) -> Context {
        self.context_at(self.when())
    }

    pub(crate) fn context_at(&self, When { phase, launched }: When) -> Context {
        Context { phase, role: self.role(), strongest: self.handoff.strongest, launched }
    }

    pub(crate) fn verdict(&self, action: &Action<'_>) -> Verdict {
        self.policy.verdict(action, &self.context())
    }

    /// Whether the kernel plane decides actions of this kind; `bit` of [`covers`].
    pub(crate) const fn kernel_decides(&self, bit: u32) -> bool {
        self.handoff.kernel_covers & bit != 0
    }
}

/// Whether the runtime has asked for an event, as far as this process and its ancestors know. On a page of its own, which is
/// read-only from then on: whoever forgot it would have the rules of init again.
#[repr(C, align(4096))]
struct Invoked(AtomicBool);

static INVOKED: Invoked = Invoked(AtomicBool::new(false));

/// Init is over.
pub(crate) fn note_invoked() {
    /// Only one may write: for another the page could be read-only by then.
    static NOTED: AtomicBool = AtomicBool::new(false);
    if has_been_invoked() || NOTED.swap(true, Ordering::AcqRel) {
        return;
    }
    INVOKED.0.store(true, Ordering::Release);
    let _ = sys::protect(&raw const INVOKED as usize, size_of::<Invoked>(), sys::Use::Read);
}

/// See [`note_invoked`].
pub(crate) fn has_been_invoked() -> bool {
    INVOKED.0.load(Ordering::Relaxed)
}

/// Whether a verdict is worth a record.
pub(crate) const fn speaks(verdict: Verdict) -> bool {
    !matches!(verdict.decision, Decision::Allow)
}

/// On pages of its own, which are made read-only: whoever writes over them (with ctypes, say) would switch us off.
#[repr(C, align(4096))]
struct Slot {
    state: UnsafeCell<MaybeUninit<State>>,
    ready: AtomicBool,
}

// SAFETY: the slot is written once, by the constructor, before `ready` is set; afterwards it is only read.
unsafe impl Sync for Slot {}

static SLOT: Slot = Slot { state: UnsafeCell::new(MaybeUninit::uninit()), ready: AtomicBool::new(false) };

/// Publishes the state. Only the constructor calls it, once.
pub(crate) fn publish(state: State) -> &'static State {
    // SAFETY: `ready` is false, so no reader exists, and the constructor runs once.
    let place = unsafe { &mut *SLOT.state.get() };
    let state: &'static State = place.write(state);
    SLOT.ready.store(true, Ordering::Release);
    let (start, length) = (&raw const SLOT as usize, size_of::<Slot>());
    // Where it fails, it stays writable, as everything else of ours in this process.
    let _ = sys::protect(start, length, sys::Use::Read);
    shielded::add(start, length);
    shielded::add(&raw const INVOKED as usize, size_of::<Invoked>());
    shielded::keep_for_good();
    state
}

/// The state; `None` in a process that the library stays out of.
pub(crate) fn get() -> Option<&'static State> {
    if !SLOT.ready.load(Ordering::Acquire) {
        return None;
    }
    // SAFETY: `ready` is set after the write, and nothing writes again.
    Some(unsafe { (*SLOT.state.get()).assume_init_ref() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_policy::{Date, Policy};

    #[test]
    fn rules_on_writing_in_procfs_have_no_other_file_asked_about() {
        let rules = |keys: &str, kernel_covers| {
            let text = format!("version = 1\nmode = \"enforce\"\n[files]\ndeny_write = {keys}\n");
            let policy = Policy::parse("policy.toml", &text).unwrap().policy;
            let compiled = policy.compile(Date { year: 2026, month: 11, day: 22 }).unwrap();
            let rules = Rules::of(&CompiledPolicy::new(&compiled).unwrap(), kernel_covers);
            (rules.write, rules.write_in_proc, rules.procfs_looks_empty)
        };
        assert_eq!(rules("[\"/proc/*/mem\", \"/proc/*/task/*/mem\"]", 0), (false, true, true));
        assert_eq!(rules("[\"/proc/*/mem\", \"/tmp/x\"]", 0), (true, false, true));
        assert_eq!(rules("[\"/proc/kcore\"]", 0), (false, true, false), "it has a size");
        for decided in [covers::OPEN_WRITE, covers::OPENS_ASKED] {
            assert_eq!(rules("[\"/proc/*/mem\"]", decided), (false, false, true), "the guard judges");
        }
    }

    #[test]
    fn rules_that_speak_of_files_with_a_size_are_known() {
        for (pattern, expected) in [
            ("/proc/*/environ", false),
            ("/proc/self/mem", false),
            ("/var/task/**", false),
            ("/proc/kcore", true),
            ("/proc/k*", true),
            ("/proc/**", true),
            ("/proc/bus/pci/01/02.0", true),
        ] {
            let text = format!("version = 1\nmode = \"enforce\"\n[files]\ndeny_read = [\"{pattern}\"]\n");
            let policy = Policy::parse("policy.toml", &text).unwrap().policy;
            let compiled = policy.compile(Date { year: 2026, month: 11, day: 22 }).unwrap();
            let found = may_have_a_size(&CompiledPolicy::new(&compiled).unwrap());
            assert_eq!(found, expected, "{pattern}");
        }
    }
}

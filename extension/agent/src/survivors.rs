//! Processes that outlive their invocation.
//!
//! What runs when init ends may stay; what appears later and is still there when an invocation is over does not
//! belong. It finds and kills; whether it may is decided by the policy, and what is written down by
//! [`crate::lifecycle`]. Processes of other extensions are told by their ancestors, or where these are gone by what a
//! process of the function has and theirs have not, and left alone.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::budget::Budget;
use crate::proc::{self, Process};

/// Most survivors that are told one by one after an invocation; more are counted. Lambda allows 1,024 processes.
const MAX_TOLD: usize = 1024;
/// Rounds of looking and killing: a process that forks faster than it is killed needs some.
const ROUNDS: usize = 4;
/// Looks that may be left out in a row because no number was given out: a process that forks until the numbers have gone
/// round to the same one is found a few invocations later.
const MAX_SKIPPED: usize = 8;
/// Ancestors of a process that are looked at.
const MAX_ANCESTORS: usize = 16;
/// Most processes that are remembered; Lambda allows 1,024.
const MAX_KNOWN: usize = 4096;
/// Clock ticks in a second, as proc(5) counts them on every machine that Lambda has.
const TICKS: u128 = 100;

/// The processes that may stay.
#[derive(Debug)]
pub(crate) struct Survivors {
    proc: PathBuf,
    /// Process id and start time, which together name a process (proc(5)).
    known: HashMap<u32, u64>,
    /// Which of the known is looked at next, to notice that its number is another process's by now.
    turn: usize,
    /// The number that was given out last when everything was looked at.
    last: Option<u32>,
    /// Invocations since then.
    skipped: usize,
    /// Killed for another reason a moment ago: perhaps they are still there.
    ended: Vec<(u32, u64)>,
    /// Whether another extension runs here: then a process without ancestors may be its daemon.
    has_neighbours: bool,
}

/// A process that should be gone.
#[derive(Debug)]
pub(crate) struct Survivor {
    pub(crate) process: Process,
    pub(crate) killed: bool,
}

/// What was found at one end.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The first of them.
    pub(crate) told: Vec<Survivor>,
    /// All of them.
    pub(crate) count: u64,
}

/// How survivors are settled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    /// Whether they are killed.
    pub(crate) kills: bool,
    /// Only what was surely there at this time (proc(5), `starttime`); what is younger may be the next invocation's.
    pub(crate) before: Option<u64>,
    /// Never these: what waits for the next event, and its ancestors.
    pub(crate) spared: &'a [u32],
    pub(crate) budget: &'a Budget,
}

/// Where a process comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Function,
    /// Another extension, or the platform.
    Elsewhere,
    /// Its ancestors are gone.
    Orphan,
}

/// The start time of a process that was started at `time`, as proc(5) counts it; 0 where that was before the boot.
pub(crate) fn ticks_at(time: SystemTime) -> u64 {
    let clock = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map(Duration::from);
    let ago = SystemTime::now().duration_since(time).unwrap_or_default();
    let since_boot = clock.unwrap_or_default().saturating_sub(ago);
    u64::try_from(since_boot.as_millis() * TICKS / 1000).unwrap_or(0)
}

impl Survivors {
    /// Knows no process yet.
    pub(crate) fn new() -> Self {
        Self {
            proc: PathBuf::from("/proc"),
            known: HashMap::new(),
            turn: 0,
            last: None,
            skipped: 0,
            ended: Vec::new(),
            has_neighbours: false,
        }
    }

    /// Everything that runs now may stay.
    pub(crate) fn know_all(&mut self, ours: &Ours) {
        let processes = proc::ids(&self.proc).filter_map(|id| proc::stat(&self.proc, id));
        self.known = processes.take(MAX_KNOWN).map(|found| (found.id, found.started)).collect();
        self.has_neighbours = self.known.keys().any(|id| {
            !ours.is_one(*id)
                && proc::is_own(&self.proc.join(id.to_string()))
                && !self.is_of_the_function(*id, ours)
        });
    }

    /// Looks for processes that are not known, and kills them where that is wished. `ours` are never touched, nor what
    /// is spared.
    pub(crate) fn settle(&mut self, wish: Wish<'_>, ours: &Ours) -> Found {
        if self.nothing_was_started() {
            return Found::default();
        }
        self.recheck_one();
        let (mut found, mut seen) = (Found::default(), HashSet::new());
        for _ in 0..ROUNDS {
            let processes = self.find(wish, ours);
            let is_done = processes.is_empty() || !wish.kills;
            for process in processes {
                self.settle_one(process, wish.kills, (&mut found, &mut seen));
            }
            if is_done || !wish.budget.has_time() {
                break;
            }
        }
        self.ended.clear();
        if found.count > 0 || wish.budget.was_short() {
            // Perhaps not all of them are gone: look again next time.
            self.last = None;
        }
        found
    }

    fn settle_one(
        &mut self,
        process: Process,
        kills: bool,
        (found, seen): (&mut Found, &mut HashSet<(u32, u64)>),
    ) {
        let killed = kills && self.kill(&process);
        if !killed {
            // Told once, not after every invocation.
            self.known.insert(process.id, process.started);
        }
        if seen.insert((process.id, process.started)) {
            found.count += 1;
            if found.told.len() < MAX_TOLD {
                found.told.push(Survivor { process, killed });
            }
        }
    }

    /// Whether no process or thread was started since the last look: then there is nothing to find.
    fn nothing_was_started(&mut self) -> bool {
        let last = proc::last_id(&self.proc);
        let same = last.is_some() && last == self.last && self.skipped < MAX_SKIPPED;
        self.skipped = if same { self.skipped + 1 } else { 0 };
        self.last = last;
        same
    }

    fn find(&mut self, wish: Wish<'_>, ours: &Ours) -> Vec<Process> {
        let is_new =
            |id: &u32| !self.known.contains_key(id) && !ours.is_one(*id) && !wish.spared.contains(id);
        let unknown: Vec<u32> = proc::ids(&self.proc).filter(is_new).collect();
        let mut found = Vec::new();
        for id in unknown {
            if !wish.budget.has_time() {
                break;
            }
            let Some(process) = proc::read(&self.proc, id) else { continue };
            let has_ended = process.is_dead || self.ended.contains(&(process.id, process.started));
            if !process.is_own || has_ended {
                continue;
            }
            if wish.before.is_some_and(|before| process.started >= before) {
                // Perhaps the next invocation's: looked at again at its end.
                self.last = None;
            } else if self.may_stay(&process, ours) {
                self.known.insert(process.id, process.started);
            } else {
                found.push(process);
            }
        }
        found
    }

    /// Whether it is another extension's. A daemon has left its ancestors: one of the function is told by the library in it
    /// or by the guard's filter on it. Where no other extension runs it can only be the function's.
    fn may_stay(&self, process: &Process, ours: &Ours) -> bool {
        match self.origin(process, ours) {
            Origin::Function => false,
            Origin::Elsewhere => true,
            Origin::Orphan => {
                self.has_neighbours
                    && !proc::has_library(&self.proc, process.id)
                    && !proc::is_filtered_more(&self.proc, process.id)
            }
        }
    }

    /// A helper that the function started during init may stay itself, but what it starts later is the function's.
    fn origin(&self, process: &Process, ours: &Ours) -> Origin {
        let line: Vec<u32> = self.line(process.parent).take_while(|id| *id != ours.platform).collect();
        if line.iter().any(|id| self.is_marked(*id, ours)) {
            return Origin::Function;
        }
        let is_known = |id: &u32| *id > 1 && !ours.adopts(*id) && self.known.contains_key(id);
        if line.iter().any(is_known) { Origin::Elsewhere } else { Origin::Orphan }
    }

    /// `id` and its ancestors.
    fn line(&self, id: u32) -> impl Iterator<Item = u32> {
        let parent = |id: &u32| proc::stat(&self.proc, *id).map(|found| found.parent);
        let line = std::iter::successors(Some(id), parent);
        line.take(MAX_ANCESTORS).take_while(|id| *id > 0)
    }

    /// `id` and its ancestors up to the runtime.
    pub(crate) fn line_to_runtime(&self, id: u32, ours: &Ours) -> Vec<u32> {
        self.line(id).take_while(|id| *id != ours.runtime && *id > 1).collect()
    }

    fn is_marked(&self, id: u32, ours: &Ours) -> bool {
        // A daemon has left its parents, and is told by the library.
        id != 0 && (id == ours.runtime || id == ours.guard || proc::has_library(&self.proc, id))
    }

    /// Whether `id` is a process of the function.
    pub(crate) fn is_of_the_function(&self, id: u32, ours: &Ours) -> bool {
        self.line(id).any(|id| self.is_marked(id, ours))
    }

    /// Kills a process that is no survivor, and is not to be told as one either.
    pub(crate) fn end(&mut self, process: &Process) -> bool {
        let killed = self.kill(process);
        if killed && self.ended.len() < MAX_KNOWN {
            self.ended.push((process.id, process.started));
        }
        killed
    }

    /// Kills a process if it still is the one that was found.
    fn kill(&self, process: &Process) -> bool {
        let same = proc::stat(&self.proc, process.id).is_some_and(|now| now.started == process.started);
        let id = i32::try_from(process.id).ok().filter(|id| *id > 1);
        same && id.is_some_and(|id| kill(Pid::from_raw(id), Signal::SIGKILL).is_ok())
    }

    fn recheck_one(&mut self) {
        self.turn = self.turn.wrapping_add(1);
        let at = self.turn.checked_rem(self.known.len()).unwrap_or(0);
        let Some((id, started)) = self.known.iter().nth(at).map(|(id, started)| (*id, *started)) else {
            return;
        };
        if proc::stat(&self.proc, id).is_none_or(|now| now.started != started) {
            self.known.remove(&id);
        }
    }
}

/// Processes that are never survivors.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ours {
    pub(crate) agent: u32,
    /// The platform's process that started the agent: it adopts orphans.
    pub(crate) platform: u32,
    pub(crate) guard: u32,
    /// The guard's witness: a copy of the guard that no process can look into.
    pub(crate) witness: u32,
    pub(crate) runtime: u32,
}

impl Ours {
    pub(crate) fn is_one(&self, id: u32) -> bool {
        [self.agent, self.platform, self.guard, self.witness, self.runtime].contains(&id) || id <= 1
    }

    /// Whether children of `id` are the function's.
    const fn adopts(&self, id: u32) -> bool {
        id == self.platform || id == self.guard || id == self.runtime
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    /// Starts `sleep` and knows everything else that runs, so that nothing but the child can be found.
    fn child() -> Child {
        Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap()
    }

    fn ours() -> Ours {
        Ours { agent: 0, platform: 0, guard: 0, witness: 0, runtime: std::process::id() }
    }

    fn only(survivors: &mut Survivors, child: &Child) {
        survivors.know_all(&ours());
        survivors.known.remove(&child.id());
    }

    #[test]
    fn what_runs_at_the_end_of_init_may_stay() {
        let mut child = child();
        let mut survivors = Survivors::new();
        survivors.know_all(&ours());
        assert!(survivors.known.contains_key(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_stays_is_told_once_and_killed_where_asked() {
        let mut child = child();
        let mut survivors = Survivors::new();
        only(&mut survivors, &child);
        let found = proc::read(&survivors.proc, child.id()).unwrap();
        assert!(found.is_own && !found.is_dead);
        assert_eq!(found.parent, std::process::id());
        assert!(!survivors.may_stay(&found, &ours()));
        assert!(survivors.kill(&found));
        assert!(!child.wait().unwrap().success());
        assert!(!survivors.kill(&found), "a process that is gone cannot be killed again");
    }

    #[test]
    fn a_number_that_is_another_process_by_now_is_not_killed() {
        let mut child = child();
        let survivors = Survivors::new();
        let mut found = proc::read(&survivors.proc, child.id()).unwrap();
        found.started += 1;
        assert!(!survivors.kill(&found));
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn what_a_helper_of_init_starts_later_is_the_functions() {
        use std::io::{BufRead, BufReader};
        let mut helper = Command::new("sh")
            .args(["-c", "sleep 600 & echo $!; wait"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(helper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let grandchild: u32 = line.trim().parse().unwrap();
        let mut survivors = Survivors::new();
        survivors.know_all(&ours());
        survivors.known.remove(&grandchild);
        let found = proc::read(&survivors.proc, grandchild).unwrap();
        assert!(survivors.may_stay(&found, &Ours { runtime: 0, ..ours() }));
        assert!(!survivors.may_stay(&found, &ours()), "the runtime started the helper");
        assert!(survivors.kill(&found));
        helper.wait().unwrap();
    }

    #[test]
    fn children_of_other_extensions_are_left_alone() {
        let mut child = child();
        let mut survivors = Survivors::new();
        only(&mut survivors, &child);
        let found = proc::read(&survivors.proc, child.id()).unwrap();
        let nobody = Ours { runtime: 0, ..ours() };
        assert!(survivors.may_stay(&found, &nobody), "its parent, the test, was there before");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// A process whose parent is gone. It is this test's child subreaper's, or init's.
    fn orphan() -> u32 {
        use std::io::{BufRead, BufReader};
        let mut parent = Command::new("sh")
            .args(["-c", "sleep 600 >/dev/null & echo $!"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
        parent.wait().unwrap();
        line.trim().parse().unwrap()
    }

    #[test]
    fn a_daemon_without_a_mark_is_left_alone_only_where_another_extension_runs() {
        let id = orphan();
        let mut survivors = Survivors::new();
        let found = proc::read(&survivors.proc, id).unwrap();
        let adopter = Ours { agent: 0, platform: found.parent, guard: 0, witness: 0, runtime: 0 };
        assert!(!survivors.may_stay(&found, &adopter), "it can only be the function's");
        survivors.has_neighbours = true;
        assert!(survivors.may_stay(&found, &adopter));
        assert!(survivors.kill(&found));
    }

    #[test]
    fn what_may_be_younger_than_the_answer_is_looked_at_again_later() {
        let mut child = child();
        let mut survivors = Survivors::new();
        only(&mut survivors, &child);
        let started = proc::stat(&survivors.proc, child.id()).unwrap().started;
        let budget = Budget::new(Duration::from_mins(10));
        let mut find = |before| {
            let wish = Wish { kills: false, before: Some(before), spared: &[], budget: &budget };
            survivors.find(wish, &ours()).iter().any(|found| found.id == child.id())
        };
        assert!(!find(started));
        assert!(find(started + 1));
        let now = ticks_at(SystemTime::now());
        assert!((started..started + 6000).contains(&now), "{started} {now}");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn what_waits_for_the_next_event_is_spared() {
        let mut child = child();
        let mut survivors = Survivors::new();
        only(&mut survivors, &child);
        let spared = survivors.line_to_runtime(child.id(), &ours());
        assert_eq!(spared, [child.id()]);
        let budget = Budget::new(Duration::from_mins(10));
        let wish = Wish { kills: true, before: None, spared: &spared, budget: &budget };
        assert!(survivors.find(wish, &ours()).iter().all(|found| found.id != child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

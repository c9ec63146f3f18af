//! Processes that outlive their invocation.
//!
//! What runs when init ends may stay; what appears later and is still there when an invocation is over does not
//! belong. It finds and kills; whether it may is decided by the policy, and what is written down by
//! [`crate::lifecycle`]. Children of other extensions are told by their parents and left alone.

use std::collections::HashMap;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::proc::{self, Process};

/// Most survivors that are told after one invocation.
const MAX_TOLD: usize = 32;
/// Rounds of looking and killing: a process that forks faster than it is killed needs some.
const ROUNDS: usize = 4;
/// Looks that may be left out in a row because no number was given out: whoever forks until the numbers have gone
/// round to the same one is found a few invocations later.
const MAX_SKIPPED: usize = 8;
/// Ancestors of a process that are looked at.
const MAX_ANCESTORS: usize = 16;
/// Most processes that are remembered; Lambda allows 1,024.
const MAX_KNOWN: usize = 4096;

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
}

/// A process that should be gone.
#[derive(Debug)]
pub(crate) struct Survivor {
    pub(crate) process: Process,
    pub(crate) killed: bool,
}

impl Survivors {
    /// Knows nobody yet.
    pub(crate) fn new() -> Self {
        Self {
            proc: PathBuf::from("/proc"),
            known: HashMap::new(),
            turn: 0,
            last: None,
            skipped: 0,
            ended: Vec::new(),
        }
    }

    /// Everything that runs now may stay.
    pub(crate) fn know_all(&mut self) {
        let processes = proc::ids(&self.proc).filter_map(|id| proc::stat(&self.proc, id));
        self.known = processes.take(MAX_KNOWN).map(|found| (found.id, found.started)).collect();
    }

    /// Looks for processes that are not known, and kills them where `kills`. `ours` are never touched, nor `root`,
    /// the platform's process above us.
    pub(crate) fn settle(&mut self, kills: bool, ours: &Ours) -> Vec<Survivor> {
        if self.nothing_was_started() {
            return Vec::new();
        }
        self.recheck_one();
        let mut told: Vec<Survivor> = Vec::new();
        for _ in 0..ROUNDS {
            let found = self.find(ours);
            if found.is_empty() {
                break;
            }
            for process in found {
                let killed = kills && self.kill(&process);
                let again = told.iter().any(|survivor| survivor.process.id == process.id);
                if !killed {
                    // Told once, not after every invocation.
                    self.known.insert(process.id, process.started);
                }
                if !again && told.len() < MAX_TOLD {
                    told.push(Survivor { process, killed });
                }
            }
            if !kills {
                break;
            }
        }
        self.ended.clear();
        if !told.is_empty() {
            // Perhaps not all of them are gone: look again next time.
            self.last = None;
        }
        told
    }

    /// Whether no process or thread was started since the last look: then there is nothing to find.
    fn nothing_was_started(&mut self) -> bool {
        let last = proc::last_id(&self.proc);
        let same = last.is_some() && last == self.last && self.skipped < MAX_SKIPPED;
        self.skipped = if same { self.skipped + 1 } else { 0 };
        self.last = last;
        same
    }

    fn find(&mut self, ours: &Ours) -> Vec<Process> {
        let unknown: Vec<u32> =
            proc::ids(&self.proc).filter(|id| !self.known.contains_key(id) && !ours.is_one(*id)).collect();
        let mut found = Vec::new();
        for id in unknown {
            let Some(process) = proc::read(&self.proc, id) else { continue };
            let has_ended = process.is_dead || self.ended.contains(&(process.id, process.started));
            if !process.is_own || has_ended {
                continue;
            }
            if self.belongs_to_another_extension(&process, ours) {
                self.known.insert(process.id, process.started);
            } else {
                found.push(process);
            }
        }
        found
    }

    /// Its parent may stay and is neither the runtime, nor ours, nor one that adopts orphans, nor was it started by one
    /// of these: a helper that the function started during init may stay itself, but what it starts later may not.
    fn belongs_to_another_extension(&self, process: &Process, ours: &Ours) -> bool {
        let parent = process.parent;
        parent > 1
            && !ours.adopts(parent)
            && self.known.contains_key(&parent)
            && !self.is_of_the_function(parent, ours)
    }

    fn is_of_the_function(&self, id: u32, ours: &Ours) -> bool {
        let ancestors = std::iter::successors(Some(id), |id| {
            proc::stat(&self.proc, *id).map(|found| found.parent).filter(|parent| *parent > 1)
        });
        // A daemon has left its parents, and is told by the library.
        ancestors.take(MAX_ANCESTORS).any(|id| {
            id == ours.runtime || (ours.guard != 0 && id == ours.guard) || proc::has_library(&self.proc, id)
        })
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
    /// The guard's witness: a copy of the guard that nobody can look into.
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
        survivors.know_all();
        survivors.known.remove(&child.id());
    }

    #[test]
    fn what_runs_at_the_end_of_init_may_stay() {
        let mut child = child();
        let mut survivors = Survivors::new();
        survivors.know_all();
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
        assert!(!survivors.belongs_to_another_extension(&found, &ours()));
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
        survivors.know_all();
        survivors.known.remove(&grandchild);
        let found = proc::read(&survivors.proc, grandchild).unwrap();
        assert!(survivors.belongs_to_another_extension(&found, &Ours { runtime: 0, ..ours() }));
        assert!(!survivors.belongs_to_another_extension(&found, &ours()), "the runtime started the helper");
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
        assert!(
            survivors.belongs_to_another_extension(&found, &nobody),
            "its parent, the test, was there before"
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

//! Which processes are the function's.
//!
//! The runtime is, whatever descends from it, and whatever appears after init unless another extension started it. It
//! reads the process table; what the processes do is looked at by [`super`].

use std::collections::HashMap;
use std::hash::RandomState;
use std::path::Path;

use super::image::Image;
use super::mappings::Extent;
use crate::proc::{self, Stat};
use crate::survivors::Ours;

/// Most processes that are watched at once; Lambda allows 1,024.
const MAX_WATCHED: usize = 1024;
/// Ancestors of a process that are looked at.
const MAX_ANCESTORS: usize = 16;

/// A process of the function.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) id: u32,
    pub(super) started: u64,
    /// Its image when it was last looked at; `None` before, and where it cannot be read.
    pub(super) image: Option<Image>,
    pub(super) extent: Extent,
    pub(super) code: u64,
    /// Looks since its mappings were read.
    pub(super) since: u32,
    /// Whether init may have made its mappings: until they are first read.
    pub(super) is_of_init: bool,
    /// Whether the kernel refused to let us look at it, the last time.
    pub(super) is_refused: bool,
}

impl Watched {
    const fn new(id: u32, started: u64) -> Self {
        Self {
            id,
            started,
            image: None,
            extent: (0, 0),
            code: 0,
            since: 0,
            is_of_init: false,
            is_refused: false,
        }
    }
}

/// The function's processes, and those that are not its.
#[derive(Debug, Default)]
pub(super) struct Census {
    pub(super) watched: Vec<Watched>,
    /// Other extensions, the platform, processes of other users: number and start time.
    foreign: HashMap<u32, u64>,
    /// Whether a process that runs as our user is none of the function's: another extension.
    pub(super) has_neighbours: bool,
    /// Which of the foreign is looked at next.
    turn: usize,
}

impl Census {
    /// Takes stock at the end of init.
    pub(super) fn begin(&mut self, proc: &Path, ours: &Ours, state: &RandomState) {
        *self = Self::default();
        let table: HashMap<u32, Stat> =
            proc::ids(proc).filter_map(|id| Some((id, proc::stat(proc, id)?))).collect();
        for found in table.values().filter(|found| !ours.is_one(found.id) || found.id == ours.runtime) {
            if descends(found.id, &table, ours) || proc::has_library(proc, found.id) {
                let mut watched = Watched::new(found.id, found.started);
                watched.image = Image::of(proc, found.id, state);
                watched.is_of_init = true;
                self.watched.push(watched);
            } else {
                self.add_foreign(proc, found);
            }
        }
    }

    fn add_foreign(&mut self, proc: &Path, found: &Stat) {
        self.has_neighbours |= proc::is_own(&proc.join(found.id.to_string()));
        if self.foreign.len() < 4 * MAX_WATCHED {
            self.foreign.insert(found.id, found.started);
        }
    }

    /// Forgets processes that are gone and takes in new ones.
    pub(super) fn renew(&mut self, proc: &Path, ours: &Ours) {
        let is_there =
            |id, started| proc::stat(proc, id).is_some_and(|now| now.started == started && !now.is_dead);
        self.watched.retain(|watched| is_there(watched.id, watched.started));
        self.recheck_one(proc);
        let known =
            |id: &u32| self.foreign.contains_key(id) || self.watched.iter().any(|watched| watched.id == *id);
        let new: Vec<u32> = proc::ids(proc).filter(|id| !ours.is_one(*id) && !known(id)).collect();
        for found in new.into_iter().filter_map(|id| proc::stat(proc, id)).filter(|found| !found.is_dead) {
            let own = proc::is_own(&proc.join(found.id.to_string()));
            if !own || self.foreign.contains_key(&found.parent) {
                self.add_foreign(proc, &found);
            } else if self.watched.len() < MAX_WATCHED {
                self.watched.push(Watched::new(found.id, found.started));
            }
        }
    }

    /// A number of another extension's process may be another process's by now.
    fn recheck_one(&mut self, proc: &Path) {
        self.turn = self.turn.wrapping_add(1);
        let at = self.turn.checked_rem(self.foreign.len()).unwrap_or(0);
        let Some((id, started)) = self.foreign.iter().nth(at).map(|(id, started)| (*id, *started)) else {
            return;
        };
        if proc::stat(proc, id).is_none_or(|now| now.started != started) {
            self.foreign.remove(&id);
        }
    }
}

/// Whether the runtime, or the guard that stays as its parent, is among the ancestors of `id`.
fn descends(id: u32, table: &HashMap<u32, Stat>, ours: &Ours) -> bool {
    let parent = |id: &u32| table.get(id).map(|found| found.parent).filter(|parent| *parent > 1);
    let mut line = std::iter::successors(Some(id), parent).take(MAX_ANCESTORS);
    line.any(|id| id == ours.runtime || (ours.guard != 0 && id == ours.guard))
}

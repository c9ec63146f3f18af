//! Executions and mappings that no plane saw, process by process.
//!
//! A process whose image is neither the one that it had nor one that it could have been forked with has executed
//! something. [`super`] asks at each look.

use std::hash::BuildHasher;
use std::io::ErrorKind;

use ringfence_policy::{Decision, Role};
use ringfence_records::message::ActionKind;

use super::census::Watched;
use super::image::Image;
use super::{Detector, Finding, MAX_REMEMBERED, Scene, mappings};
use crate::proc;

/// Looks at which mappings are not read although memory has changed: code that is writable too does not move the counter
/// of code.
const MAX_SKIPPED: u32 = 8;

const FOUND_RUNNING: &[u8] = b"found running: no plane stopped its start";
const RUNTIME_REPLACED: &[u8] = b"the runtime's process has executed something, and no plane stopped it";
const FOUND_MAPPED: &[u8] = b"found mapped: no plane stopped it";

impl Detector {
    /// Looks at every process of the function.
    pub(super) fn look_at_processes(&mut self, scene: &Scene<'_>, found: &mut Vec<Finding>) {
        let mut watched = std::mem::take(&mut self.census.watched);
        for index in 0..watched.len() {
            self.look_at_process(&mut watched, index, scene, found);
        }
        self.census.watched = watched;
    }

    fn look_at_process(
        &mut self,
        all: &mut [Watched],
        index: usize,
        scene: &Scene<'_>,
        found: &mut Vec<Finding>,
    ) {
        let Some(watched) = all.get(index) else { return };
        let (id, before) = (watched.id, watched.image);
        let may_be_of_init = watched.is_of_init && before.is_none();
        let Some(image) = Image::of(&self.proc, id, &self.state) else {
            all.get_mut(index).into_iter().for_each(|watched| self.cannot_look_at(watched));
            return;
        };
        let was_there = |known: &Watched| known.image.is_some_and(|known| known.mark == image.mark);
        let is_fork = before.is_none() && all.iter().any(was_there) && !self.condemned.contains(&image.mark);
        let has_executed = !is_fork && before.is_none_or(|before| before.mark != image.mark);
        if scene.checks.exec && has_executed {
            found.extend(self.judge_exec(id, &image, &scene.since_init(may_be_of_init)));
        }
        let Some(watched) = all.get_mut(index) else { return };
        watched.image = Some(image);
        if scene.checks.mappings {
            self.look_at_mappings(watched, &image, has_executed, scene, found);
        }
    }

    /// It is gone, or is about to be, or has closed itself to its own user: then it is counted, the second time.
    fn cannot_look_at(&mut self, watched: &mut Watched) {
        let exe = self.proc.join(watched.id.to_string()).join("exe");
        let is_refused =
            std::fs::read_link(exe).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
        let was_refused = std::mem::replace(&mut watched.is_refused, is_refused);
        self.has_unreadable |= is_refused && was_refused;
    }

    fn judge_exec(&mut self, id: u32, image: &Image, scene: &Scene<'_>) -> Option<Finding> {
        let process =
            proc::read(&self.proc, id).filter(|process| !process.exe.is_empty() && !process.is_dead)?;
        let by_runtime = id == scene.ours.runtime;
        let verdict = scene.judge.exec(&process, image, role(by_runtime));
        if verdict.decision == Decision::Allow {
            return None;
        }
        if self.condemned.len() < MAX_REMEMBERED {
            self.condemned.insert(image.mark);
        }
        Some(Finding {
            verdict,
            action: ActionKind::Exec,
            path: process.exe.clone(),
            address: None,
            by_runtime,
            detail: if by_runtime { RUNTIME_REPLACED } else { FOUND_RUNNING },
            process: Some(process),
        })
    }

    fn look_at_mappings(
        &mut self,
        watched: &mut Watched,
        image: &Image,
        has_executed: bool,
        scene: &Scene<'_>,
        found: &mut Vec<Finding>,
    ) {
        if !self.have_changed(watched) && !has_executed {
            return;
        }
        watched.since = 0;
        let scene = scene.since_init(std::mem::take(&mut watched.is_of_init));
        let planted = mappings::planted(&self.proc, watched.id);
        if planted.is_empty() {
            return;
        }
        let Some(process) = proc::read(&self.proc, watched.id) else { return };
        let by_runtime = watched.id == scene.ours.runtime;
        for (path, origin) in planted {
            // Also where the file was removed since, and in forks of the process.
            let name = path.strip_suffix(b" (deleted)").unwrap_or(&path);
            let key = self.state.hash_one((image.mark, name));
            if path == process.exe || self.mapped.len() >= MAX_REMEMBERED || !self.mapped.insert(key) {
                continue;
            }
            let verdict = scene.judge.mapping(&path, origin, role(by_runtime));
            if verdict.decision != Decision::Allow {
                found.push(Finding {
                    verdict,
                    action: ActionKind::MapExecutable,
                    path,
                    address: None,
                    process: Some(process.clone()),
                    by_runtime,
                    detail: FOUND_MAPPED,
                });
            }
        }
    }

    /// Whether a process may have mapped code since its mappings were read.
    fn have_changed(&self, watched: &mut Watched) -> bool {
        let Some(extent) = mappings::extent(&self.proc, watched.id) else { return false };
        if std::mem::replace(&mut watched.extent, extent) == extent {
            return false;
        }
        let code = mappings::code_size(&self.proc, watched.id).unwrap_or(0);
        watched.since += 1;
        std::mem::replace(&mut watched.code, code) != code || watched.since >= MAX_SKIPPED
    }
}

pub(super) const fn role(by_runtime: bool) -> Role {
    if by_runtime { Role::Runtime } else { Role::Child }
}

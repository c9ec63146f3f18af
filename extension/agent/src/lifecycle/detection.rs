//! When the agent looks for what got past the planes, and what it does about it.
//!
//! [`crate::detect`] finds; here a finding becomes a record, and its process is killed where the policy says that it
//! must not be. The runtime itself is never killed: its death fails the invocation and each caller's next one, and would
//! undo nothing of what it has done. [`super`] asks at the end of each invocation and now and then during a long one.

use ringfence_policy::{Decision, Phase, Plane};
use ringfence_records::message::{ActionKind, Kind, Outcome, Report};

use crate::agent::Agent;
use crate::detect::{Checks, Finding, Judge, Scene};
use crate::poller::Poller;

impl Agent {
    /// What is there now may stay. Of a runtime whose calls no plane sees, programs that it started in init are judged too.
    pub(crate) fn begin_detection(&self) {
        let unseen = self.asking.borrow().poller == Poller::Unseen;
        self.with_scene(|scene| self.detector.borrow_mut().begin(scene, unseen));
    }

    /// The first invocation begins.
    pub(super) fn begin_detection_of_invocations(&self) {
        self.with_scene(|scene| self.detector.borrow_mut().begin_invocations(scene));
    }

    /// What is looked for here.
    pub(super) fn detects(&self) -> Checks {
        let mut checks = Checks::NONE;
        self.with_scene(|scene| checks = if scene.ours.runtime == 0 { Checks::NONE } else { scene.checks });
        checks
    }

    /// Looks, kills what must not be, and tells.
    pub(super) fn detect(&self) {
        let (begun, mut found) = (std::time::Instant::now(), Vec::new());
        self.with_scene(|scene| found = self.detector.borrow_mut().look(scene));
        tracing::trace!(target: "detection", found = found.len(), took_us = super::micros(begun), "looked past the planes");
        for finding in &found {
            self.tell_finding(finding);
        }
        self.tell_of_unreadable();
    }

    /// Gives what a look needs to `look`; not under Managed Instances, whose workers cannot be told from children.
    fn with_scene(&self, look: impl FnOnce(&Scene<'_>)) {
        let (Some(rules), false) = (self.rules.get(), self.managed.get()) else { return };
        let guarded = self.guarded.borrow();
        let Some(hello) = guarded.hello.as_ref() else { return };
        let strongest = hello.strongest.unwrap_or(Plane::Platform);
        let mut checks = Checks::new(rules, strongest);
        if self.resolver_port == 0 {
            // No name is tied to an address, so an allowed connection cannot be told.
            checks = checks.without_egress();
        }
        // Of another policy the agent does not know the names.
        if checks.are_none() || hello.policy_hash != rules.hash {
            return;
        }
        let judge = Judge {
            rules,
            page: &self.page,
            phase: self.judged_phase(),
            strongest,
            api: self.settings.api_address(),
            names_are_tied: self.names_are_tied(),
            since_init: false,
        };
        let asking = self.asking.borrow();
        let poller = if asking.poller == Poller::Child { asking.exe.as_slice() } else { &[] };
        look(&Scene {
            judge,
            poller,
            checks,
            ours: self.ours(),
            spare: hello.spare,
            deliveries: self.deliveries.get(),
            delivery_waits: &|| self.listener.get().is_some_and(|listener| listener.has_one_waiting()),
            name_servers: &|| self.name_servers(),
        });
    }

    /// What is found between two invocations was done in the last one.
    fn judged_phase(&self) -> Phase {
        match self.current.borrow().phase {
            Phase::Init => Phase::Init,
            _ => Phase::Invoke,
        }
    }

    fn tell_finding(&self, finding: &Finding) {
        let must_end = finding.verdict.decision == Decision::Deny && !finding.by_runtime;
        let process = finding.process.as_ref();
        let killed = must_end && process.is_some_and(|process| self.survivors.borrow_mut().end(process));
        let mut report = Report::new(Kind::Violation, finding.action);
        report.rule = finding.verdict.rule;
        report.plane = Plane::Platform;
        report.outcome = if killed { Outcome::Killed } else { Outcome::Reported };
        report.path = &finding.path;
        report.address = finding.address;
        report.detail = finding.detail;
        if let Some(process) = process {
            (report.pid, report.parent) = (process.id, process.parent);
            report.exe = &process.exe;
            if finding.action == ActionKind::Exec {
                report.exe = &process.parent_exe;
                process.arguments.iter().for_each(|argument| report.arguments.push(argument));
            }
        }
        self.violation(&report);
    }

    /// Once: a process that has closed itself to its own user is not looked at.
    fn tell_of_unreadable(&self) {
        if self.detector.borrow().has_unreadable() && !self.told_unreadable.replace(true) {
            self.degraded("detection", "a process of the function cannot be looked at (it is not dumpable): what it does beside the planes is not found; told once");
        }
    }
}

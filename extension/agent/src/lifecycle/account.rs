//! What the agent writes of its own: the account of a start, what was left behind, the summary.
//!
//! It gathers what the parts know and fills in records; it decides nothing. [`super`] calls it.

use std::time::Instant;

use ringfence_policy::{Plane, Rule, Survivors};
use ringfence_records::message::{ActionKind, Kind, Outcome, Report};
use ringfence_records::record::{Environment, Protection, Residue, RuleCount, Summary};

use super::Settle;
use crate::agent::{Agent, add};
use crate::clock;
use crate::invocation::Current;
use crate::poller::{EndKnown, Poller};
use crate::proc::resident_kib;
use crate::protection::{self, Abilities, NO_GUARD};
use crate::residue;
use crate::survivors::{Survivor, Wish};

impl Agent {
    /// Gives the account, once in the agent's life: when init is over, since until then the runtime's request for an event
    /// has not shown what the planes see of it.
    pub(crate) fn give_account(&self) {
        let Some(rules) = self.rules.get().filter(|_| !self.accounted.replace(true)) else { return };
        let guarded = self.guarded.borrow();
        let hello = guarded.hello.as_ref();
        let abilities = Abilities {
            ledger: self.ledger.borrow().is_some(),
            end: self.end_known(),
            unseen: self.library_sees_nothing(),
            elsewhere: self.asking.borrow().poller == Poller::Elsewhere,
            by_child: self.asking.borrow().poller == Poller::Child,
            pooled: hello.is_some_and(|hello| hello.spare),
            managed: self.managed.get(),
            resolver: self.resolver_port != 0,
            detects: self.detects(),
        };
        let lines = protection::account(rules, hello, guarded.hook.as_ref(), abilities);
        for line in &lines {
            tracing::debug!(
                target: "claims",
                rule = line.line.rule.as_str(),
                asked = ?line.asked,
                claimed = ?line.line.status,
                plane = line.line.plane.map(Plane::as_str),
                reason = line.line.reason,
                "a rule is in the account"
            );
        }
        let probes: Vec<&[u8]> =
            hello.map(|hello| hello.probes.iter().map(Vec::as_slice).collect()).unwrap_or_default();
        let trouble = match hello {
            // The guard becomes the function's command at once where the policy asks for nothing.
            None if rules.uses.is_empty() => String::new(),
            None => NO_GUARD.to_owned(),
            Some(hello) => {
                hello.refused.as_ref().map(|why| format!("the start is refused: {why}")).unwrap_or_default()
            }
        };
        let telemetry = match self.telemetry.get() {
            Some(Ok(text) | Err(text)) => text,
            None => "not asked for yet",
        };
        let current = self.current.borrow();
        self.emitter.borrow_mut().print(|scene| Protection {
            scene,
            moment: current.moment(clock::now()),
            strongest: hello.and_then(|hello| hello.strongest),
            mode: rules.mode.as_str(),
            source: rules.source.as_bytes(),
            rules: &lines,
            environment: Environment {
                initialization: self.settings.initialization.as_bytes(),
                runtime: hello.map(|hello| hello.runtime.as_slice()).unwrap_or_default(),
                telemetry: telemetry.as_bytes(),
                invocation_end: self.end_is_told_by(),
                probes: &probes,
            },
            trouble: trouble.as_bytes(),
        });
    }

    /// Why the process plane cannot be claimed here. Managed Instances' workers ask for events, and the library in the
    /// runtime's process has only said that it is there.
    fn library_sees_nothing(&self) -> Option<&'static str> {
        let loaded = self.managed.get() && self.current.borrow().launched;
        self.asking.borrow().unseen().filter(|_| !loaded)
    }

    fn end_is_told_by(&self) -> &'static str {
        match self.end_known() {
            EndKnown::Exactly => "runtime",
            EndKnown::Afterwards => "telemetry",
            EndKnown::Never => "nothing",
        }
    }

    /// Settles what is in /tmp, and tells.
    pub(super) fn settle_residue(&self, settle: Settle<'_>, current: &Current) {
        let (Some(rules), false) = (self.rules.get(), self.managed.get()) else { return };
        let mut ledger = self.ledger.borrow_mut();
        let Some(ledger) = ledger.as_mut() else { return };
        let wanted = match rules.residue {
            ringfence_policy::Residue::Wipe if !settle.enforce => ringfence_policy::Residue::Report,
            wanted => wanted,
        };
        if let Some(upto) = settle.upto {
            ledger.seal(upto, settle.budget);
        }
        let begun = Instant::now();
        let settled = residue::settle(ledger, &self.settings.tmp, rules, wanted, settle.budget);
        tracing::debug!(
            target: "ledger",
            wanted = ?wanted,
            found = settled.as_ref().map_or(0, |settled| settled.count),
            took_us = super::micros(begun),
            "/tmp is settled"
        );
        if let Some(trouble) = ledger.trouble() {
            self.degraded("ledger", &trouble);
        }
        let Some(settled) = settled else { return };
        add(&self.totals.residue_entries, settled.count);
        add(&self.totals.residue_bytes, settled.bytes);
        let (entries, failed) = (settled.entries(), settled.failures());
        self.emitter.borrow_mut().print(|scene| Residue {
            scene,
            moment: current.moment(clock::now()),
            outcome: settled.outcome,
            entries: &entries,
            count: settled.count,
            bytes: settled.bytes,
            executables: settled.executables,
            is_partial: settled.is_partial,
            failed: &failed,
        });
    }

    /// Settles processes that are still there, and tells, with the invocation that they belong to.
    pub(super) fn settle_survivors(&self, settle: Settle<'_>, current: &Current) {
        let wanted = self.end_known().survivors(self.rules.get());
        if wanted == Survivors::Allow || self.managed.get() {
            return;
        }
        let begun = Instant::now();
        let ours = self.ours();
        let asking = self.asking.borrow().pid;
        let mut survivors = self.survivors.borrow_mut();
        let spared =
            if asking == ours.runtime { Vec::new() } else { survivors.line_to_runtime(asking, &ours) };
        let found = survivors.settle(
            Wish {
                kills: settle.enforce && wanted == Survivors::Kill,
                before: settle.before(),
                spared: &spared,
                budget: settle.budget,
            },
            &ours,
        );
        drop(survivors);
        tracing::debug!(
            target: "survivors",
            wanted = ?wanted,
            spared = spared.len(),
            found = found.count,
            took_us = super::micros(begun),
            "processes are settled"
        );
        add(&self.totals.survivors, found.count);
        for survivor in &found.told {
            self.tell_survivor(survivor, current);
        }
    }

    fn tell_survivor(&self, survivor: &Survivor, current: &Current) {
        let process = &survivor.process;
        let mut report = Report::new(Kind::Violation, ActionKind::Survive);
        report.rule = Rule::ProcessSurvivors;
        report.plane = Plane::Platform;
        report.outcome = if survivor.killed { Outcome::Killed } else { Outcome::Reported };
        (report.pid, report.parent) = (process.id, process.parent);
        (report.path, report.exe) = (&process.exe, &process.parent_exe);
        process.arguments.iter().for_each(|argument| report.arguments.push(argument));
        self.record_of(&report, current);
    }

    /// Writes everything that waits, and the totals.
    pub(super) fn summarize(&self, reason: &str) {
        let mut emitter = self.emitter.borrow_mut();
        emitter.flush();
        let by_rule = emitter.by_rule.iter();
        let violations: Vec<RuleCount> =
            by_rule.map(|(rule, count)| RuleCount { rule: *rule, count: *count }).collect();
        let lines_dropped = emitter.lines_dropped;
        let current = self.current.borrow();
        emitter.print(|scene| Summary {
            scene,
            moment: current.moment(clock::now()),
            reason: reason.as_bytes(),
            invocations: self.totals.invocations.get(),
            violations: &violations,
            lines_dropped,
            messages_dropped: self.totals.messages_dropped.get(),
            residue_entries: self.totals.residue_entries.get(),
            residue_bytes: self.totals.residue_bytes.get(),
            survivors: self.totals.survivors.get(),
            resident_kib: resident_kib(),
        });
    }
}

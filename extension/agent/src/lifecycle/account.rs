//! What the agent writes of its own: the account of a start, what was left behind, the summary.
//!
//! It gathers what the parts know and fills in records; it decides nothing. [`super`] calls it.

use ringfence_policy::{Plane, Rule, Survivors};
use ringfence_records::message::{ActionKind, Kind, Outcome, Report};
use ringfence_records::record::{Environment, Protection, Residue, RuleCount, Summary};

use crate::agent::{Agent, add};
use crate::clock;
use crate::hook;
use crate::proc::resident_kib;
use crate::protection::{self, Abilities, NO_GUARD};
use crate::residue;
use crate::survivors::Survivor;

impl Agent {
    /// Gives the account as soon as guard and telemetry are known.
    pub(crate) fn give_account_when_complete(&self) {
        let ready = self.telemetry.get().is_some() && self.guarded.borrow().hello.is_some();
        if ready && !self.waits_for_a_hook() {
            self.give_account();
        }
    }

    /// Whether a language hook may still say that it is in. It does before the function's code runs, so before init is over.
    fn waits_for_a_hook(&self) -> bool {
        let guarded = self.guarded.borrow();
        let expected = guarded
            .hello
            .as_ref()
            .is_some_and(|hello| hello.refused.is_none() && hook::is_expected(hello.coverage()));
        expected && guarded.hook.is_none() && self.is_in_init()
    }

    /// Gives the account, once in the agent's life.
    pub(crate) fn give_account(&self) {
        let Some(rules) = self.rules.get().filter(|_| !self.accounted.replace(true)) else { return };
        let guarded = self.guarded.borrow();
        let hello = guarded.hello.as_ref();
        let abilities = Abilities {
            ledger: self.ledger.borrow().is_some(),
            knows_the_end: self.can_know_the_end(),
            managed: self.managed.get(),
            resolver: self.resolver_port != 0,
            detects: self.detects(),
        };
        let lines = protection::account(rules, hello, guarded.hook.as_ref(), abilities);
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

    fn can_know_the_end(&self) -> bool {
        self.runtime_will_tell() || self.knows_the_end()
    }

    /// A guard means a preload library in the runtime, unless the guard says otherwise.
    fn runtime_will_tell(&self) -> bool {
        self.guarded.borrow().hello.as_ref().is_some_and(|hello| !hello.no_preload)
    }

    fn end_is_told_by(&self) -> &'static str {
        match () {
            () if self.managed.get() => "nobody",
            () if self.runtime_will_tell() => "runtime",
            () if self.knows_the_end() => "telemetry",
            () => "nobody",
        }
    }

    /// Settles what is in /tmp, and tells.
    pub(super) fn settle_residue(&self, enforce: bool) {
        let (Some(rules), false) = (self.rules.get(), self.managed.get()) else { return };
        let mut ledger = self.ledger.borrow_mut();
        let Some(ledger) = ledger.as_mut() else { return };
        let wanted = match rules.residue {
            ringfence_policy::Residue::Wipe if !enforce => ringfence_policy::Residue::Report,
            wanted => wanted,
        };
        let settled = residue::settle(ledger, &self.settings.tmp, rules, wanted);
        if let Some(trouble) = ledger.trouble() {
            self.degraded("ledger", &trouble);
        }
        let Some(settled) = settled else { return };
        add(&self.totals.residue_entries, settled.count);
        add(&self.totals.residue_bytes, settled.bytes);
        let (entries, failed) = (settled.entries(), settled.failures());
        let current = self.current.borrow();
        self.emitter.borrow_mut().print(|scene| Residue {
            scene,
            moment: current.moment(clock::now()),
            outcome: settled.outcome,
            entries: &entries,
            count: settled.count,
            bytes: settled.bytes,
            executables: settled.executables,
            failed: &failed,
        });
    }

    /// Settles processes that are still there, and tells.
    pub(super) fn settle_survivors(&self, enforce: bool) {
        let wanted = self.rules.get().map_or(Survivors::Allow, |rules| rules.survivors);
        if wanted == Survivors::Allow || self.managed.get() {
            return;
        }
        let found = self.survivors.borrow_mut().settle(enforce && wanted == Survivors::Kill, &self.ours());
        add(&self.totals.survivors, found.len() as u64);
        for survivor in &found {
            self.tell_survivor(survivor);
        }
    }

    fn tell_survivor(&self, survivor: &Survivor) {
        let process = &survivor.process;
        let mut report = Report::new(Kind::Violation, ActionKind::Survive);
        report.rule = Rule::ProcessSurvivors;
        report.plane = Plane::Platform;
        report.outcome = if survivor.killed { Outcome::Killed } else { Outcome::Reported };
        (report.pid, report.parent) = (process.id, process.parent);
        (report.path, report.exe) = (&process.exe, &process.parent_exe);
        process.arguments.iter().for_each(|argument| report.arguments.push(argument));
        self.record(&report);
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

//! The policy as TOML text: reading it gives the same policy.
//!
//! Packs are already layered in, so nothing is extended. The command line prints policies with it, and what a policy
//! is told apart by in tests is this text.

use std::fmt::Write;

use super::section::Section;
use super::value::{Value, quoted};
use super::{Policy, Sections, When, WhenProcess};
use crate::{Phase, Role};

impl Policy {
    /// The whole policy as TOML, packs included.
    #[must_use]
    pub fn to_toml(&self) -> String {
        // Writing to a string cannot fail.
        let mut out = String::from("version = 1\n");
        line(&mut out, "mode", &self.mode);
        line(&mut out, "on_degraded", &self.on_degraded);
        if let Some(day) = &self.enforce_after {
            line(&mut out, "enforce_after", day);
        }
        for (section, keys) in self.base.printed() {
            let _ = write!(out, "\n[{section}]\n");
            for (key, value) in keys {
                let _ = writeln!(out, "{key} = {value}");
            }
        }
        for rule in &self.rules {
            let _ = write!(out, "\n[[rule]]\nwhen = {}\n", rule.when.to_toml());
            for (section, keys) in rule.sections.printed() {
                for (key, value) in keys {
                    let _ = writeln!(out, "{section}.{key} = {value}");
                }
            }
        }
        out
    }
}

fn line(out: &mut String, key: &str, value: &impl Value) {
    out.push_str(key);
    out.push_str(" = ");
    value.print(out);
    out.push('\n');
}

/// Keys of one section with their values as TOML.
type Keys = Vec<(&'static str, String)>;

impl Sections {
    /// The sections that set anything.
    fn printed(&self) -> Vec<(&'static str, Keys)> {
        let all = [
            keys(&self.process),
            keys(&self.egress),
            keys(&self.tmp),
            keys(&self.files),
            keys(&self.credentials),
            keys(&self.code),
            keys(&self.hooks),
            keys(&self.integrity),
            keys(&self.anomaly),
            keys(&self.report),
        ];
        all.into_iter().filter(|(_, keys)| !keys.is_empty()).collect()
    }
}

fn keys<S: Section>(section: &S) -> (&'static str, Keys) {
    let mut keys = Vec::new();
    section.for_each_set(&mut |key, value, _| keys.push((key.name, value)));
    (S::NAME, keys)
}

impl When {
    fn to_toml(&self) -> String {
        let phase = self.phase.map(|phase| format!("phase = {}", quoted(phase_word(phase))));
        let process = self.process.as_ref().map(|process| {
            let word = match process {
                WhenProcess::Role(Role::Runtime) => "runtime",
                WhenProcess::Role(Role::Child) => "child",
                WhenProcess::Executable(glob) => glob.as_str(),
            };
            format!("process = {}", quoted(word))
        });
        let parts: Vec<String> = phase.into_iter().chain(process).collect();
        if parts.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", parts.join(", ")) }
    }
}

const fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Init => "init",
        Phase::Invoke => "invoke",
        Phase::Between => "between",
        Phase::Shutdown => "shutdown",
    }
}

//! From TOML text to a policy, with every finding on the way.
//!
//! It reads what is not in a section (mode, packs, narrowed rules) and hands each section to its own reader. It must
//! not stop at the first error. Everything that loads a policy ends here.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable};

use super::amounts::Date;
use super::diagnostic::{Diagnostic, Diagnostics, Findings, nearest};
use super::packs::{PACKS, pack};
use super::patterns::PathGlob;
use super::section::{Section, as_table, read_section, unknown_key};
use super::sections::{
    Anomaly, Code, Credentials, Egress, Files, Hooks, Integrity, Mode, Process, Report, Tmp,
};
use super::value::{Node, Value, integer, quoted, read_word, wrong};
use super::{NarrowedRule, OnDegraded, Policy, Sections, When, WhenProcess, lint, profiles};
use crate::{Phase, Role};

/// A policy that was read without errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The policy, packs included.
    pub policy: Policy,
    /// What it says that will not have the effect that one could expect.
    pub warnings: Vec<Diagnostic>,
    /// Names of the packs that it extends, in the order in which they were layered.
    pub packs: Vec<&'static str>,
}

/// Names of the sections, in the order of the language.
pub(super) const SECTIONS: [&str; 10] = [
    Process::NAME,
    Egress::NAME,
    Tmp::NAME,
    Files::NAME,
    Credentials::NAME,
    Code::NAME,
    Hooks::NAME,
    Integrity::NAME,
    Anomaly::NAME,
    Report::NAME,
];
/// Keys that stand before the sections.
pub(super) const TOP_LEVEL: [&str; 5] = ["version", "mode", "on_degraded", "enforce_after", "extends"];
/// Most narrowed rules in one policy.
const MAX_RULES: usize = 64;

/// What a file says, before its packs are layered under it.
#[derive(Default)]
struct File {
    mode: Option<Mode>,
    on_degraded: Option<OnDegraded>,
    /// Where the file says `on_degraded`.
    on_degraded_at: Option<Range<usize>>,
    enforce_after: Option<Date>,
    packs: Vec<&'static str>,
    sections: Sections,
    rules: Vec<NarrowedRule>,
}

impl Policy {
    /// Reads a policy. `file` is the name that diagnostics use.
    ///
    /// # Errors
    /// [`Diagnostics`] with everything that is wrong, warnings included.
    pub fn parse(file: &str, text: &str) -> Result<Parsed, Diagnostics> {
        let mut findings = Findings::new(file, text);
        let own = read_file(text, &mut findings, false);
        let packs = own.packs.clone();
        let at = own.on_degraded_at.clone().filter(|_| own.on_degraded == Some(OnDegraded::Refuse));
        let mut all = packs.iter().filter_map(|name| read_pack(name)).chain([own]);
        let mut merged = all.next().unwrap_or_default();
        all.for_each(|next| merged.layer(next));
        let policy = merged.into_policy();
        if let Some(at) = at {
            profiles::warn(&policy, at, &mut findings);
        }
        let warnings = findings.finish()?;
        Ok(Parsed { policy, warnings, packs })
    }
}

/// Reads a pack. Packs extend nothing and are tested to be without findings.
fn read_pack(name: &str) -> Option<File> {
    let text = pack(name)?;
    Some(read_file(text, &mut Findings::new(name, text), true))
}

impl File {
    /// Puts `own` over this.
    fn layer(&mut self, own: Self) {
        self.mode = own.mode.or(self.mode);
        self.on_degraded = own.on_degraded.or(self.on_degraded);
        self.enforce_after = own.enforce_after.or(self.enforce_after);
        self.sections.layer(own.sections);
        self.rules.extend(own.rules);
    }

    fn into_policy(self) -> Policy {
        let default = Policy::default();
        Policy {
            mode: self.mode.unwrap_or(default.mode),
            on_degraded: self.on_degraded.unwrap_or(default.on_degraded),
            enforce_after: self.enforce_after,
            base: self.sections,
            rules: self.rules,
        }
    }
}

fn read_file(text: &str, findings: &mut Findings<'_>, is_pack: bool) -> File {
    let mut file = File::default();
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What a parser recovers from broken text is a guess, and findings about guesses mislead.
        for error in &errors {
            not_toml(error, findings);
        }
        return file;
    }
    for (key, value) in table.get_ref() {
        match key.get_ref().as_ref() {
            "version" => read_version(value, findings),
            "mode" => file.mode = Mode::read(value, findings),
            "on_degraded" => {
                file.on_degraded = OnDegraded::read(value, findings);
                file.on_degraded_at = Some(value.span());
            }
            "enforce_after" => file.enforce_after = Date::read(value, findings),
            "extends" if !is_pack => file.packs = read_extends(value, findings),
            "rule" => file.rules = read_rules(value, findings),
            _ if file.sections.read(key, value, findings, false) => {}
            _ => misplaced_key(key, findings),
        }
    }
    file
}

fn not_toml(error: &toml::de::Error, findings: &mut Findings<'_>) {
    let message = error.message().trim();
    let hint = match message {
        "duplicate key" => "keep one of the two",
        _ => "mend this first: the rest is checked once the text is TOML",
    };
    findings.error(error.span().unwrap_or(0..0), message.to_owned(), String::new(), hint.to_owned());
}

/// Reports a key that is not of the top level; where a section has it, says which.
fn misplaced_key(key: &Spanned<DeString<'_>>, findings: &mut Findings<'_>) {
    let name = key.get_ref().as_ref();
    let Some(section) = Sections::that_has(name) else {
        let known = TOP_LEVEL.into_iter().chain(SECTIONS).chain(["rule"]);
        return unknown_key(key, "", known, findings);
    };
    let message = format!("unknown key {} in the policy", quoted(name));
    let hint = format!("it is a key of [{section}]: move it there, or write {section}.{name} = …");
    findings.error(key.span(), message, "unknown key".into(), hint);
}

fn read_version(node: &Node<'_>, findings: &mut Findings<'_>) {
    if integer(node) != Some(1) {
        wrong(node, findings, "version 1", "write version = 1: it is the only one that this release reads");
    }
}

fn read_extends(node: &Node<'_>, findings: &mut Findings<'_>) -> Vec<&'static str> {
    let mut packs = Vec::new();
    let single = node.get_ref().is_str().then_some(node);
    let many = node.get_ref().as_array().into_iter().flat_map(|array| array.iter());
    if single.is_none() && !node.get_ref().is_array() {
        wrong(node, findings, "the name of a pack, or a list of names", "write extends = \"web-api\"");
    }
    for entry in single.into_iter().chain(many) {
        let name = read_word(entry, findings, &PACKS.map(|(name, _)| name));
        packs.extend(name.filter(|name| !packs.contains(name)));
    }
    packs
}

impl Sections {
    /// Reads the section whose name is `key`; false where there is no such section.
    fn read(
        &mut self,
        key: &Spanned<DeString<'_>>,
        node: &Node<'_>,
        findings: &mut Findings<'_>,
        narrowed: bool,
    ) -> bool {
        match key.get_ref().as_ref() {
            Process::NAME => {
                self.process = read_section(node, findings, narrowed);
                lint::process(node, findings);
            }
            Egress::NAME => self.egress = read_section(node, findings, narrowed),
            Tmp::NAME => self.tmp = read_section(node, findings, narrowed),
            Files::NAME => self.files = read_section(node, findings, narrowed),
            Credentials::NAME => self.credentials = read_section(node, findings, narrowed),
            Code::NAME => self.code = read_section(node, findings, narrowed),
            Hooks::NAME => self.hooks = read_section(node, findings, narrowed),
            Integrity::NAME => self.integrity = read_section(node, findings, narrowed),
            Anomaly::NAME => self.anomaly = read_section(node, findings, narrowed),
            Report::NAME => self.report = read_section(node, findings, narrowed),
            _ => return false,
        }
        true
    }

    /// The section that has a key of this name.
    fn that_has(key: &str) -> Option<&'static str> {
        fn of<S: Section>(key: &str) -> Option<&'static str> {
            S::KEYS.iter().any(|known| known.name == key).then_some(S::NAME)
        }
        of::<Process>(key)
            .or_else(|| of::<Egress>(key))
            .or_else(|| of::<Tmp>(key))
            .or_else(|| of::<Files>(key))
            .or_else(|| of::<Credentials>(key))
            .or_else(|| of::<Code>(key))
            .or_else(|| of::<Hooks>(key))
            .or_else(|| of::<Integrity>(key))
            .or_else(|| of::<Anomaly>(key))
            .or_else(|| of::<Report>(key))
    }

    /// Puts the sections of a file over those of its pack.
    pub(super) fn layer(&mut self, own: Self) {
        self.process.layer(own.process);
        self.egress.layer(own.egress);
        self.tmp.layer(own.tmp);
        self.files.layer(own.files);
        self.credentials.layer(own.credentials);
        self.code.layer(own.code);
        self.hooks.layer(own.hooks);
        self.integrity.layer(own.integrity);
        self.anomaly.layer(own.anomaly);
        self.report.layer(own.report);
    }

    /// Replaces the keys that a narrowed rule sets.
    pub(super) fn overlay(&mut self, narrowed: &Self) {
        self.process.overlay(&narrowed.process);
        self.egress.overlay(&narrowed.egress);
        self.tmp.overlay(&narrowed.tmp);
        self.files.overlay(&narrowed.files);
        self.credentials.overlay(&narrowed.credentials);
    }
}

fn read_rules(node: &Node<'_>, findings: &mut Findings<'_>) -> Vec<NarrowedRule> {
    let tables: Vec<&Node<'_>> =
        node.get_ref().as_array().into_iter().flat_map(|array| array.iter()).collect();
    if !node.get_ref().is_array() {
        wrong(node, findings, "a list of rules", "write [[rule]] with two pairs of brackets");
    }
    if tables.len() > MAX_RULES {
        wrong(node, findings, "at most 64 rules", "rules with the same condition can be one rule");
        return Vec::new();
    }
    tables.into_iter().filter_map(|rule| read_rule(rule, findings)).collect()
}

fn read_rule(node: &Node<'_>, findings: &mut Findings<'_>) -> Option<NarrowedRule> {
    let Some(table) = as_table(node) else {
        wrong(node, findings, "a table", "write [[rule]] with two pairs of brackets");
        return None;
    };
    let mut when = None;
    let mut sections = Sections::default();
    for (key, value) in table {
        if key.get_ref() == "when" {
            when = Some(read_when(value, findings));
        } else if !sections.read(key, value, findings, true) {
            unknown_key(key, "[rule]", ["when"].into_iter().chain(SECTIONS), findings);
        }
    }
    if when.is_none() {
        let hint = "add when = { phase = \"init\" }; what always holds stands outside of [[rule]]".to_owned();
        findings.error(node.span(), "a [[rule]] without `when`".into(), "expected `when` here".into(), hint);
    }
    Some(NarrowedRule { when: when?, sections })
}

fn read_when(node: &Node<'_>, findings: &mut Findings<'_>) -> When {
    let mut when = When::default();
    let table = as_table(node).filter(|table| !table.is_empty());
    let Some(table) = table else {
        wrong(node, findings, "a table with `phase`, `process` or both", "write when = { phase = \"init\" }");
        return when;
    };
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "phase" => when.phase = read_phase(value, findings),
            "process" => when.process = read_process(value, findings),
            _ => unknown_key(key, "rule.when", ["phase", "process"].into_iter(), findings),
        }
    }
    when
}

/// Words for the phases that a rule can be narrowed to.
pub(super) const PHASES: [&str; 4] = ["init", "invoke", "between", "shutdown"];

fn read_phase(node: &Node<'_>, findings: &mut Findings<'_>) -> Option<Phase> {
    match read_word(node, findings, &PHASES)? {
        "init" => Some(Phase::Init),
        "invoke" => Some(Phase::Invoke),
        "between" => Some(Phase::Between),
        _ => Some(Phase::Shutdown),
    }
}

fn read_process(node: &Node<'_>, findings: &mut Findings<'_>) -> Option<WhenProcess> {
    match node.get_ref().as_str() {
        Some("runtime") => Some(WhenProcess::Role(Role::Runtime)),
        Some("child") => Some(WhenProcess::Role(Role::Child)),
        Some(text) if text.starts_with('/') => {
            let glob = PathGlob::read(node, findings)?;
            let message = "rules for single executables are not built yet";
            let hint = "use \"child\" to narrow a rule to all processes that the runtime starts";
            findings.warning(node.span(), message.into(), "this rule never applies".into(), hint.into());
            Some(WhenProcess::Executable(glob))
        }
        found => {
            let near = found.and_then(|found| nearest(found, ["runtime", "child"]));
            let hint = near.map_or_else(
                || "write \"runtime\" or \"child\"".into(),
                |near| format!("did you mean {near:?}?"),
            );
            wrong(node, findings, "\"runtime\", \"child\" or a glob that begins with a slash", &hint);
            None
        }
    }
}

//! An existing policy, widened by what was seen and narrowed by what was not, with its comments and its order.
//!
//! It changes only what evidence speaks of: an entry is added where the policy would not allow what was seen, and taken away
//! where nothing in the last days needed it. It must not read logs or files.

use ringfence_policy::{
    Area, Decision, Listen, Policy, Residue, Restriction, Rule, Survivors, Writes, is_shell,
};
use toml_edit::{Array, DocumentMut, Item, Table, Value};

use super::draft::{self, List};
use super::evidence::{Function, Seen};
use crate::deed::{self, What};
use crate::policy::Given;

/// A policy that was changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Updated {
    pub(super) text: String,
    /// What was changed, a line each.
    pub(super) changes: Vec<String>,
    /// What could not be, a line each.
    pub(super) notes: Vec<String>,
}

struct Update<'k> {
    known: &'k Function,
    document: DocumentMut,
    /// What the document means.
    policy: Policy,
    /// The day from which on something counts as used, if entries are taken away.
    since: Option<i64>,
    changes: Vec<String>,
    notes: Vec<String>,
}

/// Changes `given` by what is known of a function. With `tighten` entries go that nothing needed for so many days.
///
/// # Errors
/// The text says why the policy cannot be changed.
pub(super) fn update(given: &Given, known: &Function, tighten: Option<u32>) -> Result<Updated, String> {
    let document: DocumentMut = given.text.parse().map_err(|error| format!("{}: {error}", given.name))?;
    // Whether it enforces today is another question.
    let policy = Policy { enforce_after: None, ..given.written.clone() };
    let mut update = Update { known, document, policy, since: None, changes: Vec::new(), notes: Vec::new() };
    if let Some(days) = tighten {
        update.tighten(days)?;
    }
    update.widen()?;
    Ok(Updated { text: update.document.to_string(), changes: update.changes, notes: update.notes })
}

/// A list of the policy and what was seen of its entries.
struct Learned {
    section: &'static str,
    key: &'static str,
    rule: &'static str,
    area: Option<Area>,
    seen: List,
}

impl Update<'_> {
    fn learned(&self) -> Vec<Learned> {
        let of = |section, key, rule, area, seen| Learned { section, key, rule, area, seen };
        let known = self.known;
        vec![
            of("process", "allow", "process.allow", Some(Area::Programs), draft::programs(known)),
            of("egress", "allow", "egress.allow", Some(Area::Hosts), draft::hosts(known)),
            of("tmp", "writes", "tmp.writes", Some(Area::Files), draft::written(known)),
            of("tmp", "keep", "tmp.residue", Some(Area::Files), draft::left(known)),
            of("credentials", "reads_allow_variables", "credentials.reads", None, draft::variables(known)),
            of("credentials", "reads_allow_packages", "credentials.reads", None, draft::packages(known)),
        ]
    }

    fn widen(&mut self) -> Result<(), String> {
        for learned in self.learned() {
            if !self.restricts(&learned) {
                continue;
            }
            for (value, seen) in &learned.seen {
                if !self.counts(seen) {
                    continue;
                }
                let mut entries = self.entries(&learned);
                if entries.contains(value) {
                    continue;
                }
                entries.push(value.clone());
                let Some(wider) = self.with(&learned, &entries) else { continue };
                if learned.area.is_some_and(|area| self.policy.is_same_in(area, &wider)) {
                    continue;
                }
                self.append(&learned, value, &draft::note(seen));
                self.changes.push(format!("added {value} to {}.{}", learned.section, learned.key));
                self.reparse()?;
            }
            let narrowed = self.policy.rules.iter().position(|rule| {
                let sections = &rule.sections;
                match (learned.section, learned.key) {
                    ("process", "allow") => sections.process.allow.is_some(),
                    ("egress", "allow") => sections.egress.allow.is_some(),
                    ("tmp", "writes") => sections.tmp.writes.is_some(),
                    _ => false,
                }
            });
            if let Some(index) = narrowed {
                let (section, key) = (learned.section, learned.key);
                self.notes
                    .push(format!("[[rule]] {} sets {section}.{key} too and is left as it is", index + 1));
            }
        }
        self.loosen()
    }

    /// Words that would deny what was seen.
    fn loosen(&mut self) -> Result<(), String> {
        let base = &self.policy.base;
        let rule = |name: &str| draft::rule(self.known, name).map(draft::note);
        let mut words: Vec<(&str, &str, &str, String)> = Vec::new();
        let shell = draft::programs(self.known).into_iter().find(|(path, _)| is_shell(path.as_bytes()));
        if let Some((path, seen)) = shell
            && base.process.shells == Some(Restriction::Deny)
        {
            words.push(("process", "shells", "allow", format!("{path}: {}", draft::note(&seen))));
        }
        if let Some(note) = rule("process.survivors")
            && base.process.survivors == Some(Survivors::Kill)
        {
            words.push(("process", "survivors", "report", note));
        }
        let listens = draft::listens(self.known);
        for (word, denying) in
            [("loopback", &[Listen::Deny][..]), ("allow", &[Listen::Deny, Listen::Loopback])]
        {
            if let Some(seen) = listens.get(word)
                && base.egress.listen.is_some_and(|listen| denying.contains(&listen))
            {
                words.push(("egress", "listen", word, draft::note(seen)));
            }
        }
        if let Some(note) = rule("credentials.reads")
            && base.credentials.reads == Some(Restriction::Deny)
        {
            words.push(("credentials", "reads", "report", note));
        }
        for (key, says) in [
            ("evaluate", base.code.evaluate),
            ("deserialize", base.code.deserialize),
            ("native", base.code.native),
            ("imports", base.code.imports),
        ] {
            if let Some(note) = rule(&format!("code.{key}"))
                && says == Some(Restriction::Deny)
            {
                words.push(("code", key, "report", note));
            }
        }
        for (section, key, word, note) in words {
            let mut value = Value::from(word);
            value.decor_mut().set_suffix(format!("  # {note}"));
            if let Some(table) = self.table(section) {
                table.insert(key, Item::Value(value));
                self.changes.push(format!("set {section}.{key} to {word}: {note}"));
            }
            self.reparse()?;
        }
        Ok(())
    }

    /// Whether something was seen late enough to count as used.
    fn counts(&self, seen: &Seen) -> bool {
        self.since.is_none_or(|since| day_number(&seen.last).is_some_and(|day| day >= since))
    }

    /// Takes entries away that nothing needed in the last days.
    fn tighten(&mut self, days: u32) -> Result<(), String> {
        let others = self.known.environments - self.known.told_all;
        if others > 0 {
            return Err(format!(
                "{others} of {} environments of the log ran under another policy than the pack learn: what that allows \
                 leaves no record, so nothing is known to be unused\nhint: give logs of runs with RINGFENCE_POLICY=learn",
                self.known.environments
            ));
        }
        let span = day_number(&self.known.last).zip(day_number(&self.known.first));
        let Some((last, _)) = span.filter(|(last, first)| last - first + 1 >= i64::from(days)) else {
            return Err(format!(
                "the log spans {} to {}: too short to tell what was not used in {days} days\nhint: give the logs of {days} days or more",
                self.known.first, self.known.last
            ));
        };
        self.since = Some(last - i64::from(days) + 1);
        for learned in self.learned() {
            if !self.known.watches(learned.rule) {
                if self.restricts(&learned) {
                    self.notes.push(format!(
                        "{}.{} is left as it is: not every run watched it",
                        learned.section, learned.key
                    ));
                }
                continue;
            }
            let recent: Vec<&String> =
                learned.seen.iter().filter(|(_, seen)| self.counts(seen)).map(|(value, _)| value).collect();
            for entry in self.own_entries(&learned) {
                let entries: Vec<String> =
                    self.entries(&learned).into_iter().filter(|other| *other != entry).collect();
                let Some(narrower) = self.with(&learned, &entries) else { continue };
                if recent.iter().any(|value| needs(value, &learned, &self.policy, &narrower)) {
                    continue;
                }
                self.take_away(&learned, &entry);
                self.changes.push(format!(
                    "took {entry} out of {}.{}: not used in {days} days",
                    learned.section, learned.key
                ));
                self.reparse()?;
            }
        }
        Ok(())
    }

    /// Whether the policy has the list, so that it denies what the list has not.
    fn restricts(&self, learned: &Learned) -> bool {
        let base = &self.policy.base;
        match (learned.section, learned.key) {
            ("process", _) => base.process.allow.is_some(),
            ("egress", _) => base.egress.allow.is_some(),
            ("tmp", "writes") => base.tmp.writes.as_ref().is_some_and(|writes| *writes != Writes::Allow),
            ("tmp", _) => base.tmp.residue == Some(Residue::Wipe),
            _ => matches!(base.credentials.reads, Some(Restriction::Deny | Restriction::Report)),
        }
    }

    /// The entries of a list as they hold, those of packs too.
    fn entries(&self, learned: &Learned) -> Vec<String> {
        let base = &self.policy.base;
        let globs = |globs: &[ringfence_policy::PathGlob]| {
            globs.iter().map(|glob| glob.as_str().to_owned()).collect()
        };
        match (learned.section, learned.key) {
            ("process", _) => base.process.allow.as_deref().map(globs),
            ("egress", _) => {
                base.egress.allow.as_ref().map(|all| all.iter().map(ToString::to_string).collect())
            }
            ("tmp", "writes") => match &base.tmp.writes {
                Some(Writes::Only(all)) => Some(globs(all)),
                _ => None,
            },
            ("tmp", _) => base.tmp.keep.as_deref().map(globs),
            (_, "reads_allow_variables") => base
                .credentials
                .reads_allow_variables
                .as_ref()
                .map(|all| all.iter().map(|variable| variable.as_str().to_owned()).collect()),
            _ => base
                .credentials
                .reads_allow_packages
                .as_ref()
                .map(|all| all.iter().map(|package| package.as_str().to_owned()).collect()),
        }
        .unwrap_or_default()
    }

    /// The policy with other entries in a list.
    fn with(&self, learned: &Learned, entries: &[String]) -> Option<Policy> {
        let quoted: Vec<String> = entries.iter().map(|entry| draft::quoted(entry)).collect();
        let text = format!("[{}]\n{} = [{}]\n", learned.section, learned.key, quoted.join(", "));
        let one = Policy::parse("an entry", &text).ok()?.policy.base;
        let mut policy = self.policy.clone();
        match (learned.section, learned.key) {
            ("process", _) => policy.base.process.allow = one.process.allow,
            ("egress", _) => policy.base.egress.allow = one.egress.allow,
            ("tmp", "writes") => policy.base.tmp.writes = one.tmp.writes,
            ("tmp", _) => policy.base.tmp.keep = one.tmp.keep,
            (_, "reads_allow_variables") => {
                policy.base.credentials.reads_allow_variables = one.credentials.reads_allow_variables;
            }
            _ => policy.base.credentials.reads_allow_packages = one.credentials.reads_allow_packages,
        }
        Some(policy)
    }

    /// The section of the document, made if it is not there.
    fn table(&mut self, section: &str) -> Option<&mut dyn toml_edit::TableLike> {
        let mut table = Table::new();
        table.decor_mut().set_prefix("\n");
        self.document.entry(section).or_insert(Item::Table(table)).as_table_like_mut()
    }

    fn own_array(&mut self, learned: &Learned) -> Option<&mut Array> {
        self.document.get_mut(learned.section)?.get_mut(learned.key)?.as_array_mut()
    }

    fn own_entries(&mut self, learned: &Learned) -> Vec<String> {
        let array = self.own_array(learned);
        array
            .into_iter()
            .flat_map(|array| array.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }

    fn append(&mut self, learned: &Learned, value: &str, note: &str) {
        if self.own_array(learned).is_none() {
            // What a pack lists has to stand in the file too: a list replaces the pack's.
            let inherited: Array = self.entries(learned).into_iter().collect();
            let Some(table) = self.table(learned.section) else { return };
            table.insert(learned.key, Item::Value(Value::Array(inherited)));
        }
        let Some(array) = self.own_array(learned) else { return };
        let mut entry = Value::from(value);
        entry.decor_mut().set_prefix(format!("\n    # {note}\n    "));
        array.push_formatted(entry);
        array.set_trailing("\n");
        array.set_trailing_comma(true);
    }

    fn take_away(&mut self, learned: &Learned, value: &str) {
        let Some(array) = self.own_array(learned) else { return };
        array.retain(|entry| entry.as_str() != Some(value));
    }

    /// Reads the document anew, so that nothing is written that is no policy.
    fn reparse(&mut self) -> Result<(), String> {
        let parsed = Policy::parse("the policy", &self.document.to_string())
            .map_err(|findings| format!("the changed policy is not valid: {findings}"))?;
        self.policy = Policy { enforce_after: None, ..parsed.policy };
        Ok(())
    }
}

/// Whether what was seen is allowed by a policy and denied by a narrower one.
fn needs(value: &str, learned: &Learned, policy: &Policy, narrower: &Policy) -> bool {
    // Wildcards of a shape stand for something: for letters here.
    let path = value.replace(['*', '?'], "x").replace('\\', "");
    let words = match (learned.section, learned.key) {
        ("process", _) => format!("exec {value}"),
        ("egress", _) if value.contains(':') && !value.starts_with('*') => format!("connect {value}"),
        ("egress", _) => format!("resolve {}", value.replace('*', "x")),
        ("tmp", "writes") => format!("open-write {path}"),
        ("tmp", _) => format!("residue {path}"),
        (_, "reads_allow_variables") => format!("read-credential {value}"),
        _ => return value.is_empty() || !narrower_has(value, narrower),
    };
    let Ok(what) = What::parse(&words) else { return true };
    [ringfence_policy::Role::Runtime, ringfence_policy::Role::Child].into_iter().any(|role| {
        let deed = deed::Deed { what: what.clone(), phase: ringfence_policy::Phase::Invoke, role };
        let denied = |policy: &Policy| {
            let verdict = deed.verdict(policy);
            verdict.decision != Decision::Allow && verdict.rule != Rule::None
        };
        !denied(policy) && denied(narrower)
    })
}

fn narrower_has(package: &str, policy: &Policy) -> bool {
    policy.exempts_read("", Some(package))
}

/// The number of a day, `2026-11-22`, counted from a fixed one.
fn day_number(day: &str) -> Option<i64> {
    let mut parts = day.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    // Years that begin in March: the day that some years have is their last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    Some(
        year * 365 + year.div_euclid(4) - year.div_euclid(100)
            + year.div_euclid(400)
            + (153 * month + 2) / 5
            + day,
    )
}

#[cfg(test)]
mod tests {
    use super::day_number;

    #[test]
    fn days_are_counted_over_months_and_years() {
        let between = |from, to| day_number(to).unwrap() - day_number(from).unwrap();
        assert_eq!(between("2026-11-30", "2026-12-01"), 1);
        assert_eq!(between("2026-12-31", "2027-01-01"), 1);
        assert_eq!(between("2028-02-28", "2028-03-01"), 2);
        assert_eq!(between("2027-02-28", "2027-03-01"), 1);
        assert_eq!(day_number("yesterday"), None);
    }
}

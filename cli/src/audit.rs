//! Findings of `ringfence check` about what a policy means: entries and rules that do nothing, and lists that allow all.
//!
//! It takes an entry away and asks whether anything is different. It must not know how patterns cover each other, which is
//! the policy crate's; and the start of a function does not pay for it.

use std::ops::Range;

use ringfence_policy::{Area, Date, Diagnostic, Host, Mode, Policy, Ports, Sections, Severity, Writes};
use toml_edit::{Document, Item};

use crate::places::{self, Spot};

/// Most entries of a list that are looked at one by one.
const MAX_ENTRIES: usize = 256;

/// What is found of a policy that can be used. `text` is its own file, `policy` what it means with its packs.
pub(crate) fn findings(file: &str, text: &str, policy: &Policy, today: Date) -> Vec<Diagnostic> {
    let Ok(document) = Document::parse(text) else { return Vec::new() };
    // Dates and modes would hide what rules say: they are looked at as if they held.
    let policy = &enforcing(policy, today);
    let mut found = Vec::new();
    let mut add = |span: Option<Range<usize>>, finding: Finding| {
        let spot = places::spot(text, &span.unwrap_or(0..0));
        found.push(finding.at(file, spot));
    };
    for list in LISTS {
        useless_entries(policy, document.as_item(), list, None, &mut add);
        allows_all(policy, document.as_item(), list, &mut add);
    }
    for index in 0..policy.rules.len() {
        let Some(item) = document.as_item().get("rule").and_then(|rules| rules.get(index)) else { continue };
        let mut without = policy.clone();
        without.rules.remove(index);
        let difference = policy.difference(&without);
        if difference.changes.is_empty() && difference.unknown.is_empty() && is_of_actions(policy, index) {
            let label = "nothing is different without this rule".to_owned();
            let hint =
                "leave it out, or move it below the rule that it should win over: the last that matches wins";
            let span = item.get("when").and_then(Item::span).or_else(|| item.span());
            add(span, Finding::new("a [[rule]] that does nothing".to_owned(), label, hint));
            continue;
        }
        for list in LISTS {
            useless_entries(policy, item, list, Some(index), &mut add);
        }
    }
    found.sort_by_key(|finding| (finding.line, finding.column));
    found
}

/// The policy with every section in force.
fn enforcing(policy: &Policy, today: Date) -> Policy {
    let mut policy = Policy { enforce_after: None, ..policy.clone() }.effective(today);
    let section = |sections: &mut Sections| {
        let modes = [
            &mut sections.process.mode,
            &mut sections.egress.mode,
            &mut sections.tmp.mode,
            &mut sections.files.mode,
            &mut sections.credentials.mode,
        ];
        for mode in modes {
            if *mode == Some(Mode::Observe) {
                *mode = Some(Mode::Enforce);
            }
        }
    };
    section(&mut policy.base);
    policy.rules.iter_mut().for_each(|rule| section(&mut rule.sections));
    if policy.mode == Mode::Observe {
        policy.mode = Mode::Enforce;
    }
    policy
}

/// Whether a narrowed rule could make a difference that is looked at: rules for single executables are warned of elsewhere.
fn is_of_actions(policy: &Policy, index: usize) -> bool {
    policy
        .rules
        .get(index)
        .is_some_and(|rule| !matches!(rule.when.process, Some(ringfence_policy::WhenProcess::Executable(_))))
}

/// A list of a policy whose entries can be taken away.
#[derive(Clone, Copy)]
struct List {
    section: &'static str,
    key: &'static str,
    area: Area,
    /// Takes away one entry, if the list is there and has it.
    take: fn(&mut Sections, usize) -> Option<()>,
}

const LISTS: [List; 7] = [
    List {
        section: "process",
        key: "allow",
        area: Area::Programs,
        take: |sections, index| remove(sections.process.allow.as_mut()?, index),
    },
    List {
        section: "egress",
        key: "allow",
        area: Area::Hosts,
        take: |sections, index| remove(sections.egress.allow.as_mut()?, index),
    },
    List {
        section: "egress",
        key: "deny",
        area: Area::Hosts,
        take: |sections, index| remove(&mut sections.egress.deny.as_mut()?.0, index),
    },
    List {
        section: "tmp",
        key: "writes",
        area: Area::Files,
        take: |sections, index| match sections.tmp.writes.as_mut()? {
            Writes::Only(globs) => remove(globs, index),
            Writes::Allow | Writes::Deny => None,
        },
    },
    List {
        section: "tmp",
        key: "keep",
        area: Area::Files,
        take: |sections, index| remove(sections.tmp.keep.as_mut()?, index),
    },
    List {
        section: "files",
        key: "deny_read",
        area: Area::Files,
        take: |sections, index| remove(&mut sections.files.deny_read.as_mut()?.0, index),
    },
    List {
        section: "files",
        key: "deny_write",
        area: Area::Files,
        take: |sections, index| remove(&mut sections.files.deny_write.as_mut()?.0, index),
    },
];

fn remove<T>(list: &mut Vec<T>, index: usize) -> Option<()> {
    (index < list.len()).then(|| drop(list.remove(index)))
}

fn entries<'i>(item: &'i Item, list: &List) -> Vec<&'i toml_edit::Value> {
    let array = item.get(list.section).and_then(|section| section.get(list.key)).and_then(Item::as_array);
    array.into_iter().flat_map(|array| array.iter()).collect()
}

/// Reports entries of a list without which nothing is different.
fn useless_entries(
    policy: &Policy,
    item: &Item,
    list: List,
    rule: Option<usize>,
    add: &mut impl FnMut(Option<Range<usize>>, Finding),
) {
    let entries = entries(item, &list);
    if entries.len() > MAX_ENTRIES {
        return;
    }
    // What was found useless stays away, so that of two that are alike one is reported.
    let mut policy = policy.clone();
    if list.key.starts_with("deny") {
        // What is denied though no list allows it is denied for safety's sake.
        let rules = policy.rules.iter_mut().map(|rule| &mut rule.sections);
        for sections in rules.chain([&mut policy.base]) {
            sections.egress.allow = None;
            sections.tmp.writes = None;
        }
    }
    for (index, entry) in entries.iter().enumerate().rev() {
        let mut without = policy.clone();
        let sections = match rule {
            None => &mut without.base,
            Some(number) => match without.rules.get_mut(number) {
                Some(rule) => &mut rule.sections,
                None => continue,
            },
        };
        if (list.take)(sections, index).is_none() || !policy.is_same_in(list.area, &without) {
            continue;
        }
        policy = without;
        let message = format!("{}.{} has an entry that does nothing", list.section, list.key);
        let label = "nothing is different without it".to_owned();
        let hint =
            "leave it out: another entry or key covers it or denies it, or it holds always, as loopback does";
        add(entry.span(), Finding::new(message, label, hint));
    }
}

/// Reports a list that allows every host or every program.
fn allows_all(policy: &Policy, item: &Item, list: List, add: &mut impl FnMut(Option<Range<usize>>, Finding)) {
    for (index, entry) in entries(item, &list).into_iter().enumerate() {
        let base = &policy.base;
        let (is_all, what) = match (list.section, list.key) {
            ("process", "allow") => {
                let glob = base.process.allow.iter().flatten().nth(index);
                (glob.is_some_and(|glob| glob.as_str() == "/**"), "program")
            }
            ("egress", "allow") => {
                let endpoint = base.egress.allow.iter().flatten().nth(index);
                let is_all = endpoint.is_some_and(|endpoint| match &endpoint.host {
                    Host::Any => endpoint.ports == Ports::ALL || endpoint.ports.low == 443,
                    Host::Network(network) => network.prefix == 0,
                    Host::Name(_) | Host::Below(_) => false,
                });
                (is_all, "host")
            }
            _ => return,
        };
        if is_all {
            let message = format!("{}.{} allows every {what}", list.section, list.key);
            let label = format!("any {what} is covered by this");
            let hint = "list what the function needs: `ringfence learn` writes the list from a log";
            add(entry.span(), Finding::new(message, label, hint));
        }
    }
}

/// A finding without its place.
struct Finding {
    message: String,
    label: String,
    hint: &'static str,
}

impl Finding {
    const fn new(message: String, label: String, hint: &'static str) -> Self {
        Self { message, label, hint }
    }

    fn at(self, file: &str, spot: Spot) -> Diagnostic {
        Diagnostic {
            severity: Severity::Warning,
            message: self.message,
            file: file.to_owned(),
            line: spot.line,
            column: spot.column,
            source_line: spot.text,
            width: spot.width,
            label: self.label,
            hint: self.hint.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::findings;
    use ringfence_policy::{Date, Policy};

    fn found(text: &str) -> String {
        let policy = Policy::parse("policy.toml", text).unwrap_or_else(|error| panic!("{error}")).policy;
        let found = findings("policy.toml", text, &policy, Date::from_unix_seconds(0));
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
    }

    #[test]
    fn what_does_nothing_is_shown_at_its_place() {
        insta::assert_snapshot!(
            found("[egress]\nallow = [\n    \"*.example.com:443\",\n    \"api.example.com:443\",\n]\ndeny = [\"10.0.0.0/8\"]\n\n[[rule]]\nwhen = { phase = \"init\" }\negress.deny = [\"10.0.0.0/8\"]\n"),
            @r#"
        warning: egress.allow has an entry that does nothing
         --> policy.toml:4:5
          |
        4 |     "api.example.com:443",
          |     ^^^^^^^^^^^^^^^^^^^^^ nothing is different without it
        hint: leave it out: another entry or key covers it or denies it, or it holds always, as loopback does

        warning: a [[rule]] that does nothing
         --> policy.toml:9:8
          |
        9 | when = { phase = "init" }
          |        ^^^^^^^^^^^^^^^^^^ nothing is different without this rule
        hint: leave it out, or move it below the rule that it should win over: the last that matches wins
        "#
        );
    }

    #[test]
    fn entries_that_are_denied_doubled_or_shadowed_are_found() {
        for (text, place) in [
            ("egress.allow = [\"10.1.2.3:443\", \"b.example\"]\negress.deny = [\"10.0.0.0/8\"]\n", ":1:17"),
            ("process.allow = [\"/a/b\", \"/a/b\"]\n", ":1:26"),
            ("tmp.writes = [\"/tmp/a\", \"/tmp/**\"]\n", ":1:15"),
            ("files.deny_read = [\"/proc/*/environ\", \"/proc/**\"]\n", ":1:20"),
            ("mode = \"observe\"\nprocess.allow = [\"/a/*\", \"/a/?\"]\n", ":2:26"),
        ] {
            let found = found(text);
            assert!(found.contains(&format!("policy.toml{place}")), "{text}{found}");
            assert_eq!(found.matches("does nothing").count(), 1, "{found}");
        }
    }

    #[test]
    fn lists_that_allow_all_are_found() {
        for text in [
            "egress.allow = [\"*\"]\n",
            "egress.allow = [\"*:443\"]\n",
            "egress.allow = [\"0.0.0.0/0\"]\n",
            "process.allow = [\"/**\"]\n",
        ] {
            assert!(found(text).contains("allows every"), "{text}");
        }
    }

    #[test]
    fn a_policy_whose_entries_all_count_has_no_findings() {
        for text in [
            "",
            // The exact path lets the program be static too.
            "process.allow = [\"/usr/bin/*\", \"/usr/bin/convert\"]\n",
            "egress.allow = [\"*.example.com:443\", \"example.com:443\"]\n",
            "extends = \"web-api\"\negress.allow = [\"a.example:443\"]\n[[rule]]\nwhen = { phase = \"init\" }\negress.allow = [\"b.example\"]\n",
        ] {
            assert_eq!(found(text), "", "{text}");
        }
        for (name, text) in ringfence_policy::PACKS {
            assert_eq!(found(text), "", "{name}");
        }
    }
}

//! A policy from evidence: which keys it sets, with which values, and what stands beside each in a comment.
//!
//! A key is set only where its rule was watched in every environment of the log: what was not watched is not known. What a
//! rule of `baseline` calls an attack is listed and not allowed, unless it is accepted. It must not read logs or files.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ringfence_policy::is_shell;

use super::evidence::{Deed, Function, Seen};
use super::{hosts, shape};
use crate::output::plural;

/// Keys of `[code]`.
const CODE: [&str; 4] = ["evaluate", "deserialize", "native", "imports"];
/// More shapes of file names than this are no list that a person reads.
const MAX_WRITES: usize = 24;
/// More file names in one folder than this are made up.
const MAX_SIBLINGS: usize = 8;

/// A policy, and what it leaves out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) text: String,
    /// What was seen and is not allowed, a line each.
    pub(super) refused: Vec<String>,
}

/// What a list holds: values, and what was seen of each.
pub(super) type List = BTreeMap<String, Seen>;

/// How the head of the policy names the function.
pub(super) struct Title<'a> {
    pub(super) function: &'a str,
    pub(super) mode: &'a str,
    pub(super) accept: bool,
}

/// Writes a policy for what is known of a function.
pub(super) fn policy(known: &Function, title: &Title<'_>) -> Draft {
    let mut refused = Vec::new();
    for (deed, seen) in &known.deeds {
        if let Deed::Attack { rule, what } | Deed::Unclear { rule, what } = deed {
            refused.push(printable(&format!("{what} ({rule}): {}", note(seen))));
        }
    }
    let mut text = head(known, title);
    for section in [process, egress, tmp, credentials, code] {
        let written = section(known, title.accept);
        if !written.is_empty() {
            text.push('\n');
            text.push_str(&written);
        }
    }
    if !refused.is_empty() {
        let what = if title.accept {
            "# Seen, and called an attack or not clear from the records. Accepted where a key can say so:\n"
        } else {
            "# Seen, and not allowed: an attack by the pack baseline, or not clear from the records.\n"
        };
        let _ = write!(text, "\n{what}");
        for line in &refused {
            let _ = writeln!(text, "#   {line}");
        }
    }
    Draft { text, refused }
}

fn head(known: &Function, title: &Title<'_>) -> String {
    let named = if title.function.is_empty() { String::new() } else { format!(" for {}", title.function) };
    let span = if known.first == known.last {
        known.first.clone()
    } else {
        format!("{} to {}", known.first, known.last)
    };
    let mut text = format!(
        "# Made by `ringfence learn`{named} from {}, {span}.\n# Each line says how often something was seen, when, and by which code.\n",
        plural(known.environments, "environment"),
    );
    for line in known.incomplete() {
        let _ = writeln!(text, "# Incomplete: {line}.");
    }
    let unwatched: Vec<&str> = known
        .watched
        .iter()
        .filter(|(rule, watch)| watch.not > 0 && !rule.starts_with("report."))
        .map(|(rule, _)| rule.as_str())
        .collect();
    if !unwatched.is_empty() {
        let _ = writeln!(text, "# Not watched in every environment, so left out: {}.", unwatched.join(", "));
    }
    let extends = if title.accept { "" } else { "extends = \"baseline\"\n" };
    let _ = write!(text, "version = 1\n{extends}mode = \"{}\"\n", title.mode);
    text
}

fn process(known: &Function, accept: bool) -> String {
    let mut out = String::new();
    let allow = programs(known);
    if known.watches("process.allow") {
        list(&mut out, "allow", &allow);
        if !allow.keys().any(|path| is_shell(path.as_bytes())) {
            key(&mut out, "shells", "deny", "no shell was started");
        }
    }
    let ran_own = known
        .deeds
        .keys()
        .any(|deed| matches!(deed, Deed::Attack { rule, .. } if rule == "process.from_writable"));
    if accept {
        let (word, why) = if ran_own {
            ("report", "accepted: code that the function wrote was run or loaded")
        } else {
            ("deny", "nothing that the function wrote was run")
        };
        key(&mut out, "from_writable", word, why);
    }
    if known.watches("process.survivors") {
        match rule(known, "process.survivors") {
            Some(seen) => key(
                &mut out,
                "survivors",
                "report",
                &format!("{}: processes outlived their invocation", note(seen)),
            ),
            None => key(&mut out, "survivors", "kill", "no process outlived its invocation"),
        }
    }
    section("process", &out)
}

fn egress(known: &Function, accept: bool) -> String {
    let mut out = String::new();
    if known.watches("egress.allow") {
        list(&mut out, "allow", &hosts(known));
    }
    if accept {
        // Without the pack, so that an entry of it can be left out.
        let asks_metadata =
            known.deeds.keys().any(|deed| matches!(deed, Deed::Attack { rule, .. } if rule == "egress.deny"));
        if !asks_metadata {
            out.push_str("deny = [\"169.254.169.254\"]  # the instance metadata address: Lambda has none\n");
        }
        let others = known
            .deeds
            .keys()
            .any(|deed| matches!(deed, Deed::Attack { rule, .. } if rule == "egress.runtime_api"));
        let (word, why) = if others {
            ("any", "accepted: another process than the runtime asked its API")
        } else {
            ("runtime", "only the runtime asked its API")
        };
        key(&mut out, "runtime_api", word, why);
    }
    if known.watches("egress.listen") {
        let listens = listens(known);
        let (word, seen) = match (listens.get("allow"), listens.get("loopback")) {
            (Some(seen), _) => ("allow", Some(seen)),
            (None, Some(seen)) => ("loopback", Some(seen)),
            (None, None) => ("deny", None),
        };
        key(&mut out, "listen", word, &seen.map_or_else(|| "nothing listened".to_owned(), note));
    }
    section("egress", &out)
}

fn tmp(known: &Function, _: bool) -> String {
    let mut out = String::new();
    if known.watches("tmp.writes") {
        let writes = written(known);
        if writes.len() > MAX_WRITES {
            key(&mut out, "writes", "allow", &format!("{} shapes of names were written", writes.len()));
        } else if writes.is_empty() {
            key(&mut out, "writes", "deny", "nothing below /tmp was written");
        } else {
            list(&mut out, "writes", &writes);
        }
    }
    if known.watches("tmp.residue") {
        let left = left(known);
        if left.is_empty() {
            key(&mut out, "residue", "wipe", "nothing was left behind");
        } else {
            key(&mut out, "residue", "wipe", "what is not kept below is removed when the invocation ends");
            list(&mut out, "keep", &left);
        }
    }
    section("tmp", &out)
}

fn credentials(known: &Function, accept: bool) -> String {
    let mut out = String::new();
    let started = !programs(known).is_empty();
    if known.watches("process.allow") && !started {
        key(&mut out, "expose", "runtime", "no child process was started that could need them");
    }
    if known.watches("credentials.reads") {
        let variables = variables(known);
        let packages = packages(known);
        match rule(known, "credentials.reads") {
            Some(seen) => {
                key(&mut out, "reads", "report", &format!("{}: reads that name no variable", note(seen)));
            }
            None => key(
                &mut out,
                "reads",
                "deny",
                "SDKs read them; other readers are named below, if there are any",
            ),
        }
        if !variables.is_empty() {
            list(&mut out, "reads_allow_variables", &variables);
        }
        if !packages.is_empty() {
            list(&mut out, "reads_allow_packages", &packages);
        }
    }
    let files = if accept { files(known) } else { String::new() };
    format!("{files}{}", section("credentials", &out))
}

/// What `baseline` has, without it.
fn files(known: &Function) -> String {
    let reads =
        known.deeds.keys().any(|deed| matches!(deed, Deed::Attack { rule, .. } if rule == "files.deny_read"));
    if reads {
        return String::new();
    }
    section(
        "files",
        "deny_read = [\"/proc/*/environ\", \"/proc/*/task/*/environ\", \"/proc/*/mem\", \"/proc/*/task/*/mem\"]\n",
    ) + "\n"
}

fn code(known: &Function, _: bool) -> String {
    let mut out = String::new();
    for name in CODE {
        let full = format!("code.{name}");
        if !known.watches(&full) {
            continue;
        }
        match rule(known, &full) {
            Some(seen) => key(&mut out, name, "report", &note(seen)),
            None => key(&mut out, name, "deny", "not seen"),
        }
    }
    section("code", &out)
}

/// Programs that children were.
pub(super) fn programs(known: &Function) -> List {
    lines(known, "process", "allow")
}

/// Hosts that were connected or looked up.
pub(super) fn hosts(known: &Function) -> List {
    hosts::gathered(lines(known, "egress", "allow"))
}

/// Words for the listeners that were seen.
pub(super) fn listens(known: &Function) -> List {
    lines(known, "egress", "listen")
}

/// Globs of the files that were written below /tmp.
pub(super) fn written(known: &Function) -> List {
    without_siblings(writes(known))
}

/// Globs of the files that were left there.
pub(super) fn left(known: &Function) -> List {
    // A file that is written again and again is left behind, and told, once.
    let again: List = writes(known).into_iter().filter(|(_, seen)| seen.occasions > 1).collect();
    let left = shapes(known, |deed| match deed {
        Deed::Left(shape) => Some(shape),
        _ => None,
    });
    let (stable, others) = left.into_iter().partition(|(path, _)| again.contains_key(path));
    let mut left: List = stable;
    left.extend(without_siblings(others));
    left
}

/// Credential variables that were read by name.
pub(super) fn variables(known: &Function) -> List {
    lines(known, "credentials", "reads_allow_variables")
}

/// Packages that read the credentials.
pub(super) fn packages(known: &Function) -> List {
    shapes(known, |deed| match deed {
        Deed::Package(package) => Some(package),
        _ => None,
    })
}

/// What was seen of a key's values.
fn lines(known: &Function, of_section: &str, of_key: &str) -> List {
    let of = |deed: &Deed| match deed {
        Deed::Line { section, key, value } if section == of_section && key == of_key => Some(value.clone()),
        _ => None,
    };
    known.deeds.iter().filter_map(|(deed, seen)| Some((of(deed)?, seen.clone()))).collect()
}

fn writes(known: &Function) -> List {
    shapes(known, |deed| match deed {
        Deed::Write(shape) => Some(shape),
        _ => None,
    })
}

fn shapes(known: &Function, of: impl Fn(&Deed) -> Option<&String>) -> List {
    known.deeds.iter().filter_map(|(deed, seen)| Some((of(deed)?.clone(), seen.clone()))).collect()
}

/// What a rule without a list spoke of.
pub(super) fn rule<'a>(known: &'a Function, name: &str) -> Option<&'a Seen> {
    known.deeds.get(&Deed::Rule(name.to_owned()))
}

/// Names that were seen once, and many names in one folder, are made up, though their shape does not say so.
fn without_siblings(list: List) -> List {
    let mut once = List::new();
    for (path, seen) in list {
        let path = if seen.occasions < 2 { shape::of_once(&path) } else { path };
        once.entry(path).or_default().merge(&seen);
    }
    let list = once;
    let folder = |path: &str| path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for path in list.keys() {
        *counts.entry(folder(path)).or_default() += 1;
    }
    let mut gathered = List::new();
    for (path, seen) in list {
        let folder = folder(&path);
        let many = counts.get(&folder).is_some_and(|count| *count > MAX_SIBLINGS);
        let path = if many { format!("{folder}/*") } else { path };
        gathered.entry(path).or_default().merge(&seen);
    }
    gathered
}

fn section(name: &str, keys: &str) -> String {
    if keys.is_empty() { String::new() } else { format!("[{name}]\n{keys}") }
}

fn key(out: &mut String, name: &str, value: &str, note: &str) {
    let _ = writeln!(out, "{name} = {}  # {note}", quoted(value));
}

fn list(out: &mut String, name: &str, values: &List) {
    if values.is_empty() {
        let _ = writeln!(out, "{name} = []  # nothing was seen");
        return;
    }
    let _ = writeln!(out, "{name} = [");
    for (value, seen) in values {
        let _ = writeln!(out, "    {},  # {}", quoted(value), note(seen));
    }
    out.push_str("]\n");
}

/// How often, when, and by which code.
pub(super) fn note(seen: &Seen) -> String {
    let when =
        if seen.first == seen.last { seen.first.clone() } else { format!("{} to {}", seen.first, seen.last) };
    let code: Vec<String> = seen.code.iter().map(|code| printable(code)).collect();
    let code = if code.is_empty() { String::new() } else { format!(", by {}", code.join(" and ")) };
    let times = match (seen.at_least, seen.count) {
        (true, 1) => "at least once".to_owned(),
        (true, count) => format!("at least {count} times"),
        (false, 1) => "once".to_owned(),
        (false, count) => format!("{count} times"),
    };
    format!("{times}, {when}{code}")
}

fn printable(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(400).collect()
}

/// A TOML string.
pub(super) fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

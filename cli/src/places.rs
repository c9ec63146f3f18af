//! Where a policy says what it says: the place of a key in the file, in a narrowed rule or in a pack.
//!
//! It finds places only. It must not know what a key means.

use std::fmt;
use std::ops::Range;

use ringfence_policy::{PACKS, Rule};
use toml_edit::{Document, Item};

use crate::deed::Deed;
use crate::policy::Given;

/// Most characters of a line that is shown.
const MAX_SHOWN: usize = 160;

/// Where a rule is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a file or a pack: its name, the line from 1, and the text of that line.
    At { file: String, line: usize, text: String },
    /// Nowhere: it holds without being said.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At { file, line, text } => write!(f, "{file}:{line}: {text}"),
            Self::Default => f.write_str("holds without being said"),
        }
    }
}

/// The place of `rule` as it holds for `deed`: the last narrowed rule that sets its key, the policy's own section, the last
/// pack that does.
pub(crate) fn place(given: &Given, rule: Rule, deed: &Deed) -> Place {
    // What the list of hosts says of names is said by the list.
    let key = if rule == Rule::EgressNames { Rule::EgressAllow } else { rule };
    let Some((section, key)) = key.as_str().split_once('.') else { return Place::Default };
    let own = Document::parse(given.text.as_str()).ok();
    let narrowed = own.as_ref().and_then(|document| {
        let rules = given.policy.rules.iter().enumerate().rev();
        let mut holding = rules.filter(|(_, rule)| rule.when.holds(deed.phase, deed.role));
        holding.find_map(|(index, _)| find(rule_at(document, index)?, section, key))
    });
    let stated = narrowed.or_else(|| find(own.as_ref()?.as_item(), section, key));
    if let Some(span) = stated {
        return at(&given.name, &given.text, &span);
    }
    let packs = given.packs.iter().rev().filter_map(|name| PACKS.iter().find(|(known, _)| known == name));
    let mut places = packs.filter_map(|(name, text)| {
        let document = Document::parse(*text).ok()?;
        Some(at(&format!("pack {name}"), text, &find(document.as_item(), section, key)?))
    });
    places.next().unwrap_or(Place::Default)
}

/// The `[[rule]]` with this number.
fn rule_at<S>(document: &Document<S>, index: usize) -> Option<&Item> {
    document.as_item().get("rule")?.get(index)
}

fn find(item: &Item, section: &str, key: &str) -> Option<Range<usize>> {
    let section = item.get(section)?;
    let (name, value) = section.as_table_like()?.get_key_value(key)?;
    name.span().or_else(|| value.span())
}

fn at(file: &str, text: &str, span: &Range<usize>) -> Place {
    let spot = spot(text, span);
    Place::At { file: file.to_owned(), line: spot.line, text: spot.text.trim().to_owned() }
}

/// Where a span stands, for people.
pub(crate) struct Spot {
    /// From 1.
    pub(crate) line: usize,
    /// In characters, from 1.
    pub(crate) column: usize,
    /// The line, without control characters.
    pub(crate) text: String,
    /// How many characters the span has on its line, at least 1.
    pub(crate) width: usize,
}

/// Where a span of a text stands.
pub(crate) fn spot(text: &str, span: &Range<usize>) -> Spot {
    let before = text.get(..span.start).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let end = span.end.min(start + line.len());
    let shown = line.chars().map(|character| if character.is_control() { ' ' } else { character });
    Spot {
        line: before.matches('\n').count() + 1,
        column: text.get(start..span.start).map_or(0, |part| part.chars().count()) + 1,
        text: shown.take(MAX_SHOWN).collect::<String>().trim_end().to_owned(),
        width: text.get(span.start..end).map_or(1, |part| part.chars().count()).clamp(1, MAX_SHOWN),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use ringfence_policy::{Phase, Role};

    fn place_of(text: &str, words: &str, phase: Phase) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.toml");
        std::fs::write(&file, text).unwrap();
        let Ok(mut given) = Given::open(Path::new(&file)) else { panic!("{text}") };
        given.name = "policy.toml".to_owned();
        let deed = Deed { what: crate::deed::What::parse(words).unwrap(), phase, role: Role::Child };
        let verdict = deed.verdict(&given.policy);
        place(&given, verdict.rule, &deed).to_string()
    }

    #[test]
    fn a_key_is_found_in_the_rule_the_file_and_the_pack() {
        let text = "extends = \"web-api\"\n[egress]\nallow = [\"a.example:443\"]\n\n[[rule]]\nwhen = { phase = \"init\" }\negress.allow = []\n";
        let connect = "connect b.example:443";
        assert_eq!(place_of(text, connect, Phase::Invoke), "policy.toml:3: allow = [\"a.example:443\"]");
        assert_eq!(place_of(text, connect, Phase::Init), "policy.toml:7: egress.allow = []");
        assert_eq!(place_of(text, "exec /bin/sh", Phase::Invoke), "pack web-api:7: shells = \"deny\"");
        assert_eq!(place_of(text, "dangerous-call ptrace", Phase::Invoke), "holds without being said");
    }

    #[test]
    fn inline_tables_and_dotted_keys_have_places() {
        assert_eq!(
            place_of("process = { allow = [] }\n", "exec /a/b", Phase::Invoke),
            "policy.toml:1: process = { allow = [] }"
        );
        assert_eq!(
            place_of("\nprocess.allow = []\n", "exec /a/b", Phase::Invoke),
            "policy.toml:2: process.allow = []"
        );
    }
}

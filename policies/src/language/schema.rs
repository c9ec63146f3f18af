//! The JSON Schema of the language, for editors.
//!
//! Made from the same declarations that the parser reads by, so the two cannot disagree. The command line prints it,
//! and `policies/schema.json` is a copy that a test keeps current.

use super::OnDegraded;
use super::amounts::Date;
use super::packs::PACKS;
use super::parse::PHASES;
use super::section::{Section, described, table_schema};
use super::sections::{
    Anomaly, Code, Credentials, Egress, Files, Hooks, Integrity, Mode, Process, Report, Tmp,
};
use super::value::{Value, quoted, quoted_list};

/// The JSON Schema (draft 2020-12) of a policy, indented.
#[must_use]
pub fn schema() -> String {
    let packs = PACKS.map(|(name, _)| name);
    let pack = format!("{{\"enum\": {}}}", quoted_list(&packs));
    let extends = format!("{{\"anyOf\": [{pack}, {{\"type\": \"array\", \"items\": {pack}}}]}}");
    let top = [
        described("version", &["Version of the language."], "{\"const\": 1}"),
        described("mode", &["For every section that has no mode of its own."], &Mode::schema()),
        described("on_degraded", &["What happens where a rule cannot be enforced."], &OnDegraded::schema()),
        described("enforce_after", &["Until this day what would be enforced is observed."], &Date::schema()),
        described("extends", &["Packs that this policy is layered over."], &extends),
        described("rule", &["Sections that hold in some phases or for some processes only."], &rule_schema()),
    ];
    let properties = top.into_iter().chain(sections(false)).collect::<Vec<_>>().join(", ");
    let compact = format!(
        "{{\"$schema\": \"https://json-schema.org/draft/2020-12/schema\", \"title\": \"Ringfence policy\", \
         \"type\": \"object\", \"additionalProperties\": false, \"properties\": {{{properties}}}}}"
    );
    indent(&compact)
}

/// A property for each section; for a `[[rule]]`, only the keys that can be narrowed.
fn sections(narrowed: bool) -> Vec<String> {
    let all = [
        property::<Process>(narrowed),
        property::<Egress>(narrowed),
        property::<Tmp>(narrowed),
        property::<Files>(narrowed),
        property::<Credentials>(narrowed),
        property::<Code>(narrowed),
        property::<Hooks>(narrowed),
        property::<Integrity>(narrowed),
        property::<Anomaly>(narrowed),
        property::<Report>(narrowed),
    ];
    all.into_iter().flatten().collect()
}

fn property<S: Section>(narrowed: bool) -> Option<String> {
    if !narrowed {
        return Some(format!("{}: {}", quoted(S::NAME), table_schema::<S>()));
    }
    let names: Vec<&str> = S::KEYS.iter().filter(|key| key.narrowed).map(|key| key.name).collect();
    let only = quoted_list(&names);
    let name = quoted(S::NAME);
    (!names.is_empty()).then(|| {
        format!(
            "{name}: {{\"allOf\": [{{\"$ref\": \"#/properties/{}\"}}], \"propertyNames\": {{\"enum\": {only}}}}}",
            S::NAME
        )
    })
}

fn rule_schema() -> String {
    let when = format!(
        "\"when\": {{\"type\": \"object\", \"additionalProperties\": false, \"minProperties\": 1, \"properties\": \
         {{\"phase\": {{\"enum\": {}}}, \"process\": {{\"type\": \"string\", \"pattern\": \"^(runtime|child|/.*)$\"}}}}}}",
        quoted_list(&PHASES)
    );
    let properties = std::iter::once(when).chain(sections(true)).collect::<Vec<_>>().join(", ");
    format!(
        "{{\"type\": \"array\", \"maxItems\": 64, \"items\": {{\"type\": \"object\", \"required\": [\"when\"], \
         \"additionalProperties\": false, \"properties\": {{{properties}}}}}}}"
    )
}

/// Puts each member of an object on a line of its own; arrays of plain values stay on one line.
fn indent(compact: &str) -> String {
    let mut out = String::new();
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for character in compact.chars() {
        if in_string {
            out.push(character);
            in_string = escaped || character != '"';
            escaped = character == '\\' && !escaped;
            continue;
        }
        in_string = character == '"';
        match character {
            ' ' if out.ends_with(' ') => {}
            '{' => {
                depth += 1;
                out.push('{');
                break_line(&mut out, depth);
            }
            '}' => {
                depth = depth.saturating_sub(1);
                break_line(&mut out, depth);
                out.push('}');
            }
            ',' if out.ends_with('}') || !in_array(&out) => {
                out.push(',');
                break_line(&mut out, depth);
            }
            other => out.push(other),
        }
    }
    out.push('\n');
    out
}

fn break_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.push_str(&"  ".repeat(depth));
}

/// Whether the innermost bracket that is open at the end of `text` is an array's.
fn in_array(text: &str) -> bool {
    let mut closed = 0_usize;
    for character in text.chars().rev() {
        match character {
            ']' | '}' => closed += 1,
            '[' | '{' if closed > 0 => closed -= 1,
            '[' => return true,
            '{' => return false,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::schema;

    #[test]
    fn the_shipped_schema_is_current() {
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/schema.json");
        if std::env::var_os("RINGFENCE_UPDATE_SCHEMA").is_some() {
            std::fs::write(shipped, schema()).unwrap();
        }
        let text = std::fs::read_to_string(shipped).unwrap();
        assert_eq!(text, schema(), "run the test with RINGFENCE_UPDATE_SCHEMA=1 to write it anew");
    }

    #[test]
    fn the_schema_is_json() {
        let value: serde_json::Value = serde_json::from_str(&schema()).unwrap();
        assert_eq!(value["properties"]["process"]["properties"]["shells"]["enum"][0], "allow");
    }
}

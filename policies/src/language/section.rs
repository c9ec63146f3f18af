//! How a section is declared: its keys once, with type, rule and meaning.
//!
//! From one declaration come the struct, its reader, printer, layering, and the table of keys that diagnostics,
//! schema and rules-in-use are made from, so none of them can disagree. The sections are declared with it.

use toml::de::{DeTable, DeValue};

use super::diagnostic::{Findings, nearest};
use super::value::{Node, Strength, quoted};
use crate::Rule;

/// One key of a section, as its declaration says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// What the documentation says about it, one string per line.
    pub(super) doc: &'static [&'static str],
    pub(super) rule: Rule,
    /// Whether a `[[rule]]` may set it.
    pub(super) narrowed: bool,
    pub(super) schema: fn() -> String,
}

/// A table of keys, each of which may be absent.
pub(super) trait Section: Default {
    const NAME: &'static str;
    const KEYS: &'static [Key];

    /// Reads the value of `key`; false where there is no such key.
    fn set(&mut self, key: &str, node: &Node<'_>, findings: &mut Findings<'_>) -> bool;

    /// Calls `each` with every key that is set, its value as TOML, and what the value asks for.
    fn for_each_set(&self, each: &mut dyn FnMut(&'static Key, String, Strength));

    /// Puts what `own` sets over what a pack set here.
    fn layer(&mut self, own: Self);

    /// Replaces what `narrowed` sets.
    fn overlay(&mut self, narrowed: &Self);
}

/// Declares a section.
macro_rules! section {
    ($(#[doc = $doc:expr])* $name:ident = $section:literal {
        $($(#[doc = $key_doc:expr])* $key:ident: $type:ty, rule = $rule:ident, narrowed = $narrowed:literal;)*
    }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[doc = $key_doc])* pub $key: Option<$type>,)*
        }

        impl $crate::language::section::Section for $name {
            const NAME: &'static str = $section;
            const KEYS: &'static [$crate::language::section::Key] = &[$($crate::language::section::Key {
                name: stringify!($key),
                doc: &[$($key_doc),*],
                rule: $crate::Rule::$rule,
                narrowed: $narrowed,
                schema: <$type as $crate::language::value::Value>::schema,
            }),*];

            fn set(
                &mut self,
                key: &str,
                node: &$crate::language::value::Node<'_>,
                findings: &mut $crate::language::diagnostic::Findings<'_>,
            ) -> bool {
                $(if key == stringify!($key) {
                    self.$key = $crate::language::value::Value::read(node, findings);
                    return true;
                })*
                false
            }

            fn for_each_set(
                &self,
                each: &mut dyn FnMut(&'static $crate::language::section::Key, String, $crate::language::value::Strength),
            ) {
                let mut keys = Self::KEYS.iter();
                $(if let (Some(key), Some(value)) = (keys.next(), &self.$key) {
                    let mut text = String::new();
                    $crate::language::value::Value::print(value, &mut text);
                    each(key, text, $crate::language::value::Value::strength(value));
                })*
            }

            fn layer(&mut self, own: Self) {
                $(match (&mut self.$key, own.$key) {
                    (Some(ours), Some(own)) => $crate::language::value::Value::layer(ours, own),
                    (ours, Some(own)) => *ours = Some(own),
                    (_, None) => {}
                })*
            }

            fn overlay(&mut self, narrowed: &Self) {
                $(if narrowed.$key.is_some() {
                    self.$key.clone_from(&narrowed.$key);
                })*
            }
        }
    };
}
pub(super) use section;

/// Reads `table` into a section. `narrowed` is true inside a `[[rule]]`, where not every key may stand.
pub(super) fn read_section<S: Section>(node: &Node<'_>, findings: &mut Findings<'_>, narrowed: bool) -> S {
    let mut section = S::default();
    let Some(table) = node.get_ref().as_table() else {
        let hint = format!("write its keys under [{}], or in braces: {{ key = value }}", S::NAME);
        super::value::wrong(node, findings, "a table", &hint);
        return section;
    };
    for (key, value) in table {
        let known = S::KEYS.iter().find(|known| known.name == key.get_ref().as_ref());
        match known {
            Some(known) if narrowed && !known.narrowed => not_narrowed(S::NAME, key, findings),
            Some(known) => _ = section.set(known.name, value, findings),
            None => unknown_key(key, S::NAME, S::KEYS.iter().map(|known| known.name), findings),
        }
    }
    super::unbuilt::warn(&section, table, findings);
    section
}

/// A key as the TOML parser gives it.
type KeyNode<'t> = toml::Spanned<toml::de::DeString<'t>>;

fn not_narrowed(section: &str, key: &KeyNode<'_>, findings: &mut Findings<'_>) {
    let name = key.get_ref();
    findings.error(
        key.span(),
        format!("`{section}.{name}` cannot be narrowed by a [[rule]]"),
        "applies to the whole environment".into(),
        format!("set it in [{section}]"),
    );
}

/// Reports a key that is none of `known`, and suggests the nearest.
pub(super) fn unknown_key(
    key: &KeyNode<'_>,
    place: &str,
    known: impl Iterator<Item = &'static str>,
    findings: &mut Findings<'_>,
) {
    let known: Vec<&str> = known.collect();
    let shown: String = key.get_ref().chars().take(64).collect();
    let place = if place.is_empty() { "the policy".to_owned() } else { format!("[{place}]") };
    let near = nearest(key.get_ref(), known.iter().copied().filter(|_| !findings.is_full()));
    let hint = near.map_or_else(
        || format!("{place} knows: {}", known.join(", ")),
        |near| format!("did you mean `{near}`?"),
    );
    findings.error(
        key.span(),
        format!("unknown key {} in {place}", quoted(&shown)),
        "unknown key".into(),
        hint,
    );
}

/// A section that also stands as a value, in braces: `limits = { processes = 32 }`.
macro_rules! nested {
    ($name:ident) => {
        impl $crate::language::value::Value for $name {
            fn read(
                node: &$crate::language::value::Node<'_>,
                findings: &mut $crate::language::diagnostic::Findings<'_>,
            ) -> Option<Self> {
                Some($crate::language::section::read_section(node, findings, false))
            }

            fn print(&self, out: &mut String) {
                out.push_str(&$crate::language::section::inline_table(self));
            }

            fn schema() -> String {
                $crate::language::section::table_schema::<Self>()
            }

            fn layer(&mut self, own: Self) {
                $crate::language::section::Section::layer(self, own);
            }
        }
    };
}
pub(super) use nested;

/// `{ processes = 32, memory = "256MiB" }`.
pub(super) fn inline_table<S: Section>(section: &S) -> String {
    let mut parts = Vec::new();
    section.for_each_set(&mut |key, value, _| parts.push(format!("{} = {value}", key.name)));
    if parts.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", parts.join(", ")) }
}

/// The JSON Schema of a table.
pub(super) fn table_schema<S: Section>() -> String {
    let properties: Vec<String> = S::KEYS.iter().map(key_schema).collect();
    format!(
        "{{\"type\": \"object\", \"additionalProperties\": false, \"properties\": {{{}}}}}",
        properties.join(", ")
    )
}

/// `"key": { description and schema of its value }`.
pub(super) fn key_schema(key: &Key) -> String {
    described(key.name, key.doc, &(key.schema)())
}

/// A property of a JSON Schema with its description put in front of the rest.
pub(super) fn described(name: &str, doc: &[&str], schema: &str) -> String {
    let description = doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    let rest = schema.strip_prefix('{').unwrap_or(schema);
    format!("{}: {{\"description\": {}, {rest}", quoted(name), quoted(&description))
}

/// The table in `node`, if it is one.
pub(super) fn as_table<'n, 't>(node: &'n Node<'t>) -> Option<&'n DeTable<'t>> {
    match node.get_ref() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

//! What a value of the language can do: be read with diagnostics, printed, described to editors, and layered.
//!
//! It defines the trait and the shapes that are common to many keys (words, lists, counts); what the words mean is
//! decided elsewhere. The sections are built from these.

use std::fmt::Write;

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::{Findings, nearest};

/// A value in the file, with its span.
pub(super) type Node<'t> = Spanned<DeValue<'t>>;

/// How much a value asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strength {
    /// It sets no rule (`"allow"`).
    Nothing,
    /// It asks for records only (`"report"`).
    Reports,
    /// It asks for enforcement.
    Enforces,
}

/// A type that can stand behind a key.
pub(super) trait Value: Sized {
    /// Reads the value; reports to `findings` and gives nothing where it is wrong.
    fn read(node: &Node<'_>, findings: &mut Findings<'_>) -> Option<Self>;

    /// Appends the value as TOML on one line.
    fn print(&self, out: &mut String);

    /// The JSON Schema of the value.
    fn schema() -> String;

    /// Puts the value of a file over that of the pack which it extends.
    fn layer(&mut self, own: Self) {
        *self = own;
    }

    /// What the value asks for.
    fn strength(&self) -> Strength {
        Strength::Enforces
    }
}

/// Reports that `node` is not what its key takes.
pub(super) fn wrong(node: &Node<'_>, findings: &mut Findings<'_>, expected: &str, hint: &str) {
    let found = describe(node.get_ref());
    findings.error(
        node.span(),
        format!("expected {expected}, found {found}"),
        format!("expected {expected}"),
        hint.into(),
    );
}

fn describe(value: &DeValue<'_>) -> String {
    const MAX_SHOWN: usize = 40;
    match value {
        DeValue::String(text) if text.chars().count() <= MAX_SHOWN => format!("{text:?}"),
        DeValue::String(_) => "a long string".to_owned(),
        DeValue::Integer(number) if number.as_str().len() <= MAX_SHOWN => format!("`{number}`"),
        DeValue::Float(number) if number.as_str().len() <= MAX_SHOWN => format!("`{number}`"),
        DeValue::Integer(_) | DeValue::Float(_) => "a long number".to_owned(),
        DeValue::Boolean(value) => format!("`{value}`"),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Appends `text` as a basic TOML string, which is a JSON string too.
pub(super) fn print_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            control if control.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// `text` as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::new();
    print_string(text, &mut out);
    out
}

/// `["a", "b"]`, as TOML and JSON both have it.
pub(super) fn quoted_list(words: &[&str]) -> String {
    format!("[{}]", words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", "))
}

/// Reads one of a few words.
pub(super) fn read_word(
    node: &Node<'_>,
    findings: &mut Findings<'_>,
    words: &[&'static str],
) -> Option<&'static str> {
    let found = node.get_ref().as_str();
    if let Some(word) = found.and_then(|found| words.iter().find(|word| **word == found)) {
        return Some(word);
    }
    let expected = one_of(words);
    let hint = found.and_then(|found| nearest(found, words.iter().copied())).map_or_else(
        || format!("write one of these words in quotes: {}", words.join(", ")),
        |word| format!("did you mean {}?", quoted(word)),
    );
    wrong(node, findings, &expected, &hint);
    None
}

/// `"a", "b" or "c"`.
fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => quoted(only),
        [first @ .., last] => {
            let first: Vec<_> = first.iter().map(|word| quoted(word)).collect();
            format!("{} or {}", first.join(", "), quoted(last))
        }
    }
}

/// Declares an enum whose variants are words of the language, with what each asks for.
macro_rules! words {
    ($(#[doc = $doc:expr])* $name:ident { $($(#[doc = $variant_doc:expr])* $variant:ident = $word:literal, $strength:ident;)* }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[doc = $variant_doc])* $variant,)* }

        impl $name {
            /// Every word that the language has for it.
            pub const WORDS: &[&'static str] = &[$($word),*];

            /// The word that the language uses.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }

        impl $crate::language::value::Value for $name {
            fn read(node: &$crate::language::value::Node<'_>, findings: &mut $crate::language::diagnostic::Findings<'_>) -> Option<Self> {
                $crate::language::value::read_word(node, findings, Self::WORDS).and_then(Self::from_word)
            }

            fn print(&self, out: &mut String) {
                $crate::language::value::print_string(self.as_str(), out);
            }

            fn schema() -> String {
                format!("{{\"enum\": {}}}", $crate::language::value::quoted_list(Self::WORDS))
            }

            fn strength(&self) -> $crate::language::value::Strength {
                match self { $(Self::$variant => $crate::language::value::Strength::$strength,)* }
            }
        }
    };
}
pub(super) use words;

/// Longest list that a key takes.
const MAX_ENTRIES: usize = 512;

fn read_list<T: Value>(node: &Node<'_>, findings: &mut Findings<'_>) -> Option<Vec<T>> {
    let Some(array) = node.get_ref().as_array() else {
        let hint = if node.get_ref().is_str() {
            "put it in brackets: [\"…\"]"
        } else {
            "write [\"…\", \"…\"]"
        };
        wrong(node, findings, "a list", hint);
        return None;
    };
    if array.len() > MAX_ENTRIES {
        wrong(node, findings, "at most 512 entries", "use wildcards to say more with fewer entries");
        return None;
    }
    // Every entry is read, so that each wrong one is reported.
    let read: Vec<Option<T>> = array.iter().map(|entry| T::read(entry, findings)).collect();
    read.into_iter().collect()
}

fn print_list<T: Value>(list: &[T], out: &mut String) {
    out.push('[');
    for (index, entry) in list.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        entry.print(out);
    }
    out.push(']');
}

fn list_schema<T: Value>() -> String {
    format!("{{\"type\": \"array\", \"items\": {}, \"maxItems\": {MAX_ENTRIES}}}", T::schema())
}

/// A list that says what may be: a file's list replaces that of its pack.
impl<T: Value> Value for Vec<T> {
    fn read(node: &Node<'_>, findings: &mut Findings<'_>) -> Option<Self> {
        read_list(node, findings)
    }

    fn print(&self, out: &mut String) {
        print_list(self, out);
    }

    fn schema() -> String {
        list_schema::<T>()
    }
}

/// A list of what is denied: a file's list is added to that of its pack, so that extending a pack never allows what
/// the pack denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied<T>(pub Vec<T>);

impl<T: Value + PartialEq> Value for Denied<T> {
    fn read(node: &Node<'_>, findings: &mut Findings<'_>) -> Option<Self> {
        read_list(node, findings).map(Self)
    }

    fn print(&self, out: &mut String) {
        print_list(&self.0, out);
    }

    fn schema() -> String {
        list_schema::<T>()
    }

    fn layer(&mut self, own: Self) {
        for entry in own.0 {
            if !self.0.contains(&entry) {
                self.0.push(entry);
            }
        }
    }

    fn strength(&self) -> Strength {
        if self.0.is_empty() { Strength::Nothing } else { Strength::Enforces }
    }
}

impl Value for bool {
    fn read(node: &Node<'_>, findings: &mut Findings<'_>) -> Option<Self> {
        let value = node.get_ref().as_bool();
        if value.is_none() {
            wrong(node, findings, "true or false", "write true or false without quotes");
        }
        value
    }

    fn print(&self, out: &mut String) {
        out.push_str(if *self { "true" } else { "false" });
    }

    fn schema() -> String {
        "{\"type\": \"boolean\"}".to_owned()
    }

    fn strength(&self) -> Strength {
        if *self { Strength::Enforces } else { Strength::Nothing }
    }
}

/// A positive whole number of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count(pub u32);

impl Value for Count {
    fn read(node: &Node<'_>, findings: &mut Findings<'_>) -> Option<Self> {
        let number = integer(node).and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0);
        if number.is_none() {
            wrong(node, findings, "a whole number from 1", "leave the key out for no limit");
        }
        number.map(Self)
    }

    fn print(&self, out: &mut String) {
        out.push_str(&self.0.to_string());
    }

    fn schema() -> String {
        format!("{{\"type\": \"integer\", \"minimum\": 1, \"maximum\": {}}}", u32::MAX)
    }
}

/// The integer in `node`, in whichever base it is written.
pub(super) fn integer(node: &Node<'_>) -> Option<u64> {
    let integer = node.get_ref().as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

//! The variables by which users set Ringfence, and what is wrong with one.
//!
//! A value that is not known counts as not set, and is told: silence would let a user believe that it holds. It must not
//! know what a variable does. Guard and agent call it.

use crate::log::LogFilter;

/// What `RINGFENCE_LOG` may be, for people.
const LOG_EXPECTED: &str =
    "expected error, warn, info, debug, trace or off, or entries such as warn,resolver=debug";
/// Variables with a few words for values; none: any value.
const KNOWN: [(&str, &[&str]); 12] = [
    ("RINGFENCE", &["on", "off"]),
    ("RINGFENCE_ON_ERROR", &["refuse", "observe"]),
    ("RINGFENCE_PLANE", &["process"]),
    ("RINGFENCE_SHIMS", &["on", "off"]),
    ("RINGFENCE_LOG", &[]),
    ("RINGFENCE_POLICY", &[]),
    ("RINGFENCE_EXEC_WRAPPER", &[]),
    // Ringfence's own, which a process under it has.
    ("RINGFENCE_FDS", &[]),
    ("RINGFENCE_REPORT", &[]),
    ("RINGFENCE_SITES", &[]),
    ("RINGFENCE_CODE", &[]),
    ("RINGFENCE_DENIED", &[]),
];
/// Longest value that a message shows, in characters.
const SHOWN: usize = 40;

/// What is wrong with this variable; `None` if nothing is, or it is none of Ringfence's.
#[must_use]
pub fn trouble_with_variable(name: &str, value: &str) -> Option<String> {
    if name != "RINGFENCE" && !name.starts_with("RINGFENCE_") {
        return None;
    }
    let Some((_, words)) = KNOWN.iter().find(|(known, _)| *known == name) else {
        return Some(format!("{} is no variable that Ringfence knows", shown(name)));
    };
    if name == "RINGFENCE_LOG" && !value.is_empty() && LogFilter::parse(value).is_none() {
        return Some(format!("{name} is \"{}\": {LOG_EXPECTED}, took it as not set", shown(value)));
    }
    if value.is_empty() || words.is_empty() || words.contains(&value) {
        return None;
    }
    let expected = words.join(" or ");
    Some(format!("{name} is \"{}\": expected {expected}, took it as not set", shown(value)))
}

fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_value_that_is_not_known_is_told_with_what_was_expected() {
        let told = |name, value| trouble_with_variable(name, value).unwrap_or_default();
        insta::assert_snapshot!(told("RINGFENCE_ON_ERROR", "banana\n"), @r#"RINGFENCE_ON_ERROR is "banana": expected refuse or observe, took it as not set"#);
        insta::assert_snapshot!(told("RINGFENCE", "0"), @r#"RINGFENCE is "0": expected on or off, took it as not set"#);
        insta::assert_snapshot!(told("RINGFENCE_POLCY", "x"), @"RINGFENCE_POLCY is no variable that Ringfence knows");
        insta::assert_snapshot!(told("RINGFENCE_LOG", "resolvr=debug"), @r#"RINGFENCE_LOG is "resolvr=debug": expected error, warn, info, debug, trace or off, or entries such as warn,resolver=debug, took it as not set"#);
        let right = [
            ("RINGFENCE", "off"),
            ("RINGFENCE_SHIMS", ""),
            ("RINGFENCE_POLICY", "x"),
            ("RINGFENCE_LOG", "warn,resolver=debug"),
            ("RINGFENCED", "x"),
        ];
        for (name, value) in right {
            assert_eq!(told(name, value), "", "{name}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(name in "RINGFENCE.{0,20}", value in ".{0,80}") {
            let _ = trouble_with_variable(&name, &value);
        }
    }
}

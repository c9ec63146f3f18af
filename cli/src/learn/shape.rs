//! The shape of a path: what is the same each time, with wildcards for what a program makes up.
//!
//! It goes by names alone. Numbers, UUIDs and random tokens become wildcards, everything else stays. It must not widen a
//! path to another folder: a wildcard never stands for a slash.

/// Shortest token of letters and digits that may be random.
const RANDOM: usize = 6;
/// Shortest run of hexadecimal digits that may be one.
const HEXADECIMAL: usize = 8;
/// Longest random name that is written as so many `?`.
const COUNTED: usize = 16;
/// The 8 characters that Python's `tempfile` adds to its prefix.
const PYTHON: usize = 8;

/// The glob of a path below /tmp.
pub(super) fn of(path: &str) -> String {
    path.split('/').map(component).collect::<Vec<_>>().join("/")
}

/// The glob of a path that was seen once only: its last name may be made up, though it does not look so.
pub(super) fn of_once(shape: &str) -> String {
    let Some((folder, name)) = shape.rsplit_once('/') else { return shape.to_owned() };
    let stem = name.split('.').next().unwrap_or(name);
    let is_word = stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if stem.is_empty() || stem.len() > COUNTED || !is_word {
        return shape.to_owned();
    }
    let rest = name.strip_prefix(stem).unwrap_or_default();
    format!("{folder}/{}{rest}", "?".repeat(stem.len()))
}

fn component(name: &str) -> String {
    if let Some(made_up) = name.strip_prefix("tmp")
        && made_up.len() == PYTHON
        && made_up.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    {
        return format!("tmp{}", "?".repeat(PYTHON));
    }
    if is_random(name) && name.len() <= COUNTED {
        return "?".repeat(name.chars().count());
    }
    let mut shape = String::new();
    let mut rest = name;
    while !rest.is_empty() {
        let end = rest.find(['-', '_', '.']).unwrap_or(rest.len());
        let (word, others) = rest.split_at(end);
        shape.push_str(&token(word));
        let (separator, others) = others.split_at(others.len().min(1));
        shape.push_str(separator);
        rest = others;
    }
    shape
}

fn token(word: &str) -> String {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let is_hexadecimal = word.bytes().all(|byte| byte.is_ascii_hexdigit());
    if word.is_empty() {
        return String::new();
    }
    if digits == word.len() || is_random(word) || (is_hexadecimal && digits > 0 && word.len() >= 4) {
        return "*".to_owned();
    }
    if is_hexadecimal && word.len() >= HEXADECIMAL {
        return "*".to_owned();
    }
    // `job123456`, as Java's createTempFile makes it; a version has fewer digits.
    let start = word.trim_end_matches(|character: char| character.is_ascii_digit());
    if word.len() - start.len() >= 4 { format!("{}*", quoted(start)) } else { quoted(word) }
}

/// Letters and digits in turn, as generators of names make them.
fn is_random(word: &str) -> bool {
    if word.len() < RANDOM || !word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return false;
    }
    let kinds = word.bytes().map(|byte| (byte.is_ascii_digit(), byte.is_ascii_uppercase()));
    let changes = kinds.clone().zip(kinds.skip(1)).filter(|(one, next)| one != next).count();
    changes >= 3
}

/// A name as a glob that matches it alone.
pub(super) fn quoted(name: &str) -> String {
    let mut glob = String::with_capacity(name.len());
    for character in name.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            glob.push('\\');
        }
        glob.push(character);
    }
    glob
}

#[cfg(test)]
mod tests {
    use super::{of, of_once};
    use proptest::prelude::*;
    use ringfence_policy::PathGlob;

    #[test]
    fn what_a_program_makes_up_becomes_a_wildcard() {
        for (path, shape) in [
            ("/tmp/work-4-12.txt", "/tmp/work-*-*.txt"),
            ("/tmp/tmp76ildvdy", "/tmp/tmp????????"),
            ("/tmp/tmpabcdefgh/out.pdf", "/tmp/tmp????????/out.pdf"),
            ("/tmp/tmpav0cx9e_", "/tmp/tmp????????"),
            ("/tmp/j756mb7s", "/tmp/????????"),
            ("/tmp/8476a536-e9f4-11e8-9739-2dfe598c3fcd.json", "/tmp/*-*-*-*-*.json"),
            ("/tmp/upload1234567890.tmp", "/tmp/upload*.tmp"),
            ("/tmp/cache/model.bin", "/tmp/cache/model.bin"),
            ("/tmp/fonts/v2/a.ttf", "/tmp/fonts/v2/a.ttf"),
            ("/tmp/[x].txt", "/tmp/\\[x\\].txt"),
            ("/tmp/puppeteer_dev_profile-aB3xYz", "/tmp/puppeteer_dev_profile-*"),
        ] {
            assert_eq!(of(path), shape, "{path}");
        }
    }

    #[test]
    fn a_name_that_was_seen_once_may_be_made_up() {
        assert_eq!(of_once("/tmp/icrldtab"), "/tmp/????????");
        assert_eq!(of_once("/tmp/a/config.json"), "/tmp/a/??????.json");
        assert_eq!(of_once("/tmp/work-*.txt"), "/tmp/work-*.txt");
    }

    proptest! {
        #[test]
        fn a_shape_is_a_glob_that_matches_the_path(name in "[ -~&&[^/]]{1,24}") {
            prop_assume!(name != "." && name != "..");
            let path = format!("/tmp/{name}/x");
            let glob = PathGlob::new(&of(&path));
            prop_assert!(glob.is_some_and(|glob| glob.matches(path.as_bytes())), "{}", of(&path));
        }
    }
}

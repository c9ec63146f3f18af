//! Globs for paths and variables, as the typed form holds and matches them.
//!
//! It decides which globs the language accepts, and has a matcher of its own that works on components: the reference
//! that the compiled form's matcher is tested against. The sections hold the types, the typed verdict asks them.

use super::diagnostic::Findings;
use super::value::{Node, Value, print_string, wrong};

/// Longest pattern in bytes.
const MAX_PATTERN: usize = 1024;

/// A glob for absolute, resolved paths: `*` within a component, `**` any number of components (none too), `?` one
/// byte, `[a-z]` and `[!a-z]` one byte of a set, `\` before a character takes it literally.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathGlob(String);

/// A glob for names of environment variables; wildcards as in [`PathGlob`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VariableGlob(String);

/// The name of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VariableName(String);

/// The name of a system call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SyscallName(String);

/// The name of a package of a language: `requests`, `@acme/vault`, `com.acme.vault`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PackageName(String);

/// What a glob is refused for: what was expected, and what to do.
type Refusal = (&'static str, &'static str);

impl PathGlob {
    /// The pattern, if the language accepts it.
    #[must_use]
    pub fn new(pattern: &str) -> Option<Self> {
        Self::check(pattern).is_ok().then(|| Self(pattern.to_owned()))
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern has no wildcard and is `path`.
    #[must_use]
    pub fn is_exactly(&self, path: &[u8]) -> bool {
        !self.0.contains(['*', '?', '[', '\\']) && self.0.as_bytes() == path
    }

    /// Whether the pattern matches `path`. Nothing matches a path that is not absolute.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        if !path.starts_with(b"/") {
            return false;
        }
        let pattern: Vec<&[u8]> = self.0.as_bytes().split(|byte| *byte == b'/').collect();
        let path: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        components_match(&pattern, &path)
    }

    fn check(pattern: &str) -> Result<(), Refusal> {
        if !pattern.starts_with('/') {
            return Err((
                "an absolute path or glob",
                "begin it with a slash: programs are not looked up in PATH here",
            ));
        }
        if pattern.split('/').skip(1).any(|part| matches!(part, "." | "..")) || pattern.contains("//") {
            return Err((
                "a path without `.`, `..` and empty components",
                "write the path as realpath(1) prints it",
            ));
        }
        if pattern.len() > 1 && pattern.ends_with('/') {
            return Err(("a path without a slash at its end", "end it with /** to mean all that is below"));
        }
        if pattern.split('/').any(|part| part != "**" && part.contains("**")) {
            return Err(("`**` as a whole component", "write /** for any depth, or * within one component"));
        }
        wildcards_close(pattern)
    }
}

/// Whether every set is closed within its component and every backslash has a character after it.
fn wildcards_close(pattern: &str) -> Result<(), Refusal> {
    if pattern.len() > MAX_PATTERN || pattern.chars().any(char::is_control) || pattern.is_empty() {
        return Err(("a pattern of 1 to 1024 bytes without control characters", "use ** to shorten it"));
    }
    let mut rest = pattern.as_bytes();
    loop {
        rest = match rest {
            [] => return Ok(()),
            [b'\\'] | [b'\\', b'/', ..] => {
                return Err(("a character after `\\`", "write \\\\ in a TOML string for one backslash"));
            }
            [b'[', ..] => match split_set(rest) {
                Some((body, tail)) if !body.contains(&b'/') => tail,
                _ => {
                    return Err((
                        "a set that is closed: [a-z]",
                        "write \\\\[ in a TOML string for a bracket itself",
                    ));
                }
            },
            [b'\\', _, tail @ ..] | [_, tail @ ..] => tail,
        };
    }
}

/// What is between the brackets of the set that `pattern` starts with, and what follows it.
fn split_set(pattern: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = pattern.strip_prefix(b"[")?;
    let fixed = match inner {
        [b'!' | b'^', ..] => 2,
        _ => 1,
    };
    let end = fixed + inner.get(fixed..)?.iter().position(|byte| *byte == b']')?;
    Some((inner.get(..end)?, inner.get(end + 1..)?))
}

/// Row by row: which numbers of path components the pattern's first components can stand for.
fn components_match(pattern: &[&[u8]], path: &[&[u8]]) -> bool {
    let mut reachable = vec![false; path.len() + 1];
    if let Some(start) = reachable.first_mut() {
        *start = true;
    }
    for part in pattern {
        let mut next = vec![false; path.len() + 1];
        if *part == b"**" {
            let first = reachable.iter().position(|reached| *reached).unwrap_or(path.len() + 1);
            next.iter_mut().skip(first).for_each(|cell| *cell = true);
        } else {
            for ((from, component), to) in reachable.iter().zip(path).zip(next.iter_mut().skip(1)) {
                *to = *from && within(part, component);
            }
        }
        reachable = next;
    }
    reachable.last().copied().unwrap_or(false)
}

/// Whether one component's pattern matches one component: the set of pattern suffixes that are still open, per byte.
fn within(pattern: &[u8], text: &[u8]) -> bool {
    let mut open = vec![pattern];
    for byte in text {
        let mut next: Vec<&[u8]> = Vec::new();
        for suffix in after_stars(&open) {
            let kept = if suffix.first() == Some(&b'*') { Some(suffix) } else { step(suffix, *byte) };
            next.extend(kept.filter(|kept| !next.iter().any(|known| known.len() == kept.len())));
        }
        open = next;
    }
    after_stars(&open).iter().any(|suffix| suffix.is_empty())
}

/// Adds, for each suffix that starts with a star, the suffix behind that star.
fn after_stars<'p>(open: &[&'p [u8]]) -> Vec<&'p [u8]> {
    let mut all = open.to_vec();
    let mut at = 0;
    while let Some(suffix) = all.get(at).copied() {
        if let [b'*', rest @ ..] = suffix
            && !all.iter().any(|known| known.len() == rest.len())
        {
            all.push(rest);
        }
        at += 1;
    }
    all
}

/// The suffix that is left when the first element of `suffix` takes `byte`.
pub(super) fn step(suffix: &[u8], byte: u8) -> Option<&[u8]> {
    match suffix {
        [b'?', rest @ ..] => Some(rest),
        [b'\\', escaped, rest @ ..] => (*escaped == byte).then_some(rest),
        [b'[', ..] => {
            let (body, rest) = split_set(suffix)?;
            set_has(body, byte).then_some(rest)
        }
        [literal, rest @ ..] => (*literal == byte).then_some(rest),
        [] => None,
    }
}

fn set_has(body: &[u8], byte: u8) -> bool {
    let negated = matches!(body.first(), Some(b'!' | b'^'));
    let members = body.get(usize::from(negated)..).unwrap_or_default();
    let mut index = 0;
    let mut has = false;
    while let Some(low) = members.get(index) {
        if let (Some(b'-'), Some(high)) = (members.get(index + 1), members.get(index + 2)) {
            has |= *low <= byte && byte <= *high;
            index += 3;
        } else {
            has |= *low == byte;
            index += 1;
        }
    }
    has != negated
}

impl Value for PathGlob {
    fn read(node: &Node<'_>, findings: &mut Findings<'_>) -> Option<Self> {
        read_checked(node, findings, "an absolute path or glob in quotes", Self::check).map(Self)
    }

    fn print(&self, out: &mut String) {
        print_string(&self.0, out);
    }

    fn schema() -> String {
        format!("{{\"type\": \"string\", \"pattern\": \"^/\", \"maxLength\": {MAX_PATTERN}}}")
    }
}

/// Reads a string that `check` accepts.
fn read_checked(
    node: &Node<'_>,
    findings: &mut Findings<'_>,
    kind: &str,
    check: impl Fn(&str) -> Result<(), Refusal>,
) -> Option<String> {
    let Some(text) = node.get_ref().as_str() else {
        wrong(node, findings, kind, "write it in quotes");
        return None;
    };
    match check(text) {
        Ok(()) => Some(text.to_owned()),
        Err((expected, hint)) => {
            wrong(node, findings, expected, hint);
            None
        }
    }
}

impl VariableGlob {
    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn check(pattern: &str) -> Result<(), Refusal> {
        if pattern.contains(['=', '/']) {
            return Err(("the name of a variable or a glob", "leave out `=` and what follows it"));
        }
        wildcards_close(pattern)
    }
}

impl Value for VariableGlob {
    fn read(node: &Node<'_>, findings: &mut Findings<'_>) -> Option<Self> {
        read_checked(node, findings, "the name of a variable or a glob in quotes", Self::check).map(Self)
    }

    fn print(&self, out: &mut String) {
        print_string(&self.0, out);
    }

    fn schema() -> String {
        "{\"type\": \"string\", \"pattern\": \"^[^=/]+$\"}".to_owned()
    }
}

/// Reads a name: ASCII letters, digits and underscores, not too long.
fn check_name(name: &str) -> Result<(), Refusal> {
    let fits = (1..=128).contains(&name.len());
    if fits && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Ok(());
    }
    Err(("a name of letters, digits and underscores", "wildcards have no meaning here: write the name out"))
}

macro_rules! plain_name {
    ($name:ident, $kind:literal) => {
        impl $name {
            /// The name as written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Value for $name {
            fn read(node: &Node<'_>, findings: &mut Findings<'_>) -> Option<Self> {
                read_checked(node, findings, $kind, check_name).map(Self)
            }

            fn print(&self, out: &mut String) {
                print_string(&self.0, out);
            }

            fn schema() -> String {
                "{\"type\": \"string\", \"pattern\": \"^[A-Za-z0-9_]{1,128}$\"}".to_owned()
            }
        }
    };
}
plain_name!(VariableName, "the name of a variable in quotes");
plain_name!(SyscallName, "the name of a system call in quotes");

impl PackageName {
    /// The name, if the language accepts it.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        Self::check(name).is_ok().then(|| Self(name.to_owned()))
    }

    /// The name as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn check(name: &str) -> Result<(), Refusal> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@/".contains(&byte);
        if (1..=128).contains(&name.len()) && name.bytes().all(fits) {
            return Ok(());
        }
        let hint = "write it as it is imported: \"requests\", \"@acme/vault\", \"com.acme.vault\"";
        Err(("the name of a package", hint))
    }
}

impl Value for PackageName {
    fn read(node: &Node<'_>, findings: &mut Findings<'_>) -> Option<Self> {
        read_checked(node, findings, "the name of a package in quotes", Self::check).map(Self)
    }

    fn print(&self, out: &mut String) {
        print_string(&self.0, out);
    }

    fn schema() -> String {
        "{\"type\": \"string\", \"pattern\": \"^[A-Za-z0-9._@/-]{1,128}$\"}".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::PathGlob;
    use crate::glob;

    proptest! {
        #[test]
        fn both_matchers_agree(pattern in "/([ab*?/]|\\*\\*|\\[ab\\]|\\[!a\\]|\\\\a){0,10}", path in "/[ab/]{0,10}") {
            let Some(typed) = PathGlob::new(&pattern) else { return Ok(()) };
            let compiled = glob::matches(pattern.as_bytes(), path.as_bytes());
            prop_assert_eq!(typed.matches(path.as_bytes()), compiled, "{} on {}", pattern, path);
        }

        #[test]
        fn the_literal_prefix_is_needed(pattern in "/([ab*?/]|\\*\\*|\\[ab\\]|\\\\a){0,8}", path in "/[ab/]{0,10}") {
            let prefix = glob::literal_prefix(pattern.as_bytes());
            if PathGlob::new(&pattern).is_some_and(|glob| glob.matches(path.as_bytes())) {
                prop_assert!(path.as_bytes().starts_with(&pattern.as_bytes()[..prefix]), "{} on {}", pattern, path);
            }
        }
    }
}

//! Whether a path matches a glob, without allocating: the matcher of the compiled form.
//!
//! It knows bytes only: what a pattern may look like is decided where policies are parsed, and any bytes are safe
//! here. The evaluation of the compiled form calls it; the typed form has a matcher of its own, so that the two can
//! be tested against each other.

/// Where matching goes on after a mismatch: the last wildcard, and how much it has swallowed so far.
#[derive(Clone, Copy)]
struct Retry {
    pattern: usize,
    text: usize,
}

/// Whether `text` matches `pattern`: `*` within a component, `**` as a whole component for any number of them (none
/// too), `?` one byte, `[a-z]` and `[!a-z]` one byte, `\` takes the meaning from the next byte.
///
/// Time is bounded by the product of the lengths, squared only for patterns that hold both kinds of star.
#[must_use]
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let (mut component, mut deep) = (None, None);
    loop {
        if let Some(rest) = double_star(pattern, p) {
            if rest >= pattern.len() {
                return true;
            }
            deep = Some(Retry { pattern: rest, text: t });
            component = None;
            p = rest;
        } else if pattern.get(p) == Some(&b'*') {
            component = Some(Retry { pattern: p + 1, text: t });
            p += 1;
        } else if p >= pattern.len() && t >= text.len() {
            return true;
        } else if let Some(width) = text.get(t).and_then(|byte| one(pattern.get(p..)?, *byte)) {
            p += width;
            t += 1;
        } else if ends_before_double_star(pattern, p, text, t) {
            return true;
        } else if let Some(retry) = again_in_component(component, text) {
            component = Some(retry);
            (p, t) = (retry.pattern, retry.text);
        } else if let Some(retry) = again_below(deep, text) {
            deep = Some(retry);
            component = None;
            (p, t) = (retry.pattern, retry.text);
        } else {
            return false;
        }
    }
}

/// `/var/task/**` also matches `/var/task`: what is left of the pattern is exactly `/**` and the text is at its end.
fn ends_before_double_star(pattern: &[u8], p: usize, text: &[u8], t: usize) -> bool {
    p > 0 && t >= text.len() && pattern.get(p..).is_some_and(|rest| rest == b"/**")
}

/// The place after a `**` component that starts at `p` (and after the slash that follows it).
fn double_star(pattern: &[u8], p: usize) -> Option<usize> {
    let before = p.checked_sub(1).and_then(|at| pattern.get(at));
    if pattern.get(p..p + 2) != Some(b"**") || before.is_some_and(|byte| *byte != b'/') {
        return None;
    }
    match pattern.get(p + 2) {
        None => Some(p + 2),
        Some(b'/') => Some(p + 3),
        Some(_) => None,
    }
}

/// Lets the last `*` swallow one more byte, which may not be a slash.
fn again_in_component(retry: Option<Retry>, text: &[u8]) -> Option<Retry> {
    let Retry { pattern, text: at } = retry?;
    text.get(at).filter(|byte| **byte != b'/').map(|_| Retry { pattern, text: at + 1 })
}

/// Lets the last `**` swallow one more component.
fn again_below(retry: Option<Retry>, text: &[u8]) -> Option<Retry> {
    let Retry { pattern, text: at } = retry?;
    let slash = text.get(at..)?.iter().position(|byte| *byte == b'/')?;
    Some(Retry { pattern, text: at + slash + 1 })
}

/// Whether the single-byte element at the start of `pattern` takes `byte`; if so, the length of the element.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => (byte != b'/').then_some(1),
        b'[' => match set(pattern) {
            Some((width, body)) => in_set(body, byte).then_some(width),
            None => (byte == b'[').then_some(1),
        },
        b'\\' => match pattern.get(1) {
            Some(escaped) => (*escaped == byte).then_some(2),
            None => (byte == b'\\').then_some(1),
        },
        literal => (literal == byte).then_some(1),
    }
}

/// The whole width of the `[set]` at the start of `pattern`, and what stands between its brackets.
fn set(pattern: &[u8]) -> Option<(usize, &[u8])> {
    let negation = usize::from(matches!(pattern.get(1), Some(b'!' | b'^')));
    // A bracket right after the opening one is a member, as in fnmatch(3).
    let from = 2 + negation;
    let end = from + pattern.get(from..)?.iter().position(|byte| *byte == b']')?;
    Some((end + 1, pattern.get(1..end)?))
}

/// Whether a set's body (`a-z_`, `!0-9`) holds `byte`. A slash is in no set.
fn in_set(body: &[u8], byte: u8) -> bool {
    let (negated, mut rest) = match body {
        [b'!' | b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    loop {
        rest = match rest {
            [low, b'-', high, tail @ ..] => {
                found |= (*low..=*high).contains(&byte);
                tail
            }
            [single, tail @ ..] => {
                found |= *single == byte;
                tail
            }
            [] => return byte != b'/' && found != negated,
        };
    }
}

/// How many bytes at the start of `pattern` match only themselves. Equal to the pattern's length where it has no
/// wildcard at all. Only the compiler asks.
#[cfg(feature = "language")]
#[must_use]
pub(crate) fn literal_prefix(pattern: &[u8]) -> usize {
    let end = pattern.iter().position(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'));
    match end {
        None => pattern.len(),
        // `/a/**` matches `/a` too, so the slash before it is no part of what must be there.
        Some(at) if pattern.get(at..) == Some(b"**") && at > 1 => at - 1,
        Some(at) => at,
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn globs_match_what_the_reference_says() {
        let table: &[(&str, &str, bool)] = &[
            ("/usr/bin/convert", "/usr/bin/convert", true),
            ("/usr/bin/convert", "/usr/bin/convert2", false),
            ("/usr/bin/*", "/usr/bin/convert", true),
            ("/usr/bin/*", "/usr/bin/x/y", false),
            ("/usr/*/convert", "/usr/bin/convert", true),
            ("/var/task/**", "/var/task/a/b", true),
            ("/var/task/**", "/var/task", true),
            ("/var/task/**", "/var/tasks", false),
            ("/**/x", "/x", true),
            ("/**/x", "/a/b/x", true),
            ("/**/*.so", "/a/b/lib.so", true),
            ("/**/*.so", "/a/b/lib.so.1", false),
            ("/proc/*/environ", "/proc/17/environ", true),
            ("/proc/*/environ", "/proc/17/task/18/environ", false),
            ("/a/?", "/a/b", true),
            ("/a/?", "/a//", false),
            ("/a/[a-c]x", "/a/bx", true),
            ("/a/[!a-c]x", "/a/bx", false),
            ("/a/[!a-c]x", "/a//x", false),
            ("/a/[]]", "/a/]", true),
            ("/a/\\*", "/a/*", true),
            ("/a/\\*", "/a/b", false),
            ("/a*b*c", "/aXbYbZc", true),
            ("/**/a*/**/z", "/q/ab/ac/y/z", true),
            ("/**", "/", true),
        ];
        for (pattern, path, expected) in table {
            assert_eq!(matches(pattern.as_bytes(), path.as_bytes()), *expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn a_pattern_that_invites_backtracking_stays_quick() {
        let pattern = b"/**/a*a*a*a*a*a*a*a*a*b".as_slice();
        let text = [b"/".as_slice(), &[b'a'; 4000]].concat();
        assert!(!matches(pattern, &text));
    }

    #[cfg(feature = "language")]
    #[test]
    fn the_literal_prefix_stops_at_the_first_wildcard() {
        use super::literal_prefix;
        assert_eq!(literal_prefix(b"/usr/bin/convert"), 16);
        assert_eq!(literal_prefix(b"/usr/bin/*"), 9);
        assert_eq!(literal_prefix(b"/var/task/**"), 9);
        assert_eq!(literal_prefix(b"/**"), 1);
    }
}

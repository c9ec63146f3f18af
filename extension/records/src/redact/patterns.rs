//! Secrets known by their shape or by the word in front of them.
//!
//! Pure scans over bytes, without regular expressions: the preload library runs them on a small stack. Called by
//! [`super::Redactor`] only.

use core::ops::Range;

/// Words behind which a secret stands. Lower case; compared without regard to case, `-` and `_` are the same.
const WORDS: [&[u8]; 15] = [
    b"password",
    b"passwd",
    b"passphrase",
    b"secret",
    b"secret_key",
    b"token",
    b"api_key",
    b"apikey",
    b"access_key",
    b"access_token",
    b"auth_token",
    b"authorization",
    b"x_amz_signature",
    b"credential",
    b"private_key",
];
/// Schemes of an Authorization header (RFC 9110, section 11): the word itself is no secret, what follows it is.
const SCHEMES: [&[u8]; 4] = [b"bearer", b"basic", b"token", b"digest"];
const PEM: &[u8] = b"PRIVATE KEY-----";
/// AKIA for keys of users, ASIA for those of roles; then sixteen characters.
const KEY_ID_PREFIXES: [&[u8]; 2] = [b"AKIA", b"ASIA"];
const KEY_ID: usize = 20;
/// From this length on, a mix of letters and digits behind an ambiguous flag counts as a secret.
const LOOKS_RANDOM: usize = 16;

/// The first secret in `text` at or after `from` that its shape or its surroundings give away.
pub(super) fn find(text: &[u8], from: usize) -> Option<Range<usize>> {
    (from..text.len()).find_map(|at| {
        let rest = text.get(at..)?;
        key_id(rest, previous(text, at))
            .or_else(|| pem(rest))
            .or_else(|| behind_word(text, at))
            .or_else(|| in_url(rest))
            .filter(|range| !range.is_empty())
            .map(|range| at + range.start..at + range.end)
    })
}

/// Whether `argument` is the value of `flag` and has to be masked as a whole.
pub(super) fn is_behind_flag(flag: &[u8], argument: &[u8]) -> bool {
    match flag {
        b"-p" | b"-P" | b"-k" | b"-a" => looks_random(argument),
        [b'-', ..] if !flag.contains(&b'=') => {
            let name = flag.iter().position(|byte| *byte != b'-').and_then(|at| flag.get(at..));
            name.is_some_and(|name| WORDS.iter().any(|word| ends_with_word(name, word)))
        }
        _ => false,
    }
}

fn ends_with_word(name: &[u8], word: &[u8]) -> bool {
    let start = name.len().checked_sub(word.len());
    start.and_then(|start| name.get(start..)).is_some_and(|end| same(end, word))
}

fn previous(text: &[u8], at: usize) -> Option<u8> {
    text.get(at.checked_sub(1)?).copied()
}

fn key_id(rest: &[u8], before: Option<u8>) -> Option<Range<usize>> {
    let id = rest.get(..KEY_ID)?;
    let starts = KEY_ID_PREFIXES.iter().any(|prefix| id.starts_with(prefix));
    let continues = before.is_some_and(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    (starts && !continues && id.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()))
        .then_some(0..KEY_ID)
}

/// The whole rest: key material runs over many lines, and none of them is worth showing.
fn pem(rest: &[u8]) -> Option<Range<usize>> {
    rest.starts_with(PEM).then_some(PEM.len()..rest.len())
}

/// `word=value`, `word: value`, `"word":"value"`, and `--word value` within one text.
fn behind_word(text: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = text.get(at..)?;
    let word = WORDS.iter().filter(|word| rest.get(..word.len()).is_some_and(|start| same(start, word)));
    let length = word.map(|word| word.len()).max()?;
    let behind = rest.get(length..)?;
    let gap = separator(behind, is_flag(text, at))?;
    let start = length + gap + scheme(rest.get(length + gap..)?);
    let value = rest.get(start..)?;
    let end = value.iter().position(|byte| ends_value(*byte)).unwrap_or(value.len());
    Some(start..start + end)
}

/// Whether the word at `at` belongs to a long flag: only letters, digits and dashes back to a dash after a blank.
fn is_flag(text: &[u8], at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    let start =
        before.iter().rposition(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')));
    before.get(start.map_or(0, |blank| blank + 1)..).is_some_and(|flag| flag.starts_with(b"-"))
}

/// Length of what separates a word from its value; `None` where no value follows.
fn separator(behind: &[u8], flag: bool) -> Option<usize> {
    let length =
        behind.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'"' | b'\'' | b'=' | b':')).count();
    let gap = behind.get(..length)?;
    let assigns = gap.iter().any(|byte| matches!(byte, b'=' | b':'));
    (assigns || (flag && length > 0)).then_some(length)
}

fn scheme(value: &[u8]) -> usize {
    let found = SCHEMES.iter().find(|scheme| {
        let starts = value.get(..scheme.len()).is_some_and(|start| same(start, scheme));
        starts && value.get(scheme.len()) == Some(&b' ')
    });
    found.map_or(0, |scheme| scheme.len() + 1)
}

const fn ends_value(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'\'' | b'&' | b';' | b'|' | b')' | b'}' | b',')
}

/// The password in `scheme://user:password@host`.
fn in_url(rest: &[u8]) -> Option<Range<usize>> {
    let authority = rest.strip_prefix(b"://")?;
    let end = authority.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#' | b' ' | b'"' | b'\''));
    let authority = authority.get(..end.unwrap_or(authority.len()))?;
    let at = authority.iter().rposition(|byte| *byte == b'@')?;
    let colon = authority.get(..at)?.iter().position(|byte| *byte == b':')?;
    Some(3 + colon + 1..3 + at)
}

fn looks_random(value: &[u8]) -> bool {
    let allowed =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'_' | b'-');
    value.len() >= LOOKS_RANDOM
        && !value.starts_with(b"/")
        && value.iter().all(allowed)
        && value.iter().any(u8::is_ascii_digit)
        && value.iter().any(u8::is_ascii_alphabetic)
}

/// Equality without regard to case, `-` and `_` being the same.
fn same(text: &[u8], word: &[u8]) -> bool {
    let fold = |byte: u8| if byte == b'-' { b'_' } else { byte.to_ascii_lowercase() };
    text.len() == word.len() && text.iter().zip(word).all(|(a, b)| fold(*a) == *b)
}

#[cfg(test)]
mod tests {
    use crate::redact::Redactor;

    #[test]
    fn shapes_and_words_give_secrets_away() {
        let table = [
            ("ASIAIOSFODNN7EXAMPLE", "[redacted]"),
            ("id=AKIAIOSFODNN7EXAMPLE;", "id=[redacted];"),
            ("mysql --password hunter2 -u root", "mysql --password [redacted] -u root"),
            ("mysql --db-password=hunter2", "mysql --db-password=[redacted]"),
            ("GET /?token=abc&x=1", "GET /?token=[redacted]&x=1"),
            ("-H 'Authorization: Bearer abc.def'", "-H 'Authorization: Bearer [redacted]'"),
            ("authorization: AWS4-HMAC", "authorization: [redacted]"),
            ("{\"api-key\":\"k\",\"a\":1}", "{\"api-key\":\"[redacted]\",\"a\":1}"),
            ("SECRET_ACCESS_KEY=abc", "SECRET_ACCESS_KEY=[redacted]"),
            ("https://bob:pw@host/x", "https://bob:[redacted]@host/x"),
            ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", "-----BEGIN RSA PRIVATE KEY-----[redacted]"),
        ];
        for (text, expected) in table {
            assert_eq!(Redactor::new(&[]).public(text.as_bytes()).to_string(), expected);
        }
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        for text in [
            "/var/task/secrets/token.txt",
            "/bin/sh",
            "https://example.com:8080/a@b",
            "the password is wrong",
            "XAKIAIOSFODNN7EXAMPLE",
            "AKIAlowercase0000000",
        ] {
            assert_eq!(Redactor::new(&[]).public(text.as_bytes()).to_string(), text);
        }
    }
}

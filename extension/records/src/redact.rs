//! Text that may hold a secret, as a type: whatever came from outside reaches a record only through a [`Redactor`].
//!
//! It masks the values of the credential variables that its owner knows (also cut, split over several labels of a
//! host name, or in another case), AWS key ids, and what stands behind words such as `--password` or
//! `Authorization:`. It must not know what a record looks like; [`crate::json`] writes what it lets through. It
//! errs on the side of masking: a line that says too little can be explained, a leaked key cannot be taken back.

mod patterns;

use core::fmt;
use core::ops::Range;

/// What stands where a secret stood.
pub const MASK: &str = "[redacted]";
/// Shortest value that is treated as a secret by its value, in bytes.
pub const SHORTEST: usize = BLOCK;
/// A shared run is found where it holds one whole block of the secret, so runs of 15 bytes are always found.
const BLOCK: usize = 8;
/// Different bytes that a block must have.
const DISTINCT: usize = 4;

/// Knows the secrets of this environment and makes text [`Public`].
#[derive(Clone, Copy)]
pub struct Redactor<'s> {
    secrets: &'s [&'s [u8]],
}

/// The secrets themselves stay out of debug output.
impl fmt::Debug for Redactor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").field("secrets", &self.secrets.len()).finish()
    }
}

impl<'s> Redactor<'s> {
    /// A redactor that knows these values. Those shorter than [`SHORTEST`] are ignored: they would mask words.
    #[must_use]
    pub const fn new(secrets: &'s [&'s [u8]]) -> Self {
        Self { secrets }
    }

    /// Makes `text` public.
    #[must_use]
    pub const fn public<'a>(&'a self, text: &'a [u8]) -> Public<'a> {
        Public { text, redactor: self, whole: false }
    }

    /// Makes an argument of a command public: what follows a flag such as `--password` is masked as a whole.
    #[must_use]
    pub fn argument<'a>(&'a self, previous: Option<&[u8]>, argument: &'a [u8]) -> Public<'a> {
        let whole = previous.is_some_and(|flag| patterns::is_behind_flag(flag, argument));
        Public { text: argument, redactor: self, whole }
    }

    /// The first secret in `text` at or after `from`.
    fn next_secret(&self, text: &[u8], from: usize) -> Option<Range<usize>> {
        let known = self.secrets.iter().filter_map(|secret| shared_run(text, from, secret));
        known.chain(patterns::find(text, from)).min_by_key(|range| range.start)
    }
}

/// The first run at or after `from` that `text` shares with `secret` and that holds a whole block of it.
fn shared_run(text: &[u8], from: usize, secret: &[u8]) -> Option<Range<usize>> {
    let windows = text.get(from..)?.windows(BLOCK).enumerate();
    windows.map(|(at, window)| (from + at, window)).find_map(|(at, window)| {
        let same = |block: &[u8]| block.eq_ignore_ascii_case(window) && tells_something(block);
        let block = secret.chunks_exact(BLOCK).position(same)?;
        Some(extended(text, from, at, secret, block * BLOCK))
    })
}

/// Whether a block of a secret is worth hiding. `00000000` stands in ids and dates too, and gives nothing away.
fn tells_something(block: &[u8]) -> bool {
    let is_first = |(at, byte): &(usize, &u8)| block.iter().position(|other| other == *byte) == Some(*at);
    block.iter().enumerate().filter(is_first).count() >= DISTINCT
}

/// Grows a match of one block in both directions.
fn extended(text: &[u8], from: usize, at: usize, secret: &[u8], place: usize) -> Range<usize> {
    let same = |(a, b): &(&u8, &u8)| a.eq_ignore_ascii_case(b);
    let before_text = text.get(from..at).unwrap_or_default().iter().rev();
    let before_secret = secret.get(..place).unwrap_or_default().iter().rev();
    let before = before_text.zip(before_secret).take_while(same).count();
    let after_text = text.get(at..).unwrap_or_default().iter();
    let after = after_text.zip(secret.get(place..).unwrap_or_default()).take_while(same).count();
    at - before..at + after
}

/// Text whose secrets are masked when it is written.
#[derive(Clone, Copy)]
pub struct Public<'a> {
    text: &'a [u8],
    redactor: &'a Redactor<'a>,
    whole: bool,
}

/// A part of a [`Public`] text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// May be shown.
    Clear(&'a [u8]),
    /// Stands for a secret.
    Mask(&'static str),
}

impl fmt::Debug for Public<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Public<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces(|piece| match piece {
            Piece::Mask(mask) => f.write_str(mask),
            Piece::Clear(bytes) => bytes.utf8_chunks().try_for_each(|chunk| {
                f.write_str(chunk.valid())?;
                if chunk.invalid().is_empty() { Ok(()) } else { f.write_str("\u{fffd}") }
            }),
        })
    }
}

impl<'a> Public<'a> {
    /// Whether there is no text at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The last component of a path: `/var/lang/bin/python3.13` becomes `python3.13`.
    ///
    /// The cut can only shorten the text, and a secret that it cuts is still found by its blocks.
    #[must_use]
    pub fn base_name(self) -> Self {
        let start = self.text.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let name = self.text.get(start..).filter(|name| !name.is_empty()).unwrap_or(self.text);
        Self { text: name, ..self }
    }

    /// Gives the parts of the text, in order, to `take`.
    ///
    /// # Errors
    /// The first that `take` returns.
    pub fn pieces(&self, mut take: impl FnMut(Piece<'a>) -> fmt::Result) -> fmt::Result {
        if self.whole {
            return take(Piece::Mask(MASK));
        }
        let mut from = 0;
        while let Some(secret) = self.redactor.next_secret(self.text, from) {
            take(Piece::Clear(self.text.get(from..secret.start).unwrap_or_default()))?;
            take(Piece::Mask(MASK))?;
            // Never stand still, whatever a pattern answers.
            from = secret.end.max(from + 1);
        }
        take(Piece::Clear(self.text.get(from..).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &[u8] = b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    fn shown(text: &str) -> String {
        Redactor::new(&[SECRET]).public(text.as_bytes()).to_string()
    }

    #[test]
    fn a_known_value_is_masked_wherever_it_stands() {
        assert_eq!(shown("curl -d k=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY x"), "curl -d k=[redacted] x");
    }

    #[test]
    fn a_value_that_was_cut_or_split_is_masked_too() {
        assert_eq!(shown("echo wJalrXUtnFEMI/K7"), "echo [redacted]");
        assert_eq!(shown("wjalrxutnfemi.k7mdeng-x.evil.example"), "[redacted].k7mdeng-x.evil.example");
        assert_eq!(shown("x7MDENG/bPxRfiCYEXAMPy"), "x[redacted]y");
    }

    #[test]
    fn short_values_do_not_mask_words() {
        assert_eq!(Redactor::new(&[b"tmp", b""]).public(b"/tmp/x").to_string(), "/tmp/x");
    }

    #[test]
    fn runs_that_tell_nothing_are_no_secrets() {
        let redactor = Redactor::new(&[b"AKIA00000000000000000000"]);
        assert_eq!(
            redactor.public(b"1-6a000000-000000000000000000000001").to_string(),
            "1-6a000000-000000000000000000000001"
        );
    }

    #[test]
    fn flags_mask_the_argument_behind_them() {
        let redactor = Redactor::new(&[]);
        assert_eq!(redactor.argument(Some(b"--password"), b"hunter2").to_string(), MASK);
        assert_eq!(redactor.argument(Some(b"-p"), b"/tmp/new/dir").to_string(), "/tmp/new/dir");
        assert_eq!(redactor.argument(Some(b"-p"), b"c0ffee00c0ffee00c0ffee00").to_string(), MASK);
        assert_eq!(redactor.argument(None, b"--password=hunter2").to_string(), "--password=[redacted]");
    }

    #[test]
    fn base_names_are_what_a_reader_expects() {
        let redactor = Redactor::new(&[]);
        assert_eq!(redactor.public(b"/var/lang/bin/python3.13").base_name().to_string(), "python3.13");
        assert_eq!(redactor.public(b"/").base_name().to_string(), "/");
        assert_eq!(redactor.public(b"sh").base_name().to_string(), "sh");
    }

    proptest! {
        #[test]
        fn no_run_of_fifteen_bytes_of_a_secret_is_shown(
            before in "[ -~]{0,40}", after in "[ -~]{0,40}",
            secret in "([a-z][A-Z][0-9][+/=]){4,20}", start in 0..80_usize, length in 15..80_usize,
        ) {
            let start = start % (secret.len() - 14);
            let part = &secret[start..(start + length).min(secret.len())];
            prop_assume!(part.len() >= 15);
            let text = format!("{before}{part}{after}");
            let secrets = [secret.as_bytes()];
            let shown = Redactor::new(&secrets).public(text.as_bytes()).to_string();
            prop_assert!(!shown.contains(part), "{shown}");
        }

        #[test]
        fn any_bytes_are_taken(text in proptest::collection::vec(any::<u8>(), 0..200), secret in proptest::collection::vec(any::<u8>(), 0..40)) {
            let secrets = [&secret[..]];
            let _ = Redactor::new(&secrets).public(&text).to_string();
        }
    }
}

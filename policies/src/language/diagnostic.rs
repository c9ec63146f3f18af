//! What is wrong with a policy, and where: messages that point at their place in the file.
//!
//! It decides how a finding reads, not what is one. The readers of keys and values report here; the guard, the agent
//! and the command line print the result.

use std::fmt;
use std::ops::Range;

/// Whether a finding makes the policy unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The policy means something other than it says; it is still used.
    Warning,
    /// The policy is refused.
    Error,
}

/// One finding, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// Name of the file, as the caller gave it.
    pub file: String,
    /// Line, from 1; 0 where the finding has no place.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The line of the file.
    pub source_line: String,
    /// How many characters the finding spans on its line, at least 1.
    pub width: usize,
    /// What stands under the carets: usually what was expected.
    pub label: String,
    /// What to do about it.
    pub hint: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        writeln!(f, "{word}: {}", self.message)?;
        if self.line == 0 {
            writeln!(f, " --> {}", self.file)?;
        } else {
            self.place(f)?;
        }
        write!(f, "hint: {}", self.hint)
    }
}

impl Diagnostic {
    fn place(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let indent = " ".repeat(self.column.saturating_sub(1));
        let carets = "^".repeat(self.width);
        writeln!(f, "{gutter}--> {}:{}:{}", self.file, self.line, self.column)?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{number} | {}", self.source_line)?;
        writeln!(f, "{gutter} | {}", format!("{indent}{carets} {}", self.label).trim_end())
    }
}

/// Everything that is wrong with a policy, in the order of the file. Displayed as one block of text per finding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))]
pub struct Diagnostics(pub Vec<Diagnostic>);

/// No more findings than this are kept: a file of garbage must not fill the log.
const MAX_FINDINGS: usize = 50;
/// Longest source line that is quoted, in characters.
const MAX_QUOTED: usize = 200;

/// Collects findings while one file is read.
#[derive(Debug)]
pub(super) struct Findings<'t> {
    file: &'t str,
    text: &'t str,
    list: Vec<Diagnostic>,
    /// Whether there was an error, kept or not.
    failed: bool,
}

impl<'t> Findings<'t> {
    pub(super) const fn new(file: &'t str, text: &'t str) -> Self {
        Self { file, text, list: Vec::new(), failed: false }
    }

    /// Whether further findings are only counted as errors, so that their hints need not be worked out.
    pub(super) const fn is_full(&self) -> bool {
        self.list.len() >= MAX_FINDINGS
    }

    /// Adds an error at `span`.
    pub(super) fn error(&mut self, span: Range<usize>, message: String, label: String, hint: String) {
        self.add(Severity::Error, span, message, label, hint);
    }

    /// Adds a warning at `span`.
    pub(super) fn warning(&mut self, span: Range<usize>, message: String, label: String, hint: String) {
        self.add(Severity::Warning, span, message, label, hint);
    }

    fn add(&mut self, severity: Severity, span: Range<usize>, message: String, label: String, hint: String) {
        self.failed |= severity == Severity::Error;
        if self.is_full() {
            return;
        }
        let place = Place::of(self.text, &span);
        self.list.push(Diagnostic {
            severity,
            message,
            file: self.file.to_owned(),
            line: place.line,
            column: place.column,
            source_line: place.source_line,
            width: place.width,
            label,
            hint,
        });
    }

    /// The warnings, or everything if there is an error among it.
    pub(super) fn finish(mut self) -> Result<Vec<Diagnostic>, Diagnostics> {
        self.list.sort_by_key(|finding| (finding.line, finding.column));
        if self.failed { Err(Diagnostics(self.list)) } else { Ok(self.list) }
    }
}

/// Where a span lies, for people.
struct Place {
    line: usize,
    column: usize,
    source_line: String,
    width: usize,
}

impl Place {
    fn of(text: &str, span: &Range<usize>) -> Self {
        let start = floor_boundary(text, span.start);
        let end = floor_boundary(text, span.end).max(start);
        let before = text.get(..start).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = text.get(line_start..).unwrap_or("");
        let source_line = rest.split('\n').next().unwrap_or("").trim_end_matches('\r');
        let column = text.get(line_start..start).unwrap_or("").chars().count() + 1;
        let on_line = end.min(line_start + source_line.len());
        let width = text.get(start..on_line).map_or(1, |part| part.chars().count());
        let quoted: String = source_line.chars().take(MAX_QUOTED).map(printable).collect();
        Self {
            line: before.matches('\n').count() + 1,
            column,
            width: width.clamp(1, MAX_QUOTED),
            source_line: quoted.trim_end().to_owned(),
        }
    }
}

/// Tabs and control characters become spaces, so that carets stand where they should and logs stay logs.
fn printable(character: char) -> char {
    if character.is_control() { ' ' } else { character }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The word of `known` that `word` is most likely meant to be, if one is near enough.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let word = word.to_lowercase();
    // A third of the letters may be wrong. Long words are no typing errors, and would cost time.
    let tolerance = (word.len() / 3).max(1);
    known
        .into_iter()
        .filter(|_| word.len() <= 64)
        .map(|candidate| (difference(&word, candidate), candidate))
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How far `word` is from `candidate`. Forms of a word (`children`, `initialization`) are near to it.
fn difference(word: &str, candidate: &str) -> usize {
    let is_form = candidate.len() >= 4 && word.starts_with(candidate);
    if is_form { 1 } else { distance(word, candidate) }
}

/// Levenshtein's distance in bytes, with `-` and `_` taken as equal.
fn distance(left: &str, right: &str) -> usize {
    let same = |a: u8, b: u8| a == b || (matches!(a, b'-' | b'_') && matches!(b, b'-' | b'_'));
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, a) in left.bytes().enumerate() {
        let mut diagonal = index;
        let mut previous = index + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(right.bytes()) {
            let changed = diagonal + usize::from(!same(a, b));
            diagonal = *cell;
            *cell = changed.min(diagonal + 1).min(previous + 1);
            previous = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn the_nearest_word_is_suggested_and_far_ones_are_not() {
        let keys = ["allow", "shells", "from_writable"];
        assert_eq!(nearest("alow", keys), Some("allow"));
        assert_eq!(nearest("From-Writable", keys), Some("from_writable"));
        assert_eq!(nearest("zebra", keys), None);
    }

    #[test]
    fn distances_are_levenshteins() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
    }
}

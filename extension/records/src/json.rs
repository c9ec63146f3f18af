//! A writer of one-line JSON objects that allocates nothing and cannot be made to break the line.
//!
//! It decides only how text is escaped and cut; which keys a record has is the business of [`crate::record`]. Text
//! that comes from outside enters as [`Public`], which masks secrets first; only words of the program itself enter as
//! plain text. Cuts count escaped bytes, so that the length of a line has a bound that no content can move.

use core::fmt::{self, Write};

use crate::redact::{Piece, Public};

/// What stands where text was cut.
const ELLIPSIS: &str = "…";

/// Writes the members of an object.
pub struct Object<'w> {
    out: &'w mut dyn Write,
    empty: bool,
}

impl fmt::Debug for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("empty", &self.empty).finish_non_exhaustive()
    }
}

impl<'w> Object<'w> {
    /// Writes a whole object whose members `fill` adds.
    ///
    /// # Errors
    /// Those of `out`: where it has no room.
    pub fn write(out: &'w mut dyn Write, fill: impl FnOnce(&mut Object<'_>) -> fmt::Result) -> fmt::Result {
        out.write_char('{')?;
        fill(&mut Object { out: &mut *out, empty: true })?;
        out.write_char('}')
    }

    fn key(&mut self, key: &'static str) -> fmt::Result {
        if !self.empty {
            self.out.write_char(',')?;
        }
        self.empty = false;
        write!(self.out, "\"{key}\":")
    }

    /// Adds a word of the program itself. It needs no escaping and must not.
    ///
    /// # Errors
    /// Those of the output.
    pub fn word(&mut self, key: &'static str, word: &'static str) -> fmt::Result {
        self.key(key)?;
        write!(self.out, "\"{word}\"")
    }

    /// Adds something that prints itself without any character that JSON would escape: a time, an address.
    ///
    /// # Errors
    /// Those of the output.
    pub fn display(&mut self, key: &'static str, value: impl fmt::Display) -> fmt::Result {
        self.key(key)?;
        write!(self.out, "\"{value}\"")
    }

    /// Adds a number.
    ///
    /// # Errors
    /// Those of the output.
    pub fn number(&mut self, key: &'static str, value: u64) -> fmt::Result {
        self.key(key)?;
        write!(self.out, "{value}")
    }

    /// Adds true or false.
    ///
    /// # Errors
    /// Those of the output.
    pub fn boolean(&mut self, key: &'static str, value: bool) -> fmt::Result {
        self.key(key)?;
        write!(self.out, "{value}")
    }

    /// Adds text from outside, cut to `limit` escaped bytes; nothing where it is empty.
    ///
    /// # Errors
    /// Those of the output.
    pub fn public(&mut self, key: &'static str, value: Public<'_>, limit: usize) -> fmt::Result {
        if value.is_empty() {
            return Ok(());
        }
        self.text(key, limit, |text| text.public(value))
    }

    /// Adds a text that is put together from parts, cut to `limit` escaped bytes.
    ///
    /// # Errors
    /// Those of the output.
    pub fn text(
        &mut self,
        key: &'static str,
        limit: usize,
        fill: impl FnOnce(&mut Text<'_>) -> fmt::Result,
    ) -> fmt::Result {
        self.key(key)?;
        Text::write(self.out, limit, fill)
    }

    /// Adds an object.
    ///
    /// # Errors
    /// Those of the output.
    pub fn object(
        &mut self,
        key: &'static str,
        fill: impl FnOnce(&mut Object<'_>) -> fmt::Result,
    ) -> fmt::Result {
        self.key(key)?;
        Object::write(self.out, fill)
    }

    /// Adds an array.
    ///
    /// # Errors
    /// Those of the output.
    pub fn array(
        &mut self,
        key: &'static str,
        fill: impl FnOnce(&mut Array<'_>) -> fmt::Result,
    ) -> fmt::Result {
        self.key(key)?;
        self.out.write_char('[')?;
        fill(&mut Array { out: self.out, empty: true })?;
        self.out.write_char(']')
    }
}

/// Writes the elements of an array.
pub struct Array<'w> {
    out: &'w mut dyn Write,
    empty: bool,
}

impl fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Array").field("empty", &self.empty).finish_non_exhaustive()
    }
}

impl Array<'_> {
    fn separate(&mut self) -> fmt::Result {
        if !self.empty {
            self.out.write_char(',')?;
        }
        self.empty = false;
        Ok(())
    }

    /// Adds a word of the program itself.
    ///
    /// # Errors
    /// Those of the output.
    pub fn word(&mut self, word: &'static str) -> fmt::Result {
        self.separate()?;
        write!(self.out, "\"{word}\"")
    }

    /// Adds text from outside, cut to `limit` escaped bytes. Empty text is an element too.
    ///
    /// # Errors
    /// Those of the output.
    pub fn public(&mut self, value: Public<'_>, limit: usize) -> fmt::Result {
        self.separate()?;
        Text::write(self.out, limit, |text| text.public(value))
    }

    /// Adds an object.
    ///
    /// # Errors
    /// Those of the output.
    pub fn object(&mut self, fill: impl FnOnce(&mut Object<'_>) -> fmt::Result) -> fmt::Result {
        self.separate()?;
        Object::write(self.out, fill)
    }
}

/// Writes the inside of a string, put together from parts under one limit.
pub struct Text<'w> {
    out: &'w mut dyn Write,
    room: usize,
    cut: bool,
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Text").field("room", &self.room).field("cut", &self.cut).finish_non_exhaustive()
    }
}

impl<'w> Text<'w> {
    fn write(
        out: &'w mut dyn Write,
        limit: usize,
        fill: impl FnOnce(&mut Text<'_>) -> fmt::Result,
    ) -> fmt::Result {
        out.write_char('"')?;
        fill(&mut Text { out: &mut *out, room: limit.saturating_sub(ELLIPSIS.len()), cut: false })?;
        out.write_char('"')
    }

    /// Adds text of the program itself; escaped all the same.
    ///
    /// # Errors
    /// Those of the output.
    pub fn plain(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|character| self.character(character))
    }

    /// Adds a number.
    ///
    /// # Errors
    /// Those of the output.
    pub fn number(&mut self, value: u64) -> fmt::Result {
        self.display(value)
    }

    /// Adds something that prints itself; escaped and cut like any text.
    ///
    /// # Errors
    /// Those of the output.
    pub fn display(&mut self, value: impl fmt::Display) -> fmt::Result {
        write!(Escaping(self), "{value}")
    }

    /// Adds text from outside with its secrets masked. Bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// Those of the output.
    pub fn public(&mut self, value: Public<'_>) -> fmt::Result {
        value.pieces(|piece| match piece {
            Piece::Mask(mask) => self.plain(mask),
            Piece::Clear(bytes) => self.lossy(bytes),
        })
    }

    fn lossy(&mut self, bytes: &[u8]) -> fmt::Result {
        bytes.utf8_chunks().try_for_each(|chunk| {
            self.plain(chunk.valid())?;
            if chunk.invalid().is_empty() { Ok(()) } else { self.character('\u{fffd}') }
        })
    }

    fn character(&mut self, character: char) -> fmt::Result {
        if self.cut {
            return Ok(());
        }
        let width = escaped_width(character);
        if width > self.room {
            self.cut = true;
            return self.out.write_str(ELLIPSIS);
        }
        self.room -= width;
        escape(self.out, character)
    }
}

struct Escaping<'t, 'w>(&'t mut Text<'w>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.plain(text)
    }
}

/// Characters that are written as `\u….`: controls of both sets, and the separators that some viewers take for the
/// end of a line; direction marks too, with which a name could rearrange the line before a reader's eyes.
const fn is_unprintable(character: char) -> bool {
    matches!(character,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

const fn escaped_width(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        other if is_unprintable(other) => 6,
        other => other.len_utf8(),
    }
}

fn escape(out: &mut dyn Write, character: char) -> fmt::Result {
    match character {
        '"' => out.write_str("\\\""),
        '\\' => out.write_str("\\\\"),
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        other if is_unprintable(other) => write!(out, "\\u{:04x}", u32::from(other)),
        other => out.write_char(other),
    }
}

/// A line in a caller's buffer. What does not fit is an error, never a broken line.
#[derive(Debug)]
pub struct Line<'b> {
    buffer: &'b mut [u8],
    used: usize,
}

impl<'b> Line<'b> {
    /// An empty line.
    #[must_use]
    pub const fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, used: 0 }
    }

    /// The line with its line feed. `None` where that has no room.
    #[must_use]
    pub fn finish(mut self) -> Option<&'b [u8]> {
        self.write_char('\n').ok()?;
        self.buffer.get(..self.used)
    }
}

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.used + text.len();
        let room = self.buffer.get_mut(self.used..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.used = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Redactor;
    use proptest::prelude::*;

    fn text_of(bytes: &[u8], limit: usize) -> String {
        let mut out = String::new();
        let redactor = Redactor::new(&[]);
        Object::write(&mut out, |object| object.public("k", redactor.public(bytes), limit)).unwrap();
        out
    }

    #[test]
    fn control_characters_and_direction_marks_cannot_break_or_turn_the_line() {
        insta::assert_snapshot!(
            text_of("a\"b\\c\n\r\t\0\u{7f}\u{85}\u{2028}\u{202e}é".as_bytes(), 200),
            @r#"{"k":"a\"b\\c\n\r\t\u0000\u007f\u0085\u2028\u202eé"}"#
        );
    }

    #[test]
    fn long_text_is_cut_with_an_ellipsis() {
        assert_eq!(text_of(b"abcdefghij", 8), "{\"k\":\"abcde…\"}");
        assert_eq!(text_of(b"abcde", 8), "{\"k\":\"abcde\"}");
    }

    #[test]
    fn a_line_that_does_not_fit_is_none() {
        let mut buffer = [0; 3];
        let mut line = Line::new(&mut buffer);
        line.write_str("abc").unwrap();
        assert!(line.finish().is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_make_one_line_of_json_within_the_limit(bytes in proptest::collection::vec(any::<u8>(), 0..400), limit in 3..300_usize) {
            let line = text_of(&bytes, limit);
            prop_assert!(!line.contains(['\n', '\r']));
            let longest = limit + r#"{"k":""}"#.len();
            prop_assert!(line.len() <= longest, "{}", line.len());
            serde_json::from_str::<serde_json::Value>(&line).unwrap();
        }
    }
}

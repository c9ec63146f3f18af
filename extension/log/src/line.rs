//! One line of the log: `ringfence log +12ms debug resolver: a look-up is judged name=db.example decision=deny`.
//!
//! It decides how an event reads. Values are redacted first and escaped then, so a value can neither hold a secret nor look
//! like another line or a record. [`crate::Log`] calls it.

use std::fmt::{Debug, Write as _};
use std::time::Duration;

use ringfence_records::redact::Redactor;
use tracing::Event;
use tracing::field::{Field, Visit};

/// Longest line in bytes.
pub const MAX_LINE: usize = 1024;
/// Longest value in bytes. It is redacted at [`MAX_READ`] before, so that no part of a secret is left over at the cut.
const MAX_VALUE: usize = 256;
const MAX_READ: usize = 1024;
/// What follows a value or line that was cut.
const CUT: char = '…';

/// The line of an event, with its line feed.
pub(crate) fn line(event: &Event<'_>, redactor: &Redactor<'_>, since: Duration) -> Vec<u8> {
    let metadata = event.metadata();
    let mut values = Values { redactor, message: String::new(), fields: String::new() };
    event.record(&mut values);
    let level = metadata.level().as_str().to_ascii_lowercase();
    let mut line = format!(
        "ringfence log +{}ms {level} {}: {}{}",
        since.as_millis(),
        metadata.target(),
        values.message,
        values.fields
    );
    if line.len() >= MAX_LINE {
        line.truncate(line.floor_char_boundary(MAX_LINE - 1 - CUT.len_utf8()));
        line.push(CUT);
    }
    line.push('\n');
    line.into_bytes()
}

/// Collects the message and the fields of an event.
struct Values<'a> {
    redactor: &'a Redactor<'a>,
    message: String,
    fields: String,
}

impl Values<'_> {
    fn public(&self, value: &str) -> String {
        let read = value.get(..value.floor_char_boundary(MAX_READ)).unwrap_or_default();
        let public = self.redactor.public(read.as_bytes()).to_string();
        let shown = public.get(..public.floor_char_boundary(MAX_VALUE)).unwrap_or_default();
        let is_plain = |character: char| character.is_ascii_graphic() && !matches!(character, '"' | '\\');
        let mut text = if shown.is_empty() || !shown.chars().all(is_plain) {
            format!("\"{}\"", shown.escape_debug())
        } else {
            shown.to_owned()
        };
        if shown.len() < public.len() || read.len() < value.len() {
            text.push(CUT);
        }
        text
    }
}

impl Visit for Values<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let value = self.public(value);
        // Writing to a string does not fail.
        let _ = write!(self.fields, " {}={value}", field.name());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = Bounded(String::new());
        let _ = write!(text, "{value:?}");
        if field.name() == "message" {
            self.public(&text.0).trim_matches('"').clone_into(&mut self.message);
        } else {
            self.record_str(field, &text.0);
        }
    }
}

/// Takes one character more than is read, and nothing after that.
struct Bounded(String);

impl std::fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = (MAX_READ + 4).saturating_sub(self.0.len());
        self.0.push_str(text.get(..text.floor_char_boundary(room)).unwrap_or_default());
        if room == 0 { Err(std::fmt::Error) } else { Ok(()) }
    }
}

//! The encoding of messages: a four-byte head, then fields of tag, length and bytes.
//!
//! It decides nothing about meaning. Everything that crosses a process boundary uses it, because it can be written
//! from a signal-safe context in Rust and with `struct.pack` in Python, and read without allocation. The decoder
//! takes any bytes: a truncated field ends the message, an unknown tag is skipped.
//!
//! ```text
//! byte 0..2  "RF"
//! byte 2     version, 1
//! byte 3     kind of the message
//! then, repeated:  tag (u8)  length (u16, little endian)  bytes
//! ```

/// Version of the encoding.
pub const VERSION: u8 = 1;
/// Largest message in bytes: one datagram, one stack buffer.
pub const MAX_MESSAGE: usize = 4096;
/// Bytes before the first field.
pub const HEAD: usize = 4;
const FIELD_HEAD: usize = 3;

/// Writes fields into a caller's buffer and remembers whether all of them found room.
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut [u8],
    used: usize,
    truncated: bool,
}

impl<'b> Writer<'b> {
    /// Starts a message of `kind`. `None` where the buffer has no room for the head.
    #[must_use]
    pub fn new(buffer: &'b mut [u8], kind: u8) -> Option<Self> {
        buffer.get_mut(..HEAD)?.copy_from_slice(&[b'R', b'F', VERSION, kind]);
        Some(Self { buffer, used: HEAD, truncated: false })
    }

    /// Adds a field, cut to `limit` bytes. A field that has no room is left out and noted as truncation.
    pub fn bytes(&mut self, tag: u8, value: &[u8], limit: usize) {
        let value = value.get(..limit).unwrap_or(value);
        if !self.try_bytes(tag, value) {
            self.truncated = true;
        }
    }

    fn try_bytes(&mut self, tag: u8, value: &[u8]) -> bool {
        let Ok(length) = u16::try_from(value.len()) else { return false };
        let end = self.used + FIELD_HEAD + value.len();
        let Some(room) = self.buffer.get_mut(self.used..end) else { return false };
        let (head, body) = room.split_at_mut(FIELD_HEAD);
        let [low, high] = length.to_le_bytes();
        head.copy_from_slice(&[tag, low, high]);
        body.copy_from_slice(value);
        self.used = end;
        true
    }

    /// Adds one byte.
    pub fn byte(&mut self, tag: u8, value: u8) {
        self.bytes(tag, &[value], 1);
    }

    /// Adds a 32-bit number.
    pub fn number(&mut self, tag: u8, value: u32) {
        self.bytes(tag, &value.to_le_bytes(), 4);
    }

    /// Adds a 64-bit number.
    pub fn long(&mut self, tag: u8, value: u64) {
        self.bytes(tag, &value.to_le_bytes(), 8);
    }

    /// Whether a field was left out for want of room.
    #[must_use]
    pub const fn truncated(&self) -> bool {
        self.truncated
    }

    /// The finished message.
    #[must_use]
    pub fn finish(self) -> &'b [u8] {
        self.buffer.get(..self.used).unwrap_or_default()
    }
}

/// A decoded head and the bytes of the fields behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Kind of the message, not yet judged.
    pub kind: u8,
    fields: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads the head. `None` for anything that is not a message of this version.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        match bytes {
            [b'R', b'F', VERSION, kind, fields @ ..] => Some(Self { kind: *kind, fields }),
            _ => None,
        }
    }

    /// The fields in order; ends at the first one that is cut short.
    #[must_use]
    pub const fn fields(&self) -> Fields<'a> {
        Fields { rest: self.fields }
    }
}

/// Iterator over `(tag, bytes)`.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.rest.split_at_checked(FIELD_HEAD)?;
        let [tag, low, high] = head else { return None };
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([*low, *high])))?;
        self.rest = rest;
        Some((*tag, value))
    }
}

/// A field's bytes as a 32-bit number; `None` where the length is another.
#[must_use]
pub fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_le_bytes)
}

/// A field's bytes as a 64-bit number; `None` where the length is another.
#[must_use]
pub fn long(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_field_that_has_no_room_is_noted_and_the_rest_stands() {
        let mut buffer = [0_u8; 16];
        let mut writer = Writer::new(&mut buffer, 7).unwrap();
        writer.number(1, 42);
        writer.bytes(2, b"far too long for it", 100);
        assert!(writer.truncated());
        let message = Message::parse(writer.finish()).unwrap();
        assert_eq!(message.kind, 7);
        assert_eq!(message.fields().collect::<Vec<_>>(), vec![(1, &42_u32.to_le_bytes()[..])]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(kind: u8, fields in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..100)), 0..20)) {
            let mut buffer = [0_u8; MAX_MESSAGE];
            let mut writer = Writer::new(&mut buffer, kind).unwrap();
            for (tag, value) in &fields { writer.bytes(*tag, value, 4096); }
            prop_assert!(!writer.truncated());
            let message = Message::parse(writer.finish()).unwrap();
            prop_assert_eq!(message.kind, kind);
            let read: Vec<_> = message.fields().map(|(tag, value)| (tag, value.to_vec())).collect();
            prop_assert_eq!(read, fields);
        }

        #[test]
        fn garbage_ends_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(message) = Message::parse(&bytes) {
                prop_assert!(message.fields().count() <= bytes.len());
            }
        }
    }
}

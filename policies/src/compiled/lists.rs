//! Readers of the lists inside a compiled policy.
//!
//! Every read is checked and gives zero or nothing outside the bytes, so no input can make evaluation panic; that
//! what is read makes sense is the validator's part. The evaluation and the accessors call it.

use core::net::IpAddr;

use super::layout::{TARGET_SIZE, target};
use crate::{glob, vocabulary};

pub(super) fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    array_at(bytes, at).map_or(0, u16::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    array_at(bytes, at).map_or(0, u64::from_le_bytes)
}

pub(super) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// An entry of a list of globs, names or strings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    /// Length of the literal prefix, or the kind of name.
    pub(super) tag: u16,
    pub(super) bytes: &'a [u8],
}

impl Entry<'_> {
    /// Whether the glob has no wildcard and is `path`.
    pub(super) fn names_exactly(self, path: &[u8]) -> bool {
        usize::from(self.tag) == self.bytes.len() && self.bytes == path
    }

    /// Whether the glob matches `path`. The literal prefix settles nearly every call.
    pub(super) fn matches(self, path: &[u8]) -> bool {
        let literal = usize::from(self.tag);
        let prefix = self.bytes.get(..literal).unwrap_or(self.bytes);
        if literal == self.bytes.len() {
            return self.bytes == path;
        }
        path.starts_with(prefix) && glob::matches(self.bytes, path)
    }
}

/// Iterates over the entries of a list of globs, names or strings. Offset 0 is the empty list.
#[derive(Debug, Clone)]
pub(super) struct Entries<'a> {
    bytes: &'a [u8],
    next: usize,
    left: u16,
}

impl<'a> Entries<'a> {
    pub(super) fn at(bytes: &'a [u8], offset: usize) -> Self {
        let left = if offset == 0 { 0 } else { u16_at(bytes, offset) };
        Self { bytes, next: offset + 2, left }
    }

    /// Where the list ends once it is exhausted.
    pub(super) const fn position(&self) -> usize {
        self.next
    }

    /// Entries that have not been read yet.
    pub(super) const fn left(&self) -> u16 {
        self.left
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        self.left.checked_sub(1)?;
        let length = u16_at(self.bytes, self.next);
        let tag = u16_at(self.bytes, self.next + 2);
        let bytes = self.bytes.get(self.next + 4..)?.get(..usize::from(length))?;
        self.left -= 1;
        self.next += 4 + usize::from(length);
        Some(Entry { tag, bytes })
    }
}

/// The pool of name patterns.
#[derive(Debug, Clone)]
pub(super) struct Names<'a>(Entries<'a>);

impl<'a> Names<'a> {
    pub(super) fn at(bytes: &'a [u8], offset: usize) -> Self {
        Self(Entries::at(bytes, offset))
    }

    /// Indices of the patterns that match `name`.
    pub(super) fn matching<'n>(self, name: &'n [u8]) -> impl Iterator<Item = u16> + use<'a, 'n> {
        let name = name.strip_suffix(b".").unwrap_or(name);
        (0..u16::MAX).zip(self.0).filter(|(_, entry)| name_matches(*entry, name)).map(|(index, _)| index)
    }

    /// Whether the pattern with this index is `name`, and no other name.
    pub(super) fn is(&self, index: u16, name: &[u8]) -> bool {
        self.0
            .clone()
            .nth(usize::from(index))
            .is_some_and(|entry| entry.tag == 0 && name_matches(entry, name))
    }

    /// Whether the pattern with this index matches `name`.
    pub(super) fn matches(&self, index: u16, name: &[u8]) -> bool {
        let name = name.strip_suffix(b".").unwrap_or(name);
        let entry = self.0.clone().nth(usize::from(index));
        entry.is_some_and(|entry| name_matches(entry, name))
    }
}

/// A pattern is a name in lower case, of which kind 1 means all names below it.
fn name_matches(pattern: Entry<'_>, name: &[u8]) -> bool {
    if pattern.tag == 0 {
        return pattern.bytes.eq_ignore_ascii_case(name);
    }
    let Some(split) = name.len().checked_sub(pattern.bytes.len()) else { return false };
    let (before, last) = name.split_at(split);
    before.len() > 1 && before.ends_with(b".") && last.eq_ignore_ascii_case(pattern.bytes)
}

/// One entry of `egress.allow` or `egress.deny`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a>(&'a [u8; TARGET_SIZE]);

impl Target<'_> {
    fn takes_port(self, port: u16) -> bool {
        (u16_at(self.0, target::PORT_LOW)..=u16_at(self.0, target::PORT_HIGH)).contains(&port)
    }

    pub(super) fn takes_every_port(self) -> bool {
        u16_at(self.0, target::PORT_LOW) == 0 && u16_at(self.0, target::PORT_HIGH) == u16::MAX
    }

    pub(super) fn kind(self) -> u8 {
        u8_at(self.0, target::KIND)
    }

    /// Index of the name pattern, where the entry is a name.
    pub(super) fn name(self) -> Option<u16> {
        (self.kind() == 3).then(|| u16_at(self.0, target::NAME))
    }

    /// Whether the entry covers this address and port, reached by way of these name patterns.
    pub(super) fn covers(self, address: IpAddr, port: u16, names: &[u16]) -> bool {
        self.takes_port(port) && self.covers_address(address, names)
    }

    /// Whether the entry covers this address, at some port.
    pub(super) fn covers_address(self, address: IpAddr, names: &[u16]) -> bool {
        match (self.kind(), address) {
            (0, _) => true,
            (1, IpAddr::V4(address)) => self.network_has(&address.octets()),
            (2, IpAddr::V6(address)) => self.network_has(&address.octets()),
            (3, _) => names.contains(&u16_at(self.0, target::NAME)),
            _ => false,
        }
    }

    /// Whether the first bits of `octets`, as many as the prefix has, are the network's.
    fn network_has(self, octets: &[u8]) -> bool {
        let mut left = u32::from(u8_at(self.0, target::PREFIX));
        octets.iter().zip(self.0.iter().skip(target::ADDRESS)).all(|(ours, theirs)| {
            let bits = left.min(8);
            left -= bits;
            // With no bits left the shift is by eight, and everything is equal.
            ((ours ^ theirs).checked_shr(8 - bits).unwrap_or(0)) == 0
        })
    }
}

/// Iterates over a list of targets. Offset 0 is the empty list.
#[derive(Debug, Clone)]
pub(super) struct Targets<'a> {
    bytes: &'a [u8],
    next: usize,
    left: u16,
}

impl<'a> Targets<'a> {
    pub(super) fn at(bytes: &'a [u8], offset: usize) -> Self {
        let left = if offset == 0 { 0 } else { u16_at(bytes, offset) };
        Self { bytes, next: offset + 2, left }
    }

    /// Entries that have not been read yet.
    pub(super) const fn left(&self) -> u16 {
        self.left
    }
}

impl<'a> Iterator for Targets<'a> {
    type Item = Target<'a>;

    fn next(&mut self) -> Option<Target<'a>> {
        self.left.checked_sub(1)?;
        let target = self.bytes.get(self.next..)?.first_chunk()?;
        self.left -= 1;
        self.next += TARGET_SIZE;
        Some(Target(target))
    }
}

/// Whether `name` needs no resolver.
pub(super) fn is_localhost(name: &[u8]) -> bool {
    vocabulary::is_localhost(name.strip_suffix(b".").unwrap_or(name))
}

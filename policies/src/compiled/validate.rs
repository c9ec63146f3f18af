//! The one full check of a compiled policy before it is believed.
//!
//! It decides whether every offset, count and value in the bytes has a meaning; evaluation relies on it for sense,
//! not for safety. Only [`super::CompiledPolicy::new`] calls it.

use super::layout::{
    COMBINATIONS, FLAGS_KNOWN, HEADER_SIZE, LIMITS_SIZE, MAGIC, TARGET_SIZE, VERSION, VIEW_SIZE, header,
    target, view,
};
use super::lists::{Entries, Targets, array_at, u8_at, u16_at};
use super::{CompiledError, View};

/// Returns the bytes of the policy without what follows them.
pub(super) fn validate(bytes: &[u8]) -> Result<&[u8], CompiledError> {
    let bytes = whole(bytes)?;
    let names = header_lists(bytes)?;
    values(
        bytes,
        0,
        &[(header::MODE, 2), (header::ON_DEGRADED, 1), (header::SYSCALLS, 2), (header::FLAGS, FLAGS_KNOWN)],
    )?;
    let views = usize::from(u8_at(bytes, header::VIEW_COUNT));
    check(views <= COMBINATIONS && HEADER_SIZE + views * VIEW_SIZE <= bytes.len(), header::VIEW_COUNT)?;
    for at in header::VIEW_OF..header::VIEW_OF + COMBINATIONS {
        check(usize::from(u8_at(bytes, at)) < views, at)?;
    }
    for index in 0..views {
        view_is_sound(View { bytes, start: HEADER_SIZE + index * VIEW_SIZE }, names)?;
    }
    Ok(bytes)
}

fn check(sound: bool, at: usize) -> Result<(), CompiledError> {
    if sound { Ok(()) } else { Err(CompiledError::Malformed { at }) }
}

/// Cuts the bytes to the length that the header gives.
fn whole(bytes: &[u8]) -> Result<&[u8], CompiledError> {
    if array_at(bytes, 0) != Some(MAGIC) {
        return Err(CompiledError::NotAPolicy);
    }
    let found = u16_at(bytes, header::VERSION);
    if found != VERSION {
        return Err(CompiledError::Version { found });
    }
    let length = usize::from(u16_at(bytes, header::LENGTH));
    bytes.get(..length).filter(|bytes| bytes.len() >= HEADER_SIZE).ok_or(CompiledError::Truncated)
}

/// Checks the lists that the header points to; returns how many names there are.
fn header_lists(bytes: &[u8]) -> Result<u16, CompiledError> {
    for field in [header::STRIP, header::DECOYS, header::SYSCALLS_DENIED] {
        entries(bytes, field, |tag, length| usize::from(tag) <= length)?;
    }
    entries(bytes, header::NAMES, |kind, length| kind <= 1 && length > 0)?;
    let limits = usize::from(u16_at(bytes, header::LIMITS));
    check(limits == 0 || limits + LIMITS_SIZE <= bytes.len(), header::LIMITS)?;
    match u16_at(bytes, header::NAMES) {
        0 => Ok(0),
        offset => Ok(u16_at(bytes, usize::from(offset))),
    }
}

/// Checks that the list behind the offset at `field` can be read to its end and that each entry passes `sound`.
fn entries(bytes: &[u8], field: usize, sound: impl Fn(u16, usize) -> bool) -> Result<(), CompiledError> {
    let offset = usize::from(u16_at(bytes, field));
    check(offset == 0 || offset + 2 <= bytes.len(), field)?;
    let mut list = Entries::at(bytes, offset);
    while list.left() > 0 {
        let at = list.position();
        let entry = list.next().ok_or(CompiledError::Malformed { at })?;
        check(sound(entry.tag, entry.bytes.len()), at)?;
    }
    Ok(())
}

/// Checks bytes that hold one of a few values: pairs of a field and its largest value.
fn values(bytes: &[u8], start: usize, fields: &[(usize, u8)]) -> Result<(), CompiledError> {
    fields
        .iter()
        .try_for_each(|(field, largest)| check(u8_at(bytes, start + field) <= *largest, start + field))
}

fn view_is_sound(view: View<'_>, names: u16) -> Result<(), CompiledError> {
    values(
        view.bytes,
        view.start,
        &[
            (view::PROCESS_MODE, 2),
            (view::EGRESS_MODE, 2),
            (view::TMP_MODE, 2),
            (view::FILES_MODE, 2),
            (view::CREDENTIALS_MODE, 2),
            (view::UNCOVERED_MODE, 2),
            (view::SHELLS, 2),
            (view::FROM_WRITABLE, 2),
            (view::LISTEN, 2),
            (view::RUNTIME_API, 1),
            (view::TMP_WRITES, 2),
            (view::READS, 2),
            (view::EXPOSE, 1),
            (view::PROCESS_PRESENT, 1),
        ],
    )?;
    for field in [view::PROCESS_ALLOW, view::TMP_WRITES_LIST, view::DENY_READ, view::DENY_WRITE] {
        entries(view.bytes, view.start + field, |literal, length| usize::from(literal) <= length)?;
    }
    targets(view.bytes, view.start + view::EGRESS_ALLOW, names)?;
    targets(view.bytes, view.start + view::EGRESS_DENY, names)
}

fn targets(bytes: &[u8], field: usize, names: u16) -> Result<(), CompiledError> {
    let offset = usize::from(u16_at(bytes, field));
    check(offset == 0 || offset + 2 <= bytes.len(), field)?;
    let list = Targets::at(bytes, offset);
    let end = offset + 2 + usize::from(list.left()) * TARGET_SIZE;
    check(offset == 0 || end <= bytes.len(), offset)?;
    for at in (offset + 2..end).step_by(TARGET_SIZE).take(usize::from(list.left())) {
        target_is_sound(bytes, at, names)?;
    }
    Ok(())
}

fn target_is_sound(bytes: &[u8], at: usize, names: u16) -> Result<(), CompiledError> {
    let longest = match u8_at(bytes, at + target::KIND) {
        0 | 3 => 0,
        1 => 32,
        2 => 128,
        _ => return Err(CompiledError::Malformed { at }),
    };
    check(u8_at(bytes, at + target::PREFIX) <= longest, at + target::PREFIX)?;
    check(
        u16_at(bytes, at + target::PORT_LOW) <= u16_at(bytes, at + target::PORT_HIGH),
        at + target::PORT_LOW,
    )?;
    let is_name = u8_at(bytes, at + target::KIND) == 3;
    check(!is_name || u16_at(bytes, at + target::NAME) < names, at + target::NAME)
}

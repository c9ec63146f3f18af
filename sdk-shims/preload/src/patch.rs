//! Replaces the system-call sites of a text by jumps into the library.
//!
//! It decides nothing about calls: `handler` says which numbers are wanted. `start` calls it for libc and the loader,
//! `mapping` for text that is mapped later. Text is writable or executable, never both, and nobody runs it while it
//! is writable: the constructor runs before other threads, and a new mapping is known to nobody.

use crate::arch::{self, STUB_ROOM, Site, Stub};
use crate::loaded::Text;
use crate::shielded;
use crate::sys::{self, Errno, Use};

const PAGE: usize = 4096;
/// Most sites of one object: glibc 2.36 has 70, musl about as many.
const MAX_SITES: usize = 160;
/// Bytes before the first stub: the entry's address.
const SLOT: usize = 16;

/// Whether text that was written to may be executed again: tried on a copy of a page of `file` (ending in NUL), since
/// a refusal in the middle of patching libc (`SELinux`: execmod) would leave it unable to run.
pub(crate) fn is_permitted(file: &[u8]) -> bool {
    let Ok(file) = sys::open_at(sys::CWD, file, sys::O_CLOEXEC) else { return false };
    let Ok(page) = sys::map_private(file.0, PAGE) else { return false };
    let address = page.as_ptr() as usize;
    if let Some(first) = page.first_mut() {
        *first ^= 0xff;
    }
    let permitted = sys::protect(address, PAGE, Use::Execute).is_ok();
    sys::unmap(address, PAGE);
    permitted
}

/// Patches every site in `text` whose number is wanted; returns how many.
///
/// # Errors
/// [`Errno`] where memory could not be had near the text or not be made writable or executable. The text is then
/// as it was.
pub(crate) fn patch(text: Text, wanted: impl Fn(usize) -> bool) -> Result<usize, Errno> {
    let bytes = sys::text_at(text.address, text.length);
    let mut sites = [None; MAX_SITES];
    let mut count = 0;
    arch::find_sites(bytes, wanted, |site| {
        if let Some(slot) = sites.get_mut(count) {
            *slot = Some(site);
            count += 1;
        }
    });
    if count == 0 {
        return Ok(0);
    }
    let stubs = Stubs::build(text, bytes, sites.iter().flatten(), count)?;
    redirect(text, sites.iter().flatten(), &stubs)?;
    shielded::add(text.address, text.length);
    shielded::add(stubs.address, stubs.length);
    Ok(count)
}

/// The stubs of one text: first the entry's address, then one room per site in their order.
struct Stubs {
    address: usize,
    length: usize,
}

impl Stubs {
    fn build<'s>(
        text: Text,
        bytes: &[u8],
        sites: impl Iterator<Item = &'s Site>,
        count: usize,
    ) -> Result<Self, Errno> {
        let length = (SLOT + count * STUB_ROOM).next_multiple_of(PAGE);
        let area = near(text, length)?;
        let address = area.as_ptr() as usize;
        let (slot, rooms) = area.split_at_mut(SLOT);
        for (to, from) in slot.iter_mut().zip(arch::entry_address().to_le_bytes()) {
            *to = from;
        }
        for ((index, site), room) in sites.enumerate().zip(rooms.chunks_exact_mut(STUB_ROOM)) {
            let stub = Stub {
                address: address + SLOT + index * STUB_ROOM,
                carried: bytes.get(site.anchor..site.call).ok_or(Errno::INVAL)?,
                call: text.address + site.call,
                entry_slot: address,
            };
            arch::write_stub(room, &stub).ok_or(Errno::INVAL)?;
        }
        arch::publish_text(address, length);
        sys::protect(address, length, Use::Execute).inspect_err(|_| sys::unmap(address, length))?;
        Ok(Self { address, length })
    }

    const fn stub(&self, index: usize) -> usize {
        self.address + SLOT + index * STUB_ROOM
    }
}

/// Memory that a jump from anywhere in `text` reaches.
fn near(text: Text, length: usize) -> Result<&'static mut [u8], Errno> {
    for distance in arch::DISTANCES {
        let hint = (text.address & !(PAGE - 1)).saturating_sub(distance);
        let area = sys::memory_near(hint, length)?;
        let start = area.as_ptr() as usize;
        if reaches(text, start, length) {
            return Ok(area);
        }
        sys::unmap(start, length);
    }
    Err(Errno::INVAL)
}

fn reaches(text: Text, start: usize, length: usize) -> bool {
    let low = start.min(text.address);
    let high = (start + length).max(text.address + text.length);
    high - low < arch::REACH
}

/// Writes the jumps.
fn redirect<'s>(text: Text, sites: impl Iterator<Item = &'s Site>, stubs: &Stubs) -> Result<(), Errno> {
    let start = text.address & !(PAGE - 1);
    let length = (text.address + text.length - start).next_multiple_of(PAGE);
    sys::protect(start, length, Use::Write)?;
    for (index, site) in sites.enumerate() {
        let anchor = text.address + site.anchor;
        if let Some(jump) = arch::jump(anchor, stubs.stub(index)) {
            sys::write_text(anchor, &jump);
            arch::publish_text(anchor, jump.len());
        }
    }
    sys::protect(start, length, if text.guarded { Use::ExecuteGuarded } else { Use::Execute })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_is_tried_on_a_file() {
        assert!(is_permitted(b"/bin/sh\0"));
        assert!(!is_permitted(b"/nowhere\0"));
    }

    #[test]
    fn reach_is_measured_over_both_ranges() {
        let text = Text { address: 0x7f00_0000_0000, length: 0x10_0000, guarded: false };
        assert!(reaches(text, 0x7eff_fff0_0000, 0x1000));
        assert!(!reaches(text, 0x7e00_0000_0000, 0x1000));
    }
}

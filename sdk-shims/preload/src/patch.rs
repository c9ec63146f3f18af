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
/// Most sites of one object: glibc 2.36 has 108, musl 1.2.6 170.
const MAX_SITES: usize = 256;
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
/// See [`apply`].
pub(crate) fn patch(text: Text, wanted: impl Fn(usize) -> bool) -> Result<usize, Errno> {
    apply(text, &Places::found(text, wanted))
}

/// Patches the sites of `text` at `places`; returns how many.
///
/// # Errors
/// [`Errno`] where memory could not be had near the text or not be made writable or executable. The text is then
/// as it was.
pub(crate) fn apply(text: Text, places: &Places) -> Result<usize, Errno> {
    let places = places.filled();
    if places.is_empty() {
        return Ok(0);
    }
    let stubs = Stubs::build(text, sys::text_at(text.address, text.length), places)?;
    redirect(text, places, &stubs)?;
    shielded::add(text.address, text.length);
    shielded::add(stubs.address, stubs.length);
    Ok(places.len())
}

/// Where a site is, in few bytes: this lies on the stack of whoever maps an object.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    anchor: u32,
    call: u32,
}

/// The sites of one text, in their order.
pub(crate) struct Places {
    all: [Place; MAX_SITES],
    count: usize,
}

impl Default for Places {
    fn default() -> Self {
        Self { all: [Place::default(); MAX_SITES], count: 0 }
    }
}

impl Places {
    /// Searches a text for the sites that are wanted.
    pub(crate) fn found(text: Text, wanted: impl Fn(usize) -> bool) -> Self {
        let mut places = Self::default();
        arch::find_sites(sys::text_at(text.address, text.length), wanted, |site| places.add(site));
        places
    }

    /// Looks only where another process of the same text has found them. A call whose number is not wanted here is left out.
    pub(crate) fn confirmed(
        text: Text,
        wanted: impl Fn(usize) -> bool,
        calls: impl Iterator<Item = u32>,
    ) -> Self {
        let (bytes, mut places) = (sys::text_at(text.address, text.length), Self::default());
        for call in calls.take(MAX_SITES) {
            if let Some(site) = arch::site_at(bytes, call as usize, &wanted) {
                places.add(site);
            }
        }
        places
    }

    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Offsets of the calls.
    pub(crate) fn calls(&self) -> impl Iterator<Item = u32> {
        self.filled().iter().map(|place| place.call)
    }

    /// One too many is left as it is.
    fn add(&mut self, site: Site) {
        let (Ok(anchor), Ok(call)) = (u32::try_from(site.anchor), u32::try_from(site.call)) else { return };
        if let Some(place) = self.all.get_mut(self.count) {
            *place = Place { anchor, call };
            self.count += 1;
        }
    }

    fn filled(&self) -> &[Place] {
        self.all.get(..self.count).unwrap_or_default()
    }
}

/// The stubs of one text: first the entry's address, then one room per site in their order.
struct Stubs {
    address: usize,
    length: usize,
    /// Those that could be: not where a distance is too long.
    written: [bool; MAX_SITES],
}

impl Stubs {
    fn build(text: Text, bytes: &[u8], places: &[Place]) -> Result<Self, Errno> {
        let length = (SLOT + places.len() * STUB_ROOM).next_multiple_of(PAGE);
        let area = near(text, length)?;
        let address = area.as_ptr() as usize;
        let (slot, rooms) = area.split_at_mut(SLOT);
        for (to, from) in slot.iter_mut().zip(arch::entry_address().to_le_bytes()) {
            *to = from;
        }
        let mut written = [false; MAX_SITES];
        for ((index, place), room) in places.iter().enumerate().zip(rooms.chunks_exact_mut(STUB_ROOM)) {
            let (anchor, call) = (place.anchor as usize, place.call as usize);
            let stub = Stub {
                address: address + SLOT + index * STUB_ROOM,
                carried: bytes.get(anchor..call).ok_or(Errno::INVAL)?,
                rest: bytes.get(call..).unwrap_or_default(),
                call: text.address + call,
                entry_slot: address,
            };
            if let Some(written) = written.get_mut(index) {
                *written = arch::write_stub(room, &stub).is_some();
            }
        }
        arch::publish_text(address, length);
        sys::protect(address, length, Use::Execute).inspect_err(|_| sys::unmap(address, length))?;
        Ok(Self { address, length, written })
    }

    /// Address of a stub, where it could be written.
    fn stub(&self, index: usize) -> Option<usize> {
        let written = self.written.get(index).copied().unwrap_or(false);
        written.then_some(self.address + SLOT + index * STUB_ROOM)
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
fn redirect(text: Text, places: &[Place], stubs: &Stubs) -> Result<(), Errno> {
    let start = text.address & !(PAGE - 1);
    let length = (text.address + text.length - start).next_multiple_of(PAGE);
    sys::protect(start, length, Use::Write)?;
    for (index, place) in places.iter().enumerate() {
        let anchor = text.address + place.anchor as usize;
        if let Some(jump) = stubs.stub(index).and_then(|stub| arch::jump(anchor, stub)) {
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

//! What a patched site jumps to: the code that it took over, and the way into the entry.
//!
//! `patch` has the room and the addresses; this module writes the bytes and decides nothing.

use super::super::Stub;
use super::instructions::mend;
use super::sites::{JUMP, SYSCALL, followers};

/// Bytes that a stub needs at most: `MAX_CARRIED` of `sites` and the load of the number before the way in.
pub(crate) const STUB_ROOM: usize = 96;
const WAY_IN: usize = 10 + 6;

/// The bytes of a stub as they come.
struct Writer<'r> {
    room: &'r mut [u8],
    length: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        self.room.get_mut(self.length..self.length + bytes.len())?.copy_from_slice(bytes);
        self.length += bytes.len();
        Some(())
    }

    /// Code that stood at `from`, for a stub at `address`.
    fn put_moved(&mut self, code: &[u8], from: usize, address: usize) -> Option<()> {
        let start = self.length;
        self.put(code)?;
        mend(self.room.get_mut(start..self.length)?, from, address.checked_add(start)?)
    }

    /// The address behind the call's instruction into r11, and a jump through the slot that holds the entry's address.
    fn put_way_in(&mut self, behind: usize, stub: &Stub<'_>) -> Option<()> {
        self.put(&[0x49, 0xbb])?;
        self.put(&behind.to_le_bytes())?;
        let next = stub.address.checked_add(self.length + 6)?;
        self.put(&[0xff, 0x25])?;
        self.put(&displacement(stub.entry_slot, next)?.to_le_bytes())
    }
}

/// Writes the stub of a site to the start of `room` and returns its length.
///
/// Where the anchor stands before the call: the code from the anchor on, and the way in, which comes back to the
/// site's own instruction. Where the call itself is the anchor: the way in, a copy of the instruction to come back
/// to, the code that the jump covers, and a jump behind it.
pub(crate) fn write_stub(room: &mut [u8], stub: &Stub<'_>) -> Option<usize> {
    let mut writer = Writer { room, length: 0 };
    let behind = stub.call.checked_add(SYSCALL.len())?;
    if !stub.carried.is_empty() {
        writer.put_moved(stub.carried, stub.call.checked_sub(stub.carried.len())?, stub.address)?;
        writer.put_way_in(behind, stub)?;
        return Some(writer.length);
    }
    writer.put_way_in(stub.address.checked_add(WAY_IN + SYSCALL.len())?, stub)?;
    writer.put(&SYSCALL)?;
    let followers = followers(stub.rest)?;
    writer.put_moved(followers, behind, stub.address)?;
    let from = stub.address.checked_add(writer.length)?;
    writer.put(&jump(from, behind.checked_add(followers.len())?)?)?;
    Some(writer.length)
}

/// `jmp rel32` from `anchor` to `stub`.
pub(crate) fn jump(anchor: usize, stub: usize) -> Option<[u8; JUMP]> {
    let [a, b, c, d] = displacement(stub, anchor.checked_add(JUMP)?)?.to_le_bytes();
    Some([0xe9, a, b, c, d])
}

fn displacement(to: usize, from: usize) -> Option<i32> {
    i32::try_from(to.wrapping_sub(from).cast_signed()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stub_is_the_carried_code_and_a_jump() {
        let stub = Stub {
            address: 0x1_0040,
            carried: &[0xb8, 0x2c, 0, 0, 0],
            rest: &[],
            call: 0x1122_3344_5566_7786,
            entry_slot: 0x1_0018,
        };
        let mut room = [0; STUB_ROOM];
        let length = write_stub(&mut room, &stub).unwrap();
        assert_eq!(
            &room[..length],
            &[
                0xb8, 0x2c, 0, 0, 0, 0x49, 0xbb, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xff, 0x25,
                0xc3, 0xff, 0xff, 0xff
            ]
        );
    }

    #[test]
    fn a_stub_of_a_bare_call_makes_the_call_itself_and_goes_on_behind_it() {
        let stub = Stub {
            address: 0x1_0000,
            carried: &[],
            rest: &[0x0f, 0x05, 0x48, 0x89, 0xc7, 0xe8, 0, 0, 0, 0],
            call: 0x2_0000,
            entry_slot: 0xfff0,
        };
        let mut room = [0; STUB_ROOM];
        let length = write_stub(&mut room, &stub).unwrap();
        assert_eq!(
            &room[..length],
            &[
                0x49, 0xbb, 0x12, 0, 1, 0, 0, 0, 0, 0, // mov $0x10012,%r11
                0xff, 0x25, 0xe0, 0xff, 0xff, 0xff, // jmp *-0x20(%rip)
                0x0f, 0x05, 0x48, 0x89, 0xc7, // syscall; mov %rax,%rdi
                0xe9, 0xeb, 0xff, 0, 0 // jmp 0x20005
            ]
        );
    }

    #[test]
    fn jumps_go_both_ways_and_never_too_far() {
        assert_eq!(jump(0x1000, 0x2000), Some([0xe9, 0xfb, 0x0f, 0, 0]));
        assert_eq!(jump(0x2000, 0x1005), Some([0xe9, 0, 0xf0, 0xff, 0xff]));
        assert_eq!(jump(0x1000, 0x1_0000_0000), None);
    }
}

//! Sites in aarch64 text: where they are, what stands in for them, and whether the text is guarded.
//!
//! A site is `svc #0`. The instruction before it becomes a branch to a stub and is carried along there; the `svc`
//! stays, so that a call which is let through is made where libc makes it: both libcs ask where a thread stands when
//! they cancel it. The number is known when the call runs, so a site whose number cannot be read off is taken over
//! all the same. Arithmetic on bytes only: `arch` offers it to the rest, and its tests run on any processor.

use super::{Site, Stub};

/// Bytes of an instruction, and of a jump.
const INSTRUCTION: usize = 4;
const SVC: u32 = 0xd400_0001;
const NOP: u32 = 0xd503_201f;
/// How many instructions before the `svc` are searched for the one that loads its number: `ptrace` of musl has 22.
const LOOK_BACK: usize = 24;
/// How many bytes around a `svc` are searched for branches that lead to it.
const NEIGHBOURHOOD: usize = 64 * INSTRUCTION;
/// Bytes of a stub.
pub(crate) const STUB_ROOM: usize = 64;
/// How far a branch goes, less a page or two.
pub(crate) const REACH: usize = (1 << 27) - 0x2000;
/// How far below a text room for its stubs is asked for, in turn.
pub(crate) const DISTANCES: [usize; 6] =
    [0x2_0000, 0x40_0000, 0x100_0000, 0x200_0000, 0x400_0000, 0x700_0000];

/// Finds the sites in `text` whose number `wanted` accepts, and those whose number does not show; `found` takes each.
pub(crate) fn find_sites(text: &[u8], wanted: impl Fn(usize) -> bool, mut found: impl FnMut(Site)) {
    for (index, bytes) in text.chunks_exact(INSTRUCTION).enumerate() {
        if bytes == SVC.to_le_bytes()
            && let Some(site) = site_at(text, index * INSTRUCTION, &wanted)
        {
            found(site);
        }
    }
}

/// The site whose call stands at `call`, if it is one that is taken over.
pub(crate) fn site_at(text: &[u8], call: usize, wanted: impl Fn(usize) -> bool) -> Option<Site> {
    if !text.get(call..)?.starts_with(&SVC.to_le_bytes()) {
        return None;
    }
    let number = number_before(text.get(..call)?);
    number.is_none_or(wanted).then(|| Site { anchor: anchor_of(text, call), call, number })
}

/// The instruction before the `svc`, or the `svc` itself where that cannot be carried, or somebody jumps past it.
fn anchor_of(text: &[u8], call: usize) -> usize {
    let before = text.get(..call).unwrap_or_default();
    let carried = backwards(before).next().is_some_and(can_be_carried) && !is_branched_to(text, call);
    if carried { call - INSTRUCTION } else { call }
}

/// Whether a branch in the neighbourhood leads to `place`, as where glibc 2.41 makes calls that cannot be cancelled.
fn is_branched_to(text: &[u8], place: usize) -> bool {
    let start = place.saturating_sub(NEIGHBOURHOOD);
    let end = text.len().min(place + NEIGHBOURHOOD);
    let near = text.get(start..end).unwrap_or_default().chunks_exact(INSTRUCTION);
    near.enumerate().any(|(index, bytes)| {
        let instruction = bytes.try_into().map_or(0, u32::from_le_bytes);
        let at = start + index * INSTRUCTION;
        branch_distance(instruction).is_some_and(|distance| at.checked_add_signed(distance) == Some(place))
    })
}

/// How far a direct branch goes, in bytes.
const fn branch_distance(instruction: u32) -> Option<isize> {
    // Where its field begins from above, and how long it is: b; b.cond, cbz and cbnz; tbz and tbnz.
    let (above, bits) = if instruction & 0xfc00_0000 == 0x1400_0000 {
        (6, 26)
    } else if instruction & 0xff00_0000 == 0x5400_0000 || instruction & 0x7e00_0000 == 0x3400_0000 {
        (8, 19)
    } else if instruction & 0x7e00_0000 == 0x3600_0000 {
        (13, 14)
    } else {
        return None;
    };
    let field = (instruction << above).cast_signed() >> (32 - bits);
    Some(field as isize * INSTRUCTION.cast_signed())
}

/// Instructions from the last to the first.
fn backwards(code: &[u8]) -> impl Iterator<Item = u32> + '_ {
    code.rchunks_exact(INSTRUCTION).filter_map(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)
}

/// The number in x8 behind `code`, where one way through it leaves no doubt.
fn number_before(code: &[u8]) -> Option<usize> {
    for instruction in backwards(code).take(LOOK_BACK) {
        if let Some(number) = loaded_number(instruction) {
            return Some(number);
        }
        if never_falls_through(instruction) || names_x8(instruction) {
            return None;
        }
    }
    None
}

/// The number that `mov x8, #n` or `mov w8, #n` loads.
fn loaded_number(instruction: u32) -> Option<usize> {
    const MOVZ_TO_8: u32 = 0x5280_0008;
    let loads = instruction & 0x7fe0_001f == MOVZ_TO_8;
    loads.then(|| usize::try_from(instruction >> 5 & 0xffff).ok()).flatten()
}

/// Branches other than conditional ones, calls and returns.
const fn never_falls_through(instruction: u32) -> bool {
    instruction & 0x7c00_0000 == 0x1400_0000 || instruction & 0xfe00_0000 == 0xd600_0000
}

/// Whether x8 may be among the registers that an instruction names: as Rd or Rt, Rn (writeback) or Rt2. Other fields
/// stand in the same places; where they look like it, the number counts as not known.
const fn names_x8(instruction: u32) -> bool {
    instruction & 31 == 8 || instruction >> 5 & 31 == 8 || instruction >> 10 & 31 == 8
}

/// Whether an instruction does the same wherever it stands. By the main encoding groups of the architecture (Arm
/// ARM, C4.1); branches, system instructions and landing pads stay where they are, and so do the halves of an
/// exclusive access.
const fn can_be_carried(instruction: u32) -> bool {
    let is_address = instruction & 0x1f00_0000 == 0x1000_0000;
    let is_literal = instruction & 0x3b00_0000 == 0x1800_0000;
    let is_exclusive = instruction & 0x3f00_0000 == 0x0800_0000;
    match instruction >> 25 & 15 {
        // Data processing with an immediate: all but adr and adrp.
        8 | 9 => !is_address,
        // Loads and stores.
        4 | 6 | 12 | 14 => !is_literal && !is_exclusive,
        // Data processing between registers, general and vector.
        5 | 7 | 13 | 15 => true,
        _ => instruction == NOP,
    }
}

/// Writes the stub of a site to `room` and returns its length.
///
/// The entry returns to the seventh instruction where the call is to be made, and sixteen bytes further where it is
/// over. x17 takes the address behind the site to it. Where nothing could be carried, the site's own `svc` has made
/// way for the branch, and the stub makes the call.
pub(crate) fn write_stub(room: &mut [u8], stub: &Stub<'_>) -> Option<usize> {
    const SAVE: [u32; 2] = [0xa9be_7bfd, 0xa901_47f0]; // stp x29, x30, [sp, #-32]!; stp x16, x17, [sp, #16]
    const RESTORE: [u32; 2] = [0xa941_47f0, 0xa8c2_7bfd]; // ldp x16, x17, [sp, #16]; ldp x29, x30, [sp], #32
    const CALL_X16: u32 = 0xd63f_0200;
    let at = |index: usize| stub.address.checked_add(index * INSTRUCTION);
    let behind = stub.call.checked_add(INSTRUCTION)?;
    let carried = backwards(stub.carried).next();
    let make_the_call = match carried {
        Some(_) => [branch(at(8)?, stub.call)?, NOP],
        None => [SVC, branch(at(9)?, behind)?],
    };
    let code = [
        carried.unwrap_or(NOP),
        SAVE[0],
        SAVE[1],
        load(17, at(3)?, at(14)?)?,
        load(16, at(4)?, stub.entry_slot)?,
        CALL_X16,
        RESTORE[0],
        RESTORE[1],
        make_the_call[0],
        make_the_call[1],
        RESTORE[0],
        RESTORE[1],
        branch(at(12)?, behind)?,
        NOP,
    ];
    let (instructions, address) = room.first_chunk_mut::<STUB_ROOM>()?.split_at_mut(code.len() * INSTRUCTION);
    for (place, instruction) in instructions.chunks_exact_mut(INSTRUCTION).zip(code) {
        place.copy_from_slice(&instruction.to_le_bytes());
    }
    address.copy_from_slice(&behind.to_le_bytes());
    Some(STUB_ROOM)
}

/// The branch that takes the place of an anchor.
pub(crate) fn jump(anchor: usize, stub: usize) -> Option<[u8; INSTRUCTION]> {
    branch(anchor, stub).map(u32::to_le_bytes)
}

/// `b to` at `from`.
fn branch(from: usize, to: usize) -> Option<u32> {
    Some(0x1400_0000 | offset(from, to, 26)?)
}

/// `ldr x<register>, from` at `at`.
fn load(register: u32, at: usize, from: usize) -> Option<u32> {
    Some(0x5800_0000 | offset(at, from, 19)? << 5 | register)
}

/// A distance in instructions as a signed field of `bits` bits.
fn offset(from: usize, to: usize, bits: u32) -> Option<u32> {
    let distance = i64::try_from(to.wrapping_sub(from).cast_signed()).ok()?;
    let half = 1_i64 << (bits - 1);
    let (units, rest) = (distance >> 2, distance & 3);
    let field = u32::try_from(units.rem_euclid(half * 2)).ok()?;
    ((-half..half).contains(&units) && rest == 0).then_some(field)
}

/// Whether a `.note.gnu.property` asks that indirect branches arrive at landing pads
/// (`GNU_PROPERTY_AARCH64_FEATURE_1_BTI`, System V ABI for the Arm 64-bit architecture).
pub(crate) fn guards_branches(note: &[u8]) -> bool {
    const HEADER: &[u8] = b"\x05\0\0\0GNU\0";
    const FEATURES: u32 = 0xc000_0000;
    let Some(mut properties) = note.get(8..).and_then(|rest| rest.strip_prefix(HEADER)) else { return false };
    let word = |bytes: &[u8], at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    while let (Some(kind), Some(length)) = (word(properties, 0), word(properties, 4)) {
        if kind == FEATURES {
            return word(properties, 8).is_some_and(|features| features & 1 != 0);
        }
        let length = (length as usize).next_multiple_of(8).saturating_add(8);
        properties = properties.get(length..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OPENAT: usize = 56;
    const MOV_X8_OPENAT: u32 = 0xd280_0708;
    const MOV_W8_OPENAT: u32 = 0x5280_0708;
    const MOV_X8_READ: u32 = 0xd280_07e8;
    const RET: u32 = 0xd65f_03c0;
    const MOV_X0_X1: u32 = 0xaa01_03e0;
    const CBZ_X0: u32 = 0xb400_0080;

    fn text(code: &[u32]) -> Vec<u8> {
        code.iter().flat_map(|instruction| instruction.to_le_bytes()).collect()
    }

    fn sites(code: &[u32]) -> Vec<Site> {
        let mut all = Vec::new();
        find_sites(&text(code), |number| number == OPENAT, |site| all.push(site));
        all
    }

    #[test]
    fn the_shapes_of_libcs_are_understood() {
        let known = |anchor, call| [Site { anchor, call, number: Some(OPENAT) }];
        assert_eq!(sites(&[RET, MOV_X8_OPENAT, SVC, RET]), known(4, 8));
        assert_eq!(sites(&[MOV_W8_OPENAT, SVC]), known(0, 4));
        assert_eq!(sites(&[MOV_X8_OPENAT, MOV_X0_X1, CBZ_X0, MOV_X0_X1, SVC]), known(12, 16), "apart");
        assert_eq!(sites(&[MOV_X8_READ, SVC]), [], "not wanted");
        assert_eq!(sites(&[MOV_X8_OPENAT, MOV_X8_READ, SVC]), [], "the last one counts");
    }

    #[test]
    fn a_number_that_does_not_show_is_taken_over_all_the_same() {
        let unknown = |anchor, call| [Site { anchor, call, number: None }];
        // syscall(3) of glibc: mov x8, x0 … mov x6, x7.
        assert_eq!(sites(&[0xaa00_03e8, MOV_X0_X1, SVC]), unknown(4, 8));
        assert_eq!(sites(&[MOV_X8_READ, RET, MOV_X0_X1, SVC]), unknown(8, 12), "who comes here is not known");
        assert_eq!(sites(&[MOV_X8_READ, 0xf940_0be8, SVC]), unknown(4, 8), "ldr x8, [sp, #16]");
        assert_eq!(sites(&[SVC]), unknown(0, 0));
    }

    #[test]
    fn a_call_that_somebody_jumps_to_makes_way_itself() {
        let behind = [0xb400_0060, MOV_X8_OPENAT, MOV_X0_X1, SVC, RET]; // cbz x0, the svc
        assert_eq!(sites(&behind).first().map(|site| site.anchor), Some(12));
        for (back, name) in
            [(0x17ff_fffe_u32, "b"), (0x54ff_ffc1, "b.ne"), (0x35ff_ffc0, "cbnz"), (0x3707_ffc0, "tbnz")]
        {
            let loops = [MOV_X8_OPENAT, SVC, MOV_X0_X1, back];
            assert_eq!(branch_distance(back), Some(-8), "{name}");
            assert_eq!(sites(&loops).first().map(|site| site.anchor), Some(4), "{name}");
        }
        let elsewhere = [MOV_X8_OPENAT, SVC, MOV_X0_X1, 0x17ff_fffd];
        assert_eq!(
            sites(&elsewhere).first().map(|site| site.anchor),
            Some(0),
            "the carried one is run again"
        );
    }

    #[test]
    fn what_means_something_else_elsewhere_is_not_carried() {
        for (instruction, name) in [
            (0x1400_0004, "b"),
            (0x9400_0004, "bl"),
            (0x5400_0040, "b.eq"),
            (CBZ_X0, "cbz"),
            (0x3608_0040, "tbz"),
            (RET, "ret"),
            (0xd63f_0100, "blr"),
            (0x1000_0080, "adr"),
            (0x9000_0000, "adrp"),
            (0x5800_0040, "ldr, a literal"),
            (0x9c00_0040, "ldr of a vector, a literal"),
            (0x9800_0040, "ldrsw, a literal"),
            (0xd503_245f, "bti c"),
            (0xd503_233f, "paciasp"),
            (0xc85f_7c20, "ldxr"),
            (0xc801_7c20, "stxr"),
            (SVC, "svc"),
            (0, "udf"),
        ] {
            assert!(!can_be_carried(instruction), "{name}");
            let all = sites(&[MOV_X8_OPENAT, instruction, SVC]);
            assert_eq!(all.last().map(|site| site.anchor), Some(8), "{name}: its svc makes way");
        }
        for (instruction, name) in [
            (MOV_X8_OPENAT, "mov"),
            (MOV_X0_X1, "mov between registers"),
            (0xf940_0fe2, "ldr [sp]"),
            (0xa940_07e0, "ldp"),
            (0xb900_1fe3, "str"),
            (0x9340_7c00, "sxtw"),
            (0x9100_4000, "add"),
            (0x3980_0000, "ldrsb"),
            (NOP, "nop"),
        ] {
            assert!(can_be_carried(instruction), "{name}");
        }
    }

    const AT: usize = 0x7f00_0001_0040;
    const STUB: Stub<'_> = Stub {
        address: AT,
        rest: &[],
        carried: &MOV_X8_OPENAT.to_le_bytes(),
        call: AT + 0x2_0000,
        entry_slot: AT - 0x40,
    };

    #[test]
    fn a_stub_is_the_carried_instruction_and_a_call_with_two_ways_back() {
        let mut room = [0; STUB_ROOM];
        assert_eq!(write_stub(&mut room, &STUB), Some(STUB_ROOM));
        let (code, behind) = room.split_at(56);
        let expected = [
            MOV_X8_OPENAT,
            0xa9be_7bfd, // stp x29, x30, [sp, #-32]!
            0xa901_47f0, // stp x16, x17, [sp, #16]
            0x5800_0171, // ldr x17, .+44
            0x58ff_fd90, // ldr x16, .-80
            0xd63f_0200, // blr x16
            0xa941_47f0, // ldp x16, x17, [sp, #16]
            0xa8c2_7bfd, // ldp x29, x30, [sp], #32
            0x1400_7ff8, // b the call
            NOP,
            0xa941_47f0,
            0xa8c2_7bfd,
            0x1400_7ff5, // b behind the call
            NOP,
        ];
        assert_eq!(code, text(&expected));
        assert_eq!(behind, (STUB.call + 4).to_le_bytes());
    }

    #[test]
    fn where_nothing_is_carried_the_stub_makes_the_call() {
        let mut room = [0; STUB_ROOM];
        write_stub(&mut room, &Stub { carried: &[], ..STUB }).unwrap();
        assert_eq!(&room[..4], NOP.to_le_bytes());
        assert_eq!(&room[32..36], SVC.to_le_bytes());
        assert_eq!(&room[36..40], 0x1400_7ff8_u32.to_le_bytes());
    }

    #[test]
    fn jumps_go_both_ways_and_never_too_far() {
        assert_eq!(jump(0x1000, 0x2000), Some(0x1400_0400_u32.to_le_bytes()));
        assert_eq!(jump(0x2000, 0x1000), Some(0x17ff_fc00_u32.to_le_bytes()));
        assert_eq!(jump(0x1000, 0x1002), None);
        let far = 1 << 27;
        assert!(jump(far, 0).is_some() && jump(far + 4, 0).is_none());
        assert!(jump(0, far - 4).is_some() && jump(0, far).is_none());
        assert!(write_stub(&mut [0; STUB_ROOM], &Stub { call: AT + 2 * far, ..STUB }).is_none());
    }

    #[test]
    fn guarded_text_says_so() {
        let note = |kind: u32, features: u32| {
            [
                &b"\x04\0\0\0\x10\0\0\0\x05\0\0\0GNU\0"[..],
                &kind.to_le_bytes(),
                &4_u32.to_le_bytes(),
                &features.to_le_bytes(),
                &[0; 4],
            ]
            .concat()
        };
        assert!(guards_branches(&note(0xc000_0000, 3)));
        assert!(!guards_branches(&note(0xc000_0000, 2)), "signed return addresses only");
        assert!(!guards_branches(&note(0xc000_0002, 1)), "another property");
        let second = [&note(0xc000_0002, 1)[..], &note(0xc000_0000, 1)[16..]].concat();
        assert!(guards_branches(&second));
    }

    proptest! {
        #[test]
        fn sites_lie_inside_any_bytes(code in proptest::collection::vec(prop_oneof![Just(SVC), Just(MOV_X8_OPENAT), any::<u32>()], 0..80), rest in 0..4_usize) {
            let mut text = text(&code);
            text.extend(vec![0; rest]);
            find_sites(&text, |_| true, |site| {
                assert!(site.call + INSTRUCTION <= text.len());
                assert!(site.anchor == site.call || site.anchor + INSTRUCTION == site.call);
            });
        }

        #[test]
        fn no_svc_is_missed_but_for_a_number_that_shows(code in proptest::collection::vec(any::<u32>(), 0..40)) {
            let mut code = code;
            code.push(SVC);
            let last = (code.len() - 1) * INSTRUCTION;
            let mut seen = false;
            find_sites(&text(&code), |_| true, |site| seen |= site.call == last);
            prop_assert!(seen);
        }

        #[test]
        fn garbage_is_no_guard(note in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = guards_branches(&note);
            let mut note = note;
            note.splice(..note.len().min(16), *b"\x04\0\0\0\x10\0\0\0\x05\0\0\0GNU\0");
            let _ = guards_branches(&note);
        }
    }
}

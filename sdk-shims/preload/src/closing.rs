//! Closes ranges of descriptors where the kernel has no `close_range(2)`, as on today's Lambda.
//!
//! glibc's closefrom(3), which Python 3.13 starts children with, then closes what `/proc/self/fd` lists until nothing is
//! listed any more: for ever, since ours stay open. So the range is closed here, and the caller never learns. Decides
//! nothing; knows neither policy nor state. Called by `own`, also between vfork(2) and exec: no allocation, no lock.

use crate::arch::number;
use crate::{pins, sys};

/// Without `/proc` every number is tried, up to where no program's limit of open files reaches on Lambda (1024).
const HIGHEST_GUESS: u32 = 65_535;

/// Where the kernel's `struct linux_dirent64` has the length of an entry, and where its name begins.
const LENGTH_AT: usize = 16;
const NAME_AT: usize = 19;

/// Closes all descriptors of `first..=last` but those in `kept`.
#[inline(never)]
pub(crate) fn close_all(first: u32, last: u32, kept: [u32; 2]) {
    let doomed = |number: u32| {
        (first..=last).contains(&number) && !kept.contains(&number) && !pins::any_in(number, number)
    };
    match sys::open_at(sys::CWD, b"/proc/self/fd\0", sys::O_CLOEXEC) {
        Ok(folder) => close_listed(folder.0, doomed),
        Err(_) => (first..=last.min(HIGHEST_GUESS)).filter(|number| doomed(*number)).for_each(close),
    }
}

/// Calls `each` with the number of each open descriptor, as far as /proc tells.
pub(crate) fn each_open(each: impl Fn(u32)) {
    let Ok(folder) = sys::open_at(sys::CWD, b"/proc/self/fd\0", sys::O_CLOEXEC) else { return };
    let mut buffer = [0; 1024];
    while let Ok(filled @ 1..) = sys::read_folder(folder.0, &mut buffer) {
        numbers(buffer.get(..filled).unwrap_or_default()).for_each(&each);
    }
}

fn close_listed(folder: i32, doomed: impl Fn(u32) -> bool) {
    let mut buffer = [0; 1024];
    // The listing goes by number, so what is closed meanwhile does not move the rest.
    while let Ok(filled @ 1..) = sys::read_folder(folder, &mut buffer) {
        let listed = numbers(buffer.get(..filled).unwrap_or_default());
        listed.filter(|number| *number != folder.unsigned_abs() && doomed(*number)).for_each(close);
    }
}

fn close(number: u32) {
    sys::pass(number::CLOSE, [number as usize, 0, 0, 0, 0, 0]);
}

/// The entries of a folder that are numbers; entries that are cut off or senseless end the list.
pub(crate) fn numbers(mut entries: &[u8]) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        let length = entries.get(LENGTH_AT..LENGTH_AT + 2)?;
        let length = usize::from(u16::from_ne_bytes(length.try_into().ok()?));
        let (entry, rest) = entries.split_at_checked(length)?;
        entries = rest;
        entry.get(NAME_AT..)
    })
    .filter_map(|name| {
        let name = name.split(|byte| *byte == 0).next()?;
        core::str::from_utf8(name).ok()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(name: &str) -> Vec<u8> {
        let mut bytes = vec![0; NAME_AT];
        bytes.extend_from_slice(name.as_bytes());
        bytes.resize((bytes.len() / 8 + 1) * 8, 0);
        let length = u16::try_from(bytes.len()).unwrap();
        bytes[LENGTH_AT..LENGTH_AT + 2].copy_from_slice(&length.to_ne_bytes());
        bytes
    }

    #[test]
    fn the_numbers_of_a_listing_are_read_and_dots_passed_over() {
        let listing = [".", "..", "0", "17", "961"].map(entry).concat();
        assert_eq!(numbers(&listing).collect::<Vec<_>>(), [0, 17, 961]);
    }

    proptest! {
        #[test]
        fn garbage_ends(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(numbers(&bytes).count() <= bytes.len());
        }
    }
}

//! Control data of a message: copied, so that no thread changes it after the verdict, and walked.
//!
//! A message may carry options of its own (cmsg(3)), among them routes that lead elsewhere than its address.
//! `message` calls it where there are rules on egress.

use ringfence_records::sockets::{self, Control};

use crate::sys::{self, Buffer};

/// Length of `struct cmsghdr`, whose data follows.
const HEAD: usize = 16;
/// Longest control data: `net.core.optmem_max` is 20 KiB, or 128 since Linux 6.9.
const LONGEST: usize = 128 * 1024;

/// A copy of control data; `None` where it is longer than any kernel takes, or there is no memory.
pub(super) fn copied(address: usize, length: usize) -> Option<(Buffer, usize)> {
    if length > LONGEST {
        return None;
    }
    let mut room = Buffer::new(length).ok()?;
    let copied = sys::copy_from(address, room.bytes().get_mut(..length)?);
    copied.then_some((room, length))
}

/// Whether all messages in `control` leave a destination as it is.
pub(super) fn is_harmless(control: &[u8]) -> bool {
    messages(control).all(|(level, kind)| sockets::control(level, kind) != Control::Redirects)
}

/// Level and type of each message, as far as the kernel walks them.
fn messages(control: &[u8]) -> impl Iterator<Item = (i32, i32)> {
    let mut at = 0_usize;
    core::iter::from_fn(move || {
        let head = control.get(at..)?;
        let length = usize::try_from(u64::from_ne_bytes(*head.first_chunk()?)).ok()?;
        let level = i32::from_ne_bytes(*head.get(8..)?.first_chunk()?);
        let kind = i32::from_ne_bytes(*head.get(12..)?.first_chunk()?);
        at = at.checked_add(length.checked_next_multiple_of(8)?)?;
        (length >= HEAD).then_some((level, kind))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let length = u64::try_from(HEAD + data.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &level.to_ne_bytes(), &kind.to_ne_bytes(), data].concat();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn a_route_is_found_behind_what_is_harmless() {
        let rights = message(1, 1, &[3, 0, 0, 0]);
        let class = message(41, 67, &[1, 0, 0, 0]);
        let route = message(41, 57, &[0; 24]);
        assert!(is_harmless(&[rights.clone(), class.clone()].concat()));
        assert!(!is_harmless(&[rights, class, route.clone()].concat()));
        assert!(is_harmless(&route[..HEAD - 1]), "the kernel takes no part of a head");
        assert!(!is_harmless(&route[..HEAD]), "nor a part of the data, but that is for it to say");
    }

    proptest! {
        #[test]
        fn garbage_ends_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(messages(&bytes).count() <= bytes.len());
        }
    }
}

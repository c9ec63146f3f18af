//! The records of the log descriptor: `_LAMBDA_TELEMETRY_LOG_FD` of the managed runtimes.
//!
//! A frame is a type (4 bytes, big-endian, 0xa55a in the upper half), the length of the text (4 bytes), the time in
//! microseconds (8 bytes, if the type's second bit is set) and the text. Decides what is a frame and how long one may
//! be; must not know where the bytes come from. Called by the pipes.

/// The upper half of every type.
const MAGIC: u32 = 0xa55a;
/// Set in the type where a time follows the length.
const HAS_TIME: u32 = 2;

/// What the bytes at the beginning of a buffer are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A whole frame: where its text begins and ends.
    Whole { from: usize, to: usize },
    /// The beginning of one.
    Partial,
    /// No frame, or one whose text is longer than `longest`.
    Broken,
}

/// Looks at the beginning of `bytes`.
pub(super) fn first(bytes: &[u8], longest: usize) -> Frame {
    let Some(kind) = number(bytes, 0) else { return Frame::Partial };
    if kind >> 16 != MAGIC {
        return Frame::Broken;
    }
    let Some(length) = number(bytes, 4).and_then(|length| usize::try_from(length).ok()) else {
        return Frame::Partial;
    };
    if length > longest {
        return Frame::Broken;
    }
    let from = if kind & HAS_TIME == 0 { 8 } else { 16 };
    let to = from + length;
    if bytes.len() < to { Frame::Partial } else { Frame::Whole { from, to } }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(field.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_with_and_without_time_are_read() {
        let mut timed = vec![0xa5, 0x5a, 0, 3, 0, 0, 0, 2];
        timed.extend([0; 8]);
        timed.extend(b"hi");
        assert_eq!(first(&timed, 100), Frame::Whole { from: 16, to: 18 });
        assert_eq!(first(&timed[..17], 100), Frame::Partial);
        let old = [0xa5, 0x5a, 0, 1, 0, 0, 0, 2, b'h', b'i', b'!'];
        assert_eq!(first(&old, 100), Frame::Whole { from: 8, to: 10 });
        assert_eq!(first(&old, 1), Frame::Broken);
        assert_eq!(first(b"text", 100), Frame::Broken);
        assert_eq!(first(b"", 100), Frame::Partial);
    }

    proptest! {
        #[test]
        fn garbage_never_leads_outside(bytes in proptest::collection::vec(any::<u8>(), 0..64), head in any::<bool>()) {
            let mut bytes = bytes;
            if head && bytes.len() > 1 {
                bytes[0] = 0xa5;
                bytes[1] = 0x5a;
            }
            if let Frame::Whole { from, to } = first(&bytes, 48) {
                prop_assert!(from <= to && to <= bytes.len() && to - from <= 48);
            }
        }
    }
}

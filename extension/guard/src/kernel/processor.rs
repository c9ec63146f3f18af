//! Whether a thread waits for a processor, or for something else.
//!
//! It decides nothing; what replaces a stalled thread, and what waits for one, calls it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Whether a thread of the guard, whose own `stat` this is, waits for nothing but a processor (proc(5)).
pub(super) fn wants_processor(stat: &File) -> bool {
    let mut bytes = [0; 128];
    let length = stat.read_at(&mut bytes, 0).unwrap_or(0);
    let line = bytes.get(..length).unwrap_or_default();
    // The name before it is the guard's own.
    let state = line.iter().rposition(|byte| *byte == b')').and_then(|at| line.get(at + 2));
    state == Some(&b'R')
}

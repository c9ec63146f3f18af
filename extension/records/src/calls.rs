//! Every system call that this version has judged, with what becomes of it in each plane.
//!
//! `system-calls.txt` is the table: a line for each call, with the reason. It decides nothing by itself: tests of guard and
//! preload library hold their code against it, and docs/system-calls.md is made from it. What runs takes only [`LAST`]: both
//! planes answer ENOSYS to every number above, as a kernel without the call does, since nothing is known of it here.

/// Number of the last call in the table, the same on `x86_64` and aarch64: `listns`, Linux 6.19.
pub const LAST: usize = 470;

/// The table.
const TABLE: &str = include_str!("../system-calls.txt");

/// A call of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Its name in the kernel's headers.
    pub name: &'static str,
    /// Its number on `x86_64`.
    pub x86_64: Option<u32>,
    /// Its number on aarch64.
    pub aarch64: Option<u32>,
    /// What the process plane does: `passes`, `judged`, `refused` or `watched`.
    pub process: &'static str,
    /// What the kernel plane does: `passes`, `judged`, `refused` or `asked`.
    pub kernel: &'static str,
    /// Why.
    pub reason: &'static str,
}

impl Row {
    /// Its number on this machine.
    #[must_use]
    pub const fn here(&self) -> Option<u32> {
        if cfg!(target_arch = "x86_64") { self.x86_64 } else { self.aarch64 }
    }
}

/// The rows of the table, in the order of `x86_64`.
pub fn rows() -> impl Iterator<Item = Row> {
    TABLE.lines().filter_map(row)
}

fn row(line: &'static str) -> Option<Row> {
    let mut rest = line;
    let mut word = || {
        let (word, behind) = rest.trim_start().split_once(' ')?;
        rest = behind;
        Some(word)
    };
    let (name, x86_64, aarch64) = (word()?, word()?, word()?);
    let (process, kernel) = (word()?, word()?);
    let row = Row {
        name,
        x86_64: x86_64.parse().ok(),
        aarch64: aarch64.parse().ok(),
        process,
        kernel,
        reason: rest.trim(),
    };
    (!name.starts_with('#')).then_some(row)
}

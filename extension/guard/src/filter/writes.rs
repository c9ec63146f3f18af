//! The part of the filter that is there only where the policy speaks of files written; that on opens also where nothing
//! else keeps a child from writing the runtime's memory.
//!
//! Opens are told apart by their flags, which are registers; opens for reading pass unasked. What changes a name or a
//! length is asked about always: a path is memory. `table` adds these rules.

use libc::c_long;

use super::table::{Action, Atom, ENOSYS, Rule, case, rule};

/// `O_ACCMODE`, `O_CREAT`, `O_TRUNC` and the bit of `O_TMPFILE` that is its own: an open with one of them may write.
const WRITING: u32 = 0o3 | 0o100 | 0o1000 | 0o20_000_000;
const O_PATH: u32 = 0o10_000_000;
/// What the kernel says where Landlock was turned off when it booted.
const NO_LANDLOCK: Action = Action::Fail(libc::EOPNOTSUPP);

/// Calls on names that both architectures have.
const NAMES: &[(c_long, &str)] = &[
    (libc::SYS_truncate, "writes by name"),
    (libc::SYS_renameat2, "writes over a name, and brings a file under another"),
    (libc::SYS_renameat, "as renameat2"),
    (libc::SYS_linkat, "gives a file another name, by which it could be written"),
    (libc::SYS_symlinkat, "makes a name"),
    (libc::SYS_unlinkat, "removes a name"),
    (libc::SYS_mkdirat, "makes a name"),
    (libc::SYS_mknodat, "makes a name"),
];

/// Their forms without a directory.
#[cfg(target_arch = "x86_64")]
const OLD_NAMES: &[(c_long, &str)] = &[
    (libc::SYS_rename, "as renameat2"),
    (libc::SYS_link, "as linkat"),
    (libc::SYS_symlink, "as symlinkat"),
    (libc::SYS_unlink, "as unlinkat"),
    (libc::SYS_rmdir, "as unlinkat"),
    (libc::SYS_mkdir, "as mkdirat"),
    (libc::SYS_mknod, "as mknodat"),
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_NAMES: &[(c_long, &str)] = &[];

/// The rules on names.
pub(super) fn names() -> impl Iterator<Item = Rule> {
    NAMES.iter().chain(OLD_NAMES).map(|(call, reason)| rule(*call, vec![], Action::Ask, reason))
}

/// The rules on opens.
pub(super) fn opens() -> Vec<Rule> {
    vec![
        open(libc::SYS_openat, 2),
        #[cfg(target_arch = "x86_64")]
        open(libc::SYS_open, 1),
        #[cfg(target_arch = "x86_64")]
        rule(libc::SYS_creat, vec![], Action::Ask, "an open that writes"),
        rule(libc::SYS_openat2, vec![], ENOSYS, "its flags are in memory; callers fall back to openat"),
        rule(
            libc::SYS_landlock_create_ruleset,
            vec![],
            NO_LANDLOCK,
            "a program's own rules would not bind what the guard opens for it; it must not believe that they do",
        ),
    ]
}

fn open(call: c_long, flags: u8) -> Rule {
    rule(
        call,
        vec![
            case(vec![Atom::No(flags, WRITING)], Action::Allow),
            case(vec![Atom::Any(flags, O_PATH)], Action::Allow),
        ],
        Action::Ask,
        "tmp.writes, files.deny_write, the memory of processes: opens that write or make a file; with O_PATH the other flags mean nothing",
    )
}

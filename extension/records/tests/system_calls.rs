//! The table of system calls: complete, and what docs/system-calls.md says.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a panic is how tests fail")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use ringfence_policy::SystemCall;
use ringfence_records::calls::{LAST, Row, rows};
use ringfence_records::sockets::{CONTROLS, Control, Error, IOCTLS, OPTIONS, Planes};

#[test]
fn every_row_is_whole_and_no_number_comes_twice() {
    for number_of in [|row: &Row| row.x86_64, |row: &Row| row.aarch64] {
        let mut numbers = BTreeMap::new();
        for row in rows() {
            assert!(["passes", "judged", "refused", "watched"].contains(&row.process), "{row:?}");
            assert!(["passes", "judged", "refused", "asked"].contains(&row.kernel), "{row:?}");
            assert!(row.reason.len() >= 6 && (row.x86_64.is_some() || row.aarch64.is_some()), "{row:?}");
            if let Some(number) = number_of(&row) {
                assert_eq!(numbers.insert(number, row.name), None, "{row:?}");
            }
        }
        let last = numbers.last_key_value().map(|(number, _)| *number as usize);
        assert_eq!(last, Some(LAST));
        // All that came since the two processors share their numbers.
        assert!((424..=u32::try_from(LAST).unwrap()).all(|number| numbers.contains_key(&number)));
    }
    assert!((0..=334).all(|number| rows().any(|row| row.x86_64 == Some(number))));
}

/// The policy language has a table of its own, of names and numbers alone.
#[test]
fn the_languages_names_have_the_same_numbers() {
    let wide = |number: Option<u16>| number.map(u32::from);
    for name in SystemCall::names() {
        let known = SystemCall::named(name).map(|call| (wide(call.x86_64), wide(call.aarch64)));
        let row = rows().find(|row| row.name == name);
        assert_eq!(row.map(|row| (row.x86_64, row.aarch64)), known, "{name}");
    }
    assert_eq!(SystemCall::names().count(), rows().count());
}

/// The numbers that a header defines: `#define __NR_name number`.
fn numbers_of(header: &str) -> BTreeMap<String, u32> {
    let defined = |line: &str| {
        let mut words = line.strip_prefix("#define __NR_")?.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    };
    header.lines().filter_map(defined).collect()
}

#[test]
fn the_machines_own_kernel_headers_know_no_call_that_the_table_does_not() {
    let headers = ["/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"];
    let Some(header) = headers.iter().find_map(|path| std::fs::read_to_string(path).ok()) else {
        println!("no kernel header of x86_64 here: not compared");
        return;
    };
    let known = numbers_of(&header);
    assert!(known.len() > 300, "the header was not understood");
    for (name, number) in known {
        let row = rows().find(|row| row.x86_64 == Some(number));
        assert_eq!(row.map(|row| row.name), Some(name.as_str()), "number {number}");
    }
}

#[test]
fn a_number_that_the_table_does_not_know_is_noticed() {
    let known = numbers_of("#define __NR_read 0\n#define __NR_future_call 4711\n#define __NR_none\n");
    assert_eq!(known.len(), 2);
    assert!(!rows().any(|row| row.x86_64 == known.get("future_call").copied()));
}

fn number(number: Option<u32>) -> String {
    number.map_or_else(|| "–".to_owned(), |number| number.to_string())
}

fn page() -> String {
    let mut page = String::from(BEGINNING);
    for row in rows() {
        let (x86_64, aarch64) = (number(row.x86_64), number(row.aarch64));
        let Row { name, process, kernel, reason, .. } = row;
        writeln!(page, "| `{name}` | {x86_64} | {aarch64} | {process} | {kernel} | {reason} |").unwrap();
    }
    page.push_str(OF_OPTIONS);
    for row in OPTIONS {
        let process = if row.planes == Planes::Both { "EPERM, with a record" } else { "passes" };
        let kernel = if row.error == Error::NotSupported { "EOPNOTSUPP" } else { "EPERM" };
        let options: Vec<_> = row.options.iter().map(ToString::to_string).collect();
        let (level, options, reason) = (row.level, options.join(", "), row.reason);
        writeln!(page, "| {level} | {options} | {process} | {kernel} | {reason} |").unwrap();
    }
    page.push_str(OF_CONTROLS);
    for known in CONTROLS {
        let kernel = if known.does == Control::Harmless { "passes" } else { "EPERM" };
        writeln!(page, "| {} | {} | {} | passes | {kernel} |", known.level, known.kind, known.name).unwrap();
    }
    page.push_str(OF_IOCTLS);
    for ioctl in IOCTLS {
        writeln!(page, "| {:#x} | {} | {} |", ioctl.number, ioctl.name, ioctl.reason).unwrap();
    }
    page
}

const BEGINNING: &str = "# System calls

What becomes of every system call up to Linux 6.19, and why. This page is made from `extension/records/system-calls.txt` and
`extension/records/src/sockets.rs`:

    RINGFENCE_WRITE_DOCS=1 cargo test -p ringfence-records --test system_calls

Tests hold the preload library, the guard's filter and this page to that table, and the table to the kernel headers of the machine
that runs them. A number above the last is ENOSYS in both planes, as in a kernel that does not know it.

- **Process plane:** *passes*: made as it is. *Judged*: by its arguments. *Refused*: with a record. *Watched*: in the runtime only.
- **Kernel plane:** *passes*. *Refused*: by the filter, whatever its arguments. *Asked*: the guard decides. *Judged*: by its
  arguments, by the filter or the guard, some under certain policies only.

| Call | x86_64 | arm64 | Process plane | Kernel plane | Reason |
|---|---|---|---|---|---|
";
const OF_OPTIONS: &str = "
## Socket options

All options that are not listed pass: they choose among interfaces, sources, sizes and times.

| Level | Options | Process plane | Kernel plane | Reason |
|---|---|---|---|---|
";
const OF_CONTROLS: &str = "
## Control messages

Of messages on internet sockets. What is not listed is refused in the kernel plane; in the process plane it is refused where its
level is IP, IPv6 or SCTP.

| Level | Type | Name | Process plane | Kernel plane |
|---|---|---|---|---|
";
const OF_IOCTLS: &str = "
## ioctls

The process plane judges the first two by the process that they name, and refuses the others with a record.

| Number | Name | Reason |
|---|---|---|
";

#[test]
fn the_page_is_made_from_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/system-calls.md");
    if std::env::var_os("RINGFENCE_WRITE_DOCS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "docs/system-calls.md is not what the table says: see its first lines");
}

//! The part that evaluates compiled policies must build without the language, hence without `std` and an allocator:
//! it is linked into every process of the function.

use std::process::Command;

#[test]
fn the_crate_builds_without_the_language() {
    let target = concat!(env!("CARGO_TARGET_TMPDIR"), "/no-std");
    let output = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--no-default-features", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .env("CARGO_TARGET_DIR", target)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

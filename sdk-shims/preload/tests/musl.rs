//! The library in a process of musl, whose shapes are others than glibc's. Needs `musl-gcc` (Debian: musl-tools).
#![allow(clippy::unwrap_used, reason = "a panic is how tests fail")]

mod harness;

use std::process::Command;

use harness::World;

#[test]
fn what_glibc_programs_may_not_do_those_of_musl_may_not_either() {
    let folder = std::env::temp_dir().join("ringfence-musl");
    std::fs::create_dir_all(&folder).unwrap();
    let (source, program) = (folder.join("musl.c"), folder.join("musl"));
    std::fs::write(&source, include_str!("programs/musl.c")).unwrap();
    let Ok(built) = Command::new("musl-gcc").arg(&source).arg("-o").arg(&program).status() else {
        eprintln!("musl-gcc is not installed: nothing was tested");
        return;
    };
    assert!(built.success());
    let program = program.to_str().unwrap();
    let policy = "version = 1\nmode = \"enforce\"\n[process]\nshells = \"deny\"\n[egress]\nallow = []\n[files]\ndeny_read = [\"/proc/*/environ\"]\n";
    let world = World::new(policy);
    let control = world.bare(program, &[]);
    assert_eq!(
        control.stdout,
        "open 1 0\nfopen 1 0\nsyscall 1 0\nconnect 0 0\nsendto 1 0\nthrough\nsystem 0"
    );
    let ran = world.run(program, &[]);
    let refused = "open 0 13\nfopen 0 13\nsyscall 0 13\nconnect -1 13\nsendto -1 1\nsystem -1";
    assert_eq!(ran.stdout, refused, "{}", ran.whole());
}

//! The library in a process of musl, whose shapes are others than glibc's. Needs `musl-gcc` (Debian: musl-tools).
#![allow(clippy::unwrap_used, reason = "a panic is how tests fail")]

mod harness;

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{World, settle};

/// Compiles a C program with musl in a folder of its own; `None` where there is no musl.
fn compiled(name: &str, source: &str) -> Option<PathBuf> {
    let folder = std::env::temp_dir().join("ringfence-musl").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let (file, program) = (folder.join("program.c"), folder.join(name));
    std::fs::write(&file, source).unwrap();
    let Ok(built) = Command::new("musl-gcc").arg(&file).arg("-o").arg(&program).status() else {
        eprintln!("musl-gcc is not installed: nothing was tested");
        return None;
    };
    assert!(built.success());
    Some(program)
}

#[test]
fn what_glibc_programs_may_not_do_those_of_musl_may_not_either() {
    let Some(program) = compiled("musl", include_str!("programs/musl.c")) else { return };
    let program = program.to_str().unwrap();
    let policy = "version = 1\nmode = \"enforce\"\n[process]\nshells = \"deny\"\n[egress]\nallow = []\n[files]\ndeny_read = [\"/proc/*/environ\"]\n";
    let world = World::new(policy);
    let control = world.bare(program, &[]);
    assert_eq!(
        control.stdout,
        "open 1 0\nfopen 1 0\nsyscall 1 0\nconnect 0 0\nsendto 1 0\nuncancellable open 1 0\nuncancellable connect 0 0\nuncancellable sendto 1 0\nthrough\nsystem 0"
    );
    let ran = world.run(program, &[]);
    let refused = "open 0 13\nfopen 0 13\nsyscall 0 13\nconnect -1 13\nsendto -1 1\nuncancellable open 0 13\nuncancellable connect -1 13\nuncancellable sendto -1 1\nsystem -1";
    assert_eq!(ran.stdout, refused, "{}", ran.whole());
}

#[test]
fn an_exec_leaves_the_frame_below_the_stack_of_a_spawned_child_alone_however_many_variables_there_are() {
    let Some(program) = compiled("small_stack", include_str!("programs/small_stack.c")) else { return };
    let world = World::new("version = 1\nmode = \"enforce\"\n[process]\nshells = \"report\"\n");
    for variables in ["0", "90", "200", "1000"] {
        let ran = world.run(program.to_str().unwrap(), &["/bin/sh", variables]);
        assert_eq!(ran.stdout, "0 0", "{variables} variables: {}", ran.whole());
    }
}

/// What may not be read in `folder` is what lies in `kept`.
fn furnished(folder: &Path) -> World {
    let _ = std::fs::remove_dir_all(folder);
    for inner in ["free", "kept"] {
        std::fs::create_dir_all(folder.join(inner)).unwrap();
    }
    std::fs::write(folder.join("free/file"), "plain").unwrap();
    let policy =
        format!("version = 1\nmode = \"enforce\"\n[files]\ndeny_read = [\"{}/kept/**\"]\n", folder.display());
    World::new(&policy).with(|world| world.folder = Some(folder.to_owned()))
}

#[test]
fn whoever_moves_a_folder_in_musl_the_files_in_it_are_judged_again() {
    let Some(program) = compiled("moves", include_str!("programs/moves.c")) else { return };
    let program = program.to_str().unwrap();
    let ways = ["itself", "fork", "vfork", "spawn"];
    let worlds = ways.map(|way| {
        let folder = std::env::temp_dir().join(format!("ringfence-moves-{way}-{}", std::process::id()));
        let bare = furnished(&folder.with_extension("bare"));
        (way, furnished(&folder), bare)
    });
    let folder = worlds.last().and_then(|(_, world, _)| world.folder.as_ref()).unwrap();
    settle(&folder.join("free/file"));
    for (way, world, bare) in worlds {
        assert_eq!(bare.bare(program, &[way]).stdout, format!("{way} 0"), "without the library");
        let ran = world.run(program, &[way]);
        assert_eq!(ran.stdout, format!("{way} 13"), "{}", ran.whole());
        for world in [world, bare] {
            std::fs::remove_dir_all(world.folder.unwrap()).unwrap();
        }
    }
}

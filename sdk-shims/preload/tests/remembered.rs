//! Files that are opened again without being asked for their name: that it is so, and every way that could be thought of
//! to get from one that may be read to one that may not. Each first without the library.
#![allow(clippy::unwrap_used, reason = "a panic is how tests fail")]

mod harness;

use std::path::{Path, PathBuf};

use harness::{World, settle};
use ringfence_policy::{Phase, Rule};
use ringfence_records::message::{ActionKind, Outcome};
use ringfence_tests::skipped;

const PYTHON: &str = "/usr/bin/python3";

/// What the snippets use: files in `F`, opened often enough to be remembered, and calls past libc.
const PRELUDE: &str = include_str!("programs/remembered.py");

/// A folder with files that may be read, in `free`, and files that may not, in `kept`, some also by another name.
fn furnished(parent: &Path, name: &str) -> PathBuf {
    let folder = parent.join(format!("ringfence-remembered-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    for inner in ["free/inner", "other/inner", "kept/inner", "kept/mount"] {
        std::fs::create_dir_all(folder.join(inner)).unwrap();
    }
    for (file, text) in [
        ("free/file", "plain"),
        ("free/inner/file", "plain"),
        ("free/gone", "plain"),
        ("other/inner/file", "plain"),
        ("kept/key", "secret"),
        ("kept/inner/file", "secret"),
    ] {
        std::fs::write(folder.join(file), text).unwrap();
    }
    std::os::unix::fs::symlink("file", folder.join("free/link")).unwrap();
    std::fs::hard_link(folder.join("kept/key"), folder.join("free/key")).unwrap();
    folder
}

fn policy(folder: &Path) -> String {
    format!("version = 1\nmode = \"enforce\"\n[files]\ndeny_read = [\"{}/kept/**\"]\n", folder.display())
}

fn code(folder: &Path, attack: &str) -> String {
    PRELUDE.replace("FOLDER", folder.to_str().unwrap()) + attack
}

/// Each prints what it reads of a file that may be read at first, and has a name that may not be read in the end; or of
/// one that takes its place.
const ATTACKS: [(&str, &str); 21] = [
    ("renamed", "often('free/file'); os.rename('free/file','kept/x'); show('kept/x')"),
    ("renamed-by-native-code", "often('free/file'); call(82,b'free/file',b'kept/x'); show('kept/x')"),
    ("renamed-over", "often('free/file'); os.rename('free/file','kept/key'); show('kept/key')"),
    (
        "exchanged",
        "often('free/file'); libc.syscall(316,*swapped(b'free/file',b'kept/key')); show('kept/key')",
    ),
    (
        "exchanged-by-native-code",
        "often('free/file'); call(316,*swapped(b'free/file',b'kept/key')); show('kept/key')",
    ),
    ("linked", "often('free/file'); os.link('free/file','kept/x'); show('kept/x')"),
    (
        "linked-and-unlinked-by-native-code",
        "often('free/file'); call(86,b'free/file',b'kept/x'); call(87,b'free/file'); show('kept/x')",
    ),
    ("link-swapped", "often('free/link'); swap('free/link','../kept/key'); show('free/link')"),
    ("known-by-another-name-before", "often('free/key'); show('kept/key')"),
    ("folder-moved", "often('free/inner/file'); os.rename('free/inner','kept/x'); show('kept/x/file')"),
    (
        "folder-exchanged",
        "often('free/inner/file'); libc.syscall(316,*swapped(b'free/inner',b'kept/inner')); show('kept/inner/file')",
    ),
    (
        "folder-exchanged-by-number",
        "often('free/inner/file'); libc.syscall(316,*swapped(b'free/inner',b'other/inner')); os.rename('other','kept/x'); show('kept/x/inner/file')",
    ),
    (
        "folder-moved-by-a-thread",
        "often('free/inner/file'); thread(os.rename,'free/inner','kept/x'); show('kept/x/file')",
    ),
    (
        "folder-moved-by-a-fork",
        "often('free/inner/file'); forked(os.rename,'free/inner','kept/x'); show('kept/x/file')",
    ),
    (
        "folder-moved-by-a-fork-of-before",
        "go=later(os.rename,'free/inner','kept/x'); often('free/inner/file'); go(); show('kept/x/file')",
    ),
    (
        "folder-moved-by-a-program",
        "often('free/inner/file'); subprocess.run(['/bin/mv','free/inner','kept/x']); show('kept/x/file')",
    ),
    (
        "folder-moved-by-a-spawned-program",
        "often('free/inner/file'); os.waitpid(os.posix_spawn('/bin/mv',['mv','free/inner','kept/x'],os.environ),0); show('kept/x/file')",
    ),
    ("inode-used-again", "often('free/gone'); show(again('free/gone'))"),
    ("inode-used-again-at-once", "put('free/young'); often('free/young'); show(again('free/young'))"),
    (
        "written-through-a-mapping",
        "m=mapped('free/inner/file'); settled('free/inner/file'); often('free/inner/file'); m[:5]=b'other'; os.rename('free/inner','kept/x'); show('kept/x/file')",
    ),
    (
        "mounted",
        "alone(); often('free/inner/file'); mount('free/inner','kept/mount'); show('kept/mount/file')",
    ),
];

#[test]
fn no_file_that_was_allowed_once_opens_one_that_is_not() {
    let folders: Vec<_> = ATTACKS
        .iter()
        .map(|(name, _)| {
            ["bare", "with"].map(|how| furnished(&std::env::temp_dir(), &format!("{name}-{how}")))
        })
        .collect();
    settle(&folders.last().unwrap()[1].join("free/key"));
    for ((name, attack), [bare, with]) in ATTACKS.iter().zip(&folders) {
        let control = World::new(&policy(bare)).bare(PYTHON, &["-c", &code(bare, attack)]);
        if control.stdout == "not here" {
            skipped(&format!("{name}: {}", control.stderr));
            continue;
        }
        assert!(control.stdout.starts_with("read "), "{name} does not work without: {}", control.whole());
        let ran = World::new(&policy(with)).run(PYTHON, &["-c", &code(with, attack)]);
        assert_eq!(ran.stdout, "denied", "{name}: {}", ran.whole());
        assert!(
            ran.saw(ActionKind::OpenRead, Outcome::Blocked, Rule::FilesDenyRead),
            "{name}: {}",
            ran.whole()
        );
        for folder in [bare, with] {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }
}

/// Without /proc no name can be had, and what is not remembered is refused.
#[test]
fn a_file_that_was_opened_often_needs_no_name_any_more() {
    let folder = furnished(&std::env::temp_dir(), "known");
    settle(&folder.join("free/key"));
    let world = World::new(&policy(&folder));
    let known = |first: &str| {
        let attack = format!("alone(); {first}; hide_proc(); show('free/inner/file')");
        let control = world.bare(PYTHON, &["-c", &code(&folder, &attack)]);
        let ran = world.run(PYTHON, &["-c", &code(&folder, &attack)]);
        assert!(
            control.stdout == "read plain" || ran.stdout == control.stdout,
            "{first}: {}",
            control.whole()
        );
        ran.stdout
    };
    if known("pass") == "not here" {
        return skipped("no mount namespace can be made here");
    }
    assert_eq!(known("pass"), "denied", "it has no name");
    assert_eq!(known("often('free/inner/file')"), "read plain");
    assert_eq!(known("open('free/inner/file')"), "denied", "once is not often");
    assert_eq!(
        known("often('free/inner/file'); os.rename('other','x'); os.rename('x','other')"),
        "denied",
        "a folder has moved"
    );
    assert_eq!(known("often('free/inner/file'); forked(os.getpid)"), "denied", "there is another process");
    assert_eq!(known("forked(os.getpid); often('free/inner/file')"), "denied", "there has been one");
    assert_eq!(
        known("read_only('free'); forked(os.getpid); often('free/inner/file')"),
        "read plain",
        "nothing moves on a read-only mount, whoever is there"
    );
    assert_eq!(known("often('free/inner/file'); os.utime('free/inner/file')"), "denied", "it has changed");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// docs/limits.md: a folder that is moved past libc shows nowhere.
#[test]
fn a_folder_that_native_code_moves_takes_what_is_known_with_it() {
    let folder = furnished(&std::env::temp_dir(), "native");
    settle(&folder.join("free/key"));
    let attack = "often('free/inner/file'); call(82,b'free/inner',b'kept/x'); show('kept/x/file')";
    let ran = World::new(&policy(&folder)).run(PYTHON, &["-c", &code(&folder, attack)]);
    assert_eq!(ran.stdout, "read plain", "a listed limit that no longer holds: {}", ran.whole());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_was_allowed_in_another_phase_or_to_another_process_is_judged_again() {
    let folder = furnished(&std::env::temp_dir(), "when");
    settle(&folder.join("free/key"));
    let rules = |condition: &str| {
        format!(
            "version = 1\nmode = \"enforce\"\n[files]\ndeny_read = [\"/nowhere/**\"]\n[[rule]]\nwhen = {{ {condition} }}\nfiles.deny_read = [\"{}/free/**\"]\n",
            folder.display()
        )
    };
    let forked = code(&folder, "often('free/file'); forked(show,'free/file')");
    let world = World::new(&rules("process = \"child\""));
    assert_eq!(world.bare(PYTHON, &["-c", &forked]).stdout, "read plain");
    let ran = world.run(PYTHON, &["-c", &forked]);
    assert_eq!(ran.stdout, "denied", "a fork is a child: {}", ran.whole());

    let turned = code(&folder, "often('free/file'); turn(); show('free/file')");
    for (from, to, condition) in [
        (Phase::Init, Phase::Invoke, "phase = \"invoke\""),
        (Phase::Between, Phase::Invoke, "phase = \"invoke\""),
        (Phase::Invoke, Phase::Shutdown, "phase = \"shutdown\""),
    ] {
        let turning = |to: Phase| {
            let world = World::new(&rules(condition)).with(|world| {
                world.phase = from;
                world.turns = Some((folder.join("turn"), to));
            });
            world.run(PYTHON, &["-c", &turned])
        };
        let control = turning(from);
        assert_eq!(control.stdout, "read plain", "without another phase: {}", control.whole());
        let ran = turning(to);
        assert_eq!(ran.stdout, "denied", "{condition}: {}", ran.whole());
    }

    let scoped = code(&folder, "often('free/file'); os.kill(0x51234567,0x52460001); show('free/file')");
    if folder.starts_with("/tmp") {
        let ran = World::new(&policy(&folder)).run(PYTHON, &["-c", &scoped]);
        assert_eq!(ran.stdout, "denied", "a scope: {}", ran.whole());
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_is_let_through_with_a_record_has_one_each_time() {
    let folder = furnished(&std::env::temp_dir(), "observed");
    settle(&folder.join("free/key"));
    let policy = policy(&folder).replace("enforce", "observe");
    let code = code(&folder, "[show('kept/inner/file') for _ in range(6)]");
    let ran = World::new(&policy).run(PYTHON, &["-c", &code]);
    assert_eq!(ran.stdout, ["read secret"; 6].join("\n"), "{}", ran.whole());
    assert_eq!(ran.violations().len(), 6, "{}", ran.whole());
    std::fs::remove_dir_all(&folder).unwrap();
}

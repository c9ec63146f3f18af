//! Opens that write, and changes of names: programs get the same results as without the guard, and denied files stay.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod support;

use std::process::Output;

use ringfence_tests::skipped;
use support::{KERNEL, Profile, guarded, signals_wait, text, violations, without};

/// Runs `files.py` in a folder of its own; the folder's name is no part of the results.
fn results(run: impl FnOnce(&str) -> Output, name: &str) -> (String, Output) {
    let folder = format!("/tmp/ringfence-files-{}-{name}", std::process::id());
    let output = run(&folder);
    (text(&output.stdout).replace(&folder, "FOLDER"), output)
}

#[test]
fn programs_get_the_same_results() {
    // Without rules on writing too where opens that write are asked about all the same.
    for (profile, policy) in
        [(Profile::Open, "writes"), (Profile::Nested, "writes"), (Profile::Nested, "unruled")]
    {
        let words = |folder: &str| ["/usr/bin/python3", "@files.py", folder].map(str::to_owned);
        let bare = |folder: &str| {
            let words = words(folder);
            without(profile, &words.each_ref().map(String::as_str)).output().unwrap()
        };
        let supervised = |folder: &str| {
            let words = words(folder);
            guarded(profile, policy, &words.each_ref().map(String::as_str)).output().unwrap()
        };
        let name = format!("{}-{policy}", profile.name());
        let (expected, control) = results(bare, &format!("{name}-bare"));
        assert!(expected.ends_with("end\n"), "{expected}{}", text(&control.stderr));
        let (shown, output) = results(supervised, &format!("{name}-held"));
        let differing: Vec<_> =
            expected.lines().zip(shown.lines()).filter(|(one, other)| one != other).collect();
        assert!(differing.is_empty(), "{name}: {differing:#?}");
        assert_eq!(
            shown.lines().count(),
            expected.lines().count(),
            "{name}: {shown}{}",
            text(&output.stderr)
        );
        assert_eq!(violations(&output), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn signals_make_nothing_happen_twice() {
    if !signals_wait() {
        return skipped("WAIT_KILLABLE_RECV is missing here");
    }
    let runs = KERNEL.into_iter().flat_map(|profile| [(profile, "writes"), (profile, "unruled")]);
    for (profile, policy) in runs {
        let folder = format!("/tmp/ringfence-interrupted-{}-{}-{policy}", std::process::id(), profile.name());
        let words = ["/usr/bin/python3", "@interrupted.py", &folder];
        let output = guarded(profile, policy, &words).output().unwrap();
        assert_eq!(text(&output.stdout), "wrong {}\n", "{profile:?}, {policy}: {}", text(&output.stderr));
    }
}

/// Raw calls, since a library that refuses would hide what the kernel plane does.
#[test]
fn rules_on_procfs_alone_hold_and_changes_of_names_elsewhere_are_not_asked_about() {
    const CODE: &str = r"
import ctypes, os, sys
folder = sys.argv[1]; os.mkdir(folder); os.symlink('/proc/self/comm', folder + '/link')
libc = ctypes.CDLL(None, use_errno=True)
for path in ('/proc/self/comm', folder + '/link', '/proc/thread-self/comm'):
    ctypes.set_errno(0)
    opened = libc.syscall(257, -100, path.encode(), os.O_WRONLY)
    if opened >= 0: os.write(opened, b'taken')
    print(ctypes.get_errno())
print(open('/proc/self/comm').read().strip())
file = folder + '/file'
os.close(os.open(file, os.O_WRONLY | os.O_CREAT)); os.rename(file, file + '2'); os.unlink(file + '2')
os.unlink(folder + '/link'); os.rmdir(folder); print('end')
";
    for profile in KERNEL {
        let folder = format!("/tmp/ringfence-procfs-{}-{}", std::process::id(), profile.name());
        let words = ["/usr/bin/python3", "-c", CODE, &folder];
        let bare = text(&without(profile, &words).output().unwrap().stdout);
        assert_eq!(bare, "0\n0\n0\ntaken\nend\n", "{profile:?}: it works without the guard");
        let output = guarded(profile, "procfs", &words).output().unwrap();
        assert_eq!(
            text(&output.stdout),
            "13\n13\n13\npython3\nend\n",
            "{profile:?}: {}",
            text(&output.stderr)
        );
        if profile == Profile::Nested {
            // No Landlock there: the guard judges, and writes down.
            let told = violations(&output);
            assert!(told.iter().any(|line| line.contains(r#""rule":"files.deny_write""#)), "{told:?}");
        }
    }
}

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

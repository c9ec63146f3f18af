//! Signals to programs whose calls wait for the guard: they see of it what they would see without.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod support;

use std::process::Output;

use support::{KERNEL, Profile, guarded, signals_wait, text, without};

fn folder(name: &str) -> String {
    format!("/tmp/ringfence-signals-{}-{name}", std::process::id())
}

/// Runs `signals.c` with a folder of its own.
fn shown(run: impl FnOnce(&str) -> Output, name: &str) -> String {
    let folder = folder(name);
    let output = run(&folder);
    let _ = std::fs::remove_dir_all(&folder);
    assert!(output.status.success(), "{name}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_signal_ends_a_call_that_waits_as_it_would_without_the_guard() {
    if !signals_wait() {
        println!("skipped: WAIT_KILLABLE_RECV is missing here");
        return;
    }
    let bare = shown(|folder| without(KERNEL[0], &["@signals", folder]).output().unwrap(), "bare");
    assert!(bare.contains("connect TCP, kill, interrupting: EINTR, handled 1 while it waited\n"), "{bare}");
    assert!(bare.contains("connect TCP, kill, restarting: done, handled 1 while it waited\n"), "{bare}");
    assert!(bare.contains("connect TCP, blocked: done, handled 0\n"), "{bare}");
    for profile in KERNEL {
        let run = |folder: &str| guarded(profile, "writes", &["@signals", folder]).output().unwrap();
        let held = shown(run, profile.name());
        // Without pidfd_getfd(2) there is no sendmsg on half of a pair (docs/kernel-plane.md).
        let known = |line: &&str| profile == Profile::Open || !line.starts_with("sendmsg");
        let bare: Vec<_> = bare.lines().filter(known).collect();
        let held: Vec<_> = held.lines().filter(known).collect();
        let differing: Vec<_> = bare.iter().zip(&held).filter(|(one, other)| one != other).collect();
        assert!(differing.is_empty(), "{profile:?}: {differing:#?}");
        assert_eq!(held.len(), bare.len(), "{profile:?}: {held:?}");
    }
}

#[test]
fn no_connection_is_lost_in_a_storm_of_signals() {
    const RIGHT: &str = "wrong 0, lost 0, many\n";
    if !signals_wait() {
        println!("skipped: WAIT_KILLABLE_RECV is missing here");
        return;
    }
    let bare = shown(|folder| without(KERNEL[0], &["@signals", folder, "storm"]).output().unwrap(), "calm");
    assert_eq!(bare, RIGHT.repeat(4));
    for profile in KERNEL {
        let run = |folder: &str| guarded(profile, "races", &["@signals", folder, "storm"]).output().unwrap();
        assert_eq!(shown(run, &format!("{}-storm", profile.name())), RIGHT.repeat(4), "{profile:?}");
    }
}

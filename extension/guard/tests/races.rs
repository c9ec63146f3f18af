//! Attacks on the time between check and use: each is first shown to work without the guard.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod support;

use support::{KERNEL, Profile, guarded, text, violations, without};

/// Tries, what reached what is allowed, what reached what is forbidden.
fn run(mut command: std::process::Command) -> (u64, u64, u64) {
    let output = command.output().unwrap();
    let shown = text(&output.stdout);
    let numbers: Vec<u64> = shown.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let [tries, allowed, forbidden] = numbers[..] else {
        panic!("{:?}: {shown}{}", output.status, text(&output.stderr));
    };
    (tries, allowed, forbidden)
}

fn attack(arguments: &[&str], some_are_allowed: bool) {
    let command = [&["@race"], arguments].concat();
    let control = [&["@race", "control"], arguments].concat();
    let (_, _, reached) = run(without(Profile::Open, &control));
    assert!(reached > 0, "{arguments:?}: the attack does not work even without the guard");
    for profile in KERNEL {
        let (tries, allowed, forbidden) = run(guarded(profile, "races", &command));
        assert_eq!(forbidden, 0, "{arguments:?} in {profile:?}: {forbidden} of {tries} got through");
        assert_eq!(allowed > 0, some_are_allowed, "{arguments:?} in {profile:?}: {allowed} of {tries}");
    }
}

#[test]
fn the_address_of_a_connect_is_swapped() {
    attack(&["connect"], true);
}

#[test]
fn the_family_of_an_address_is_swapped() {
    attack(&["family"], false);
}

#[test]
fn the_socket_under_a_number_is_swapped() {
    attack(&["dup2"], false);
}

#[test]
fn the_address_of_a_datagram_is_swapped() {
    attack(&["sendto"], true);
    attack(&["sendmsg"], true);
    attack(&["sendmmsg"], true);
}

#[test]
fn the_path_of_an_exec_is_swapped() {
    attack(&["exec", "@mark"], false);
    // The runtime's own file, which is no stranger, but was not what was allowed.
    attack(&["exec", "@race"], false);
}

#[test]
fn what_may_not_be_read_does_not_stay() {
    let bare = text(&without(Profile::Open, &["@hidden"]).output().unwrap().stdout);
    assert_eq!(bare, "2 0\n", "the attack does not work even without the guard");
    for profile in KERNEL {
        let output = guarded(profile, "races", &["@hidden"]).output().unwrap();
        assert_eq!(text(&output.stdout), "0 2\n", "{profile:?}");
        let records = violations(&output).join("\n");
        assert!(records.contains("ringfence killed exec of (a file that may not be read)"), "{records}");
    }
}

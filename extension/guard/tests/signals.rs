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

use ringfence_tests::skipped;
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
        return skipped("WAIT_KILLABLE_RECV is missing here");
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
        return skipped("WAIT_KILLABLE_RECV is missing here");
    }
    let bare = shown(|folder| without(KERNEL[0], &["@signals", folder, "storm"]).output().unwrap(), "calm");
    assert_eq!(bare, RIGHT.repeat(4));
    for profile in KERNEL {
        let run = |folder: &str| guarded(profile, "races", &["@signals", folder, "storm"]).output().unwrap();
        assert_eq!(shown(run, &format!("{}-storm", profile.name())), RIGHT.repeat(4), "{profile:?}");
    }
}

#[test]
fn a_connect_that_a_signal_ends_goes_on_by_itself() {
    const RIGHT: &str = "EINTR, ready, sent 1, ended\n";
    if !signals_wait() {
        return skipped("WAIT_KILLABLE_RECV is missing here");
    }
    let bare = shown(|folder| without(KERNEL[0], &["@signals", folder, "leave"]).output().unwrap(), "left");
    assert_eq!(bare, RIGHT);
    for profile in KERNEL {
        let run = |folder: &str| guarded(profile, "races", &["@signals", folder, "leave"]).output().unwrap();
        assert_eq!(shown(run, &format!("{}-left", profile.name())), RIGHT, "{profile:?}");
    }
}

#[test]
fn those_whose_turn_has_not_come_take_their_signals_too() {
    if !signals_wait() {
        return skipped("WAIT_KILLABLE_RECV is missing here");
    }
    for profile in KERNEL {
        let run = |folder: &str| guarded(profile, "races", &["@signals", folder, "crowd"]).output().unwrap();
        assert_eq!(shown(run, &format!("{}-crowd", profile.name())), "110 of 110\n", "{profile:?}");
    }
}

/// A handler that raises, as programs put a limit on what has none. Where it does not come in time the connect ends
/// otherwise, by another's help.
const ALARMED: &str = "import signal, socket, threading
server = socket.socket(); server.bind(('127.0.0.1', 0)); server.listen(0)
filling = socket.create_connection(server.getsockname())
def late(*_): raise TimeoutError('alarm')
signal.signal(signal.SIGALRM, late)
help = threading.Timer(8, server.accept); help.daemon = True; help.start()
signal.setitimer(signal.ITIMER_REAL, 0.3)
try: print(socket.socket().connect(server.getsockname()), flush=True)
except OSError as error: print(repr(error), flush=True)
";

#[test]
fn an_alarm_with_a_handler_that_raises_ends_a_connect() {
    const RIGHT: &str = "TimeoutError('alarm')\n";
    if !signals_wait() {
        return skipped("WAIT_KILLABLE_RECV is missing here");
    }
    let arguments = ["/usr/bin/python3", "-c", ALARMED];
    assert_eq!(text(&without(KERNEL[0], &arguments).output().unwrap().stdout), RIGHT);
    for profile in KERNEL {
        let output = guarded(profile, "races", &arguments).output().unwrap();
        assert_eq!(text(&output.stdout), RIGHT, "{profile:?}: {}", text(&output.stderr));
    }
}

/// A thread that is not about to take a signal must not be told that it is: it would see the number by which the kernel is
/// told to make a call again.
#[test]
fn a_signal_that_others_may_take_ends_no_call_in_a_wrong_way() {
    const RIGHT: &str = "0 are wrong, many\n";
    if !signals_wait() {
        return skipped("WAIT_KILLABLE_RECV is missing here");
    }
    let run =
        |folder: &str| guarded(Profile::Open, "races", &["@signals", folder, "contend"]).output().unwrap();
    assert_eq!(shown(run, "contend"), RIGHT.repeat(4));
}

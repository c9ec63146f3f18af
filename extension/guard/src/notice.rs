//! What the guard says on standard error where there is no agent to tell: record lines.
//!
//! It formats through the records crate, with the values of the credential variables masked, and decides nothing.
//! The launcher and the supervisor call it.

use std::env;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::ffi::OsStringExt;
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ringfence_policy::{CREDENTIAL_VARIABLES, Phase};
use ringfence_records::message::Report;
use ringfence_records::record::{Degraded, MAX_VIOLATION, Moment, Record, Scene, Violation};
use ringfence_records::redact::Redactor;
use ringfence_records::time::Timestamp;

use crate::sys::descriptor::{Wait, poll};

/// How long a line may wait for room on standard error; whoever is supervised waits meanwhile.
const PATIENCE: Duration = Duration::from_millis(10);
const STEP: Duration = Duration::from_millis(1);
static WRITING: Mutex<()> = Mutex::new(());

/// The present time of the clock.
#[must_use]
pub fn now() -> Timestamp {
    let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_clock(age.as_secs(), age.subsec_nanos())
}

/// A protection that should be there is not.
pub fn degraded(detail: &str) {
    let _ = print(|scene| {
        let moment = Moment::new(now(), Phase::Init);
        let record = Degraded { scene, moment, part: "guard", detail: detail.as_bytes(), count: 1 };
        let mut buffer = vec![0; MAX_VIOLATION];
        record.line(&mut buffer).map(<[u8]>::to_vec)
    });
}

/// A verdict other than allow. Returns whether it was written.
pub fn violation(report: &Report<'_>, moment: Moment<'_>, policy: &[u8]) -> bool {
    print(|scene| {
        let mut buffer = vec![0; MAX_VIOLATION];
        let record = Violation::new(Scene { policy, ..scene }, moment, report);
        record.line(&mut buffer).map(<[u8]>::to_vec)
    })
}

fn print(line: impl FnOnce(Scene<'_>) -> Option<Vec<u8>>) -> bool {
    let secrets: Vec<Vec<u8>> =
        CREDENTIAL_VARIABLES.iter().filter_map(env::var_os).map(OsStringExt::into_vec).collect();
    let secrets: Vec<&[u8]> = secrets.iter().map(Vec::as_slice).collect();
    let redactor = Redactor::new(&secrets);
    let function = env::var_os("AWS_LAMBDA_FUNCTION_NAME").map(OsStringExt::into_vec).unwrap_or_default();
    let version = env::var_os("AWS_LAMBDA_FUNCTION_VERSION").map(OsStringExt::into_vec).unwrap_or_default();
    let scene = Scene { redactor: &redactor, function: &function, version: &version, policy: &[] };
    line(scene)
        .is_some_and(|line| take_turn(&WRITING).is_some_and(|_turn| write_soon(std::io::stderr(), &line)))
}

/// Lines are written one after the other. Somebody may be kept waiting in the middle of his, so nobody waits long.
fn take_turn(writing: &Mutex<()>) -> Option<MutexGuard<'_, ()>> {
    let begun = Instant::now();
    loop {
        match writing.try_lock() {
            Ok(turn) => return Some(turn),
            Err(TryLockError::Poisoned(turn)) => return Some(turn.into_inner()),
            Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => thread::sleep(STEP),
            Err(TryLockError::WouldBlock) => return None,
        }
    }
}

/// Writes a line where there is room for it soon. The function shares the file: it may fill it without end, and make
/// writes to it wait for whoever reads, or not wait at all.
fn write_soon<F: AsFd + Write>(mut file: F, line: &[u8]) -> bool {
    let begun = Instant::now();
    let mut rest = line;
    while !rest.is_empty() {
        let left = PATIENCE.saturating_sub(begun.elapsed()).as_millis();
        let mut wait = [Wait::writable(file.as_fd().as_raw_fd())];
        let waited = poll(&mut wait, i32::try_from(left).unwrap_or(0));
        if waited.is_err() || wait.iter().all(|wait| !wait.ready_or_closed()) {
            return false;
        }
        match file.write(rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock && left > 0 => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::descriptor;

    #[test]
    fn nobody_waits_long_for_who_is_kept_in_the_middle_of_a_line() {
        let writing = Mutex::new(());
        let turn = take_turn(&writing).unwrap();
        assert!(take_turn(&writing).is_none());
        drop(turn);
        assert!(take_turn(&writing).is_some());
    }

    #[test]
    fn a_line_for_which_there_is_no_room_is_given_up() {
        let (reader, writer) = descriptor::pipe().unwrap();
        let (mut reader, writer) = (std::fs::File::from(reader), std::fs::File::from(writer));
        assert!(write_soon(&writer, b"a line that fits"));
        while write_soon(&writer, &[b'x'; 4096]) {}
        assert!(!write_soon(&writer, b"line"));
        std::io::Read::read_exact(&mut reader, &mut [0; 8192]).unwrap();
        assert!(write_soon(&writer, b"line"), "as soon as there is");
    }
}

//! What the guard says on standard error where there is no agent to tell: record lines.
//!
//! It formats through the records crate, with the values of the credential variables masked, and decides nothing.
//! The launcher and the supervisor call it.

use std::env;
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt;
use std::time::{SystemTime, UNIX_EPOCH};

use ringfence_policy::{CREDENTIAL_VARIABLES, Phase};
use ringfence_records::message::Report;
use ringfence_records::record::{Degraded, MAX_VIOLATION, Moment, Record, Scene, Violation};
use ringfence_records::redact::Redactor;
use ringfence_records::time::Timestamp;

/// The present time of the clock.
#[must_use]
pub fn now() -> Timestamp {
    let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_clock(age.as_secs(), age.subsec_nanos())
}

/// A protection that should be there is not.
pub fn degraded(detail: &str) {
    print(|scene| {
        let moment = Moment::new(now(), Phase::Init);
        let record = Degraded { scene, moment, part: "guard", detail: detail.as_bytes(), count: 1 };
        let mut buffer = vec![0; MAX_VIOLATION];
        record.line(&mut buffer).map(<[u8]>::to_vec)
    });
}

/// A verdict other than allow.
pub fn violation(report: &Report<'_>, moment: Moment<'_>, policy: &[u8]) {
    print(|scene| {
        let mut buffer = vec![0; MAX_VIOLATION];
        let record = Violation::new(Scene { policy, ..scene }, moment, report);
        record.line(&mut buffer).map(<[u8]>::to_vec)
    });
}

fn print(line: impl FnOnce(Scene<'_>) -> Option<Vec<u8>>) {
    let secrets: Vec<Vec<u8>> =
        CREDENTIAL_VARIABLES.iter().filter_map(env::var_os).map(OsStringExt::into_vec).collect();
    let secrets: Vec<&[u8]> = secrets.iter().map(Vec::as_slice).collect();
    let redactor = Redactor::new(&secrets);
    let function = env::var_os("AWS_LAMBDA_FUNCTION_NAME").map(OsStringExt::into_vec).unwrap_or_default();
    let version = env::var_os("AWS_LAMBDA_FUNCTION_VERSION").map(OsStringExt::into_vec).unwrap_or_default();
    let scene = Scene { redactor: &redactor, function: &function, version: &version, policy: &[] };
    if let Some(line) = line(scene) {
        let _ = std::io::stderr().write_all(&line);
    }
}

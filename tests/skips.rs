//! How a test says that it did not run: `skipped` decides where that is written. Called by tests that need what a machine
//! may not have. It knows nothing of what they test.

use std::io::Write as _;

/// Where `scripts/test` collects what did not run: a file, since cargo shows what a test prints only if it fails.
const FILE: &str = "RINGFENCE_SKIPS";

/// Says that the calling test ends here without having tested anything, and what is missing.
pub fn skipped(reason: &str) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {reason}\n", thread.name().unwrap_or("a test"));
    eprint!("{line}");
    if let Some(path) = std::env::var_os(FILE) {
        let written = std::fs::OpenOptions::new().append(true).create(true).open(path);
        // One call for a line: tests run at the same time.
        if let Err(error) = written.and_then(|mut file| file.write_all(line.as_bytes())) {
            eprintln!("{FILE}: {error}");
        }
    }
}

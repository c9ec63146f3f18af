//! Learning from a run while it goes on: a writer that passes output on and takes the records out of it.
//!
//! It keeps one line at most. What a record means is [`super::evidence`]'s.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::draft::{self, Title};
use super::evidence::Evidence;
use super::{replace, update, warn};
use crate::logs::{self, Review};
use crate::policy::Given;

/// Longest line that is looked at, in bytes: a record has at most 16 KiB, and the local Lambda wraps it.
const MAX_LINE: usize = 256 * 1024;

#[derive(Default)]
struct Seen {
    review: Review,
    evidence: Evidence,
    line: Vec<u8>,
    lines: u64,
}

impl Seen {
    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + piece.len() <= MAX_LINE {
                self.line.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") {
                self.lines += 1;
                let evidence = &mut self.evidence;
                logs::take_line(&self.line, "the run", self.lines, &mut self.review, &mut |record| {
                    evidence.take(record);
                });
                self.line.clear();
            }
        }
    }
}

/// What a run told so far.
#[derive(Clone, Default)]
pub(crate) struct Learner(Arc<Mutex<Seen>>);

/// Passes output on to `output`.
pub(crate) struct Tee<W> {
    learner: Learner,
    output: W,
}

impl Learner {
    /// A writer that passes all on and learns from it.
    pub(crate) fn tee<W: Write>(&self, output: W) -> Tee<W> {
        Tee { learner: self.clone(), output }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the policy to `file`, or widens the one that is there.
    pub(crate) fn write(&self, file: &Path) -> ExitCode {
        let seen = self.seen();
        warn(&seen.review, &seen.evidence);
        let known = seen.evidence.together();
        if known.environments == 0 {
            eprintln!(
                "ringfence learn: no policy, since the run has no record `protection`: is the layer on?"
            );
            return ExitCode::FAILURE;
        }
        let name = file.display();
        let written = if file.exists() {
            Given::open(file).map_err(|(error, _)| error).and_then(|given| {
                let updated = update::update(&given, &known, None)?;
                for line in updated.changes.iter().chain(&updated.notes) {
                    eprintln!("ringfence learn: {name}: {line}");
                }
                replace(file, &updated.text).map_err(|error| format!("{name}: {error}"))
            })
        } else {
            let draft = draft::policy(&known, &Title { function: "", mode: "enforce", accept: false });
            for line in &draft.refused {
                eprintln!("ringfence learn: not allowed: {line}");
            }
            std::fs::write(file, draft.text).map_err(|error| format!("{name}: {error}"))
        };
        for line in known.incomplete() {
            eprintln!("ringfence learn: the policy is incomplete: {line}");
        }
        match written {
            Ok(()) => {
                eprintln!("ringfence learn: {name} is written");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("ringfence learn: {error}");
                ExitCode::from(3)
            }
        }
    }
}

impl<W: Write> Write for Tee<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.output.write(bytes)?;
        self.learner.seen().take(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

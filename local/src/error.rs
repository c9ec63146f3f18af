//! Why a local run could not be had, and the exit status that says so.
//!
//! Every failure names the step, the thing it failed on and, where there is one, what to do next.
//! Called by everything; knows nothing but paths and reasons.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// A reason for which no function could be run.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// What the user asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A file that was asked for cannot be used.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was wrong with it.
        reason: String,
    },
    /// The machine does not offer what a sandbox needs.
    #[error("cannot build the environment: {step}: {reason}")]
    Environment {
        /// What was being done.
        step: String,
        /// The system's answer, and what is missing.
        reason: String,
    },
    /// The user pressed Ctrl-C, or the process was asked to end.
    #[error("interrupted")]
    Interrupted,
}

impl LocalError {
    /// An environment error from a failed step.
    pub fn environment(step: impl Into<String>, reason: impl Display) -> Self {
        Self::Environment { step: step.into(), reason: reason.to_string() }
    }

    /// A file that cannot be read, written or understood.
    pub fn file(path: &Path, reason: impl Display) -> Self {
        Self::File { path: path.to_path_buf(), reason: reason.to_string() }
    }

    /// The exit status of `ringfence local invoke` for this error: 2 usage, 3 environment, 130 interrupted.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::File { .. } | Self::Environment { .. } => 3,
            Self::Interrupted => 130,
        }
    }
}

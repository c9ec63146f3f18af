//! A runtime that is ready, and what a language is asked for to make it so.
//!
//! It decides nothing; [`super::prepare`] and the languages pass it to one another.

use std::path::{Path, PathBuf};

use crate::sandbox::plan::Lang;

/// A runtime that is ready to be mounted and started.
#[derive(Debug)]
pub(crate) struct RuntimeSetup {
    /// Becomes /var/runtime.
    pub(crate) directory: PathBuf,
    pub(crate) lang: Lang,
    pub(crate) argv: Vec<String>,
    /// For platform.initStart.
    pub(crate) version: String,
    /// Whether it is started by a bootstrap that honours AWS_LAMBDA_EXEC_WRAPPER.
    pub(crate) honours_wrapper: bool,
    /// Whether the managed runtimes' own directories are on its search paths.
    pub(crate) managed: bool,
    /// The text of /lambda-entrypoint.sh, where there is one.
    pub(crate) entrypoint: Option<&'static str>,
}

impl RuntimeSetup {
    /// A managed runtime with `directory` at /var/runtime.
    pub(super) fn managed(directory: PathBuf) -> Self {
        Self {
            directory,
            lang: Lang::default(),
            argv: vec!["/var/runtime/bootstrap".into()],
            version: String::new(),
            honours_wrapper: true,
            managed: true,
            entrypoint: None,
        }
    }
}

/// What a language is asked for.
pub(super) struct Request<'a> {
    /// The version as Lambda's identifier spells it; `None` takes what is on PATH.
    pub(super) version: Option<&'static str>,
    /// The program to take in place of one on PATH.
    pub(super) interpreter: Option<&'a Path>,
}

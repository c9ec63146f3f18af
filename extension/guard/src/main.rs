//! `ringfence-exec`: the launcher in front of the runtime, and the supervisor of the kernel plane.
mod filter;
mod kernel;
mod launch;
mod notice;
mod program;
mod sys;
mod text;

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(u8::try_from(launch::run()).unwrap_or(1))
}

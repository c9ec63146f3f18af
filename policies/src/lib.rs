//! The policy language of Ringfence: what a rule means, the same in every plane.
//!
//! - [`Policy`] is the typed form: parsed from TOML with diagnostics that point at their place, printed, judged.
//! - [`CompiledPolicy`] is the same policy as flat bytes, for processes that may not allocate.
//! - [`Action`], [`Context`] and [`Verdict`] are what planes ask with and are answered with.
//!
//! Pure: no I/O, no clock, no unsafe code. Without the feature `language` the crate is `no_std` and only evaluates
//! compiled policies.
#![cfg_attr(not(feature = "language"), no_std)]

mod action;
mod calls;
mod compiled;
mod embedded;
mod glob;
#[cfg(feature = "language")]
mod language;
#[cfg(feature = "language")]
mod log;
#[cfg(feature = "language")]
mod variables;
mod vocabulary;

pub use action::{
    Action, Context, Decision, Destination, Exec, Linkage, Origin, Phase, Plane, Role, Rule, Transport,
    Verdict,
};
pub use calls::SystemCall;
pub use compiled::{CompiledError, CompiledPolicy, Limits, SyscallProfile};
pub use embedded::embedded;
#[cfg(feature = "language")]
pub use language::*;
#[cfg(feature = "language")]
pub use log::{LOG_PARTS, LogFilter, LogLevel};
#[cfg(feature = "language")]
pub use variables::trouble_with_variable;
pub use vocabulary::{
    CREDENTIAL_VARIABLES, SHELLS, WRITABLE_PLACES, is_in_writable_place, is_shell, is_trusted_name,
};

//! The Lambda service of one run: Runtime, Extensions and Telemetry APIs, the log stream and the life cycle.
//!
//! Decides what Lambda decides; must not know name spaces, mounts or files. Called by [`crate::run`].

mod credentials;
mod extensions_api;
mod frames;
pub(crate) mod invoke;
pub(crate) mod launch;
pub(crate) mod lifecycle;
pub(crate) mod pipes;
pub(crate) mod records;
mod runtime_api;
pub(crate) mod server;
pub(crate) mod state;
pub(crate) mod telemetry;
mod telemetry_api;

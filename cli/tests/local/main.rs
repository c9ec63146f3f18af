//! The local Lambda service from outside: what `ringfence local invoke` promises, on its command line and its output.
//!
//! Every test writes a small function, runs the program, and reads its JSON lines. As root the program isolates by
//! itself, otherwise through an unprivileged user name space: the tests are the same.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic is how a test fails; an absent JSON field is null"
)]

mod client;
mod extensions;
mod invocations;
mod isolation;
mod network;
mod run;
mod runtimes;
mod usage;

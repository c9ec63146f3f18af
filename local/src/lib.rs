//! A Lambda service on one machine: the real layer, real runtime clients, the real APIs, in a sandbox that is as narrow
//! as Lambda's is known to be.
//!
//! [`run::invoke`] is the whole of it: it reads [`options::Options`], lays out files ([`layer`], `runtime`), builds a
//! [`sandbox`] in name spaces of its own, and serves it (`service`) until every event is answered. docs/local.md is the
//! user's view, with what differs from Lambda.
//!
//! **Invariants.** Nothing is written outside the run's temporary directory and the cache. Every wait has a deadline.
//! The end of the calling process, however it comes, ends everything in the sandbox. No unsafe code.

pub mod clock;
pub mod error;
pub mod http;
pub mod layer;
pub mod options;
pub mod run;
mod runtime;
pub mod sandbox;
mod service;
mod world;

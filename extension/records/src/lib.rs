//! What Ringfence's processes say to one another and to people.
//!
//! - [`wire`]: the field encoding that every message uses, bounded and safe to decode from hostile bytes.
//! - [`message`]: the messages themselves, between guard, agent, preload library and language shims.
//! - [`page`]: the state page, which the agent writes and every process of the function reads without asking.
//! - [`handoff`]: the sealed page by which the guard hands policy and addresses down to the preload library.
//! - [`hook`]: what brings a language hook into a program.
//! - [`record`]: the lines that users read, written with [`json`], [`time`] and, for all that may hold a secret,
//!   [`redact`].
//! - [`claim`]: which of the messages a process of the function may send.
//! - [`sockets`] and [`calls`]: what both planes know of socket options, control messages and system calls.
//!
//! The crate is `no_std` and allocates nothing: the preload library links it.
#![cfg_attr(not(test), no_std)]

mod address;
pub mod calls;
pub mod claim;
pub mod clients;
mod coverage;
pub mod handoff;
pub mod hook;
pub mod json;
pub mod message;
pub mod page;
pub mod record;
pub mod redact;
pub mod seal;
pub mod sockets;
pub mod time;
pub mod wire;

//! The policy language of Ringfence: what a rule means, the same in every plane.
#![cfg_attr(not(feature = "language"), no_std)]

mod action;

pub use action::{
    Action, Context, Decision, Destination, Exec, Linkage, Origin, Phase, Plane, Role, Rule, Transport, Verdict,
};

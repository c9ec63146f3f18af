//! The process plane.

//! A Lambda service on one machine.

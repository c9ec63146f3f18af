//! Messages of sendmsg(2) as the guard reads them from a target's memory: here from memory of its own.
#![no_main]
#![expect(dead_code, reason = "the guard's own modules, of which not everything is called here")]

mod kernel;
#[path = "../../extension/guard/src/sys/mod.rs"]
mod sys;
#[path = "../../extension/guard/src/text.rs"]
mod text;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| kernel::read(bytes));

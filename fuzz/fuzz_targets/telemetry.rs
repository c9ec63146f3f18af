//! Bodies of the platform: batches of telemetry, which any process of the function could forge, and events.
#![no_main]

#[path = "../../extension/agent/src/platform/event.rs"]
mod event;
#[path = "../../extension/agent/src/telemetry/event.rs"]
mod telemetry;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let events = telemetry::parse(body);
    // An event takes two bytes of JSON at least, and a comma.
    assert!(events.len() <= body.len() / 2);
    let _ = event::parse(body);
});

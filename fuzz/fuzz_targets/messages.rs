//! Messages to the agent, from processes that may be hostile: a report that is read can be written and is the same again.
#![no_main]

#[path = "../../extension/agent/src/control/hello.rs"]
mod hello;

use libfuzzer_sys::fuzz_target;
use ringfence_records::message::{CoverageLine, Report, decode_address};
use ringfence_records::time::Timestamp;
use ringfence_records::wire::{MAX_MESSAGE, Message};
use ringfence_records::{claim, hook};

fuzz_target!(|bytes: &[u8]| {
    if let Some(message) = Message::parse(bytes) {
        message.fields().for_each(drop);
    }
    if let Some(hello) = hello::Hello::decode(bytes) {
        hello.coverage().for_each(drop);
    }
    let _ = (CoverageLine::read(bytes), decode_address(bytes), Timestamp::parse(bytes));
    hook::entries(bytes).for_each(drop);
    let Some(report) = Report::decode(bytes) else { return };
    let _ = claim::forgery(&report);
    let _ = report.descends_from(report.pid);
    // Writing shortens what is too long, so what is compared is what was written once.
    let (mut first, mut second) = ([0; MAX_MESSAGE], [0; MAX_MESSAGE]);
    let Some(written) = report.encode(&mut first) else { return };
    let again = Report::decode(written).expect("a report that was written is read");
    assert_eq!(again.encode(&mut second).map(<[u8]>::to_vec), Some(written.to_vec()));
});

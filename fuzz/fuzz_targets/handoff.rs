//! The two pages that every process of the function maps: the handoff, and the state page.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::AtomicU32;

use libfuzzer_sys::fuzz_target;
use ringfence_records::handoff::Handoff;
use ringfence_records::hook::entries;
use ringfence_records::page::View;

fuzz_target!(|bytes: &[u8]| {
    let words = bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    let page: Vec<AtomicU32> = words.map(AtomicU32::new).collect();
    if let Some(view) = View::new(&page[..]) {
        let mut names = [0; 32];
        assert!(view.names(IpAddr::V4(Ipv4Addr::LOCALHOST), &mut names) <= names.len());
        let _ = (view.phase(), view.poller());
        if let Some(invocation) = view.invocation() {
            let _ = invocation.request();
        }
    }
    let Some(handoff) = Handoff::decode(bytes) else { return };
    entries(handoff.hook).for_each(drop);
    let _ = handoff.leads_to_api(([127, 0, 0, 1], 9001).into());
    let mut written = Vec::new();
    handoff.encode(|part| written.extend_from_slice(part));
    let again = Handoff::decode(&written).expect("a handoff that was written is read");
    let mut twice = Vec::new();
    again.encode(|part| twice.extend_from_slice(part));
    assert_eq!(written, twice);
});

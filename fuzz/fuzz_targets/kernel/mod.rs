//! The guard's modules that take a message apart, at the place where they expect each other.

#[path = "../../../extension/guard/src/kernel/address.rs"]
mod address;
#[path = "../../../extension/guard/src/kernel/arguments.rs"]
mod arguments;
#[path = "../../../extension/guard/src/kernel/message.rs"]
mod message;

use std::net::SocketAddr;

use address::{Encoded, Internet, canonical};
use message::{HEADER, Header};
use ringfence_records::sockets::{control, is_refused, is_refused_ioctl};

/// Reads `bytes` as an address, and as a header whose pointers lead into `bytes` where their low bytes do.
pub fn read(bytes: &[u8]) {
    for domain in [libc::AF_INET, libc::AF_INET6] {
        for unspecified_is_inet in [false, true] {
            if let Ok(Internet::At(address)) = Internet::parse(bytes, domain, unspecified_is_inet) {
                written_is_read(address, domain);
            }
        }
    }
    let Some([a, b, c, d]) = bytes.first_chunk().copied() else { return };
    let (level, kind) = (i32::from(a) | i32::from(b) << 8, i32::from(c) | i32::from(d) << 8);
    let _ =
        (control(level, kind), is_refused(level, kind), is_refused_ioctl(u32::from_le_bytes([a, b, c, d])));
    header(bytes);
}

fn written_is_read(address: SocketAddr, domain: i32) {
    let written = Encoded::like(address, canonical(address));
    let Ok(Internet::At(again)) = Internet::parse(written.as_bytes(), domain, false) else {
        panic!("{address} is written as {:?}", written.as_bytes())
    };
    assert_eq!(canonical(again), canonical(address));
}

fn header(bytes: &[u8]) {
    let mut memory = [bytes, &[0; 256]].concat();
    let base = memory.as_ptr().addr() as u64;
    // The words at 0, 16 and 32 are pointers. An odd one is taken as it is, an even one as a distance from the header.
    for word in memory[..HEADER].chunks_exact_mut(8).step_by(2) {
        let value = u64::from_ne_bytes(word.try_into().expect("eight bytes"));
        if value % 2 == 0 {
            word.copy_from_slice(&(base + value % bytes.len() as u64).to_ne_bytes());
        }
    }
    let Ok(header) = Header::read(std::process::id(), base) else { return };
    assert_eq!((header.pieces, header.control), (message::long(&memory, 16), message::long(&memory, 32)));
    if let Ok(Some(address)) = header.address() {
        assert!(address.as_bytes().len() <= address::MAX_ADDRESS);
    }
    let mut into = [0; 64];
    let _ = header.near.read(header.control, &mut into);
}

//! Datagrams from the guarded resolver: they seem to come from the name server that was asked.
//!
//! A question to a name server goes to the resolver instead; resolvers that do not connect their socket (musl's,
//! c-ares) throw answers from elsewhere away. So the source address that a receive reports is put right. It decides
//! nothing. `handler` calls it for receives that ask for the source.

use core::net::SocketAddr;

use super::address::{Address, Copied};
use super::message::Head;
use crate::arch::{Flow, number};
use crate::state::State;
use crate::sys;

/// Resolver and name server, where answers need to be put right.
fn redirected(state: &State) -> Option<(SocketAddr, SocketAddr)> {
    let [server, ..] = state.handoff.name_servers;
    state.handoff.resolver.zip(server)
}

/// recvfrom(2).
#[inline(never)]
pub(crate) fn recvfrom(state: &State, arguments: [usize; 6]) -> Flow {
    let [.., address, length] = arguments;
    if address == 0 || redirected(state).is_none() {
        return Flow::Proceed;
    }
    let result = sys::pass(number::RECVFROM, arguments);
    if result >= 0 {
        let length = sys::word_at(length).unwrap_or(0) & 0xffff_ffff;
        put_right(state, address, length);
    }
    Flow::Done(result)
}

/// recvmsg(2).
#[inline(never)]
pub(crate) fn recvmsg(state: &State, arguments: [usize; 6]) -> Flow {
    let [_, message, ..] = arguments;
    let named = Head::read(message).is_some_and(|head| head.name().0 != 0);
    if !named || redirected(state).is_none() {
        return Flow::Proceed;
    }
    let result = sys::pass(number::RECVMSG, arguments);
    if let Some(head) = Head::read(message).filter(|_| result >= 0) {
        let (address, length) = head.name();
        put_right(state, address, length);
    }
    Flow::Done(result)
}

/// Replaces the resolver's address at `address` by the name server's.
fn put_right(state: &State, address: usize, length: usize) {
    let Some((resolver, server)) = redirected(state) else { return };
    let Some(mut copy) = Copied::read(address, length) else { return };
    let Address::Internet(from) = copy.parse(false).owned() else { return };
    if SocketAddr::new(from.ip().to_canonical(), from.port()) == resolver {
        copy.set(server);
        sys::put_bytes(address, copy.filled());
    }
}

//! A runtime whose HTTP client may keep several connections to the API: a pool, as hyper's and .NET's do, or one for answers.
//!
//! A pool opens a connection beside the one it has where that is not free again yet, and speaks on whichever is ready first.
//! Others answer while the connection by which the event came is still read from. So a second connection is no sign of
//! another speaker there. What is said is, and in which order: one event is asked for, then answered. This keeps that order
//! and judges nothing; `runtime_api` asks.

use core::sync::atomic::{AtomicBool, Ordering};

use ringfence_records::clients::{SPARE_CONNECTIONS, Spare};

use crate::runtime_api::Request;
use crate::state::State;
use crate::sys;

/// Whether the runtime's client may keep several, as far as the guard can tell.
static IS_KEPT: AtomicBool = AtomicBool::new(false);
/// Whether it waits on its sockets: on that by which it asked for its first event it did.
static WAITS: AtomicBool = AtomicBool::new(false);
/// Whether an event was asked for and not answered yet.
static IS_ASKED: AtomicBool = AtomicBool::new(false);

/// The words of an extension inside the runtime's process, whose client may keep a pool as well.
const OF_EXTENSIONS: [&[u8]; 3] =
    [b"GET /2020-01-01/extension/", b"POST /2020-01-01/extension/", b"PUT /2022-07-01/telemetry"];

/// The runtime is about to ask for its first event on this socket.
pub(crate) fn note_first_request(state: &State, socket: i32) {
    if state.handoff.spare != Spare::None && !state.handoff.concurrent {
        WAITS.store(blocks(socket), Ordering::Relaxed);
        IS_KEPT.store(true, Ordering::Relaxed);
    }
}

/// Keeps the order.
pub(crate) fn note_request(request: &Request) {
    IS_ASKED.store(matches!(request, Request::Next), Ordering::Relaxed);
}

pub(crate) fn is_kept() -> bool {
    IS_KEPT.load(Ordering::Relaxed)
}

/// How many connections may be made beside those that the client uses, if one of them is this socket.
pub(crate) fn spare(state: &State, socket: i32) -> usize {
    if is_kept() && may_be_had(state, socket) { SPARE_CONNECTIONS } else { 0 }
}

/// Whether the client may have such a socket: mostly of its own kind, which waits or does not.
pub(crate) fn may_be_had(state: &State, socket: i32) -> bool {
    matches!(state.handoff.spare, Spare::Errors | Spare::Either) || is_alike(socket)
}

fn is_alike(socket: i32) -> bool {
    blocks(socket) == WAITS.load(Ordering::Relaxed)
}

/// Whether these first words of a request are what the client says next.
pub(crate) fn is_in_turn(state: &State, socket: i32, request: Option<&Request>) -> bool {
    let tells_errors = match state.handoff.spare {
        Spare::Errors => true,
        Spare::Either => !is_alike(socket),
        Spare::Alike | Spare::None => false,
    };
    match request {
        // The id of a request, and then what is answered.
        Some(Request::Answer(rest)) if tells_errors => {
            let answer = rest.iter().position(|byte| *byte == b'/').and_then(|at| rest.get(at..));
            IS_ASKED.load(Ordering::Relaxed) && answer.is_some_and(|answer| answer.starts_with(b"/error"))
        }
        _ if tells_errors => false,
        Some(Request::Next) => !IS_ASKED.load(Ordering::Relaxed),
        Some(Request::Answer(_)) => IS_ASKED.load(Ordering::Relaxed),
        None => false,
    }
}

/// Whether an extension says this.
pub(crate) fn is_of_extension(address: usize, length: usize) -> bool {
    OF_EXTENSIONS
        .iter()
        .any(|words| length >= words.len() && sys::bytes_at(address, words.len()) == Some(words))
}

fn blocks(socket: i32) -> bool {
    const F_GETFL: usize = 3;
    const O_NONBLOCK: usize = 0o4000;
    sys::control(socket, F_GETFL, 0).is_ok_and(|flags| flags & O_NONBLOCK == 0)
}

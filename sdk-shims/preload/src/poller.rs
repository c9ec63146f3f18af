//! A child of the runtime that speaks to the Runtime API by the policy's leave: a shell's curl.
//!
//! Such a runtime answers and asks by processes that it starts. Each of them tells the agent what it says: without that
//! nothing would tell where one invocation ends and the next begins. `network` calls it for connects that were allowed,
//! `runtime_api` for what is sent. The policy judges.

use core::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};

use ringfence_policy::Decision;
use ringfence_records::message::{ActionKind, Kind, Report};

use crate::arch::{Flow, number};
use crate::report;
use crate::runtime_api::{self, Request};
use crate::state::State;
use crate::sys::{self, Errno};

/// What a record says of words to the API by a process that only connected in time.
const NOT_THE_POLLER: &[u8] = b"by a program that is not the one that asked first";
/// Connections of one process that are remembered: one to ask by, one to answer by, and two to spare.
const MAX_CONNECTIONS: usize = 4;

struct Connection {
    descriptor: AtomicI32,
    inode: AtomicU64,
}

static CONNECTIONS: [Connection; MAX_CONNECTIONS] =
    [const { Connection { descriptor: AtomicI32::new(-1), inode: AtomicU64::new(0) } }; MAX_CONNECTIONS];
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Whether this process has such a connection.
pub(crate) fn has_any() -> bool {
    NEXT.load(Ordering::Relaxed) != 0
}

/// Remembers a connection of a child to the API; the oldest gives way.
pub(crate) fn remember(socket: i32) {
    let Ok(identity) = sys::identity(socket) else { return };
    let at = NEXT.fetch_add(1, Ordering::Relaxed) % MAX_CONNECTIONS;
    if let Some(place) = CONNECTIONS.get(at) {
        place.inode.store(identity.inode, Ordering::Release);
        place.descriptor.store(socket, Ordering::Release);
    }
}

fn is_known(socket: i32) -> bool {
    let mut known = CONNECTIONS.iter().filter(|known| known.descriptor.load(Ordering::Acquire) == socket);
    known.any(|known| sys::identity(socket).is_ok_and(|now| now.inode == known.inode.load(Ordering::Acquire)))
}

/// Tells the agent of an answer and of a request for the next event that are about to be sent. What was connected in init,
/// before another program asked, is refused here.
pub(crate) fn outgoing(state: &State, socket: i32, address: usize, length: usize) -> Flow {
    if !has_any() || !is_known(socket) {
        return Flow::Proceed;
    }
    let request = runtime_api::request(address, length);
    // Where it is only observed, the connection was told.
    let is_denied =
        || runtime_api::verdict(state, false).is_some_and(|verdict| verdict.decision == Decision::Deny);
    if request.is_some() && is_denied() && runtime_api::is_refused(state, false, NOT_THE_POLLER) {
        return Flow::Done(Errno::PERM.result());
    }
    match request {
        Some(Request::Next) => {
            let is_first = state.asks_first();
            runtime_api::say_that_it_is_over(state);
            if is_first {
                wait_to_be_known(state);
            }
        }
        Some(Request::Answer(id)) => {
            runtime_api::remember_answer(id);
            // What appears in /tmp from here on is the next invocation's.
            runtime_api::mark(state);
            let mut answered = Report::new(Kind::Answered, ActionKind::Dangerous);
            answered.request = runtime_api::request_id(id);
            report::deliver_notice(state, answered);
        }
        None => {}
    }
    Flow::Proceed
}

/// Waits until the agent has published this program, before the first request of all leaves: this process may be gone as soon as
/// it has an event, and then the agent could not tell which program it was. Once in the life of an environment.
fn wait_to_be_known(state: &State) {
    const LONGEST: u64 = 1000;
    const PAUSE: [usize; 2] = [0, 200_000];
    let begun = sys::milliseconds();
    while state.asks_first() && sys::milliseconds().saturating_sub(begun) < LONGEST {
        sys::pass(number::NANOSLEEP, [PAUSE.as_ptr() as usize, 0, 0, 0, 0, 0]);
    }
}

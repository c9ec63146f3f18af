//! The runtime's connections to its API: which they are, and when it asks for the next event.
//!
//! It remembers the runtime's own connections by descriptor and inode, so that a second one can be told (an attacker
//! in the process opens one to steal events), and sees the answer to an invocation and the request for the next event
//! go out, which ends that invocation. `network` calls it for connects, `handler` for writes.

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use ringfence_policy::{Action, Context, Decision, Destination, Phase, Role, Transport, Verdict};
use ringfence_records::message::{ActionKind, Kind, Report};

use crate::arch::Flow;
use crate::client_threads::{self, SHARED};
use crate::closing;
use crate::poller;
use crate::pool;
use crate::report;
use crate::state::{self, State};
use crate::sys::{self, Errno};

/// The start of the runtime's request for an event (Lambda Runtime API, 2018-06-01).
const NEXT: &[u8] = b"GET /2018-06-01/runtime/invocation/next";

/// The start of its answer, before the request id.
const ANSWER: &[u8] = b"POST /2018-06-01/runtime/invocation/";
/// Longest request id in bytes that is remembered; Lambda's have 36.
const MAX_REQUEST: usize = 64;
/// Connections that are remembered: two, and one for each thread of a large pool of Node's.
const MAX_CONNECTIONS: usize = 130;

/// The request that was answered last, padded with zeros.
static ANSWERED: [AtomicU8; MAX_REQUEST] = [const { AtomicU8::new(0) }; MAX_REQUEST];

struct Connection {
    descriptor: AtomicI32,
    inode: AtomicU64,
    /// See [`client_threads::seat`].
    seat: AtomicU32,
    /// Whether it is one more than the client uses, and nothing was said on it yet.
    is_spare: AtomicBool,
}

impl Connection {
    const fn none() -> Self {
        Self {
            descriptor: AtomicI32::new(-1),
            inode: AtomicU64::new(0),
            seat: AtomicU32::new(SHARED),
            is_spare: AtomicBool::new(false),
        }
    }

    /// Whether it is still the socket that was connected.
    fn is_open(&self) -> bool {
        let descriptor = self.descriptor.load(Ordering::Acquire);
        descriptor >= 0
            && sys::identity(descriptor).is_ok_and(|now| now.inode == self.inode.load(Ordering::Acquire))
    }
}

static CONNECTIONS: [Connection; MAX_CONNECTIONS] = [const { Connection::none() }; MAX_CONNECTIONS];
/// How many of them were ever used: nearly every runtime has one.
static USED: AtomicUsize = AtomicUsize::new(0);

fn used() -> impl Iterator<Item = &'static Connection> {
    CONNECTIONS.iter().take(USED.load(Ordering::Relaxed))
}

/// How many were open at once while the platform waited for the start to end: an extension that is a thread of the runtime's
/// process (`lambda-extension` beside `lambda_runtime`) has its own, and connects again when one was closed.
static OF_INIT: AtomicUsize = AtomicUsize::new(0);

/// How many the runtime's client keeps on one seat. Node's has one for answers on its main thread and one for answers
/// that are streamed; its threads that wait for events have one each.
fn expected(state: &State, seat: u32) -> usize {
    let client = if state.handoff.concurrent || (state.is_node && seat == SHARED) { 2 } else { 1 };
    if seat == SHARED { client.max(OF_INIT.load(Ordering::Relaxed)) } else { client }
}

/// The verdict on a connection to the API. Connections of init are counted until the agent has heard of the first
/// invocation: an extension in the process may connect after the runtime has asked for its first event.
pub(crate) fn verdict_on(state: &State, action: &Action<'_>) -> Verdict {
    let mut context = Context { role: state.role_at_api(), ..state.context() };
    if is_starting(state) {
        context.phase = Phase::Init;
    }
    state.policy.verdict(action, &context)
}

/// Whether the runtime's process listens.
static SERVES: AtomicBool = AtomicBool::new(false);

/// Whether the start is not over, of this process: the platform starts a runtime again within an invocation, after an init that
/// failed and after a reset. Java's client tells of a failure on a connection of its own then.
fn is_starting(state: &State) -> bool {
    let has_asked = state::has_been_invoked() || SERVES.load(Ordering::Relaxed);
    state.may_be_in_init() || (state.is_runtime() && !has_asked)
}

/// The runtime's process listens: it is a server, perhaps behind a web adapter, and never asks for an event itself.
pub(crate) fn note_server(state: &State) {
    let is_runtimes = sys::process_id() == state.handoff.runtime_pid;
    if is_runtimes && !state::has_been_invoked() && !SERVES.swap(true, Ordering::Relaxed) {
        report::notice(state, Kind::AtWork);
    }
}

/// Whether `socket` would be one connection too many.
pub(crate) fn is_second(state: &State, socket: i32) -> bool {
    let seat = client_threads::seat(state);
    let others = others(seat, socket);
    others >= expected(state, seat) && others >= expected(state, seat) + pool::spare(state, socket)
}

/// How many connections are open on this seat, besides this one.
fn others(seat: u32, socket: i32) -> usize {
    let others = used().filter(|known| {
        known.seat.load(Ordering::Relaxed) == seat && known.descriptor.load(Ordering::Relaxed) != socket
    });
    others.filter(|known| known.is_open()).count()
}

/// Remembers a connection of the runtime.
pub(crate) fn remember(state: &State, socket: i32) {
    let Ok(identity) = sys::identity(socket) else { return };
    let place = used()
        .position(|known| known.descriptor.load(Ordering::Relaxed) == socket)
        .or_else(|| CONNECTIONS.iter().position(|known| !known.is_open()));
    if let Some((index, place)) = place.and_then(|index| Some((index, CONNECTIONS.get(index)?))) {
        USED.fetch_max(index + 1, Ordering::Relaxed);
        let seat = client_threads::seat(state);
        // Node's client makes one for answers on the main thread when it needs it, and so can code of the function.
        let is_nodes = state.is_node && seat == SHARED && !state.handoff.concurrent && !is_starting(state);
        let is_spare = is_nodes || (pool::is_kept() && others(seat, socket) >= expected(state, seat));
        place.is_spare.store(is_spare, Ordering::Relaxed);
        place.seat.store(seat, Ordering::Relaxed);
        place.inode.store(identity.inode, Ordering::Release);
        place.descriptor.store(socket, Ordering::Release);
        if is_starting(state) {
            let shared =
                |known: &&Connection| known.seat.load(Ordering::Relaxed) == SHARED && known.is_open();
            OF_INIT.fetch_max(used().filter(shared).count(), Ordering::Relaxed);
        }
    }
}

/// Looks at bytes that are about to be sent. Cheap for every other descriptor: a compare or two.
pub(crate) fn outgoing(state: &State, socket: usize, address: usize, length: usize) -> Flow {
    let socket = sys::descriptor(socket);
    let found = used().find(|known| known.descriptor.load(Ordering::Relaxed) == socket);
    let Some(known) = found.or_else(|| under_another_number(state, socket)) else {
        return poller::outgoing(state, socket, address, length);
    };
    if is_stolen(state, known, socket) {
        return Flow::Done(Errno::PERM.result());
    }
    let speaks_for_all = sys::process_id() == state.handoff.runtime_pid;
    let request = request(address, length);
    let is_anothers = if pool::is_kept() && speaks_for_all {
        is_out_of_turn(state, (known, socket), request.as_ref(), (address, length))
    } else if state.is_node && known.is_spare.swap(false, Ordering::Relaxed) {
        !pool::is_in_turn(state, socket, request.as_ref()) && is_refused(state, true, OUT_OF_TURN) && {
            known.is_spare.store(true, Ordering::Relaxed);
            true
        }
    } else {
        request.is_some() && is_on_anothers_connection(state, known)
    };
    if is_anothers {
        return Flow::Done(Errno::PERM.result());
    }
    if let Some(request) = request.as_ref().filter(|_| speaks_for_all) {
        pool::note_request(request);
    }
    match request {
        Some(Request::Next) => {
            if is_asked_out_of_turn(state) {
                return Flow::Done(Errno::PERM.result());
            }
            if speaks_for_all && !state::has_been_invoked() {
                client_threads::take_stock();
                pool::note_first_request(state, socket);
                mark(state);
            }
            state::note_invoked();
            note_who_polls(known);
            note_who_asks(state);
            if speaks_for_all {
                say_that_it_is_over(state);
            }
        }
        Some(Request::Answer(id)) if speaks_for_all => remember_answer(id),
        _ => {}
    }
    Flow::Proceed
}

/// What is said to the API, as far as it matters here.
pub(crate) enum Request {
    /// For the next event.
    Next,
    /// The answer to an invocation; what follows in the request's first line, from the request id on.
    Answer(&'static [u8]),
}

/// The request that begins at `address`.
pub(crate) fn request(address: usize, length: usize) -> Option<Request> {
    if length < NEXT.len() {
        return None;
    }
    let begins = |start: &[u8]| length >= start.len() && sys::bytes_at(address, start.len()) == Some(start);
    if begins(NEXT) {
        return Some(Request::Next);
    }
    let room = MAX_REQUEST.min(length.saturating_sub(ANSWER.len()));
    begins(ANSWER).then(|| {
        Request::Answer(sys::bytes_at(address.saturating_add(ANSWER.len()), room).unwrap_or_default())
    })
}

/// The connection by which events were asked for last: its place and one, or 0.
static POLLING: AtomicUsize = AtomicUsize::new(0);

fn note_who_polls(known: &'static Connection) {
    let place = CONNECTIONS.iter().position(|each| core::ptr::eq(each, known));
    POLLING.store(place.map_or(0, |place| place + 1), Ordering::Relaxed);
}

/// Whether somebody asks for an event, or answers one, on another connection than the client's while that one is open;
/// writes the verdict down. Clients that keep several, and Managed Instances' workers, are not told apart so.
fn is_on_anothers_connection(state: &State, known: &Connection) -> bool {
    let polling = POLLING.load(Ordering::Relaxed).checked_sub(1).and_then(|place| CONNECTIONS.get(place));
    !state.is_node
        && !state.handoff.concurrent
        && polling.is_some_and(|polling| !core::ptr::eq(polling, known) && polling.is_open())
        && is_refused(state, true, b"on another connection than that of the runtime's client")
}

const OUT_OF_TURN: &[u8] = b"out of turn, on another connection than that of the runtime's client";

/// Where the client may keep several: whether this is said on another connection than the one on which it asked last, and is not
/// what it says next; writes the verdict down. A spare connection begins with words of the client too, and its sockets are of
/// one kind.
fn is_out_of_turn(
    state: &State,
    (known, socket): (&'static Connection, i32),
    request: Option<&Request>,
    (address, length): (usize, usize),
) -> bool {
    let is_fresh = known.is_spare.load(Ordering::Relaxed);
    let polling = POLLING.load(Ordering::Relaxed).checked_sub(1).and_then(|place| CONNECTIONS.get(place));
    let is_apart = polling.is_some_and(|polling| !core::ptr::eq(polling, known) && polling.is_open());
    let is_checked = is_fresh || (request.is_some() && is_apart);
    let is_of_extension = || request.is_none() && pool::is_of_extension(address, length);
    let is_next =
        || pool::may_be_had(state, socket) && (pool::is_in_turn(state, socket, request) || is_of_extension());
    if !is_checked || is_next() {
        known.is_spare.store(false, Ordering::Relaxed);
        return false;
    }
    is_refused(state, true, OUT_OF_TURN)
}

/// Whether this process has made forks, or is one: then a write to any descriptor may be one of a fork.
static HAS_FORKED: AtomicBool = AtomicBool::new(false);

/// clone(2) with these flags is about to be made.
pub(crate) fn note_clone(flags: usize) {
    const CLONE_VM: usize = 0x100;
    if flags & CLONE_VM == 0 {
        HAS_FORKED.store(true, Ordering::Relaxed);
    }
}

/// The connection that a fork of the runtime has by a duplicate of its descriptor.
fn under_another_number(state: &State, socket: i32) -> Option<&'static Connection> {
    if !HAS_FORKED.load(Ordering::Relaxed) || !state.is_fork_of_runtime() {
        return None;
    }
    of_file(socket)
}

/// By the inode alone: the fork may have closed the number by which the runtime has it.
fn of_file(socket: i32) -> Option<&'static Connection> {
    let inode = sys::identity(socket).ok()?.inode;
    used().find(|known| known.inode.load(Ordering::Acquire) == inode)
}

/// Keeps the runtime's connections from the program that a fork of it is about to become. Those that a client has left open for
/// its children are only closed; a duplicate is written down, since somebody made it.
pub(crate) fn withhold(state: &State) {
    if used().next().is_none() {
        return;
    }
    closing::each_open(|number| {
        const F_GETFD: usize = 1;
        const F_SETFD: usize = 2;
        let Ok(socket) = i32::try_from(number) else { return };
        let inherited = sys::control(socket, F_GETFD, 0) == Ok(0);
        let Some(known) = Some(socket).filter(|_| inherited).and_then(of_file) else { return };
        let is_its_own = known.descriptor.load(Ordering::Relaxed) == socket;
        let refused = if is_its_own {
            verdict(state, false).is_some_and(|verdict| verdict.decision == Decision::Deny)
        } else {
            is_refused(state, false, b"on the runtime's own connection, handed to a program")
        };
        if refused {
            let _ = sys::control(socket, F_SETFD, 1);
        }
    });
}

/// Whether a child speaks on the connection that it inherited from the runtime; writes the verdict down.
fn is_stolen(state: &State, known: &Connection, socket: i32) -> bool {
    state.role_at_api() == Role::Child
        && sys::identity(socket).is_ok_and(|now| now.inode == known.inode.load(Ordering::Acquire))
        && is_refused(state, false, b"on the runtime's own connection, inherited by a fork")
}

/// Whether Node's client asks for events on threads of its own. The older one shares a connection between them.
static ASKS_ON_OWN_THREADS: AtomicBool = AtomicBool::new(false);

fn note_who_asks(state: &State) {
    if client_threads::seat(state) != SHARED {
        ASKS_ON_OWN_THREADS.store(true, Ordering::Relaxed);
    }
}

/// Whether somebody asks for an event where only the client's threads do; writes the verdict down.
fn is_asked_out_of_turn(state: &State) -> bool {
    ASKS_ON_OWN_THREADS.load(Ordering::Relaxed)
        && client_threads::seat(state) == SHARED
        && is_refused(state, true, b"asked for an event on a thread that is not the client's")
}

pub(crate) fn verdict(state: &State, second_connection: bool) -> Option<Verdict> {
    let api = state.handoff.runtime_api?;
    let action = Action::Connect(Destination {
        address: api.ip(),
        port: api.port(),
        transport: Transport::Stream,
        names: &[],
        runtime_api: true,
        own_service: false,
        second_connection,
    });
    let context = Context { role: state.role_at_api(), ..state.context() };
    Some(state.policy.verdict(&action, &context))
}

/// What the policy says of words to the API that are not the client's own; writes the verdict down.
pub(crate) fn is_refused(state: &State, second_connection: bool, detail: &'static [u8]) -> bool {
    let Some(verdict) = verdict(state, second_connection) else { return false };
    if state::speaks(verdict) {
        let mut report = Report::new(Kind::Violation, ActionKind::Send);
        report.address = state.handoff.runtime_api;
        report.detail = detail;
        report::violation(state, verdict, &report);
    }
    verdict.decision == Decision::Deny
}

/// Leaves a mark for the agent's ledger: reads a byte of the state page's file, which inotify(7) tells the agent between
/// what happened in /tmp before and after. No file is made, and no rule speaks of it.
pub(crate) fn mark(state: &State) {
    let [_, page] = state.descriptors;
    let _ = sys::read_at(page.number, &mut [0], 0);
}

/// The request id, which ends at the next slash.
pub(crate) fn request_id(rest: &[u8]) -> &[u8] {
    let length = rest.iter().position(|byte| *byte == b'/').unwrap_or(0);
    rest.get(..length).unwrap_or_default()
}

/// Keeps the request id.
pub(crate) fn remember_answer(rest: &[u8]) {
    let id = request_id(rest);
    for (index, place) in ANSWERED.iter().enumerate() {
        place.store(id.get(index).copied().unwrap_or(0), Ordering::Relaxed);
    }
}

pub(crate) fn say_that_it_is_over(state: &State) {
    let mut request = [0; MAX_REQUEST];
    for (byte, place) in request.iter_mut().zip(&ANSWERED) {
        *byte = place.load(Ordering::Relaxed);
    }
    let length = request.iter().position(|byte| *byte == 0).unwrap_or(MAX_REQUEST);
    let mut over = Report::new(Kind::InvocationOver, ActionKind::Dangerous);
    over.request = request.get(..length).unwrap_or_default();
    report::deliver_notice(state, over);
}

/// The same for a vector of buffers: a request's head stands in the first one.
pub(crate) fn outgoing_vector(state: &State, socket: usize, vector: usize, count: usize) -> Flow {
    if count == 0 || (USED.load(Ordering::Relaxed) == 0 && !poller::has_any()) {
        return Flow::Proceed;
    }
    match (sys::word_at(vector), sys::word_at(vector.wrapping_add(8))) {
        (Some(address), Some(length)) => outgoing(state, socket, address, length),
        _ => Flow::Proceed,
    }
}

//! The connections that the runtime's client keeps to its API, so that one too many can be told.
//!
//! Node's client waits for events on the threads of the interpreter's pool, and since version 4 each of them keeps a
//! connection. They are all there when the first event is asked for, so a thread that function code starts later is none
//! of them. A client with a pool (hyper's) opens one more where the one it has is not free yet, on a socket that does not
//! wait. It must not know policy; `connect` calls it.

use std::fs;

use ringfence_policy::Role;
use ringfence_records::clients::{SPARE_CONNECTIONS, Spare};

use super::registry::socket_inode;
use super::target::{self, Caller};

/// Connections that are remembered: a few, and one for each thread of a large pool of Node's.
const MAX_CONNECTIONS: usize = 130;
/// Descriptors that are looked at for one that was moved: more than Lambda lets a process have.
const MAX_DESCRIPTORS: usize = 2048;
/// Threads that are remembered. A pool has 4 unless `UV_THREADPOOL_SIZE` says more.
const MAX_THREADS: usize = 512;
/// The seat of all that goes on a main thread and on threads of function code.
const SHARED: u32 = 0;

#[derive(Debug)]
struct Connection {
    process: u32,
    /// The thread whose own it is, or [`SHARED`].
    seat: u32,
    number: i32,
    inode: u64,
}

impl Connection {
    /// Whether the process still has the socket that was connected, be it under another number.
    fn is_open(&self) -> bool {
        let mut link = [0; 64];
        let stayed = target::link(self.process, format_args!("fd/{}", self.number), &mut link)
            .is_ok_and(|link| socket_inode(link) == Some(self.inode));
        stayed || self.has_moved()
    }

    fn has_moved(&self) -> bool {
        let listed = fs::read_dir(format!("/proc/{}/fd", self.process)).into_iter().flatten().flatten();
        listed.take(MAX_DESCRIPTORS).any(|entry| {
            fs::read_link(entry.path())
                .is_ok_and(|link| socket_inode(link.as_os_str().as_encoded_bytes()) == Some(self.inode))
        })
    }
}

/// What is known of the client's pool of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pool {
    /// The runtime's client is one that keeps none.
    None,
    /// It may have a connection of another kind by which it tells errors.
    Errors,
    /// It may keep one, as far as its program tells.
    Possible { is_interpreter: bool },
    /// So it does for all that is known. Its sockets are of one kind: that of init, which waits or does not.
    Kept { waits: bool, is_interpreter: bool },
}

/// A socket that is about to be connected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) inode: u64,
    /// Whether a call on it waits (no `O_NONBLOCK`).
    pub(super) blocks: bool,
    /// Whether the library sees what is said on it.
    pub(super) is_heard: bool,
}

#[derive(Debug)]
pub(super) struct ApiConnections {
    known: Vec<Connection>,
    /// Threads that may have a connection of their own.
    threads: Vec<u32>,
    is_node: bool,
    concurrent: bool,
    pool: Pool,
    /// How many were open at once in init, besides those on threads of a client's own: an extension that is a thread of the
    /// runtime's process has its own, and connects again when one was closed.
    of_init: usize,
}

impl ApiConnections {
    pub(super) fn new(is_node: bool, (spare, is_interpreter): (Spare, bool), concurrent: bool) -> Self {
        let pool = match spare {
            Spare::Alike if !concurrent => Pool::Possible { is_interpreter },
            Spare::Errors | Spare::Either if !concurrent => Pool::Errors,
            _ => Pool::None,
        };
        Self { known: Vec::with_capacity(16), threads: Vec::new(), is_node, concurrent, pool, of_init: 0 }
    }

    /// The process asks for its first event: who is there may be the client.
    pub(super) fn take_stock(&mut self, process: u32) {
        if self.is_node {
            let listed = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
            let threads = listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            self.threads = threads.filter(|thread| *thread != process).take(MAX_THREADS).collect();
        }
    }

    /// Whether the caller still has all the connections that the client keeps, not counting this one.
    pub(super) fn are_there(&self, caller: &Caller, socket: Candidate, answers_apart: bool) -> bool {
        let Candidate { inode, blocks, is_heard } = socket;
        let seat = self.seat(caller);
        // One that waits is no pool's: it may be had where what is said on it is judged.
        let is_spare = match self.pool {
            Pool::Kept { waits, is_interpreter } => {
                waits == blocks && (is_heard || !(blocks || is_interpreter))
            }
            Pool::Errors => is_heard,
            _ => false,
        };
        let spare = if is_spare { SPARE_CONNECTIONS } else { 0 };
        let others = |known: &&Connection| {
            known.process == caller.process && known.seat == seat && known.inode != inode
        };
        self.known.iter().filter(others).filter(|known| known.is_open()).count()
            >= self.expected(seat, answers_apart) + spare
    }

    pub(super) fn remember(&mut self, caller: &Caller, number: i32, socket: Candidate, in_init: bool) {
        let Candidate { inode, blocks, .. } = socket;
        if caller.role != Role::Runtime {
            return;
        }
        self.known.retain(|known| known.inode != inode && known.is_open());
        if self.known.len() >= MAX_CONNECTIONS {
            self.known.swap_remove(0);
        }
        if let (Pool::Possible { is_interpreter }, true) = (self.pool, in_init) {
            self.pool = Pool::Kept { waits: blocks, is_interpreter };
        }
        let seat = self.seat(caller);
        self.known.push(Connection { process: caller.process, seat, number, inode });
        if in_init && seat == SHARED {
            let shared = |known: &&Connection| known.process == caller.process && known.seat == SHARED;
            self.of_init = self.of_init.max(self.known.iter().filter(shared).count());
        }
    }

    fn seat(&self, caller: &Caller) -> u32 {
        // Where there were more than could be written down, everybody's thread is.
        let may_be_clients = self.threads.contains(&caller.thread)
            || (self.threads.len() >= MAX_THREADS && caller.thread != caller.process);
        if may_be_clients { caller.thread } else { SHARED }
    }

    /// How many the client keeps on one seat. Node's has one for answers on its main thread and one for answers that are
    /// streamed; its threads that wait for events have one each. PHP's has one for events and one for answers.
    fn expected(&self, seat: u32, answers_apart: bool) -> usize {
        let apart = (self.is_node || answers_apart) && seat == SHARED;
        let client = if self.concurrent || apart { 2 } else { 1 };
        if seat == SHARED { client.max(self.of_init) } else { client }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsFd as _, AsRawFd as _};

    use super::*;
    use crate::sys::descriptor;

    const NONE: (Spare, bool) = (Spare::None, true);
    const NATIVE: (Spare, bool) = (Spare::Alike, false);

    fn candidate(socket: &TcpStream) -> Candidate {
        let inode = descriptor::status(socket.as_fd()).unwrap().identity.inode;
        let flags = descriptor::status_flags(socket.as_fd()).unwrap();
        Candidate { inode, blocks: flags & libc::O_NONBLOCK == 0, is_heard: false }
    }

    /// A connection of this process as made by `thread`; whether it was one too many.
    fn connects(known: &mut ApiConnections, thread: u32, socket: &TcpStream) -> bool {
        let caller = Caller { thread, process: std::process::id(), role: Role::Runtime };
        let candidate = candidate(socket);
        let is_second = known.are_there(&caller, candidate, false);
        if !is_second {
            known.remember(&caller, socket.as_raw_fd(), candidate, false);
        }
        is_second
    }

    fn sockets(count: usize) -> (TcpListener, Vec<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        (listener, (0..count).map(|_| TcpStream::connect(to).unwrap()).collect())
    }

    #[test]
    fn a_thread_of_nodes_client_has_its_own_and_a_later_one_shares_the_main_ones() {
        let (_listener, sockets) = sockets(7);
        let main = std::process::id();
        let mut known = ApiConnections::new(true, NONE, false);
        known.threads = vec![1, 2];
        let later = 9;
        let by = [1, 1, 2, main, later, later, main];
        let seconds: Vec<bool> =
            by.iter().zip(&sockets).map(|(by, socket)| connects(&mut known, *by, socket)).collect();
        assert_eq!(seconds, [false, true, false, false, false, true, true]);
    }

    #[test]
    fn whoever_else_has_one_and_a_new_one_when_that_is_closed() {
        let (_listener, mut sockets) = sockets(3);
        let mut known = ApiConnections::new(false, NATIVE, false);
        known.take_stock(std::process::id());
        assert!(!connects(&mut known, 5, &sockets[0]));
        assert!(connects(&mut known, 6, &sockets[1]));
        drop(sockets.remove(0));
        assert!(!connects(&mut known, 6, &sockets[0]));
    }

    #[test]
    fn what_was_connected_in_init_may_be_connected_again_and_no_more() {
        let (_listener, mut sockets) = sockets(4);
        let mut known = ApiConnections::new(false, NATIVE, false);
        let caller = Caller { thread: 5, process: std::process::id(), role: Role::Runtime };
        for socket in sockets.iter().take(2) {
            known.remember(&caller, socket.as_raw_fd(), candidate(socket), true);
        }
        assert!(connects(&mut known, 5, &sockets[2]));
        drop(sockets.remove(0));
        assert!(!connects(&mut known, 5, &sockets[1]));
        assert!(connects(&mut known, 5, &sockets[2]));
    }

    #[test]
    fn a_client_with_a_pool_may_make_two_more_on_sockets_that_do_not_block() {
        let (_listener, sockets) = sockets(6);
        sockets.iter().take(5).for_each(|socket| socket.set_nonblocking(true).unwrap());
        let caller = Caller { thread: 5, process: std::process::id(), role: Role::Runtime };
        let none = [true, true, true, true, true];
        // Of an interpreter nothing is let through whose words are not heard.
        for (spare, expected) in
            [(NATIVE, [false, false, true, true, true]), ((Spare::Alike, true), none), (NONE, none)]
        {
            let mut known = ApiConnections::new(false, spare, false);
            known.remember(&caller, sockets[0].as_raw_fd(), candidate(&sockets[0]), true);
            let seconds: Vec<bool> =
                sockets.iter().skip(1).map(|socket| connects(&mut known, 5, socket)).collect();
            assert_eq!(seconds, expected);
        }
        let mut blocking = ApiConnections::new(false, NATIVE, false);
        blocking.remember(&caller, sockets[5].as_raw_fd(), candidate(&sockets[5]), true);
        assert!(connects(&mut blocking, 5, &sockets[0]), "not of the kind that the client has");
        sockets[0].set_nonblocking(false).unwrap();
        assert!(connects(&mut blocking, 5, &sockets[0]), "nothing hears what is said on it");
        let heard = Candidate { is_heard: true, ..candidate(&sockets[0]) };
        assert!(!blocking.are_there(&caller, heard, false));
    }

    #[test]
    fn one_that_was_moved_out_of_the_way_is_still_there() {
        let (_listener, mut sockets) = sockets(2);
        let mut known = ApiConnections::new(false, NATIVE, false);
        assert!(!connects(&mut known, 5, &sockets[0]));
        let moved = sockets[0].try_clone().unwrap();
        drop(sockets.remove(0));
        assert!(connects(&mut known, 5, &sockets[0]));
        drop(moved);
        assert!(!connects(&mut known, 5, &sockets[0]));
    }

    #[test]
    fn who_is_there_is_listed_for_node_only() {
        let here = std::thread::spawn(|| {
            let mut node = ApiConnections::new(true, NONE, false);
            node.take_stock(std::process::id());
            (
                node.threads.contains(&crate::sys::process::thread_id()),
                node.threads.contains(&std::process::id()),
            )
        });
        assert_eq!(here.join().unwrap(), (true, false));
        let mut other = ApiConnections::new(false, NATIVE, false);
        other.take_stock(std::process::id());
        assert_eq!(other.threads, [0; 0]);
    }
}

//! sendto(2) with an address, sendmsg(2), sendmmsg(2): copied whole, judged, and sent by the guard.
//!
//! Whether a message has an address, and which, stands in memory that may change; so the message is copied once and
//! the copy is what is sent, on the pinned socket. Datagrams beyond 64 KiB are refused as the kernel would (EMSGSIZE),
//! streams are sent short. Where a stream's other end is closed, SIGPIPE is raised in the target as send(2) does.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use ringfence_policy::Role;
use ringfence_records::message::ActionKind;
use ringfence_records::sockets;

use super::Supervisor;
use super::address::GivenAddress;
use super::address::{Internet, family, is_internet};
use super::answer::{Answer, RegistersOnly};
use super::arguments::low_word;
use super::claims::{self, Claim};
use super::connect::KernelAddress;
use super::message::{HEADER, Header, long};
use super::sockets::{Missing, Pinned};
use super::target::Caller;
use super::workers::Task;
use crate::sys::seccomp::Notification;
use crate::sys::socket::{self, Parcel};
use crate::sys::{Errno, memory};

/// Longest message in bytes; UDP takes 65,507.
pub(super) const MAX_DATA: usize = 64 * 1024;
/// Pieces of one message, as the kernel has it (`UIO_MAXIOV`).
const MAX_PIECES: usize = 1024;
const PIECE: usize = 16;
/// Longest control data in bytes.
const MAX_CONTROL: usize = 1024;
/// Messages of one sendmmsg(2) that are sent before it returns short, as it may.
const MAX_MESSAGES: u64 = 64;
/// How long messages of one sendmmsg(2) are sent before it returns short: everybody else's calls wait meanwhile.
const PATIENCE: Duration = Duration::from_millis(2);
const HEADER_AND_LENGTH: u64 = 64;
const CONTROL_HEADER: usize = 16;

/// Room for one message, allocated once.
#[derive(Debug)]
pub(super) struct Scratch {
    data: Box<[u8]>,
    pieces: Box<[u8]>,
    control: [u8; MAX_CONTROL],
    used: usize,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            data: vec![0; MAX_DATA].into_boxed_slice(),
            pieces: vec![0; MAX_PIECES * PIECE].into_boxed_slice(),
            control: [0; MAX_CONTROL],
            used: 0,
        }
    }
}

/// A message copied into the scratch room: how much of it is data and how much control.
#[derive(Debug, Clone, Copy)]
struct Copied {
    data: usize,
    control: usize,
}

impl Scratch {
    /// The data of the last message.
    pub(super) fn sent(&self) -> &[u8] {
        self.data.get(..self.used).unwrap_or_default()
    }

    fn copy_plain(&mut self, thread: u32, address: u64, length: u64, stream: bool) -> Result<Copied, Errno> {
        let length = bounded(length, stream)?;
        memory::read_exactly(thread, address, self.data.get_mut(..length).ok_or(Errno::EINVAL)?)?;
        self.used = length;
        Ok(Copied { data: length, control: 0 })
    }

    fn copy_message(&mut self, header: &Header, stream: bool) -> Result<Copied, Errno> {
        let count = usize::try_from(header.piece_count).ok().filter(|count| *count <= MAX_PIECES);
        let count = count.ok_or(Errno(libc::EMSGSIZE))?;
        let pieces = self.pieces.get_mut(..count * PIECE).ok_or(Errno(libc::EMSGSIZE))?;
        header.near.read(header.pieces, pieces)?;
        let mut used = 0;
        let mut copied = Vec::with_capacity(count);
        for piece in pieces.chunks_exact(PIECE) {
            let (address, length) = (long(piece, 0), long(piece, 8));
            let total = (used as u64).checked_add(length).ok_or(Errno::EINVAL)?;
            let end = bounded(total, stream)?;
            copied.push((address, end - used));
            used = end;
        }
        // In one call: a thousand would hold up everybody else's calls for milliseconds.
        let room = self.data.get_mut(..used).ok_or(Errno::EINVAL)?;
        memory::read_pieces(header.near.thread, &copied, room)?;
        self.used = used;
        let control = self.copy_control(header)?;
        Ok(Copied { data: used, control })
    }

    fn copy_control(&mut self, header: &Header) -> Result<usize, Errno> {
        if header.control == 0 {
            return Ok(0);
        }
        let length = usize::try_from(header.control_length).map_err(|_| Errno::EINVAL)?;
        let room = self.control.get_mut(..length).ok_or(Errno(libc::ENOBUFS))?;
        header.near.read(header.control, room)?;
        Ok(length)
    }

    fn parcel<'a>(&'a self, copied: Copied, address: &'a KernelAddress, flags: i32) -> Parcel<'a> {
        Parcel {
            address: address.as_bytes(),
            data: self.data.get(..copied.data).unwrap_or_default(),
            control: self.control.get(..copied.control).unwrap_or_default(),
            flags,
        }
    }
}

/// Whether a send on this socket raises SIGPIPE where the other end is closed.
const fn raises(socket: &Pinned, flags: i32) -> bool {
    socket.is_stream() && flags & libc::MSG_NOSIGNAL == 0
}

/// What may be copied of a message of this length: all of a datagram or nothing, the start of a stream.
fn bounded(length: u64, stream: bool) -> Result<usize, Errno> {
    match usize::try_from(length) {
        Ok(length) if length <= MAX_DATA => Ok(length),
        _ if stream => Ok(MAX_DATA),
        _ => Err(Errno(libc::EMSGSIZE)),
    }
}

/// The control messages in `bytes`: level, type, and the range of each one's data.
fn control_messages(bytes: &[u8]) -> impl Iterator<Item = (i32, i32, std::ops::Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let header = bytes.get(at..at + CONTROL_HEADER)?;
        let length = usize::try_from(long(header, 0)).ok().filter(|length| *length >= CONTROL_HEADER)?;
        let end = at.checked_add(length).filter(|end| *end <= bytes.len())?;
        let both = long(header, 8);
        let found = (low_word(both), low_word(both >> 32), at + CONTROL_HEADER..end);
        at = end.next_multiple_of(8);
        Some(found)
    })
}

impl Supervisor {
    /// Decides and carries out sendto(2) with an address.
    pub(super) fn send_to(&mut self, notification: &Notification, caller: &Caller) -> Answer {
        let [number, data, length, flags, address, address_length] = notification.arguments;
        let prepared = self.pin(caller, low_word(number)).and_then(|socket| {
            let given = GivenAddress::read(caller.thread, address, address_length)?;
            let copied = self.scratch.copy_plain(caller.thread, data, length, socket.is_stream())?;
            Ok((socket, given, copied))
        });
        let (socket, given, copied) = match prepared {
            Ok(prepared) => prepared,
            Err(missing) => return Answer::Fail(missing.error()),
        };
        self.finish_send(
            notification,
            caller,
            low_word(number),
            &socket,
            Some(&given),
            copied,
            low_word(flags),
        )
    }

    /// Decides and carries out sendmsg(2).
    pub(super) fn send_message(&mut self, notification: &Notification, caller: &Caller) -> Answer {
        let [number, header, flags, ..] = notification.arguments;
        let number = low_word(number);
        let prepared = self.pin(caller, number).and_then(|socket| {
            let header = Header::read(caller.thread, header)?;
            let given = header.address()?;
            let copied = self.scratch.copy_message(&header, socket.is_stream())?;
            Ok((socket, given, copied))
        });
        let (socket, given, copied) = match prepared {
            Ok(prepared) => prepared,
            Err(missing) => return self.without_socket(missing),
        };
        self.finish_send(notification, caller, number, &socket, given.as_ref(), copied, low_word(flags))
    }

    /// A message on a socket that is not at hand: one that passes descriptors. Where no rule refuses a destination it goes
    /// ahead, whatever it is by the time that the kernel reads it.
    fn without_socket(&self, missing: Missing) -> Answer {
        const NOTHING_REFUSED: RegistersOnly = RegistersOnly::because("the policy refuses no destination");
        if matches!(missing, Missing::Connected | Missing::Foreign) && !self.policy.enforces_egress() {
            return Answer::Continue(NOTHING_REFUSED);
        }
        Answer::Fail(missing.error())
    }

    #[expect(clippy::too_many_arguments, reason = "each is one argument of the call that is carried out")]
    fn finish_send(
        &mut self,
        notification: &Notification,
        caller: &Caller,
        number: i32,
        socket: &Pinned,
        given: Option<&GivenAddress>,
        copied: Copied,
        flags: i32,
    ) -> Answer {
        if !self.listener.still_waits(notification.id) {
            return Answer::Elsewhere;
        }
        if let Some(done) = self.done_before(notification, self.scratch.sent()) {
            return done;
        }
        let judged = self
            .judge_claim(caller, socket, copied)
            .and_then(|()| self.judge_send(caller, number, socket, given))
            .and_then(|address| {
                Ok((address, self.take_over_control(notification, caller, socket, copied.control)?))
            });
        let (address, held) = match judged {
            Ok(judged) => judged,
            Err(error) => return Answer::Fail(error),
        };
        let sent = {
            let parcel = self.scratch.parcel(copied, &address, flags | libc::MSG_DONTWAIT);
            socket::send(socket.file.as_fd(), &parcel)
        };
        let may_wait =
            sent == Err(Errno(libc::EAGAIN)) && flags & libc::MSG_DONTWAIT == 0 && socket.is_blocking();
        if may_wait {
            let parcel = self.scratch.parcel(copied, &address, flags);
            return self.send_later(notification, caller, socket, &parcel, held);
        }
        drop(held);
        if sent == Err(Errno(libc::EPIPE)) && raises(socket, flags) {
            return self.end_broken(notification, caller, Answer::Fail(Errno(libc::EPIPE)));
        }
        sent.map(|length| i64::try_from(length).unwrap_or(0)).into()
    }

    fn send_later(
        &self,
        call: &Notification,
        caller: &Caller,
        socket: &Pinned,
        parcel: &Parcel<'_>,
        held: Vec<OwnedFd>,
    ) -> Answer {
        let &Parcel { address, data, control, flags } = parcel;
        let (address, data, control) = (address.to_vec(), data.to_vec(), control.to_vec());
        // A send that waits on an AF_UNIX stream fails without the signal.
        let raises = raises(socket, flags) && socket.domain() != Ok(libc::AF_UNIX);
        let task = Task::Send { address, data, control, held, flags, raises };
        let left = socket.file.try_clone().map_err(Errno::from);
        left.and_then(|file| self.leave_to_worker(call, caller, file, task)).unwrap_or_else(Answer::Fail)
    }

    /// Refuses a message to the agent that its sender may not send.
    fn judge_claim(&mut self, caller: &Caller, socket: &Pinned, copied: Copied) -> Result<(), Errno> {
        let data = self.scratch.data.get(..copied.data).unwrap_or_default();
        let claim = claims::claim(caller, data);
        if socket.is_stream() || claim == Claim::Free || socket.domain()? != libc::AF_UNIX {
            return Ok(());
        }
        if claim == Claim::AsksForEvent {
            // The library says so before the request leaves, so no code of an invocation has run yet. Which other process
            // may ask in the runtime's place is the agent's to judge.
            if self.role_at_api(caller) == Role::Runtime {
                self.facts.note_invocation();
            }
            return Ok(());
        }
        self.refuse(caller, "sendmsg", b"a message to the agent in another's name");
        Err(Errno::EPERM)
    }

    /// Judges a destination, if there is one; the address to send to.
    fn judge_send(
        &mut self,
        caller: &Caller,
        number: i32,
        socket: &Pinned,
        given: Option<&GivenAddress>,
    ) -> Result<KernelAddress, Errno> {
        let mut out = KernelAddress::new();
        let Some(given) = given.map(GivenAddress::as_bytes) else { return Ok(out) };
        // As for connect(2), the family of the address will do where it is an internet address.
        let domain = if is_internet(given) { libc::AF_INET6 } else { socket.domain()? };
        if matches!(domain, libc::AF_INET | libc::AF_INET6) {
            // TCP ignores an address here, once fast open is out of the way.
            if socket.is_stream() {
                return Ok(out);
            }
            // Without one it goes where the socket is connected to, which was judged then.
            if let Internet::At(address) = Internet::parse(given, domain, true)? {
                out.push(self.judge_internet(caller, number, socket, address, ActionKind::Send)?.as_bytes());
            }
            return Ok(out);
        }
        if domain == libc::AF_UNIX && family(given) == Some(libc::AF_UNIX) {
            return self.judge_unix(caller, given);
        }
        // Netlink asks what the sender may.
        self.files.may_serve(caller)?;
        out.push(given);
        Ok(out)
    }

    /// Checks control messages, and replaces the target's descriptors in them by the guard's duplicates, which are
    /// returned so that they live until the message is sent.
    fn take_over_control(
        &mut self,
        notification: &Notification,
        caller: &Caller,
        socket: &Pinned,
        length: usize,
    ) -> Result<Vec<OwnedFd>, Errno> {
        let mut held = Vec::new();
        if length == 0 {
            return Ok(held);
        }
        let mut control = self.scratch.control;
        let bytes = control.get_mut(..length).ok_or(Errno::EINVAL)?;
        let domain = socket.domain()?;
        let messages: Vec<_> = control_messages(bytes).collect();
        for (level, kind, range) in messages {
            match (domain, level, kind) {
                (libc::AF_INET | libc::AF_INET6, level, kind)
                    if sockets::is_sent_by_the_guard(level, kind) => {}
                (libc::AF_UNIX, libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    for number in bytes.get_mut(range).unwrap_or_default().chunks_exact_mut(4) {
                        let target = number.first_chunk().copied().map_or(-1, i32::from_ne_bytes);
                        let file = self.fetch(caller, target)?;
                        number.copy_from_slice(&file.as_raw_fd().to_ne_bytes());
                        held.push(file);
                    }
                }
                _ => return Err(Errno::EPERM),
            }
        }
        // Fetched by the caller's number, they may be another one's who has got it since.
        if !held.is_empty() && !self.was_read_of_caller() && !self.listener.still_waits(notification.id) {
            return Err(Errno(libc::EINTR));
        }
        self.scratch.control = control;
        Ok(held)
    }

    /// Decides and carries out sendmmsg(2).
    pub(super) fn send_messages(&mut self, notification: &Notification, caller: &Caller) -> Answer {
        let [number, vector, count, flags, ..] = notification.arguments;
        let number = low_word(number);
        let socket = match self.pin(caller, number) {
            Ok(socket) => socket,
            Err(missing) => return self.without_socket(missing),
        };
        let count = (count & u64::from(u32::MAX)).min(MAX_MESSAGES);
        let (mut sent, mut failed) = (0, None);
        let begun = Instant::now();
        for index in 0..count {
            if sent > 0 && begun.elapsed() >= PATIENCE {
                break;
            }
            let at = vector.saturating_add(index * HEADER_AND_LENGTH);
            match self.send_one_of_many(notification, caller, number, &socket, at, low_word(flags)) {
                Ok(()) => sent += 1,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let outcome = failed.filter(|_| sent == 0).map_or(Answer::Done(sent), Answer::Fail);
        if failed == Some(Errno(libc::EPIPE)) && raises(&socket, low_word(flags)) {
            return self.end_broken(notification, caller, outcome);
        }
        outcome
    }

    fn send_one_of_many(
        &mut self,
        notification: &Notification,
        caller: &Caller,
        number: i32,
        socket: &Pinned,
        at: u64,
        flags: i32,
    ) -> Result<(), Errno> {
        let header = Header::read(caller.thread, at)?;
        let given = header.address()?;
        let copied = self.scratch.copy_message(&header, socket.is_stream())?;
        if !self.listener.still_waits(notification.id) {
            return Err(Errno(libc::EINTR));
        }
        self.judge_claim(caller, socket, copied)?;
        let address = self.judge_send(caller, number, socket, given.as_ref())?;
        let held = self.take_over_control(notification, caller, socket, copied.control)?;
        let parcel = self.scratch.parcel(copied, &address, flags | libc::MSG_DONTWAIT);
        let length = socket::send(socket.file.as_fd(), &parcel)?;
        drop(held);
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes();
        memory::write(caller.thread, at + HEADER as u64, &length)
    }
}

impl Missing {
    /// The error for a send on a socket that is not at hand. The preload library sends messages without address and
    /// control data by a call that is not asked about, so that ordinary programs do not meet this.
    const fn error(self) -> Errno {
        match self {
            Self::Fails(error) => error,
            Self::Connected | Self::Foreign => Errno(libc::EOPNOTSUPP),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn control_messages_are_walked() {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&20_u64.to_ne_bytes());
        bytes.extend_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
        bytes.extend_from_slice(&libc::SCM_RIGHTS.to_ne_bytes());
        bytes.extend_from_slice(&[7, 0, 0, 0, 0, 0, 0, 0]);
        let found: Vec<_> = control_messages(&bytes).collect();
        assert_eq!(found, [(libc::SOL_SOCKET, libc::SCM_RIGHTS, 16..20)]);
    }

    #[test]
    fn datagrams_are_whole_or_refused_and_streams_short() {
        assert_eq!(bounded(65_536, false), Ok(65_536));
        assert_eq!(bounded(65_537, false), Err(Errno(libc::EMSGSIZE)));
        assert_eq!(bounded(u64::MAX, true), Ok(MAX_DATA));
    }

    proptest! {
        #[test]
        fn garbage_ends_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(control_messages(&bytes).count() <= bytes.len());
        }
    }
}

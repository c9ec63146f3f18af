//! sendmsg(2) and sendmmsg(2): messages taken apart, their destinations judged.
//!
//! A message's head is copied, so that its name cannot be swapped after the verdict. Where the kernel plane decides,
//! a message without name and control data becomes a sendto(2) without address, which its filter lets through
//! without asking.

use ringfence_records::handoff::covers;

use super::control;
use super::{Named, named, refuses_fast_open};
use crate::arch::{Flow, number};
use crate::state::State;
use crate::sys::{self, Errno};
use crate::{own, runtime_api};

/// `struct msghdr` as words: name, its length, vector, its count, control, its length, flags.
const WORDS: usize = 7;
const WORD: usize = size_of::<usize>();
/// Bytes of an entry of sendmmsg's vector: a head and the bytes sent.
const ENTRY: usize = 64;
/// `UIO_MAXIOV`.
const MAX_ENTRIES: usize = 1024;
/// Largest gathered message: the stack may be small, so larger ones are gathered in fresh memory.
const ON_STACK: usize = 4096;
const MAX_GATHERED: usize = 64 * 1024;

/// A copy of a `struct msghdr`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    words: [usize; WORDS],
}

impl Head {
    pub(super) fn read(address: usize) -> Option<Self> {
        let mut words = [0; WORDS];
        for (index, word) in words.iter_mut().enumerate() {
            *word = sys::word_at(address.checked_add(index * WORD)?)?;
        }
        Some(Self { words })
    }

    pub(super) const fn name(&self) -> (usize, usize) {
        let [name, length, ..] = self.words;
        (name, length & 0xffff_ffff)
    }

    const fn vector(&self) -> (usize, usize) {
        let [_, _, vector, count, ..] = self.words;
        (vector, count)
    }

    /// Whether it goes where the socket is connected, with nothing but data.
    const fn is_plain(&self) -> bool {
        let [name, _, _, _, control, control_length, _] = self.words;
        name == 0 && (control == 0 || control_length == 0)
    }

    /// Control data, where there is any: address and length.
    const fn control(&self) -> Option<(usize, usize)> {
        let [_, _, _, _, control, length, _] = self.words;
        if control == 0 || length == 0 { None } else { Some((control, length)) }
    }

    fn with_control(mut self, address: usize) -> Self {
        let [_, _, _, _, control, ..] = &mut self.words;
        *control = address;
        self
    }

    fn with_name(mut self, (name, length): (usize, usize)) -> Self {
        let [first, second, ..] = &mut self.words;
        *first = name;
        *second = length;
        self
    }
}

/// sendmsg(2).
#[inline(never)]
pub(crate) fn sendmsg(state: &State, arguments: [usize; 6]) -> Flow {
    let [socket, message, flags, ..] = arguments;
    if refuses_fast_open(state, flags) {
        return Flow::Done(Errno::OPNOTSUPP.result());
    }
    if !sys::is_readable(message, WORDS * WORD) {
        // The kernel says what is wrong; memory that another thread maps there meanwhile is not looked at.
        return Flow::Done(sys::pass(number::SENDMSG, [socket, 0, flags, 0, 0, 0]));
    }
    let Some(head) = Head::read(message) else { return Flow::Proceed };
    let (vector, count) = head.vector();
    match runtime_api::outgoing_vector(state, socket, vector, count) {
        Flow::Proceed => one(state, socket, &head, flags),
        denied @ Flow::Done(_) => denied,
    }
}

fn one(state: &State, socket: usize, head: &Head, flags: usize) -> Flow {
    if head.is_plain() && state.kernel_decides(covers::EGRESS) {
        return gathered(socket, head, flags);
    }
    let mut copy = None;
    let head = match head.control().filter(|_| state.rules.egress) {
        None => *head,
        Some((address, length)) => {
            copy = control::copied(address, length);
            let Some((room, length)) = &mut copy else { return Flow::Done(Errno::NOBUFS.result()) };
            let bytes = room.bytes().get(..*length).unwrap_or_default();
            if !control::is_harmless(bytes)
                && let refused @ Flow::Done(_) = own::dangerous(state, "sendmsg")
            {
                return refused;
            }
            head.with_control(bytes.as_ptr() as usize)
        }
    };
    let flow = with_name(state, socket, &head, flags);
    drop(copy);
    flow
}

/// Sends a message whose head and control data are copies.
fn with_name(state: &State, socket: usize, head: &Head, flags: usize) -> Flow {
    let send = |head: &Head| {
        Flow::Done(sys::pass(number::SENDMSG, [socket, head.words.as_ptr() as usize, flags, 0, 0, 0]))
    };
    let (name, length) = head.name();
    if name == 0 || length == 0 {
        // By the copy too, or another thread could put a name in between. Without rules it may.
        return if state.rules.egress { send(head) } else { Flow::Proceed };
    }
    match named(state, sys::descriptor(socket), name, length) {
        Named::Proceed => Flow::Proceed,
        Named::Denied => Flow::Done(Errno::PERM.result()),
        Named::Copy(copy) => send(&head.with_name(copy.raw())),
        Named::Peer => {
            let head = head.with_name((0, 0));
            // The kernel plane would ask about it as a message, and not know a socket that it has let go.
            let is_gathered = head.is_plain() && state.kernel_decides(covers::EGRESS);
            if is_gathered { gathered(socket, &head, flags) } else { send(&head) }
        }
    }
}

/// sendmmsg(2): message by message where any of them needs a verdict.
#[inline(never)]
pub(crate) fn sendmmsg(state: &State, arguments: [usize; 6]) -> Flow {
    let [socket, vector, count, flags, ..] = arguments;
    if refuses_fast_open(state, flags) {
        return Flow::Done(Errno::OPNOTSUPP.result());
    }
    let count = (count & 0xffff_ffff).min(MAX_ENTRIES);
    if count > 0 && !sys::is_readable(vector, ENTRY) {
        return Flow::Done(sys::pass(number::SENDMMSG, [socket, 0, count, flags, 0, 0]));
    }
    if !state.rules.egress && !state.kernel_decides(covers::EGRESS) {
        return Flow::Proceed;
    }
    let head_at = |index: usize| {
        let entry = vector.checked_add(index * ENTRY)?;
        Some((entry, Head::read(entry).filter(|_| sys::is_readable(entry, ENTRY))?))
    };
    let mut sent = 0;
    for index in 0..count {
        let Some((entry, head)) = head_at(index) else { break };
        let result = match one(state, socket, &head, flags) {
            Flow::Done(result) => result,
            Flow::Proceed => sys::pass(number::SENDMSG, [socket, entry, flags, 0, 0, 0]),
        };
        match sys::check(result) {
            Ok(bytes) => sys::put_number(entry + WORDS * WORD, u32::try_from(bytes).unwrap_or(u32::MAX)),
            Err(_) if sent > 0 => break,
            Err(_) => return Flow::Done(result),
        }
        sent += 1;
    }
    Flow::Done(sent)
}

/// Sends a plain message by sendto(2) without address; larger ones than fit go as they are.
fn gathered(socket: usize, head: &Head, flags: usize) -> Flow {
    let total = parts(head).map(|(_, length)| length).fold(0, usize::saturating_add);
    if total > MAX_GATHERED {
        return Flow::Proceed;
    }
    if total <= ON_STACK {
        let mut buffer = [0; ON_STACK];
        return send_gathered(socket, head, flags, &mut buffer);
    }
    let Ok(memory) = sys::memory_near(0, MAX_GATHERED) else { return Flow::Proceed };
    let address = memory.as_ptr() as usize;
    let flow = send_gathered(socket, head, flags, memory);
    sys::unmap(address, MAX_GATHERED);
    flow
}

#[inline(never)]
fn send_gathered(socket: usize, head: &Head, flags: usize, buffer: &mut [u8]) -> Flow {
    let mut used = 0_usize;
    for (address, length) in parts(head) {
        let Some(room) = buffer.get_mut(used..used.saturating_add(length)) else { return Flow::Proceed };
        if !sys::copy_from(address, room) {
            return Flow::Proceed;
        }
        used += length;
    }
    Flow::Done(sys::pass(number::SENDTO, [socket, buffer.as_ptr() as usize, used, flags, 0, 0]))
}

/// The buffers of a message: address and length.
fn parts(head: &Head) -> impl Iterator<Item = (usize, usize)> {
    let (vector, count) = head.vector();
    (0..count.min(MAX_ENTRIES)).map_while(move |index| {
        let at = vector.checked_add(index * 2 * WORD)?;
        Some((sys::word_at(at)?, sys::word_at(at.checked_add(WORD)?)?))
    })
}

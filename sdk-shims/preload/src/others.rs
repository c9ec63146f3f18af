//! Calls that reach other processes without a signal of their own: limits, priorities, and signals by the kernel.
//!
//! At the same user id each of them can stop or kill the agent or the guard: no CPU time, no descriptors, or a signal
//! whenever a descriptor is ready. Aimed at those two they are refused, as signals are; everything else passes.
//! `handler` calls it.

use ringfence_records::handoff::covers;

use crate::arch::{Flow, number};
use crate::own;
use crate::state::State;
use crate::sys;

const F_SETOWN: usize = 8;
const F_SETOWN_EX: usize = 15;
const FIOSETOWN: usize = 0x8901;
const SIOCSPGRP: usize = 0x8902;

/// fcntl(2) and ioctl(2): who gets a descriptor's signals. Where the process stands in memory, the call is made with a copy, since
/// another thread may write there.
pub(crate) fn owner(state: &State, call: usize, arguments: [usize; 6]) -> Flow {
    let [descriptor, command, argument, ..] = arguments;
    let command = command & 0xffff_ffff;
    let mut copy = [0_u8; 8];
    let (target, copied) = match (call, command) {
        (number::FCNTL, F_SETOWN) => (Some(sys::descriptor(argument)), false),
        // struct f_owner_ex: a type and a process, thread or group.
        (number::FCNTL, F_SETOWN_EX) => {
            let copied = sys::copy_from(argument, &mut copy);
            (copied.then(|| second_int(copy)), copied)
        }
        (number::IOCTL, FIOSETOWN | SIOCSPGRP) => {
            let copied = copy.first_chunk_mut::<4>().is_some_and(|copy| sys::copy_from(argument, copy));
            (copied.then(|| first_int(copy)), copied)
        }
        _ => return Flow::Proceed,
    };
    if state.kernel_decides(covers::DANGEROUS) {
        return Flow::Proceed;
    }
    let name = if call == number::FCNTL { "fcntl" } else { "ioctl" };
    match refuse_if(state, target.is_some_and(|target| own::reaches(state, target)), name) {
        Flow::Proceed if copied => {
            Flow::Done(sys::pass(call, [descriptor, command, copy.as_ptr() as usize, 0, 0, 0]))
        }
        flow => flow,
    }
}

const fn first_int([a, b, c, d, ..]: [u8; 8]) -> i32 {
    i32::from_ne_bytes([a, b, c, d])
}

const fn second_int([.., a, b, c, d]: [u8; 8]) -> i32 {
    i32::from_ne_bytes([a, b, c, d])
}

/// prlimit(2), setpriority(2), `ioprio_set(2)` and the `sched_set*` calls: `None` where `call` is none of them.
pub(crate) fn burden(state: &State, call: usize, [first, second, third, ..]: [usize; 6]) -> Option<Flow> {
    const USER: usize = 2;
    const IOPRIO_USER: usize = 3;
    // Negative numbers name nothing here: the kernel says EINVAL or ESRCH.
    let process = |target: usize| {
        let target = sys::descriptor(target);
        target > 0 && own::reaches(state, target)
    };
    let group = |target: usize| {
        let target = sys::descriptor(target);
        target >= 0 && own::reaches(state, -target)
    };
    let (name, reaches) = match call {
        // Reading another's limits is harmless.
        number::PRLIMIT64 => ("prlimit", third != 0 && process(first)),
        number::SETPRIORITY => (
            "setpriority",
            match first {
                0 => process(second),
                1 => group(second),
                USER => true,
                _ => false,
            },
        ),
        number::IOPRIO_SET => (
            "ioprio_set",
            match first {
                1 => process(second),
                2 => group(second),
                IOPRIO_USER => true,
                _ => false,
            },
        ),
        number::SCHED_SETPARAM => ("sched_setparam", process(first)),
        number::SCHED_SETSCHEDULER => ("sched_setscheduler", process(first)),
        number::SCHED_SETAFFINITY => ("sched_setaffinity", process(first)),
        number::SCHED_SETATTR => ("sched_setattr", process(first)),
        _ => return None,
    };
    Some(refuse_if(state, reaches, name))
}

fn refuse_if(state: &State, reaches: bool, name: &'static str) -> Flow {
    if reaches { own::dangerous(state, name) } else { Flow::Proceed }
}

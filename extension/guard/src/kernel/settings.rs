//! Limits and scheduling of another process: what a call sets, copied, and set by the guard.
//!
//! Every copy has a bound. It decides nothing; `others` asks before, and says who is out of bounds.

use super::arguments::low_word;
use super::message::long;
use super::numbers::Protected;
use crate::sys::others::{self, MAX_ATTRIBUTES, MAX_PROCESSORS};
use crate::sys::seccomp::Notification;
use crate::sys::{Errno, memory};

/// Every call that sets something of another process, with its name, and which argument is the process.
const CALLS: [(libc::c_long, &str, usize); 7] = [
    (libc::SYS_sched_setaffinity, "sched_setaffinity", 0),
    (libc::SYS_sched_setscheduler, "sched_setscheduler", 0),
    (libc::SYS_sched_setparam, "sched_setparam", 0),
    (libc::SYS_sched_setattr, "sched_setattr", 0),
    (libc::SYS_prlimit64, "prlimit64", 0),
    (libc::SYS_setpriority, "setpriority", 1),
    (libc::SYS_ioprio_set, "ioprio_set", 1),
];
/// The first length of a `sched_attr`, which 0 stands for.
const FIRST_ATTRIBUTES: u32 = 48;

/// What is set. The filter has refused setpriority(2) and `ioprio_set(2)` of groups and users already.
#[derive(Debug)]
pub(super) enum Setting {
    Limits { resource: i32, new: [u64; 2], old: [u64; 2], old_at: u64 },
    Affinity { processors: Box<[u8; MAX_PROCESSORS]>, length: usize },
    Scheduler { policy: Option<i32>, parameter: i32 },
    Attributes { bytes: Box<[u8; MAX_ATTRIBUTES]>, flags: u32, at: u64 },
    Priority(i32),
    IoPriority(i32),
}

impl Setting {
    pub(super) fn is_made_by(call: libc::c_long) -> bool {
        CALLS.iter().any(|(made, ..)| *made == call)
    }

    pub(super) fn name(call: libc::c_long) -> &'static str {
        CALLS.iter().find(|(made, ..)| *made == call).map_or("", |(_, name, _)| *name)
    }

    /// The argument that is the process.
    pub(super) fn target(notification: &Notification) -> u64 {
        let call = libc::c_long::from(notification.number);
        let place = CALLS.iter().find(|(made, ..)| *made == call).map(|(.., place)| *place);
        place.and_then(|place| notification.arguments.get(place).copied()).unwrap_or(0)
    }

    /// Copies what a call sets.
    pub(super) fn read(notification: &Notification, thread: u32) -> Result<Self, Errno> {
        let [_, second, third, fourth, ..] = notification.arguments;
        Ok(match libc::c_long::from(notification.number) {
            libc::SYS_prlimit64 => {
                let mut bytes = [0; 16];
                memory::read_exactly(thread, third, &mut bytes)?;
                let new = [long(&bytes, 0), long(&bytes, 8)];
                Self::Limits { resource: low_word(second), new, old: [0; 2], old_at: fourth }
            }
            libc::SYS_sched_setaffinity => {
                let length = usize::try_from(low_word(second).cast_unsigned()).unwrap_or(MAX_PROCESSORS);
                let length = length.min(MAX_PROCESSORS);
                let mut processors = Box::new([0; MAX_PROCESSORS]);
                // What the kernel has no processors for it does not read, so that need not be there.
                memory::read(thread, third, processors.get_mut(..length).unwrap_or_default())?;
                Self::Affinity { processors, length }
            }
            libc::SYS_sched_setscheduler => Self::Scheduler {
                policy: Some(low_word(second)),
                parameter: read_word(thread, third)?.cast_signed(),
            },
            libc::SYS_sched_setparam => {
                Self::Scheduler { policy: None, parameter: read_word(thread, second)?.cast_signed() }
            }
            libc::SYS_sched_setattr => read_attributes(thread, second, low_word(third).cast_unsigned())?,
            libc::SYS_setpriority => Self::Priority(low_word(third)),
            libc::SYS_ioprio_set => Self::IoPriority(low_word(third)),
            _ => return Err(Errno(libc::ENOSYS)),
        })
    }

    /// Sets it. `None` where the number is of one who is out of bounds.
    pub(super) fn make(&mut self, number: u32, protected: Protected) -> Option<Result<(), Errno>> {
        if let Self::Affinity { processors, length } = self {
            return protected.set_affinity(number, processors.get(..*length).unwrap_or_default());
        }
        protected.act(number, || match self {
            Self::Limits { resource, new, old, .. } => {
                others::set_limits(number, *resource, *new).map(|limits| *old = limits)
            }
            Self::Scheduler { policy, parameter } => others::set_scheduler(number, *policy, *parameter),
            Self::Attributes { bytes, flags, .. } => others::set_attributes(number, bytes, *flags),
            Self::Priority(nice) => others::set_priority(number, *nice),
            Self::IoPriority(priority) => others::set_io_priority(number, *priority),
            Self::Affinity { .. } => Err(Errno::EINVAL),
        })
    }

    /// Writes what the kernel would write: the limits that there were, and which length of attributes it knows.
    pub(super) fn tell(
        &self,
        thread: u32,
        set: Result<(), Errno>,
        still_waits: impl Fn() -> bool,
    ) -> Result<(), Errno> {
        match (self, set) {
            (Self::Limits { old, old_at, .. }, Ok(())) if *old_at != 0 && still_waits() => {
                let [soft, hard] = old.map(u64::to_ne_bytes);
                memory::write(thread, *old_at, &[soft, hard].concat())
            }
            (Self::Attributes { bytes, at, .. }, Err(Errno(libc::E2BIG))) if still_waits() => {
                let length = bytes.first_chunk::<4>().copied().unwrap_or_default();
                memory::write(thread, *at, &length).and(set)
            }
            _ => set,
        }
    }
}

fn read_word(thread: u32, address: u64) -> Result<u32, Errno> {
    let mut bytes = [0; 4];
    memory::read_exactly(thread, address, &mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}

fn read_attributes(thread: u32, at: u64, flags: u32) -> Result<Setting, Errno> {
    let length = read_word(thread, at)?;
    let read = if length == 0 { FIRST_ATTRIBUTES } else { length };
    let mut bytes = Box::new([0; MAX_ATTRIBUTES]);
    let read = usize::try_from(read).unwrap_or(MAX_ATTRIBUTES).min(MAX_ATTRIBUTES);
    memory::read_exactly(thread, at, bytes.get_mut(..read).unwrap_or_default())?;
    // As it was when it was copied by: the kernel reads no further than that, or nothing where it is no length.
    if let Some(first) = bytes.first_chunk_mut() {
        *first = length.to_ne_bytes();
    }
    Ok(Setting::Attributes { bytes, flags, at })
}

//! The handler: which calls are taken over, and who judges each.
//!
//! A patched site leads here with the number and the arguments of a call. This module only routes; what it does not
//! list goes on at the site as if nothing had happened. It runs in signal handlers and in vfork children.

use ringfence_records::calls;
use ringfence_records::handoff::covers;

use crate::arch::{self, Flow, number};
use crate::children::Mark;
use crate::exec::{self, Request};
use crate::files::{self, Open};
use crate::own::{self, Signal};
use crate::state::{self, State};
use crate::sys::{self, Errno};
use crate::{children, mapping, memory_calls, modes, network, others, pins, remembered, runtime_api, scope};

/// Whether sites of this call are patched in every process.
pub(crate) fn wants(call: usize) -> bool {
    matches!(
        call,
        number::EXECVE
            | number::EXECVEAT
            | number::OPEN
            | number::OPENAT
            | number::OPENAT2
            | number::CREAT
            | number::CONNECT
            | number::SENDTO
            | number::SENDMSG
            | number::SENDMMSG
            | number::BIND
            | number::LISTEN
            | number::SOCKET
            | number::RECVFROM
            | number::RECVMSG
            | number::PTRACE
            | number::PROCESS_VM_READV
            | number::PROCESS_VM_WRITEV
            | number::PIDFD_GETFD
            | number::KILL
            | number::TKILL
            | number::TGKILL
            | number::RT_SIGQUEUEINFO
            | number::RT_TGSIGQUEUEINFO
            | number::PIDFD_SEND_SIGNAL
            | number::CLOSE
            | number::CLOSE_RANGE
            | number::DUP2
            | number::DUP3
            | number::MMAP
            | number::MPROTECT
            | number::PKEY_MPROTECT
            | number::MADVISE
            | number::MREMAP
            | number::MUNMAP
            | number::SHMAT
            | number::REMAP_FILE_PAGES
            | number::PROCESS_MADVISE
            | number::USERFAULTFD
            | number::SETSOCKOPT
            | number::PERSONALITY
            | number::PRCTL
            | number::ARCH_PRCTL
            | number::SECCOMP
            | number::UNSHARE
            | number::SETNS
            | number::FCNTL
            | number::IOCTL
            | number::PRLIMIT64
            | number::SETPRIORITY
            | number::SCHED_SETPARAM
            | number::SCHED_SETSCHEDULER
            | number::SCHED_SETAFFINITY
            | number::SCHED_SETATTR
            | number::IOPRIO_SET
            | number::IO_URING_SETUP
            | number::CLONE
            | number::CLONE3
            | number::FORK
    )
}

/// Calls that change names, patched in every process: rules and scopes may speak of them.
pub(crate) fn changes_names(call: usize) -> bool {
    matches!(
        call,
        number::RENAME
            | number::RENAMEAT
            | number::RENAMEAT2
            | number::LINK
            | number::LINKAT
            | number::SYMLINK
            | number::SYMLINKAT
            | number::UNLINK
            | number::UNLINKAT
            | number::RMDIR
            | number::MKDIR
            | number::MKDIRAT
            | number::MKNOD
            | number::MKNODAT
            | number::TRUNCATE
    )
}

/// Whether sites of this call are patched in the runtime only: they show when it asks for the next event.
pub(crate) fn wants_in_runtime(call: usize) -> bool {
    matches!(call, number::WRITE | number::WRITEV)
}

/// Judges a call.
pub(crate) fn handle(call: usize, arguments: [usize; 6]) -> Flow {
    let Some(state) = state::get() else { return Flow::Proceed };
    if call > calls::LAST {
        // A kernel that does not know the number says the same, and programs fall back.
        return Flow::Done(Errno::NOSYS.result());
    }
    if state.fork_mark.as_ref().is_some_and(Mark::is_unset) {
        children::limit_fork(state);
    }
    let [first, second, third, ..] = arguments;
    match call {
        number::OPENAT => files::open(state, &Open::openat(arguments)),
        number::OPEN => files::open(state, &Open::plain(arguments)),
        number::OPENAT2 => files::open(state, &Open::openat2(arguments)),
        number::CREAT => files::open(state, &Open::creat(arguments)),
        number::CLOSE => own::close(state, arguments),
        number::DUP2 | number::DUP3 => own::dup(state, arguments),
        number::CLOSE_RANGE => own::close_range(state, arguments),
        number::MMAP => mapping::map(state, arguments),
        number::MPROTECT
        | number::PKEY_MPROTECT
        | number::MADVISE
        | number::MREMAP
        | number::MUNMAP
        | number::SHMAT
        | number::REMAP_FILE_PAGES
        | number::PROCESS_MADVISE
        | number::USERFAULTFD => memory_calls::change(state, call, arguments),
        number::FCNTL | number::IOCTL => own::control(state, call, arguments),
        number::SETSOCKOPT => network::option(state, arguments),
        number::PERSONALITY
        | number::PRCTL
        | number::ARCH_PRCTL
        | number::SECCOMP
        | number::UNSHARE
        | number::SETNS => modes::change(state, call, arguments),
        number::EXECVE => exec::exec(state, &Request::execve(arguments)),
        number::EXECVEAT => exec::exec(state, &Request::execveat(arguments)),
        number::WRITE => runtime_api::outgoing(state, first, second, third),
        number::WRITEV => runtime_api::outgoing_vector(state, first, second, third),
        number::SENDTO => network::sendto(state, arguments),
        number::SENDMSG => network::sendmsg(state, arguments),
        number::SENDMMSG => network::sendmmsg(state, arguments),
        number::CONNECT => network::connect(state, arguments),
        number::BIND => network::bind(state, arguments),
        number::LISTEN => network::listen(state, arguments),
        number::SOCKET if state.kernel_decides(covers::EGRESS) => {
            Flow::Done(sys::pass_whole(call, arguments))
        }
        number::SOCKET => Flow::Proceed,
        number::CLONE | number::CLONE3 if modes::leaves(state, call, first) => {
            modes::new_namespace(state, call)
        }
        number::CLONE => {
            pins::note_clone(first);
            runtime_api::note_clone(first);
            scope::spread(first, arch::thread_pointer_of_clone(arguments));
            remembered::note_clone(first);
            Flow::Proceed
        }
        number::CLONE3 => {
            let flags = sys::word_at(first).unwrap_or(pins::CLONE_FILES);
            pins::note_clone(flags);
            runtime_api::note_clone(flags);
            scope::spread_by_structure(first);
            remembered::note_clone(flags);
            Flow::Proceed
        }
        number::FORK => {
            remembered::note_company();
            Flow::Proceed
        }
        number::KILL if scope::is_request(second) => Flow::Done(scope::request(first, second)),
        number::TGKILL if scope::is_raised_request(third) => Flow::Done(scope::raised_request(third)),
        number::TKILL if scope::is_raised_request(second) => Flow::Done(scope::raised_request(second)),
        number::RECVFROM => network::recvfrom(state, arguments),
        number::RECVMSG => network::recvmsg(state, arguments),
        call if changes_names(call) => files::names::change(state, call, arguments),
        call if wants(call) => dangerous(state, call, arguments),
        // A site that many calls share leads here for each of them (libc's place for all that can be cancelled,
        // syscall(3)): those wait, and what a signal does to a wait is between the kernel and libc.
        _ => Flow::Proceed,
    }
}

/// Calls that act on other processes, or around the library.
#[inline(never)]
fn dangerous(state: &State, call: usize, arguments: [usize; 6]) -> Flow {
    if call == number::IO_URING_SETUP {
        // A ring opens files and connects without any call that a site could show. Libraries fall back.
        return Flow::Done(Errno::NOSYS.result());
    }
    if state.kernel_decides(covers::DANGEROUS) {
        return Flow::Done(sys::pass_whole(call, arguments));
    }
    if let Some(flow) = others::burden(state, call, arguments) {
        return flow;
    }
    match call {
        // A process may read and write its own memory by this call, as samplers do: it is no target of an attack.
        number::PROCESS_VM_READV | number::PROCESS_VM_WRITEV if own::is_itself(arguments) => Flow::Proceed,
        number::PTRACE => own::dangerous(state, "ptrace"),
        number::PROCESS_VM_READV => own::dangerous(state, "process_vm_readv"),
        number::PROCESS_VM_WRITEV => own::dangerous(state, "process_vm_writev"),
        number::PIDFD_GETFD => own::dangerous(state, "pidfd_getfd"),
        number::KILL => own::signal(state, Signal::Process, "kill", arguments),
        number::TKILL => own::signal(state, Signal::Thread, "tkill", arguments),
        number::TGKILL => own::signal(state, Signal::ThreadOfProcess, "tgkill", arguments),
        // Without a value the kernel says EFAULT.
        number::RT_SIGQUEUEINFO if arguments[2] == 0 => Flow::Proceed,
        number::RT_SIGQUEUEINFO => own::signal(state, Signal::Thread, "rt_sigqueueinfo", arguments),
        number::RT_TGSIGQUEUEINFO => {
            own::signal(state, Signal::ThreadOfProcess, "rt_tgsigqueueinfo", arguments)
        }
        number::PIDFD_SEND_SIGNAL => own::signal(state, Signal::Descriptor, "pidfd_send_signal", arguments),
        _ => Flow::Proceed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_takes_over_what_the_table_of_system_calls_says() {
        for row in calls::rows() {
            let Some(number) = row.here().map(|number| number as usize) else { continue };
            let is_taken = wants(number) || changes_names(number);
            let expected = match row.process {
                "passes" => [false, false],
                "watched" => [false, true],
                _ => [true, false],
            };
            assert_eq!([is_taken, wants_in_runtime(number)], expected, "{}", row.name);
        }
    }
}

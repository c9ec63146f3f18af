//! The filter as data: which system calls are refused, which are asked about, and why.
//!
//! Everything that is not here passes untouched. A refusal here holds even when the guard is gone; a question that
//! nobody answers is refused by the kernel (ENOSYS). Numbers and flags only: what a pointer points to is the
//! supervisor's to read. `filter::compile` calls it.

use libc::c_long;
use ringfence_records::sockets::{Error, IOCTLS, OPTIONS};

/// What the filter answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The call goes ahead.
    Allow,
    /// The supervisor decides.
    Ask,
    /// The call fails with this error; 0 makes it a success without effect.
    Fail(i32),
}

/// A test of one argument, by its number from 0. All but [`Atom::Null`] look at the low 32 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Atom {
    /// Equals the value.
    Is(u8, u32),
    /// Differs from the value.
    IsNot(u8, u32),
    /// Has at least one of the bits.
    Any(u8, u32),
    /// Has none of the bits.
    No(u8, u32),
    /// All 64 bits are zero.
    Null(u8),
    /// Is one of the values.
    In(u8, &'static [u32]),
    /// Masked, is none of the values.
    Outside(u8, u32, &'static [u32]),
}

/// A condition and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// All of these must hold.
    pub when: Vec<Atom>,
    /// Then this is the answer.
    pub then: Action,
}

/// What happens to one system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Number of the call.
    pub call: u32,
    /// Tried in order.
    pub cases: Vec<Case>,
    /// The answer where none of the cases holds.
    pub otherwise: Action,
    /// Why the rule is there.
    pub reason: &'static str,
}

/// Which calls on files are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// None.
    Unasked,
    /// Opens that write, for what lies in `/proc`: no rule speaks of them.
    Opens,
    /// Opens that write, and calls that change names.
    All,
}

/// What the filter depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The runtime's process id: its threads may signal each other unasked.
    pub runtime: u32,
    /// Whether `socket()` is asked about, so that the guard can make the socket itself.
    pub registry: bool,
    /// Whether `bind()` and `listen()` are asked about.
    pub bind: bool,
    /// How long the addresses of the agent's sockets are: binds of such a length are always asked about.
    pub agent_addresses: [u32; 2],
    /// Which calls on files are asked about.
    pub writes: Writes,
}

const REFUSED_IOCTLS: &[u32] = {
    let [first, second, third, fourth] = IOCTLS;
    &[first.number, second.number, third.number, fourth.number]
};

/// `0xffffffff` asks, 0 is Linux as it is, 8 has the names of 32-bit machines, `0x20000` a kernel's version of 2.6.
const PLAIN_PERSONALITIES: &[u32] = &[u32::MAX, 0, 8, 0x2_0000, 0x2_0008];

const EPERM: Action = Action::Fail(libc::EPERM);
pub(super) const ENOSYS: Action = Action::Fail(libc::ENOSYS);

/// `CLONE_NEWCGROUP`, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWNS.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
const CLONE_NEWTIME: u32 = 0x80;
const CLONE_FILES: u32 = 0x400;
const CLONE_THREAD: u32 = 0x1_0000;
const MSG_FASTOPEN: u32 = 0x2000_0000;
const MSG_ZEROCOPY: u32 = 0x0400_0000;
/// What the kernel says where it has no room for zero copy; callers then send plainly.
const NO_ZEROCOPY: Action = Action::Fail(libc::ENOBUFS);
const AT_EMPTY_PATH: u32 = 0x1000;
const CLOSE_RANGE_UNSHARE: u32 = 2;
const AF_UNIX: u32 = 1;
const INTERNET: &[u32] = &[2, 10];
const AF_NETLINK: u32 = 16;
/// Ignored by who does not handle it. All others end or stop a process, so children may not send them to the runtime.
const SIGURG: u32 = 23;

/// `open_tree_attr` (Linux 6.15), the same on both architectures.
const OPEN_TREE_ATTR: c_long = 467;
/// Which libc has for `x86_64` only.
#[cfg(target_arch = "x86_64")]
pub(super) const KEXEC_FILE_LOAD: c_long = libc::SYS_kexec_file_load;
/// Which libc has for `x86_64` only.
#[cfg(target_arch = "aarch64")]
pub(super) const KEXEC_FILE_LOAD: c_long = 294;

pub(super) fn rule(call: c_long, cases: Vec<Case>, otherwise: Action, reason: &'static str) -> Rule {
    Rule { call: u32::try_from(call).unwrap_or(u32::MAX), cases, otherwise, reason }
}

pub(super) fn case(when: Vec<Atom>, then: Action) -> Case {
    Case { when, then }
}

/// Calls that are refused whatever their arguments, with the error that callers cope with best.
const REFUSED: &[(c_long, Action, &str)] = &[
    (
        libc::SYS_io_uring_setup,
        ENOSYS,
        "its operations pass no filter; ENOSYS makes libuv and tokio fall back",
    ),
    (libc::SYS_io_uring_enter, ENOSYS, "as io_uring_setup, on a ring that came from elsewhere"),
    (libc::SYS_io_uring_register, ENOSYS, "as io_uring_setup"),
    (libc::SYS_clone3, ENOSYS, "its flags are in memory; libc falls back to clone"),
    (libc::SYS_pidfd_getfd, ENOSYS, "takes descriptors out of other processes"),
    (
        libc::SYS_pidfd_send_signal,
        ENOSYS,
        "names its target by descriptor, which can be swapped; callers fall back to kill",
    ),
    (libc::SYS_add_key, ENOSYS, "kernel attack surface that no function needs"),
    (libc::SYS_request_key, ENOSYS, "starts a helper program outside the filter"),
    (libc::SYS_keyctl, ENOSYS, "kernel attack surface that no function needs"),
    (libc::SYS_move_pages, EPERM, "acts on the memory of other processes"),
    (libc::SYS_migrate_pages, EPERM, "acts on the memory of other processes"),
];

/// Calls that serve attacks, profilers and debuggers only: refused by the supervisor, so that there is a record, and by
/// the kernel (ENOSYS) when it is gone. Each with its name in the record.
const REPORTED: &[(c_long, &str, &str)] = &[
    (libc::SYS_ptrace, "ptrace", "reads and writes other processes"),
    (libc::SYS_process_vm_readv, "process_vm_readv", "reads the memory of other processes"),
    (libc::SYS_process_vm_writev, "process_vm_writev", "writes the memory of other processes"),
    (libc::SYS_kcmp, "kcmp", "tells an attacker which descriptors the guard holds"),
    (libc::SYS_process_madvise, "process_madvise", "acts on the memory of other processes"),
    (libc::SYS_userfaultfd, "userfaultfd", "lets the target stall the supervisor's reads"),
    (libc::SYS_bpf, "bpf", "kernel attack surface"),
    (libc::SYS_perf_event_open, "perf_event_open", "kernel attack surface"),
    (libc::SYS_name_to_handle_at, "name_to_handle_at", "first half of an open that names no path"),
    (libc::SYS_open_by_handle_at, "open_by_handle_at", "an open that names no path"),
    (libc::SYS_open_tree, "open_tree", "makes descriptors that can be opened again past path rules"),
    (OPEN_TREE_ATTR, "open_tree_attr", "as open_tree"),
    (libc::SYS_move_mount, "move_mount", "changes what paths mean"),
    (libc::SYS_fsopen, "fsopen", "changes what paths mean"),
    (libc::SYS_fsmount, "fsmount", "changes what paths mean"),
    (libc::SYS_fspick, "fspick", "changes what paths mean"),
    (libc::SYS_mount_setattr, "mount_setattr", "changes what paths mean"),
    (libc::SYS_mount, "mount", "changes what paths mean"),
    (libc::SYS_umount2, "umount2", "changes what paths mean"),
    (libc::SYS_pivot_root, "pivot_root", "changes what paths mean"),
    (libc::SYS_chroot, "chroot", "changes what paths mean, for the supervisor's reading of them"),
    (libc::SYS_setns, "setns", "leaves the name spaces in which the supervisor judges"),
    (libc::SYS_kexec_load, "kexec_load", "replaces the kernel"),
    (KEXEC_FILE_LOAD, "kexec_file_load", "replaces the kernel"),
    (libc::SYS_init_module, "init_module", "changes the kernel"),
    (libc::SYS_finit_module, "finit_module", "changes the kernel"),
    (libc::SYS_delete_module, "delete_module", "changes the kernel"),
];

/// The name of a call that the supervisor always refuses.
#[must_use]
pub fn reported(call: c_long) -> Option<&'static str> {
    let partly = (call == libc::SYS_personality).then_some("personality");
    REPORTED.iter().find(|(reported, ..)| *reported == call).map(|(_, name, _)| *name).or(partly)
}

/// Calls that are asked about whatever their arguments.
const ASKED: &[(c_long, &str)] = &[
    (libc::SYS_execve, "process rules"),
    (libc::SYS_connect, "egress rules"),
    (libc::SYS_rt_sigqueueinfo, "may be aimed at the guard or the agent"),
];

/// Calls that act on another process unless their first argument is zero.
const ON_OTHERS: &[(c_long, &str)] = &[
    (libc::SYS_sched_setaffinity, "could starve the guard"),
    (libc::SYS_sched_setscheduler, "could starve the guard"),
    (libc::SYS_sched_setparam, "could starve the guard"),
    (libc::SYS_sched_setattr, "could starve the guard"),
];

/// Every rule of the filter.
#[must_use]
pub fn rules(options: Options) -> Vec<Rule> {
    let refused = REFUSED.iter().map(|(call, action, reason)| rule(*call, vec![], *action, reason));
    let reported = REPORTED.iter().map(|(call, _, reason)| rule(*call, vec![], Action::Ask, reason));
    let asked = ASKED.iter().map(|(call, reason)| rule(*call, vec![], Action::Ask, reason));
    let others = ON_OTHERS.iter().map(|(call, reason)| {
        rule(*call, vec![case(vec![Atom::Is(0, 0)], Action::Allow)], Action::Ask, reason)
    });
    let mut rules: Vec<_> = refused.chain(reported).chain(asked).chain(others).collect();
    rules.extend(sockets(options));
    rules.extend(signals(options));
    rules.extend(processes());
    rules.extend(descriptors());
    match options.writes {
        Writes::All => rules.extend(super::writes::opens().into_iter().chain(super::writes::names())),
        Writes::Opens => rules.extend(super::writes::opens()),
        // LANDLOCK_CREATE_RULESET_VERSION.
        Writes::Unasked => rules.push(rule(
            libc::SYS_landlock_create_ruleset,
            vec![case(vec![Atom::Is(2, 1)], Action::Ask)],
            Action::Allow,
            "a program's own rules on files bind it, those on the network not, since the guard connects: it hears of a version without",
        )),
    }
    rules
}

fn sockets(options: Options) -> Vec<Rule> {
    let unsupported = |error| Action::Fail(error);
    let mut rules = vec![
        rule(
            libc::SYS_socket,
            vec![
                case(
                    vec![Atom::Outside(0, u32::MAX, &[AF_UNIX, 2, 10, AF_NETLINK])],
                    unsupported(libc::EAFNOSUPPORT),
                ),
                case(vec![Atom::In(0, INTERNET), Atom::Outside(1, 0xf, &[1, 2])], EPERM),
                case(vec![Atom::Is(0, AF_UNIX), Atom::Outside(1, 0xf, &[1, 2, 5])], EPERM),
                case(
                    vec![Atom::In(0, INTERNET), Atom::Outside(2, u32::MAX, &[0, 6, 17])],
                    unsupported(libc::EPROTONOSUPPORT),
                ),
                case(vec![Atom::Is(0, AF_NETLINK), Atom::IsNot(2, 0)], unsupported(libc::EPROTONOSUPPORT)),
            ],
            if options.registry { Action::Ask } else { Action::Allow },
            "no sockets that egress rules do not see: vsock, raw, SCTP, MPTCP, ICMP; netlink only to ask for routes",
        ),
        rule(
            libc::SYS_socketpair,
            vec![case(vec![Atom::IsNot(0, AF_UNIX)], unsupported(libc::EAFNOSUPPORT))],
            Action::Allow,
            "only AF_UNIX has pairs that a function needs",
        ),
        rule(
            libc::SYS_sendto,
            vec![
                case(vec![Atom::Any(3, MSG_FASTOPEN)], unsupported(libc::EOPNOTSUPP)),
                case(vec![Atom::Null(4)], Action::Allow),
                case(vec![Atom::Any(3, MSG_ZEROCOPY)], NO_ZEROCOPY),
            ],
            Action::Ask,
            "egress rules, where there is an address; TCP fast open would connect unseen; what the guard sends it copies",
        ),
        rule(
            libc::SYS_sendmsg,
            vec![
                case(vec![Atom::Any(2, MSG_FASTOPEN)], unsupported(libc::EOPNOTSUPP)),
                case(vec![Atom::Any(2, MSG_ZEROCOPY)], NO_ZEROCOPY),
            ],
            Action::Ask,
            "egress rules: whether there is an address stands in memory",
        ),
        rule(
            libc::SYS_sendmmsg,
            vec![
                case(vec![Atom::Any(3, MSG_FASTOPEN)], unsupported(libc::EOPNOTSUPP)),
                case(vec![Atom::Any(3, MSG_ZEROCOPY)], NO_ZEROCOPY),
            ],
            Action::Ask,
            "egress rules: whether there is an address stands in memory",
        ),
        rule(
            libc::SYS_setsockopt,
            refused_options().collect(),
            Action::Allow,
            "TCP fast open connects unseen; IP source routes and IPv6 routing headers change where packets go",
        ),
    ];
    if options.bind || options.registry {
        let reason = if options.bind {
            "egress.listen"
        } else {
            "the registry may hold the address for a socket that is closed"
        };
        rules.push(rule(libc::SYS_bind, vec![], Action::Ask, reason));
    }
    if options.bind {
        rules.push(rule(
            libc::SYS_listen,
            vec![],
            Action::Ask,
            "egress.listen: without a bind it picks a port",
        ));
    } else if !options.registry {
        let [control, report] =
            options.agent_addresses.map(|length| case(vec![Atom::Is(2, length)], Action::Ask));
        rules.push(rule(
            libc::SYS_bind,
            vec![control, report],
            Action::Allow,
            "who takes the agent's name when it is gone would be taken for it; a name is as long as its address says",
        ));
    }
    rules
}

/// The options of [`OPTIONS`], which both planes share.
fn refused_options() -> impl Iterator<Item = Case> {
    OPTIONS.iter().map(|row| {
        let error = match row.error {
            Error::NotPermitted => libc::EPERM,
            Error::NotSupported => libc::EOPNOTSUPP,
        };
        case(vec![Atom::Is(1, row.level), Atom::In(2, row.options)], Action::Fail(error))
    })
}

/// Signal 0 is no signal but a question whether somebody is there, which children ask about their parent all the time.
fn signals(options: Options) -> Vec<Rule> {
    let aimed = "may be aimed at the guard or the agent; signal 0 is a question";
    vec![
        rule(libc::SYS_kill, vec![case(vec![Atom::Is(1, 0)], Action::Allow)], Action::Ask, aimed),
        rule(libc::SYS_tkill, vec![case(vec![Atom::Is(1, 0)], Action::Allow)], Action::Ask, aimed),
        rule(
            libc::SYS_tgkill,
            vec![
                case(vec![Atom::Is(2, 0)], Action::Allow),
                case(vec![Atom::Is(0, options.runtime), Atom::Is(2, SIGURG)], Action::Allow),
            ],
            Action::Ask,
            "may be aimed at the guard; Go's threads interrupt each other all the time, by a signal that ends nobody",
        ),
        rule(libc::SYS_rt_tgsigqueueinfo, vec![], Action::Ask, "as tgkill"),
    ]
}

fn processes() -> Vec<Rule> {
    vec![
        rule(
            libc::SYS_execveat,
            vec![case(vec![Atom::Any(4, AT_EMPTY_PATH)], ENOSYS)],
            Action::Ask,
            "process rules; an exec by descriptor alone could be swapped, libc falls back to /proc/self/fd",
        ),
        rule(
            libc::SYS_clone,
            vec![
                case(vec![Atom::Any(0, NEW_NAMESPACES)], EPERM),
                case(vec![Atom::Any(0, CLONE_THREAD), Atom::No(0, CLONE_FILES)], EPERM),
            ],
            Action::Allow,
            "name spaces change what is judged; a thread with descriptors of its own could show the guard others",
        ),
        rule(
            libc::SYS_unshare,
            vec![case(vec![Atom::Any(0, NEW_NAMESPACES | CLONE_NEWTIME | CLONE_FILES)], EPERM)],
            Action::Allow,
            "as clone",
        ),
        rule(
            libc::SYS_seccomp,
            vec![
                case(vec![Atom::In(0, &[2, 3])], Action::Allow),
                case(vec![Atom::Is(0, 1), Atom::Is(1, 0)], Action::Ask),
            ],
            EPERM,
            "a listener of the target's own would answer for the guard; children may restrict themselves",
        ),
        rule(
            libc::SYS_prctl,
            vec![
                case(vec![Atom::Is(0, 4), Atom::Is(1, 0)], Action::Fail(0)),
                case(vec![Atom::In(0, &[22, 35, 59, 0x5961_6d61])], EPERM),
            ],
            Action::Allow,
            "PR_SET_DUMPABLE 0 would blind the guard; PR_SET_SECCOMP as seccomp; PR_SET_MM, user dispatch, PR_SET_PTRACER",
        ),
        rule(
            libc::SYS_personality,
            vec![case(vec![Atom::In(0, PLAIN_PERSONALITIES)], Action::Allow)],
            Action::Ask,
            "READ_IMPLIES_EXEC makes code of what is only mapped, other states change what mappings mean",
        ),
        rule(
            libc::SYS_setpgid,
            vec![case(vec![Atom::Is(1, 0)], Action::Allow)],
            Action::Ask,
            "a kill(0) that was looked at in one group could be carried out in the guard's",
        ),
        rule(
            libc::SYS_prlimit64,
            vec![case(vec![Atom::Is(0, 0)], Action::Allow), case(vec![Atom::Null(2)], Action::Allow)],
            Action::Ask,
            "a CPU limit of zero kills the guard",
        ),
        rule(
            libc::SYS_setpriority,
            vec![
                case(vec![Atom::Is(0, 0), Atom::Is(1, 0)], Action::Allow),
                case(vec![Atom::IsNot(0, 0)], EPERM),
            ],
            Action::Ask,
            "could starve the guard",
        ),
        rule(
            libc::SYS_ioprio_set,
            vec![
                case(vec![Atom::Is(0, 1), Atom::Is(1, 0)], Action::Allow),
                case(vec![Atom::IsNot(0, 1)], EPERM),
            ],
            Action::Ask,
            "could starve the guard",
        ),
    ]
}

fn descriptors() -> Vec<Rule> {
    vec![
        rule(
            libc::SYS_fcntl,
            vec![case(vec![Atom::In(1, &[8, 10, 15])], EPERM)],
            Action::Allow,
            "F_SETOWN, F_SETSIG, F_SETOWN_EX: signals to others by way of a descriptor",
        ),
        rule(
            libc::SYS_ioctl,
            vec![case(vec![Atom::In(1, REFUSED_IOCTLS)], EPERM)],
            Action::Allow,
            "FIOSETOWN, SIOCSPGRP: signals to others; TIOCSTI types into a terminal; USERFAULTFD_IOC_NEW as userfaultfd",
        ),
        rule(
            libc::SYS_close_range,
            vec![case(vec![Atom::Any(2, CLOSE_RANGE_UNSHARE)], EPERM)],
            Action::Allow,
            "a thread with descriptors of its own could show the guard others",
        ),
    ]
}

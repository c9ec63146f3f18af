//! The seccomp profiles of children (`process.syscalls`): deny lists as data, compiled by seccompiler.
//!
//! A profile comes on top of what the kernel plane supervises, and is installed by the preload library in a forked
//! child right before its exec, so it is no part of the guard's own filter. seccompiler's installer is not used: it
//! calls prctl(2), which Lambda refuses. `launch` calls [`compile`].

use std::collections::BTreeMap;

use libc::c_long;
use ringfence_policy::{CompiledPolicy, SyscallProfile, SystemCall};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// What only attacks on the kernel or on other processes need. `process.syscalls = "baseline"`.
const BASELINE: &[(&str, c_long, &str)] = &[
    ("ptrace", libc::SYS_ptrace, "takes other processes over"),
    ("process_vm_readv", libc::SYS_process_vm_readv, "reads the runtime's memory"),
    ("process_vm_writev", libc::SYS_process_vm_writev, "writes the runtime's memory"),
    ("process_madvise", libc::SYS_process_madvise, "acts on the memory of others"),
    ("pidfd_getfd", libc::SYS_pidfd_getfd, "takes descriptors of others"),
    ("kcmp", libc::SYS_kcmp, "tells what others hold"),
    ("bpf", libc::SYS_bpf, "kernel attack surface"),
    ("userfaultfd", libc::SYS_userfaultfd, "makes kernel races easy to win"),
    ("perf_event_open", libc::SYS_perf_event_open, "kernel attack surface"),
    ("add_key", libc::SYS_add_key, "kernel attack surface"),
    ("request_key", libc::SYS_request_key, "kernel attack surface"),
    ("keyctl", libc::SYS_keyctl, "kernel attack surface"),
    ("io_uring_setup", libc::SYS_io_uring_setup, "operations that no filter sees"),
    ("io_uring_enter", libc::SYS_io_uring_enter, "operations that no filter sees"),
    ("io_uring_register", libc::SYS_io_uring_register, "operations that no filter sees"),
    ("mount", libc::SYS_mount, "changes what paths mean"),
    ("umount2", libc::SYS_umount2, "changes what paths mean"),
    ("pivot_root", libc::SYS_pivot_root, "changes what paths mean"),
    ("move_mount", libc::SYS_move_mount, "changes what paths mean"),
    ("open_tree", libc::SYS_open_tree, "changes what paths mean"),
    ("fsopen", libc::SYS_fsopen, "changes what paths mean"),
    ("fsmount", libc::SYS_fsmount, "changes what paths mean"),
    ("setns", libc::SYS_setns, "leaves the name spaces of the function"),
    ("unshare", libc::SYS_unshare, "makes name spaces, and with them rights inside"),
    ("init_module", libc::SYS_init_module, "changes the kernel"),
    ("finit_module", libc::SYS_finit_module, "changes the kernel"),
    ("delete_module", libc::SYS_delete_module, "changes the kernel"),
    ("kexec_load", libc::SYS_kexec_load, "replaces the kernel"),
    ("kexec_file_load", super::table::KEXEC_FILE_LOAD, "replaces the kernel"),
    ("reboot", libc::SYS_reboot, "ends the environment"),
];

/// What small tools (converters, curl, git, Python) do without, besides. `process.syscalls = "strict"`.
const STRICT: &[(&str, c_long, &str)] = &[
    ("open_by_handle_at", libc::SYS_open_by_handle_at, "opens that name no path"),
    ("name_to_handle_at", libc::SYS_name_to_handle_at, "first half of an open that names no path"),
    ("swapon", libc::SYS_swapon, "administration"),
    ("swapoff", libc::SYS_swapoff, "administration"),
    ("acct", libc::SYS_acct, "administration"),
    ("quotactl", libc::SYS_quotactl, "administration"),
    ("syslog", libc::SYS_syslog, "reads kernel messages, and addresses with them"),
    ("settimeofday", libc::SYS_settimeofday, "sets the clock"),
    ("clock_settime", libc::SYS_clock_settime, "sets the clock"),
    ("clock_adjtime", libc::SYS_clock_adjtime, "sets the clock"),
    ("adjtimex", libc::SYS_adjtimex, "sets the clock"),
    ("sethostname", libc::SYS_sethostname, "administration"),
    ("setdomainname", libc::SYS_setdomainname, "administration"),
    ("vhangup", libc::SYS_vhangup, "administration"),
    ("chroot", libc::SYS_chroot, "changes what paths mean"),
    ("personality", libc::SYS_personality, "turns off address randomisation and W^X"),
    ("fanotify_init", libc::SYS_fanotify_init, "watches what others open"),
    ("lookup_dcookie", libc::SYS_lookup_dcookie, "profiling of the kernel"),
    ("mbind", libc::SYS_mbind, "kernel attack surface"),
    ("set_mempolicy", libc::SYS_set_mempolicy, "kernel attack surface"),
    ("migrate_pages", libc::SYS_migrate_pages, "acts on the memory of others"),
    ("move_pages", libc::SYS_move_pages, "acts on the memory of others"),
    ("nfsservctl", libc::SYS_nfsservctl, "administration"),
    ("vmsplice", libc::SYS_vmsplice, "kernel attack surface"),
    ("pidfd_send_signal", libc::SYS_pidfd_send_signal, "signals to others by descriptor"),
];

/// A profile as bytes of `struct sock_filter`, and the names in it that this machine does not know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Compiled {
    /// The filter; empty where the policy asks for none.
    pub bytes: Vec<u8>,
    /// Names that could not be denied.
    pub unknown: Vec<String>,
}

/// Compiles what the policy says of children.
#[must_use]
pub fn compile(policy: &CompiledPolicy<'_>) -> Compiled {
    let (mut calls, unknown) = denied(policy.syscall_profile(), policy.denied_syscalls());
    calls.sort_unstable();
    if calls.is_empty() {
        return Compiled { bytes: Vec::new(), unknown };
    }
    program(&calls).map_or_else(Compiled::default, |program| Compiled { bytes: bytes(&program), unknown })
}

fn denied<'p>(profile: SyscallProfile, extra: impl Iterator<Item = &'p str>) -> (Vec<c_long>, Vec<String>) {
    let lists: &[&[_]] = match profile {
        SyscallProfile::None => &[],
        SyscallProfile::Baseline => &[BASELINE],
        SyscallProfile::Strict => &[BASELINE, STRICT],
    };
    let mut calls: Vec<c_long> =
        lists.iter().flat_map(|list| list.iter()).map(|(_, call, _)| *call).collect();
    let mut unknown = Vec::new();
    for name in extra {
        match SystemCall::named(name) {
            // A call that this architecture does not have is denied by that.
            Some(call) => calls.extend(call.number_here().map(c_long::from)),
            None => unknown.push(name.to_owned()),
        }
    }
    (calls, unknown)
}

fn program(calls: &[c_long]) -> Option<BpfProgram> {
    let rules: BTreeMap<i64, Vec<seccompiler::SeccompRule>> =
        calls.iter().map(|call| (*call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let architecture = TargetArch::try_from(std::env::consts::ARCH).ok()?;
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture).ok()?.try_into().ok()
}

fn bytes(program: &BpfProgram) -> Vec<u8> {
    let instruction = |filter: &seccompiler::sock_filter| {
        let [code_low, code_high] = filter.code.to_ne_bytes();
        let [a, b, c, d] = filter.k.to_ne_bytes();
        [code_low, code_high, filter.jt, filter.jf, a, b, c, d]
    };
    program.iter().flat_map(instruction).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::assembler::ARCHITECTURE;
    use crate::filter::interpreter::{Call, run};
    use crate::sys::seccomp::{Instruction, RET_ALLOW, RET_ERRNO};

    fn answer(profile: SyscallProfile, extra: &[&str], call: c_long) -> u32 {
        let (calls, _) = denied(profile, extra.iter().copied());
        let instructions: Vec<_> = bytes(&program(&calls).unwrap())
            .chunks_exact(8)
            .map(|chunk| Instruction {
                code: u16::from_ne_bytes([chunk[0], chunk[1]]),
                jump_true: chunk[2],
                jump_false: chunk[3],
                operand: u32::from_ne_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]),
            })
            .collect();
        let call =
            Call { number: u32::try_from(call).unwrap(), architecture: ARCHITECTURE, arguments: [0; 6] };
        run(&instructions, &call).0
    }

    #[test]
    fn profiles_deny_what_they_list_and_nothing_else() {
        let eperm = RET_ERRNO | libc::EPERM as u32;
        for call in BASELINE.iter().map(|(_, call, _)| *call) {
            assert_eq!(answer(SyscallProfile::Baseline, &[], call), eperm);
        }
        for (name, call, _) in STRICT {
            assert_eq!(answer(SyscallProfile::Strict, &[], *call), eperm, "{name}");
            assert_eq!(answer(SyscallProfile::Baseline, &[], *call), RET_ALLOW, "{name}");
        }
        for call in [libc::SYS_execve, libc::SYS_openat, libc::SYS_clone, libc::SYS_connect, libc::SYS_kill] {
            assert_eq!(answer(SyscallProfile::Strict, &[], call), RET_ALLOW);
        }
    }

    #[test]
    fn a_policy_can_deny_by_name() {
        assert_ne!(answer(SyscallProfile::Baseline, &["socket"], libc::SYS_socket), RET_ALLOW);
        let (_, unknown) = denied(SyscallProfile::None, ["no_such_call"].into_iter());
        assert_eq!(unknown, ["no_such_call"]);
    }

    #[test]
    fn a_name_that_only_another_architecture_has_is_no_mistake() {
        let (_, unknown) = denied(SyscallProfile::None, ["chmod", "fchmodat", "arch_prctl"].into_iter());
        assert!(unknown.is_empty());
    }

    #[test]
    fn the_profiles_and_the_table_of_names_agree() {
        for (name, call, _) in BASELINE.iter().chain(STRICT) {
            let known = SystemCall::named(name).and_then(SystemCall::number_here).map(c_long::from);
            assert!(known.is_none_or(|known| known == *call), "{name}");
        }
    }

    #[test]
    fn no_call_is_listed_twice() {
        let mut names: Vec<_> = BASELINE.iter().chain(STRICT).map(|(name, ..)| *name).collect();
        let listed = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), listed);
    }
}

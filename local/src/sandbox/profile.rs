//! The seccomp filters of the profiles: what Lambda's own filter refuses, as far as it is known.
//!
//! Decides which system call gets which answer (the sources are in docs/local.md). Knows nothing of policies.
//! Called by the `__start` sub-command, last before it becomes the runtime or an extension.
//!
//! ```text
//! arch != native            -> KILL_PROCESS (SIGSYS)
//! nr >= 425                 -> ENOSYS (x32 numbers have bit 30 set: the same)
//! nr in REFUSED             -> EPERM
//! clone with CLONE_NEW*     -> EPERM
//! anything else             -> ALLOW
//! ```

use seccompiler::sock_filter;

use crate::options::Profile;

/// What `strict` refuses with EPERM, each with the sighting it stands for.
const REFUSED: &[i64] = &[
    libc::SYS_prctl, // every option that anyone has reported, PR_SET_NAME and PR_SET_NO_NEW_PRIVS included
    libc::SYS_ptrace,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
];

/// The first number that an old platform filter does not know (`io_uring_setup`).
const FIRST_UNKNOWN: u32 = 425;

const LOAD_WORD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const OFFSET_NR: u32 = 0;
const OFFSET_ARCH: u32 = 4;
/// Low word of the first argument on the little-endian machines that are supported.
const OFFSET_ARG0: u32 = 16;

const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;
const EPERM: u32 = ERRNO | 1;
const ENOSYS: u32 = ERRNO | 0x26;

/// `CLONE_NEWTIME` aside (clone(2) reads that bit as part of the signal number): NEWCGROUP, NEWUTS, NEWIPC, NEWUSER,
/// NEWPID, NEWNET, NEWNS.
const CLONE_NEW: u32 = 0x7e02_0000;

#[cfg(target_arch = "x86_64")]
const NATIVE_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE_ARCH: u32 = 0xc000_00b7;

/// The program for a profile; `None` where the profile has no filter.
#[must_use]
pub fn filter(profile: Profile) -> Option<Vec<sock_filter>> {
    let refuses_seccomp = match profile {
        Profile::Strict => true,
        Profile::Nested => false,
        Profile::Open | Profile::ManagedInstances => return None,
    };
    let mut program = vec![
        load(OFFSET_ARCH),
        jump(JUMP_EQUAL, NATIVE_ARCH, 1, 0),
        answer(KILL_PROCESS),
        load(OFFSET_NR),
        jump(JUMP_AT_LEAST, FIRST_UNKNOWN, 0, 1),
        answer(ENOSYS),
    ];
    let seccomp = refuses_seccomp.then_some(libc::SYS_seccomp);
    for number in REFUSED.iter().copied().chain(seccomp) {
        program.extend([jump(JUMP_EQUAL, word(number), 0, 1), answer(EPERM)]);
    }
    program.extend([
        jump(JUMP_EQUAL, word(libc::SYS_clone), 0, 3),
        load(OFFSET_ARG0),
        jump(JUMP_ANY_BIT, CLONE_NEW, 0, 1),
        answer(EPERM),
        answer(ALLOW),
    ]);
    Some(program)
}

fn word(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn load(offset: u32) -> sock_filter {
    sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: offset }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn answer(action: u32) -> sock_filter {
    sock_filter { code: RETURN, jt: 0, jf: 0, k: action }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small interpreter for the five instructions that the filter is made of.
    fn run(program: &[sock_filter], nr: u32, arch: u32, arg0: u32) -> u32 {
        let (mut at, mut acc) = (0usize, 0u32);
        loop {
            let op = &program[at];
            at += 1;
            let taken = match op.code {
                LOAD_WORD => {
                    acc = [(OFFSET_NR, nr), (OFFSET_ARCH, arch), (OFFSET_ARG0, arg0)]
                        .iter()
                        .find(|(o, _)| *o == op.k)
                        .unwrap()
                        .1;
                    continue;
                }
                RETURN => return op.k,
                JUMP_EQUAL => acc == op.k,
                JUMP_AT_LEAST => acc >= op.k,
                JUMP_ANY_BIT => acc & op.k != 0,
                other => panic!("unknown instruction {other}"),
            };
            at += usize::from(if taken { op.jt } else { op.jf });
        }
    }

    fn expected(nr: u32, arg0: u32, seccomp_refused: bool) -> u32 {
        let number = i64::from(nr);
        if nr >= FIRST_UNKNOWN {
            ENOSYS
        } else if REFUSED.contains(&number)
            || (number == libc::SYS_seccomp && seccomp_refused)
            || (number == libc::SYS_clone && arg0 & CLONE_NEW != 0)
        {
            EPERM
        } else {
            ALLOW
        }
    }

    #[test]
    fn every_number_gets_the_answer_of_its_profile() {
        for (profile, seccomp) in [(Profile::Strict, true), (Profile::Nested, false)] {
            let program = filter(profile).unwrap();
            for nr in (0..600).chain([0x4000_0000, 0x4000_003b, u32::MAX]) {
                for arg0 in [0, 17, 0x1000_0000, 0x0002_0000, 0x003d_0f00] {
                    assert_eq!(
                        run(&program, nr, NATIVE_ARCH, arg0),
                        expected(nr, arg0, seccomp),
                        "{nr} {arg0:x}"
                    );
                }
            }
            assert_eq!(run(&program, 11, 0x4000_0003, 0), KILL_PROCESS);
        }
    }

    #[test]
    fn open_profiles_have_no_filter() {
        assert!(filter(Profile::Open).is_none());
        assert!(filter(Profile::ManagedInstances).is_none());
    }
}

//! The filter, run by the interpreter.

use super::interpreter::{Call, run};
use super::table::{Action, Atom, Options, Rule, Writes};
use super::{assembler, compile, compile_rules, table};
use crate::sys::{Errno, call_refused};
use proptest::prelude::*;
use ringfence_records::calls;

const RUNTIME: u32 = 17;

fn options() -> [Options; 12] {
    std::array::from_fn(|bits| Options {
        runtime: RUNTIME,
        registry: bits & 1 != 0,
        bind: bits & 2 != 0,
        agent_addresses: [35, 52],
        writes: [Writes::Unasked, Writes::All, Writes::Opens][bits / 4],
    })
}

fn call(number: libc::c_long, arguments: &[u64]) -> Call {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    Call { number: u32::try_from(number).unwrap(), architecture: assembler::ARCHITECTURE, arguments: all }
}

fn answer(number: libc::c_long, arguments: &[u64]) -> u32 {
    run(&compile(options()[7]).unwrap(), &call(number, arguments)).0
}

const ALLOW: u32 = Action::Allow.number();
const ASK: u32 = Action::Ask.number();
const EPERM: u32 = Action::Fail(libc::EPERM).number();

/// The rules' meaning, written a second time without jumps.
fn meaning(rules: &[Rule], call: &Call) -> u32 {
    if call.number as usize > calls::LAST {
        return Action::Fail(libc::ENOSYS).number();
    }
    let Some(rule) = rules.iter().find(|rule| rule.call == call.number) else { return ALLOW };
    let low = |argument: u8| u32::try_from(call.arguments[usize::from(argument)] & 0xffff_ffff).unwrap();
    let holds = |atom: &Atom| match *atom {
        Atom::Is(argument, value) => low(argument) == value,
        Atom::IsNot(argument, value) => low(argument) != value,
        Atom::Any(argument, bits) => low(argument) & bits != 0,
        Atom::No(argument, bits) => low(argument) & bits == 0,
        Atom::Null(argument) => call.arguments[usize::from(argument)] == 0,
        Atom::In(argument, values) => values.contains(&low(argument)),
        Atom::Outside(argument, mask, values) => !values.contains(&(low(argument) & mask)),
    };
    let case = rule.cases.iter().find(|case| case.when.iter().all(holds));
    case.map_or(rule.otherwise, |case| case.then).number()
}

#[test]
fn it_is_small_and_all_jumps_reach() {
    for options in options() {
        let program = compile(options).unwrap();
        assert!(program.len() < 550, "{} instructions", program.len());
    }
}

#[test]
fn a_program_that_asks_for_landlock_is_answered_and_may_use_it_unless_writes_are_supervised() {
    for options in options() {
        let program = compile(options).unwrap();
        let create = |flags| run(&program, &call(libc::SYS_landlock_create_ruleset, &[4096, 8, flags])).0;
        let unsupported = Action::Fail(libc::EOPNOTSUPP).number();
        let expected = match options.writes {
            Writes::Unasked => [ALLOW, ASK, ASK],
            Writes::Opens | Writes::All => [unsupported; 3],
        };
        assert_eq!([create(0), create(1), create((1 << 32) + 1)], expected);
    }
}

#[test]
fn binds_of_the_agents_names_are_asked_about_without_rules_too() {
    for options in options() {
        let program = compile(options).unwrap();
        let bind = |length: u64| run(&program, &call(libc::SYS_bind, &[3, 4096, length])).0;
        assert_eq!([bind(35), bind(52), bind((1 << 32) + 35)], [ASK; 3]);
        let others = if options.bind || options.registry { ASK } else { ALLOW };
        assert_eq!([bind(16), bind(28), bind(110), bind(34)], [others; 4]);
    }
}

#[test]
fn other_architectures_die_and_x32_does_not_exist() {
    let program = compile(options()[0]).unwrap();
    // AUDIT_ARCH_I386, ARM, X86_64 and AARCH64, of which one is this machine's.
    for architecture in [0x4000_0003, 0x4000_0028, 0xc000_003e, 0xc000_00b7] {
        let answer = run(&program, &Call { architecture, ..call(0, &[]) }).0;
        let native = architecture == assembler::ARCHITECTURE;
        assert_eq!(answer, if native { ALLOW } else { crate::sys::seccomp::RET_KILL }, "{architecture:#x}");
    }
    let x32 = Call { number: 0x4000_003b, ..call(0, &[]) };
    assert_eq!(run(&program, &x32).0, Action::Fail(libc::ENOSYS).number());
}

#[test]
fn hot_calls_pass_without_a_look_at_their_arguments() {
    for number in
        [libc::SYS_read, libc::SYS_write, libc::SYS_futex, libc::SYS_mmap, libc::SYS_openat, libc::SYS_close]
    {
        assert_eq!(run(&compile(options()[3]).unwrap(), &call(number, &[1; 6])), (ALLOW, false));
    }
}

#[test]
fn the_filter_does_what_the_table_of_system_calls_says() {
    let all: Vec<Vec<Rule>> = options().into_iter().map(table::rules).collect();
    for row in calls::rows() {
        let Some(number) = row.here() else { continue };
        let found: Vec<&Rule> = all.iter().flatten().filter(|rule| rule.call == number).collect();
        let always = |action: fn(Action) -> bool| {
            found.iter().all(|rule| rule.cases.is_empty() && action(rule.otherwise))
        };
        let does = match &found[..] {
            [] => "passes",
            _ if always(|action| matches!(action, Action::Fail(_))) => "refused",
            _ if always(|action| action == Action::Ask) => "asked",
            _ => "judged",
        };
        assert_eq!(does, row.kernel, "{}", row.name);
    }
    let known = |rule: &&Rule| calls::rows().any(|row| row.here() == Some(rule.call));
    assert!(all.iter().flatten().all(|rule| known(&rule)), "a rule for a number that the table lacks");
}

#[test]
fn what_later_kernels_know_is_not_there() {
    let last = libc::c_long::try_from(calls::LAST).unwrap();
    assert_eq!([answer(last, &[]), answer(last + 1, &[])], [ALLOW, Action::Fail(libc::ENOSYS).number()]);
}

#[test]
fn only_states_that_change_no_mapping_pass() {
    for plain in [0xffff_ffff, u64::MAX, 0, 8, 0x2_0000, 0x2_0008] {
        assert_eq!(answer(libc::SYS_personality, &[plain]), ALLOW, "{plain:x}");
    }
    for changing in [0x40_0000, 0x4_0000, 0x10_0000, 1 << 32 | 0x40_0000] {
        assert_eq!(answer(libc::SYS_personality, &[changing]), ASK, "{changing:x}");
    }
    assert_eq!(table::reported(libc::SYS_personality), Some("personality"));
}

#[test]
fn opens_are_told_apart_by_their_flags() {
    let here = 0xffff_ff9c;
    for reading in [0, 0o2_000_000, 0o200_000, 0o10_000_002, 0o4000, 0o400_000] {
        assert_eq!(answer(libc::SYS_openat, &[here, 1, reading]), ALLOW, "{reading:o}");
    }
    for writing in [1, 2, 3, 0o100, 0o1000, 0o20_200_002, 0o2001, 1 << 32 | 1] {
        assert_eq!(answer(libc::SYS_openat, &[here, 1, writing]), ASK, "{writing:o}");
    }
    assert_eq!(answer(libc::SYS_openat2, &[here, 1, 1, 24]), Action::Fail(libc::ENOSYS).number());
    assert_eq!(run(&compile(options()[3]).unwrap(), &call(libc::SYS_openat, &[here, 1, 2])), (ALLOW, false));
}

#[test]
fn what_must_hold_without_the_guard_is_static() {
    for (arguments, expected) in [
        (&[1, 1 << 3][..], EPERM),
        (&[1, 1 << 5], EPERM),
        (&[0, 0], EPERM),
        (&[7, 0], EPERM),
        (&[1, 0], ASK),
        (&[2, 0], ALLOW),
    ] {
        assert_eq!(answer(libc::SYS_seccomp, arguments), expected, "seccomp{arguments:?}");
    }
    assert_eq!(answer(libc::SYS_prctl, &[22, 2]), EPERM);
    assert_eq!(answer(libc::SYS_prctl, &[15]), ALLOW);
    assert_eq!(answer(libc::SYS_prctl, &[4, 0]), Action::Fail(0).number());
}

#[test]
fn integers_are_compared_as_the_kernel_takes_them() {
    let vsock_in_disguise = 0x1_0000_0028;
    assert_eq!(
        answer(libc::SYS_socket, &[vsock_in_disguise, 1, 0]),
        Action::Fail(libc::EAFNOSUPPORT).number()
    );
    assert_eq!(answer(libc::SYS_seccomp, &[1 << 32 | 1, 1 << 3]), EPERM);
    assert_eq!(answer(libc::SYS_sendto, &[3, 0, 0, 0, 1 << 32, 16]), ASK, "a pointer is 64 bits");
    assert_eq!(answer(libc::SYS_sendto, &[3, 0, 0, 0, 0, 16]), ALLOW);
}

#[test]
fn what_runtimes_do_all_day_is_left_alone() {
    assert_eq!(answer(libc::SYS_tgkill, &[u64::from(RUNTIME), 20, 23]), ALLOW);
    assert_eq!(answer(libc::SYS_tgkill, &[u64::from(RUNTIME), 20, 9]), ASK);
    assert_eq!(answer(libc::SYS_clone, &[0x003d_0f00]), ALLOW, "pthread_create");
    assert_eq!(answer(libc::SYS_clone, &[0x4111]), ALLOW, "vfork");
    assert_eq!(answer(libc::SYS_clone, &[0x1_0100]), EPERM, "a thread without CLONE_FILES");
    assert_eq!(answer(libc::SYS_socket, &[16, 0x8_0003, 0]), ASK, "netlink route");
    assert_eq!(answer(libc::SYS_socket, &[2, 3, 1]), EPERM, "raw");
    assert_eq!(answer(libc::SYS_socket, &[2, 1, 262]), Action::Fail(libc::EPROTONOSUPPORT).number(), "MPTCP");
}

/// Values that the atoms of a rule tell apart, for one argument.
fn interesting(rule: &Rule, wanted: u8) -> Vec<u64> {
    let mut values = vec![0, 1, u64::from(u32::MAX), 1 << 32];
    for atom in rule.cases.iter().flat_map(|case| &case.when) {
        match *atom {
            Atom::Is(argument, value)
            | Atom::IsNot(argument, value)
            | Atom::Any(argument, value)
            | Atom::No(argument, value)
                if argument == wanted =>
            {
                values.push(u64::from(value));
            }
            Atom::In(argument, list) | Atom::Outside(argument, _, list) if argument == wanted => {
                values.extend(list.iter().map(|value| u64::from(*value)));
            }
            _ => {}
        }
    }
    values
}

fn inputs(rule: &Rule) -> Vec<Call> {
    let mut calls = vec![call(rule.call.into(), &[])];
    for argument in 0..5 {
        let values = interesting(rule, argument);
        if values.len() == 4 && !rule.cases.iter().any(|case| case.when.contains(&Atom::Null(argument))) {
            continue;
        }
        calls = calls
            .iter()
            .flat_map(|base| {
                values.iter().map(|value| {
                    let mut varied = *base;
                    varied.arguments[usize::from(argument)] = *value;
                    varied
                })
            })
            .collect();
    }
    calls
}

#[test]
fn no_rule_and_no_case_is_redundant() {
    for options in options() {
        let rules = table::rules(options);
        for (index, rule) in rules.iter().enumerate() {
            let differs = |changed: &[Rule]| {
                let program = compile_rules(changed.to_vec()).unwrap();
                inputs(rule).iter().any(|input| run(&program, input).0 != meaning(&rules, input))
            };
            let mut without = rules.clone();
            without.remove(index);
            assert!(differs(&without), "rule {}: {}", rule.call, rule.reason);
            for case in 0..rule.cases.len() {
                let mut without = rules.clone();
                without[index].cases.remove(case);
                assert!(differs(&without), "case {case} of {}: {}", rule.call, rule.reason);
            }
        }
    }
}

/// The kernel's own opinion: a thread under the filter makes each call that it refuses or asks about. A question that
/// nobody can answer, since there is no listener, is ENOSYS.
#[test]
fn the_kernel_takes_every_rule_as_the_interpreter_does() {
    for options in options() {
        let rules = table::rules(options);
        let program = compile(options).unwrap();
        let calls: Vec<_> = rules
            .iter()
            .flat_map(|rule| inputs(rule).into_iter().map(move |input| (rule.call, input)))
            .map(|(rule, input)| (rule, input, run(&program, &input).0))
            .filter(|(.., answer)| *answer != ALLOW)
            .collect();
        let answers: Vec<_> = std::thread::scope(|scope| {
            let under_the_filter = || {
                crate::sys::process::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).unwrap();
                crate::sys::seccomp::install(&program, 0).unwrap();
                calls.iter().map(|(_, call, _)| call_refused(call.number, call.arguments)).collect()
            };
            scope.spawn(under_the_filter).join().unwrap()
        });
        for ((_, call, answer), found) in calls.iter().zip(answers) {
            let expected = match answer & 0xffff {
                _ if *answer == ASK => Err(Errno(libc::ENOSYS)),
                0 => Ok(0),
                error => Err(Errno(i32::try_from(error).unwrap())),
            };
            assert_eq!(found, expected, "{call:?}");
        }
        let covered = |rule: &Rule| calls.iter().any(|(number, ..)| *number == rule.call);
        let quiet: Vec<_> = rules.iter().filter(|rule| !covered(rule)).map(|rule| rule.reason).collect();
        assert!(quiet.is_empty(), "never refused, never asked about: {quiet:?}");
    }
}

#[test]
fn every_rule_does_what_the_table_says() {
    for options in options() {
        let rules = table::rules(options);
        let program = compile(options).unwrap();
        for rule in &rules {
            for input in inputs(rule) {
                assert_eq!(run(&program, &input).0, meaning(&rules, &input), "{input:?}: {}", rule.reason);
            }
        }
    }
}

proptest! {
    #[test]
    fn any_call_gets_what_the_table_says(number in 0_u32..1024, arguments: [u64; 6]) {
        let rules = table::rules(options()[7]);
        let program = compile(options()[7]).unwrap();
        let input = Call { number, architecture: assembler::ARCHITECTURE, arguments };
        prop_assert_eq!(run(&program, &input).0, meaning(&rules, &input));
    }
}

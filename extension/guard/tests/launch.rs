//! The launcher: what is missing or broken around it never keeps the runtime from starting, unless the user says so.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod support;

use support::{Profile, guarded, text, without};

const PROFILES: [Profile; 3] = [Profile::Open, Profile::Nested, Profile::Strict];

#[test]
fn the_process_plane_hands_down_two_sealed_pages() {
    let program = "import os\n\
                   handoff, state = map(int, os.environ['RINGFENCE_FDS'].split(','))\n\
                   print(handoff >= 900, state >= 900)\n\
                   print(os.readlink(f'/proc/self/fd/{handoff}'), os.readlink(f'/proc/self/fd/{state}'))\n\
                   print(os.pread(handoff, 8, 0), os.pread(state, 8, 0))\n\
                   print(sorted(map(int, os.listdir('/proc/self/fd')))[:4])\n\
                   try: os.pwrite(handoff, b'x', 0)\n\
                   except PermissionError: print('sealed')\n";
    for profile in PROFILES {
        let output = guarded(profile, "tools", &["/usr/bin/python3", "-c", program]).output().unwrap();
        let expected = "True True\n\
                        /memfd:ringfence-handoff (deleted) /memfd:ringfence-state (deleted)\n\
                        b'RFHAND01' b'RNGFPAGE'\n\
                        [0, 1, 2, 3]\n\
                        sealed\n";
        assert_eq!(text(&output.stdout), expected, "{profile:?}: {}", text(&output.stderr));
    }
}

#[test]
fn without_an_agent_names_can_still_be_looked_up() {
    let program = "import socket\n\
                   servers = [line.split()[1] for line in open('/etc/resolv.conf') if line.startswith('nameserver')]\n\
                   server = servers[0] if servers else '127.0.0.1'\n\
                   family = socket.AF_INET6 if ':' in server else socket.AF_INET\n\
                   s = socket.socket(family, socket.SOCK_DGRAM)\n\
                   s.connect((server, 53)); print(s.getpeername()[1])\n\
                   try: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('203.0.113.1', 53))\n\
                   except PermissionError: print('refused')";
    for profile in support::KERNEL {
        let output = guarded(profile, "tools", &["/usr/bin/python3", "-c", program]).output().unwrap();
        assert_eq!(text(&output.stdout), "53\nrefused\n", "{profile:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_tiny_limit_on_descriptors_is_survived() {
    for limit in ["6", "9", "20"] {
        let script = format!("ulimit -n {limit}; exec \"$@\"");
        let words = ["/bin/sh", "-c", &script, "sh", "@ringfence-exec", "/bin/echo", "alive"];
        let mut command = without(Profile::Strict, &words);
        let output = command.env("RINGFENCE_POLICY", support::policy_path("tools")).output().unwrap();
        assert_eq!(text(&output.stdout), "alive\n", "{limit}: {}", text(&output.stderr));
    }
}

#[test]
fn a_runtime_that_cannot_be_started_ends_as_in_a_shell() {
    for profile in PROFILES {
        for (command, status, message) in [
            ("/nowhere/python3.13", 127, "cannot execute: ENOENT"),
            ("no-such-command", 127, "command not found"),
            ("/etc/passwd", 126, "cannot execute: EACCES"),
        ] {
            let output = guarded(profile, "tools", &[command]).output().unwrap();
            assert_eq!(output.status.code(), Some(status), "{command} in {profile:?}");
            assert!(text(&output.stderr).contains(message), "{}", text(&output.stderr));
        }
    }
}

#[test]
fn a_next_wrapper_that_cannot_be_started_is_named() {
    for profile in PROFILES {
        for (wrapper, status, message) in [
            (
                "/opt/no-such-wrapper",
                127,
                "RINGFENCE_EXEC_WRAPPER: /opt/no-such-wrapper: cannot execute: ENOENT",
            ),
            ("/etc/passwd", 126, "RINGFENCE_EXEC_WRAPPER: /etc/passwd: cannot execute: EACCES"),
        ] {
            let mut command = guarded(profile, "tools", &["/bin/true"]);
            let output = command.env("RINGFENCE_EXEC_WRAPPER", wrapper).output().unwrap();
            assert_eq!(output.status.code(), Some(status), "{wrapper} in {profile:?}");
            assert!(text(&output.stderr).contains(message), "{}", text(&output.stderr));
        }
    }
}

#[test]
fn switched_off_the_guard_is_the_command_at_once() {
    let mut command =
        guarded(Profile::Strict, "tools", &["/bin/sh", "-c", "echo \"<$LD_PRELOAD$RINGFENCE_FDS>\""]);
    let output = command.env("RINGFENCE", "off").output().unwrap();
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("<>\n".to_owned(), String::new()));
}

#[test]
fn a_value_that_is_not_known_is_told_and_counts_for_nothing() {
    let mut command = guarded(Profile::Strict, "tools", &["/bin/echo", "alive"]);
    let output = command.env("RINGFENCE", "0").output().unwrap();
    assert_eq!(text(&output.stdout), "alive\n");
    let told = text(&output.stderr);
    assert!(
        told.contains("ringfence-exec: RINGFENCE is \"0\": expected on or off, took it as not set"),
        "{told}"
    );
}

#[test]
fn a_broken_policy_is_refused_or_observed_as_the_user_says() {
    let mut command = guarded(Profile::Strict, "tools", &["/bin/echo", "started"]);
    command.env("RINGFENCE_POLICY", "/nowhere.toml");
    let output = command.output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""));
    assert!(
        text(&output.stderr).contains("the start is refused\nerror: cannot read the policy /nowhere.toml")
    );
    let output = command.env("RINGFENCE_ON_ERROR", "observe").output().unwrap();
    assert_eq!(text(&output.stdout), "started\n");
    assert!(text(&output.stderr).contains(r#""kind":"degraded""#));
}

#[test]
fn a_rule_that_nothing_enforces_refuses_the_start_where_the_policy_asks_for_it() {
    let output = guarded(Profile::Strict, "degraded", &["/bin/echo", "started"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output.stderr);
    assert!(shown.contains(r#"on_degraded = "refuse", and nothing here enforces process.allow"#), "{shown}");
}

#[test]
fn wrappers_are_chained_and_are_not_the_function() {
    for profile in [Profile::Open, Profile::Nested] {
        let shell =
            ["/bin/sh", "-c", "/usr/bin/id >/dev/null && exec \"$@\"", "sh", "/usr/bin/python3", "-c"];
        let program = "import subprocess\ntry: subprocess.run('/usr/bin/id')\nexcept OSError as error: print(error.errno)";
        let output = guarded(profile, "tools", &[&shell[..], &[program]].concat()).output().unwrap();
        assert_eq!(text(&output.stdout), "13\n", "{profile:?}: {}", text(&output.stderr));
        let mut command = guarded(profile, "tools", &["/usr/bin/python3", "-c", "print(1)"]);
        let output = command.env("RINGFENCE_EXEC_WRAPPER", "/usr/bin/env").output().unwrap();
        assert_eq!(text(&output.stdout), "1\n", "{profile:?}: {}", text(&output.stderr));
    }
}

#[test]
fn the_process_plane_can_be_asked_for() {
    let mut command = guarded(Profile::Open, "tools", &["/bin/cat", "/proc/self/status"]);
    let output = command.env("RINGFENCE_PLANE", "process").output().unwrap();
    assert!(text(&output.stdout).contains("Seccomp:\t0"), "{}", text(&output.stdout));
}

#[test]
fn a_policy_that_is_off_leaves_no_trace() {
    let output = guarded(Profile::Open, "off", &["/usr/bin/env"]).output().unwrap();
    assert!(!text(&output.stdout).contains("RINGFENCE_FDS"), "{}", text(&output.stdout));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn signals_are_as_the_platform_left_them() {
    let dispositions = |command: &mut std::process::Command| {
        let status = text(&command.output().unwrap().stdout);
        status
            .lines()
            .filter(|line| line.starts_with("SigIgn") || line.starts_with("SigBlk"))
            .collect::<String>()
    };
    for profile in PROFILES {
        let words = ["/bin/cat", "/proc/self/status"];
        let plain = dispositions(&mut without(profile, &words));
        assert!(plain.contains("SigIgn"), "{plain}");
        assert_eq!(dispositions(&mut guarded(profile, "tools", &words)), plain, "{profile:?}");
    }
}

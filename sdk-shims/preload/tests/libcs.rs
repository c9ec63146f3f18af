//! The library in other C libraries than the machine's, each in a root folder that `scripts/libcs` has filled: what
//! libc offers to attackers goes through without the library and does not with it, and honest work goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how tests fail")]

mod harness;

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{Ran, World, compiled};
use ringfence_records::message::Kind;

const POLICY: &str = r#"version = 1
mode = "enforce"
[process]
allow = ["/usr/bin/allowed", "/bin/allowed"]
shells = "deny"
from_writable = "deny"
[egress]
deny = ["127.0.0.2"]
[files]
deny_read = ["/etc/secrets/**"]
deny_write = ["/etc/locked/**"]
"#;

/// Puts into `root` what the programs attack.
fn furnish(root: &Path, attacks: &Path, [dynamic, fixed]: [&Path; 2]) {
    let put = |file: &str, from: &Path| {
        let _ = std::fs::remove_file(root.join(file));
        std::fs::copy(from, root.join(file)).unwrap();
    };
    for folder in ["etc/secrets/folder", "etc/locked", "tmp", "proc", "ringfence"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    let busybox = root.join("bin/busybox");
    put("usr/bin/allowed", &busybox);
    put("bin/sh", &busybox);
    put("usr/bin/denied", dynamic);
    put("usr/bin/static", fixed);
    put("attack", attacks);
    put("ringfence/libringfence.so", harness::library());
    let library = ["lib/x86_64-linux-gnu/libz.so.1", "lib/libcrypto.so.3"].map(|name| root.join(name));
    put("tmp/library", library.iter().find(|path| path.exists()).expect("a library"));
    for (file, text) in [("etc/secrets/key", "secret\n"), ("etc/plain", "plain\n")] {
        std::fs::write(root.join(file), text).unwrap();
    }
    std::fs::write(root.join("attack.py"), include_str!("programs/libcs.py")).unwrap();
}

/// Names of what went through, and of the honest work that did not.
fn surprises(ran: &Ran, expected: &str) -> Vec<String> {
    let surprising = |line: &&str| match line.rsplit_once(' ') {
        Some((name, through)) => through != if name.starts_with('+') { "1" } else { expected },
        None => true,
    };
    ran.stdout.lines().filter(surprising).map(str::to_owned).collect()
}

/// Runs all attacks in `root`; what is wrong, as text.
fn attack(root: &Path, program: &str, arguments: &[&str], lines: usize) -> Vec<String> {
    let mut agent = Command::new("/usr/bin/sleep").arg("600").spawn().unwrap();
    let pid = agent.id().to_string();
    let arguments: Vec<_> = arguments.iter().copied().chain([pid.as_str()]).collect();
    let prepared = || {
        for name in ["a", "b"] {
            std::fs::write(root.join("etc/locked").join(name), "").unwrap();
        }
        World::new(POLICY).with(|world| {
            world.agent_pid = agent.id();
            world.root = Some(root.to_owned());
        })
    };
    let mut wrong = Vec::new();
    for (kind, expected, ran) in [
        ("without", "1", prepared().run_without(program, &arguments)),
        ("with", "0", prepared().run(program, &arguments)),
    ] {
        let found = surprises(&ran, expected);
        let whole = ran.code == Some(0) && ran.stdout.lines().count() == lines;
        if !found.is_empty() || !whole || ran.kinds(Kind::Degraded) > 0 {
            wrong.push(format!("{} {kind}: {found:?}\n{}", root.display(), ran.whole()));
        }
    }
    agent.kill().unwrap();
    agent.wait().unwrap();
    wrong
}

#[test]
#[ignore = "needs root folders with other C libraries: scripts/libcs"]
fn what_each_libc_offers_is_taken_over() {
    let folder = PathBuf::from(std::env::var_os("RINGFENCE_LIBCS").expect("scripts/libcs sets it"));
    let seven = "int main(){return 7;}";
    let fixed = compiled("seven", seven, &["-static"]);
    let dynamic = of_musl("seven", seven);
    let attacks = of_musl("attack", include_str!("programs/libcs.c"));
    let mut roots: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    roots.retain(|root| root.join("bin/busybox").exists());
    roots.sort();
    assert!(!roots.is_empty(), "no root folder in {}", folder.display());
    let mut wrong = Vec::new();
    for root in &roots {
        furnish(root, &attacks, [&dynamic, &fixed]);
        println!("{}: musl", root.display());
        wrong.extend(attack(root, "/attack", &[], 45));
        if root.join("usr/bin/python3").exists() {
            println!("{}: glibc", root.display());
            wrong.extend(attack(root, "/usr/bin/python3", &["/attack.py"], 37));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Compiles a program that is linked to musl.
fn of_musl(name: &str, source: &str) -> PathBuf {
    let program = std::env::temp_dir().join(format!("ringfence-libcs-{name}"));
    let file = program.with_extension("c");
    std::fs::write(&file, source).unwrap();
    let built = Command::new("musl-gcc").arg(&file).arg("-o").arg(&program).status().expect("musl-gcc");
    assert!(built.success());
    program
}

//! Prints what a policy costs: reading it, compiling it, checking the compiled form, and single verdicts.
//! Run with `cargo run --release -p ringfence-policy --example cost`.

use std::hint::black_box;
use std::time::Instant;

use ringfence_policy::{
    Action, CompiledPolicy, Context, Date, Exec, Linkage, Origin, Phase, Plane, Policy, Role,
};

/// About the size of a real policy: 40 lines, every section.
const TEXT: &str = r#"version = 1
mode = "enforce"
on_degraded = "continue"

[process]
allow = [
    "/usr/bin/convert", "/usr/bin/gs", "/opt/bin/ffmpeg", "/opt/bin/*", "/usr/lib/**/helper", "/opt/a/*", "/opt/b/*",
    "/opt/c/*", "/opt/d/*", "/opt/libreoffice*/program/*",
]
shells = "deny"
from_writable = "deny"
survivors = "kill"
environment = { strip = ["AWS_*"] }
syscalls = "strict"
limits = { processes = 32, memory = "256MiB", cpu_seconds = 20, open_files = 128, file_size = "64MiB" }

[egress]
allow = [
    "dynamodb.eu-west-1.amazonaws.com:443",
    "my-bucket.s3.eu-west-1.amazonaws.com:443",
    "10.0.0.0/8:5432",
    "*.internal.example:443",
]
deny = ["169.254.169.254"]
listen = "loopback"
runtime_api = "runtime"

[tmp]
residue = "wipe"
keep = ["/tmp/model-cache/**"]
writes = "allow"

[files]
deny_read = ["/proc/*/environ", "/proc/*/task/*/environ", "/proc/*/mem", "/proc/*/task/*/mem"]
deny_write = ["/proc/*/mem"]

[credentials]
expose = "runtime"
reads = "report"
"#;

/// Prints the mean over `rounds`, in nanoseconds.
fn measure(what: &str, rounds: u32, mut work: impl FnMut()) {
    let start = Instant::now();
    for _ in 0..rounds {
        work();
    }
    println!("{:>10.1} ns  {what}", start.elapsed().as_secs_f64() * 1e9 / f64::from(rounds));
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let today = Date { year: 2026, month: 1, day: 1 };
    let first = Instant::now();
    let policy = Policy::parse("policy.toml", TEXT)?.policy;
    let bytes = policy.compile(today)?;
    println!("{:>10.1} ns  first parse and compile, cold", first.elapsed().as_secs_f64() * 1e9);
    println!("{:>10} bytes compiled", bytes.len());
    let compiled = CompiledPolicy::new(&bytes)?;
    let context =
        Context { phase: Phase::Invoke, role: Role::Child, strongest: Plane::Process, launched: true };

    measure("parse", 5_000, || drop(black_box(Policy::parse("policy.toml", black_box(TEXT)))));
    measure("compile", 5_000, || drop(black_box(policy.compile(today))));
    measure("check the compiled form", 100_000, || {
        let _ = black_box(CompiledPolicy::new(black_box(&bytes)));
    });
    let open = Action::OpenRead { path: b"/var/task/package/module/__init__.py" };
    measure("verdict: open that no prefix matches", 1_000_000, || {
        black_box(compiled.verdict(black_box(&open), &context));
    });
    let status = Action::OpenRead { path: b"/proc/1234/status" };
    measure("verdict: open that the globs look at", 1_000_000, || {
        black_box(compiled.verdict(black_box(&status), &context));
    });
    let exec = Action::Exec(Exec {
        given: b"/opt/libreoffice7/program/soffice.bin",
        resolved: b"/opt/libreoffice7/program/soffice.bin",
        origin: Origin::ReadOnly,
        linkage: Linkage::Dynamic,
        by_listed_script: false,
    });
    measure("verdict: exec against ten globs", 1_000_000, || {
        black_box(compiled.verdict(black_box(&exec), &context));
    });
    Ok(())
}

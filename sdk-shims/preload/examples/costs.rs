//! What the process plane costs: each call without the library, with it and no rule, and with rules; and a start.
//!
//! `cargo run --example costs -p ringfence-preload`. The library measured is the one that ships.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a measurement fails")]

#[path = "../tests/harness/mod.rs"]
mod harness;

use std::time::Duration;

use harness::{Ran, World, compiled, cpu_of_children};

const NO_RULES: &str = "version = 1\nmode = \"enforce\"\n";
const CREDENTIALS: &str = "version = 1\nmode = \"enforce\"\n[credentials]\nreads = \"report\"\n";
const PROC: &str = "version = 1\nmode = \"enforce\"\n[process]\nallow = [\"/usr/bin/*\"]\nshells = \"deny\"\n[egress]\nallow = [\"*.example:443\"]\n[files]\ndeny_read = [\"/proc/*/environ\", \"/proc/*/mem\"]\n[credentials]\nreads = \"report\"\n";
const EVERYWHERE: &str = "version = 1\nmode = \"enforce\"\n[files]\ndeny_read = [\"/var/task/**\", \"/**/*.pem\", \"/proc/*/environ\"]\n";

fn numbers(ran: &Ran) -> Vec<(String, f64)> {
    let line =
        |line: &str| line.rsplit_once(' ').map(|(name, cost)| (name.to_owned(), cost.parse().unwrap()));
    ran.stdout.lines().filter_map(line).collect()
}

/// CPU time of a start and end of a program, the least mean of ten batches of thirty.
fn start(run: impl Fn() -> Ran) -> Duration {
    let batch = |_| {
        let before = cpu_of_children();
        for _ in 0..30 {
            run();
        }
        cpu_of_children().checked_sub(before).unwrap() / 30
    };
    (0..10).map(batch).min().unwrap()
}

fn main() {
    let program = compiled("costs", include_str!("../tests/programs/costs.c"), &["-O2"]);
    let program = program.to_str().unwrap();
    let worlds = [NO_RULES, CREDENTIALS, PROC, EVERYWHERE].map(World::new);
    let bare = numbers(&worlds[0].bare(program, &[]));
    let with: Vec<_> = worlds.iter().map(|world| numbers(&world.run(program, &[]))).collect();
    println!(
        "{:24}{:>10}{:>10}{:>12}{:>12}{:>14}",
        "ns", "without", "no rule", "credentials", "deny /proc", "deny anywhere"
    );
    for (row, (name, cost)) in bare.iter().enumerate() {
        print!("{name:24}{cost:>10}");
        for (column, width) in with.iter().zip([10, 12, 12, 14]) {
            print!("{:>width$}", column[row].1);
        }
        println!();
    }
    println!(
        "start and end of true, CPU: without {:?}",
        start(|| worlds[2].run_without("/usr/bin/true", &[]))
    );
    println!("start and end of true, CPU: with {:?}", start(|| worlds[2].run("/usr/bin/true", &[])));
    let starts = compiled("starts", include_str!("../tests/programs/starts.c"), &["-O2"]);
    let starts = starts.to_str().unwrap();
    println!("start and end of a child, CPU µs: without {}", worlds[2].bare(starts, &[]).stdout);
    println!("start and end of a child, CPU µs: with {}", worlds[2].run(starts, &[]).stdout);
}

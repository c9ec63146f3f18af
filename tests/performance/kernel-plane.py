"""What supervision costs: each kind of call without a filter, under a supervisor that does nothing (the floor), behind the
guard, and under strace(1) as a known yardstick, in turns within one run. `kernel-plane.py --guard PROGRAM [--rounds N]`.
Needs gcc; without strace that column is empty, and a line says so.

Each number is the best over the rounds, since others on the machine only add; `ratio` is the guard to the floor, `added` the
guard to nothing.
"""

import argparse
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
CALLS = {"unlooked": 30_000, "connect": 500, "tcp": 100, "open": 200, "exec": 10, "stream": 500, "pool": 640}
# What the policy has the guard asked about; strace gets a tenth of the calls, since each takes it so long.
STRACE = ["-f", "--seccomp-bpf", "-qq", "-e", "trace=connect,execve,sendmsg,sendmmsg,openat", "-o", "/dev/null"]
FEWER = {"strace": 10}


def build(folder: pathlib.Path, guard: pathlib.Path) -> None:
    folder.chmod(0o755)
    for name in ("floor", "calls"):
        subprocess.run(["gcc", "-O2", "-pthread", "-static", "-o", folder / name, HERE / f"{name}.c"], check=True)
    shutil.copy(guard, folder / "ringfence-exec")
    (folder / "ringfence-exec").chmod(0o711)


def measure(words: list, environment: dict[str, str], one_processor: bool) -> float:
    def before() -> None:
        if one_processor:
            os.sched_setaffinity(0, {0})
        with contextlib.suppress(OSError):  # an ordinary user stays one
            os.setgroups([])
            os.setgid(64991)
            os.setuid(64991)

    done = subprocess.run(
        words, env=environment, cwd="/", preexec_fn=before, check=False, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: status {done.returncode}: {done.stderr[-500:]}")
    return float(done.stdout)


def ways_to_run(folder: pathlib.Path) -> dict[str, list]:
    """What stands in front of the program, by the name of its column."""
    ways = {"none": [], "floor": [folder / "floor"], "guard": [folder / "ringfence-exec"]}
    if strace := shutil.which("strace"):
        ways["strace"] = [strace, *STRACE]
    else:
        print("skipped: no strace here (apt-get install strace), so its column is empty")
    return ways


def table(folder: pathlib.Path, ways: dict[str, list], policy: pathlib.Path, rounds: int, one_processor: bool) -> None:
    environment = {"PATH": "/usr/bin:/bin", "RINGFENCE_POLICY": str(policy)}
    print(f"{'ns a call, ' + ('one processor' if one_processor else 'all processors'):<28}"
          f"{'none':>11}{'floor':>11}{'guard':>11}{'added':>11}{'ratio':>7}{'strace':>11}")
    for call, count in CALLS.items():
        found = {way: [] for way in ways}
        for _ in range(rounds):
            for way, words in ways.items():
                rounded = str(max(count // FEWER.get(way, 1), 64))
                found[way].append(measure([*words, folder / "calls", call, rounded], environment, one_processor))
        none, floor, guard, strace = (min(found.get(way, [0])) for way in ("none", "floor", "guard", "strace"))
        print(f"{call:<28}{none:>11.0f}{floor:>11.0f}{guard:>11.0f}{guard - none:>11.0f}{guard / floor:>7.2f}"
              f"{format(strace, '11.0f') if strace else '–':>11}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--guard", type=pathlib.Path, required=True)
    options.add_argument("--policy", type=pathlib.Path, default=HERE.parent / "security/kernel/policy.toml")
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="ringfence-bench-") as folder:
        build(pathlib.Path(folder), given.guard)
        ways = ways_to_run(pathlib.Path(folder))
        for one_processor in (True, False):
            table(pathlib.Path(folder), ways, given.policy, given.rounds, one_processor)


if __name__ == "__main__":
    main()

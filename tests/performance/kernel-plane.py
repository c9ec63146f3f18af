"""What supervision costs: each kind of call without a filter, under a supervisor that does nothing (the floor), and
behind the guard, in turns within one run. `kernel-plane.py --guard PROGRAM [--rounds N]`. Needs gcc.

Medians over the rounds; `ratio` is the guard to the floor, `added` the guard to nothing.
"""

import argparse
import contextlib
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
CALLS = {"unlooked": 300_000, "connect": 5_000, "exec": 150, "stream": 20_000, "pool": 6_400, "open": 5_000}


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

    shown = subprocess.run(
        words, env=environment, cwd="/", preexec_fn=before, check=True, capture_output=True, text=True
    ).stdout
    return float(shown)


def table(folder: pathlib.Path, policy: pathlib.Path, rounds: int, one_processor: bool) -> None:
    ways = {"none": [], "floor": [folder / "floor"], "guard": [folder / "ringfence-exec"]}
    environment = {"PATH": "/usr/bin:/bin", "RINGFENCE_POLICY": str(policy)}
    print(f"{'ns a call, ' + ('one processor' if one_processor else 'all processors'):<28}"
          f"{'none':>11}{'floor':>11}{'guard':>11}{'added':>11}{'ratio':>7}")
    for call, count in CALLS.items():
        found = {way: [] for way in ways}
        for _ in range(rounds):
            for way, words in ways.items():
                found[way].append(measure([*words, folder / "calls", call, str(count)], environment, one_processor))
        none, floor, guard = (statistics.median(found[way]) for way in ways)
        print(f"{call:<28}{none:>11.0f}{floor:>11.0f}{guard:>11.0f}{guard - none:>11.0f}{guard / floor:>7.2f}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--guard", type=pathlib.Path, required=True)
    options.add_argument("--policy", type=pathlib.Path, default=HERE.parent / "security/kernel/policy.toml")
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="ringfence-bench-") as folder:
        build(pathlib.Path(folder), given.guard)
        for one_processor in (True, False):
            table(pathlib.Path(folder), given.policy, given.rounds, one_processor)


if __name__ == "__main__":
    main()

"""Thousands of events in one warm environment: what agent and guard hold must not grow.

    soak.py --program target/debug/ringfence --layer build/ringfence-layer-x86_64.zip
            [--events 2000] [--profiles strict,nested] [--idle-files 100000]

Started by scripts/soak. Every tenth of the way it looks at the resident memory, descriptors and threads of the agent and
the guard; then it compares the agent's CPU time an event with that in an environment full of files that nobody touches.
Needs root, since a look into processes of another user does. Exit status 1 if anything grows.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SOAK = Path(__file__).parent / "soak"
# From here on everything has been used once. Allocators keep a little more than they gave back, and the guard keeps
# sockets (256 at most) until it sweeps.
SETTLED, KIB_OF_SLACK, THREADS_OF_SLACK = 0.2, 256, 4
DESCRIPTORS_OF_SLACK = {"agent": 4, "guard": 64}
# An event with idle files may cost the agent this much more: noise, not a look at 100,000 files.
TIMES, NANOSECONDS = 1.5, 300_000
NAMES = {"extensions/ringfence": "agent", "opt/ringfence-exec": "guard"}


@dataclass(frozen=True)
class Look:
    """One process at one time."""

    kib: int
    descriptors: int
    threads: int
    cpu: int        # nanoseconds


def main():
    options = parse()
    if os.geteuid() != 0:
        sys.exit("soak.py needs root: it looks into processes of another user")
    grown = []
    for profile in options.profiles.split(","):
        told = soak(options, profile, options.events)
        for name, looks in told.items():
            grown += [f"{name} in {profile}: {line}" for line in growth(looks, DESCRIPTORS_OF_SLACK[name])]
            print(f"{profile:<8}{name:<7}" + "  ".join(f"{look.kib}K/{look.descriptors}/{look.threads}" for look in looks), flush=True)
        if "agent" not in told:
            grown.append(f"no agent in {profile}")
    grown += idle(options)
    print(*grown, sep="\n")
    print(f"{len(grown)} things grew")
    sys.exit(1 if grown else 0)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=Path, required=True, help="the ringfence command")
    parser.add_argument("--layer", type=Path, required=True, help="the layer zip")
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--profiles", default="strict,nested")
    parser.add_argument("--idle-files", type=int, default=100_000)
    return parser.parse_args()


def soak(options, profile, events, **variables):
    """Looks at agent and guard after every tenth of the events: {name: [Look, …]}. An answer that differs is an error."""
    looks, wanted, answers = {}, None, 0
    with environment(options, profile, events, variables) as lines:
        for line in lines:
            item = json.loads(line)
            if item["type"] != "response":
                continue
            answers += 1
            wanted = wanted or item["payload"]
            if item["status"] != "success" or item["payload"] != wanted:
                sys.exit(f"event {answers} in {profile}: {item['status']} {item['payload']} after {wanted}")
            if answers % (events // 10) == 0 and answers < events:
                for name, look in now(lines.pid):
                    looks.setdefault(name, []).append(look)
    if answers != events:
        sys.exit(f"{answers} answers to {events} events in {profile}")
    return looks


class Lines:
    """What a process prints, line by line."""

    def __init__(self, process):
        self.pid, self.stream = process.pid, process.stdout

    def __iter__(self):
        return iter(self.stream)


@contextlib.contextmanager
def environment(options, profile, events, variables):
    command = [options.program, "local", "invoke", "--code", SOAK, "--handler", "app.handler", "--runtime", "python3",
               "--layer", options.layer, "--policy", SOAK / "policy.toml", "--profile", profile, "--network", "none",
               *(part for name, value in variables.items() for part in ("--env", f"{name}={value}")),
               "--timeout", "60", "--output", "json", *[SOAK / "events" / "1.json"] * events]
    with subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Lines(process)
        finally:
            process.stdout.close()
            process.terminate()


def now(ancestor):
    """A look at each of our processes below `ancestor`."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                status = dict(line.split(":", 1) for line in (entry / "status").read_text().splitlines())
                parents[int(entry.name)] = (int(status["PPid"]), status)
    for pid, (_, status) in parents.items():
        if descends(pid, ancestor, parents) and (name := our_name(pid)):
            with contextlib.suppress(OSError):
                cpu = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
                yield name, Look(int(status["VmRSS"].split()[0]), len(os.listdir(f"/proc/{pid}/fd")), int(status["Threads"]), cpu)


def descends(pid, ancestor, parents):
    while pid in parents:
        if pid == ancestor:
            return True
        pid = parents[pid][0]
    return False


def our_name(pid):
    with contextlib.suppress(OSError):
        return NAMES.get("/".join(Path(os.readlink(f"/proc/{pid}/exe")).parts[-2:]))


def growth(looks, descriptors_of_slack):
    """What is more at the end than when all had been used once."""
    early, late = looks[int(len(looks) * SETTLED)], looks[-1]
    if late.kib > early.kib + KIB_OF_SLACK:
        yield f"{early.kib} KiB became {late.kib}"
    if late.descriptors > early.descriptors + descriptors_of_slack:
        yield f"{early.descriptors} descriptors became {late.descriptors}"
    if late.threads > early.threads + THREADS_OF_SLACK:
        yield f"{early.threads} threads became {late.threads}"


def idle(options):
    """Files that nobody touches must cost the agent nothing at an event."""
    def per_event(**variables):
        looks = soak(options, "strict", 300, **variables)["agent"]
        return (looks[-1].cpu - looks[0].cpu) / (300 / 10 * (len(looks) - 1))

    without, filled = per_event(), per_event(IDLE_FILES=options.idle_files)
    print(f"the agent's CPU time an event: {without / 1e6:.2f} ms, with {options.idle_files} idle files {filled / 1e6:.2f} ms")
    if filled > without * TIMES + NANOSECONDS:
        yield f"{options.idle_files} idle files make an event {filled / without:.1f} times as costly to the agent"


if __name__ == "__main__":
    main()

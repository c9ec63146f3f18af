"""Init, CPU time of a cold start, and warm invocations of a Python hello function, without a layer, with one that holds an extension that does nothing,
and with Ringfence, in turn.

`invoke.py --cli RINGFENCE --layer ZIP [--hello PROGRAM] [--rounds 7] [--events 60]` prints medians per profile, what is
added, and for cold starts the least and the most. CPU time is that of the whole sandbox with one event: it depends less than the
clock on what else the machine does. Run by scripts/bench. Rounds alternate, so a machine that drifts hits all sides alike.
"""

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import tempfile
import zipfile

FUNCTION = "def handler(event, context):\n    return {'hello': event.get('name')}\n"
POLICY = """version = 1
mode = "enforce"
[process]
allow = []
shells = "deny"
from_writable = "deny"
[egress]
allow = ["dynamodb.eu-west-1.amazonaws.com:443"]
[tmp]
residue = "wipe"
[files]
deny_read = ["/proc/*/environ"]
[credentials]
expose = "runtime"
reads = "report"
"""


def run(options, folder, profile, layer, events):
    """One environment; returns (init ms, CPU ms of all, [warm ms incl. post-invoke], agent KiB or None)."""
    command = [options.cli, "local", "invoke", "--code", folder, "--handler", "app.handler", "--runtime", "python3"]
    command += ["--profile", profile, "--network", "none", "--output", "json"]
    command += ["--layer", layer] if layer else ["--no-layer"]
    command += ["--policy", f"{folder}/policy.toml"] if layer == options.layer else []
    command += [f"{folder}/event.json"] * events
    before = processor_time()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    used = processor_time() - before
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    answers = [line for line in lines if line["type"] == "response"]
    if len(answers) != events or any(answer["status"] != "success" for answer in answers):
        raise SystemExit(f"the hello function failed ({' '.join(command[:12])} …):\n{done.stdout[-2000:]}{done.stderr}")
    warm = [answer["durationMs"] + (answer.get("postRuntimeMs") or 0.0) for answer in answers[5:]]
    return answers[0]["initMs"], used, warm, resident(lines)


def processor_time():
    """CPU milliseconds of all children that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1000


def hello_layer(program, folder):
    """A layer with one extension that registers and asks for events, nothing else."""
    path = pathlib.Path(folder, "hello.zip")
    entry = zipfile.ZipInfo("extensions/hello")
    entry.external_attr = 0o100755 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, pathlib.Path(program).read_bytes())
    return str(path)


def resident(lines):
    for line in lines:
        record = line.get("record")
        if isinstance(record, str):
            try:
                record = json.loads(record)
            except ValueError:
                continue
        if line["type"] == "extension" and isinstance(record, dict):
            inner = record.get("ringfence", {})
            if inner.get("kind") == "summary" and "residentKib" in inner:
                return inner["residentKib"]
    return None


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cli", required=True)
    parser.add_argument("--layer", required=True)
    parser.add_argument("--hello", help="an extension that does nothing, as a yardstick")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--events", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "app.py").write_text(FUNCTION)
        pathlib.Path(folder, "event.json").write_text('{"name": "Ada"}')
        pathlib.Path(folder, "policy.toml").write_text(POLICY)
        pathlib.Path(folder).chmod(0o755)
        ways = {"without": None, "hello": hello_layer(options.hello, folder)} if options.hello else {"without": None}
        for profile in ("strict", "nested"):
            measure(options, folder, profile, {**ways, "with": options.layer})


def measure(options, folder, profile, ways):
    init, used, warm = ({way: [] for way in ways} for _ in range(3))
    agent = None
    for _ in range(options.rounds):
        for way, layer in ways.items():
            # A start by itself for the CPU time, and one with many events for the warm calls: both have an init.
            start, cpu, _, _ = run(options, folder, profile, layer, 1)
            again, _, calls, kib = run(options, folder, profile, layer, options.events)
            init[way] += [start, again]
            used[way].append(cpu)
            warm[way].extend(calls)
            agent = kib or agent
    titles = " / ".join(ways)
    for name, found in (("init, ms", init), ("cold start, CPU ms", used)):
        show(f"{profile}: {name}, {titles}", {way: statistics.median(found[way]) for way in ways})
        show_spread(found)
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        show(f"{profile}: warm {name}, ms, {titles}", {way: percentile(warm[way], share) for way in ways})
    if agent:
        print(f"{profile}: agent resident at shutdown, KiB{agent:>28.0f}")


def show_spread(found):
    ranges = "".join(f"{f'{min(values):.0f}-{max(values):.0f}':>10}" for values in found.values())
    print(f"{'  least and most':<52}{ranges}", flush=True)


def show(title, values):
    figures = "".join(f"{value:10.3f}" for value in values.values())
    print(f"{title:<52}{figures}   added {values['with'] - values['without']:8.3f}", flush=True)


if __name__ == "__main__":
    main()

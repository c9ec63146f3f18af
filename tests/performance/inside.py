"""What the layer costs, seen from inside a function: calls and imports of a Python function, and the init of hello functions in
Python and Node. Without the layer, with it but without its language hooks, and with both, in turn within one run.

`inside.py --cli RINGFENCE --layer ZIP [--rounds 5] [--cache FOLDER]` prints one table a profile. Run by scripts/bench. Of calls each
number is the best of many short stretches over all rounds, since others on the machine only add; of imports and inits the median,
and in the line below the least and the most. A hook's word to the library is what `layer` has more than `no hooks`.
boto3 comes from PyPI into the cache; where it cannot be had, or there is no Node, a line says so.
"""

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

CALLS = '''import os, resource, socket, time

def opened():
    os.close(os.open(os.__file__, os.O_RDONLY))

def opened_in_proc():
    os.close(os.open("/proc/self/comm", os.O_RDONLY))

probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

def connected():
    probe.connect(("127.0.0.1", 9))

def read_variable():
    os.environ.get("LAMBDA_TASK_ROOT")

def created():
    os.close(os.open(f"/tmp/new-{len(made)}", os.O_WRONLY | os.O_CREAT, 0o600))
    made.append(len(made))

def rewritten():
    os.close(os.open("/tmp/new-0", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))

def renamed():
    renames.append(len(renames))
    os.rename(f"/tmp/new-{len(renames) - 1}", f"/tmp/old-{len(renames) - 1}")

def removed():
    renames.pop()
    os.unlink(f"/tmp/old-{len(renames)}")

made, renames = [], []

def ran():
    os.waitpid(os.posix_spawn("/usr/bin/true", ["true"], {}), 0)

CALLS = {"open": (opened, 200), "open in /proc": (opened_in_proc, 200), "connect, UDP": (connected, 200),
         "getenv": (read_variable, 2000), "start and end of a child": (ran, 5),
         # In this order: what one makes, the next renames, and the last removes.
         "create in /tmp": (created, 100), "open for writing in /tmp": (rewritten, 100), "rename in /tmp": (renamed, 100), "unlink in /tmp": (removed, 100)}

def best(call, times, stretches=12):
    found = []
    for _ in range(stretches):
        begun = time.perf_counter_ns()
        for _ in range(times):
            call()
        found.append((time.perf_counter_ns() - begun) / times)
    return min(found)

def cpu_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1e9

def of_child(times=10):
    begun = cpu_of_children()
    for _ in range(times):
        ran()
    return (cpu_of_children() - begun) / times

def handler(event, context):
    return {**{name: best(*call) for name, call in CALLS.items()}, "the same, CPU of the child": min(of_child() for _ in range(10))}
'''
IMPORTS = '''import time
begun = time.process_time_ns()
import boto3
boto3.client("s3", region_name="eu-west-1")
took = time.process_time_ns() - begun

def handler(event, context):
    return {"import boto3 and make a client, CPU": took}
'''
HELLO = {"python3": ("app.py", "def handler(event, context):\n    return {}\n"),
         "node": ("app.js", "exports.handler = async () => ({});\n")}
# Node, and what builds its runtime client on first use.
NODE = ["node", "npm", "cmake", "g++", "make", "autoconf", "automake", "libtoolize"]
# Rules of every kind, and rules on places that have an open's name asked for.
POLICY = """version = 1
mode = "enforce"
[process]
allow = ["/usr/bin/true"]
shells = "deny"
from_writable = "deny"
[egress]
allow = ["dynamodb.eu-west-1.amazonaws.com:443", "127.0.0.1"]
[tmp]
residue = "wipe"
[files]
deny_read = ["/proc/*/environ", "/var/task/secrets/**"]
deny_write = ["/proc/*/mem", "/proc/*/task/*/mem"]
[credentials]
expose = "runtime"
reads = "report"
"""


# What a function has that takes the pack as it is, but for what the calls need: rules on files speak of procfs only.
PACK = """version = 1
extends = "web-api"
mode = "enforce"
[process]
allow = ["/usr/bin/true"]
[egress]
allow = ["127.0.0.1"]
"""


class Bench:
    policy = POLICY

    def __init__(self, options):
        self.options = options
        self.ways = {
            "without": ["--no-layer"],
            "no hooks": ["--layer", options.layer, "--env", "RINGFENCE_SHIMS=off"],
            "layer": ["--layer", options.layer],
        }

    def invoke(self, way, profile, runtime, files):
        """The response of one cold invocation."""
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder)
            place.chmod(0o755)
            for name, content in files.items():
                if isinstance(content, pathlib.Path):
                    shutil.copytree(content, place / name, dirs_exist_ok=True)
                else:
                    (place / name).write_text(content)
            (place / "event.json").write_text("{}")
            (place / "policy.toml").write_text(self.policy)
            command = [self.options.cli, "local", "invoke", "--code", folder, "--handler", "app.handler", "--runtime", runtime]
            command += ["--profile", profile, "--network", "none", "--output", "json", "--timeout", "60", *self.ways[way]]
            if way != "without":
                command += ["--policy", str(place / "policy.toml")]
            done = subprocess.run([*command, str(place / "event.json")], capture_output=True, text=True, check=False, timeout=900)
        for line in done.stdout.splitlines():
            record = json.loads(line) if line.startswith("{") else {}
            if record.get("type") == "response" and record["status"] == "success":
                return record
        raise SystemExit(f"the function failed ({way}, {profile}):\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    def collect(self, profile, runtime, files, values):
        """Per row and way, what `values` takes from each round's response."""
        found = {}
        for _ in range(self.options.rounds):
            for way in self.ways:
                for row, value in values(self.invoke(way, profile, runtime, files)).items():
                    found.setdefault(row, {}).setdefault(way, []).append(value)
        return found


def show(rows, unit, scale, summary):
    for row, ways in rows.items():
        without, bare, full = (summary(ways[way]) / scale for way in ("without", "no hooks", "layer"))
        print(f"{row + ', ' + unit:<44}{without:>12.2f}{bare:>12.2f}{full:>12.2f}{full - without:>+12.2f}", flush=True)
        if summary is statistics.median:
            spread = (f"{min(ways[way]) / scale:.1f}-{max(ways[way]) / scale:.1f}" for way in ("without", "no hooks", "layer"))
            print("  least and most" + " " * 28 + "".join(f"{each:>12}" for each in spread), flush=True)


def boto3(cache):
    """Where boto3 lies, or nothing."""
    folder = cache / "boto3"
    if not folder.is_dir():
        fresh = cache / "boto3.new"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore",
                   "--target", str(fresh), "boto3"]
        if subprocess.run(command, check=False).returncode:
            print("skipped: boto3 cannot be had from PyPI")
            return None
        fresh.rename(folder)
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cli", required=True)
    parser.add_argument("--layer", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path("build/cache/performance"))
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    bench, packages = Bench(options), boto3(options.cache)
    missing = [tool for tool in NODE if not shutil.which(tool)]
    runtimes = [runtime for runtime in HELLO if runtime != "node" or not missing]
    if missing:
        print(f"skipped: Node: no {', '.join(missing)} on PATH")
    for profile in ("strict", "nested"):
        print(f"\n{profile:<44}{'without':>12}{'no hooks':>12}{'layer':>12}{'added':>12}")
        show(bench.collect(profile, "python3", {"app.py": CALLS}, lambda answer: answer["payload"]), "us", 1e3, min)
        bench.policy = PACK
        print("the same calls under the pack web-api", flush=True)
        show(bench.collect(profile, "python3", {"app.py": CALLS}, lambda answer: answer["payload"]), "us", 1e3, min)
        bench.policy = POLICY
        if packages:
            files = {"app.py": IMPORTS, ".": packages}
            show(bench.collect(profile, "python3", files, lambda answer: answer["payload"]), "ms", 1e6, statistics.median)
        for runtime in runtimes:
            name, code = HELLO[runtime]
            inits = bench.collect(profile, runtime, {name: code}, lambda answer: {f"init of a hello function, {runtime}": answer["initMs"]})
            show(inits, "ms", 1, statistics.median)


if __name__ == "__main__":
    main()

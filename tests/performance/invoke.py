"""Init and warm invocations of a Python hello function, without and with the layer, in turn.

`invoke.py --cli RINGFENCE --layer ZIP [--rounds 7] [--events 60]` prints medians per profile and what the layer adds.
Run by scripts/bench. Rounds alternate, so a machine that drifts hits both sides alike.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

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


def run(options, folder, profile, layer):
    """One warm environment; returns (init ms, [warm ms incl. post-invoke], agent KiB or None)."""
    command = [options.cli, "local", "invoke", "--code", folder, "--handler", "app.handler", "--runtime", "python3"]
    command += ["--profile", profile, "--network", "none", "--output", "json"]
    command += ["--layer", options.layer, "--policy", f"{folder}/policy.toml"] if layer else ["--no-layer"]
    command += [f"{folder}/event.json"] * options.events
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    answers = [line for line in lines if line["type"] == "response"]
    if len(answers) != options.events or any(answer["status"] != "success" for answer in answers):
        raise SystemExit(f"the hello function failed ({' '.join(command[:12])} …):\n{done.stdout[-2000:]}{done.stderr}")
    warm = [answer["durationMs"] + (answer.get("postRuntimeMs") or 0.0) for answer in answers[5:]]
    return answers[0]["initMs"], warm, resident(lines)


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
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--events", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "app.py").write_text(FUNCTION)
        pathlib.Path(folder, "event.json").write_text('{"name": "Ada"}')
        pathlib.Path(folder, "policy.toml").write_text(POLICY)
        pathlib.Path(folder).chmod(0o755)
        for profile in ("strict", "nested"):
            measure(options, folder, profile)


def measure(options, folder, profile):
    init = {True: [], False: []}
    warm = {True: [], False: []}
    agent = None
    for _ in range(options.rounds):
        for layer in (False, True):
            start, calls, kib = run(options, folder, profile, layer)
            init[layer].append(start)
            warm[layer].extend(calls)
            agent = kib or agent
    without, with_layer = (statistics.median(init[side]) for side in (False, True))
    print(f"{profile}: init, ms, without / with / added      {without:8.1f} {with_layer:8.1f} {with_layer - without:8.2f}")
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        without, with_layer = (percentile(warm[side], share) for side in (False, True))
        print(
            f"{profile}: warm {name}, ms, without / with / added  {without:8.3f} {with_layer:8.3f} {with_layer - without:8.3f}"
        )
    if agent:
        print(f"{profile}: agent resident at shutdown, KiB         {agent:8.0f}")


if __name__ == "__main__":
    main()

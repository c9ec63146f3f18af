"""Init of a Java hello function: without the layer, with it but without its hook, and with both, in turn.

`java.py --cli RINGFENCE --layer ZIP [--rounds 7]` prints medians and what each adds. Run by scripts/bench where there are a JDK and
Maven. Rounds alternate, so a machine that drifts hits all sides alike.
"""

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import tempfile

from invoke import POLICY

FUNCTION = """package example;

public final class Handler {
  public String handleRequest(java.util.Map<String, Object> event) {
    return "hello";
  }
}
"""


def init(options, folder, *arguments):
    """Milliseconds of one init."""
    command = [options.cli, "local", "invoke", "--code", folder, "--handler", "example.Handler::handleRequest", "--runtime", "java"]
    command += ["--network", "none", "--timeout", "60", "--output", "json", *arguments, f"{folder}/event.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"type":"response"')]
    if len(answers) != 1 or answers[0]["status"] != "success":
        raise SystemExit(f"the hello function failed:\n{done.stdout[-2000:]}{done.stderr}")
    return answers[0]["initMs"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cli", required=True)
    parser.add_argument("--layer", required=True)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    if not shutil.which("javac") or not shutil.which("mvn"):
        print("Java: no JDK and Maven here, not measured")
        return
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        code = pathlib.Path(folder)
        code.chmod(0o755)
        for name, text in (("Handler.java", FUNCTION), ("policy.toml", POLICY), ("event.json", "{}")):
            (code / name).write_text(text)
        subprocess.run(["javac", "-d", folder, str(code / "Handler.java")], check=True)
        sides = {
            "without the layer": ["--no-layer"],
            "with it, RINGFENCE_SHIMS=off": ["--layer", options.layer, "--env", "RINGFENCE_SHIMS=off"],
            "with it and its hook": ["--layer", options.layer],
        }
        measured = {name: [] for name in sides}
        for _ in range(options.rounds):
            for name, arguments in sides.items():
                measured[name].append(init(options, folder, *arguments))
    print(f"{'init of a Java hello function, strict':<44} {'median ms':>10} {'added':>8}")
    floor = statistics.median(measured["without the layer"])
    for name, values in measured.items():
        print(f"{name:<44} {statistics.median(values):>10.1f} {statistics.median(values) - floor:>8.1f}")


if __name__ == "__main__":
    main()

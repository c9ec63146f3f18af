"""Init of a Java hello function: without the layer, with it but without its hook, and with both, in turn. And the CPU time of a
JVM that starts and ends: plain, with an agent jar that does nothing, and with the hook.

`java.py --cli RINGFENCE --layer ZIP [--rounds 7]` prints medians and what each adds. Run by scripts/bench where there are a JDK and
Maven. Rounds alternate, so a machine that drifts hits all sides alike.
"""

import argparse
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import tempfile
import zipfile

from invoke import POLICY

FUNCTION = """package example;

public final class Handler {
  public String handleRequest(java.util.Map<String, Object> event) {
    return "hello";
  }
}
"""


EMPTY = """public final class Empty {
  public static void premain(String arguments) {}

  public static void main(String[] arguments) {}
}
"""
# As the managed runtimes start it; the hook needs a descriptor to report to.
JAVA = ["java", "-XX:+UseSerialGC", "-XX:+TieredCompilation", "-XX:TieredStopAtLevel=1", "--add-opens=java.base/java.io=ALL-UNNAMED"]
REPORT_FD = 960


def start(arguments, code):
    """CPU milliseconds of one JVM."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        descriptor = theirs.fileno()
        command = [*JAVA, *arguments, "-cp", str(code), "Empty"]
        child = os.posix_spawnp(
            "java", command, {"PATH": os.environ["PATH"], "RINGFENCE_REPORT_FD": str(REPORT_FD)},
            file_actions=[(os.POSIX_SPAWN_DUP2, descriptor, REPORT_FD)],
        )
        _, status, used = os.wait4(child, 0)
    if status != 0:
        raise SystemExit(f"the JVM failed: {command}")
    return (used.ru_utime + used.ru_stime) * 1000


def starts(options, code):
    (code / "Empty.java").write_text(EMPTY)
    subprocess.run(["javac", "-d", str(code), str(code / "Empty.java")], check=True)
    (code / "manifest").write_text("Premain-Class: Empty\n")
    subprocess.run(["jar", "cfm", str(code / "empty.jar"), str(code / "manifest"), "-C", str(code), "Empty.class"], check=True)
    with zipfile.ZipFile(options.layer) as layer:
        layer.extract("ringfence/java/ringfence.jar", code)
    sides = {
        "plain": [],
        "with an agent jar that does nothing": [f"-javaagent:{code}/empty.jar"],
        "with the hook": [f"-javaagent:{code}/ringfence/java/ringfence.jar"],
    }
    measured = {name: [] for name in sides}
    for _ in range(2 * options.rounds):
        for name, arguments in sides.items():
            measured[name].append(start(arguments, code))
    print(f"{'start and end of a JVM':<44} {'CPU ms':>10} {'added':>8}")
    floor = statistics.median(measured["plain"])
    for name, values in measured.items():
        print(f"{name:<44} {statistics.median(values):>10.1f} {statistics.median(values) - floor:>8.1f}")


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
        starts(options, code)
    print(f"{'init of a Java hello function, strict':<44} {'median ms':>10} {'added':>8}")
    floor = statistics.median(measured["without the layer"])
    for name, values in measured.items():
        print(f"{name:<44} {statistics.median(values):>10.1f} {statistics.median(values) - floor:>8.1f}")


if __name__ == "__main__":
    main()

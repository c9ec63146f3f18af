#!/usr/bin/env python3
"""What `ringfence learn`, `test` and `diff` say of a policy, held against what happens when it runs.

    python3 tests/functional/answers.py --cli FILE --layer ZIP [--profiles strict,nested]

A function is learned from (`local invoke --learn`) and runs under what was learned with no violation. Then one entry at a
time is taken out of the policy: what `test` says would be blocked is what is blocked, and `diff` denies it.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

FUNCTION = """
import os, socket, subprocess

def attempt(what):
    try:
        what()
    except OSError as error:
        print("failed:", error)

def listen():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.close()

def handler(event, context):
    attempt(lambda: subprocess.run(["/usr/bin/tr", "a", "b"], input=b"a", capture_output=True))
    attempt(lambda: subprocess.run(["/usr/bin/cat", "/dev/null"]))
    attempt(lambda: open("/tmp/cache.db", "w").write("x"))
    attempt(lambda: socket.create_connection(("192.0.2.9", 443), 0.2))
    attempt(lambda: socket.getaddrinfo("api.example.com", 443))
    attempt(listen)
    return "done"
"""
# Each takes something out of the policy that was learned: what is looked for, what stands there then, what diff has to deny.
CHANGES = {
    "a program": (r'    "/usr/bin/tr",.*\n', "", "exec /usr/bin/tr"),
    "an address": (r'    "192.0.2.9:443",.*\n', "", "connect 192.0.2.9 port 443"),
    "a host": (r'    "api.example.com",.*\n', "", "resolve api.example.com"),
    "a file": (r"writes = \[\n(.*\n)+?\]", 'writes = "deny"', "open-write /tmp/"),
    "what is kept": (r"keep = \[\n(.*\n)+?\]", "", "residue /tmp/"),
    "a listener": (r'listen = "loopback".*', 'listen = "deny"', "bind addresses of the loopback"),
}


def main():
    parser = argparse.ArgumentParser(description="Holds answers about policies against what happens.")
    parser.add_argument("--cli", type=Path, required=True)
    parser.add_argument("--layer", type=Path, required=True)
    parser.add_argument("--profiles", type=lambda text: text.split(","), default=["strict", "nested"])
    options = parser.parse_args()
    problems = []
    for profile in options.profiles:
        with tempfile.TemporaryDirectory(prefix="ringfence-answers-") as folder:
            problems += [f"{profile}: {text}" for text in Case(options, profile, Path(folder)).problems()]
    print("\n".join(problems) or f"answers: {len(CHANGES)} changes in {' and '.join(options.profiles)}, 0 problems")
    return 1 if problems else 0


class Case:
    def __init__(self, options, profile, folder):
        self.options, self.profile, self.folder = options, profile, folder
        (folder / "code").mkdir()
        (folder / "code" / "app.py").write_text(FUNCTION)
        (folder / "event.json").write_text("{}")

    def ringfence(self, *arguments):
        command = [str(part) for part in (self.options.cli, *arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    def invoke(self, *arguments):
        """The output of two invocations, and what was blocked in them: action and thing."""
        event = self.folder / "event.json"
        run = self.ringfence(
            *("local", "invoke", "--code", self.folder / "code", "--handler", "app.handler", "--runtime", "python3"),
            *("--layer", self.options.layer, "--profile", self.profile, "--output", "json", *arguments, event, event),
        )
        if run.returncode != 0:
            sys.exit(f"answers: the function ended with {run.returncode}: {run.stderr}\n{run.stdout[-2000:]}")
        return run.stdout, set(blocked(run.stdout))

    def problems(self):
        policy = self.folder / "policy.toml"
        log, _ = self.invoke("--learn", policy)
        (self.folder / "log.jsonl").write_text(log)
        learned = policy.read_text()
        _, stopped = self.invoke("--policy", policy)
        problems = [f"blocked under the policy that was learned: {sorted(stopped)}"] if stopped else []
        problems += self.test(policy, set(), "what was learned")
        for name, (old, new, denied) in CHANGES.items():
            changed = self.folder / "changed.toml"
            text, count = re.subn(old, new, learned)
            if count != 1:
                problems.append(f"{name}: not in the policy that was learned\n{learned}")
                continue
            changed.write_text(text)
            _, stopped = self.invoke("--policy", changed)
            if not stopped:
                problems.append(f"{name}: nothing was blocked")
            problems += self.test(changed, stopped, name)
            difference = self.ringfence("diff", policy, changed)
            if difference.returncode != 0 or denied not in difference.stdout:
                problems.append(f"{name}: diff ended with {difference.returncode}: {difference.stdout}")
            if self.ringfence("diff", changed, policy).returncode != 1:
                problems.append(f"{name}: diff permits nothing on the way back")
        return problems

    def test(self, policy, stopped, name):
        answer = self.ringfence("test", policy, "--against", self.folder / "log.jsonl", "--output", "json")
        said = {without_port(each["action"]) for function in json.loads(answer.stdout)["functions"] for each in function["blocked"]}
        problems = [] if said == stopped else [f"{name}: test says {sorted(said)}, blocked was {sorted(stopped)}"]
        if answer.returncode != (1 if stopped else 0):
            problems.append(f"{name}: test ended with {answer.returncode}")
        return problems


def blocked(output):
    """What records say was blocked or wiped, as `test` writes it."""
    for line in output.splitlines():
        record = json.loads(line).get("record")
        body = record.get("ringfence", {}) if isinstance(record, dict) else {}
        subject = body.get("subject", {})
        if body.get("kind") == "residue" and body["verdict"] == "wiped":
            yield from (f"residue {entry['path']}" for entry in body["entries"])
        elif body.get("verdict") == "blocked":
            action = body["action"].replace("_", "-")
            yield without_port(f"{action} {subject.get('path') or subject.get('name') or subject.get('address')}")


def without_port(action):
    """A listener's port is another each time, if the kernel chose it."""
    return re.sub(r"^(bind .*):\d+$", r"\1", action)


if __name__ == "__main__":
    sys.exit(main())

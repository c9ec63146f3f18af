"""RINGFENCE_LOG: the log says why, holds no secret, is bounded, and is none without the variable.

`log.py --cli RINGFENCE --layer ZIP`
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

OPTIONS = None
MARK = "ringfence log "
MAX_LINES, MAX_LINE = 5_000, 1024
KEY, TOKEN, PASSWORD = "sk_made_up_9f8e7d6c5b4a3210ffee", "Zq81-made-up-header-value-77", "Pa55-made-up-0815-wort"
POLICY = """version = 1
mode = "enforce"
[process]
allow = []
survivors = "kill"
[egress]
allow = ["api.example:443"]
[tmp]
residue = "wipe"
"""
# The secrets go where a log could pick them up: names, arguments, headers, files.
PROGRAM = f"""
import os, socket, subprocess, urllib.request
def quietly(act, *arguments, **named):
    try:
        act(*arguments, **named)
    except OSError:
        pass
def handler(event, context):
    key = os.environ["STRIPE_API_KEY"]
    for name in event.get("names", ["refused.example", key[:30].replace("_", "-") + ".example", key + ".api.example"]):
        quietly(socket.getaddrinfo, name, 443)
    quietly(subprocess.run, ["/bin/echo", "--password", {PASSWORD!r}, key])
    request = urllib.request.Request("http://127.0.0.1:9/", headers={{"Authorization": "Bearer " + {TOKEN!r}}})
    quietly(urllib.request.urlopen, request, timeout=1)
    with open("/tmp/" + key, "w") as file:
        file.write(key)
    return "done"
"""


class Log(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.folder.chmod(0o755)
        code = self.folder / "code"
        code.mkdir()
        (code / "app.py").write_text(PROGRAM)
        (code / "policy.toml").write_text(POLICY)

    def play(self, log, events=({},), command_log=None):
        """The lines that the environment wrote, and what the command itself did."""
        words = [OPTIONS.cli, "local", "invoke", "--code", self.folder / "code", "--handler", "app.handler"]
        words += ["--runtime", "python3", "--layer", OPTIONS.layer, "--output", "json"]
        words += ["--env", f"STRIPE_API_KEY={KEY}", *(["--env", f"RINGFENCE_LOG={log}"] if log else [])]
        for number, event in enumerate(events):
            path = self.folder / f"event{number}.json"
            path.write_text(json.dumps(event))
            words.append(path)
        environment = {name: value for name, value in os.environ.items() if name != "RINGFENCE_LOG"}
        environment |= {"RINGFENCE_LOG": command_log} if command_log else {}
        done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=environment)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stdout.count('"done"'), len(events), done.stdout)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return [line["record"] for line in lines if line.get("type") in ("extension", "function")], done

    def test_without_the_variable_there_is_no_log(self):
        lines, done = self.play(None)
        self.assertNotIn(MARK, done.stdout + done.stderr)
        self.assertTrue(any(isinstance(line, dict) and "ringfence" in line for line in lines), "the records are there")

    def test_it_says_why_and_holds_no_secret(self):
        lines, done = self.play("trace")
        log = [line for line in lines if isinstance(line, str) and line.startswith(MARK)]
        said = "\n".join(log)
        for wanted in (
            "info policy: the policy is read source=",
            "platform: the platform has answered request=register status=200",
            "telemetry: ",
            "info guard: a guard says Hello",
            "claims: a rule is in the account rule=process.allow",
            "info events: init is over poller=Runtime",
            "events: the invocation is over told_by=Runtime",
            "ledger: /tmp is settled wanted=Wipe found=1",
            "survivors: processes are settled",
            "resolver: a look-up is judged name=refused.example kind=1 decision=Deny rule=egress.names",
            "records: a violation is taken rule=process.allow",
            "info events: the environment ends reason=SPINDOWN",
        ):
            self.assertIn(wanted, said)
        self.assertLess(max(map(len, log)), MAX_LINE)
        # The function and its events name no secret on their own lines either, so the whole output must be free of them.
        for secret in (KEY, KEY[:16], KEY[14:], KEY[:30].replace("_", "-"), TOKEN, PASSWORD):
            self.assertNotIn(secret, said)
        review = subprocess.run([OPTIONS.cli, "review", "-"], input=done.stdout, capture_output=True, text=True, check=False)
        self.assertEqual(review.returncode, 0, f"a line of the log counts as a record: {review.stdout}")

    def test_a_part_can_be_asked_for_alone(self):
        lines, _ = self.play("resolver=debug")
        parts = {line.split(": ")[0].split(" ")[-1] for line in lines if isinstance(line, str) and line.startswith(MARK)}
        self.assertEqual(parts, {"resolver"})

    def test_it_ends_and_says_so_once(self):
        names = [f"n{number}.refused.example" for number in range(3_000)]
        lines, _ = self.play("trace", [{"names": names}] * 2)
        log = [line for line in lines if isinstance(line, str) and line.startswith(MARK)]
        self.assertEqual(len(log), MAX_LINES + 1)
        self.assertIn("the rest of this environment's is left out", log[-1])

    def test_a_wrong_value_is_told_and_counts_as_not_set(self):
        lines, done = self.play("loud")
        self.assertNotIn(MARK, done.stdout)
        told = [line["message"] for line in lines if isinstance(line, dict) and line["ringfence"]["kind"] == "degraded"]
        self.assertEqual(len(told), 1, lines)
        self.assertIn('RINGFENCE_LOG is "loud": expected error, warn, info, debug, trace or off', told[0])

    def test_the_command_has_a_log_of_its_own(self):
        _, done = self.play(None, command_log="trace")
        self.assertNotIn(MARK, done.stdout)
        for wanted in ("info local: the layer is unpacked", "info local: the sandbox is built", "path=/2020-01-01/extension/register"):
            self.assertIn(wanted, done.stderr)
        self.assertNotIn(KEY, done.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cli", required=True, type=pathlib.Path, help="the ringfence command")
    parser.add_argument("--layer", required=True, type=pathlib.Path, help="the layer's zip")
    OPTIONS = parser.parse_args()
    OPTIONS.cli, OPTIONS.layer = OPTIONS.cli.resolve(), OPTIONS.layer.resolve()
    unittest.main(argv=sys.argv[:1], verbosity=2)

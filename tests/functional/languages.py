"""Languages without a hook of their own: what the planes do for a function in Ruby, and for a static one in Go.

`languages.py --cli RINGFENCE --layer ZIP`. Each function is started by its own `bootstrap`, as provided runtimes are, without the
layer and with it. A language that the machine does not have is skipped, and the test says so.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCES = pathlib.Path(__file__).parent / "languages"
POLICY = """version = 1
mode = "enforce"
[process]
allow = []
[egress]
allow = ["dynamodb.eu-west-1.amazonaws.com:443"]
[files]
deny_read = ["/proc/*/environ"]
[credentials]
reads = "report"
"""
GO = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
RUBY = shutil.which("ruby", path="/usr/bin")
OPTIONS = None
# Seconds; a function takes a fraction of one, unless the machine is very busy.
PATIENCE = 300


class Languages(unittest.TestCase):
    def invoke(self, prepare, profile, layer=True):
        """The function's answer and its violations, by action and verdict, and the `protection` record."""
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            os.chmod(folder, 0o755)
            code = pathlib.Path(folder)
            program = prepare(code)
            (code / "bootstrap").write_text(f"#!/bin/sh\nexec {'/opt/ringfence-exec ' if layer else ''}{program}\n")
            (code / "bootstrap").chmod(0o755)
            (code / "policy.toml").write_text(POLICY)
            (code / "event.json").write_text("{}")
            command = [OPTIONS.cli, "local", "invoke", "--code", folder, "--handler", "x", "--runtime", "provided", "--profile", profile]
            command += ["--network", "none", "--output", "json", "--timeout", "60", *(["--layer", OPTIONS.layer] if layer else ["--no-layer"])]
            done = subprocess.run([*command, code / "event.json"], capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        (answer,) = [line["payload"] for line in lines if line["type"] == "response"]
        records = [line["record"]["ringfence"] for line in lines if line["type"] == "extension"]
        told = {(each["action"], each["verdict"], each["plane"]) for each in records if each["kind"] == "violation"}
        return answer, told, [each for each in records if each["kind"] == "protection"]

    @unittest.skipUnless(RUBY, "no /usr/bin/ruby here")
    def test_ruby_is_held_by_the_library_alone(self):
        def prepare(code):
            shutil.copy(SOURCES / "client.rb", code)
            return "/usr/bin/ruby /var/task/client.rb"

        denied, none = "Errno::EACCES", "Errno::ENETUNREACH"
        free = {"shell": "done", "spawn": "done", "connect": none, "datagram": none, "environ": "done", "secret": "done", "file": "done"}
        self.assertEqual(self.invoke(prepare, "strict", layer=False)[0], free)
        held = {"shell": denied, "spawn": denied, "connect": denied, "datagram": "Errno::EPERM", "environ": denied, "secret": "done", "file": "done"}
        for profile, plane in (("strict", "process"), ("nested", "kernel")):
            with self.subTest(profile):
                answer, told, _ = self.invoke(prepare, profile)
                self.assertEqual(answer, held)
                expected = {(action, "blocked", plane) for action in ("exec", "connect", "send")}
                expected |= {("open_read", "blocked", "process"), ("read_credential", "reported", "process")}
                self.assertEqual(told, expected)

    @unittest.skipUnless(GO, "no go here")
    def test_a_static_function_is_held_by_the_kernel_plane_or_the_record_says_that_it_is_not_enforced(self):
        def prepare(code):
            built = [GO, "build", "-o", str(code / "function"), str(SOURCES / "main.go")]
            subprocess.run(built, check=True, env={**os.environ, "CGO_ENABLED": "0", "GO111MODULE": "off"})
            return "/var/task/function"

        # No look-up of it comes to the guarded resolver, so no address of an allowed host is known: nothing is claimed of them.
        strict, nested = ("observed", "not_covered"), ("enforced", "enforced")
        for profile, done, expected in (("strict", "done", strict), ("nested", "failed", nested)):
            with self.subTest(profile):
                answer, told, (protection,) = self.invoke(prepare, profile)
                # The shell fails in both: the library is in it again and refuses what it runs, unless the platform plane has
                # found and killed it before. Which children that finds is a matter of the clock.
                self.assertEqual((answer["shell"], answer["connect"]), ("failed", done))
                status = {each["rule"]: each["status"] for each in protection["rules"]}
                self.assertEqual((status["process.allow"], status["egress.allow"]), expected)
                if profile == "nested":
                    self.assertEqual(answer["child"], "failed")
                    self.assertLessEqual({("exec", "blocked", "kernel"), ("connect", "blocked", "kernel")}, told)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cli", required=True, help="the ringfence command")
    parser.add_argument("--layer", required=True, help="the layer zip")
    OPTIONS = parser.parse_args()
    unittest.main(argv=sys.argv[:1], verbosity=2)

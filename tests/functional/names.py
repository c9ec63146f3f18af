"""What clients make of the guarded resolver's answers: names of an allowed host, of the machine, and refused ones.

`names.py --cli RINGFENCE --layer ZIP`. A refusal has to be final for glibc's and Go's resolver, a reverse look-up falls back to the
number, and one look-up is one record with its process.
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

SOURCES = pathlib.Path(__file__).parent / "names"
GO = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
# Seconds; a function takes a fraction of one, unless the machine is very busy.
PATIENCE = 300
NO_SUCH_NAME = "gaierror -2"
OPTIONS = None


class Names(unittest.TestCase):
    def invoke(self, runtime, handler, profile, prepare, mode="enforce", rules="policy.toml"):
        """The function's answer, and the records of violations."""
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            os.chmod(folder, 0o755)
            code = pathlib.Path(folder)
            prepare(code)
            (code / "event.json").write_text("{}")
            policy = code / "p.toml"
            policy.write_text((SOURCES / rules).read_text().replace("enforce", mode))
            command = [OPTIONS.cli, "local", "invoke", "--code", folder, "--handler", handler, "--runtime", runtime, "--profile", profile]
            command += ["--layer", OPTIONS.layer, "--policy", policy, "--network", f"world:{SOURCES / 'world.toml'}"]
            command += ["--output", "json", "--timeout", "60", code / "event.json"]
            done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        (answer,) = [line["payload"] for line in lines if line["type"] == "response"]
        records = [line["record"]["ringfence"] for line in lines if line["type"] == "extension" and isinstance(line["record"], dict)]
        return answer, [record for record in records if record["kind"] == "violation"]

    def test_refusals_are_final_and_what_belongs_to_an_allowed_host_is_answered(self):
        for profile in ("strict", "nested", "open"):
            with self.subTest(profile):
                answer, told = self.invoke("python3", "app.handler", profile, lambda code: shutil.copy(SOURCES / "app.py", code))
                expected = {
                    "allowed": "203.0.113.50", "alias": "203.0.113.50", "refused": NO_SUCH_NAME, "service": 0, "refused service": 3,
                    "reverse": ["203.0.113.50", "27017"], "reverse of another": ["203.0.113.99", "80"],
                    "localhost": "127.0.0.1", "below localhost": "127.0.0.1", "itself": True,
                }
                self.assertEqual(answer, expected)
                found = [(record["subject"]["name"], record["count"], record["rule"]) for record in told]
                refused = ["evil.example", "_mongodb._tcp.evil.example", "99.113.0.203.in-addr.arpa"]
                self.assertEqual(found, [(name, 1, "egress.names") for name in refused], told)
                self.assertTrue(all("pid" in record["actor"] and "exe" in record["actor"] for record in told), told)
                self.assertIn("app.py:", told[0]["actor"]["code"])

    def test_a_question_for_the_way_is_no_connection_and_opens_none(self):
        """A datagram socket that is connected to find the nearest address, as getaddrinfo does in Go and musl."""
        for profile in ("strict", "nested", "open"):
            for mode in ("enforce", "observe"):
                with self.subTest(f"{profile} {mode}"):
                    answer, told = self.invoke("python3", "app.ways", profile, lambda code: shutil.copy(SOURCES / "app.py", code), mode)
                    refused = mode == "enforce"
                    # Port 0 stands in for the one that the policy does not allow: the socket has no peer.
                    peers = ["OSError 107"] * 2 if refused else [53, 65535]
                    self.assertEqual([answer["go"], answer["musl"]], [[True, peer] for peer in peers])
                    for kind in ("other port", "other address", "sent", "other name"):
                        self.assertEqual(isinstance(answer[kind], str), refused, answer)
                    found = [(record["subject"].get("address", record["subject"].get("name")), record["action"]) for record in told]
                    # What asks for the way to a name that was looked up is told with the look-up.
                    expected = [("203.0.113.50:53", "send"), ("203.0.113.50:54", "connect"), ("203.0.113.66:53", "connect"), ("evil.example", "resolve")]
                    self.assertEqual(sorted(found), expected, told)

    def test_a_denied_name_closes_its_addresses_once_it_was_looked_up(self):
        for profile in ("strict", "nested"):
            with self.subTest(profile):
                answer, told = self.invoke("python3", "app.denied", profile, lambda code: shutil.copy(SOURCES / "app.py", code), rules="denied.toml")
                expected = {"before": None, "look-up": NO_SUCH_NAME, "after": "PermissionError 13", "another name": "203.0.113.67", "then": None}
                self.assertEqual(answer, expected)
                found = [(record["rule"], record["action"], record["subject"].get("address", record["subject"].get("name"))) for record in told]
                self.assertEqual(found, [("egress.deny", "resolve", "denied.example"), ("egress.deny", "connect", "203.0.113.67:443")], told)

    @unittest.skipUnless(GO, "no go here")
    def test_gos_resolver_takes_a_refusal_for_final(self):
        def prepare(code):
            built = [GO, "build", "-o", str(code / "function"), str(SOURCES / "main.go")]
            subprocess.run(built, check=True, env={**os.environ, "CGO_ENABLED": "0", "GO111MODULE": "off"})
            (code / "bootstrap").write_text("#!/bin/sh\nexec /opt/ringfence-exec /var/task/function\n")
            (code / "bootstrap").chmod(0o755)

        # In strict nothing leads the look-ups of a static program to the guarded resolver.
        answer, told = self.invoke("provided", "x", "nested", prepare)
        self.assertEqual(answer, {"final": True})
        self.assertEqual([(record["subject"].get("name"), record["count"]) for record in told], [("evil.example", 1)], told)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cli", required=True, help="the ringfence command")
    parser.add_argument("--layer", required=True, help="the layer zip")
    OPTIONS = parser.parse_args()
    unittest.main(argv=sys.argv[:1], verbosity=2)

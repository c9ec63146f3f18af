"""The hook in the real layer: a function under the local Lambda whose records name its lines.

RINGFENCE_CLI and RINGFENCE_LAYER say where the command and the zip are; without them these tests are skipped, because
building both takes minutes.
"""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

CLI, LAYER = os.environ.get("RINGFENCE_CLI"), os.environ.get("RINGFENCE_LAYER")

FUNCTION = """import { exec } from 'node:child_process';
import { promisify } from 'node:util';
import dgram from 'node:dgram';
import fs from 'node:fs';
const attempt = (work) => work().then(() => 'done', () => 'failed');
const send = promisify((socket, ...rest) => socket.send(...rest));
export const handler = async () => ({
  shell: await attempt(() => promisify(exec)('id')),
  secret: process.env.AWS_SECRET_ACCESS_KEY.length,
  fetch: await attempt(() => fetch('http://evil.example/')),
  address: await attempt(() => fetch('http://203.0.113.9:8080/')),
  datagram: await attempt(() => send(dgram.createSocket('udp4').unref(), 'x', 53, '203.0.113.9')),
  environ: await attempt(async () => fs.readFileSync('/proc/self/environ')),
});
"""
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
# Under the real runtime client, whose native module hands out the event.
EVALUATING = """import vm from 'node:vm';
const attempt = (work) => { try { return work() } catch (error) { return error.code } };
export const handler = async (event) => [
  attempt(() => Function('return ' + event.rule)()),
  attempt(() => vm.runInThisContext(event.rule)),
  attempt(() => eval(event.rule)),
  attempt(() => Function('return this')() === globalThis),
];
"""
RULE = {"rule": "[process.pid > 0 && 'ran'][0]"}
EXPECTED = [
    ("exec", "blocked", "index.mjs:8"),
    ("read_credential", "reported", "index.mjs:9"),
    ("resolve", "blocked", "index.mjs:10"),
    ("connect", "blocked", "index.mjs:11"),
    ("send", "blocked", "index.mjs:6"),
    ("open_read", "blocked", "index.mjs:13"),
]


def records(lines, kind):
    found = [line["record"] for line in lines if line["type"] == "extension"]
    found = [json.loads(each) if isinstance(each, str) else each for each in found]
    return [each for each in found if each.get("ringfence", {}).get("kind") == kind]


@unittest.skipUnless(CLI and LAYER, "RINGFENCE_CLI and RINGFENCE_LAYER are not set")
class EndToEnd(unittest.TestCase):
    def invoke(self, profile, function=FUNCTION, policy=POLICY, event=()):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            os.chmod(folder, 0o755)
            task = pathlib.Path(folder)
            for name, text in (("index.mjs", function), ("policy.toml", policy), ("event.json", json.dumps(dict(event)))):
                (task / name).write_text(text)
            command = [CLI, "local", "invoke", "--code", folder, "--handler", "index.handler", "--runtime", "node"]
            command += ["--layer", LAYER, "--profile", profile, "--network", "none", "--output", "json"]
            # The first run builds the runtime's client.
            lines = subprocess.run(command + [task / "event.json"] * 2, capture_output=True, text=True, timeout=600)
        self.assertEqual(lines.returncode, 0, lines.stderr + lines.stdout)
        return [json.loads(line) for line in lines.stdout.splitlines()]

    def test_each_attack_has_one_record_that_names_its_line_in_each_invocation(self):
        for profile in ("strict", "nested"):
            with self.subTest(profile):
                lines = self.invoke(profile)
                payloads = [line["payload"] for line in lines if line["type"] == "response"]
                failed = dict.fromkeys(("shell", "fetch", "address", "datagram", "environ"), "failed")
                self.assertEqual([{**payload, "secret": 0} for payload in payloads], [{**failed, "secret": 0}] * 2)
                found = [each["ringfence"] for each in records(lines, "violation")]
                for number in (1, 2):
                    told = [
                        (each["action"], each["verdict"], each["actor"].get("code"))
                        for each in found
                        if each["invocation"]["number"] == number
                    ]
                    self.assertEqual(sorted(told), sorted(EXPECTED), profile)

    def test_text_of_the_event_that_becomes_code(self):
        said = "evaluation of text: {} by node (code.evaluate)"
        for word, answer, did in (("allow", "ran", ""), ("report", "ran", "saw"), ("deny", "EACCES", "blocked")):
            with self.subTest(word):
                lines = self.invoke("strict", EVALUATING, f'version = 1\nmode = "enforce"\n[code]\nevaluate = "{word}"\n', RULE)
                payloads = [line["payload"] for line in lines if line["type"] == "response"]
                self.assertEqual(payloads, [[answer] * 3 + [True]] * 2)
                told = [(each["message"], each["ringfence"]["actor"]["code"]) for each in records(lines, "violation")]
                expected = [(f"ringfence {did} {said.format(name)}", f"index.mjs:{line}") for line, name in ((4, "Function"), (5, "vm.Script"), (6, "eval"))]
                self.assertEqual(sorted(told), sorted(expected * 2 if did else []))
                protection = json.dumps([each["ringfence"] for each in records(lines, "protection")])
                self.assertEqual("Node hook: Function, vm and workers where the text stands in the event" in protection, bool(did))


if __name__ == "__main__":
    unittest.main()

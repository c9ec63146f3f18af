"""The hook in the real layer: a function under the local Lambda whose records name its lines.

RINGFENCE_CLI and RINGFENCE_LAYER say where the command and the zip are; without them, or without Maven for the runtime's
client, these tests are skipped.
"""

import base64
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from run import HOOK, JAVA, built, jar

CLI, LAYER = os.environ.get("RINGFENCE_CLI"), os.environ.get("RINGFENCE_LAYER")
FUNCTION = HOOK / "tests" / "programs" / "attacked" / "Handler.java"
POLICY = """version = 1
mode = "enforce"
[process]
allow = ["/usr/lib/jvm/**/jspawnhelper", "/opt/**/jspawnhelper", "/var/lang/lib/jspawnhelper", "/bin/**", "/usr/bin/**"]
shells = "deny"
from_writable = "deny"
[egress]
allow = ["dynamodb.eu-west-1.amazonaws.com:443"]
[files]
deny_read = ["/proc/*/environ"]
[credentials]
reads = "report"
"""
# What each attempt of the function answers, and what its record says; the attempt's name stands on its line.
BLOCKED = {
    "shell": ("exec", "blocked"),
    "resolve": ("resolve", "blocked"),
    "connect": ("connect", "blocked"),
    "environ": ("open_read", "blocked"),
    "scope": ("open_write", "blocked"),
}
ALLOWED = {"secret": ("read_credential", "reported"), "child": None, "after": None}

CODED = FUNCTION.with_name("Coded.java")
# What each attempt to make code of the event answers without [code], why it does not with it, and its record.
MADE = {
    "script": ("20", "text from the event as a script (code.evaluate)", "evaluate"),
    "compiler": ("true", "text from the event as Java (code.evaluate)", "evaluate"),
    "class": ("planted", "a class from the event (code.evaluate)", "evaluate"),
    "folder": ("planted", "/tmp/ (code.imports)", "import"),
}


def line(attempt, function=FUNCTION):
    (number,) = [n for n, text in enumerate(function.read_text().splitlines(), 1) if f'(answer, "{attempt}"' in text]
    return f"{function.name}:{number}"


@unittest.skipUnless(CLI and LAYER and JAVA and shutil.which("mvn"), "no RINGFENCE_CLI and RINGFENCE_LAYER, or no Java or Maven here")
class EndToEnd(unittest.TestCase):
    def invoke(self, profile, function=FUNCTION, policy=POLICY, event="{}"):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            os.chmod(folder, 0o755)
            task = pathlib.Path(folder)
            compiled = [jar.compiler(), "-g", "-cp", str(built() / "ringfence.jar"), "-d", folder, str(function)]
            subprocess.run(compiled, check=True)
            for name, text in (("policy.toml", policy), ("event.json", event)):
                (task / name).write_text(text)
            command = [CLI, "local", "invoke", "--code", folder, "--handler", f"attacked.{function.stem}::handleRequest", "--runtime", "java"]
            command += ["--layer", LAYER, "--profile", profile, "--network", "none", "--output", "json", "--timeout", "60"]
            # The first run fetches the runtime's client.
            lines = subprocess.run(command + [task / "event.json"] * 2, capture_output=True, text=True, timeout=600)
        self.assertEqual(lines.returncode, 0, lines.stderr + lines.stdout)
        return [json.loads(line) for line in lines.stdout.splitlines()]

    def test_each_attack_has_one_record_that_names_its_line_in_each_invocation(self):
        for profile in ("strict", "nested"):
            with self.subTest(profile):
                lines = self.invoke(profile)
                answers = [line["payload"] for line in lines if line["type"] == "response"]
                expected = {**dict.fromkeys(BLOCKED, "failed"), **dict.fromkeys(ALLOWED, "done")}
                self.assertEqual(answers, [expected] * 2)
                records = [line["record"]["ringfence"] for line in lines if line["type"] == "extension"]
                found = [each for each in records if each["kind"] == "violation"]
                # A negative answer is remembered: the second look-up never leaves the JVM.
                for number, remembered in ((1, ()), (2, ("resolve",))):
                    mine = [each for each in found if each["invocation"]["number"] == number]
                    told = sorted((each["action"], each["verdict"], each["actor"].get("code")) for each in mine)
                    records = {name: says for name, says in {**BLOCKED, **ALLOWED}.items() if says and name not in remembered}
                    self.assertEqual(told, sorted((*says, line(name)) for name, says in records.items()), profile)
                # Java 24 and later have something to say on the runtime client's System.load.
                printed = [line["record"] for line in lines if line["type"] == "function"]
                self.assertEqual([line for line in printed if not line.startswith("WARNING: ")], [], "the hook prints nothing")

    def test_what_the_event_holds_becomes_no_code(self):
        planted = base64.b64encode((built() / "classes" / "example" / "Planted.class").read_bytes()).decode()
        event = json.dumps({"script": "print('banana') + 42", "source": 'class Some { String x = "y"; }', "code": planted, "word": "application"})
        code = '[code]\nevaluate = "deny"\nimports = "deny"\n'
        for policy, answered in (("", 0), (code, 1)):
            with self.subTest(policy):
                lines = self.invoke("strict", CODED, 'version = 1\nmode = "enforce"\n' + policy, event)
                prefix = "ringfence: the policy denies " if policy else ""
                expected = {**{name: prefix + says[answered] for name, says in MADE.items()}, "own": "19 true"}
                self.assertEqual([line["payload"] for line in lines if line["type"] == "response"], [expected] * 2)
                found = [line["record"]["ringfence"] for line in lines if line["type"] == "extension"]
                told = [(each["action"], each["verdict"], each["actor"]["frames"][-1].split()[0]) for each in found if each["kind"] == "violation"]
                once = [(says[2], "blocked", line(name, CODED)) for name, says in MADE.items()] if policy else []
                self.assertEqual(sorted(told), sorted(once * 2))


if __name__ == "__main__":
    unittest.main()

"""Scopes hold in native code and in children: a function with a JNI library under the local Lambda, with the real layer.

RINGFENCE_CLI and RINGFENCE_LAYER say where the command and the zip are; without them, or without Maven for the runtime's
client or a C compiler, these tests are skipped. Each deed is done without a scope first.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from run import HOOK, JAVA, built, jar

CLI, LAYER = os.environ.get("RINGFENCE_CLI"), os.environ.get("RINGFENCE_LAYER")
PROGRAMS = HOOK / "tests" / "programs" / "attacked"
# Deeds: opening /tmp, the same by a native thread, connecting, starting a program.
EXPECTED = {
    "without": "yyyy",
    "tmp": "nnyy",
    "egress": "yyny",
    "children": "yyyn",
    "after": "yyyy",
    "child": "yn",  # without, in the scope
    "nested": "nnyn nnyy",  # inner and outer, outer alone
    "threads": "ynyy",  # one from before, one made in the scope, that one after it, the scope's own after it
    "elsewhere": "ny",  # in a scope, when another thread has closed it
}
# One that is made in another's scope; one in its own scope; eight others meanwhile; what Java itself denies the one in its scope.
VIRTUAL = "yyyyyyyyyyn"


def expected():
    printed = subprocess.run([JAVA, "-XshowSettings:properties", "-version"], capture_output=True, text=True, check=True).stderr
    version = int(re.search(r"java.specification.version = (\d+)", printed)[1])
    return {**EXPECTED, "virtual": VIRTUAL if version >= 21 else "none"}


@unittest.skipUnless(CLI and LAYER and JAVA and shutil.which("mvn") and shutil.which("gcc"), "no RINGFENCE_CLI and RINGFENCE_LAYER, or no Java, Maven or gcc here")
class Native(unittest.TestCase):
    def invoke(self, profile, *events):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            os.chmod(folder, 0o755)
            task = pathlib.Path(folder)
            java = pathlib.Path(os.path.realpath(jar.compiler())).parent.parent
            headers = [f"-I{java}/include", f"-I{java}/include/linux"]
            subprocess.run(["gcc", "-shared", "-fPIC", "-o", task / "libnative.so", *headers, PROGRAMS / "native.c"], check=True)
            compiled = [jar.compiler(), "-g", "-cp", str(built() / "ringfence.jar"), "-d", folder, str(PROGRAMS / "Within.java")]
            subprocess.run(compiled, check=True)
            (task / "policy.toml").write_text('version = 1\nmode = "enforce"\n')
            files = [task / f"event{number}.json" for number in range(len(events))]
            for file, event in zip(files, events):
                file.write_text(json.dumps(event))
            command = [CLI, "local", "invoke", "--code", folder, "--handler", "attacked.Within::handleRequest", "--runtime", "java"]
            command += ["--layer", LAYER, "--profile", profile, "--network", "none", "--output", "json", "--timeout", "60"]
            # The first run fetches the runtime's client.
            lines = subprocess.run(command + files, capture_output=True, text=True, timeout=600)
        self.assertEqual(lines.returncode, 0, lines.stderr + lines.stdout)
        return [json.loads(line) for line in lines.stdout.splitlines()]

    def test_what_a_scope_forbids_native_code_and_children_do_not_do(self):
        for profile in ("strict", "nested"):
            with self.subTest(profile):
                lines = self.invoke(profile, {}, {"configure": "yes"})
                first, second = [line["payload"] for line in lines if line["type"] == "response"]
                self.assertEqual((first, second), (expected(), {**expected(), "configure": "yyyn"}))
                records = [line["record"]["ringfence"] for line in lines if line["type"] == "extension"]
                found = {(each["action"], each["rule"], each["verdict"], each["plane"]) for each in records if each["kind"] == "violation"}
                native = [("open_read", "tmp.writes"), ("connect", "egress.allow"), ("exec", "process.allow")]
                self.assertLessEqual({(*each, "blocked", "process") for each in native}, found)
                # Java 24 and later have something to say on System.load by the function and the runtime's client.
                printed = [line["record"] for line in lines if line["type"] == "function"]
                self.assertEqual([line for line in printed if not line.startswith("WARNING: ")], [], "the hook prints nothing")


if __name__ == "__main__":
    unittest.main()

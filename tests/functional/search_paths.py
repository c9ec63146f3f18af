"""What a function, its children and its wrappers see of search paths and environment is what they see without the layer.

`search_paths.py --cli RINGFENCE --layer ZIP [--profiles strict,nested,open] [--only NAME]`. Each case runs a function with and
without the layer, by a bootstrap that does for the paths what the managed one does, and compares the answers. Whatever the
machine does not have is skipped, and the test says so.
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

SOURCES = pathlib.Path(__file__).parent / "search_paths"
PYTHON, NODE = "/usr/bin/python3", shutil.which("node", path="/usr/bin:/usr/local/bin")
POLICY = """version = 1
mode = "observe"
[process]
allow = []
[code]
evaluate = "report"
"""
OPTIONS = None
# Seconds; a function takes a fraction of one, unless the machine is very busy.
PATIENCE = 300
LAYER = {"python/lib/python%d.%d/site-packages/paylib.py" % tuple(
    json.loads(subprocess.run([PYTHON, "-c", "import sys; print(list(sys.version_info[:2]))"], capture_output=True, check=True).stdout)
): "RATE = 0.19\n"} if os.path.exists(PYTHON) else {}


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)


class SearchPaths(unittest.TestCase):
    maxDiff = None

    def invoke(self, profile, layer, command, files, opt=(), environment=(), wrapper=""):
        """The function's answer, and the records."""
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            place = pathlib.Path(folder)
            place.chmod(0o755)
            (place / "code").mkdir()
            (place / "opt").mkdir()
            ours = "/opt/ringfence-exec " if layer else ""
            # The bootstrap computes the command, the wrapper stands between: ours before it or behind it.
            chain = {"": f"{ours}{command}", "before": f"{ours}/opt/wrapper {command}", "behind": f"/opt/wrapper {ours}{command}"}[wrapper]
            write(place / "code", {"bootstrap": f"#!/bin/sh\nexec {chain}\n", "policy.toml": POLICY, **dict(files)})
            write(place / "opt", {**LAYER, **dict(opt)})
            (place / "event.json").write_text(json.dumps({"descriptors": profile == "strict"}))
            run = [OPTIONS.cli, "local", "invoke", "--code", place / "code", "--opt", place / "opt", "--handler", "x", "--runtime", "provided"]
            run += ["--profile", profile, "--network", "none", "--output", "json", "--timeout", "30"]
            run += [word for pair in environment for word in ("--env", pair)]
            run += ["--layer", OPTIONS.layer] if layer else ["--no-layer"]
            done = subprocess.run([*run, place / "event.json"], capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        (answer,) = [line["payload"] for line in lines if line["type"] == "response"]
        return answer, [line["record"]["ringfence"] for line in lines if line["type"] == "extension"]

    def compare(self, *arguments, claimed="observed", **keywords):
        without, _ = self.invoke("strict", False, *arguments, **keywords)
        for profile in OPTIONS.profiles:
            with self.subTest(profile):
                answer, records = self.invoke(profile, True, *arguments, **keywords)
                for part, expected in without.items():
                    if answer[part] is not False:
                        self.assertEqual(answer[part], expected, part)
                self.is_claimed(records, claimed)
        return without

    def is_claimed(self, records, expected):
        (protection,) = [each for each in records if each["kind"] == "protection"]
        (line,) = [each for each in protection["rules"] if each["rule"] == "code.evaluate"]
        self.assertEqual(line["status"], expected, line)
        if expected == "not_covered":
            self.assertEqual(line["reason"], "the language hook was to be loaded and has not said that it is in the runtime")

    def python(self, files=(), **keywords):
        program = {"client.py": (SOURCES / "client.py").read_text(), "app.py": (SOURCES / "app.py").read_text()}
        return self.compare(f"{PYTHON} /var/task/client.py", {**program, **dict(files)}, **keywords)

    def node(self, files=(), **keywords):
        program = {"client.cjs": (SOURCES / "client.cjs").read_text(), "app.cjs": (SOURCES / "app.cjs").read_text()}
        return self.compare(f"{NODE} /var/task/client.cjs", {**program, **dict(files)}, **keywords)

    def test_python_finds_its_layers_and_children_see_what_they_would(self):
        without = self.python()
        self.assertEqual((without["layer"], without["own"][0]), (0.19, "/var/runtime"), "the control run finds the layer")

    def test_python_with_a_variable_of_the_functions_own(self):
        self.assertIsNone(self.python(environment=["PYTHONPATH=/opt/more:/opt/most"])["layer"])
        self.assertIsNone(self.python(environment=["PYTHONPATH="])["layer"], "empty counts as set")

    def test_customizations_of_the_function_run_and_are_chained(self):
        mark = "import os\nos.environ['CUSTOMIZED'] = os.environ.get('CUSTOMIZED', '') + ' ' + __file__\n"
        chained = mark + (
            "import sys\nhere = os.path.dirname(__file__)\nsys.path.remove(here)\ndel sys.modules['sitecustomize']\n"
            "import sitecustomize\nsys.path.insert(0, here)\n"
        )
        files = {"opt": {"first/sitecustomize.py": chained, "second/sitecustomize.py": mark, "second/usercustomize.py": mark}}
        without = self.python(environment=["PYTHONPATH=/opt/first:/opt/second"], **files)
        self.assertEqual(without["marks"].split()[:2], ["/opt/first/sitecustomize.py", "/opt/second/sitecustomize.py"])

    def test_wrappers_around_python(self):
        for text in (
            "export PYTHONPATH=/var/runtime:/opt/python:$PYTHONPATH",
            "export PYTHONPATH=/opt/python${PYTHONPATH:+:$PYTHONPATH}",
            "[ -z \"${PYTHONPATH+x}\" ] || exit 9; export SEEN=${PYTHONPATH-absent}",
            "unset PYTHONPATH",
        ):
            for place in ("before", "behind"):
                with self.subTest(text, place=place):
                    self.python(opt={"wrapper": f"#!/bin/sh\n{text}\nexec \"$@\"\n"}, wrapper=place)

    def test_a_wrapper_that_starts_the_runtime_anew_from_within(self):
        text = "#!/bin/sh\nexec /usr/bin/python3 -c 'import os, sys; os.environ[\"PYTHONPATH\"] = \"/opt/first\"; os.execv(sys.argv[1], sys.argv[1:])' \"$@\"\n"
        self.python(opt={"wrapper": text}, wrapper="before")

    def test_a_hook_that_is_kept_out_is_not_claimed_and_leaves_nothing_behind(self):
        for flag in ("-I", "-uE", "-S -B"):
            with self.subTest(flag):
                text = f"#!/bin/sh\nshift\nexec {PYTHON} {flag} \"$@\"\n"
                self.python(opt={"wrapper": text}, wrapper="before", claimed="not_covered")

    @unittest.skipUnless(NODE, "no node here")
    def test_node_and_its_children_and_threads(self):
        self.node()

    @unittest.skipUnless(NODE, "no node here")
    def test_node_with_a_variable_of_the_functions_own(self):
        for value in ("--max-old-space-size=200", "", "--no-warnings --enable-source-maps"):
            with self.subTest(value):
                self.node(environment=[f"NODE_OPTIONS={value}"])

    @unittest.skipUnless(NODE, "no node here")
    def test_a_wrapper_that_overwrites_or_extends_the_options_of_node(self):
        for text in ("export NODE_OPTIONS=--no-warnings", "export NODE_OPTIONS=\"$NODE_OPTIONS --no-warnings\"", "unset NODE_OPTIONS"):
            for place in ("before", "behind"):
                with self.subTest(text, place=place):
                    self.node(opt={"wrapper": f"#!/bin/sh\n{text}\nexec \"$@\"\n"}, wrapper=place)


class Counting(unittest.TextTestResult):
    """Counts tests that passed."""

    passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cli", required=True, help="the ringfence command")
    parser.add_argument("--layer", required=True, help="the layer zip")
    parser.add_argument("--profiles", default="strict,nested,open", type=lambda text: text.split(","))
    parser.add_argument("--only", help="tests whose names have this in them")
    OPTIONS = parser.parse_args()
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{OPTIONS.only}*"] if OPTIONS.only else None
    result = unittest.TextTestRunner(verbosity=2, resultclass=Counting).run(loader.loadTestsFromTestCase(SearchPaths))
    failed = len(result.failures) + len(result.errors)
    print(f"{result.passed} passed, {failed} failed, {len(result.skipped)} skipped")
    sys.exit(bool(failed))

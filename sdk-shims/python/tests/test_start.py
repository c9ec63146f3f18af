"""The hook comes first, the customer's own sitecustomize after it, and a child of any Python version is left whole."""

import json
import os
import shutil
import subprocess
import tempfile
import unittest

from tests.receiver import SHIM, run


OLD = ("python2.7", "python3.6", "python3.7", "python3.8")


def works(python):
    """Whether it starts: a version manager leaves names that only print an error."""
    return subprocess.run([python, "-c", ""], capture_output=True, timeout=30).returncode == 0


class Chain(unittest.TestCase):
    def run_beside(self, text, code="import sys; print(sys.modules['sitecustomize'].__file__)"):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
            with open(os.path.join(place, "sitecustomize.py"), "w") as out:
                out.write(text)
            outcome = run(code + "\n", environment={"PYTHONPATH": SHIM + ":" + place})
            return outcome, place

    def test_the_next_sitecustomize_runs_and_is_the_one_that_counts(self):
        outcome, place = self.run_beside("print('customer')\n")
        self.assertEqual(outcome.stdout, "customer\n%s/sitecustomize.py\n" % place)
        self.assertEqual(outcome.stderr, "")

    def test_a_fault_in_it_shows_as_it_would_without_us(self):
        outcome, _ = self.run_beside("raise ValueError('customer')\n", "print('goes on')")
        self.assertIn("Error in sitecustomize", outcome.stderr)
        self.assertEqual(outcome.stdout, "goes on\n")

    def test_without_a_report_socket_in_the_environment_nothing_is_installed(self):
        code = "import sys, os; print('ringfence.events' in sys.modules, type(os.environ._data).__name__)"
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": SHIM, "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.run(["python3", "-c", code], env=environment, capture_output=True, text=True, timeout=30)
        self.assertEqual(process.stdout, "False dict\n")

    def test_nothing_of_ours_is_loaded_before_there_is_something_to_say(self):
        code = "import sys; print(sorted(m for m in sys.modules if m.startswith('ringfence')))"
        nothing, watch = "['ringfence', 'ringfence.start']\n", "['ringfence', 'ringfence.start', 'ringfence.variables']\n"
        for words, loaded in (("", nothing), ("reads=allow,evaluate=deny", nothing), ("reads=report", watch), ("reads=deny", watch)):
            with self.subTest(words):
                self.assertEqual(run(code + "\n", environment={"RINGFENCE_CODE": words}).stdout, loaded)

    def test_it_says_once_what_is_in_place(self):
        outcome = run("pass\n", environment={"RINGFENCE_CODE": "evaluate=report,native=deny,future=report,imports=allow"})
        (word,) = outcome.started
        self.assertEqual((word["name"], word["detail"]), ("Python", "reads,evaluate,native"))
        self.assertEqual(run("pass\n", arguments=["-S"]).started, [])

    def test_nothing_of_it_is_left_on_path_and_environment(self):
        code = (
            "import json, os, posix, sys\n"
            "print(json.dumps([os.environ.get('PYTHONPATH'), posix.environ.get(b'PYTHONPATH', b'-').decode(),"
            " sys.path[1:], 'sitecustomize' in sys.modules]))\n"
        )
        # A system may have a sitecustomize of its own, as Debian does.
        _, _, plain, has_own = json.loads(run(code, environment={"PYTHONPATH": "/a"}).stdout)
        plain = plain[1:]
        for given, shown, copy, path in (
            (SHIM, None, "-", plain),
            (SHIM + ":" + SHIM + "/", "", "", plain),
            (SHIM + ":/a:/b", "/a:/b", "/a:/b", ["/a", "/b"] + plain),
            ("/a:" + SHIM, "/a", "/a", ["/a"] + plain),
        ):
            with self.subTest(given):
                outcome = run(code, environment={"PYTHONPATH": given})
                expected = [shown, copy, path, has_own]
                self.assertEqual(json.loads(outcome.stdout), expected, outcome.stderr)

    def test_an_old_python_as_child_is_not_disturbed(self):
        old = next((path for path in map(shutil.which, OLD) if path and works(path)), None)
        if old is None:
            self.skipTest("no Python older than 3.9 here")
        outcome = run("print('fine')\n", python=old)
        self.assertEqual((outcome.stdout, outcome.stderr, outcome.messages), ("fine\n", "", []))

    def test_files_are_valid_for_the_oldest_lambda_python(self):
        import ast

        for name in os.listdir(os.path.join(SHIM, "ringfence")):
            if name.endswith(".py"):
                with open(os.path.join(SHIM, "ringfence", name)) as source:
                    ast.parse(source.read(), name, feature_version=(3, 9))


if __name__ == "__main__":
    unittest.main()

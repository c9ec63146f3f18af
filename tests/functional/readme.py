"""The README's line for a local run, as it stands there: it must work when it is pasted in a clone.

`readme.py --cli RINGFENCE`. The command that cargo would build and run is handed in, and the layer is there already; all else
is the README's.
"""

import argparse
import pathlib
import re
import shlex
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILT = "cargo run -p ringfence --"
OPTIONS = None


class Readme(unittest.TestCase):
    def test_the_local_run_answers_and_its_shell_is_refused(self):
        blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
        (block,) = [block for block in blocks if "local invoke" in block]
        build, _, line = block.partition("\n")
        self.assertEqual(build, "scripts/build-layer")
        words = shlex.split(line.replace("\\\n", " "))
        self.assertEqual(words[:4], BUILT.split()[:4])
        done = subprocess.run([OPTIONS.cli, *words[5:]], cwd=ROOT, capture_output=True, text=True, timeout=300)
        said = done.stdout + done.stderr
        self.assertEqual(done.returncode, 0, said)
        self.assertRegex(said, r'=> success \{"hello": ?"Ada", ?"shell": ?"PermissionError"\}')
        self.assertIn("ringfence blocked exec of /bin/sh", said)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cli", required=True, type=pathlib.Path, help="the ringfence command")
    OPTIONS = parser.parse_args()
    OPTIONS.cli = OPTIONS.cli.resolve()
    unittest.main(argv=sys.argv[:1], verbosity=2)

"""Which interpreter runs the functions: the machine's own, or that of a folder.

Decides which functions an interpreter can run (those of its language that need no packages, since these are fetched for
one version only) and what the command has to find first. Called by run.py.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Interpreter:
    """`folder` is None for the machine's own."""

    title: str
    runtime: str | None = None
    folder: Path | None = None

    def fits(self, case):
        """Whether it can run the function."""
        return self.folder is None or (case.runtime == self.runtime and not case.needs_packages)

    def environment(self):
        """What has to be set for the command to find it."""
        if self.folder is None:
            return {}
        # The client of Node is compiled: by the headers that lie beside this very version.
        return {"PATH": f"{self.folder}:{os.environ['PATH']}", "npm_config_nodedir": str(self.folder.parent)}


THIS_MACHINES = Interpreter("function")


def interpreter(folder):
    """What lies in a folder: `python3` or `node`."""
    folder = folder.resolve()
    for runtime in ("python3", "node"):
        if (program := folder / runtime).exists():
            version = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=True)
            return Interpreter(version.stdout.strip().replace("v", "Node "), runtime, folder)
    raise SystemExit(f"neither python3 nor node in {folder}")

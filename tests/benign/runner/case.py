"""A function of the corpus: its folder, its packages and what it needs of the machine.

Decides what is fetched and what is skipped; knows nothing of Ringfence. Called by run.py before anything is invoked.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

# Where programs are looked for.
PLACES = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/usr/lib/postgresql/15/bin:/usr/local/go/bin"
# What builds the runtime client of Node on first use.
NODE_CLIENT = ["npm", "cmake", "g++", "make", "autoconf", "automake", "libtoolize"]
FUNCTIONS = Path(__file__).parent.parent / "functions"


class NotHere(Exception):
    """The machine lacks what the function needs; the text says what."""


@dataclass(frozen=True)
class Case:
    """One folder below functions/. `case.toml` in it is optional; see the README beside run.py for its keys."""

    name: str
    folder: Path
    settings: dict

    @property
    def runtime(self):
        return self.settings.get("runtime", "python3")

    @property
    def handler(self):
        return self.settings.get("handler", "app.handler")

    @property
    def events(self):
        return sorted(self.folder.glob("events/*.json"))

    @property
    def needs_packages(self):
        """Whether pip or npm have to bring something."""
        return any((self.folder / name).exists() for name in ("requirements.txt", "package.json"))

    @property
    def servers(self):
        """The Python file whose servers run beside the function; None for most."""
        return self.folder / self.settings["server"] if "server" in self.settings else None

    @property
    def expected(self):
        """The rules whose violation the policy means, per profile if need be."""
        return self.settings.get("expect", {})

    def prepare(self, cache):
        """The code as it would be in /var/task: sources, packages, compiled parts. Made again when any source changed."""
        for program in self.settings.get("programs", []) + (NODE_CLIENT if self.runtime.startswith("node") else []):
            if not shutil.which(program, path=PLACES):
                raise NotHere(f"no {program} here")
        if self.servers and os.geteuid() != 0:
            raise NotHere("its servers need a network name space of their own, and that needs root")
        packages = self._packages(cache)
        code = cache / "code" / f"{self.name}-{self._fingerprint()}"
        if not code.is_dir():
            _build(code, lambda fresh: self._fill(fresh, packages))
        return code

    def _fingerprint(self):
        digest = hashlib.sha256(sys.version.encode())
        for file in sorted(file for file in self.folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts):
            digest.update(file.relative_to(self.folder).as_posix().encode() + b"\0" + file.read_bytes())
        return digest.hexdigest()[:16]

    def _packages(self, cache):
        """The folder with what pip or npm brought, fetched once a list; None where there is no list."""
        for name, fetch in (("requirements.txt", _pip), ("package.json", _npm)):
            listed = self.folder / name
            if listed.exists():
                digest = hashlib.sha256(sys.version.encode() + listed.read_bytes()).hexdigest()[:16]
                kept = cache / "packages" / digest
                if not kept.is_dir():
                    _build(kept, lambda fresh: fetch(listed, fresh))
                return kept
        return None

    def _fill(self, fresh, packages):
        if packages:
            shutil.copytree(packages, fresh, dirs_exist_ok=True, symlinks=True, copy_function=_link)
        shutil.copytree(self.folder, fresh, dirs_exist_ok=True, ignore=shutil.ignore_patterns("events", "__pycache__", "case.toml"))
        for command in self.settings.get("build", []):
            _run(command, fresh)
        _run(["chmod", "-R", "a+rX", "."], fresh)


def corpus(only):
    """The cases whose name contains one of the words, or all of them."""
    found = []
    for folder in sorted(folder for folder in FUNCTIONS.iterdir() if folder.is_dir()):
        file = folder / "case.toml"
        settings = tomllib.loads(file.read_text()) if file.exists() else {}
        if not only or any(word in folder.name for word in only):
            found.append(Case(folder.name, folder, settings))
    return sorted(found, key=lambda case: (case.settings.get("order", 50), case.name))


def _build(target, fill):
    """A folder that is there whole or not at all, for runs at the same time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
    try:
        fresh.chmod(0o755)
        fill(fresh)
        fresh.rename(target)
    except OSError:
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _link(source, target):
    Path(target).hardlink_to(source)


def _pip(listed, fresh):
    _run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore",
          "--only-binary", ":all:", "--target", str(fresh), "-r", str(listed)], fresh)


def _npm(listed, fresh):
    shutil.copy(listed, fresh)
    _run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-update-notifier"], fresh)


def _run(command, folder):
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=600)
    if ended.returncode:
        raise NotHere(f"`{' '.join(command)}` ended with {ended.returncode}: {(ended.stderr or ended.stdout).strip()[-400:]}")

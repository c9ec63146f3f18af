"""Runs a case through `ringfence local invoke` and sorts what it prints.

Decides how the command line is spelt and how its JSON lines are read; judges nothing. Called by run.py.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

# Where the servers of a case are found. No rule takes it for loopback.
ADDRESS_OF_SERVERS = "10.20.30.40"
# A run that takes longer than this is broken: every wait of a function has a limit of its own. The first one by a version of
# Node compiles its client, which takes minutes.
DEADLINE_SECONDS = 900


class CannotRun(Exception):
    """The environment could not be built; the text says why."""


@dataclass(frozen=True)
class Run:
    """All that one environment said, from its start to its end."""

    # In the order of the events: {"requestId", "status", "payload", …}.
    responses: list
    # The log stream: {"type", "requestId", "record"}.
    log: list
    seconds: float
    # As it was printed.
    text: str = ""

    def answers(self):
        """Status and payload of each event, as a caller would see them."""
        return [(answer["status"], answer["payload"]) for answer in self.responses]

    def records(self, *kinds):
        """Ringfence's records of these kinds."""
        bodies = [line["record"].get("ringfence", {}) for line in self.log if line["type"] == "extension" and isinstance(line["record"], dict)]
        return [body for body in bodies if body.get("kind") in kinds]

    def version(self):
        """The runtime's, as the log stream's first line has it: `python:3.14.local`."""
        starts = [line["record"]["record"] for line in self.log
                  if line["type"] == "platform" and line["record"].get("type") == "platform.initStart"]
        return starts[0].get("runtimeVersion", "") if starts else ""

    def stray_lines(self):
        """What the extension's stream holds that is no record: nothing, or something went wrong inside."""
        return [line["record"] for line in self.log
                if line["type"] == "extension" and not (isinstance(line["record"], dict) and "ringfence" in line["record"])]


@dataclass(frozen=True)
class Service:
    """The local Lambda and the layer."""

    program: Path
    layer: Path
    # Variables of the command itself; `PATH` decides which interpreter it finds.
    environment: dict = field(default_factory=lambda: dict(os.environ))

    def by(self, language):
        """The same with another interpreter."""
        return replace(self, environment=self.environment | language.environment())

    def command(self, case, code, profile, protected, policy=None):
        """The command line of one environment, under the case's policy or another one."""
        settings = case.settings
        policy = policy or case.folder / "policy.toml"
        layer = ["--layer", self.layer, *(["--policy", policy] if policy.exists() else [])] if protected else ["--no-layer"]
        variables = dict(settings.get("env", {}))
        variables |= settings.get("protected_env" if protected else "plain_env", {})
        variables |= settings.get("protected_env_in", {}).get(profile, {}) if protected else {}
        for name, length in settings.get("filler", {}).items():
            variables[name] = "x" * length
        return [str(part) for part in (
            *_beside(case), self.program, "local", "invoke", "--code", code, "--handler", case.handler, "--runtime", case.runtime, *layer,
            "--profile", profile, "--network", _network(case),
            *(part for name, value in variables.items() for part in ("--env", f"{name}={value}")),
            "--timeout", settings.get("timeout", 20), "--memory", settings.get("memory", 512), "--output", "json", *case.events,
        )]

    def learn(self, run):
        """The policy that `ringfence learn` makes of a run, and what it says."""
        ended = subprocess.run([self.program, "learn", "-"], input=run.text, capture_output=True, text=True, timeout=60)
        if ended.returncode:
            raise CannotRun(f"ringfence learn: exit status {ended.returncode}: {ended.stderr.strip()[-400:]}")
        return ended.stdout, ended.stderr

    def invoke(self, case, code, profile, protected, policy=None):
        """The case's events in order, in one fresh environment."""
        command = self.command(case, code, profile, protected, policy)
        begun = time.monotonic()
        try:
            ended = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=DEADLINE_SECONDS,
                                   env=self.environment)
        except subprocess.TimeoutExpired as error:
            raise CannotRun(f"no end after {DEADLINE_SECONDS} s") from error
        # 1 says that a function failed, which some of the corpus do on purpose.
        if ended.returncode not in (0, 1):
            raise CannotRun(f"exit status {ended.returncode}: {ended.stderr.strip()[-400:]}")
        items = [json.loads(line) for line in ended.stdout.splitlines()]
        responses = [item for item in items if item["type"] == "response"]
        log = [item for item in items if item["type"] not in ("response", "sink")]
        return Run(responses, log, time.monotonic() - begun, ended.stdout)


def _network(case):
    world = case.folder / "world.toml"
    if case.servers:
        return "inherit"
    return f"world:{world}" if world.exists() else "none"


def _beside(case):
    """What the command is put behind, so that the case's servers answer while it runs."""
    if not case.servers:
        return []
    return ["unshare", "--net", sys.executable, "-B", Path(__file__).parent / "beside.py", case.servers, ADDRESS_OF_SERVERS]

"""Runs events through `ringfence local invoke` and sorts what it prints.

Decides how the command line is spelt and how its JSON lines are read; knows nothing of attacks.
"""

import json
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

# A run that takes longer than this is broken: every wait inside has a limit of its own.
DEADLINE_SECONDS = 90


class CannotRun(Exception):
    """The environment could not be built; the text says why."""


@dataclass(frozen=True)
class Run:
    """All that one environment said, from its start to its end."""

    # In the order of the events: {"requestId", "status", "payload", …}.
    responses: list
    # The log stream: {"type", "requestId", "record"}.
    log: list
    # What arrived at the hosts of the world: {"host", "port", "transport", "bytes", "data"}.
    sinks: list

    def records(self, *kinds):
        """Ringfence's records of these kinds, with the request id that each one names."""
        found = []
        for line in self.log:
            record = line["record"]
            if line["type"] == "extension" and isinstance(record, dict) and "ringfence" in record:
                body = record["ringfence"]
                if body.get("kind") in kinds:
                    found.append((body.get("invocation", {}).get("requestId"), body))
        return found


@dataclass(frozen=True)
class Service:
    """The local Lambda with one function in one world."""

    program: Path
    code: Path
    policy: Path
    world: Path
    layer: Path
    # Where the output of each run with the layer is kept, if anywhere: what `ringfence review` and `learn` read.
    logs: Path | None = None

    def command(self, profile, output, files, policy=None):
        """The command line; `profile` None is the plain service without the layer."""
        policy = policy or ("--policy", self.policy)
        protection = ["--no-layer"] if profile is None else ["--layer", self.layer, *policy]
        return [
            *(self.program, "local", "invoke", "--code", self.code, "--handler", "app.handler", "--runtime", "python3"),
            *protection,
            *("--profile", profile or "strict", "--network", f"world:{self.world}"),
            *("--timeout", "30", "--output", output, *files),
        ]

    def invoke(self, profile, events, name="honest"):
        """The events in order, in one fresh environment."""
        output = self._run(profile, "json", events)
        if self.logs and profile:
            self.logs.joinpath(f"{profile}-{name}.jsonl").write_text(output)
        return read(output)

    def learned(self, profile, events, file):
        """The same service under the policy that `ringfence learn` makes of these events, written to `file`."""
        self._run(profile, "json", events, ("--learn", file))
        if not file.exists():
            raise CannotRun(f"no policy was learned in {profile}")
        return replace(self, policy=file)

    def log_stream(self, profile, events):
        """The log as CloudWatch would show it."""
        return self._run(profile, "text", events)

    def _run(self, profile, output, events, policy=None):
        with tempfile.TemporaryDirectory(prefix="ringfence-demo-") as folder:
            files = []
            for number, event in enumerate(events):
                files.append(Path(folder, f"{number}.json"))
                files[-1].write_text(json.dumps(event))
            command = [str(part) for part in self.command(profile, output, files, policy)]
            try:
                process = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=DEADLINE_SECONDS)
            except subprocess.TimeoutExpired as error:
                raise CannotRun(f"{' '.join(command)}: no end after {DEADLINE_SECONDS} s") from error
        # 1 says that a function failed, as it should under attack.
        if process.returncode not in (0, 1):
            raise CannotRun(f"{' '.join(command)}: exit status {process.returncode}\n{process.stderr}")
        return process.stdout


def read(text):
    """The lines of `--output json`, sorted."""
    responses, log, sinks = [], [], []
    for line in text.splitlines():
        item = json.loads(line)
        {"response": responses, "sink": sinks}.get(item["type"], log).append(item)
    return Run(responses, log, sinks)

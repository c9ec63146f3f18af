"""Set-ups that people really have, with the layer and without it: nothing may change but what the policy forbids.

`living_together.py --cli RINGFENCE --layer ZIP [--only NAME,…] [--profiles strict,nested,open]`

A case is a function with the mark `@case(NAME)`. It is called once for each profile with a `Setting`, plays a function
by `setting.play(…)` and asserts what came. Its inputs are in `cases/NAME/`. What a case needs and the machine does not
have is said by `Skipped`; the last line counts passed, failed and skipped.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import traceback

CASES = pathlib.Path(__file__).parent / "cases"
PROFILES = ("strict", "nested", "open")
GO = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
# Seconds that one environment may take, on a machine that is very busy.
LONGEST_RUN = 300
KNOWN = {}


class Skipped(Exception):
    """What a case needs is not here."""


def case(name):
    def known(function):
        KNOWN[name] = function
        return function

    return known


def need(program):
    """The path of a program; the case is skipped where the machine does not have it."""
    found = shutil.which(program)
    if not found:
        raise Skipped(f"no {program} here")
    return found


class Run:
    """What one environment printed."""

    def __init__(self, done):
        self.text = done.stdout + done.stderr
        self.lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        self.status = done.returncode
        self.responses = [line for line in self.lines if line["type"] == "response"]
        self.answers = [line["payload"] for line in self.responses]
        extension = [line["record"] for line in self.lines if line["type"] == "extension"]
        self.records = [each for each in extension if isinstance(each, dict) and "ringfence" in each]

    def of(self, *kinds):
        """The bodies of the records of these kinds."""
        return [each["ringfence"] for each in self.records if each["ringfence"]["kind"] in kinds]

    def told(self):
        """The messages of all records that say that something was wrong."""
        wrong = ("violation", "residue", "degraded", "anomaly")
        return [each["message"] for each in self.records if each["ringfence"]["kind"] in wrong]

    def status_of(self, rule):
        (protection,) = self.of("protection")
        return next((line["status"] for line in protection["rules"] if line["rule"] == rule), None)

    def after(self):
        """Milliseconds that the environment stayed busy after each answer."""
        return [response["postRuntimeMs"] for response in self.responses]


class Setting:
    """The profile and a folder for one case."""

    def __init__(self, options, profile, folder):
        self.cli, self.layer, self.profile = options.cli, options.layer, profile
        self.folder = pathlib.Path(folder)

    def inputs(self, name):
        """A copy of a case's inputs that everybody may read."""
        place = self.folder / name
        if not place.exists():
            shutil.copytree(CASES / name, place)
            for each in [place, *place.rglob("*")]:
                each.chmod(0o755 if each.is_dir() or each.stat().st_mode & 0o100 else 0o644)
        return place

    def write(self, name, text, mode=0o644):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def play(self, events, *, code, runtime, handler="x", layer=True, policy=None, env=(), more=(), profile=None):
        """Runs a function for these events in one environment."""
        command = [self.cli, "local", "invoke", "--output", "json", "--profile", profile or self.profile]
        command += ["--runtime", runtime, "--handler", handler, "--code", str(code)]
        command += ["--layer", self.layer] if layer else ["--no-layer"]
        command += ["--policy", str(policy)] if policy else []
        for value in env:
            command += ["--env", value]
        paths = [self.write(f"events/{number}.json", json.dumps(event)) for number, event in enumerate(events)]
        command += [*map(str, more), *map(str, paths)]
        return Run(subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_RUN))


def same(found, expected, run=None):
    assert found == expected, f"found {found!r}\nwanted {expected!r}\n{run.text if run else ''}"


def quiet(run):
    """No record of anything that was wrong."""
    assert not run.told(), "\n".join(run.told()) + "\n" + run.text


WEB_EVENT = {
    "version": "2.0", "routeKey": "$default", "rawPath": "/hello", "rawQueryString": "", "headers": {"host": "x"},
    "requestContext": {"http": {"method": "GET", "path": "/hello", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "c"}},
    "isBase64Encoded": False,
}


@case("web-adapter")
def web_adapter(setting):
    """An extension asks for the events and the function's process is a web server: nothing tells when an invocation is over."""
    place = setting.inputs("web-adapter")
    events = [WEB_EVENT] * 4
    common = dict(code=place / "code", runtime="python3", handler="run.sh", more=["--opt", place / "layer"])
    free = setting.play(events, layer=False, env=["AWS_LAMBDA_EXEC_WRAPPER=/opt/bootstrap", "PORT=8080"], **common)
    same((free.status, all(answer["cache"] for answer in free.answers)), (0, True), free)
    held = setting.play(
        events, env=["RINGFENCE_EXEC_WRAPPER=/opt/bootstrap", "PORT=8080"], policy=place / "policy.toml", **common
    )
    same(held.answers, free.answers, held)
    quiet(held)
    for rule in ("tmp.residue", "process.survivors"):
        same(held.status_of(rule), "not_covered", held)


def play_all(options):
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for name, function in KNOWN.items():
        if options.only and name not in options.only:
            continue
        for profile in options.profiles:
            with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
                os.chmod(folder, 0o755)
                outcome, detail = play_one(function, Setting(options, profile, folder))
            counts[outcome] += 1
            print(f"{outcome:8}{name} ({profile}){': ' + detail if detail else ''}", flush=True)
    return counts


def play_one(function, setting):
    try:
        function(setting)
    except Skipped as why:
        return "skipped", str(why)
    except (AssertionError, subprocess.SubprocessError, OSError, ValueError, KeyError) as error:
        return "failed", f"{error}\n{''.join(traceback.format_tb(error.__traceback__)[-3:])}"
    return "passed", ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cli", required=True, help="the ringfence command")
    parser.add_argument("--layer", required=True, help="the layer zip")
    split = lambda text: text.split(",")
    parser.add_argument("--only", type=split, default=[], metavar="NAME,…", help=f"of {', '.join(KNOWN)}")
    parser.add_argument("--profiles", type=split, default=list(PROFILES), metavar="PROFILE,…")
    options = parser.parse_args()
    for unknown in {*options.only} - {*KNOWN} | {*options.profiles} - {*PROFILES}:
        parser.error(f"{unknown} is neither a case ({', '.join(KNOWN)}) nor a profile ({', '.join(PROFILES)})")
    counts = play_all(options)
    print(", ".join(f"{count} {word}" for word, count in counts.items()))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())

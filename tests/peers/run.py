"""Real software of other makers beside the layer: the same answers as without it, and no record of a violation.

`run.py --cli RINGFENCE --layer ZIP --cache FOLDER [--quick] [PEER…]`. Each folder of functions/ is one peer: what is
installed from a package registry, a small function that uses it, and peer.toml, which says how it is run. Its `like` names
the peer whose function it has too. A peer runs without the layer, then with it: in each profile of the local Lambda, once
with the `baseline` pack observing and once with the `web-api` pack enforcing. Times are printed and not judged: they depend
on the machine.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
PROFILES = ("strict", "nested", "open")
INSTALL_LIMIT = 1800
RUN_LIMIT = 600


class Skipped(Exception):
    """The peer cannot be had on this machine."""


class Peer:
    """One folder of functions/."""

    def __init__(self, folder, cache):
        self.name = folder.name
        self.place = cache / folder.name
        self.settings = tomllib.loads((folder / "peer.toml").read_text())
        self.folder = folder.parent / self.settings.get("like", folder.name)

    def install(self):
        """Installs what the peer needs, once. A marker says that it is complete."""
        wanted = json.dumps([self.settings.get("install", []), self.settings.get("needs", [])])
        marker = self.place / ".complete"
        if marker.is_file() and marker.read_text() == wanted:
            return
        for tool in self.settings.get("needs", []):
            if shutil.which(tool) is None:
                raise Skipped(f"no {tool}")
        self.place.mkdir(parents=True, exist_ok=True)
        for command in self.settings.get("install", []):
            words = [word.format(place=self.place, folder=self.folder, python=sys.executable) for word in command]
            done = subprocess.run(words, cwd=self.folder / "code", capture_output=True, text=True, timeout=INSTALL_LIMIT,
                                  env={**os.environ, **self.settings.get("install_env", {})})
            if done.returncode != 0:
                raise RuntimeError(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()[-2000:]}")
        marker.write_text(wanted)

    def layer(self):
        """The peer's own layer: what was installed, and the folder `layer` of the repository over it."""
        return [str(path) for path in (self.place / "layer", self.folder / "layer") if path.is_dir()]

    def code(self):
        """The function's code, built or as it stands."""
        built = self.place / "code"
        return built if built.is_dir() else self.folder / "code"

    def event(self):
        """The event, as JSON."""
        file = self.folder / "event.json"
        return file.read_text() if file.is_file() else "{}"

    def policies(self):
        """Name and text of each policy that it is run with."""
        allow = json.dumps(self.settings.get("allow", []))
        extra = self.settings.get("policy", "")
        enforced = f'version = 1\nextends = "web-api"\nmode = "enforce"\n{extra}\n[egress]\nallow = {allow}\n'
        return {"observe": 'version = 1\nextends = "baseline"\nmode = "observe"\n', "enforce": enforced}


class Run:
    """What one run printed."""

    def __init__(self, options, peer, arguments, variables):
        with tempfile.TemporaryDirectory() as folder:
            event = pathlib.Path(folder, "event.json")
            event.write_text(peer.event())
            words = [str(options.cli), "local", "invoke", "--output", "json", "--code", str(peer.code()),
                     "--runtime", peer.settings["runtime"], "--handler", peer.settings["handler"], "--timeout", "30",
                     "--memory", "1024", *arguments]
            for layer in peer.layer():
                words += ["--opt", layer]
            for name, value in {**peer.settings.get("env", {}), **variables}.items():
                words += ["--env", f"{name}={value}"]
            words += [str(event)] * (options.events or peer.settings.get("events", 5))
            done = subprocess.run(words, capture_output=True, text=True, timeout=RUN_LIMIT)
        if done.returncode == 3:
            raise Skipped(done.stderr.strip())
        self.lines = [json.loads(line) for line in done.stdout.splitlines()]
        self.errors = done.stderr
        self.responses = [line for line in self.lines if line["type"] == "response"]

    def answers(self):
        """Status and payload of each event."""
        return [(response["status"], response["payload"]) for response in self.responses]

    def records(self):
        """What the layer says about the function's deeds."""
        bodies = [line["record"] for line in self.lines if line["type"] == "extension"]
        bodies = [body for body in bodies if isinstance(body, dict) and "ringfence" in body]
        return [body for body in bodies if body["ringfence"]["kind"] in ("violation", "residue", "survivor")]

    def took(self):
        """Median of the milliseconds that the runtime took, of the warm invocations."""
        return statistics.median([response["durationMs"] for response in self.responses[1:]] or [0.0])

    def after(self):
        """Median of the milliseconds from the answer to the end, of the warm invocations."""
        return statistics.median([response["postRuntimeMs"] for response in self.responses[1:]] or [0.0])


def faults(peer, plain, run):
    """What is wrong with a run beside the one without the layer."""
    found = []
    if run.answers() != plain.answers():
        pairs = list(zip(plain.answers(), run.answers()))
        first = next((pair for pair in pairs if pair[0] != pair[1]), (len(plain.responses), len(run.responses)))
        found.append(f"answer: without {str(first[0])[:200]}, with {str(first[1])[:600]}")
    # What the peer really does: told once, in these words, with low severity.
    expected = list(peer.settings.get("told", []))
    seen = {}
    for body in run.records():
        rule = body["ringfence"].get("rule", body["ringfence"]["kind"])
        told = next((words for words in expected if words in body["message"]), None)
        if told and body["ringfence"].get("severity") == "low":
            expected.remove(told)
        else:
            seen.setdefault(f"{rule}: {body['message']}", []).append(body)
    return found + [f"record ({len(bodies)} times) {message}" for message, bodies in seen.items()]


def judge(options, peer):
    """Runs one peer in all ways. Returns the number of faults."""
    peer.install()
    wrapper = peer.settings.get("wrapper")
    alone = {"AWS_LAMBDA_EXEC_WRAPPER": wrapper} if wrapper else {}
    plain = Run(options, peer, ["--no-layer"], alone)
    if any(status != "success" for status, _ in plain.answers()) or not plain.responses:
        raise RuntimeError(f"does not answer without the layer: {plain.answers()[:1]} {plain.errors[-600:]}")
    chained = {"RINGFENCE_EXEC_WRAPPER": wrapper} if wrapper else {}
    if peer.settings["runtime"] == "provided" and peer.settings.get("guarded", True):
        chained["AWS_LAMBDA_EXEC_WRAPPER"] = "/opt/ringfence-exec"
    count = 0
    for profile in PROFILES:
        for name, policy in peer.policies().items():
            with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
                file.write(policy)
                file.flush()
                arguments = ["--layer", str(options.layer), "--profile", profile, "--policy", file.name]
                run = Run(options, peer, arguments, chained)
            wrong = faults(peer, plain, run)
            count += len(wrong)
            word = "FAILED" if wrong else "passed"
            times = (f"{run.took():.2f} ms ({run.took() / max(plain.took(), 0.001):.2f} times {plain.took():.2f} without), "
                     f"after it {run.after():.2f} ms ({plain.after():.2f})")
            print(f"{word} {peer.name} {profile} {name}: {len(run.responses)} events, {times}", flush=True)
            for line in wrong:
                print(f"    {line}", flush=True)
    return count


def main(options):
    """Runs the peers that were asked for. The exit status says whether one failed."""
    folders = sorted(path.parent for path in (HERE / "functions").glob("*/peer.toml"))
    peers = [Peer(folder, options.cache) for folder in folders]
    unknown = set(options.peers) - {peer.name for peer in peers}
    if unknown:
        sys.exit(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(peer.name for peer in peers)}")
    if options.peers:
        peers = [peer for peer in peers if peer.name in options.peers]
    elif options.quick:
        peers = [peer for peer in peers if peer.settings.get("quick")]
    passed, failed, skipped = 0, 0, 0
    for peer in peers:
        try:
            wrong = judge(options, peer)
        except Skipped as reason:
            print(f"skipped: peer {peer.name}: {reason}", flush=True)
            skipped += 1
            continue
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"FAILED {peer.name}: {error}", flush=True)
            wrong = 1
        passed, failed = passed + (not wrong), failed + bool(wrong)
    print(f"peers: {passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cli", required=True, type=pathlib.Path, help="the ringfence command")
    parser.add_argument("--layer", required=True, type=pathlib.Path, help="the layer zip")
    parser.add_argument("--cache", required=True, type=pathlib.Path, help="where peers are installed")
    parser.add_argument("--events", type=int, help="events of one environment; default 5, or what the peer says")
    parser.add_argument("--quick", action="store_true", help="only the peers that are installed in seconds")
    parser.add_argument("peers", nargs="*", metavar="PEER")
    chosen = parser.parse_args()
    for name in ("cli", "layer", "cache"):
        setattr(chosen, name, getattr(chosen, name).resolve())
    sys.exit(main(chosen))

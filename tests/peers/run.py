"""Real software of other makers beside the layer: the same answers as without it, and no record of a violation.

`run.py --cli RINGFENCE --layer ZIP --cache FOLDER [--quick] [PEER…]`. Each folder of functions/ is one peer: what is
installed from a package registry, a small function that uses it, and peer.toml, which says how it is run. Its `like` names
the peer whose function it has too. A peer runs without the layer, then with it: in each profile of the local Lambda, under
each of `Peer.ways`. `allow` names the hosts that its function calls, which world.toml makes; `refused` names hosts that it
calls where the event says so and the policy does not allow them. `told` has the words of records that are expected once
with low severity, `true` those of what its function does against the policy; `blind` names the profiles in which nothing sees what it looks up, `skip` the ways that docs/limits.md excludes. Times are printed, and judged only where an event hangs.
"""

import argparse
import collections
import dataclasses
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
# An event is slow if it takes so much longer than without the layer: a hang, a client that tries again and again.
SLOWER, SLOWER_MS = 3, 2000


class Skipped(Exception):
    """The peer cannot be had on this machine."""


@dataclasses.dataclass
class Way:
    """A policy that a peer is run with."""

    name: str
    policy: str
    # Whether the events reach for what the policy refuses: they say `"refused": true`.
    refusing: bool = False


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

    def world(self):
        """The hosts that exist for it; None if there is loopback only."""
        file = self.folder / "world.toml"
        return file if file.is_file() else None

    @property
    def refused(self):
        """The hosts that its events reach for where the policy does not allow them."""
        return self.settings.get("refused", [])

    def ways(self):
        """Each way that it is run in."""
        allow = self.settings.get("allow", [])
        extra = self.settings.get("policy", "")

        def fitting(mode, hosts):
            return f'version = 1\nextends = "web-api"\nmode = "{mode}"\n{extra}\n[egress]\nallow = {json.dumps(hosts)}\n'

        yield Way("baseline observe", 'version = 1\nextends = "baseline"\nmode = "observe"\n')
        yield Way("web-api observe", fitting("observe", allow))
        yield Way("web-api enforce", fitting("enforce", allow))
        yield Way("learn", 'version = 1\nextends = "learn"\n')
        if self.refused:
            others = [host for host in allow if host.split(":")[0] not in self.refused]
            yield Way("web-api refusing", fitting("enforce", others), refusing=True)


class Run:
    """What one run printed."""

    def __init__(self, options, peer, arguments, variables, refused):
        with tempfile.TemporaryDirectory() as folder:
            event = pathlib.Path(folder, "event.json")
            event.write_text(json.dumps({**json.loads(peer.event()), **({"refused": True} if refused else {})}))
            words = [str(options.cli), "local", "invoke", "--output", "json", "--code", str(peer.code()),
                     "--runtime", peer.settings["runtime"], "--handler", peer.settings["handler"], "--timeout", "30",
                     "--memory", "1024", *arguments]
            for layer in peer.layer():
                words += ["--opt", layer]
            for name, value in {**peer.settings.get("env", {}), **variables}.items():
                words += ["--env", f"{name}={value}"]
            if peer.world():
                words += ["--network", f"world:{peer.world()}"]
            words += [str(event)] * (options.events or peer.settings.get("events", 5))
            done = subprocess.run(words, capture_output=True, text=True, timeout=RUN_LIMIT)
        if done.returncode == 3:
            raise Skipped(done.stderr.strip())
        self.lines = [json.loads(line) for line in done.stdout.splitlines()]
        self.errors = done.stderr
        self.responses = [line for line in self.lines if line["type"] == "response"]

    def answers(self):
        """Status and payload of each event, without the date that a server puts in."""
        for payload in (response["payload"] for response in self.responses):
            if isinstance(payload, dict) and isinstance(payload.get("headers"), dict):
                payload["headers"].pop("date", None)
        return [(response["status"], response["payload"]) for response in self.responses]

    def records(self):
        """What the layer says about the function's deeds."""
        bodies = [line["record"] for line in self.lines if line["type"] == "extension"]
        bodies = [body for body in bodies if isinstance(body, dict) and "ringfence" in body]
        return [body for body in bodies if body["ringfence"]["kind"] in ("violation", "residue", "survivor", "degraded")]

    def printed(self):
        """The function's own lines, for a run that failed."""
        return "".join(f"\n    {line['record']}" for line in self.lines if line["type"] == "function")[-2000:]

    def longest(self):
        """Milliseconds of the slowest event, the first one left out: it has the cold start."""
        return max([response["durationMs"] for response in self.responses[1:]] or [0.0])

    def reached(self):
        """The hosts and ports at which something arrived."""
        return sorted((line["host"], line["port"]) for line in self.lines if line["type"] == "sink" and line["bytes"])

    def took(self):
        """Median of the milliseconds that the runtime took, of the warm invocations."""
        return statistics.median([response["durationMs"] for response in self.responses[1:]] or [0.0])

    def after(self):
        """Median of the milliseconds from the answer to the end, of the warm invocations."""
        return statistics.median([response["postRuntimeMs"] for response in self.responses[1:]] or [0.0])


def faults(peer, way, plain, run, is_seen=True):
    """What is wrong with a run beside the one without the layer."""
    found = []
    if run.answers() != plain.answers():
        pairs = list(zip(plain.answers(), run.answers()))
        first = next((pair for pair in pairs if pair[0] != pair[1]), (len(plain.responses), len(run.responses)))
        found.append(f"answer: without {str(first[0])[:200]}, with {str(first[1])[:600]}")
    expected = [place for place in plain.reached() if not way.refusing or place[0] not in peer.refused]
    if run.reached() != expected:
        found.append(f"arrived at {run.reached()} instead of {expected}")
    if run.longest() > SLOWER * plain.longest() + SLOWER_MS:
        found.append(f"slow: an event took {run.longest():.0f} ms, {plain.longest():.0f} without")
    return found + {"learn": learned}.get(way.name, alarms)(peer, way, run, is_seen)


def learned(peer, way, run, is_seen):
    """Under the pack that learns everything has its record, and nothing is refused."""
    return [f"refused: {body['message']}" for body in run.records() if body["ringfence"].get("verdict") in ("blocked", "killed")]


def alarms(peer, way, run, is_seen):
    """Records that are not true, or of no use."""
    # What the peer really does: told once, in these words, with low severity.
    expected = list(peer.settings.get("told", []))
    seen, lines = {}, collections.Counter()
    for body in run.records():
        told = next((words for words in expected if words in body["message"]), None)
        details = body["ringfence"]
        if told and details.get("severity") == "low":
            expected.remove(told)
        elif any(words in body["message"] for words in peer.settings.get("true", [])):
            lines[(body["message"].partition(",")[0], details["invocation"].get("number"))] += 1
        elif way.refusing and details.get("subject", {}).get("name") in peer.refused:
            line = (details["subject"]["name"], *(details["actor"].get(part) for part in ("code", "pid")), details["invocation"].get("number"))
            lines[line] += 1
        else:
            rule = details.get("rule", details["kind"])
            seen.setdefault(f"{rule}: {body['message']} ({details.get('actor', {}).get('code')})", []).append(body)
    # What is done again folds for a second at most.
    most = 2 + run.longest() / 1000
    seen.update({f"one deed told often: {line}": [None] * count for line, count in lines.items() if count > most})
    if way.refusing and is_seen and not set(peer.refused) <= {line[0] for line in lines}:
        seen["no record of what was refused"] = []
    return [f"record ({len(bodies)} times) {message}" for message, bodies in seen.items()]


def judge(options, peer):
    """Runs one peer in all ways. Returns the number of faults."""
    peer.install()
    wrapper = peer.settings.get("wrapper")
    alone = {"AWS_LAMBDA_EXEC_WRAPPER": wrapper} if wrapper else {}
    chained = {"RINGFENCE_EXEC_WRAPPER": wrapper} if wrapper else {}
    if peer.settings["runtime"].startswith("provided") and peer.settings.get("guarded", True):
        chained["AWS_LAMBDA_EXEC_WRAPPER"] = "/opt/ringfence-exec"
    plain = {}
    for refusing in sorted({way.refusing for way in peer.ways()}):
        run = plain[refusing] = Run(options, peer, ["--no-layer"], alone, refusing)
        if any(status != "success" for status, _ in run.answers()) or not run.responses:
            raise RuntimeError(f"does not answer without the layer: {run.answers()[:1]} {run.errors[-600:]}{run.printed()}")
    count = 0
    for profile in options.profiles:
        for way in peer.ways():
            if why := peer.settings.get("skip", {}).get(f"{profile} {way.name}"):
                print(f"left out: {peer.name} {profile} {way.name}: {why}", flush=True)
                continue
            with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
                file.write(way.policy)
                file.flush()
                arguments = ["--layer", str(options.layer), "--profile", profile, "--policy", file.name]
                run = Run(options, peer, arguments, chained, way.refusing)
            count += tell(peer, profile, way, plain[way.refusing], run)
    return count


def tell(peer, profile, way, plain, run):
    """Prints what came of one run. Returns the number of faults."""
    wrong = faults(peer, way, plain, run, is_seen=profile not in peer.settings.get("blind", []))
    word = "FAILED" if wrong else "passed"
    times = (f"{run.took():.2f} ms ({run.took() / max(plain.took(), 0.001):.2f} times {plain.took():.2f} without), "
             f"after it {run.after():.2f} ms ({plain.after():.2f})")
    print(f"{word} {peer.name} {profile} {way.name}: {len(run.responses)} events, {times}, {len(run.records())} records", flush=True)
    for line in wrong:
        print(f"    {line}", flush=True)
    return len(wrong)


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
    parser.add_argument("--profiles", type=lambda text: text.split(","), default=PROFILES, help=",".join(PROFILES))
    parser.add_argument("peers", nargs="*", metavar="PEER")
    chosen = parser.parse_args()
    for name in ("cli", "layer", "cache"):
        setattr(chosen, name, getattr(chosen, name).resolve())
    sys.exit(main(chosen))

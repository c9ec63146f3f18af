"""The truth table: each claim of the `protection` record against an attack on the rule, by runtime and profile.

`truth_table.py --cli RINGFENCE --layer ZIP` plays one attack per rule (tests/functional/truth/attacks.py) in each runtime and
profile, without the layer and with it, and compares:

    enforced      the attack was stopped
    observed      it got through and was recorded
    not_covered   it got through

`--write` writes docs/coverage.md; without it the page must say what was seen. `--only RUNTIME`, `--profiles A,B` take a part.
`--quick` leaves out what takes long: three runtimes, and of some the profile `open` and observing.
The attacks must get through without the layer: one that does not proves nothing, and fails. Claims that are known to be untrue
stand in truth/known.txt, each with its reason; one that has become true fails too, until its line is taken out.
"""

import argparse
import collections
import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from truth import runtimes  # noqa: E402
from truth.attacks import Attack, attacks  # noqa: E402
from truth.page import page, table  # noqa: E402

SOURCES = pathlib.Path(__file__).parent / "truth"
ROOT = pathlib.Path(__file__).parents[2]
PROFILES = ("strict", "nested", "open")
PATIENCE = 120  # seconds for all events of one environment


@dataclasses.dataclass
class Seen:
    """What one attack came to."""

    through: bool
    recorded: bool
    words: list


@dataclasses.dataclass
class Run:
    """One environment: what came of each attack, and what the record claims."""

    seen: dict
    claims: dict
    reasons: dict


def known_untrue():
    """{(runtime, profile, mode, rule)} of truth/known.txt: fields parted by tabs, the reason last."""
    lines = [line.split("\t") for line in (SOURCES / "known.txt").read_text().splitlines() if line and not line.startswith("#")]
    return {tuple(fields[:4]) for fields in lines}


class Broken(Exception):
    """An environment that did not answer."""


def invoke(options, runtime, profile, mode, layer):
    played = attacks(runtime.language)
    # The first event is none of an attack: what runs when init ends may stay, and the agent hears of the end a little later.
    events, places = [[["getenv", "PATH"]]], {}
    for attack in played:
        places[attack.rule] = len(events)
        events.append(attack.steps)
        if attack.then:
            events.append(attack.then)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        files = []
        for number, steps in enumerate(events):
            files.append(folder / f"{number:02}.json")
            words = [word for index, step in enumerate(steps) for word in ([";"] if index else []) + step]
            files[-1].write_text(json.dumps({"steps": words}))
        policy = folder / "policy.toml"
        policy.write_text((SOURCES / "policy.toml").read_text().replace("MODE", mode))
        command = [options.cli, "local", "invoke", *runtime.arguments(layer), "--profile", profile, "--output", "json", "--timeout", "10"]
        command += ["--network", f"world:{SOURCES / 'world.toml'}", "--env", "TRUTH_MARK=marked"]
        command += ["--layer", options.layer, "--policy", str(policy)] if layer else ["--no-layer"]
        done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, timeout=PATIENCE)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    answers = [line for line in lines if line["type"] == "response"]
    if len(answers) != len(events) or any(answer["status"] != "success" for answer in answers):
        bad = [answer for answer in answers if answer["status"] != "success"]
        raise Broken(f"{len(answers)} of {len(events)} events answered; {bad[:2]}\n{done.stderr[-2000:]}\n{done.stdout[-3000:] if not answers else ''}")
    return played, places, answers, [line["record"]["ringfence"] for line in lines if line["type"] == "extension" and "ringfence" in line["record"]]


def look(played, places, answers, records):
    """What each attack came to, and what the last account of the environment claims."""
    told = collections.Counter(each["rule"] for each in records if each["kind"] in ("violation", "residue") and each["verdict"] != "none")
    seen = {}
    for attack in played:
        place = places[attack.rule]
        words = answers[place + bool(attack.then)]["payload"]["results"]
        got = words[-attack.counts:] if not attack.then else words[-1:]
        seen[attack.rule] = Seen(bool({"through", "killed"} & set(got)), told[attack.rule] > 0, answers[place]["payload"]["results"] + (words if attack.then else []))
    claims, reasons = {}, {}
    for account in records:
        if account["kind"] == "protection":
            claims = {rule["rule"]: rule["status"] for rule in account["rules"]}
            reasons = {rule["rule"]: rule.get("reason", "") for rule in account["rules"]}
    return Run(seen, claims, reasons)


def untrue(rule, seen, claim):
    """What is wrong with a claim; nothing where it is true."""
    if claim == "enforced":
        return "claimed enforced, and got through" if seen.through else None
    if claim == "observed":
        if not seen.through:
            return "claimed observed only, and was stopped"
        return None if seen.recorded else "claimed observed, and got through without a record"
    if claim == "not_covered":
        return None if seen.through else "claimed not covered, and was stopped"
    return "no claim in the record"


def judge(runtime, profile, mode, run):
    """The cells of this environment, and what is wrong with them."""
    cells, wrong = {}, []
    known = known_untrue()
    for rule, seen in run.seen.items():
        cells[rule] = run.claims.get(rule, "-")
        fault = untrue(rule, seen, cells[rule])
        if (runtime.name, profile, mode, rule) in known:
            if not fault:
                wrong.append(f"{runtime.name} {profile} {mode}: {rule}: true now; take its line out of truth/known.txt")
            else:
                cells[rule] = "untrue"
            continue
        if fault and (rule, cells[rule]) not in runtime.modest(profile, mode):
            wrong.append(f"{runtime.name} {profile} {mode}: {rule}: {fault} {seen.words} ({run.reasons.get(rule, '')})")
    for rule, claim in run.claims.items():
        if rule.startswith("code.") and rule not in run.seen:
            cells[rule] = claim
            if claim != "not_covered":
                wrong.append(f"{runtime.name} {profile} {mode}: {rule}: claimed {claim} without an attack that shows it")
    return cells, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cli", required=True, help="the ringfence command")
    parser.add_argument("--layer", required=True, help="the layer zip")
    parser.add_argument("--only", help="runtimes, by commas")
    parser.add_argument("--profiles", default=",".join(PROFILES))
    parser.add_argument("--modes", default="enforce,observe")
    parser.add_argument("--quick", action="store_true", help="what takes some five minutes")
    parser.add_argument("--write", action="store_true", help="write docs/coverage.md")
    parser.add_argument("--verbose", action="store_true", help="print every cell")
    options = parser.parse_args()
    profiles, modes = options.profiles.split(","), options.modes.split(",")
    wrong, cells, skipped, played = [], {}, 0, set()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        pathlib.Path(folder).chmod(0o755)
        for make in runtimes.ALL:
            runtime = make(pathlib.Path(folder))
            briefly = options.quick and make in runtimes.BRIEFLY
            if options.quick and not briefly and make not in runtimes.ALWAYS:
                continue
            if options.only and runtime.name not in options.only.split(","):
                continue
            if missing := runtime.prepare():
                print(f"skipped: {runtime.name}: {missing}", flush=True)
                skipped += 1
                continue
            for profile in profiles:
                if briefly and profile == "open":
                    continue
                begun = time.monotonic()
                faults = []
                try:
                    control = look(*invoke(options, runtime, profile, "enforce", False))
                    faults += [f"{runtime.name} {profile}: {rule}: does not get through without the layer either {seen.words}"
                               for rule, seen in control.seen.items() if not seen.through]
                    for mode in modes:
                        if mode == "observe" and (briefly or not runtime.observed):
                            continue
                        run = look(*invoke(options, runtime, profile, mode, True))
                        found, bad = judge(runtime, profile, mode, run)
                        faults += bad
                        if mode == "enforce":
                            cells[(runtime.name, profile)] = found
                            played.add((runtime.name, profile))
                        if options.verbose:
                            for rule, seen in run.seen.items():
                                print(f"   {mode} {rule}: {found[rule]} through={seen.through} recorded={seen.recorded} {seen.words}")
                except (Broken, subprocess.TimeoutExpired) as fault:
                    faults.append(f"{runtime.name} {profile}: {fault}")
                print(f"{runtime.name} {profile}: {'ok' if not faults else f'{len(faults)} untrue'} ({time.monotonic() - begun:.1f} s)", flush=True)
                for fault in faults:
                    print(f"  {fault}", flush=True)
                wrong += faults
    place = ROOT / "docs/coverage.md"
    if options.write:
        known = table(place.read_text() if place.exists() else "")
        for (name, profile, rule), claim in known.items():
            if (name, profile) not in played:
                cells.setdefault((name, profile), {})[rule] = claim
        place.write_text(page(cells))
    else:
        known = table(place.read_text() if place.exists() else "")
        differing = [f"{runtime} {profile} {rule}: says {known.get((runtime, profile, rule))}, seen {claim}"
                     for (runtime, profile), column in cells.items() for rule, claim in column.items()
                     if known.get((runtime, profile, rule)) != claim]
        for line in differing[:10]:
            print(f"docs/coverage.md: {line}")
        if differing:
            wrong.append("docs/coverage.md")
            print(f"docs/coverage.md differs in {len(differing)} cells: write it by --write")
    print(f"{len(played)} environments, {len(wrong)} untrue, {skipped} skipped")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

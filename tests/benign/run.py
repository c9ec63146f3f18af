"""Runs functions that behave, without the layer and with it, and says which of them noticed.

    run.py --program target/debug/ringfence --layer build/ringfence-layer-x86_64.zip
           [--only WORD…] [--quick] [--learn] [--profiles strict,nested,open] [--cache build/cache/benign]
           [--interpreters FOLDER…]

With --learn the policy is not the case's own: each function runs under the pack `learn`, `ringfence learn` makes a policy of
its records, and under that it runs once more, where nothing may be refused.

Started by scripts/benign. Prints a table; exit status 1 if any function noticed the layer.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from runner.case import NotHere, corpus
from runner.interpreters import THIS_MACHINES, interpreter
from runner.judge import differences, unfit
from runner.service import CannotRun, Service

ALL_PROFILES = "strict,nested,open"


def main():
    options = parse()
    service = Service(options.program.resolve(), options.layer.resolve())
    profiles = options.profiles.split(",")
    cases = [case for case in corpus(options.only) if not options.quick or case.settings.get("quick")]
    if not cases:
        sys.exit(f"no function's name contains {' or '.join(options.only)}")
    results = []
    for language in [interpreter(folder) for folder in options.interpreters] or [THIS_MACHINES]:
        fitting = [case for case in cases if language.fits(case)]
        print(f"{language.title:<24}" + "".join(f"{profile:<18}" for profile in profiles))
        act = learn_profile if options.learn else run_profile
        results += [run_case(service.by(language), case, profiles, options.cache, act) for case in fitting]
    noticed = [line for result in results for line in result["noticed"]]
    skipped = [line for result in results for line in result["skipped"]]
    print(*(f"skipped: {line}" for line in skipped), sep="\n")
    print(*(["\nnoticed:"] + noticed if noticed else []), sep="\n  ")
    print(f"{len(results)} functions, {len(profiles)} profiles: {len(noticed)} differences, {len(skipped)} skipped")
    sys.exit(1 if noticed else 0)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=Path, required=True, help="the ringfence command")
    parser.add_argument("--layer", type=Path, required=True, help="the layer zip")
    parser.add_argument("--cache", type=Path, default=Path("build/cache/benign"), help="where packages are kept")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="functions whose name contains a word")
    parser.add_argument("--quick", action="store_true", help="the few functions that scripts/test runs")
    parser.add_argument("--learn", action="store_true", help="under a policy that `ringfence learn` makes of a first run")
    parser.add_argument("--interpreters", type=Path, nargs="+", default=[], metavar="FOLDER",
                        help="folders that hold python3 or node: functions without packages are run by each")
    parser.add_argument("--profiles", default=ALL_PROFILES, help=f"some of {ALL_PROFILES}")
    return parser.parse_args()


def run_case(service, case, profiles, cache, act):
    """One line of the table, and what is to be said below it."""
    cells, noticed, skipped = [], [], []
    print(f"{case.name:<24}", end="", flush=True)
    try:
        code = case.prepare(cache.resolve())
    except NotHere as reason:
        print("skipped")
        return {"noticed": [], "skipped": [f"{case.name}: {reason}"]}
    for profile in profiles:
        cell, found = act(service, case, code, profile)
        if cell == "skipped":
            skipped += [f"{case.name} in {profile}: {line}" for line in found]
        else:
            noticed += [f"{case.name} in {profile}: {line}" for line in found]
        cells.append(cell)
        print(f"{cell:<18}", end="", flush=True)
    print()
    return {"noticed": noticed, "skipped": skipped}


def run_profile(service, case, code, profile):
    """The cell of the table and the differences of one function in one profile."""
    if profile in case.settings.get("skip", {}):
        return "skipped", [case.settings["skip"][profile]]
    try:
        plain = service.invoke(case, code, profile, protected=False)
        if reason := unfit(case, plain):
            return "broken", [f"fails without the layer too: {reason}"]
        protected = service.invoke(case, code, profile, protected=True)
    except CannotRun as error:
        return "cannot run", [str(error)]
    found = differences(case, profile, plain, protected)
    return (f"NOTICED ({len(found)})" if found else f"same, {plain.seconds:.1f}/{protected.seconds:.1f} s"), found


def learn_profile(service, case, code, profile):
    """The same under a policy that was learned from a first run: nothing that this run does may be refused."""
    if profile in case.settings.get("skip", {}):
        return "skipped", [case.settings["skip"][profile]]
    with tempfile.TemporaryDirectory(prefix="ringfence-learned-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        watching, learned = Path(folder) / "learn.toml", Path(folder) / "learned.toml"
        watching.write_text('version = 1\nextends = "learn"\nmode = "observe"\n')
        try:
            plain = service.invoke(case, code, profile, protected=False)
            if reason := unfit(case, plain):
                return "broken", [f"fails without the layer too: {reason}"]
            policy, said = service.learn(service.invoke(case, code, profile, protected=True, policy=watching))
            learned.write_text(policy)
            protected = service.invoke(case, code, profile, protected=True, policy=learned)
        except CannotRun as error:
            return "cannot run", [str(error)]
    # What is no honest work, as the case itself says, is refused under a learned policy too.
    if said and not case.expected.get("violations"):
        return "NOTICED", [f"ringfence learn said: {said.strip()}"]
    found = [line for line in differences(case, profile, plain, protected)]
    return (f"NOTICED ({len(found)})" if found else "same"), found


if __name__ == "__main__":
    main()

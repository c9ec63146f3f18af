"""The demo: a service with flaws, honest events and attacks, without Ringfence and with it. See docs/demo.md.

    python3 demo/run.py --program FILE --layer ZIP --code DIR [--json FILE] [--logs DIR] [--learned FILE] [--only NAME…] [--profiles strict,nested,open]

`scripts/demo` builds what it needs and calls it. Exit status: 0 all is as it should be; 1 a byte was taken under
protection, a record is missing, an honest answer differs, or an attack no longer works without the layer; 2 it could
not be run.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runner import attack, judge, show
from runner.lambda_run import CannotRun, Service

HERE = Path(__file__).resolve().parent
PROFILES = ("strict", "nested", "open")


def main():
    options = arguments()
    if options.logs:
        options.logs.mkdir(parents=True, exist_ok=True)
    service = Service(options.program, options.code, HERE / "policy.toml", HERE / "world.toml", options.layer, options.logs)
    if options.learned:
        try:
            service = service.learned(options.profiles[0], honest_events(), options.learned)
        except CannotRun as error:
            print(f"demo: {error}", file=sys.stderr)
            return 2
    attacks = [attack.load(file) for file in sorted(HERE.glob("attacks/*.json"))]
    if options.only:
        attacks = [each for each in attacks if any(word in each.name for word in options.only)]
    try:
        return demo(service, attacks, options)
    except CannotRun as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2


def arguments():
    parser = argparse.ArgumentParser(description="Attacks a function without and with the Ringfence layer.")
    parser.add_argument("--program", type=Path, required=True, help="the ringfence command")
    parser.add_argument("--layer", type=Path, required=True, help="the layer's zip")
    parser.add_argument("--code", type=Path, required=True, help="the function's code with its libraries")
    parser.add_argument("--json", type=Path, help="also write all results to this file")
    parser.add_argument("--logs", type=Path, help="also keep the output of each run with the layer in this folder")
    parser.add_argument("--learned", type=Path, help="learn the policy from the honest events, into this new file")
    parser.add_argument("--only", nargs="*", help="attacks whose name contains one of these words")
    parser.add_argument("--profiles", type=lambda text: tuple(filter(None, text.split(","))), default=PROFILES)
    return parser.parse_args()


def demo(service, attacks, options):
    begun = time.monotonic()
    modes = (None, *options.profiles)
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        try:
            honest, problems, results = play(pool, service, attacks, modes)
        finally:
            pool.shutdown(cancel_futures=True)
    if options.learned:
        # Under another policy other rules speak, and some earlier: that nothing is taken is what counts. What was learned to be
        # reported is no false alarm.
        problems = [text for text in problems if "false alarm" not in text]
    for each in attacks:
        found = attack_problems(each, results[each.name])
        problems += [text for text in found if not (options.learned and "no record of" in text)]
    if attacks and options.profiles:
        print_log_stream(service, attacks[0], options.profiles[0])
    print(show.table(attacks, results, options.profiles))
    print("\n".join(f"honest events, {mode}: {text}" for mode, text in honest.items()))
    if options.json:
        options.json.write_text(json.dumps(show.data(attacks, results, honest, problems), indent=2) + "\n")
    conclude(attacks, problems, time.monotonic() - begun)
    return 1 if problems else 0


def play(pool, service, attacks, modes):
    """Runs everything, as many environments at a time as the pool allows."""
    honest_runs = {mode: pool.submit(service.invoke, mode, honest_events()) for mode in modes}
    runs = {each.name: {mode: pool.submit(service.invoke, mode, each.events, each.name) for mode in modes} for each in attacks}
    honest, problems = compare_honest({mode: run.result() for mode, run in honest_runs.items()})
    results = {}
    for each in attacks:
        results[each.name] = {mode: judge.outcome(each, run.result()) for mode, run in runs[each.name].items()}
        progress(each.name)
    return honest, problems, results


def honest_events():
    return [json.loads(file.read_text()) for file in sorted(HERE.glob("events/*.json"))]


def compare_honest(runs):
    """For each profile a line of text; and the list of what is wrong."""
    expected, lines, problems = judge.answers(runs[None]), {}, []
    statuses = [status for status, _ in expected]
    if statuses != ["success"] * 4 + ["error"]:
        problems.append(f"honest events without the layer: {statuses}; the demo itself is broken: {expected}")
    for mode in list(runs)[1:]:
        found = judge.answers(runs[mode])
        same = sum(a == b for a, b in zip(found, expected))
        alarms = judge.false_alarms(runs[mode])
        lines[mode] = f"{same} of {len(expected)} answers are the same as without the layer, {sum(alarms.values())} false alarms"
        if found != expected:
            problems.append(f"honest events, {mode}: {found} instead of {expected}")
        problems += [f"honest events, {mode}: false alarm, {count} times: {text}" for text, count in alarms.items()]
    return lines, problems


def attack_problems(each, outcomes):
    """What is wrong with an attack's outcomes."""
    problems = []
    for mode, outcome in outcomes.items():
        if mode is None:
            if not outcome.bytes:
                problems.append(f"{each.name}: the attack takes nothing even without the layer, so it shows nothing")
            continue
        if outcome.bytes:
            problems.append(f"{each.name}, {mode}: {outcome.bytes} bytes taken: {outcome.taken}")
        problems += [f"{each.name}, {mode}: no record of {rule} with the request id" for rule in outcome.missing]
    return problems


def print_log_stream(service, each, profile):
    print(f"\nThe log of the attack `{each.title}` in profile {profile}, as CloudWatch would show it:\n")
    # Responses and what the world saw are no part of the log.
    lines = service.log_stream(profile, each.events).splitlines()
    print("\n".join(line for line in lines if not line.startswith(("=> ", "SINK "))), "\n")


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="\r", file=sys.stderr, flush=True)


def conclude(attacks, problems, seconds):
    for problem in problems:
        print(f"PROBLEM: {problem}")
    print(f"\n{len(attacks)} attacks, {len(problems)} problems, {seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(main())

"""Attacks the planes: each case without the layer, where it has to work, and with it, where it has to end as listed.

    run.py --program target/debug/ringfence --layer build/ringfence-layer-x86_64.zip [--only WORD…] [--profiles strict]
           [--json FILE]

Started by scripts/attack. Prints a table and "N passed, M failed"; exit status 1 on any surprise: an attack that got
through, a record that is missing, an honest program that noticed, a listed limit that no longer holds.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "process"
sys.path.insert(0, str(FOLDER))

import boundaries  # noqa: E402
import cases  # noqa: E402
from cases import BREACH, HONEST, REPORTED, STOPPED  # noqa: E402

CASES = [*cases.CASES, *boundaries.CASES]

# An environment that takes longer than this is broken: each event has a time limit of its own.
DEADLINE_SECONDS = 240


@dataclass
class Result:
    """What one case came to in one environment."""

    name: str
    won: bool = False
    said: object = None
    errors: list = field(default_factory=list)
    # Rules that wrote a record with the request id of an event of the case.
    rules: set = field(default_factory=set)
    violations: list = field(default_factory=list)
    answered: bool = True


def main():
    options = parse()
    chosen = [case for case in CASES if not options.only or any(word in case.name for word in options.only)]
    if not chosen:
        sys.exit("no case has such a name")
    with tempfile.TemporaryDirectory(prefix="ringfence-attack-") as folder:
        code = prepare(Path(folder, "code"))
        without = play(options, code, None, chosen)
        rows, failed = [], 0
        for profile in options.profiles.split(","):
            with_layer = play(options, code, profile, chosen)
            for case in chosen:
                surprise = judge(case, without[case.name], with_layer[case.name])
                failed += bool(surprise)
                rows.append(row(case, profile, without[case.name], with_layer[case.name], surprise))
    show(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    print(f"\n{len(rows) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=Path, required=True, help="the ringfence command")
    parser.add_argument("--layer", type=Path, required=True, help="the layer zip")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="cases whose name contains a word")
    parser.add_argument("--profiles", default="strict", help="profiles with the layer, separated by commas")
    parser.add_argument("--json", type=Path, help="write the table as data")
    parser.add_argument("--log", type=Path, help="write the log stream of each environment into this folder")
    return parser.parse_args()


def prepare(code):
    """The function's folder, with the attacker's native library as a plain file."""
    code.mkdir()
    for file in (FOLDER / "function").glob("*.py"):
        (code / file.name).write_bytes(file.read_bytes())
    command = ["gcc", "-shared", "-fPIC", "-nostdlib", "-O1", "-o", code / "plant.bin", FOLDER / "plant.c"]
    subprocess.run([str(part) for part in command], check=True)
    for path in (code.parent, code, *code.iterdir()):
        path.chmod(0o755)
    return code


def play(options, code, profile, chosen):
    """All cases in as few environments as they allow; results by name."""
    results = {}
    together = [case for case in chosen if not case.alone and not case.policy]
    for group in [together, *([case] for case in chosen if case not in together)]:
        if group:
            results.update(environment(options, code, profile, group))
    return results


def environment(options, code, profile, group):
    """Plays the cases in one fresh environment."""
    events = [(case, {"name": case.name, "code": snippet}) for case in group for snippet in case.events]
    with tempfile.TemporaryDirectory(prefix="ringfence-attack-") as folder:
        policy = Path(folder, "policy.toml")
        policy.write_text((FOLDER / "policy.toml").read_text() + group[0].policy)
        files = []
        for number, (_, event) in enumerate(events):
            files.append(Path(folder, f"{number}.json"))
            files[-1].write_text(json.dumps(event))
        lines = invoke(options, code, profile, policy, files, group)
    return sort(events, lines)


def invoke(options, code, profile, policy, files, group):
    layer = ["--no-layer"] if profile is None else ["--layer", options.layer, "--policy", policy]
    command = [options.program, "local", "invoke", "--code", code, "--handler", "app.handler", "--runtime", "python3", *layer]
    command += ["--profile", profile or "strict", "--network", f"world:{FOLDER / 'world.toml'}", "--timeout", "30"]
    command += ["--output", "json", *files]
    process = subprocess.run([str(part) for part in command], capture_output=True, timeout=DEADLINE_SECONDS)
    text = process.stdout.decode(errors="replace")
    if options.log:
        options.log.mkdir(parents=True, exist_ok=True)
        name = f"{profile or 'without'}-{group[0].name if len(group) == 1 else 'together'}.jsonl"
        (options.log / name).write_text(text + process.stderr.decode(errors="replace"))
    if process.returncode not in (0, 1):
        sys.exit(f"{command}: exit status {process.returncode}\n{process.stderr.decode(errors='replace')}")
    return [json.loads(line) for line in text.splitlines()]


def sort(events, lines):
    """Results by case, from the lines of one environment."""
    results = {case.name: Result(case.name) for case, _ in events}
    responses = [line for line in lines if line["type"] == "response"]
    owner = {}
    for (case, _), response in zip(events, responses):
        owner[response["requestId"]] = results[case.name]
        take_answer(results[case.name], response)
    for (case, _) in events[len(responses):]:
        results[case.name].answered = False
    for line in lines:
        if line["type"] == "extension" and isinstance(line["record"], dict):
            take_record(owner, line["record"].get("ringfence", {}))
        if line["type"] == "sink" and line["host"].endswith(("evil.example", "internal.example", "docs.example")):
            arrived(results, line)
    return results


def take_answer(result, response):
    answer = response["payload"]
    if response["status"] != "success" or not isinstance(answer, dict):
        result.answered = False
        result.errors.append(f"{response['status']}: {answer}")
        return
    result.won = result.won or answer["won"]
    result.said = answer["said"]
    if answer["error"]:
        result.errors.append(answer["error"])


def take_record(owner, body):
    result = owner.get(body.get("invocation", {}).get("requestId"))
    if result is None:
        return
    result.won = result.won or repeats_forgery(result, body)
    if body.get("kind") not in ("violation", "residue"):
        return
    result.rules.add(body.get("rule"))
    if body["kind"] == "violation":
        result.violations.append(body)


def repeats_forgery(result, body):
    """Whether a record says in Ringfence's name what a case said (its name is among the words), or counts with it."""
    marked = result.name.startswith("forged-") and result.name in json.dumps(body)
    actor = body.get("actor", {}).get("pid")
    in_anothers_name = body.get("plane") != "process" or (result.said is not None and actor != result.said)
    return marked and (in_anothers_name or body.get("messagesDropped", 0) > 1_000_000)


def arrived(results, sink):
    """A case has won whose mark is among the data. Plain HTTP to the honest host carries none."""
    data = str(sink.get("data", ""))
    for name, result in results.items():
        if name in data:
            result.won = True


def judge(case, without, found):
    """What is surprising; nothing where all is as listed."""
    if case.expected == HONEST:
        return judge_honest(without, found)
    if case.control and not without.won:
        return f"does not work without the layer either: {without.errors}"
    if not found.answered and not without.answered:
        return "was not answered"
    if case.expected == STOPPED and found.won:
        return "got through"
    if case.expected in (REPORTED, BREACH) and not found.won:
        return f"a listed limit that no longer holds: {found.errors}"
    if case.rule and case.rule not in found.rules:
        return f"no record of {case.rule}, only {sorted(filter(None, found.rules))} {found.errors}"
    return ""


def judge_honest(without, found):
    if not without.answered or without.said is None:
        return f"does not work without the layer either: {without.errors}"
    if (found.said, found.errors) != (without.said, without.errors):
        return f"answers {found.said} {found.errors} instead of {without.said} {without.errors}"
    return f"false alarm: {found.violations[0]['rule']} {found.violations[0]['subject']}" if found.violations else ""


def row(case, profile, without, found, surprise):
    return {
        "case": case.name, "profile": profile, "what": case.what, "expected": case.expected,
        "without": "–" if case.expected == HONEST or not case.control else "works" if without.won else "fails",
        "with": ("same" if found.said == without.said else "differs") if case.expected == HONEST
        else "gets through" if found.won else "stopped",
        "rules": sorted(filter(None, found.rules)), "surprise": surprise,
    }


def show(rows):
    print(f"{'case':<42}{'profile':<9}{'expected':<10}{'without':<9}{'with':<14}records")
    for row in rows:
        mark = "  <-- " + row["surprise"] if row["surprise"] else ""
        print(f"{row['case']:<42}{row['profile']:<9}{row['expected']:<10}{row['without']:<9}{row['with']:<14}{', '.join(row['rules'])}{mark}")


if __name__ == "__main__":
    main()

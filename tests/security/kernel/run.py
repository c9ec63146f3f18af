"""The attack table of the kernel plane: each attack once without the guard, where it must work (of stalls, which keep an
honest call waiting, that call must be quick there), and behind it, where it must not, in profiles `open` (what the
kernel has) and `nested` (a platform's own filter around it).

`run.py --guard PROGRAM [--quick] [NAME…]`. Needs gcc. What a kernel does not have is skipped, and is no
success of the guard. Ends with "N passed, M failed".
"""

import argparse
import concurrent.futures
import contextlib
import itertools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SOURCES = ["attack", "network", "sockets", "programs", "signals", "others", "opens", "floods", "races"]
SOURCES += ["review", "review2", "review3", "stalls", "architecture", "memory"]
# Attacks on what is there without rules on files written.
UNRULED = ("memory-", "race-memory")
PROFILES = ["open", "nested"]
LINKAGE = {"attack": "static", "attack-dynamic": "dynamic", "attackers.py": "Python"}
PYTHON = ["/usr/bin/python3", "-I"]


def build(folder: pathlib.Path, guard: pathlib.Path) -> None:
    sources = [str(HERE / f"{name}.c") for name in SOURCES]
    flags = ["-O1", "-Wall", "-Wextra", "-Wno-format-truncation", "-pthread"]
    subprocess.run(["gcc", *flags, "-static", "-o", folder / "attack", *sources], check=True)
    subprocess.run(["gcc", *flags, "-o", folder / "attack-dynamic", *sources], check=True)
    subprocess.run(["gcc", *flags, "-static", "-o", folder / "platform", HERE / "platform.c"], check=True)
    shutil.copy(HERE / "attackers.py", folder / "attackers.py")
    shutil.copy(guard, folder / "ringfence-exec")
    (folder / "ringfence-exec").chmod(0o711)
    folder.chmod(0o755)


class Bench:
    """The programs, and one number of a user that nobody else runs under."""

    def __init__(self, folder: pathlib.Path, policy: pathlib.Path, tries: int):
        self.folder, self.policy, self.tries = folder, policy, tries
        self.user = str(64000 + os.getpid() % 900)
        self.numbers = itertools.count()

    def run(self, name: str, profile: str, guarded: bool, program: str = "attack", pinned: bool = False) -> str:
        user = "0" if name.startswith("as-root-") and os.getuid() == 0 else self.user
        words = [self.folder / "platform", profile, user, "guard" if guarded else "bare"]
        words += [self.folder / "ringfence-exec"] if guarded else []
        words += PYTHON if program == "attackers.py" else []
        words += [self.folder / program, "--tries", str(self.tries)]
        words += ["--guarded"] if guarded else []
        words += ["--pinned"] if pinned else []
        number = f"{os.getpid()}{next(self.numbers)}"
        denied, own = (pathlib.Path(f"/tmp/ringfence-{kind}-{number}") for kind in ("denied", "open"))
        policy = self.policy.with_name("unruled.toml") if name.startswith(UNRULED) else self.policy
        environment = {"PATH": "/usr/bin:/bin", "RINGFENCE_POLICY": str(policy), "RINGFENCE_DENIED": str(denied)}
        environment |= {"ATTACK_PROCESSES": "150"} if name.startswith("no-room-") else {}
        environment |= {"RINGFENCE_KILLER": "1"} if name.startswith("guard-killed-") else {}
        try:
            return self.say([*words, name], environment)
        finally:
            shutil.rmtree(denied, ignore_errors=True)
            shutil.rmtree(own, ignore_errors=True)

    @staticmethod
    def say(command: list, environment: dict[str, str]) -> str:
        process = subprocess.Popen(
            command, env=environment, cwd="/", text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        try:
            shown, notes = process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            return "no end within 300 s"
        words = shown.split("\n")
        said = [line for line in words if line.startswith(("worked", "refused", "absent"))]
        reason = "; ".join(line for line in notes.splitlines() if not line.startswith("{"))
        if said and said[0] == "worked" and reason:
            return f"worked ({reason})"
        return said[0] if said else f"nothing said, status {process.returncode}: {shown[:80]}{reason[:120]}"


def attack(bench: Bench, name: str, kind: str, pinned: bool = False) -> tuple[list[str], list[str], bool]:
    """What passed and what failed, each in a line, and whether the kernel lacks what the attack needs."""
    label, absent = f"{name} (pinned)" if pinned else name, False
    own = "attackers.py" if kind == "python" else "attack"
    if kind == "stall":
        # The other way round: nobody waits for anybody there.
        control = bench.run(name, "open", False, own)
        if not control.startswith("refused"):
            return [], [f"{label}: without the guard an honest call must be quick: {control}"], False
    elif kind != "guard":
        control = bench.run(name, "open", False, own, pinned)
        absent = control == "absent"
        if control != "worked" and not absent:
            return [], [f"{label}: without the guard it must work: {control}"], False
    runs = [(profile, own) for profile in PROFILES]
    runs += [("open", "attack-dynamic")] if kind == "plain" else []
    outcomes = {
        f"{label} in {profile}, {LINKAGE[program]}":
            bench.run(name, profile, True, program, pinned)
        for profile, program in runs
    }
    held = [line for line, outcome in outcomes.items() if outcome.startswith(("refused", "absent"))]
    broken = [f"{line}: {outcome}" for line, outcome in outcomes.items() if line not in held]
    return [] if absent else held, broken, absent


def cases(bench: Bench, wanted: list[str]) -> list[tuple[str, str]]:
    programs = [[bench.folder / "attack"]]
    if pathlib.Path(PYTHON[0]).exists():
        programs.append([*PYTHON, bench.folder / "attackers.py"])
    else:
        print("skipped: attackers in Python, there is no", PYTHON[0])
    runs = [subprocess.run([*program, "--list"], capture_output=True, text=True, check=True) for program in programs]
    lines = [line for run in runs for line in run.stdout.splitlines()]
    return [tuple(line.split()) for line in lines if not wanted or line.split()[0] in wanted]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--guard", type=pathlib.Path, required=True)
    options.add_argument("--policy", type=pathlib.Path, default=HERE / "policy.toml")
    options.add_argument("--quick", action="store_true", help="2,000 tries a race instead of 20,000")
    options.add_argument("--verbose", action="store_true")
    options.add_argument("names", nargs="*")
    given = options.parse_args()
    passed, failed, absent = [], [], []
    with tempfile.TemporaryDirectory(prefix="ringfence-attack-") as folder:
        build(pathlib.Path(folder), given.guard)
        bench = Bench(pathlib.Path(folder), given.policy, 2000 if given.quick else 20000)
        table = cases(bench, given.names)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            quiet = [case for case in table if case[1] in ("plain", "python")]
            jobs = {pool.submit(attack, bench, *case): case[0] for case in quiet}
            results = [(jobs[job], job.result()) for job in concurrent.futures.as_completed(jobs)]
        # Races, floods and stalls want the machine for themselves.
        for name, kind in (case for case in table if case[1] not in ("plain", "python")):
            results.append((name, attack(bench, name, kind)))
            if kind == "race":
                results.append((name, attack(bench, name, kind, pinned=True)))
    for name, (held, broken, missing) in results:
        passed += held
        failed += broken
        absent += [name] if missing else []
    if given.verbose:
        print("\n".join(passed))
    for name in sorted(absent):
        print(f"skipped: {name}: this kernel or this user does not have what it needs, so it has no control run")
    for line in failed:
        print("FAILED", line)
    print(f"{len(table)} attacks; {len(passed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

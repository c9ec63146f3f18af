"""Counts person words for code ("who", "nobody", "he"), place by place, and fails where there are more than before.

`scripts/tidy.py [--update] [--show PLACE]`

A thread, a process or the kernel is no person, and a sentence that names the actor is understood sooner. scripts/tidy.toml holds how
many of these words each place may have. A number there only falls: `--update` lowers those that can be, and raises none. A place
with at most 3 per 1,000 lines is good enough, and has no number. `--show` prints the lines of one place.
"""

import argparse
import math
import pathlib
import re
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
TABLE = ROOT / "scripts" / "tidy.toml"
AIM = 3
HEAD = """# Person words in comments, messages and pages: how many each place may have (scripts/tidy.py). The numbers only fall.

"""
WORDS = re.compile(
    r"\b(who|whoever|somebody|someone|nobody|everybody|everyone|anybody|anyone|he|him|his)\b", re.IGNORECASE
)
# Where Rust is, by crate.
CRATES = {
    "policy": "policies",
    "records": "extension/records",
    "log": "extension/log",
    "guard": "extension/guard",
    "agent": "extension/agent",
    "preload": "sdk-shims/preload",
    "local": "local",
    "cli": "cli",
}
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"')


def comments_and_messages(text):
    """The comment lines of a Rust file, and the lines before its tests with the texts of their literals."""
    comments, messages, in_tests = [], [], False
    for line in text.splitlines():
        stripped = line.strip()
        in_tests = in_tests or stripped == "#[cfg(test)]"
        if stripped.startswith("//"):
            comments.append(stripped)
        elif not in_tests:
            messages.append(" ".join(LITERAL.findall(line)))
    return comments, messages


def places():
    """Yields (place, lines to look at, number of lines by which the rate is told)."""
    for crate, folder in CRATES.items():
        comments, messages = [], []
        for file in sorted((ROOT / folder).rglob("*.rs")):
            found = comments_and_messages(file.read_text(encoding="utf-8"))
            name = file.relative_to(ROOT)
            comments += [(name, line) for line in found[0]]
            if "tests" not in file.relative_to(ROOT).parts and file.stem != "tests":
                messages += [(name, line) for line in found[1] if line]
        yield f"{crate}.comments", comments
        yield f"{crate}.messages", messages
    hooks = [
        (file.relative_to(ROOT), line)
        for language, suffix in (("python", "*.py"), ("node", "*.cjs"), ("java", "*.java"))
        for file in sorted((ROOT / "sdk-shims" / language).rglob(suffix))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    yield "hooks.lines", hooks
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
    yield "docs.lines", [
        (file.relative_to(ROOT), line) for file in pages for line in file.read_text(encoding="utf-8").splitlines()
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--update", action="store_true", help="lower the numbers that can be lowered")
    parser.add_argument("--show", metavar="PLACE", help="print the lines of a place")
    options = parser.parse_args()
    allowed = tomllib.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else None
    table, failed, lower = {}, False, False
    for place, lines in places():
        found = [(file, line, len(WORDS.findall(line))) for file, line in lines if WORDS.search(line)]
        count = sum(number for _, _, number in found)
        if options.show == place:
            for file, line, _ in found:
                print(f"{file}: {line}")
        aim = math.ceil(AIM * len(lines) / 1000)
        most = count if allowed is None else max(allowed.get(place, 0), aim)
        if count > aim:
            table[place] = min(count, most)
        lower = lower or max(count, aim) < most
        if count > most:
            failed = True
            print(
                f"tidy: {place} has {count} person words, {most} are allowed: name the thread, process, caller or kernel instead "
                f"(scripts/tidy.py --show {place})",
                file=sys.stderr,
            )
        elif options.update:
            print(f"{place:18} {count:4} in {len(lines):5} lines, {1000 * count / max(len(lines), 1):5.1f} per 1,000")
    if options.update and not failed:
        TABLE.write_text(HEAD + "".join(f'"{place}" = {count}\n' for place, count in table.items()), encoding="utf-8")
    elif lower and not failed:
        print("tidy: there are fewer person words than allowed; scripts/tidy.py --update keeps it so")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

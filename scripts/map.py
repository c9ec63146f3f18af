"""Checks that what docs/architecture.md names is there: each file, and each function that stands in a line with its file.

`scripts/map.py`
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PLACES = tuple(f"{each}/" for each in ("policies", "extension", "sdk-shims", "local", "cli", "demo", "tests", "fuzz", "scripts", "docs", "layer"))


def missing(page):
    """Yields what a line names and is not there."""
    for number, line in enumerate(page.splitlines(), 1):
        file = None
        for name in re.findall(r"`([^`]+)`", line):
            if name.startswith(PLACES):
                file = ROOT / name
                if not file.exists():
                    yield f"line {number}: no {name}"
            elif file and file.is_file() and re.fullmatch(r"[a-z][a-z0-9_]*", name):
                if not re.search(rf"\b(?:fn|def|static|const)\s+{name}\b", file.read_text(encoding="utf-8")):
                    yield f"line {number}: no {name} in {file.relative_to(ROOT)}"
    for target in re.findall(r"\]\(([^)#:]+)\)", page):
        if not (PAGE.parent / target).exists():
            yield f"no page {target}"


def main():
    found = list(missing(PAGE.read_text(encoding="utf-8")))
    for each in found:
        print(f"map: {PAGE.relative_to(ROOT)}: {each}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

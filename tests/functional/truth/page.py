"""docs/coverage.md: written from what the truth table has seen, and read again to compare."""

import re

HEAD = """# Coverage

Which rules hold, by runtime and environment. `enforced`: an attack on the rule was stopped. `observed`: it got through and was
recorded. `not covered`: it may get through. `–`: the record does not speak of it.
`claimed, and untrue`: a known fault. The words are those of the `protection` record;
each was compared with an attack that gets through without the layer:

```sh
python3 tests/functional/truth_table.py --cli target/release/ringfence --layer build/ringfence-layer-x86_64.zip --write
```

The columns are kinds of runtime, the profiles those of [local.md](local.md): `strict` is today's Lambda as known, `nested` the
same with seccomp(2), `open` a container or a Managed Instance's host. One attack a rule is no proof that a rule has no hole: the
known ones are in [limits.md](limits.md).
"""
SHORT = {"enforced": "enforced", "observed": "observed", "not_covered": "not covered", "untrue": "claimed, and untrue", "-": "–"}
LONG = {short: claim for claim, short in SHORT.items()}


def page(cells):
    text = HEAD
    for profile in ("strict", "nested", "open"):
        columns = sorted(name for name, of in cells if of == profile)
        rules = sorted({rule for name in columns for rule in cells[name, profile]})
        text += f"\n## `{profile}`\n\n| Rule | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|\n"
        for rule in rules:
            row = [SHORT[cells[name, profile].get(rule, "-")] for name in columns]
            text += f"| `{rule}` | {' | '.join(row)} |\n"
    return text


def table(text):
    """{(runtime, profile, rule): claim} of the page."""
    known, profile, columns = {}, None, []
    for line in text.splitlines():
        if found := re.match(r"## `(\w+)`", line):
            profile = found[1]
        elif line.startswith("| Rule |"):
            columns = [part.strip() for part in line.split("|")[2:-1]]
        elif found := re.match(r"\| `([\w.]+)` \|", line):
            cells = [part.strip() for part in line.split("|")[2:-1]]
            for name, cell in zip(columns, cells):
                known[name, profile, found[1]] = LONG[cell]
    return known

"""Puts results into words: a table that a person can read, and plain data for `--json`."""

NAME_WIDTH, CELL_WIDTH = 36, 25


def table(attacks, results, profiles):
    """Attack by attack: bytes taken without the layer, and what happened in each profile."""
    heads = ["ATTACK", "WITHOUT LAYER", *(f"WITH, {profile}" for profile in profiles)]
    lines = [row(heads), "-" * len(row(heads))]
    for attack in attacks:
        cells = [[attack.title], unprotected(results[attack.name][None])]
        cells += [protected(attack, results[attack.name][profile]) for profile in profiles]
        lines += rows(cells)
    lines.append("Under each rule: what was done, and the plane that did it.")
    return "\n".join(lines)


def unprotected(outcome):
    """The cell of the control run."""
    return [f"{outcome.bytes:,} bytes taken", "by " + ", ".join(sorted(outcome.taken))] if outcome.bytes else ["NOTHING TAKEN"]


def protected(attack, outcome):
    """The cell of a protected run: what became of it, then for each expected rule what was done by which plane."""
    first = outcome.records.get(attack.rules[0], {})
    lines = [f"{first.get('verdict', 'NOT SEEN')}, {outcome.bytes:,} bytes" + (" LEAKED" if outcome.bytes else "")]
    for rule in attack.rules:
        record = outcome.records.get(rule)
        lines += [rule, f"  {record['verdict']}, {record['plane']}"] if record else ["NO RECORD of", f"  {rule}"]
    return lines


def rows(cells):
    """Cells of several lines each, side by side."""
    height = max(len(cell) for cell in cells)
    return [row([cell[i] if i < len(cell) else "" for cell in cells]).rstrip() for i in range(height)] + [""]


def row(cells):
    """One line of the table."""
    return f"{cells[0]:<{NAME_WIDTH}}" + "".join(f"{cell:<{CELL_WIDTH}}" for cell in cells[1:])


def data(attacks, results, honest, problems):
    """Everything, for `--json`."""

    def one(outcome):
        return {
            "bytes": outcome.bytes,
            "taken": outcome.taken,
            "missing": list(outcome.missing),
            "records": outcome.records,
        }

    return {
        "attacks": [
            {
                "name": attack.name,
                "title": attack.title,
                "rules": list(attack.rules),
                "outcomes": {profile or "without": one(outcome) for profile, outcome in results[attack.name].items()},
            }
            for attack in attacks
        ],
        "honest": honest,
        "problems": problems,
    }

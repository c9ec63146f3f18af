"""Reads events and attacks from their JSON files. Knows their format (docs/demo.md) and nothing else."""

import json
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Attack:
    """One attack: the events that it consists of, and what has to be in the log when it was noticed."""

    name: str
    title: str
    what: str
    # Rules that must each have a record with the request id of one of the events. The first is the one that stops it.
    rules: tuple
    events: tuple
    # Indices of the events that the attacker sent, whose answers he therefore sees.
    attacker_events: tuple
    # Texts, besides the credentials, that must not come into the attacker's hands.
    secrets: tuple = field(default=())


def load(file):
    """The attack in `file`."""
    spec = json.loads(file.read_text())
    return Attack(
        name=file.stem,
        title=spec["title"],
        what=spec["what"],
        rules=tuple(spec["rules"]),
        events=tuple(joined(event) for event in spec["events"]),
        attacker_events=tuple(spec.get("attacker_events", [0])),
        secrets=tuple(spec.get("secrets", [])),
    )


def joined(event):
    """The event, with each `{"lines": […]}` (a readable form for texts of several lines) made one text."""
    return {key: "\n".join(value["lines"]) if isinstance(value, dict) else value for key, value in event.items()}

"""Judges a run: how many bytes the attacker has, which rules wrote their records, whether honest answers are untouched.

Pure: knows nothing of how a run came about.
"""

import json
from collections import Counter
from dataclasses import dataclass

# What `ringfence local` hands out as the role's credentials (docs/local.md): they open nothing.
CREDENTIALS = (
    "ASIA" "ID6J7ND33WQAEIZA",
    "XfFPjjZF1hask/jsVVJo" "gTD4CsySJ9WzlQ/ACRNE",
    "IQoJb3JpZ2luX2Vjv5RcG/07P1M+i8tZ9kVTKXvJ0vkcXkXCbPdD0brlkQPG3A+7HEccQXxZU98QBQfYYP28Fob3BDlXqBF7QXq5"
    "nnyEK4v/WDOQ6uPesc9ANGuUhFJrFQ7IXJLcShElML5hzDXzASlnWZ0dOmN3wzEKzd3pCX8wHqMtBfwrGevTZc4NnQ4RYos9OA1d"
    "vA0BrvbW846Zf5VhRdUH4D+LTc51opMpJbX1Xsw61C9z6V9/WKu5HnI1JiDqNqsfg5HVQCo49kXodQhN9wz7OF1keq4c1RnJxAFu"
    "XL+TkLsfEFJwHKtsTxuxv3e6LDIu8uC2mOm0",
)
ATTACKERS = "evil.example"


@dataclass(frozen=True)
class Outcome:
    """What one attack came to in one environment."""

    # Bytes that arrived at the attacker's hosts, by transport and port, and secret bytes in answers that he sees.
    taken: dict
    # For each rule that wrote a record of one of the attack's events: the record's body.
    records: dict
    # Expected rules without a record.
    missing: tuple

    @property
    def bytes(self):
        """All bytes that the attacker has."""
        return sum(self.taken.values())


def outcome(attack, run):
    """Judges an attack's run."""
    ids = {response["requestId"] for response in run.responses}
    records = {}
    for request, body in run.records("violation", "residue"):
        if request in ids:
            records.setdefault(body["rule"], body)
    missing = tuple(rule for rule in attack.rules if rule not in records)
    return Outcome(taken(attack, run), records, missing)


def taken(attack, run):
    """Bytes in the attacker's hands, by the way they came."""
    found = {}
    for sink in run.sinks:
        if sink["bytes"] and (sink["host"] == ATTACKERS or sink["host"].endswith("." + ATTACKERS)):
            way = f"{sink.get('transport', 'tcp')} {sink['port']}"
            found[way] = found.get(way, 0) + sink["bytes"]
    answers = sum(secret_bytes(attack, run.responses[i]["payload"]) for i in attack.attacker_events if i < len(run.responses))
    if answers:
        found["answer"] = answers
    return found


def secret_bytes(attack, payload):
    """Bytes of secrets in an answer."""
    text = json.dumps(payload, ensure_ascii=False)
    return sum(text.count(secret) * len(secret) for secret in (*CREDENTIALS, *attack.secrets))


def answers(run):
    """What the callers of honest events got, without what differs from run to run anyway."""
    return [(response["status"], without_request_id(response["payload"])) for response in run.responses]


def without_request_id(payload):
    """An error's payload names its request."""
    return {k: v for k, v in payload.items() if k != "requestId"} if isinstance(payload, dict) else payload


def false_alarms(run):
    """Violations in a run of honest events: what they say and how often."""
    return Counter(describe(body) for _, body in run.records("violation"))


def describe(body):
    """A violation in short."""
    return f"{body['rule']} {json.dumps(body.get('subject', {}))} {body.get('detail', '')}".strip()

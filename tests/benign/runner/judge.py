"""Decides whether a function noticed the layer: compares its run with the layer to its run without.

Knows records and answers only, not how they were made. Called by run.py; tested in tests/test_judge.py.
"""

import json
from fnmatch import fnmatch


def differences(case, profile, plain, protected):
    """What is not as it should be, one sentence each; empty where the function noticed nothing."""
    found = [*_answers(plain, protected), *_function_lines(plain, protected), *_missing_lines(case, protected)]
    found += [*_violations(case, profile, protected), *_protection(case, profile, protected)]
    found += [f"degraded: {body.get('subject') or body.get('reason') or body}" for body in protected.records("degraded")]
    found += [f"the extension printed {line!r:.300}" for line in protected.stray_lines()]
    return found


def unfit(case, plain):
    """Why the run without the layer is no yardstick: its function fails without being meant to."""
    meant = case.expected.get("statuses", ["success"] * len(case.events))
    statuses = [status for status, _ in plain.answers()]
    if statuses == meant:
        return None
    return f"statuses {statuses} where {meant} are meant; {_short(plain.answers())}"


def _answers(plain, protected):
    pairs = list(zip(plain.answers(), protected.answers()))
    if len(plain.responses) != len(protected.responses):
        yield f"{len(protected.responses)} answers instead of {len(plain.responses)}"
    for number, (without, with_layer) in enumerate(pairs, 1):
        for line in _difference(_lasting(without), _lasting(with_layer)):
            yield f"event {number}: {line}"


def _lasting(answer):
    """An answer without the request id, which error texts name and which is new every time."""
    status, payload = answer
    if isinstance(payload, dict) and "errorType" in payload:
        payload = {key: value for key, value in payload.items() if key not in ("requestId", "stackTrace")}
        payload["errorMessage"] = payload.get("errorMessage", "").split("RequestId:")[0].split(" Task timed")[-1]
    return status, payload


def _difference(without, with_layer):
    (status, payload), (other_status, other) = without, with_layer
    if status == other_status and isinstance(payload, dict) and isinstance(other, dict):
        for key in payload | other:
            if payload.get(key) != other.get(key):
                yield f"{key}: {_short(payload.get(key))} without, {_short(other.get(key))} with"
    elif without != with_layer:
        yield f"{_short(without)} without, {_short(with_layer)} with"


def _function_lines(plain, protected):
    """Libraries complain on standard error before anything breaks: ld.so about a preload, an interpreter about a hook."""
    def lines(run):
        texts = [line["record"] for line in run.log if line["type"] == "function" and isinstance(line["record"], str)]
        return {text.split("RequestId:")[0].strip() for text in texts}

    for text in sorted(lines(protected) - lines(plain)):
        if any(word in text for word in ("ringfence", "LD_PRELOAD", "ld.so", "audit hook", "sitecustomize")):
            yield f"the function's stream holds {text!r:.300}"


def _missing_lines(case, protected):
    printed = "\n".join(str(line["record"]) for line in protected.log if line["type"] == "function")
    of_version = [lines for version, lines in case.expected.get("lines_of", {}).items() if fnmatch(protected.version(), version)]
    for text in sum(of_version, case.expected.get("lines", [])):
        if text not in printed:
            yield f"the function did not print {text!r}"


def _violations(case, profile, protected):
    meant = set(_of_profile(case.expected.get("violations", []), profile))
    known = meant | set(case.expected.get("tolerated", []))
    seen = {}
    for body in protected.records("violation"):
        seen.setdefault((body["rule"], body["action"], _short(body["subject"])), body)
    for body in (body for (rule, *_), body in seen.items() if rule not in known):
        yield f"{body['verdict']} {body['action']} ({body['rule']}) of {_short(body['subject'])} by {_actor(body)}"
    for rule in sorted(meant - {rule for rule, *_ in seen}):
        yield f"no violation of {rule}, which the function commits on purpose"


def _actor(body):
    actor = body["actor"]
    return " ".join(str(part) for part in (actor.get("chain") or actor.get("exe"), actor.get("code"), body.get("detail")) if part)


def _protection(case, profile, protected):
    records = protected.records("protection")
    wanted = case.expected.get("starts", 1)
    if len(records) != wanted:
        yield f"{len(records)} protection records for {wanted} starts"
    for text in _of_profile(case.expected.get("protection", []), profile):
        for record in records:
            if text not in json.dumps(record):
                yield f"the protection record does not say {text!r}: {_short(record)}"


def _of_profile(meant, profile):
    return meant.get(profile, []) if isinstance(meant, dict) else meant


def _short(value):
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= 400 else f"{text[:400]}… ({len(text)} characters)"

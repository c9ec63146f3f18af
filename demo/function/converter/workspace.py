"""Keeps the last result under its name in /tmp, so that a caller can have it again in another shape.

Flaw: /tmp outlives the invocation, and the next one may be another customer's.
"""

import os

FOLDER = "/tmp/converter/jobs"


def path(name):
    return os.path.join(FOLDER, os.path.basename(name))


def keep(name, text):
    os.makedirs(FOLDER, exist_ok=True)
    with open(path(name), "w", encoding="utf-8", errors="surrogateescape") as out:
        out.write(text)


def last(name):
    with open(path(name), encoding="utf-8", errors="surrogateescape") as kept:
        return kept.read()

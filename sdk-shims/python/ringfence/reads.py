"""Decides whether a read of a credential variable is worth a record, and sends it.

Reads by the AWS SDKs and the runtime client are what the variables are for. Any other reader is reported, once a
second at most for a variable and a line, and again in each invocation. `start.Variables` calls `note`. The value is never
touched here.
"""

import os
from time import monotonic

from ringfence import events, origin, wire
from ringfence.channel import CHANNEL

# The name under which a read of the whole environment is reported.
WHOLE = b"AWS_SECRET_ACCESS_KEY"
# Seconds in which the same read is not reported again within one invocation.
QUIET = 1.0
MAX_REMEMBERED = 256

# Modules through which every read of os.environ goes.
_PLUMBING = ("os", "collections.abc", "ringfence.start")

# Functions of the standard library that go through the environment for reasons of their own: the look-up of proxies,
# the start of a child, whose environment is judged at its exec, and the copy that wsgiref makes when it is imported
# (Django imports it).
_INNOCENT = frozenset((
    ("collections.abc", "__contains__"),
    ("urllib.request", "getproxies_environment"),
    ("subprocess", "_posix_spawn"),
    ("subprocess", "_execute_child"),
    ("wsgiref.handlers", "read_environ"),
))

# Functions that take a child's environment by its place.
_STARTERS = frozenset(("execve", "execle", "execvpe", "execlpe", "spawnve", "spawnle", "spawnvpe", "spawnlpe", "posix_spawn", "posix_spawnp"))
_COMPREHENSIONS = ("<dictcomp>", "<listcomp>", "<genexpr>")

_reported = {}
_walked = {}


def note(key, frame):
    """A value was read (`key`), all values were (`all`), or the names are being gone through (None)."""
    frame = reader(frame)
    if frame is None or origin.is_sdk(frame.f_code.co_filename):
        return
    place = (frame.f_code.co_filename, frame.f_lineno)
    thread = events.get_native_id()
    if key is None:
        # dict(os.environ) goes through the names, then reads each value from the same line: that is one read.
        _walked.clear()
        _walked[thread] = place
        return
    if key is all or _walked.get(thread) == place:
        key = WHOLE
        if is_for_a_child(frame):
            return
    if is_new(key, place):
        report(key, frame)


def reader(frame):
    """The frame that asked; None where it only tests for presence, or is one of the innocent."""
    while frame is not None:
        code, module = frame.f_code, frame.f_globals.get("__name__")
        if (module, code.co_name) in _INNOCENT:
            return None
        if module not in _PLUMBING and origin.kind_of(code.co_filename) not in (origin.STANDARD, origin.HOOK):
            return frame
        frame = frame.f_back
    return None


def is_for_a_child(frame):
    """Whether the function that copies the environment hands one to a program: it calls something with `env=`, or one of
    the os functions that take an environment. What the child gets is judged at its exec."""
    if frame.f_code.co_name in _COMPREHENSIONS and frame.f_back is not None:
        frame = frame.f_back
    code = frame.f_code
    # The names of a call's keywords are a constant of the code that calls.
    keywords = (constant for constant in code.co_consts if type(constant) is tuple)
    return any("env" in names for names in keywords) or not _STARTERS.isdisjoint(code.co_names)


def is_new(key, place):
    """Whether this read was not reported lately in this invocation, which the trace id tells apart."""
    trace = dict.get(os.environ._data, b"_X_AMZN_TRACE_ID")
    now, read = monotonic(), (key, place, trace)
    if now - _reported.get(read, -QUIET) < QUIET:
        return False
    if len(_reported) >= MAX_REMEMBERED:
        _reported.clear()
    _reported[read] = now
    return True


def report(key, frame):
    """Sends the violation."""
    code, frames = origin.locate(frame)
    what = [
        wire.byte(wire.ACTION, wire.READ_CREDENTIAL),
        wire.byte(wire.OUTCOME, wire.OUTCOME_REPORTED),
        wire.byte(wire.RULE, wire.RULE_CREDENTIALS_READS),
        wire.byte(wire.PLANE, wire.PLANE_PROCESS),
        wire.field(wire.NAME, key),
    ]
    CHANNEL.send(wire.message(wire.VIOLATION, events.identity() + what + events.place(code, frames)))

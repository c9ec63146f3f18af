"""Decides whether a reader of the environment may have a credential, and sends the record where one is due.

Reads by the AWS SDKs, the runtime client and the packages that the policy exempts are what the variables are for. Any
other reader is reported or denied: once a second at most for a variable and a line, and again in each invocation.
A package that goes through the whole environment for its settings is reported once. `variables` asks. The value is
never touched here.
"""

import os
from time import monotonic

from ringfence import events, origin, start, wire
from ringfence.channel import CHANNEL

# The name under which a read of the whole environment is reported.
WHOLE = b"AWS_SECRET_ACCESS_KEY"
# What such a record says besides. The agent knows a package's copy by the beginning.
COPY = "in a copy of the whole environment"
# Seconds in which the same read is not reported again within one invocation.
QUIET = 1.0
MAX_REMEMBERED = 256
# How many calls below the code that goes through the names a value may be read: settings classes have getters of getters.
MAX_CALLS = 16
# Copies that may still turn out to be for a child.
MAX_COPIES = 8

# Modules through which every read of os.environ goes.
_PLUMBING = ("os", "collections.abc", "_collections_abc", "ringfence.start", "ringfence.variables")
_PRESENCE = (("collections.abc", "__contains__"), ("_collections_abc", "__contains__"))
# The methods of a mapping that `dict(mapping)`, `{**mapping}` and its views call.
_MAPPING = frozenset(("__iter__", "__getitem__", "keys", "values", "items", "<genexpr>"))

# Modules of the standard library that go through the environment for reasons of their own: the lookup of proxies, the
# start of a child, whose environment is judged at its exec, and the copies of wsgiref, cgi and mock. With the function
# where any module may be the one to ask (`os.path.expandvars` reads for its caller).
_INNOCENT = frozenset(
    (
        ("urllib.request", "getproxies_environment"),
        ("subprocess", "_posix_spawn"),
        ("subprocess", "_execute_child"),
        ("wsgiref.handlers", "read_environ"),
    )
)
_COPIERS = frozenset(("subprocess", "platform", "ctypes.util", "wsgiref.handlers", "cgi", "http.server", "webbrowser", "unittest.mock",
                      "venv", "ensurepip", "uuid"))  # fmt: skip

# Functions that take a child's environment by its place.
_STARTERS = frozenset(("execve", "execle", "execvpe", "execlpe", "spawnve", "spawnle", "spawnvpe", "spawnlpe", "posix_spawn", "posix_spawnp"))
_COMPREHENSIONS = ("<dictcomp>", "<listcomp>", "<genexpr>", "<setcomp>")

_reported = {}
_walked = {}
# The copies that were reported lately: thread, line, and what the record says.
_copies = []


def judge(key, frame):
    """Whether the reader behind `frame` may have a value (`key`), all values (`all`), or all names (None)."""
    frame, presence, copier = reader(frame)
    denies = start.READS == "deny"
    if frame is None or origin.may_read(frame.f_code.co_filename, start.EXEMPT_PACKAGES):
        return True
    if copier:
        return True
    if presence:
        return not denies
    if key is None:
        # dict(os.environ) goes through the names, then reads each value from the same line: that is one read.
        _walked.clear()
        _walked[events.get_native_id()] = (place(frame), _user(frame))
        return not denies
    walker = frame if key is all else _walker(frame)
    if walker is not None:
        copied(walker)
    elif _is_new((key, place(frame))):
        _report(key, frame, "")
    return not denies


def _walker(reader):
    """The frame that goes through the names at this moment, if the reader is it or is called by it.

    A mapping over the environment goes through the names in one method and reads values in another: the line that calls
    both for all of them, as `dict(mapping)` does, is one read.
    """
    begun, user = _walked.get(events.get_native_id(), (None, None))
    if user is not None and _user(reader) == user:
        return reader
    frame = reader
    for _ in range(MAX_CALLS if begun else 0):
        if frame is None or place(frame) == begun:
            return frame
        frame = frame.f_back
    return None


def _user(frame):
    """The file of the mapping that `frame` is in, and the line that uses it. None where it is no mapping that is used."""
    name, method = frame.f_code.co_filename, None
    for _ in range(MAX_CALLS):
        if frame is None:
            return None
        if frame.f_code.co_filename == name:
            method = frame.f_code.co_name
        elif origin.kind_of(frame.f_code.co_filename) != origin.STANDARD:
            return (name, place(frame)) if method in _MAPPING else None
        frame = frame.f_back
    return None


def walked(begun, frame):
    """All values are read at the place `begun`, if `frame` is there."""
    frame, _, copier = reader(frame)
    if frame is not None and not copier and place(frame) == begun:
        copied(frame)


def copied(frame):
    """The code at `frame` reads all values."""
    if _is_for_a_child(frame):
        return
    package = origin.package_of(frame.f_code.co_filename)
    detail = "%s, by the package %s" % (COPY, package) if package else COPY
    # Packages look for their settings so: told once in the life of the process.
    read = ("package", package) if package else (WHOLE, place(frame))
    if not _is_new(read, once=bool(package)):
        return
    code, _ = origin.locate(frame)
    del _copies[: -MAX_COPIES + 1]
    _copies.append((events.get_native_id(), read, code, detail))
    _report(WHOLE, frame, detail)


def handed(environment):
    """A program is about to be started with this environment: copies that this thread made were for it.

    The agent takes their records back, as long as they are not written.
    """
    if not _copies or not environment or not _is_copy(environment):
        return
    thread = events.get_native_id()
    for copy in [copy for copy in _copies if copy[0] == thread]:
        _copies.remove(copy)
        _, read, code, detail = copy
        _reported.pop(_identity(read), None)
        fields = [wire.byte(wire.ACTION, wire.INHERIT_CREDENTIALS), wire.field(wire.NAME, WHOLE)]
        fields += [wire.field(wire.CODE, code), wire.field(wire.DETAIL, detail)]
        CHANNEL.send(wire.message(wire.HINT, events.identity() + fields))


def _is_copy(environment):
    """Whether an environment was made from this process's: it holds a variable that only this one has."""
    return any(name in environment for name in ("LAMBDA_TASK_ROOT", b"LAMBDA_TASK_ROOT", "AWS_LAMBDA_RUNTIME_API", b"AWS_LAMBDA_RUNTIME_API"))


def reader(frame):
    """The frame that asked, whether it only tests for presence, and whether the standard library copies for a child.

    The frame is None where the interpreter or one of the innocent asks. A thread may run nothing but the standard library's
    code, with a function of its as the work: then its outermost frame counts.
    """
    presence, nearest, outermost = False, None, None
    while frame is not None:
        code, module = frame.f_code, frame.f_globals.get("__name__")
        if (module, code.co_name) in _INNOCENT:
            return None, presence, False
        if (module, code.co_name) in _PRESENCE:
            presence = True
        elif module not in _PLUMBING:
            kind = origin.kind_of(code.co_filename)
            if kind not in (origin.STANDARD, origin.HOOK):
                return frame, presence, nearest in _COPIERS
            if kind == origin.STANDARD:
                nearest, outermost = nearest or module, frame
        frame = frame.f_back
    return outermost, presence, nearest in _COPIERS


def place(frame):
    """Where a frame is; None for none."""
    return frame and (frame.f_code.co_filename, frame.f_lineno)


def _is_for_a_child(frame):
    """Whether the function that copies the environment hands one to a program: it calls something with `env=`, or one of
    the os functions that take an environment. What the child gets is judged at its exec."""
    if frame.f_code.co_name in _COMPREHENSIONS and frame.f_back is not None:
        frame = frame.f_back
    code = frame.f_code
    # The names of a call's keywords are a constant of the code that calls.
    keywords = (constant for constant in code.co_consts if type(constant) is tuple)
    return any("env" in names for names in keywords) or not _STARTERS.isdisjoint(code.co_names)


def _identity(read):
    """A read and the invocation, which the trace id tells apart."""
    return read if read[0] == "package" else (read, dict.get(os.environ._data, b"_X_AMZN_TRACE_ID"))


def _is_new(read, once=False):
    """Whether this read was not reported lately in this invocation, or never where it is told once."""
    now, read = monotonic(), _identity(read)
    if read in _reported and (once or now - _reported[read] < QUIET):
        return False
    if len(_reported) >= MAX_REMEMBERED:
        _reported.clear()
    _reported[read] = now
    return True


def _report(key, frame, detail):
    """Sends the violation."""
    code, frames = origin.locate(frame)
    outcome = wire.OUTCOME_BLOCKED if start.READS == "deny" else wire.OUTCOME_REPORTED
    what = [
        wire.byte(wire.ACTION, wire.READ_CREDENTIAL),
        wire.byte(wire.OUTCOME, outcome),
        wire.byte(wire.RULE, wire.RULE_CREDENTIALS_READS),
        wire.byte(wire.PLANE, wire.PLANE_PROCESS),
        wire.field(wire.NAME, key),
    ]
    what += [wire.field(wire.DETAIL, detail)] if detail else []
    CHANNEL.send(wire.message(wire.VIOLATION, events.identity() + what + events.place(code, frames)))

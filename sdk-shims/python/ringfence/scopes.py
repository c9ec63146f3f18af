"""Limits that a function sets for its own code: `with ringfence.scope(egress="deny"):` and `ringfence.configure`.

It decides, from the interpreter's audit events, what code inside a scope may do, by raising before the event happens.
It only ever adds to what policy and other planes deny. Handlers and their libraries call it; the hook's other modules
do not know of it, and without a scope nothing of it is loaded.
"""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from errno import EPERM
from fnmatch import fnmatchcase
from functools import partial, wraps

import _thread

from ringfence import events, native, origin, wire
from ringfence.channel import CHANNEL
from ringfence.refusal import Denied

# Flags of a code object (the inspect module has them, and costs 10 ms to load).
CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR = 0x20, 0x80, 0x200

ALLOW, REPORT, DENY = range(3)
WORDS = {None: ALLOW, "allow": ALLOW, "report": REPORT, "deny": DENY}

# What a limit is on, and the rule that its violation names.
TMP, EGRESS, CHILDREN, FILES = "tmp", "egress", "children", "files"
RULES = {TMP: wire.RULE_TMP_WRITES, EGRESS: wire.RULE_EGRESS_ALLOW, CHILDREN: wire.RULE_PROCESS_ALLOW, FILES: wire.RULE_FILES_DENY_READ}

# FunctionShield's keys and values.
SHIELD_KEYS = {"outbound_connectivity": EGRESS, "read_write_tmp": TMP, "create_child_process": CHILDREN, "read_handler": FILES}
SHIELD_WORDS = {"block": DENY, "alert": REPORT, "allow": ALLOW}


class Limits:
    """What is limited how. Never changed: `tightened` makes another one."""

    __slots__ = ("bits", "files", "levels")

    def __init__(self, levels, files=()):
        self.levels = levels
        # Pairs of glob and level; of all that match a file, the strictest holds.
        self.files = files
        # What is denied, as the preload library is told.
        self.bits = sum(bit for what, bit in native.BITS.items() if levels[what] == DENY)

    def tightened(self, levels, files=()):
        """These limits and the given ones: of each, whichever is stricter."""
        merged = {what: max(level, levels.get(what, ALLOW)) for what, level in self.levels.items()}
        return Limits(merged, self.files + tuple(files))


NOTHING = Limits(dict.fromkeys(RULES, ALLOW))

# The limits of the running thread or task, and those of the whole process.
_current = ContextVar("ringfence_scope", default=NOTHING)
_process = NOTHING
_installed = False


class scope:
    """Tightens, for a block or a decorated function, what this thread or task and those that it starts may do.

    `tmp`: reading and writing below /tmp. `egress`: connections, datagrams and lookups beyond this machine.
    `children`: starting processes. Each takes "deny" (`ringfence.Denied` is raised and a violation recorded),
    "report" (recorded), or "allow" (no limit of this scope's). `files`: "deny" or "report" for the function's own files, or
    a list of globs that may be neither read nor written; `*` matches `/` too.
    """

    def __init__(self, *, tmp=None, egress=None, children=None, files=None):
        globs = () if files is None or isinstance(files, str) else tuple((os.fspath(glob), DENY) for glob in files)
        words = {TMP: tmp, EGRESS: egress, CHILDREN: children, FILES: None if globs else files}
        self._levels = {what: _level(what, word) for what, word in words.items()}
        self._files = globs
        self._token = None

    def __enter__(self):
        if self._token is not None:
            raise RuntimeError("a ringfence.scope is entered once; make a new one")
        _install()
        self._token = _current.set(_current.get().tightened(self._levels, self._files))
        native.hold(bits_of_this_thread())
        return self

    def __exit__(self, *raised):
        _current.reset(self._token)
        native.hold(bits_of_this_thread())
        return False

    def _again(self):
        other = object.__new__(scope)
        other._levels, other._files, other._token = self._levels, self._files, None
        return other

    def __call__(self, function):
        flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
        if flags & (CO_GENERATOR | CO_ASYNC_GENERATOR):
            raise TypeError("a generator gives its caller the scope; use `with ringfence.scope(...)` inside it")
        if flags & CO_COROUTINE:

            @wraps(function)
            async def limited(*args, **keywords):
                with self._again():
                    return await function(*args, **keywords)

        else:

            @wraps(function)
            def limited(*args, **keywords):
                with self._again():
                    return function(*args, **keywords)

        return limited


def configure(settings=None, **keywords):
    """Tightens the whole process for good, in FunctionShield's words.

    Takes `{"policy": {...}}`, the inner dictionary, or the keys themselves: outbound_connectivity, read_write_tmp,
    create_child_process and read_handler, each "block", "alert" or "allow". A later call can only tighten further.
    FunctionShield's `token` and `disable_analytics` are ignored.
    """
    global _process
    given = dict(settings or {}, **keywords)
    given.pop("token", None)
    given.pop("disable_analytics", None)
    given = dict(given.pop("policy", {}), **given)
    levels = {}
    for key, value in given.items():
        if key not in SHIELD_KEYS:
            raise ValueError("%r: expected one of %s" % (key, ", ".join(SHIELD_KEYS)))
        if value not in SHIELD_WORDS:
            raise ValueError("%s is %r: expected block, alert or allow" % (key, value))
        levels[SHIELD_KEYS[key]] = SHIELD_WORDS[value]
    _install()
    _process = _process.tightened(levels)
    native.hold_for_all(_process.bits)


def bits_of_this_thread():
    """What is denied where this is called, for `native`."""
    return _current.get().bits


def bits_in(context):
    """The same in another context."""
    return context.get(_current, NOTHING).bits


def _level(what, word):
    if word not in WORDS:
        raise ValueError("%s=%r: expected 'deny', 'report' or 'allow'" % (what, word))
    return WORDS[word]


def _install():
    """Puts the judge and the carriers in place, with the first scope."""
    global _installed
    if not _installed:
        _installed = True
        sys.addaudithook(_judge)
        _carry_into_threads()


# What an event does: pairs of what is limited and the subject to judge.


def _opened(path, mode=None, flags=0):
    # A number is a file that is open already.
    return [(TMP, path), (FILES, path)] if isinstance(path, (str, bytes, os.PathLike)) else ()


def _changed(path, *rest):
    return _opened(path)


def _both(first, second, *rest):
    return (*_opened(first), *_opened(second))


def _towards(_socket, address, *rest):
    return [(EGRESS, address[0])] if isinstance(address, tuple) and address and isinstance(address[0], str) else ()


def _resolved(host, *rest):
    return [(EGRESS, host)] if isinstance(host, (str, bytes)) and host else ()


def _started(*args):
    return [(CHILDREN, args)]


_LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
_EVENTS = {
    "open": _opened,
    "sqlite3.connect": _changed,
    **dict.fromkeys(("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.chown", "os.utime"), _changed),
    **dict.fromkeys(("os.rename", "os.link", "os.symlink"), _both),
    **dict.fromkeys(("socket.connect", "socket.sendto", "socket.sendmsg"), _towards),
    **dict.fromkeys(_LOOKUPS, _resolved),
    **dict.fromkeys(
        ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn"), _started
    ),
}

_ACTIONS = {
    **dict.fromkeys(("socket.sendto", "socket.sendmsg"), wire.SEND),
    "socket.connect": wire.CONNECT,
}


def _judge(event, args):
    """The audit hook. Costs two look-ups where there is no scope."""
    describe = _EVENTS.get(event)
    if describe is None:
        return
    limits, always = _current.get(), _process
    if limits.bits or native.is_holding():
        native.hold(limits.bits)
    if limits is NOTHING and always is NOTHING:
        return
    if always is not NOTHING:
        limits = limits.tightened(always.levels, always.files)
    frame = sys._getframe(1)
    level, what = _strictest(limits, describe(*args), frame)
    if level != ALLOW:
        _tell(event, args, what, level, frame)
    if level == DENY:
        raise Denied(EPERM, "ringfence: denied by %s=%r of a scope" % (what, "deny"))


def _strictest(limits, subjects, frame):
    found = (ALLOW, "")
    for what, subject in subjects:
        if limits.levels[what] > found[0] or (what == FILES and limits.files):
            found = max(found, (_LEVEL[what](limits, subject, frame), what))
    return found


def _real(path):
    return os.path.realpath(os.fsdecode(path))


def _tmp_level(limits, path, frame):
    path = _real(path)
    return limits.levels[TMP] if path == "/tmp" or path.startswith("/tmp/") else ALLOW


def _files_level(limits, path, frame):
    if frame.f_code.co_filename.startswith("<frozen importlib"):
        # An import reads the function's files, and may come late.
        return ALLOW
    path = _real(path)
    own = limits.levels[FILES] if os.path.dirname(path) + "/" == origin.TASK_ROOT else ALLOW
    return max([own, *(level for glob, level in limits.files if fnmatchcase(path, glob))])


def _egress_level(limits, host, frame):
    host = os.fsdecode(host).rstrip(".").lower()
    local = host in ("localhost", "::1") or (host.startswith("127.") and wire.address(host, 0) is not None)
    return ALLOW if local else limits.levels[EGRESS]


_LEVEL = {
    TMP: _tmp_level,
    FILES: _files_level,
    EGRESS: _egress_level,
    CHILDREN: lambda limits, subject, frame: limits.levels[CHILDREN],
}


def _tell(event, args, what, level, frame):
    """Sends the violation; its failure changes no verdict."""
    try:
        code, frames = origin.locate(frame)
        action, subject = _subject(event, args, what)
        fields = [
            wire.byte(wire.ACTION, action),
            wire.byte(wire.OUTCOME, wire.OUTCOME_BLOCKED if level == DENY else wire.OUTCOME_REPORTED),
            wire.byte(wire.RULE, RULES[what]),
            wire.byte(wire.PLANE, wire.PLANE_PROCESS),
            wire.field(wire.DETAIL, "by a scope of the function (%s)" % what),
        ]
        CHANNEL.send(wire.message(wire.VIOLATION, events.identity() + fields + subject + events.place(code, frames)))
    except Exception:
        pass


def _subject(event, args, what):
    """The action and its fields, as a hint of the same event has them."""
    if what in (TMP, FILES):
        return _opening(event, args)
    if event in _LOOKUPS:
        return wire.RESOLVE, [wire.field(wire.NAME, os.fsencode(args[0]))]
    if event in _ACTIONS:
        host, port = args[1][:2]
        encoded = wire.address(host, port)
        named = wire.field(wire.NAME, os.fsencode(host))
        return _ACTIONS[event], [named if encoded is None else wire.field(wire.ADDRESS, encoded)]
    hints = events.describe(event, args)
    return hints[0] if hints else (wire.EXEC, [wire.field(wire.NAME, event)])


def _opening(event, args):
    writes = event != "open" or bool((args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
    return wire.OPEN_WRITE if writes else wire.OPEN_READ, [wire.field(wire.PATH, os.fsencode(args[0]))]


# Threads and thread pools take the limits along; tasks of asyncio do so by themselves.


def _under(limits, function, *args, **keywords):
    token = _current.set(limits)
    # A thread begins with the limits of the one that made it.
    native.hold(limits.bits, anew=True)
    try:
        return function(*args, **keywords)
    finally:
        _current.reset(token)
        native.hold(bits_of_this_thread())


def _carry_into_threads():
    start, submit, start_new = threading.Thread.start, ThreadPoolExecutor.submit, _thread.start_new_thread

    @wraps(start)
    def started(self):
        if _current.get() is not NOTHING:
            self.run = partial(_under, _current.get(), self.run)
        native.hold(bits_of_this_thread())
        return start(self)

    @wraps(submit)
    def submitted(self, function, /, *args, **keywords):
        limits = _current.get()
        if limits is NOTHING:
            return submit(self, function, *args, **keywords)
        # The pool's threads outlive the scope: it is the work that is limited, not they.
        return _under(NOTHING, submit, self, partial(_under, limits, function), *args, **keywords)

    def started_new(function, args, kwargs=None):
        return start_new(partial(_under, _current.get(), function), args, kwargs or {})

    threading.Thread.start, ThreadPoolExecutor.submit = started, submitted
    _thread.start_new_thread = started_new

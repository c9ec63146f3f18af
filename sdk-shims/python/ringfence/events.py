"""Turns an audit event into a hint: what is about to happen, and at which line of the function's code.

The agent attaches it to a violation of the same process, where one comes. `start.audit` calls `announce`, for the
events that it watches; each has one small function here that says action and subject, or None for nothing to say.
"""

import os
import sys
from _thread import get_ident, get_native_id
from time import monotonic

from ringfence import origin, wire
from ringfence.channel import CHANNEL

# Entry points of libc that do what a policy may refuse, as ctypes is asked for them.
LIBC = {
    **dict.fromkeys(("execve", "execv", "execvp", "execl", "system", "popen", "posix_spawn", "posix_spawnp", "fexecve"), wire.EXEC),
    **dict.fromkeys(("connect",), wire.CONNECT),
    **dict.fromkeys(("sendto", "sendmsg", "sendmmsg"), wire.SEND),
    **dict.fromkeys(("getaddrinfo", "gethostbyname"), wire.RESOLVE),
    **dict.fromkeys(("bind",), wire.BIND),
    **dict.fromkeys(("open", "openat", "fopen"), wire.OPEN_READ),
    **dict.fromkeys(("ptrace", "process_vm_readv", "process_vm_writev", "prctl", "kill"), wire.DANGEROUS),
    **dict.fromkeys(("getenv", "secure_getenv"), wire.READ_CREDENTIAL),
}
# `syscall` can be any of them.
SYSCALL_MAY_BE = (wire.CONNECT, wire.EXEC, wire.SEND, wire.OPEN_READ, wire.DANGEROUS)


# Events that start a program.
STARTS = frozenset(("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn"))


def announce(event, args, frame):
    """Sends the hints for one event."""
    hints = describe(event, args)
    if not hints:
        return
    if event in STARTS:
        hand_over(args)
        asked = origin.asker(frame)
        hints = [(action, subject + ([wire.field(wire.DETAIL, "asked for by " + asked)] if asked else [])) for action, subject in hints]
    code, frames = origin.locate(frame)
    for action, subject in hints:
        CHANNEL.send(wire.message(wire.HINT, identity() + [wire.byte(wire.ACTION, action)] + subject + place(code, frames)))


# Seconds for which a hint explains what comes after it: half of what the agent keeps it for.
FRESH = 1.0
# Hints after which an older one is told again, since the agent keeps the newest 64 of all processes.
RECENT = 24
MAX_REMEMBERED = 256

_told = {}
_count = 0


def is_news(event, args, frame):
    """Whether the agent has no fresh hint of this event by the same thread, from the same place, in the same invocation."""
    global _count
    # Of the file or the address, not of the flags.
    subject = args[0] if event in ("open", "socket.getaddrinfo") else args[1]
    way, depth = [event, subject, get_ident(), dict.get(os.environ._data, b"_X_AMZN_TRACE_ID")], 0
    while frame is not None and depth < origin.MAX_DEPTH:
        way += (id(frame.f_code), frame.f_lasti)
        frame, depth = frame.f_back, depth + 1
    way, now = tuple(way), monotonic()
    when, place = _told.get(way, (-FRESH, 0))
    if now - when < FRESH and _count - place < RECENT:
        return False
    if len(_told) >= MAX_REMEMBERED:
        _told.clear()
    _count += 1
    _told[way] = now, _count
    return True


def hand_over(args):
    """A program starts, perhaps with a copy of the environment that was taken for a read of credentials."""
    reads = sys.modules.get("ringfence.reads")
    if reads is not None:
        # The environment is the last argument of every such event that has one.
        reads.handed(args[-1] if hasattr(args[-1], "keys") else None)


def describe(event, args):
    """Pairs of action and subject; None for nothing to say."""
    known = _DESCRIBE.get(event)
    return known(*args) if known else None


def identity():
    """Who speaks: process, parent, thread and executable."""
    return [
        wire.field(wire.PID, os.getpid()),
        wire.field(wire.PARENT, os.getppid()),
        wire.field(wire.THREAD, get_native_id()),
        wire.field(wire.EXE, sys.executable or ""),
    ]


def place(code, frames):
    """Where in the code."""
    return [wire.field(wire.CODE, code)] + [wire.field(wire.FRAME, frame) for frame in frames]


def _bytes(value):
    return os.fsencode(value) if isinstance(value, (str, bytes, os.PathLike)) else b""


def _executed(path, arguments):
    if isinstance(arguments, (str, bytes, os.PathLike)):
        arguments = (arguments,)
    given = list(arguments or ())[: wire.MAX_ARGUMENTS]
    path = _bytes(path) or (_bytes(given[0]) if given else b"")
    return [(wire.EXEC, [wire.field(wire.PATH, path)] + [wire.field(wire.ARGUMENT, _bytes(each)) for each in given])]


def _popen(executable, arguments, cwd, env):
    return _executed(executable, arguments)


def _system(command):
    return _executed("/bin/sh", ["sh", "-c", command])


def _exec(path, arguments, env):
    return _executed(path, arguments)


def _spawn(mode, path, arguments, env):
    return _executed(path, arguments)


def _pty(arguments):
    return _executed(None, arguments)


def _kill(pid, signal):
    return [(wire.DANGEROUS, [wire.field(wire.NAME, "kill")])]


def _open(path, mode, flags):
    path = _bytes(path)
    return [(wire.OPEN_READ, [wire.field(wire.PATH, path)])] if b"proc/" in path else None


def _towards(action):
    def describe(_socket, address, *rest):
        # AF_UNIX addresses are texts, and no rule looks at them (our own report socket is one).
        if not isinstance(address, tuple) or len(address) < 2:
            return None
        host, port = address[0], address[1]
        encoded = wire.address(host, port)
        if encoded is not None:
            return [(action, [wire.field(wire.ADDRESS, encoded)])]
        return [(action, [wire.field(wire.NAME, _bytes(host))])]

    return describe


def _resolved(host, *rest):
    if not isinstance(host, (str, bytes)) or not host:
        return None
    # A name that is an address is not looked up.
    if isinstance(host, str) and wire.address(host, 0) is not None:
        return None
    return [(wire.RESOLVE, [wire.field(wire.NAME, _bytes(host))])]


def _dlopen(name):
    path = _bytes(name)
    return [(wire.MAP_EXECUTABLE, [wire.field(wire.PATH, path)])] if path else None


def _dlsym(library, name):
    if name == "syscall":
        return [(action, [wire.field(wire.NAME, "syscall")]) for action in SYSCALL_MAY_BE]
    action = LIBC.get(name)
    return None if action is None else [(action, [wire.field(wire.NAME, name)])]


_DESCRIBE = {
    "open": _open,
    "subprocess.Popen": _popen,
    "os.system": _system,
    "os.exec": _exec,
    "os.posix_spawn": _exec,
    "os.spawn": _spawn,
    "os.kill": _kill,
    "pty.spawn": _pty,
    "socket.connect": _towards(wire.CONNECT),
    "socket.bind": _towards(wire.BIND),
    "socket.sendto": _towards(wire.SEND),
    "socket.sendmsg": _towards(wire.SEND),
    "socket.getaddrinfo": _resolved,
    "socket.gethostbyname": _resolved,
    "socket.gethostbyaddr": _resolved,
    "ctypes.dlopen": _dlopen,
    "ctypes.dlsym": _dlsym,
}

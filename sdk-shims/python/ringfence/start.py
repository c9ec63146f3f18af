"""Puts the audit hook and the watch on credential variables in place.

It decides only which events are worth a look; `events` and `reads` say what about them, and are loaded when the
first such event comes. `sitecustomize` calls `start`, once per interpreter, so everything here counts as init time.
"""

import os
import sys

# Name of the report socket (abstract, AF_UNIX, SOCK_DGRAM); set by the guard.
REPORT_VARIABLE = b"RINGFENCE_REPORT"

# Variables in which Lambda hands out the role's credentials (policies/src/vocabulary.rs has the same list).
CREDENTIALS = frozenset(
    (
        b"AWS_ACCESS_KEY_ID",
        b"AWS_SECRET_ACCESS_KEY",
        b"AWS_SESSION_TOKEN",
        b"AWS_CONTAINER_AUTHORIZATION_TOKEN",
    )
)

# Audit events that come before something a policy may refuse. Everything else must cost one look-up.
WATCHED = frozenset(
    (
        "open",
        "subprocess.Popen",
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.spawn",
        "os.kill",
        "pty.spawn",
        "socket.connect",
        "socket.bind",
        "socket.sendto",
        "socket.sendmsg",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "socket.gethostbyaddr",
        "ctypes.dlopen",
        "ctypes.dlsym",
    )
)


def start():
    """Installs both watches where the guard named a report socket; does nothing otherwise."""
    if REPORT_VARIABLE in os.environb:
        sys.addaudithook(audit)
        watch_environment()


def audit(event, args, watched=WATCHED):
    """The audit hook: called for every event of the interpreter, tens of thousands of times in an import."""
    if event not in watched:
        return
    if event == "open":
        path = args[0]
        if type(path) is str and "proc/" not in path:
            return
    try:
        from ringfence import events

        events.announce(event, args, sys._getframe(1))
    except Exception:
        pass


class Variables(dict):
    """The environment as `os.environ`, `os.environb` and `posix.environ` share it; sees the reads of values."""

    __slots__ = ()

    def __getitem__(self, key):
        if key in CREDENTIALS:
            seen(key)
        return dict.__getitem__(self, key)

    def get(self, key, default=None):
        if key in CREDENTIALS:
            seen(key)
        return dict.get(self, key, default)

    def __iter__(self):
        seen(None)
        return dict.__iter__(self)

    def keys(self):
        seen(None)
        return dict.keys(self)

    def items(self):
        seen(all)
        return dict.items(self)

    def values(self):
        seen(all)
        return dict.values(self)

    def copy(self):
        seen(all)
        return dict(dict.items(self))


def seen(key):
    """A credential's value was read (`key`), or all values (`all`), or the names are being gone through (None)."""
    try:
        from ringfence import reads

        reads.note(key, sys._getframe(2))
    except Exception:
        pass


def watch_environment():
    """Puts `Variables` in the place of the dictionary behind `os.environ`."""
    import posix

    variables = Variables(dict.items(os.environ._data))
    for environment in (os.environ, os.environb):
        environment._data = variables
    posix.environ = variables

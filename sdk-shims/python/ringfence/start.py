"""Puts the audit hook and the watch on credential variables in place.

It decides only which events are worth a look; `events` and `reads` say what about them, and are loaded when the
first such event comes. `sitecustomize` calls `start`, once per interpreter, so everything here counts as init time.
"""

import os
import sys

# Name of the report socket (abstract, AF_UNIX, SOCK_DGRAM); set by the guard.
REPORT_VARIABLE = b"RINGFENCE_REPORT"

# Kind of the message that says that the hook is in (extension/records/src/message.rs).
HOOK_UP = 6

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
HINTED = frozenset(
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


# Those of them that programs do again and again. The same one from the same place is told once a second.
REPEATED = frozenset(("open", "socket.connect", "socket.sendto", "socket.getaddrinfo"))

# These and the events that `[code]` judges.
WATCHED = HINTED

# What each key of `[code]` says ("report" or "deny"); keys that say nothing are left out. From the guard.
CODE_VARIABLE = b"RINGFENCE_CODE"
CODE = {}
# The events of each key; those of `imports` are among the opens.
CODE_EVENTS = {
    "evaluate": ("compile",),
    "deserialize": ("pickle.find_class", "marshal.loads"),
    "native": ("ctypes.dlopen", "ctypes.dlsym", "ctypes.dlsym/handle", "ctypes.call_function"),
}
KEYS = (*CODE_EVENTS, "imports")
# Where the function can put a module.
WRITABLE = ("/tmp/", "/dev/shm/")
# The events of the keys that are set.
_judged = frozenset()


def start():
    """Installs both watches where the guard named a report socket; does nothing otherwise."""
    name = os.environb.get(REPORT_VARIABLE)
    if name is not None:
        listen_to_code(os.environb.get(CODE_VARIABLE, b""))
        watch_environment()
        say_so(name)
        sys.addaudithook(audit)


def say_so(name):
    """Tells the agent what is in place: it claims only that. Encoded by hand, since `wire` takes longer to load."""
    from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, socket

    what = ",".join(("reads", *CODE)).encode()
    message = b"RF\x01" + bytes((HOOK_UP,)) + b"\x01\x04\x00" + os.getpid().to_bytes(4, "little")
    message += b"\x0b\x06\x00Python\x10" + len(what).to_bytes(2, "little") + what
    try:
        channel = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
        channel.sendto(message, b"\0" + name)
        channel.close()
    except OSError:
        # Without an agent there is nothing to be claimed.
        pass


def listen_to_code(said):
    """Reads `evaluate=report,native=deny` and has the events of these keys judged."""
    global WATCHED, _judged
    pairs = (pair.partition("=") for pair in said.decode("ascii", "replace").split(","))
    CODE.update((key, word) for key, _, word in pairs if word in ("report", "deny") and key in KEYS)
    _judged = frozenset(event for key in CODE for event in CODE_EVENTS.get(key, ()))
    WATCHED |= _judged


def audit(event, args):
    """The audit hook: called for every event of the interpreter, tens of thousands of times in an import."""
    if event not in WATCHED:
        return
    if event == "open":
        path = args[0]
        if type(path) is str and "proc/" not in path:
            if "imports" in CODE and path.startswith(WRITABLE):
                judge(event, args, caller())
            return
    elif event == "os.kill":
        # There are no signals but 64: `native` speaks to the preload library by another.
        if args[1] > 64:
            return
    elif event in _judged:
        judge(event, args, caller())
        if event not in HINTED:
            return
    try:
        from ringfence import events

        frame = caller()
        if event not in REPEATED or events.is_news(event, args, frame):
            events.announce(event, args, frame)
    except Exception:
        pass


def caller():
    """The frame that the event is of; None where the interpreter itself acts before any code runs."""
    try:
        return sys._getframe(2)
    except ValueError:
        return None


def is_import(frame):
    """Whether the import system itself asks."""
    return frame.f_code.co_filename.startswith(("<frozen importlib", "<frozen zipimport"))


def is_in_invocation(frame):
    """Whether an event is being handled: below the runtime client's function for that, or in a thread."""
    name = ""
    while frame is not None:
        name = frame.f_code.co_name
        if name == "handle_event_request":
            return True
        frame = frame.f_back
    return name == "_bootstrap"


def judge(event, args, frame):
    """Raises where `[code]` denies the event."""
    # The import system reads the modules that `imports` speaks of; what it compiles and loads is no data.
    if frame is None or is_import(frame) != (event == "open") or not (event == "open" or is_in_invocation(frame)):
        return
    try:
        from ringfence import detections

        refusal = detections.refusal(event, args, frame, CODE)
    except Exception:
        return
    if refusal is not None:
        raise refusal


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

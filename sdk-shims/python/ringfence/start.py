"""Puts the audit hook and the watch on credential variables in place.

It decides only which events are worth a look; `events` and `reads` say what about them, and are loaded when the
first such event comes. `variables` watches the environment where the policy speaks of credentials.
`sitecustomize` calls `start`, once per interpreter, so everything here counts as init time.
"""

import os
import sys

# Name of the report socket (abstract, AF_UNIX, SOCK_DGRAM); set by the guard.
REPORT_VARIABLE = b"RINGFENCE_REPORT"

# Kind of the message that says that the hook is in (extension/records/src/message.rs).
HOOK_UP = 6

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

# What `credentials.reads` says ("report" or "deny"); empty where it says nothing. From the guard, with the exemptions.
READS = ""
EXEMPT_VARIABLES = ()
EXEMPT_PACKAGES = ()


def start():
    """Installs both watches where the guard named a report socket; does nothing otherwise."""
    name = os.environb.get(REPORT_VARIABLE)
    if name is not None:
        listen_to_code(os.environb.get(CODE_VARIABLE, b""))
        if READS:
            from ringfence import variables

            variables.watch()
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
    """Reads `evaluate=report,native=deny` and has the events of these keys judged.

    `reads` is the word of `credentials.reads`; `reads_variables` and `reads_packages` exempt from it, `a|b`.
    """
    global WATCHED, _judged, READS, EXEMPT_VARIABLES, EXEMPT_PACKAGES
    words = dict(pair.split("=", 1) for pair in said.decode("utf-8", "replace").split(",") if "=" in pair)
    if words.get("reads") in ("report", "deny"):
        READS = words.pop("reads")
    EXEMPT_VARIABLES = tuple(filter(None, words.pop("reads_variables", "").split("|")))
    EXEMPT_PACKAGES = tuple(filter(None, words.pop("reads_packages", "").split("|")))
    CODE.update((key, word) for key, word in words.items() if word in ("report", "deny") and key in KEYS)
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
            if _task_root and path.startswith(_task_root):
                look_for_packages()
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


# The function's folder, until the first of its files is opened.
_task_root = os.environ.get("LAMBDA_TASK_ROOT", "/var/task").rstrip("/") + "/"


def look_for_packages():
    """The function's first file is loaded: packages that lie beside it are looked up now, while the folder may be read."""
    global _task_root
    listing = getattr(sys.path_importer_cache.get(_task_root.rstrip("/")), "_path_cache", ())
    if not listing:
        return
    _task_root = ""
    if any(entry.endswith(".dist-info") for entry in listing):
        try:
            from ringfence import origin

            origin.vendored()
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


def is_invoked():
    """Whether the first event has come: the runtime client then names its trace."""
    return b"_X_AMZN_TRACE_ID" in os.environ._data or is_in_invocation(sys._getframe())


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

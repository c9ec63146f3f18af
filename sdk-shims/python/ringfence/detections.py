"""Decides what `[code]` of the policy says of an audit event, writes it down, and gives the exception where it denies.

`start.audit` calls `refusal` for the events of the keys that are set (RINGFENCE_CODE, from the guard). It judges code of
the function and its libraries, by what the interpreter tells before something happens; code that is hostile already can
take it apart, so it is there to keep hostile data from becoming code.
"""

import os
from errno import EPERM
from time import monotonic

from ringfence import events, origin, taint, wire
from ringfence.channel import CHANNEL
from ringfence.refusal import Denied

# Seconds in which the same finding is not reported again within one invocation.
QUIET = 1.0
MAX_REMEMBERED = 256

EVALUATE, DESERIALIZE, NATIVE, IMPORTS = "evaluate", "deserialize", "native", "imports"
_RULES = {
    EVALUATE: (wire.EVALUATE, wire.RULE_CODE_EVALUATE),
    DESERIALIZE: (wire.DESERIALIZE, wire.RULE_CODE_DESERIALIZE),
    NATIVE: (wire.NATIVE, wire.RULE_CODE_NATIVE),
    IMPORTS: (wire.IMPORT, wire.RULE_CODE_IMPORTS),
}

# What a pickle names to run programs or code, wherever it comes from. Whole modules, and names of others.
_RUNNING_MODULES = frozenset((
    "os", "posix", "nt", "subprocess", "pty", "runpy", "code", "codeop", "timeit", "ctypes", "_ctypes", "socket", "_socket",
    "asyncio.subprocess", "multiprocessing.popen_fork", "webbrowser", "pdb", "bdb", "cProfile", "profile", "importlib", "imp",
))  # fmt: skip
_RUNNING_NAMES = frozenset((
    "builtins.eval", "builtins.exec", "builtins.compile", "builtins.__import__", "builtins.open", "builtins.breakpoint",
    "__builtin__.eval", "__builtin__.exec", "__builtin__.execfile", "__builtin__.compile", "__builtin__.__import__",
    "__builtin__.open", "__builtin__.file", "io.open", "_io.open", "shutil.rmtree", "shutil.move", "shutil.copy",
    "types.FunctionType", "types.CodeType", "sys.settrace", "sys.setprofile", "marshal.loads",
))  # fmt: skip
# What pickles of values name in these modules.
_VALUES = frozenset(("os._Environ", "os.stat_result", "posix.stat_result", "os.terminal_size", "subprocess.CompletedProcess",
                     "subprocess.CalledProcessError", "subprocess.TimeoutExpired", "socket.AddressFamily", "socket.SocketKind",
                     "socket.gaierror", "socket.timeout"))  # fmt: skip

_reported = {}


def refusal(event, args, frame, words):
    """The exception to raise; None where the event goes on. `words` holds what each key of `[code]` says."""
    found = _FINDINGS[event](args, frame, words)
    if found is None:
        return None
    key, subject, text, detail = found
    denies = words[key] == "deny"
    if _is_new((key, text, frame.f_code.co_filename, frame.f_lineno)) or denies:
        _tell(key, subject, detail, denies, frame)
    return Denied(EPERM, "ringfence: %s is denied by code.%s of the policy" % (text, key)) if denies else None


def _compiled(args, frame, words):
    source = args[0]
    if not isinstance(source, (str, bytes)) or not taint.text_is_from_event(source, frame):
        return None
    return EVALUATE, wire.field(wire.NAME, "eval, exec or compile"), "text from the event as code", "the text stands in the event"


def _unpickled(args, frame, words):
    name = "%s.%s" % (args[0], args[1])
    top = str(args[0]).partition(".")[0]
    if name in _RUNNING_NAMES or ({top, args[0]} & _RUNNING_MODULES and name not in _VALUES):
        return DESERIALIZE, wire.field(wire.NAME, name), name, "a pickle names what runs programs or code"
    if taint.event_names((str(args[0]), str(args[1])), frame):
        return DESERIALIZE, wire.field(wire.NAME, name), name, "a pickle in the event names it"
    return None


def _unmarshalled(args, frame, words):
    data = args[0]
    if not isinstance(data, (bytes, bytearray)) or not taint.bytes_are_from_event(bytes(data), frame):
        return None
    return DESERIALIZE, wire.field(wire.NAME, "marshal.loads"), "code from the event", "the bytes stand in the event"


def _native(what):
    def describe(args, frame, words):
        if not _is_the_functions(frame):
            return None
        named = [os.fsdecode(each) for each in args if isinstance(each, (str, bytes))]
        name = " ".join([what] + named[:1])
        return NATIVE, wire.field(wire.NAME, name), name, ""

    return describe


def _is_the_functions(frame):
    """Whether the function's own code asks, outside of imports: libraries have their reasons."""
    while frame is not None:
        name = frame.f_code.co_filename
        kind = origin.kind_of(name)
        if kind in (origin.FUNCTION, origin.EVALUATED):
            return not _is_import(frame)
        if kind in (origin.LIBRARY, origin.RUNTIME) or name.startswith("<frozen importlib"):
            return False
        frame = frame.f_back
    return False


def _is_import(frame):
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _opened(args, frame, words):
    path = args[0]
    folder, _, name = path.rpartition("/")
    if folder.endswith("/__pycache__"):
        # The module's own name, whichever of its files is read first.
        path = folder[: -len("/__pycache__")] + "/" + name.partition(".")[0] + ".py"
    return IMPORTS, wire.field(wire.PATH, path), path, ""


_FINDINGS = {
    "compile": _compiled,
    "pickle.find_class": _unpickled,
    "marshal.loads": _unmarshalled,
    "ctypes.dlopen": _native("dlopen"),
    "ctypes.dlsym": _native("dlsym"),
    "ctypes.dlsym/handle": _native("dlsym"),
    "ctypes.call_function": _native("call_function"),
    "open": _opened,
}


def _is_new(finding):
    """Whether it was not reported lately in this invocation, which the trace id tells apart."""
    finding = (finding, dict.get(os.environ._data, b"_X_AMZN_TRACE_ID"))
    now = monotonic()
    if now - _reported.get(finding, -QUIET) < QUIET:
        return False
    if len(_reported) >= MAX_REMEMBERED:
        _reported.clear()
    _reported[finding] = now
    return True


def _tell(key, subject, detail, denies, frame):
    """Sends the violation; its failure changes no verdict."""
    try:
        code, frames = origin.locate(frame)
        action, rule = _RULES[key]
        fields = [
            wire.byte(wire.ACTION, action),
            wire.byte(wire.OUTCOME, wire.OUTCOME_BLOCKED if denies else wire.OUTCOME_REPORTED),
            wire.byte(wire.RULE, rule),
            wire.byte(wire.PLANE, wire.PLANE_PROCESS),
            subject,
        ]
        fields += [wire.field(wire.DETAIL, detail)] if detail else []
        CHANNEL.send(wire.message(wire.VIOLATION, events.identity() + fields + events.place(code, frames)))
    except Exception:
        pass

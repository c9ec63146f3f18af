"""Says which line of the function's own code stands behind an event, by walking the frames.

It knows where the standard library, installed libraries, the runtime client and the function live, and nothing of
events. A frame's file name can be forged by code that already runs in the process: it is evidence, not proof.
"""

import os
import sys

from ringfence import start

TASK_ROOT = os.environ.get("LAMBDA_TASK_ROOT", "/var/task").rstrip("/") + "/"
STANDARD_LIBRARY = os.path.dirname(os.__file__) + "/"
OWN = os.path.dirname(__file__) + "/"
# Loads us, and may be the place from which the next of its name runs.
OWN_LOADER = os.path.dirname(OWN.rstrip("/")) + "/sitecustomize.py"

# What a file is.
FUNCTION, EVALUATED, LIBRARY, STANDARD, RUNTIME, HOOK = range(6)

# Frames looked at before the walk is given up.
MAX_DEPTH = 200
MAX_KNOWN = 1024

SDKS = frozenset(("boto3", "botocore", "s3transfer", "aioboto3", "aiobotocore", "awslambdaric", "awscrt", "snapshot_restore_py",
                  "aws_lambda_powertools", "aws_xray_sdk", "aws_encryption_sdk", "aws_secretsmanager_caching"))  # fmt: skip
# Packages that wrap what others do: a line of theirs is not the one that acted.
WRAPPERS = frozenset(("wrapt", "opentelemetry", "ddtrace", "datadog_lambda", "newrelic", "sentry_sdk", "elasticapm", "aws_xray_sdk",
                      "lumigo_tracer", "aws_lambda_powertools"))  # fmt: skip

_known = {}


def kind_of(filename):
    """What the file of a code object is."""
    kind = _known.get(filename)
    if kind is None:
        if len(_known) >= MAX_KNOWN:
            _known.clear()
        kind = _known[filename] = _classify(filename)
    return kind


def _classify(filename):
    if filename.startswith("<"):
        return STANDARD if filename.startswith("<frozen ") else EVALUATED
    if filename.startswith(OWN) or filename == OWN_LOADER:
        return HOOK
    if filename.startswith("/var/runtime/") or "/awslambdaric/" in filename:
        return RUNTIME
    if "/site-packages/" in filename or "/dist-packages/" in filename or filename.startswith("/opt/"):
        return LIBRARY
    if filename.startswith(STANDARD_LIBRARY):
        return STANDARD
    if filename.startswith(TASK_ROOT):
        return LIBRARY if _top(filename[len(TASK_ROOT) :]) in vendored() else FUNCTION
    return FUNCTION


def _top(relative):
    return relative.partition("/")[0].partition(".")[0]


# Names of the packages beside the function's own modules, by the distributions that were installed there; None while
# they have not been asked for.
_installed = None


def vendored():
    """Names of the packages that were installed beside the function's own modules (pip install --target)."""
    global _installed
    # The import system has the folder's listing already; asking the file system could itself be a violation.
    finder = sys.path_importer_cache.get(TASK_ROOT.rstrip("/"))
    entries = getattr(finder, "_path_cache", ())
    if _installed is None and entries:
        _installed = frozenset(name for entry in entries if entry.endswith(".dist-info") for name in _packages_of(entry, entries))
        _known.clear()
    return _installed or ()


def _packages_of(distribution, entries):
    """The packages of a distribution, whose name may be another: as its top_level.txt says, else its RECORD."""
    name = distribution.partition("-")[0]
    said = _content(distribution + "/top_level.txt")
    if said:
        return said.split()
    if name in entries or name + ".py" in entries:
        return [name]
    # `bs4/__init__.py,sha256=…,1234`
    return {name} | {_top(line) for line in _content(distribution + "/RECORD").splitlines() if "/" in line or ".py," in line}


# A policy may deny reading the function's folder after init; then names of distributions have to do.
MAX_METADATA = 1 << 20


def _content(path):
    if start.is_invoked():
        return ""
    try:
        with open(TASK_ROOT + path, encoding="utf-8", errors="replace") as file:
            return file.read(MAX_METADATA)
    except OSError:
        return ""


def may_read(filename, exempt):
    """Whether the file belongs to an AWS SDK, the runtime client or a package of `exempt`, in a place that the function
    cannot write."""
    if filename.startswith(("<", "/tmp/", "/dev/", "/proc/")):
        return False
    if filename.startswith("/var/runtime/"):
        return True
    for root in ("/site-packages/", "/dist-packages/"):
        before, found, relative = filename.rpartition(root)
        if found:
            top = _top(relative)
            return top in SDKS or top.startswith("aws_") or top in exempt
    for root in (TASK_ROOT, "/opt/"):
        if filename.startswith(root):
            # Packages may lie deeper, in a folder that the function puts on its path.
            parts = [_top(part) for part in filename[len(root) :].split("/")]
            return not SDKS.isdisjoint(parts) or not set(exempt).isdisjoint(parts)
    return False


def package_of(filename):
    """The installed package that a file belongs to; empty for the function's own."""
    if kind_of(filename) != LIBRARY:
        return ""
    for root in ("/site-packages/", "/dist-packages/", TASK_ROOT, "/opt/python/", "/opt/"):
        _, found, relative = filename.rpartition(root)
        if found:
            return _top(relative)
    return ""


# Modules through which programs are started.
_STARTERS = frozenset(("subprocess", "os", "asyncio", "pty", "contextlib", "multiprocessing"))


def asker(frame):
    """What wants a program, where that is not the function itself: `platform.architecture`, `the package sentry_sdk`."""
    name = ""
    for _ in range(MAX_DEPTH):
        if frame is None:
            break
        kind, module = kind_of(frame.f_code.co_filename), str(frame.f_globals.get("__name__"))
        if kind == LIBRARY:
            return name or "the package " + package_of(frame.f_code.co_filename)
        if kind == STANDARD and module.partition(".")[0] not in _STARTERS:
            # The outermost function of the module is the one that is known.
            if name and name.rpartition(".")[0] != module:
                break
            name = module + "." + frame.f_code.co_name
        elif kind != STANDARD and kind != HOOK:
            break
        frame = frame.f_back
    return "" if name.startswith(("threading.", "concurrent.", "runpy.")) else name


def locate(frame):
    """`(code, frames)` of a frame: the nearest line of the function's own, and the way from there to the handler.

    Where the function has no part in it, the line by which the outermost package began that is no wrapper of others. A
    thread of a wrapper's own, which sends what was collected, is that wrapper's deed.
    """
    frames, code, package, wrapper, wrappers = [], None, None, None, 0
    for depth in range(MAX_DEPTH):
        if frame is None:
            break
        kind = kind_of(frame.f_code.co_filename)
        if kind == RUNTIME and frames:
            break
        if kind in (FUNCTION, EVALUATED):
            line = _line(frame)
            frames.append(line + " " + frame.f_code.co_name)
            if kind == FUNCTION and code is None:
                code = line
        elif kind == LIBRARY:
            if package_of(frame.f_code.co_filename) in WRAPPERS:
                wrapper, wrappers = _line(frame), wrappers + 1
            else:
                package, wrappers = _line(frame), 0
        elif kind == STANDARD:
            # One frame alone may have been put before a thread's function.
            if wrappers > 1 and frame.f_globals.get("__name__") == "threading":
                package = wrapper
            wrappers = 0
        frame = frame.f_back
    if code is None:
        code = frames[0].partition(" ")[0] if frames else package or wrapper
    return code or "", frames[:8]


def _line(frame):
    filename = frame.f_code.co_filename
    if filename.startswith(TASK_ROOT):
        filename = filename[len(TASK_ROOT) :]
    return "%s:%d" % (filename, frame.f_lineno or 0)

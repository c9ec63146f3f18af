"""Says which line of the function's own code stands behind an event, by walking the frames.

It knows where the standard library, installed libraries, the runtime client and the function live, and nothing of
events. A frame's file name can be forged by code that already runs in the process: it is evidence, not proof.
"""

import os
import sys

TASK_ROOT = os.environ.get("LAMBDA_TASK_ROOT", "/var/task").rstrip("/") + "/"
STANDARD_LIBRARY = os.path.dirname(os.__file__) + "/"
OWN = os.path.dirname(__file__) + "/"

# What a file is.
FUNCTION, EVALUATED, LIBRARY, STANDARD, RUNTIME, HOOK = range(6)

# Frames looked at before the walk is given up.
MAX_DEPTH = 200
MAX_KNOWN = 1024

SDKS = frozenset(("boto3", "botocore", "s3transfer", "aioboto3", "aiobotocore", "awslambdaric", "awscrt", "snapshot_restore_py"))

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
    if filename.startswith(OWN):
        return HOOK
    if filename.startswith("/var/runtime/") or "/awslambdaric/" in filename:
        return RUNTIME
    if "/site-packages/" in filename or "/dist-packages/" in filename or filename.startswith("/opt/python/"):
        return LIBRARY
    if filename.startswith(STANDARD_LIBRARY):
        return STANDARD
    if filename.startswith(TASK_ROOT):
        return LIBRARY if _top(filename[len(TASK_ROOT) :]) in vendored() else FUNCTION
    return FUNCTION


def _top(relative):
    return relative.partition("/")[0].partition(".")[0]


def vendored():
    """Names of the packages that were installed beside the function's own modules (pip install --target)."""
    # The import system has the folder's listing already; asking the file system could itself be a violation.
    finder = sys.path_importer_cache.get(TASK_ROOT.rstrip("/"))
    entries = getattr(finder, "_path_cache", ())
    return {entry.partition("-")[0] for entry in entries if entry.endswith(".dist-info")}


def is_sdk(filename):
    """Whether the file belongs to an AWS SDK or the runtime client, in a place that the function cannot write."""
    if filename.startswith(("<", "/tmp/", "/dev/", "/proc/")):
        return False
    if filename.startswith("/var/runtime/"):
        return True
    for root in ("/site-packages/", "/dist-packages/"):
        before, found, relative = filename.rpartition(root)
        if found:
            top = _top(relative)
            return top in SDKS or top.startswith("aws_")
    for root in (TASK_ROOT, "/opt/python/"):
        if filename.startswith(root):
            return _top(filename[len(root) :]) in SDKS
    return False


def locate(frame):
    """`(code, frames)` of a frame: the nearest line of the function's own, and the way from there to the handler."""
    frames, code, fallback = [], None, None
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
        elif fallback is None and kind == LIBRARY:
            fallback = _line(frame)
        frame = frame.f_back
    if code is None:
        code = frames[0].partition(" ")[0] if frames else fallback
    return code or "", frames[:8]


def _line(frame):
    filename = frame.f_code.co_filename
    if filename.startswith(TASK_ROOT):
        filename = filename[len(TASK_ROOT) :]
    return "%s:%d" % (filename, frame.f_lineno or 0)

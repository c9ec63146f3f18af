"""Says what a function and its children see of search paths, environment and interpreter."""

import multiprocessing
import os
import subprocess
import sys

try:
    import paylib
except ImportError:
    paylib = None

ASKED = "PYTHONPATH", "NODE_OPTIONS"
# The library and its pages are known to all processes (docs/process-plane.md).
UNTOLD = "AWS_", "_X_", "RINGFENCE_", "LD_PRELOAD"
SHOW = "import json, os, sys; print(json.dumps([os.environ.get(n) for n in %r] + sys.path + [list(sys.flags), 'sitecustomize' in sys.modules]))" % (ASKED,)


def shown(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout + done.stderr


def of_a_process(queue):
    queue.put([os.environ.get(name) for name in ASKED] + sys.path)


def spawned(method):
    context = multiprocessing.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=of_a_pipe, args=(sender,))
    process.start()
    found = receiver.recv()
    process.join()
    return found


def of_a_pipe(sender):
    sender.send([os.environ.get(name) for name in ASKED] + sys.path)


def handler(event, context):
    return {
        "layer": paylib and paylib.RATE,
        "own": [os.environ.get(name) for name in ASKED],
        "names": sorted(name for name in os.environ if not name.startswith(UNTOLD)),
        "path": sys.path,
        "flags": [list(sys.flags), sys.argv, getattr(sys, "orig_argv", None)],
        "customized": [getattr(sys.modules.get(name), "__file__", None) for name in ("sitecustomize", "usercustomize")],
        "marks": os.environ.get("CUSTOMIZED"),
        "shell": shown("/bin/sh", "-c", "echo ${PYTHONPATH-absent} ${NODE_OPTIONS-absent}"),
        "env": sorted(line.partition("=")[0] for line in shown("/usr/bin/env").splitlines() if not line.startswith(UNTOLD)),
        "python": shown(sys.executable, "-c", SHOW),
        "isolated": shown(sys.executable, "-I", "-c", SHOW),
        "without environment": subprocess.run([sys.executable, "-c", SHOW], env={}, capture_output=True, text=True).stdout,
        "spawn": spawned("spawn"),
        # It passes descriptors, which the kernel plane does not let through.
        "forkserver": event["descriptors"] and spawned("forkserver"),
    }

"""The managed Python runtimes' bootstrap: search path, .pth files, runtime client.

The rules are Lambda's: the layers' directories go on the path only if PYTHONPATH is absent from the environment, and
an empty value counts as present. Children of `multiprocessing` import this file again and must not start a client.
"""

import os
import site
import sys

# Before the path is edited: a package of the function or of a layer cannot take the client's place.
from awslambdaric.__main__ import main

TASK = os.environ.get("LAMBDA_TASK_ROOT", "/var/task")
VERSION = "python%d.%d" % sys.version_info[:2]
LAYERS = ["/opt/python/lib/%s/site-packages" % VERSION, "/opt/python"]
# Since 3.11 the SDK and the client lie in the interpreter's own packages.
OWN = ["/var/lang/lib/%s/site-packages" % VERSION] if sys.version_info >= (3, 11) else []


def edit_path():
    """Puts the function's and the layers' directories on sys.path, in Lambda's order."""
    free = "PYTHONPATH" not in os.environ
    sys.path[:0] = [TASK] + (LAYERS + OWN if free else [])
    # Runs the .pth files there; a directory that does not exist is appended once more.
    for place in [TASK] + (LAYERS if free else []):
        site.addsitedir(place)
    # Children see it; the environment that this process was started with does not change.
    os.environ["PYTHONPATH"] = "/var/runtime"


if __name__ == "__main__":
    edit_path()
    main(["bootstrap", os.environ["_HANDLER"]])

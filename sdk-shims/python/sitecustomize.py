# Loads Ringfence's hook, takes itself off every search path again, and hands over to the sitecustomize behind it.
#
# It decides nothing and must know nothing of what the hook does. The interpreter's `site` module calls it, once,
# before the function's code. Afterwards sys.path, os.environ and the environment of children are what they would be
# without it: AWS's own bootstrap leaves /opt/python out where PYTHONPATH is set. It is kept valid for every Python
# that a child process may be (2.7 too).
import sys


def _hook():
    # A fault of ours must never show in the customer's function: no exception, no output.
    try:
        if sys.version_info >= (3, 9):
            from ringfence import start

            start.start()
    except Exception:
        pass


def _withdraw():
    try:
        import os

        here = __file__.replace("\\", "/").rpartition("/")[0]
        sys.path[:] = [entry for entry in sys.path if entry.rstrip("/") != here]
        sys.path_importer_cache.pop(here, None)
        _restore(os, here)
    except Exception:
        pass


def _restore(os, here):
    value = os.environ.get("PYTHONPATH")
    entries = (value or "").split(":")
    if here not in entries:
        return
    entries.remove(here)
    # The launcher says so that the variable was there and empty: that is not the same as its absence.
    empty = entries == [here + "/"]
    if entries and not empty:
        os.environ["PYTHONPATH"] = ":".join(entries)
    elif empty:
        os.environ["PYTHONPATH"] = ""
    else:
        del os.environ["PYTHONPATH"]
    _restore_copy(os)


def _restore_copy(os):
    # posix.environ is what os.environ was made of, unless the hook has put its own object behind both.
    import posix

    name = b"PYTHONPATH" if sys.version_info >= (3,) else "PYTHONPATH"
    value = os.environ.get("PYTHONPATH")
    if value is None:
        posix.environ.pop(name, None)
    else:
        posix.environ[name] = os.fsencode(value) if sys.version_info >= (3,) else value


_hook()
_withdraw()
# From here on this module is not there. The next one on the path takes its name; where there is none, the error is the one
# that `site` expects then, and its other faults end where they would end without us. So nothing is caught here.
del sys.modules["sitecustomize"]
import sitecustomize  # noqa: E402, F401

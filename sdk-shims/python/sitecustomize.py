# Loads Ringfence's hook, then the sitecustomize that this one stands in front of.
#
# It decides nothing and must know nothing of what the hook does. The interpreter's `site` module calls it, once,
# before the function's code. It is kept valid for every Python that a child process may be (2.7 too), because
# PYTHONPATH is inherited; where the hook has no use, only the chaining is left.
import sys


def _hook():
    # A fault of ours must never show in the customer's function: no exception, no output.
    try:
        if sys.version_info >= (3, 9):
            from ringfence import start

            start.start()
    except Exception:
        pass


def _chain():
    # Not guarded on purpose: an exception of the customer's own file ends where it would end without us.
    here = __file__.replace("\\", "/").rpartition("/")[0]
    path = [entry for entry in sys.path if entry.rstrip("/") != here]
    if sys.version_info < (3, 5):
        # Python 2 children do without their site's own file: none of the managed runtimes has one.
        return
    import _frozen_importlib
    import _frozen_importlib_external

    spec = _frozen_importlib_external.PathFinder.find_spec("sitecustomize", path)
    if spec is None or spec.loader is None:
        return
    module = _frozen_importlib.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


_hook()
_chain()

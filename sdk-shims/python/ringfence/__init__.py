"""Ringfence's part inside a Python function: it says which line of code was about to do what.

`start` is loaded with the interpreter and kept small; `events`, `reads`, `origin`, `wire` and `channel` are loaded
when there is something to say for the first time. They give no verdicts: guard, preload library and agent do. Where the
policy has a section `[code]`, `detections` and `taint` judge what only the interpreter sees.
`scope` and `configure` are for the function to call: they tighten what its own code may do, and `scopes` judges that.
"""

__all__ = ("Denied", "configure", "scope")


def __getattr__(name):
    # Loaded when first asked for: a function without scopes does not pay for them.
    if name not in __all__:
        raise AttributeError("module 'ringfence' has no attribute %r" % name)
    from ringfence import scopes

    return getattr(scopes, name)

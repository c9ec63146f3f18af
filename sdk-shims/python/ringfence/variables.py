"""The environment as Python code sees it, where the policy speaks of reads of credentials.

`os.environ`, `os.environb` and `posix.environ` share one dictionary. `watch` puts `Variables` in its place, which asks
`reads` about each credential. Under `"deny"` the values are kept apart from the dictionary: a reader that may not have
them finds none. `start` loads this only if the policy has `credentials.reads`. What is judged how is not decided here.
"""

import os
import sys

from ringfence import start

# Variables in which Lambda hands out the role's credentials (policies/src/vocabulary.rs has the same list).
CREDENTIALS = frozenset(
    (
        b"AWS_ACCESS_KEY_ID",
        b"AWS_SECRET_ACCESS_KEY",
        b"AWS_SESSION_TOKEN",
        b"AWS_CONTAINER_AUTHORIZATION_TOKEN",
    )
)

# The variables that are watched: all of these but those that the policy exempts. A value that the function itself sets is
# its own, and is watched no longer.
_watched = set(CREDENTIALS - frozenset(os.fsencode(name) for name in start.EXEMPT_VARIABLES))

# Under "deny": the values, which the dictionary does not have.
_withheld = {}


class Variables(dict):
    """The dictionary behind the environment."""

    __slots__ = ()

    def __getitem__(self, key):
        if key in _watched:
            if _gives(key) and key in _withheld:
                return _withheld[key]
        elif _walk is not None:
            _step(key)
        return dict.__getitem__(self, key)

    def get(self, key, default=None):
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key):
        return dict.__contains__(self, key) or (key in _withheld and _gives(key))

    def __setitem__(self, key, value):
        _watched.discard(key)
        _withheld.pop(key, None)
        dict.__setitem__(self, key, value)

    def __delitem__(self, key):
        if key in _withheld:
            del _withheld[key]
        else:
            dict.__delitem__(self, key)
        if not len(self):
            # Everything was removed: what the function does not see goes too, or its children would still get it.
            for name in _withheld:
                os.unsetenv(name)
            _withheld.clear()

    def __iter__(self):
        return iter(self._names(_gives(None)))

    def keys(self):
        return dict.fromkeys(self._names(_gives(None))).keys()

    def items(self):
        return self._as_seen(_gives(all)).items()

    def values(self):
        return self._as_seen(_gives(all)).values()

    def copy(self):
        return self._as_seen(_gives(all))

    def _names(self, all_of_them):
        names = list(dict.__iter__(self))
        if all_of_them:
            return names + list(_withheld)
        _begin_walk(names[:2])
        return names

    def _as_seen(self, all_of_them):
        values = dict(dict.items(self))
        if all_of_them:
            values.update(_withheld)
        return values


def _gives(key):
    """Whether the reader may have a credential (`key`), all values (`all`), or all names (None)."""
    try:
        from ringfence import reads

        return reads.judge(key, sys._getframe(2))
    except Exception:
        # A fault of ours: what the policy denies stays denied, all else is as without us.
        return not _withheld


# Under "deny" the names are gone through without those of credentials, so no credential tells that the values are read
# too. The first two reads tell: of the first two names, by the line that went through the names.
_walk = None


def _begin_walk(names):
    global _walk
    from ringfence import reads

    place = reads.place(reads.reader(sys._getframe(3))[0])
    _walk = (place, names) if place and len(names) == 2 else None


def _step(key):
    global _walk
    place, names = _walk
    _walk = (place, names[1:]) if key == names[0] and len(names) == 2 else None
    if key != names[-1] or len(names) == 2:
        return
    try:
        from ringfence import reads

        reads.walked(place, sys._getframe(2))
    except Exception:
        pass


def watch():
    """Puts `Variables` in the place of the dictionary behind `os.environ`."""
    import posix

    variables = Variables(dict.items(os.environ._data))
    if start.READS == "deny":
        for name in _watched:
            if dict.__contains__(variables, name):
                _withheld[name] = dict.pop(variables, name)
    for environment in (os.environ, os.environb):
        environment._data = variables
    posix.environ = variables

"""Tells the preload library what a thread's scope forbids, so that it holds in native code and in children too.

It decides nothing: `scopes` says what is forbidden. The library takes a request by kill(2) with a signal that no kernel
knows (sdk-shims/preload/src/scope.rs), which needs no ctypes; where the library is not, the call fails, and scopes hold
in the interpreter alone.
"""

import os
import sys
from _thread import get_ident
from posix import kill

# What can be forbidden; each is a bit.
BITS = {"tmp": 1, "egress": 2, "children": 4}

_REQUEST = 0x52460000
_FOR_ALL = 0x8000

# Above any process id, so that without the library the kernel finds nobody. The library takes requests from whoever
# made the first one.
_key = 0x40000000 | int.from_bytes(os.urandom(4), "little") & 0x3FFFFFFF

# Threads with limits, as the library has them; None where there is no library.
_told = {}


def hold(bits, anew=False):
    """Makes the limits of the running thread `bits`; `anew` where the thread may have limits that nobody has told."""
    told = _told
    if told is None:
        return
    thread = get_ident()
    if told.get(thread, 0) == bits and not anew:
        return
    if bits and not _is_followed():
        bits = 0
    _ask(bits)
    if bits:
        told[thread] = bits
    else:
        told.pop(thread, None)


def hold_for_all(bits):
    """Adds to the limits of the whole process, for good."""
    if bits and _told is not None:
        _ask(_FOR_ALL | bits)


def is_holding():
    """Whether any thread has limits."""
    return bool(_told)


def _ask(what):
    global _told
    try:
        kill(_key, _REQUEST | what)
    except ProcessLookupError:
        _told = None
    except OSError:
        # More threads than the library has room for, or somebody else was first: the interpreter's judgement stands.
        pass


def _is_followed():
    """Whether we see when this thread goes on with other work: a limit of one task must not fall on another."""
    if "gevent" in sys.modules or "trio" in sys.modules or "curio" in sys.modules:
        return False
    events = sys.modules.get("asyncio.events")
    loop = events and events._get_running_loop()
    if loop is None:
        return True
    from asyncio.base_events import BaseEventLoop

    _follow(events)
    return isinstance(loop, BaseEventLoop)


_followed = False


def _follow(events):
    """Has each callback of asyncio's own loops run under the limits of its own context."""
    global _followed
    if _followed:
        return
    _followed = True
    run = events.Handle._run

    def ran(self):
        from ringfence import scopes

        hold(scopes.bits_in(self._context))
        try:
            run(self)
        finally:
            hold(scopes.bits_of_this_thread())

    events.Handle._run = ran

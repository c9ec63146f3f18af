"""A handler of SIGTERM, as the developer guide shows it, is called at the end of the environment, in whichever plane."""

import atexit
import signal
import sys


def leave(number, frame):
    print(f"handled signal {number}", flush=True)
    sys.exit(0)


signal.signal(signal.SIGTERM, leave)
atexit.register(lambda: print("left by atexit", flush=True))


def handler(event, context):
    return "answered"

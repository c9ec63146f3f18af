"""Ways to fail: an exception, sys.exit, a fault in native code. The caller sees the same error as without the layer."""

import ctypes
import sys


def handler(event, context):
    if event["do"] == "raise":
        raise ValueError("not today")
    if event["do"] == "sys.exit":
        sys.exit(3)
    if event["do"] == "fault":
        ctypes.string_at(0)
    return "answered"

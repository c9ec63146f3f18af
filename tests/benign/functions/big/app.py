"""A response near the limit of 6 MB, an environment of 120 KB, a long log line, many lines."""

import os
import sys


def handler(event, context):
    print("x" * 100_000)
    for number in range(2000):
        print(number, file=sys.stderr)
    return {"text": "y" * 5_900_000, "environment": len(os.environ["FILLER_A"]) + len(os.environ["FILLER_B"])}

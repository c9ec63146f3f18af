"""A function that had an exec wrapper before: it still runs, between the layer and the interpreter."""

import os
import subprocess

import extra


def handler(event, context):
    text = subprocess.run(["/usr/bin/cat"], input="x", capture_output=True, text=True).stdout
    return {"wrapped": os.environ.get("WRAPPED"), "extra": extra.VALUE, "child": text}

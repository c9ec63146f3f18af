"""Applies the caller's sed expression.

No shell is involved, the arguments are a list: it looks safe. Flaw: GNU sed itself runs commands (`e`), reads files
(`r`) and writes them (`w`), and the expression is the caller's.
"""

import subprocess


def apply(expression, text):
    result = subprocess.run(["/usr/bin/sed", "-e", expression], input=text, capture_output=True, text=True, timeout=5)
    if result.returncode != 0:
        raise ValueError("sed: " + result.stderr.strip())
    return result.stdout

"""Ringfence's part inside a Python function: it says which line of code was about to do what.

`start` is loaded with the interpreter and kept small; `events`, `reads`, `origin`, `wire` and `channel` are loaded
when there is something to say for the first time. Nothing here gives verdicts: guard, preload library and agent do.
"""

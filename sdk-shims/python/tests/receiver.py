"""Runs a piece of code in a fresh interpreter with the hook, and decodes what it sends to a real report socket.

Stands in for the agent: binds an abstract datagram socket, reads what is there after the child has ended.
"""

import os
import secrets
import socket
import struct
import subprocess
import sys
import tempfile
import textwrap

HERE = os.path.dirname(os.path.abspath(__file__))
SHIM = os.path.dirname(HERE)

KINDS = {1: "violation", 2: "hint", 6: "hook up"}
TEXTS = {8: "path", 11: "name", 12: "exe", 13: "code", 16: "detail"}
LISTS = {9: "arguments", 14: "frames"}
NUMBERS = {1: "pid", 2: "parent", 3: "thread", 17: "dropped"}
BYTES = {4: "action", 5: "outcome", 6: "rule", 7: "plane"}


def decode(datagram):
    """A message as a dictionary; fails on whatever the agent would not accept."""
    magic, version, kind = struct.unpack_from("<2sBB", datagram)
    assert (magic, version) == (b"RF", 1), datagram[:4]
    message, at = {"kind": KINDS[kind], "arguments": [], "frames": []}, 4
    while at < len(datagram):
        tag, length = struct.unpack_from("<BH", datagram, at)
        value = datagram[at + 3 : at + 3 + length]
        assert len(value) == length, "a field is cut short"
        at += 3 + length
        if tag in TEXTS:
            message[TEXTS[tag]] = value.decode(errors="surrogateescape")
        elif tag in LISTS:
            message[LISTS[tag]].append(value.decode(errors="surrogateescape"))
        elif tag in NUMBERS:
            (message[NUMBERS[tag]],) = struct.unpack("<I", value)
        elif tag in BYTES:
            (message[BYTES[tag]],) = value
        elif tag == 10:
            message["address"] = (value[:16], struct.unpack("<H", value[16:])[0])
        else:
            raise AssertionError("unknown tag %d" % tag)
    return message


class Outcome:
    """What a run printed and sent."""

    def __init__(self, process, messages, task):
        self.stdout, self.stderr, self.status = process.stdout, process.stderr, process.returncode
        # What a hook says of itself once at its start is no message about what the code does.
        self.started = [m for m in messages if m["kind"] == "hook up"]
        self.messages, self.task = [m for m in messages if m["kind"] != "hook up"], task

    def of(self, kind, action):
        """The messages of a kind about an action."""
        return [m for m in self.messages if m["kind"] == kind and m["action"] == action]


def run(code, files=(), environment=(), listen=True, python=sys.executable, arguments=(), parameters=()):
    """Runs `code` as handler.py of a function folder that also holds `files`."""
    name = "ringfence-report-" + secrets.token_hex(16)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver, tempfile.TemporaryDirectory(dir="/var/tmp") as task:
        if listen:
            receiver.bind("\0" + name)
        for path, text in [("handler.py", code), *dict(files).items()]:
            path = os.path.join(task, path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as out:
                out.write(textwrap.dedent(text).lstrip("\n"))
        process = subprocess.run(
            [python, *arguments, os.path.join(task, "handler.py"), *parameters],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": SHIM,
                "PYTHONDONTWRITEBYTECODE": "1",
                "RINGFENCE_REPORT": name,
                "RINGFENCE_CODE": "reads=report",
                "LAMBDA_TASK_ROOT": task,
                "AWS_ACCESS_KEY_ID": "ASIAEXAMPLE",
                "AWS_SECRET_ACCESS_KEY": "the-secret",
                "AWS_SESSION_TOKEN": "the-token",
                **dict(environment),
            },
            capture_output=True,
            text=True,
            timeout=30,
        )
        return Outcome(process, [decode(d) for d in drain(receiver)] if listen else [], task)


def drain(receiver):
    """What is in the socket now."""
    receiver.setblocking(False)
    datagrams = []
    while True:
        try:
            datagrams.append(receiver.recv(65536))
        except BlockingIOError:
            return datagrams

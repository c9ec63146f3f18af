"""Runs a piece of code as a function's handler in Node with the hook, and decodes what it sends.

Stands in for launcher and agent: binds an abstract datagram socket and hands a connected one down, as the launcher does.
The decoder is the Python hook's, so both speak one protocol.
"""

import os
import pathlib
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap

SHIM = pathlib.Path(__file__).resolve().parent.parent
sys.path.append(str(SHIM.parent / "python" / "tests"))
from receiver import Outcome, decode, drain  # noqa: E402

# RINGFENCE_TEST_NODE runs the tests with another interpreter than the one on PATH.
NODE = os.environ.get("RINGFENCE_TEST_NODE") or shutil.which("node")
REPORT_FD = 960


def run(code, name="index.mjs", files=(), environment=(), hook=True, arguments=(), node=NODE):
    """Runs `code` as file `name` of a function folder that also holds `files`."""
    report = b"\0ringfence-report-" + secrets.token_hex(16).encode()
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        tempfile.TemporaryDirectory(dir="/var/tmp") as task,
    ):
        receiver.bind(report)
        sender.connect(report)
        sender.setblocking(False)
        for path, text in [(name, code), *dict(files).items()]:
            path = os.path.join(task, path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as out:
                out.write(textwrap.dedent(text).lstrip("\n"))
        variables = {
            "PATH": os.environ["PATH"],
            "LAMBDA_TASK_ROOT": task,
            "AWS_ACCESS_KEY_ID": "ASIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "the-secret",
            "AWS_SESSION_TOKEN": "the-token",
        }
        if hook:
            hook_words = {"RINGFENCE_REPORT_FD": str(REPORT_FD), "RINGFENCE_CODE": "reads=report"}
            variables.update(NODE_OPTIONS=f"--require {SHIM}/ringfence.cjs", **hook_words)
        os.dup2(sender.fileno(), REPORT_FD, inheritable=True)
        try:
            process = subprocess.run(
                [node, *arguments, os.path.join(task, name)],
                env={**variables, **dict(environment)},
                pass_fds=[REPORT_FD],
                capture_output=True,
                text=True,
                timeout=60,
            )
        finally:
            os.close(REPORT_FD)
        return Outcome(process, [decode(datagram) for datagram in drain(receiver)], task)

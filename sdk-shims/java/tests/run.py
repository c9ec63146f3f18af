"""Runs a program of tests/programs in a JVM with the hook, and decodes what it sends.

Stands in for launcher and agent: makes a datagram socket, hands the other end down as the launcher does, and reads while the
program runs. The decoder is the Python hook's, so both speak one protocol. Compiles hook and programs once.
"""

import atexit
import functools
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

HOOK = pathlib.Path(__file__).resolve().parent.parent
sys.path += [str(HOOK.parent / "python" / "tests"), str(HOOK.parent.parent / "layer")]
import jar  # noqa: E402
from receiver import Outcome, decode  # noqa: E402

# RINGFENCE_TEST_JAVA runs the tests with another JVM than the one on PATH.
JAVA = os.environ.get("RINGFENCE_TEST_JAVA") or shutil.which("java")
REPORT_FD = 960
PROGRAMS = HOOK / "tests" / "programs"
# Seconds; a JVM starts in a fraction of one, unless the machine is very busy.
PATIENCE = 300


@functools.cache
def built():
    """The folder with ringfence.jar and the programs' classes."""
    folder = pathlib.Path(tempfile.mkdtemp(dir="/var/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if not JAVA or not jar.build(folder / "ringfence.jar", HOOK):
        raise unittest.SkipTest("no JDK 17 or later here: the Java hook is not tested")
    sources = map(str, sorted(PROGRAMS.rglob("*.java")))
    options = ["-g", "-Xlint:all,-deprecation,-try", "-cp", str(folder / "ringfence.jar"), "-d", str(folder / "classes")]
    subprocess.run([jar.compiler(), *options, *sources], check=True)
    return folder


def run(program, *arguments, hook=True, environment=(), options=()):
    """Runs the class `program` of package example."""
    folder = built()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    theirs.setblocking(False)
    messages = []
    with ours, theirs:
        reader = threading.Thread(target=read, args=(ours, messages))
        reader.start()
        variables = {
            "PATH": os.environ["PATH"],
            "LAMBDA_TASK_ROOT": str(folder / "classes"),
            "_HANDLER": f"example.{program}::main",
            "AWS_ACCESS_KEY_ID": "ASIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "the-secret",
            "AWS_SESSION_TOKEN": "the-token",
            "RINGFENCE_REPORT_FD": str(REPORT_FD),
            "RINGFENCE_CODE": "reads=report",
        }
        agent = [f"-javaagent:{folder}/ringfence.jar"] if hook else []
        command = [JAVA, "-XX:TieredStopAtLevel=1", *agent, *options, "-cp", str(folder / "classes")]
        if not hook:
            command[-1] += f":{folder}/ringfence.jar"
        os.dup2(theirs.fileno(), REPORT_FD, inheritable=True)
        try:
            process = subprocess.run(
                [*command, f"example.{program}", *arguments],
                env={**variables, **dict(environment)},
                pass_fds=[REPORT_FD],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
        finally:
            os.close(REPORT_FD)
            theirs.setblocking(True)
            theirs.send(b"")
            reader.join()
    return Outcome(process, messages, str(folder / "classes"))


def read(receiver, messages):
    """Decodes until an empty datagram says that the program has ended."""
    while datagram := receiver.recv(8192):
        messages.append(decode(datagram))


def line_of(program, text):
    """The only line of a program that holds a text, as hints name it."""
    (number,) = [n for n, line in enumerate((PROGRAMS / "example" / f"{program}.java").read_text().splitlines(), 1) if text in line]
    return f"{program}.java:{number}"

"""A function with the layer attached and no policy: whatever it does goes on working."""

import os
import shutil
import socket
import subprocess


def run(*command, **options):
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, **options)
    return [ended.returncode, ended.stdout, ended.stderr]


def from_tmp():
    """What @sparticuz/chromium and its kind do: a program is unpacked to /tmp and run there."""
    shutil.copy("/usr/bin/cat", "/tmp/tool")
    return run("/tmp/tool", "/proc/self/comm")


def from_memory():
    file = os.memfd_create("tool")
    with open("/usr/bin/cat", "rb") as source:
        os.write(file, source.read())
    return run(f"/proc/self/fd/{file}", "/etc/hosts", pass_fds=[file])


def script():
    with open("/tmp/script", "w") as file:
        file.write("#!/bin/sh\necho from a script $1\n")
    os.chmod("/tmp/script", 0o755)
    return run("/tmp/script", "x")


def listens_everywhere():
    with socket.socket() as listener, socket.socket() as client:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        client.connect(("127.0.0.1", listener.getsockname()[1]))
        return "connected"


def handler(event, context):
    with open("/proc/self/environ", "rb") as file:
        own = b"AWS_LAMBDA_FUNCTION_NAME" in file.read()
    keys = sorted(name for name in dict(os.environ) if name.startswith("AWS_SE"))
    return {
        "shell": run("echo $((6*7)); exit 3", shell=True), "from /tmp": from_tmp(), "script": script(), "memory": from_memory(),
        "static": run("/var/task/static"), "everywhere": listens_everywhere(), "environ": own, "keys": keys,
        "children have keys": run("/bin/sh", "-c", "echo ${AWS_SECRET_ACCESS_KEY:+yes}"),
    }

"""The runtime process itself closes every descriptor above 20 that it does not use, at import: libraries that daemonise do."""

import os
import socket
import subprocess

inodes = {}
for name in os.listdir("/proc/self/fd"):
    try:
        inodes[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        pass
for number in range(21, 1024):
    if not inodes.get(number, "").startswith("socket:"):
        try:
            os.close(number)
        except OSError:
            pass


def handler(event, context):
    with socket.socket() as listener, socket.socket() as client:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.connect(listener.getsockname())
    reused = [os.open("/dev/null", os.O_RDONLY) for _ in range(60)]
    for number in reused:
        os.close(number)
    return {"child": subprocess.run(["/usr/bin/cat"], input=b"x", capture_output=True).stdout.decode(), "reused": max(reused) < 100}

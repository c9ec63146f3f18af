"""Runs a command in a network of its own in which a case's servers answer.

    unshare --net beside.py SERVER.py ADDRESS COMMAND…

Decides the network (loopback and one further address) and the order: servers first, then the command, whose status it ends
with. What the servers are is the case's business: `running(folder, address)` in SERVER.py. Called by service.py; needs root.
"""

import fcntl
import importlib.util
import socket
import struct
import subprocess
import sys
import tempfile

# From linux/sockios.h and linux/if.h.
SIOCSIFADDR, SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8916, 0x8913, 0x8914, 1


def main():
    server, address, *command = sys.argv[1:]
    open_network(address)
    with tempfile.TemporaryDirectory(prefix="ringfence-servers-", ignore_cleanup_errors=True) as folder:
        with load(server).running(folder, address):
            status = subprocess.run(command).returncode
    sys.exit(status)


def open_network(address):
    """Loopback up, with a second address that no rule takes for loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        flags = struct.unpack("16sH", fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16sH22x", b"lo", 0))[:18])[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | IFF_UP))
        where = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
        fcntl.ioctl(control, SIOCSIFADDR, struct.pack("16s16s8x", b"lo:1", where))


def load(path):
    spec = importlib.util.spec_from_file_location("server", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()

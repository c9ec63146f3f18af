"""The servers that the function calls, started outside of its sandbox by runner/beside.py."""

import contextlib
import os
import pwd
import socket
import subprocess
import time

POSTGRES = "/usr/lib/postgresql/15/bin"


@contextlib.contextmanager
def running(folder, address):
    """Both servers answer at the address while the block runs; `folder` is theirs."""
    user = pwd.getpwnam("nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)     # PostgreSQL does not run as root

    def command(*words):
        return {"args": words, "user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": folder, "stdout": subprocess.DEVNULL}

    data = os.path.join(folder, "data")
    subprocess.run(**command(f"{POSTGRES}/initdb", "-D", data, "-A", "trust", "-U", "shop", "--no-locale", "-N"), check=True, timeout=120)
    with open(os.path.join(data, "pg_hba.conf"), "a") as file:
        file.write(f"host all all {address}/32 trust\n")
    servers = [
        subprocess.Popen(**command(f"{POSTGRES}/postgres", "-D", data, "-p", "5433", "-c", f"listen_addresses={address}",
                                   "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"), stderr=subprocess.DEVNULL),
        subprocess.Popen(**command("/usr/bin/redis-server", "--port", "6380", "--bind", address, "--save", "", "--dir", folder,
                                   "--protected-mode", "no")),
    ]
    try:
        answers(address, 5433)
        answers(address, 6380)
        yield
    finally:
        for server in servers:
            server.kill()
            server.wait()


def answers(address, port):
    deadline = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection((address, port), timeout=5).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)

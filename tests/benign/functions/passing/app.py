"""A descriptor passed over AF_UNIX."""

import os
import socket


def descriptors_by_message():
    """A file passed over an AF_UNIX pair."""
    left, right = socket.socketpair()
    read, write = os.pipe()
    socket.send_fds(left, [b"x"], [write])
    _, received, _, _ = socket.recv_fds(right, 1, 1)
    os.write(received[0], b"through")
    text = os.read(read, 16).decode()
    for number in (read, write, *received):
        os.close(number)
    left.close()
    right.close()
    return text


def handler(event, context):
    return {"passed": descriptors_by_message()}

"""Looks names up, each in another way. Answers what its caller would see."""

import random
import socket
import struct


def tried(call):
    try:
        return call()
    except OSError as error:
        return f"{type(error).__name__} {error.errno}"


def response_code(name, kind):
    """Of a query by a socket of its own, as DNS libraries send it."""
    query = struct.pack(">HHHHHH", random.randrange(65536), 0x0100, 1, 0, 0, 0)
    query += b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0" + struct.pack(">HH", kind, 1)
    server = next(line.split()[1] for line in open("/etc/resolv.conf") if line.startswith("nameserver"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(5)
        asking.sendto(query, (server, 53))
        return asking.recv(4096)[3] & 15


def way(address, port):
    """Which of its addresses leads there, as Go (53) and musl (65535) ask it; and which port the socket then has as its peer's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect((address, port))
        return [asking.getsockname()[0] != "0.0.0.0", tried(lambda: asking.getpeername()[1])]


def ways(event, context):
    """To an allowed host's address by ports that no entry has, and to another address."""
    allowed = socket.gethostbyname("db.example")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sent = tried(lambda: sending.sendto(b"x", (allowed, 53)))
    return {
        "go": tried(lambda: way(allowed, 53)), "musl": tried(lambda: way(allowed, 65535)), "other port": tried(lambda: way(allowed, 54)),
        "other address": tried(lambda: way("203.0.113.66", 53)), "sent": sent,
        "other name": tried(lambda: way(socket.gethostbyname("evil.example"), 65535)),
    }


def denied(event, context):
    """A denied name's address, before anything has looked the name up, after, and when another name leads there too."""
    connect = lambda: tried(lambda: socket.create_connection(("203.0.113.67", 443), 5).close())
    return {
        "before": connect(),
        "look-up": tried(lambda: socket.gethostbyname("denied.example")),
        "after": connect(),
        "another name": tried(lambda: socket.gethostbyname("mirror.example")),
        "then": connect(),
    }


def handler(event, context):
    allowed = tried(lambda: socket.gethostbyname("db.example"))
    return {
        "allowed": allowed,
        "alias": tried(lambda: socket.gethostbyname("DB.example.")),
        "refused": tried(lambda: socket.getaddrinfo("evil.example", 443)),
        "service": response_code("_mongodb._tcp.db.example", 33),
        "refused service": response_code("_mongodb._tcp.evil.example", 33),
        "reverse": tried(lambda: socket.getnameinfo((allowed, 27017), socket.NI_NUMERICSERV)),
        "reverse of another": tried(lambda: socket.getnameinfo(("203.0.113.99", 80), socket.NI_NUMERICSERV)),
        "localhost": tried(lambda: socket.gethostbyname("localhost")),
        "below localhost": tried(lambda: socket.gethostbyname("app.localhost")),
        "itself": tried(lambda: bool(socket.getfqdn())),
    }

"""The encoding of messages to the agent, as extension/records/src/wire.rs and message.rs define it.

It decides nothing. Texts are cut to the limits that the agent's side has, so a message always fits one datagram.
"""

HEAD = b"RF\x01"
MAX_MESSAGE = 4096

# Kinds.
VIOLATION = 1
HINT = 2

# Actions.
EXEC = 1
MAP_EXECUTABLE = 2
CONNECT = 3
SEND = 4
RESOLVE = 5
BIND = 6
OPEN_READ = 7
OPEN_WRITE = 8
READ_CREDENTIAL = 9
INHERIT_CREDENTIALS = 10
DANGEROUS = 11
EVALUATE = 14
DESERIALIZE = 15
NATIVE = 16
IMPORT = 17

OUTCOME_REPORTED = 1
OUTCOME_BLOCKED = 2
RULE_PROCESS_ALLOW = 1
RULE_EGRESS_ALLOW = 9
RULE_TMP_WRITES = 15
RULE_FILES_DENY_READ = 18
RULE_CREDENTIALS_READS = 21
RULE_CODE_EVALUATE = 27
RULE_CODE_DESERIALIZE = 28
RULE_CODE_NATIVE = 29
RULE_CODE_IMPORTS = 30
PLANE_PROCESS = 2

# Field tags.
PID = 1
PARENT = 2
THREAD = 3
ACTION = 4
OUTCOME = 5
RULE = 6
PLANE = 7
PATH = 8
ARGUMENT = 9
ADDRESS = 10
NAME = 11
EXE = 12
CODE = 13
FRAME = 14
DETAIL = 16
DROPPED = 17

MAX_PATH = 1024
MAX_TEXT = 256
MAX_ARGUMENT = 128
MAX_ARGUMENTS = 8
MAX_FRAMES = 8

_LIMITS = {PATH: MAX_PATH, ARGUMENT: MAX_ARGUMENT, FRAME: MAX_ARGUMENT, ADDRESS: 18}


def field(tag, value):
    """One field. A number takes four bytes, little endian; a small constant is given as one byte by `byte`."""
    if type(value) is int:
        value = (value & 0xFFFFFFFF).to_bytes(4, "little")
    elif type(value) is str:
        value = value.encode("utf-8", "replace")
    value = value[: _LIMITS.get(tag, MAX_TEXT)]
    return bytes((tag,)) + len(value).to_bytes(2, "little") + value


def byte(tag, value):
    """A field of one byte."""
    return bytes((tag, 1, 0, value))


def message(kind, fields):
    """A message; fields that have no more room are left out. Room for a DROPPED field is kept."""
    parts = [HEAD, bytes((kind,))]
    room = MAX_MESSAGE - len(HEAD) - 1 - 7
    for part in fields:
        room -= len(part)
        if room < 0:
            break
        parts.append(part)
    return b"".join(parts)


def address(host, port):
    """An address as 16 bytes of IPv6 (IPv4 mapped) and the port, or None where `host` is a name."""
    from _socket import AF_INET, AF_INET6, inet_pton

    if type(host) is not str or type(port) is not int:
        return None
    for family, prefix in ((AF_INET, b"\0" * 10 + b"\xff\xff"), (AF_INET6, b"")):
        try:
            return prefix + inet_pton(family, host.partition("%")[0]) + (port & 0xFFFF).to_bytes(2, "little")
        except OSError:
            continue
    return None

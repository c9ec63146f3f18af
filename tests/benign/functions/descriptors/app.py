"""Descriptors used hard: all that are there, high numbers, all closed in a child, limits changed, and the table full."""

import os
import resource
import socket
import subprocess


def connects():
    with socket.socket() as listener, socket.socket() as client:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.connect(listener.getsockname())
    return "connected"


def high_numbers():
    """Every number from 900 to 1020 is asked for by name, as a program does that has a use for high numbers."""
    made = []
    with open("/tmp/high", "w") as file:
        for number in range(900, 1021):
            try:
                os.fstat(number)
            except OSError:
                os.dup2(file.fileno(), number)
                made.append(number)
    for number in made:
        os.close(number)
    return len(made) >= 100


def close_range_and_work(low):
    """What a daemon does after its fork: everything above a number is closed. It goes on as if nothing had been there."""
    read, write = os.pipe()
    os.dup2(write, 3) if write != 3 and read != 3 else None
    child = os.fork()
    if child == 0:
        out = os.dup2(write, low - 1)
        os.closerange(low, 1024)
        try:
            os.write(out, connects().encode())
        except BaseException as error:
            os.write(out, repr(error).encode())
        os._exit(0)
    os.close(write)
    text = os.read(read, 200).decode()
    os.close(read)
    return [text, os.waitpid(child, 0)[1]]


def closed_then_exec():
    """A child that closes all it has and execs gets what it execs."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(write, 1)
        os.closerange(3, 1024)
        os.execv("/usr/bin/ls", ["ls", "/var/task/app.py"])
    os.close(write)
    text = os.read(read, 200).decode()
    os.close(read)
    return [text, os.waitpid(child, 0)[1]]


def full_table():
    """Descriptors run out at about the same number, with the same error, and work is possible again after it."""
    kept = []
    try:
        while True:
            kept.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        number = error.errno
        try:
            connects()
        except OSError as again:
            number = [number, again.errno]
    count = len(kept)
    for descriptor in kept:
        os.close(descriptor)
    return [number, 1000 <= count <= 1024, connects()]


def limits():
    """Limits may be lowered for children: fewer descriptors than the layer's own numbers, no core, small files."""
    def lower():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    ended = subprocess.run(["/usr/bin/ls", "/var/task/app.py"], preexec_fn=lower, capture_output=True, text=True)
    return [ended.returncode, ended.stdout, ended.stderr]


def lowered_in_process():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        ended = subprocess.run(["/usr/bin/ls", "/var/task/app.py"], capture_output=True, text=True)
        return [soft, ended.returncode, ended.stdout, connects()]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def handler(event, context):
    return {
        "high": high_numbers(), "closed": close_range_and_work(10), "closed and exec": closed_then_exec(), "full": full_table(),
        "limits": limits(), "in process": lowered_in_process(), "after": connects(),
    }

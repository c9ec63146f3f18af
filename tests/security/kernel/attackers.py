"""Attackers in Python, as function code would be: `attackers.py [--guarded] NAME` prints "worked", "refused ERRNO" or
"absent"; `--list` names them. What ctypes can do, any native code can, from a process that behaves otherwise.

run.py plays them beside those in C.
"""

import contextlib
import ctypes
import errno
import mmap
import os
import signal
import socket
import struct
import sys
import tempfile
import threading
import time

FORBIDDEN, ALLOWED = "127.0.0.2", "127.0.0.1"
NUMBERS = {
    "x86_64": dict(sendto=44, prlimit64=302, seccomp=317),
    "aarch64": dict(sendto=206, prlimit64=261, seccomp=277),
}[os.uname().machine]
guarded = "--guarded" in sys.argv
libc = ctypes.CDLL(None, use_errno=True)


def call(name, *arguments):
    """A raw system call, past libc's wrappers and whatever stands in front of them."""
    done = libc.syscall(ctypes.c_long(NUMBERS[name]), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if done < 0:
        raise OSError(ctypes.get_errno(), name)
    return done


def receiver(kind=socket.SOCK_DGRAM):
    at = socket.socket(socket.AF_INET, kind)
    at.bind((FORBIDDEN, 0))
    if kind == socket.SOCK_STREAM:
        at.listen()
    at.settimeout(0.1 if guarded else 30)
    return at


def arrives(at):
    with contextlib.suppress(TimeoutError):
        return bool(at.recv(64) if at.type == socket.SOCK_DGRAM else at.accept())
    return False


def raw_address(port):
    return struct.pack("=H", socket.AF_INET) + struct.pack(">H", port) + socket.inet_aton(FORBIDDEN) + bytes(8)


def connects():
    at = receiver(socket.SOCK_STREAM)
    socket.create_connection(at.getsockname(), timeout=30)
    return arrives(at)


def sends_raw():
    at, mine = receiver(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    call("sendto", mine.fileno(), b"x", 1, 0, raw_address(at.getsockname()[1]), 16)
    return arrives(at)


def sends_in_machine_code():
    """A system call from memory that was made executable: nothing in the process could have been in the way."""
    if os.uname().machine != "x86_64":
        return None
    code = bytes.fromhex("4889f8 4889f7 4889d6 4889ca 4d89c2 4d89c8 4c8b4c2408 0f05 c3")
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    kinds = [ctypes.c_long, ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_long]
    run = ctypes.CFUNCTYPE(*kinds)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    at, mine = receiver(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    done = run(NUMBERS["sendto"], mine.fileno(), b"x", 1, 0, raw_address(at.getsockname()[1]), 16)
    if done < 0:
        raise OSError(-done, "sendto")
    return arrives(at)


def sends_by_a_fork():
    at = receiver()
    child = os.fork()
    if not child:
        try:
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", at.getsockname())
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise OSError(status, "child")
    return arrives(at)


def swaps_an_address():
    """A thread changes the address while the call is judged. The interpreter's lock is free during foreign calls."""
    at = receiver()
    at.setblocking(False)
    good = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    good.bind((ALLOWED, at.getsockname()[1]))
    address = ctypes.create_string_buffer(raw_address(at.getsockname()[1]), 16)
    words = ctypes.cast(address, ctypes.POINTER(ctypes.c_uint32))
    values = [struct.unpack("=I", socket.inet_aton(name))[0] for name in (ALLOWED, FORBIDDEN)]
    ended = threading.Event()

    def swap():
        while not ended.is_set():
            words[1] = values[0]
            words[1] = values[1]

    threading.Thread(target=swap, daemon=True).start()
    mine, begun, came = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), time.monotonic(), False
    while not came and time.monotonic() - begun < (1 if guarded else 30):
        libc.syscall(ctypes.c_long(NUMBERS["sendto"]), ctypes.c_long(mine.fileno()), b"x", ctypes.c_long(1), ctypes.c_long(0), address, ctypes.c_long(16))
        with contextlib.suppress(BlockingIOError):
            came = bool(at.recv(8))
    ended.set()
    return came


def executes():
    return os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", "exit 42"], {}), 0)[1]) == 42


def executes_from_memory():
    file = os.memfd_create("true")
    with open("/bin/sh", "rb") as shell:
        os.write(file, shell.read())
    child = os.fork()
    if not child:
        try:
            os.execv(f"/proc/self/fd/{file}", ["sh", "-c", "exit 42"])
        except OSError as error:
            os._exit(error.errno)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, 42):
        raise OSError(status, "exec")
    return status == 42


def signals_the_guard():
    os.kill(os.getppid(), signal.SIGURG)
    return True


def limits_the_guard():
    call("prlimit64", os.getppid(), 7, struct.pack("=QQ", 64, 1024), None)
    return True


def signals_its_group():
    os.killpg(os.getpgid(os.getppid()), signal.SIGURG)
    return True


def reads_the_guard():
    with open(f"/proc/{os.getppid()}/environ", "rb") as file:
        return bool(file.read())


def writes_what_is_denied():
    with open(os.environ["RINGFENCE_DENIED"] + "/kept", "w") as file:
        return file.write("x") == 1


def moves_what_is_denied():
    os.rename(os.environ["RINGFENCE_DENIED"] + "/kept", tempfile.mkdtemp() + "/kept")
    return True


def listens_to_everybody():
    at = socket.socket()
    at.bind(("0.0.0.0", 0))
    at.listen()
    return True


def answers_for_the_guard():
    """A filter of its own with a listener, which would be asked in the guard's place."""
    instruction = struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000)
    room = ctypes.create_string_buffer(instruction, 8)
    program = struct.pack("=HxxxxxxQ", 1, ctypes.addressof(room))
    call("seccomp", 1, 8, program)
    return True


def passes_a_socket():
    """A socket that was connected where nobody looks would be as good as none denied; here both ends are looked at."""
    at, pair = receiver(), socket.socketpair()
    child = os.fork()
    if not child:
        pair[0].close()
        try:
            _, files, _, _ = socket.recv_fds(pair[1], 1, 1)
            if not files:
                os._exit(0)
            mine = socket.socket(fileno=files[0])
            mine.connect(at.getsockname())
            mine.send(b"x")
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    pair[1].close()
    mine = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        socket.send_fds(pair[0], [b"x"], [mine.fileno()])
    finally:
        pair[0].close()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise OSError(status, "child")
    return arrives(at)


def pages():
    numbers = os.environ.get("RINGFENCE_FDS")
    if guarded:
        return [int(number) for number in numbers.split(",")]
    return [os.memfd_create("x", os.MFD_ALLOW_SEALING)]


def writes_the_pages():
    """Policy and phase, by descriptors opened afresh."""
    for number in pages():
        with contextlib.suppress(OSError):
            return os.pwrite(os.open(f"/proc/self/fd/{number}", os.O_RDWR), b"x", 0) == 1
    raise OSError(errno.EPERM, "pages")


def maps_the_pages():
    for number in pages():
        with contextlib.suppress(OSError, ValueError):
            if not guarded:
                os.ftruncate(number, 4096)
            file = os.open(f"/proc/self/fd/{number}", os.O_RDWR)
            return bool(mmap.mmap(file, os.fstat(file).st_size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE))
    raise OSError(errno.EPERM, "pages")


def punches_the_pages():
    keep_size, punch_hole = 1, 2
    for number in pages():
        if not libc.fallocate(number, keep_size | punch_hole, ctypes.c_long(0), ctypes.c_long(4096)):
            return True
    raise OSError(ctypes.get_errno(), "fallocate")


ATTACKERS = [
    connects, sends_raw, sends_in_machine_code, sends_by_a_fork, swaps_an_address, executes, executes_from_memory,
    signals_the_guard, limits_the_guard, signals_its_group, reads_the_guard, writes_what_is_denied,
    moves_what_is_denied, listens_to_everybody, answers_for_the_guard, passes_a_socket, writes_the_pages,
    maps_the_pages, punches_the_pages,
]


def main():
    named = {"python-" + attacker.__name__.replace("_", "-"): attacker for attacker in ATTACKERS}
    if "--list" in sys.argv:
        print("\n".join(f"{name} python" for name in named))
        return
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        worked = named[sys.argv[-1]]()
        print("absent" if worked is None else "worked" if worked else "refused 1000")
    except OSError as error:
        print(f"refused {error.errno}")


if __name__ == "__main__":
    main()

"""What an attacker and an honest function do in an arm64 Python: one line of JSON each, `[name, outcome]`.

An outcome is what came back, or the name of the error. Arguments name what is done; without one, all. Run by
emulated.py, without the layer and with it.
"""

import ctypes
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
SECRET = b"/var/task/secret"
OPENAT, EXECVE = 56, 221  # asm-generic/unistd.h
TAG = 0x5A << 56
HERE = ctypes.c_long(-100)
ELSEWHERE = ("203.0.113.9", 9)


def child(action):
    """The exit status of a fork that does it; an error's number where it fails."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        except OSError as error:
            os._exit(error.errno)
        os._exit(99)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return errno.errorcode.get(status, status)


def by_number(number, *arguments):
    """syscall(3): what came back, or the error."""
    if LIBC.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
    return "done"


def returned(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), "")
    return "done"


def exec_by_number():
    by_number(EXECVE, b"/bin/sh", (ctypes.c_char_p * 4)(b"sh", b"-c", b"exit 200", None), None)


def exec_from_memory():
    file = os.memfd_create("x", 0)
    with open("/usr/bin/true", "rb") as program:
        os.write(file, program.read())
    os.execve(f"/proc/self/fd/{file}", ["true"], {})


def exec_of_a_copy():
    with open("/usr/bin/true", "rb") as program, open("/tmp/copy", "wb") as copy:
        copy.write(program.read())
    os.chmod("/tmp/copy", 0o755)
    os.execv("/tmp/copy", ["true"])


def send(method):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        arguments = {"connect": [], "sendto": [b"x"], "sendmsg": [[b"x"], [], 0]}[method]
        getattr(sender, method)(*arguments, ELSEWHERE)
    return "done"


def read(path):
    with open(path, "rb") as file:
        return "read" if file.read() else "empty"


def write(path):
    with open(path, "w") as file:
        file.write("x")
    return "done"


def tagged_path():
    """A pointer whose top byte the processor ignores, and the kernel too where it is asked to (prctl(2))."""
    LIBC.prctl(55, 1, 0, 0, 0)
    path = ctypes.create_string_buffer(SECRET)
    return by_number(OPENAT, HERE, ctypes.c_void_p(ctypes.addressof(path) | TAG), 0)


def text_of_libc(tag=0):
    address = ctypes.cast(LIBC.getppid, ctypes.c_void_p).value & ~4095
    return returned(LIBC.mprotect(address | tag, 4096, 7))


class Sites:
    """The library of sites.rs: system-call sites of its own, in text that is guarded or not."""

    def __init__(self, name):
        self.library = ctypes.CDLL(f"/var/task/{name}")

    def across(self, path):
        """Which registers a call changed (x1 to x30, nzcv and v0 to v31 in words), and its outcome."""
        before = (ctypes.c_uint64 * 96)(*(0x0101010101010101 * (index + 1) for index in range(96)))
        after = (ctypes.c_uint64 * 96)()
        path = ctypes.create_string_buffer(path)
        before[0], before[1], before[2] = -100 % 2**64, ctypes.addressof(path), 0
        before[8], before[31] = OPENAT, 0x6000_0000
        self.library.across(before, after)
        result = ctypes.c_int64(after[0]).value
        changed = [index for index in range(1, 96) if before[index] != after[index]]
        return [changed, "done" if result >= 0 else errno.errorcode[-result]]

    def beside(self):
        result = self.library.beside(ctypes.c_long(OPENAT), HERE, SECRET, 0)
        return "done" if result >= 0 else errno.errorcode[-result]

    def exec_on_a_small_stack(self):
        """A refused exec on the 5 KiB that musl's posix_spawn(3) gives its child: what was written below them."""
        below, stack = 64 << 10, 5 << 10
        area = (ctypes.c_char * (below + stack + 16))()
        top = (ctypes.addressof(area) + below + stack) & ~15
        arguments = (ctypes.c_char_p * 2)(b"sh", None)

        def fork():
            ctypes.memset(area, 0x5A, below)
            if self.library.exec_on(ctypes.c_void_p(top), b"/bin/sh", arguments, arguments) != -errno.EACCES:
                os._exit(201)
            touched = below - len(area.raw[:below]) + len(area.raw[:below].lstrip(b"Z"))
            os._exit(200 if touched <= 16 else 202)

        return child(fork)

    def astray(self):
        return child(lambda: os._exit(self.library.astray()))


def astray_in_libc():
    """Into the middle of a function of libc, by a pointer: a signal where libc's text is guarded."""
    address = ctypes.cast(LIBC.getppid, ctypes.c_void_p).value + 4
    return child(lambda: os._exit(ctypes.CFUNCTYPE(ctypes.c_int)(address)() and 1))


def sleeps(thread):
    with open(f"/proc/self/task/{thread}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "S"


def cancelled_thread():
    """A thread that is cancelled while it waits in a call: PTHREAD_CANCELED. Where a call is made elsewhere, for ever."""
    library = ctypes.CDLL("/var/task/libsites.so")
    thread, result = ctypes.c_ulong(), ctypes.c_void_p()
    before = set(os.listdir("/proc/self/task"))
    silent, other = socket.socketpair()
    with silent, other:
        argument = ctypes.c_void_p(silent.fileno())
        returned(LIBC.pthread_create(ctypes.byref(thread), None, library.wait_for_bytes, argument))
        new = set(os.listdir("/proc/self/task")) - before
        deadline = time.monotonic() + 30
        while not all(map(sleeps, new)) and time.monotonic() < deadline:
            pass
        returned(LIBC.pthread_cancel(thread))
        returned(LIBC.pthread_join(thread, ctypes.byref(result)))
    return result.value == 2**64 - 1


def threads_under_signals():
    """Six threads and a timer: calls are restarted, nobody gets another's result."""
    seen, wrong = [], []
    signal.signal(signal.SIGALRM, lambda *_: seen.append(1))

    def work(number):
        for _ in range(100):
            left, right = socket.socketpair()
            left.send(b"%d" % number)
            if right.recv(9) != b"%d" % number or read("/usr/bin/true") != "read":
                wrong.append(number)
            left.close()
            right.close()

    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    threads = [threading.Thread(target=work, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while not seen:
        signal.pause()
    signal.setitimer(signal.ITIMER_REAL, 0)
    return wrong


def connection_to_itself():
    with socket.create_server(("127.0.0.1", 8000)) as server:
        with socket.create_connection(server.getsockname()) as client:
            client.sendall(b"x")
            with server.accept()[0] as accepted:
                return accepted.recv(1).decode()


ACTIONS = {
    # First: the control run of `libc-made-writable` takes the guard off.
    "libc-astray": astray_in_libc,
    "exec": lambda: child(lambda: os.execv("/bin/sh", ["sh", "-c", "exit 200"])),
    "exec-by-libc": lambda: child(lambda: returned(LIBC.execl(b"/bin/sh", b"sh", b"-c", b"exit 200", None))),
    "exec-by-number": lambda: child(exec_by_number),
    "exec-from-memory": lambda: child(exec_from_memory),
    "exec-of-a-copy": lambda: child(exec_of_a_copy),
    "system": lambda: os.waitstatus_to_exitcode(os.system("exit 200")),
    "popen": lambda: subprocess.run(["/bin/sh", "-c", "exit 200"]).returncode,
    "connect": lambda: send("connect"),
    "sendto": lambda: send("sendto"),
    "sendmsg": lambda: send("sendmsg"),
    "open": lambda: read(SECRET),
    "fopen": lambda: "done" if LIBC.fopen(SECRET, b"r") else errno.errorcode[ctypes.get_errno()],
    "open-by-number": lambda: by_number(OPENAT, HERE, SECRET, 0),
    "open-by-a-long-number": lambda: by_number(ctypes.c_long((1 << 32) + OPENAT), HERE, SECRET, 0),
    "create": lambda: write("/var/task/locked/new"),
    "rename": lambda: os.rename("/var/task/locked/old", "/var/task/locked/older") or "done",
    "mkdir": lambda: os.mkdir("/var/task/locked/folder") or "done",
    "symlink": lambda: os.symlink("/", "/var/task/locked/link") or "done",
    "libc-made-writable": text_of_libc,
    "libc-made-writable-by-a-tag": lambda: text_of_libc(TAG),
    "ptrace": lambda: returned(LIBC.ptrace(16, os.getppid(), 0, 0)),
    "registers": lambda: Sites("libsites.so").across(b"/usr/bin/true"),
    "site-loaded-later": lambda: Sites("libsites.so").across(SECRET),
    "site-beside-a-branch": lambda: Sites("libsites.so").beside(),
    "exec-on-a-small-stack": lambda: Sites("libsites.so").exec_on_a_small_stack(),
    "guarded-registers": lambda: Sites("libguarded.so").across(b"/usr/bin/true"),
    "guarded-site": lambda: Sites("libguarded.so").across(SECRET),
    "guarded-astray": lambda: Sites("libguarded.so").astray(),
    "child": lambda: subprocess.run(["/usr/bin/true"], env={}).returncode,
    "child-reads": lambda: subprocess.run(["/usr/bin/cat", SECRET], env={}, capture_output=True).stdout.decode(),
    "cancelled-thread": cancelled_thread,
    "threads": threads_under_signals,
    "connection": connection_to_itself,
    # Last: with it the kernel takes tagged pointers from this process.
    "open-by-a-tag": tagged_path,
}

for name in sys.argv[1:] or ACTIONS:
    try:
        outcome = ACTIONS[name]()
    except OSError as error:
        outcome = errno.errorcode.get(error.errno, str(error))
    print(json.dumps([name, outcome]), flush=True)

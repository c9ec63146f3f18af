"""Words for the snippets of remembered.rs. `FOLDER` is replaced by the folder that they play in."""

import ctypes
import mmap
import os
import struct
import subprocess
import sys
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)
os.chdir("FOLDER")


def often(path):
    """Opens it as often as it takes to be remembered, and some."""
    for _ in range(6):
        os.close(os.open(path, os.O_RDONLY))


def show(path):
    """Says what is in it. Tried several times: of a path that is opened for the first time the name is always asked for."""
    for _ in range(4):
        try:
            return print("read", open(path).read(), flush=True)
        except PermissionError:
            pass
    print("denied", flush=True)


def put(path):
    with open(path, "w") as file:
        file.write("secret")


def settled(path):
    """Waits until its last change is two seconds old."""
    while time.time() < os.stat(path).st_ctime + 2.1:
        time.sleep(0.05)


def call(number, *arguments):
    """A system call by an instruction of its own, past libc and what is in it."""
    area = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    area.write(bytes.fromhex("4889f84889f74889d64889ca4d89c24d89c84c8b4c24080f05c3"))
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    texts = [ctypes.create_string_buffer(a) if isinstance(a, bytes) else a for a in arguments]
    numbers = [a if isinstance(a, int) else ctypes.addressof(a) for a in texts]
    result = ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_long] * 7)(address)(number, *numbers, *[0] * (6 - len(numbers)))
    assert result >= 0, os.strerror(-result)
    return result


def swapped(one, other):
    """The arguments of renameat2(2) with RENAME_EXCHANGE."""
    return -100, one, -100, other, 2


def swap(link, target):
    os.unlink(link)
    os.symlink(target, link)


def again(path):
    """Deletes a file and makes others that may not be read, until one has its inode; gives that one, or the last."""
    inode = os.stat(path).st_ino
    os.unlink(path)
    for number in range(200):
        new = "kept/made%d" % number
        put(new)
        if os.stat(new).st_ino == inode:
            break
    return new


def mapped(path):
    with open(path, "r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    memory[:1] = b"p"
    return memory


def thread(work, *arguments):
    one = threading.Thread(target=work, args=arguments)
    one.start()
    one.join()


def later(work, *arguments):
    """A fork that does it when the function that is returned is called."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        try:
            work(*arguments)
        finally:
            os._exit(0)

    def go():
        os.write(writer, b"x")
        os.waitpid(child, 0)

    return go


def forked(work, *arguments):
    later(work, *arguments)()


def mount(source, target, kind=None, flags=0x1000):
    if libc.mount(source.encode(), target.encode(), kind, flags, None) != 0:
        print("not here")
        sys.exit(os.strerror(ctypes.get_errno()))


def alone():
    """A mount name space of its own, by a call that nothing sees: unshare(2) by libc is refused."""
    result = call(272, 0x20000, 0)
    if result != 0:
        print("not here")
        sys.exit("unshare: " + os.strerror(-result))
    mount("none", "/", None, 0x44000)


def read_only(folder):
    """Mounts it over itself, to be read only."""
    mount(folder, folder)
    mount("none", folder, None, 0x1021)


def hide_proc():
    mount("none", "/proc", b"tmpfs", 0)


def turn():
    """Waits for another phase."""
    open("turn", "w").close()
    while os.path.exists("turn"):
        time.sleep(0.01)

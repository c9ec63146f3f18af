"""A sampler reads the memory of its own process by process_vm_readv(2), as profilers do."""
import ctypes
import os

LIBC = ctypes.CDLL("libc.so.6")


class Piece(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def handler(event, context):
    source, target = ctypes.create_string_buffer(b"data"), ctypes.create_string_buffer(5)
    local, remote = Piece(ctypes.addressof(target), 4), Piece(ctypes.addressof(source), 4)
    read = [LIBC.process_vm_readv(os.getpid(), ctypes.byref(local), 1, ctypes.byref(remote), 1, 0) for _ in range(50)]
    return {"read": sum(read), "data": target.value.decode()}

"""Native wheels: Rust, C++ with system calls of its own (gRPC), an event loop in C, a foreign function interface."""

import asyncio
import ctypes
from concurrent.futures import ThreadPoolExecutor

import cffi
import grpc
import orjson
import uvloop
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from lxml import etree
from pydantic import BaseModel


class Order(BaseModel):
    id: int
    tags: list[str]


def echo(data, context):
    return data[::-1]


def served():
    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/test.Echo/Echo")
        answers = [call(f"call {n}".encode(), timeout=10).decode() for n in range(20)]
    server.stop(None).wait(5)
    return answers


async def echo_once():
    async def answer(reader, writer):
        writer.write(await reader.read(16))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"uvloop")
    text = (await reader.read()).decode()
    server.close()
    return text


def in_uvloop():
    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(echo_once())
    finally:
        loop.close()


def handler(event, context):
    key, signer = Fernet.generate_key(), ed25519.Ed25519PrivateKey.generate()
    signer.public_key().verify(signer.sign(b"text"), b"text")
    digest = hashes.Hash(hashes.SHA256())
    digest.update(b"text")
    ffi = cffi.FFI()
    ffi.cdef("int getpid(void); long labs(long);")
    return {
        "fernet": Fernet(key).decrypt(Fernet(key).encrypt(b"text")).decode(), "digest": digest.finalize().hex(),
        "rsa": rsa.generate_private_key(65537, 2048).key_size, "json": orjson.loads(orjson.dumps({"a": [1, None]})),
        "xml": etree.fromstring(b"<a><b>1</b></a>").xpath("//b/text()"), "order": Order(id="3", tags=["x"]).model_dump(),
        "grpc": served(), "uvloop": in_uvloop(), "cffi": ffi.dlopen(None).labs(-3), "ctypes": ctypes.CDLL(None).labs(-4),
    }

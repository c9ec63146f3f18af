"""asyncio: servers and clients on loopback, datagrams, subprocesses, executors, signals, timeouts."""

import asyncio
import os
import signal


async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line[::-1])
        await writer.drain()
    writer.close()


async def client(port, number):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{number:03}\n".encode())
    writer.write_eof()
    text = (await reader.read()).decode()
    writer.close()
    return text


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, arrived):
        self.arrived = arrived

    def datagram_received(self, data, source):
        self.arrived.set_result(data.decode())


async def datagram():
    loop = asyncio.get_running_loop()
    arrived = loop.create_future()
    receiver, _ = await loop.create_datagram_endpoint(lambda: Datagrams(arrived), local_addr=("127.0.0.1", 0))
    sender, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=receiver.get_extra_info("sockname"))
    sender.sendto(b"over")
    text = await asyncio.wait_for(arrived, 5)
    sender.close()
    receiver.close()
    return text


async def child():
    process = await asyncio.create_subprocess_exec("/usr/bin/cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate(b"through cat")
    return [output.decode(), process.returncode]


async def killed_child():
    process = await asyncio.create_subprocess_exec("/usr/bin/cat", stdin=asyncio.subprocess.PIPE)
    process.terminate()
    return await process.wait()


async def signalled():
    loop, arrived = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, arrived.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.wait_for(arrived.wait(), 5)
    loop.remove_signal_handler(signal.SIGUSR1)
    return True


async def timed_out():
    try:
        await asyncio.wait_for(asyncio.sleep(10), 0.05)
    except asyncio.TimeoutError:
        return True


async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=256)
    port = server.sockets[0].getsockname()[1]
    async with server:
        answers = await asyncio.gather(*(client(port, number) for number in range(100)))
    loop = asyncio.get_running_loop()
    return {
        "answers": answers, "datagram": await datagram(), "children": await asyncio.gather(*(child() for _ in range(5))),
        "killed": await killed_child(), "signal": await signalled(), "timeout": await timed_out(),
        "executor": await loop.run_in_executor(None, lambda: sum(range(100))),
        "localhost": sorted({entry[4][0] for entry in await loop.getaddrinfo("localhost", 80)}),
    }


def handler(event, context):
    return asyncio.run(main())

"""64 threads that connect at once to a server on loopback, daemon threads, locals, timers, forks while threads run."""

import os
import socket
import socketserver
import threading
import time


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline().upper())


class Server(socketserver.ThreadingTCPServer):
    request_queue_size = 128
    daemon_threads = True


server = Server(("127.0.0.1", 0), Echo)
threading.Thread(target=server.serve_forever, daemon=True).start()
beats = []


def beat():
    while True:
        beats.append(1)
        time.sleep(0.01)


threading.Thread(target=beat, daemon=True).start()


def ask(number, barrier, answers):
    barrier.wait()
    with socket.create_connection(server.server_address, 10) as connection:
        connection.sendall(f"number {number}\n".encode())
        answers[number] = connection.makefile().readline().strip()


def at_once(count):
    barrier, answers = threading.Barrier(count), {}
    threads = [threading.Thread(target=ask, args=(number, barrier, answers)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(answers.values())


def datagrams():
    """UDP there and back, with and without a connected socket, with sendmsg and ancillary data."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two:
        one.bind(("127.0.0.1", 0))
        one.settimeout(5)
        two.sendto(b"first", one.getsockname())
        two.sendmsg([b"sec", b"ond"], [], 0, one.getsockname())
        two.connect(one.getsockname())
        two.send(b"third")
        return [one.recv(16).decode() for _ in range(3)]


def unix_server():
    path = "/tmp/echo.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            connection, _ = listener.accept()
            with connection:
                client.sendall(b"local")
                text = connection.recv(16).decode()
    os.unlink(path)
    return text


def refused():
    """A port that nobody listens on gives the error that it always gives."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    try:
        socket.create_connection(("127.0.0.1", port), 2)
    except OSError as error:
        return error.errno


def not_blocking():
    with socket.socket() as client:
        client.setblocking(False)
        first = client.connect_ex(server.server_address)
        for _ in range(200):
            if client.connect_ex(server.server_address) in (0, 106):
                break
            time.sleep(0.01)
        client.setblocking(True)
        client.sendall(b"late\n")
        return [first in (0, 115), client.recv(16).decode()]


def time_out():
    """A connect that nobody answers ends when its time is over: a full backlog."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        held = []
        for _ in range(4):
            client = socket.socket()
            client.settimeout(0.2)
            held.append(client)
            try:
                client.connect(listener.getsockname())
            except socket.timeout:      # TimeoutError by another name from Python 3.10 on
                return "timed out"
            finally:
                if len(held) == 4:
                    for one in held:
                        one.close()
    return "never"


def handler(event, context):
    before = len(beats)
    answers = at_once(64)
    time.sleep(0.05)
    return {
        "answers": answers, "datagrams": datagrams(), "unix": unix_server(),
        "refused": refused(), "not blocking": not_blocking(), "time out": time_out(), "beats": len(beats) > before,
    }

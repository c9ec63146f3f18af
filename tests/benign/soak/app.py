"""A bit of everything at each event, allowed and refused: what an environment does that lives for hours."""

import os
import socket
import subprocess
import threading

# Files of init stay, so an environment may carry many that nobody touches.
os.makedirs("/tmp/idle", exist_ok=True)
for number in range(int(os.environ.get("IDLE_FILES", "0"))):
    os.close(os.open(f"/tmp/idle/{number}", os.O_CREAT | os.O_WRONLY, 0o600))


def refused(call):
    try:
        call()
    except OSError as error:
        return error.errno


def datagram():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        receiver.bind(("127.0.0.1", 0))
        sender.sendto(b"x", receiver.getsockname())
        return receiver.recv(8).decode()


def stream():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname(), timeout=10) as client, listener.accept()[0] as server:
            client.sendall(b"y")
            return server.recv(8).decode()


def in_a_thread(work):
    made = []
    thread = threading.Thread(target=lambda: made.append(work()))
    thread.start()
    thread.join()
    return made


def handler(event, context):
    with open(f"/tmp/left-{context.aws_request_id}", "w") as file:
        file.write("wiped after the invocation")
    return {
        "child": subprocess.run(["/usr/bin/cat", "/etc/hostname"], capture_output=True).returncode,
        "refused child": refused(lambda: subprocess.run(["/usr/bin/id"])),
        "refused host": refused(lambda: socket.create_connection(("203.0.113.1", 80), timeout=5)),
        "refused name": refused(lambda: socket.getaddrinfo("attacker.example", 80)) is not None,
        "thread": in_a_thread(stream), "datagram": datagram(),
        "left": len([name for name in os.listdir("/tmp") if name.startswith("left-")]),
    }

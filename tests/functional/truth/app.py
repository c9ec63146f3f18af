"""Plays the steps that the event names, and says of each whether it got through. Steps are parted by ";"."""

import ctypes
import os
import pickle
import signal
import socket
import subprocess
import sys
import time

HOLD = 0.5  # long enough for what looks at connections from outside


def execute(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    return "killed" if done.returncode == -signal.SIGKILL else done.stdout.strip()


def spawn(*argv):
    subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    time.sleep(0.05)
    return "through"


def connect(address, port):
    with socket.create_connection((address, int(port)), timeout=5):
        time.sleep(HOLD)
    return "through"


def resolve(name):
    socket.getaddrinfo(name, 443)
    return "through"


def bind(address, port):
    with socket.socket() as listener:
        listener.bind((address, int(port)))
        listener.listen()
        time.sleep(HOLD)
    return "through"


def api():
    host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"GET /truth HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return "through" if connection.recv(1) else "closed"


def read(path):
    with open(path, "rb") as file:
        return "through" if file.read(1) else "empty"


def write(path):
    with open(path, "wb") as file:
        file.write(b"x")
    return "through"


def getenv(name):
    return "through" if os.environ.get(name) else "absent"


def evaluate(text):
    return eval(text)


class Payload:
    def __reduce__(self):
        return os.getcwd, ()


def deserialize():
    return "through" if pickle.loads(pickle.dumps(Payload())) else "empty"


def native():
    return "through" if ctypes.CDLL(None).getpid() == os.getpid() else "empty"


def imports(path):
    sys.path.insert(0, path)
    sys.dont_write_bytecode = True
    try:
        import planted
    finally:
        sys.path.remove(path)
    return planted.WORD


def plant(path):
    with open(path, "w") as file:
        file.write("WORD = 'through'\n")
    return "through"


STEPS = {
    "exec": execute, "spawn": spawn, "connect": connect, "resolve": resolve, "bind": bind, "api": api, "read": read,
    "write": write, "getenv": getenv, "evaluate": evaluate, "deserialize": deserialize, "native": native,
    "imports": imports, "plant": plant,
}


def steps(words):
    step = []
    for word in [*words, ";"]:
        if word != ";":
            step.append(word)
        elif step:
            yield step
            step = []


def attempt(name, *arguments):
    try:
        return str(STEPS[name](*arguments))
    except Exception as fault:
        return f"{type(fault).__name__}: {fault}"[:120]


def handler(event, context):
    return {"results": [attempt(*step) for step in steps(event["steps"])]}

"""Processes without an exec: os.fork, multiprocessing as far as Lambda lets it, pools of threads; exit codes, pipes, signals."""

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed


def square(pipe, number):
    pipe.send(number * number)
    pipe.close()


def processes():
    context = multiprocessing.get_context("fork")
    pairs = []
    for number in range(8):
        here, there = context.Pipe()
        child = context.Process(target=square, args=(there, number))
        child.start()
        pairs.append((here, child))
    answers = [here.recv() for here, _ in pairs]
    for _, child in pairs:
        child.join(10)
    return [answers, [child.exitcode for _, child in pairs]]


def semaphores():
    """Lambda has no /dev/shm, so a pool of processes cannot be made there."""
    try:
        multiprocessing.Pool(2).close()
    except OSError as error:
        return error.errno


def forked(work):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 9
        try:
            os.write(write, str(work()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    return [text, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]


def writes_and_connects():
    import socket
    with open(f"/tmp/child-{os.getpid()}", "w") as file:
        file.write("x")
    os.unlink(file.name)
    with socket.socket() as listener, socket.socket() as client:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.connect(listener.getsockname())
        return "connected"


def grandchild():
    return forked(lambda: sum(range(10)))


def by_signal(number):
    child = os.fork()
    if child == 0:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        time.sleep(10)
        os._exit(9)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fault():
    """A child that reads from nowhere ends by SIGSEGV, not in a handler of the layer."""
    child = os.fork()
    if child == 0:
        ctypes.string_at(0)
        os._exit(9)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def handlers():
    """Handlers are kept, called, and called on the thread that they belong to; an alarm interrupts a sleep."""
    seen = []
    previous = {number: signal.signal(number, lambda number, _: seen.append(int(number))) for number in
                (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGHUP)}
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        os.kill(os.getpid(), number)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    time.sleep(0.2)
    for number, handler in previous.items():
        signal.signal(number, handler)
    return sorted(seen)


def interrupted_connects():
    """Connects under a storm of signals succeed as they do without it (PEP 475)."""
    import socket
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(128)
            for _ in range(100):
                with socket.create_connection(listener.getsockname(), 5) as client, listener.accept()[0] as other:
                    client.sendall(b"x")
                    assert other.recv(1) == b"x"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    return True


def handler(event, context):
    with ThreadPoolExecutor(32) as pool:
        futures = [pool.submit(pow, number, 2) for number in range(100)]
        threads = sorted(future.result() for future in as_completed(futures))
    return {
        "processes": processes(), "semaphores": semaphores(), "threads": threads, "forked": forked(lambda: 6 * 7),
        "busy child": forked(writes_and_connects), "grandchild": forked(grandchild), "failing": forked(lambda: 1 / 0),
        "terminated": by_signal(signal.SIGTERM), "aborted": by_signal(signal.SIGABRT), "fault": fault(), "handlers": handlers(),
        "storm": interrupted_connects(), "recursion": sys.getrecursionlimit(),
    }

"""Processes as Python programs make them: by each way to start, in pools, by joblib, and a worker that outlives its task."""

import concurrent.futures
import multiprocessing
import os
import subprocess
import sys
import threading

import joblib


def square(number):
    return number * number


def served(pipe):
    """A worker of a queue: it takes tasks until there is none."""
    for number in iter(pipe.recv, None):
        pipe.send(square(number))


def attempt(work):
    try:
        return work()
    except Exception as error:
        return f"{type(error).__name__} {getattr(error, 'errno', '')}"


def by_process(method):
    context = multiprocessing.get_context(method)
    here, there = context.Pipe()
    worker = context.Process(target=served, args=(there,))
    worker.start()
    answers = []
    for number in range(3):
        here.send(number)
        # A spawned interpreter takes its time to load.
        answers.append(here.recv() if here.poll(30) else "nothing came")
    here.send(None)
    worker.join(30)
    return [answers, worker.exitcode]


def by_pool():
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        return list(pool.map(square, range(4)))


def by_joblib(backend):
    return joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(square)(number) for number in range(4))


def by_thread():
    found = []
    threads = [threading.Thread(target=lambda: found.append(subprocess.check_output([sys.executable, "-c", "print(6 * 7)"]))) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return [int(each) for each in found]


def handler(event, context):
    answers = {method: attempt(lambda: by_process(method)) for method in ("fork", "spawn", "forkserver")}
    answers |= {"pool": attempt(by_pool), "threads": attempt(by_thread)}
    answers |= {backend: attempt(lambda: by_joblib(backend)) for backend in ("threading", "multiprocessing", "loky")}
    # What Python itself keeps for the next time ends with the task here.
    for name in ("multiprocessing.forkserver", "multiprocessing.resource_tracker"):
        module = sys.modules.get(name)
        server = getattr(module, "_forkserver", None) or getattr(module, "_resource_tracker", None)
        if server is not None and hasattr(server, "_stop"):
            attempt(server._stop)
    return answers

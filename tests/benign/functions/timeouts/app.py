"""An event that takes too long, and one in which the process ends: the environments after them answer, and are protected."""

import os
import socket
import time

started = time.time()
count = 0


def handler(event, context):
    global count
    count += 1
    if event["do"] == "sleep":
        time.sleep(30)
    if event["do"] == "exit":
        os._exit(7)
    with socket.socket() as listener, socket.socket() as client:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.connect(listener.getsockname())
    return {"count": count}

"""Redis through its usual client, against a real server that the function starts on loopback."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import redis

command = ["/usr/bin/redis-server", "--port", "6380", "--bind", "127.0.0.1", "--save", "", "--dir", "/tmp"]
server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
store = redis.Redis(port=6380, decode_responses=True)


def wait_for_server():
    for _ in range(100):
        try:
            return store.ping()
        except (redis.ConnectionError, redis.BusyLoadingError):
            time.sleep(0.1)


def handler(event, context):
    wait_for_server()
    with store.pipeline() as pipe:
        answers = pipe.set("a", 1).incr("a").get("a").execute()
    subscription = store.pubsub()
    subscription.subscribe("news")
    subscription.get_message(timeout=5)
    store.publish("news", "x")
    message = subscription.get_message(timeout=5)["data"]
    subscription.close()
    store.set("count", 0)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: store.incr("count"), range(200)))
    return {"answers": answers, "message": message, "count": store.get("count"), "ended": server.poll()}

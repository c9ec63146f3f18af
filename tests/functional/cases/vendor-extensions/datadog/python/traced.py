"""The vendor's handler: tells the extension of the beginning and the end, and counts by statsd."""
import http.client, importlib, json, os, socket
module, _, name = os.environ["DD_LAMBDA_HANDLER"].rpartition(".")
wrapped = getattr(importlib.import_module(module), name)


def told(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, {"Content-Type": "application/json"})
    return json.loads(connection.getresponse().read())


def counted():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as metrics:
        metrics.settimeout(20)
        metrics.connect(("127.0.0.1", 8125))
        metrics.send(b"invocations:1|c|#runtime:python")
        return metrics.recv(16).decode()


def handler(event, context):
    told(8124, "POST", "/lambda/start-invocation", json.dumps(event))
    metric = counted()
    answer = wrapped(event, context)
    told(8126, "POST", "/v0.4/traces", "[]")
    told(8124, "POST", "/lambda/end-invocation", json.dumps(answer))
    return {"answer": answer, "metric": metric, "told": told(8124, "GET", "/")}

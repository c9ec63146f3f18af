"""A function whose process registers as an extension too, and keeps a connection of its own for that."""
import http.client
import os
import threading

API = os.environ["AWS_LAMBDA_RUNTIME_API"]
BASE = "/2020-01-01/extension/"


def follow(connection, identifier):
    while True:
        connection.request("GET", BASE + "event/next", headers={"Lambda-Extension-Identifier": identifier})
        connection.getresponse().read()


def register():
    connection = http.client.HTTPConnection(API)
    connection.request("POST", BASE + "register", '{"events": ["INVOKE"]}', {"Lambda-Extension-Name": "internal"})
    answer = connection.getresponse()
    answer.read()
    identifier = answer.headers["Lambda-Extension-Identifier"]
    threading.Thread(target=follow, args=(connection, identifier), daemon=True).start()


register()


def handler(event, context):
    if not event.get("steal"):
        return {"answered": True}
    try:
        thief = http.client.HTTPConnection(API, timeout=2)
        thief.request("POST", "/2018-06-01/runtime/invocation/%s/response" % context.aws_request_id, "{}")
        return {"stolen": thief.getresponse().status}
    except OSError as error:
        return {"refused": type(error).__name__}

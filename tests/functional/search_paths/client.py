"""Does for the paths what Lambda's own bootstrap for Python does, then serves events: the managed runtime's double for tests."""

import json
import os
import site
import sys
import urllib.request

TASK = os.environ["LAMBDA_TASK_ROOT"]
API = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/"
LAYERS = ["/opt/python/lib/python%d.%d/site-packages" % sys.version_info[:2], "/opt/python"]


def post(path, value):
    request = urllib.request.Request(API + path, json.dumps(value).encode(), method="POST")
    urllib.request.urlopen(request).read()


def serve(handler):
    while True:
        with urllib.request.urlopen(API + "invocation/next") as event:
            request, body = event.headers["Lambda-Runtime-Aws-Request-Id"], json.load(event)
        post("invocation/%s/response" % request, handler(body, None))


# Not in the processes that multiprocessing starts.
if __name__ == "__main__":
    # Only where the variable is absent: an empty one counts as set.
    folders = [TASK] + (LAYERS if "PYTHONPATH" not in os.environ else [])
    sys.path[:0] = folders
    for folder in folders:
        site.addsitedir(folder)
    os.environ["PYTHONPATH"] = "/var/runtime"
    serve(__import__("app").handler)

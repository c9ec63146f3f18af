"""An application for uvicorn (ASGI) and one for gunicorn (WSGI), which forks workers."""

import json
import os


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json"), (b"date", b"-")]})
    await send({"type": "http.response.body", "body": body(scope["path"]).encode()})


def wsgi(environ, start):
    start("200 OK", [("Content-Type", "application/json")])
    return [body(environ["PATH_INFO"]).encode()]


def body(path):
    return json.dumps({"path": path, "tmp": sorted(os.listdir("/tmp"))})

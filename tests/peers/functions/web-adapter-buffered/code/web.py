"""A web server as functions behind an adapter have it: it keeps a file of its start in /tmp and never ends."""

import http.server
import json
import os

with open("/tmp/templates.cache", "w") as file:
    file.write("built at start")
COUNT = 0


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        global COUNT
        if self.path == "/":  # the adapter asks whether the server is ready
            body = b"ready"
        else:
            COUNT += 1
            with open("/tmp/uploads", "a") as file:
                file.write("x")
            size = os.path.getsize("/tmp/uploads")
            body = json.dumps({"count": COUNT, "size": size, "tmp": sorted(os.listdir("/tmp"))}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def date_time_string(self, timestamp=None):
        return "Mon, 01 Jan 2024 00:00:00 GMT"

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Handler).serve_forever()

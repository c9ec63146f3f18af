"""A web server as functions behind an adapter have it: it keeps a file of its start in /tmp and never ends.

Each answer names the files in /tmp. In the adapter's streaming mode it comes in pieces.
"""

import http.server
import json
import os

with open("/tmp/templates.cache", "w") as file:
    file.write("built at start")
PIECES = os.environ["AWS_LWA_INVOKE_MODE"] == "response_stream"
COUNT = 0


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: two would wait 40 ms for the peer's delayed acknowledgement
    disable_nagle_algorithm = True

    def do_GET(self):
        global COUNT
        if self.path == "/":  # the adapter asks whether the server is ready
            return self.answer(b"ready")
        COUNT += 1
        with open("/tmp/uploads", "a") as file:
            file.write("x")
        size = os.path.getsize("/tmp/uploads")
        return self.answer(json.dumps({"count": COUNT, "size": size, "tmp": sorted(os.listdir("/tmp"))}).encode())

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        if not PIECES:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(body), 16):
            piece = body[start:start + 16]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def date_time_string(self, timestamp=None):
        return "Mon, 01 Jan 2024 00:00:00 GMT"

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Handler).serve_forever()

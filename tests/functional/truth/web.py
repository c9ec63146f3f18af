"""A web server that plays the steps which are posted to it: the function behind a web adapter."""

import http.server
import json
import os

import app


class Page(http.server.BaseHTTPRequestHandler):
    def answer(self, body):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(b"ok")

    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.answer(json.dumps(app.handler(event, None)).encode())

    def log_message(self, *arguments):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8080"))), Page).serve_forever()

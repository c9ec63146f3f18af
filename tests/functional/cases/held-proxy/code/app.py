"""What a forged request and a child try at the proxy in front of the Runtime API."""
import http.client
import subprocess

PROXY = "127.0.0.1:9002"


def forged(path):
    try:
        connection = http.client.HTTPConnection(PROXY, timeout=2)
        connection.request("POST", path, '{"stolen": true}')
        return connection.getresponse().status
    except OSError as error:
        return type(error).__name__


def handler(event, context):
    path = "/2018-06-01/runtime/invocation/%s/response" % context.aws_request_id
    if event.get("by") == "runtime":
        return {"forged": forged(path)}
    if event.get("by") == "child":
        command = ["/usr/bin/curl", "-sS", "-m", "2", "-X", "POST", "http://" + PROXY + path, "-d", '{"stolen": true}']
        return {"child": subprocess.run(command, capture_output=True).returncode}
    return {"answered": bool(context.aws_request_id)}

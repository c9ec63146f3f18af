"""The layer under the AWS Runtime Interface Emulator: an independent implementation of the Lambda service.

Classic mode (Extensions API, telemetry answered with 202 NotSupported, shutdown after a timeout) and managed-instances
mode (SHUTDOWN only, real telemetry, uid 993). Run by scripts/test as
`emulator.py --emulator FILE --layer ZIP --client FOLDER`, where FOLDER holds awslambdaric. The tests start
themselves again in name spaces of their own: nothing outside is touched or reached.
"""

import argparse
import array
import ctypes
import fcntl
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile

OPTIONS = None
# For what takes a fraction of a second on a machine that nobody else uses.
PATIENCE_SECONDS = 60
FUNCTION = '''
import json, os, subprocess, time

def handler(event, context):
    if event.get("do") == "shell":
        try:
            return {"out": subprocess.run(["/bin/sh", "-c", "echo escaped"], capture_output=True, text=True).stdout}
        except OSError as error:
            return {"error": type(error).__name__}
    if event.get("do") == "sleep":
        time.sleep(3600)
    return {"hello": event.get("name"), "uid": os.getuid()}
'''
POLICY = '''
version = 1
mode = "enforce"
[process]
allow = []
shells = "deny"
'''
PYTHON = "/usr/bin/python3"


def enter_namespaces():
    """Moves this process into mount and network name spaces of its own (and a user one where it is not root)."""
    flags = ["--mount", "--net", "--fork", "--pid", "--kill-child"]
    if os.getuid() != 0:
        flags = ["--user", "--map-root-user", *flags]
    arguments = ["unshare", *flags, sys.executable, __file__, "--inside", *sys.argv[1:]]
    os.execvp("unshare", arguments)


def mount(source, target, kind=None, flags=0, data=None):
    """mount(2), since a bare machine's mount(8) reads files that the new name space does not have."""
    libc = ctypes.CDLL(None, use_errno=True)
    encoded = [None if value is None else str(value).encode() for value in (source, target, kind)]
    if libc.mount(*encoded, flags, None if data is None else data.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source} on {target}: {os.strerror(number)}")


def loopback_up():
    """Brings lo up: ioctl SIOCSIFFLAGS, netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", b"lo", 0x1 | 0x40)
        fcntl.ioctl(control, 0x8914, request)


def build_world(scratch):
    """Lays out /opt, /var/task, /var/runtime and /tmp as Lambda has them."""
    bind, private, recursive = 4096, 1 << 18, 16384
    mount("none", "/", flags=recursive | private)
    mount("proc", "/proc", "proc")
    loopback_up()
    opt = scratch / "opt"
    with zipfile.ZipFile(OPTIONS.layer) as archive:
        for info in archive.infolist():
            archive.extract(info, opt)
            os.chmod(opt / info.filename, (info.external_attr >> 16) & 0o777)
    task = scratch / "task"
    task.mkdir()
    (task / "app.py").write_text(FUNCTION)
    (task / "policy.toml").write_text(POLICY)
    shutil.copytree(OPTIONS.client, scratch / "client")
    shutil.copy(OPTIONS.emulator, scratch / "emulator")
    (scratch / "emulator").chmod(0o755)
    bootstrap = scratch / "runtime" / "bootstrap"
    bootstrap.parent.mkdir()
    bootstrap.write_text(
        "#!/bin/sh\nexport PYTHONPATH=/var/client:/var/task\ncd /var/task\n"
        f'exec /opt/ringfence-exec {PYTHON} -m awslambdaric "${{_HANDLER:-app.handler}}"\n'
    )
    bootstrap.chmod(0o755)
    for folder in [scratch, *(path for path in scratch.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)
    mount(scratch, "/mnt", flags=bind | recursive)
    mount("tmpfs", "/var", "tmpfs", data="mode=0755")
    for name in ("task", "runtime", "client"):
        os.mkdir(f"/var/{name}")
        mount(f"/mnt/{name}", f"/var/{name}", flags=bind)
    mount("/mnt/opt", "/opt", flags=bind)
    mount("tmpfs", "/tmp", "tmpfs", data="mode=1777")


class Emulator:
    """A running emulator and what it printed."""

    def __init__(self, managed=False, timeout=PATIENCE_SECONDS):
        self.log = tempfile.TemporaryFile(dir="/var")
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": "/var/client:/var/task",
            "_HANDLER": "app.handler",
            "AWS_LAMBDA_FUNCTION_NAME": "emulated",
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout),
            "AWS_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "ASIARINGFENCETEST000",
            "AWS_SECRET_ACCESS_KEY": "emulator-secret-key",
            "AWS_SESSION_TOKEN": "emulator-session-token",
        }
        command = ["/mnt/emulator", "--runtime-interface-emulator-address", "127.0.0.1:8080"]
        command += ["--runtime-api-address", "127.0.0.1:9001"]
        demote = ["setpriv", "--reuid", "993", "--regid", "990", "--clear-groups", "--no-new-privs"]
        if managed:
            environment["AWS_LAMBDA_MAX_CONCURRENCY"] = "2"
            demote = []
        else:
            command += ["/opt/ringfence-exec", PYTHON, "-m", "awslambdaric", "app.handler"]
            if os.environ.get("RINGFENCE_TEST_NOT_ROOT"):
                demote = []
        self.process = subprocess.Popen(
            demote + command, cwd="/var/task", env=environment, stdout=self.log, stderr=self.log
        )
        self.wait_for_port()

    def wait_for_port(self):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", 8080)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("the emulator did not listen in time: " + self.output())

    def invoke(self, event):
        """The answer. A Managed Instance whose workers are all busy, or not up yet, answers that it is not available."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = self.invoke_once(event)
            if answer != {"errorType": "Runtime.Unavailable"} or time.monotonic() > deadline:
                return answer
            time.sleep(0.02)

    def invoke_once(self, event):
        connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=2 * PATIENCE_SECONDS)
        connection.request("POST", "/2015-03-31/functions/function/invocations", json.dumps(event))
        try:
            body = connection.getresponse().read()
        except TimeoutError:
            raise AssertionError(f"the emulator does not answer {event}:\n{self.output()}") from None
        connection.close()
        return json.loads(body) if body.startswith(b"{") else body.decode()

    def output(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def records(self, kind):
        found = []
        for line in self.output().splitlines():
            start = line.find('{"timestamp"')
            if start >= 0:
                try:
                    record = json.loads(line[start:])
                except ValueError:
                    continue
                if record.get("ringfence", {}).get("kind") == kind:
                    found.append(record)
        return found

    def await_record(self, kind):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if found := self.records(kind):
                return found
            time.sleep(0.02)
        raise AssertionError(f"no {kind} record in time in:\n{self.output()}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class Classic(unittest.TestCase):
    def setUp(self):
        self.emulator = Emulator()
        self.addCleanup(self.emulator.stop)

    def test_the_function_answers_and_the_protection_is_reported(self):
        self.assertEqual(self.emulator.invoke({"name": "Ada"})["hello"], "Ada")
        record = self.emulator.await_record("protection")[0]
        self.assertIn("rules", record["ringfence"])

    def test_a_shell_is_blocked_and_the_record_names_the_request(self):
        self.assertEqual(self.emulator.invoke({"do": "shell"}), {"error": "PermissionError"})
        records = [record["ringfence"] for record in self.emulator.await_record("violation")]
        record = records[0]
        self.assertEqual((record["action"], record["verdict"]), ("exec", "blocked"), records)
        self.assertTrue(record["invocation"]["requestId"])
        self.assertEqual(record["subject"]["path"], "/bin/sh")

    def test_shutdown_is_answered_within_its_deadline(self):
        """Lambda gives extensions 2 s in all. A busy machine may need them itself, so one try of many counts."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        took = self.shut_down()
        while took >= 2.0 and time.monotonic() < deadline:
            self.emulator = Emulator()
            self.addCleanup(self.emulator.stop)
            took = self.shut_down()
        self.assertLess(took, 2.0)
        self.assertEqual(len(self.emulator.records("summary")), 1)

    def shut_down(self):
        self.emulator.invoke({"name": "Ada"})
        begun = time.monotonic()
        self.emulator.process.send_signal(signal.SIGTERM)
        self.emulator.process.wait(timeout=PATIENCE_SECONDS)
        return time.monotonic() - begun


class Timeouts(unittest.TestCase):
    def setUp(self):
        self.emulator = Emulator(timeout=3)
        self.addCleanup(self.emulator.stop)

    def invoke_in_time(self, event):
        """The answer; where a busy machine let the time run out, that of a further try."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "timed out" in str(answer := self.emulator.invoke(event)) and time.monotonic() < deadline:
            pass
        return answer

    def test_a_timeout_resets_the_environment_and_the_next_one_is_protected(self):
        self.assertIn("timed out", str(self.emulator.invoke({"do": "sleep"})))
        self.assertEqual(self.invoke_in_time({"name": "Grace"})["hello"], "Grace")
        self.assertEqual(self.invoke_in_time({"do": "shell"}), {"error": "PermissionError"})
        self.assertGreaterEqual(len(self.emulator.await_record("summary")), 1)


class ManagedInstances(unittest.TestCase):
    def setUp(self):
        self.emulator = Emulator(managed=True)
        self.addCleanup(self.emulator.stop)

    def test_the_function_answers_and_violations_appear(self):
        answer = self.emulator.invoke({"name": "Ada"})
        self.assertEqual(answer, {"hello": "Ada", "uid": 993}, self.emulator.output())
        self.assertEqual(self.emulator.invoke({"do": "shell"}), {"error": "PermissionError"})
        self.emulator.await_record("protection")
        record = self.emulator.await_record("violation")[0]["ringfence"]
        self.assertEqual((record["action"], record["verdict"]), ("exec", "blocked"))


def main():
    global OPTIONS
    parser = argparse.ArgumentParser()
    parser.add_argument("--inside", action="store_true")
    parser.add_argument("--emulator", type=pathlib.Path, required=True)
    parser.add_argument("--layer", type=pathlib.Path, required=True)
    parser.add_argument("--client", type=pathlib.Path, required=True)
    parser.add_argument("tests", nargs="*")
    OPTIONS = parser.parse_args()
    if not OPTIONS.inside:
        enter_namespaces()
    with tempfile.TemporaryDirectory(dir="/tmp") as scratch:
        build_world(pathlib.Path(scratch))
        program = unittest.main(argv=[sys.argv[0], "-v", *OPTIONS.tests], exit=False)
    sys.exit(0 if program.result.wasSuccessful() else 1)


if __name__ == "__main__":
    main()

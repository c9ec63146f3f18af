"""The arm64 layer on a machine that is none: agent, guard, library and a Python of Debian's, each process emulated.

Run by scripts/arm64. The tests start themselves again in user, mount and network name spaces of their own, where
`binfmt_misc` hands arm64 programs to qemu: nothing outside is touched or reached. qemu passes system calls on, but
for seccomp(2), so what is seen here is the process plane.
"""

import argparse
import ctypes
import fcntl
import http.server
import json
import os
import pathlib
import queue
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
OPTIONS = None
# Bounds for what takes seconds on a machine that nobody else uses.
PATIENCE_SECONDS = 300
SKIPPED = 77
PYTHON = "/usr/bin/python3"
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    # Signed return addresses by a cheaper function than the real one.
    "QEMU_CPU": "max,pauth-impdef=on",
    "PYTHONDONTWRITEBYTECODE": "1",
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
    "AWS_LAMBDA_FUNCTION_NAME": "emulated",
    "LAMBDA_TASK_ROOT": "/var/task",
    "AWS_ACCESS_KEY_ID": "ASIARINGFENCETEST000",
}
# The first bytes of an arm64 program, and which of their bits count (binfmt_misc.rst).
MAGIC = rb"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = rb"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"


def enter_namespaces():
    flags = ["--user", "--map-root-user", "--mount", "--net"]
    os.execvp("unshare", ["unshare", *flags, sys.executable, __file__, "--inside", *sys.argv[1:]])


def mount(source, target, kind=None, flags=0, data=None):
    """mount(2), since a bare machine's mount(8) reads files that the new name space does not have."""
    libc = ctypes.CDLL(None, use_errno=True)
    encoded = [None if value is None else str(value).encode() for value in (source, target, kind)]
    if libc.mount(*encoded, flags, None if data is None else data.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source} on {target}: {os.strerror(number)}")


def give_lo_addresses():
    """Brings lo up, and gives it an address of elsewhere too: ioctls SIOCSIFFLAGS and SIOCSIFADDR, netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))
        address = struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton("203.0.113.9"))
        fcntl.ioctl(control, 0x8916, address)


def hand_programs_to_qemu():
    """A handler of our own, or the machine's, where the kernel has none for each user name space (Linux 6.7)."""
    folder = pathlib.Path("/proc/sys/fs/binfmt_misc")
    try:
        mount("binfmt_misc", folder, "binfmt_misc")
        entry = b":ringfence-arm64:M::" + MAGIC + b":" + MASK + b":" + os.fsencode(OPTIONS.emulator) + b":OCF"
        (folder / "register").write_bytes(entry)
    except OSError as error:
        if not any("flags: " in text and "F" in text for text in handlers(folder)):
            print(f"skipped: no handler for arm64 programs can be registered: {error}")
            sys.exit(SKIPPED)


def handlers(folder):
    for name in ("qemu-aarch64", "qemu-aarch64-static"):
        if (folder / name).is_file():
            yield (folder / name).read_text().split("offset")[0]


def build_world():
    """/opt from the layer, /var/task with the function, /tmp, over the root of Debian's packages."""
    bind, private, recursive = 4096, 1 << 18, 16384
    mount("none", "/", flags=recursive | private)
    give_lo_addresses()
    hand_programs_to_qemu()
    root = OPTIONS.root
    for name in ("proc", "dev"):
        mount(f"/{name}", root / name, flags=bind | recursive)
    for name in ("opt", "tmp", "var/task"):
        mount("tmpfs", root / name, "tmpfs", data="mode=0755")
    with zipfile.ZipFile(OPTIONS.layer) as archive:
        for info in archive.infolist():
            archive.extract(info, root / "opt")
            os.chmod(root / "opt" / info.filename, (info.external_attr >> 16) & 0o777)
    task = root / "var/task"
    for file in (HERE / "attacks.py", HERE / "policy.toml", *OPTIONS.programs.iterdir()):
        shutil.copy(file, task)
    (task / "secret").write_text("secret")
    (task / "locked").mkdir()


def fresh_folder():
    """What the attacks change, as it was."""
    locked = OPTIONS.root / "var/task/locked"
    shutil.rmtree(locked)
    locked.mkdir()
    (locked / "old").write_text("old")


def emulated(*command):
    return ["/usr/sbin/chroot", str(OPTIONS.root), *command]


def records(text):
    """The records among the lines of a log."""
    found = []
    for line in text.splitlines():
        if line.startswith('{"timestamp"'):
            found.append(json.loads(line)["ringfence"])
    return found


def run(*command):
    """A program's output, and what stands on its standard error."""
    with open(OPTIONS.root / "tmp/log", "w+") as log:
        # Children append their records to the runtime's standard error.
        fcntl.fcntl(log, fcntl.F_SETFL, os.O_APPEND)
        run = subprocess.run(
            emulated(*command),
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            timeout=PATIENCE_SECONDS,
        )
        log.seek(0)
        text = log.read()
    if run.returncode != 0:
        raise AssertionError(f"status {run.returncode}\n{run.stdout.decode()}\n{text}")
    return run.stdout, text


def run_attacks(*wrapper):
    """Outcomes by name, and the records on standard error."""
    fresh_folder()
    output, text = run(*wrapper, PYTHON, "/var/task/attacks.py")
    return dict(map(json.loads, output.splitlines())), text


# Name: outcome without the layer, outcome with it.
ATTACKS = {
    "exec": (200, "EACCES"),
    "exec-by-libc": (200, "EACCES"),
    "exec-by-number": (200, "EACCES"),
    "exec-from-memory": (0, "EACCES"),
    "exec-of-a-copy": (0, "EACCES"),
    "system": (200, 127),
    # posix_spawn(3) tells of a failed exec through memory that it shares with its child; the emulator shares none.
    "popen": (200, ("EACCES", 127)),
    "connect": ("done", "EACCES"),
    "sendto": ("done", "EPERM"),
    "sendmsg": ("done", "EPERM"),
    "open": ("read", "EACCES"),
    "fopen": ("done", "EACCES"),
    "open-by-number": ("done", "EACCES"),
    "open-by-a-long-number": ("done", "EACCES"),
    "open-by-a-tag": (None, "EACCES"),
    "create": ("done", "EACCES"),
    "rename": ("done", "EACCES"),
    "mkdir": ("done", "EACCES"),
    "symlink": ("done", "EACCES"),
    "libc-made-writable": ("done", "EPERM"),
    "libc-made-writable-by-a-tag": (None, "EPERM"),
    # The emulator has none.
    "ptrace": ("ENOSYS", "EPERM"),
    "site-loaded-later": ([[], "done"], [[], "EACCES"]),
    "site-beside-a-branch": ("done", "EACCES"),
    "guarded-site": ([[], "done"], [[], "EACCES"]),
    "child-reads": ("secret", ""),
}
# What must be the same with the layer.
HONEST = {
    "registers": [[], "done"],
    "guarded-registers": [[], "done"],
    "guarded-astray": -4,  # SIGILL
    "child": 0,
    "cancelled-thread": True,
    "threads": [],
    "connection": "x",
}
# What the program of musl.rs says: names and error numbers, and what its child reads.
MUSL = ["open 0", "fopen 0", "syscall 0", "connect 0", "system 3", "secret", "spawn 0", ""]
MUSL_HELD = ["open 13", "fopen 13", "syscall 13", "connect 13", "system -1", "", "spawn 1", ""]
# What the records must speak of.
RECORDED = {
    ("exec", "process.shells"),
    ("exec", "process.from_writable"),
    ("connect", "egress.allow"),
    ("send", "egress.allow"),
    ("open_read", "files.deny_read"),
    ("open_write", "files.deny_write"),
    ("dangerous_call", "self_protection"),
}


class ProcessPlane(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.bare, _ = run_attacks()
        cls.held, cls.log = run_attacks("/opt/ringfence-exec")

    def test_every_attack_works_without_the_layer_and_not_with_it(self):
        for name, (bare, held) in ATTACKS.items():
            with self.subTest(name):
                if bare is not None:
                    self.assertEqual(self.bare[name], bare, "without the layer")
                self.assertIn(self.held[name], held if isinstance(held, tuple) else (held,), self.log)

    def test_what_is_honest_is_as_before(self):
        for name, outcome in HONEST.items():
            with self.subTest(name):
                self.assertEqual(self.bare[name], outcome, "without the layer")
                self.assertEqual(self.held[name], outcome, self.log)
        self.assertEqual(self.held["libc-astray"], self.bare["libc-astray"], "libc is guarded as it was")

    def test_musl_is_held_too(self):
        bare, _ = run("/var/task/musl")
        self.assertEqual(bare.decode().split("\n"), MUSL)
        held, log = run("/opt/ringfence-exec", "/var/task/musl")
        self.assertEqual(held.decode().split("\n"), MUSL_HELD, log)

    def test_each_refusal_is_written_down(self):
        blocked = [record for record in records(self.log) if record.get("verdict") == "blocked"]
        self.assertLessEqual(RECORDED, {(record["action"], record["rule"]) for record in blocked}, self.log)
        self.assertEqual({record["plane"] for record in blocked}, {"process"}, self.log)


class Service(http.server.BaseHTTPRequestHandler):
    """The Extensions and Telemetry APIs, as far as an agent needs them to start, to serve and to end."""

    protocol_version = "HTTP/1.1"
    events = queue.Queue()
    asked = queue.Queue()

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in (("Content-Length", len(body)), *headers):
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.put(self.path)
        body = {"functionName": "emulated", "functionVersion": "$LATEST", "handler": "app.handler"}
        self.answer(200, json.dumps(body).encode(), [("Lambda-Extension-Identifier", "6f2e8c1e-0000-4000-8000-000000000000")])

    def do_PUT(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.put(self.path)
        self.answer(200, b'"OK"')

    def do_GET(self):
        self.asked.put(self.path)
        event = self.events.get(timeout=PATIENCE_SECONDS)
        self.answer(200, json.dumps(event).encode(), [("Lambda-Extension-Event-Identifier", "1")])

    def log_message(self, *_):
        pass


class Agent(unittest.TestCase):
    def setUp(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 9001), Service)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.log = open(OPTIONS.root / "tmp/agent", "w+")
        self.agent = subprocess.Popen(
            emulated("/opt/extensions/ringfence"), env=ENVIRONMENT, stdout=self.log, stderr=self.log
        )
        self.addCleanup(self.log.close)
        self.addCleanup(self.agent.wait)
        self.addCleanup(self.agent.kill)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)

    def output(self):
        return (OPTIONS.root / "tmp/agent").read_text()

    def await_request(self, path):
        while True:
            if Service.asked.get(timeout=PATIENCE_SECONDS).endswith(path):
                return

    def await_record(self, kind):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            complete = self.output().rpartition("\n")[0]
            for record in records(complete):
                if record["kind"] == kind:
                    return record
            time.sleep(0.05)
        raise AssertionError(f"no {kind} record in:\n{self.output()}")

    def attack(self):
        """A refused exec, and one that must leave alone what is not its stack."""
        command = ["/opt/ringfence-exec", PYTHON, "/var/task/attacks.py", "exec", "exec-on-a-small-stack"]
        return dict(map(json.loads, run(*command)[0].splitlines()))

    def test_it_registers_claims_reports_and_ends(self):
        self.await_request("/extension/register")
        self.await_request("/event/next")
        self.assertEqual(self.attack(), {"exec": "EACCES", "exec-on-a-small-stack": 200}, self.output())
        violation = self.await_record("violation")
        self.assertEqual((violation["action"], violation["rule"]), ("exec", "process.shells"))
        # Without a runtime that asks for an event, the first invocation says that init is over.
        deadline = int(time.time() * 1000) + 60_000
        Service.events.put({"eventType": "INVOKE", "requestId": "8476a536-e9f4-11e8-9739-2dfe598c3fcd", "deadlineMs": deadline,
                            "invokedFunctionArn": "arn:aws:lambda:eu-west-1:123456789012:function:emulated",
                            "tracing": {"type": "X-Amzn-Trace-Id", "value": ""}})
        claims = self.await_record("protection")
        self.assertIn("seccomp", json.dumps(claims), "the kernel plane is not there, and why")
        Service.events.put({"eventType": "SHUTDOWN", "shutdownReason": "spindown", "deadlineMs": deadline})
        self.await_record("summary")


def main():
    global OPTIONS
    parser = argparse.ArgumentParser()
    parser.add_argument("--inside", action="store_true")
    parser.add_argument("--emulator", type=pathlib.Path, required=True, help="qemu-aarch64-static")
    parser.add_argument("--root", type=pathlib.Path, required=True, help="an arm64 system with Python")
    parser.add_argument("--layer", type=pathlib.Path, required=True, help="the layer's zip")
    parser.add_argument("--programs", type=pathlib.Path, required=True, help="a folder with what was built of sites.rs and musl.rs")
    parser.add_argument("tests", nargs="*")
    OPTIONS = parser.parse_args()
    if not OPTIONS.inside:
        enter_namespaces()
    build_world()
    program = unittest.main(argv=[sys.argv[0], "-v", *OPTIONS.tests], exit=False)
    sys.exit(0 if program.result.wasSuccessful() else 1)


if __name__ == "__main__":
    main()

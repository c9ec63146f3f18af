"""Before something that a policy may refuse, a hint says what and at which line."""

import textwrap
import unittest

from tests.receiver import run

EXEC, MAP_EXECUTABLE, CONNECT, SEND, RESOLVE, BIND, OPEN_READ, DANGEROUS = 1, 2, 3, 4, 5, 6, 7, 11
LOOPBACK = b"\0" * 10 + b"\xff\xff" + bytes((127, 0, 0, 1))


class Hints(unittest.TestCase):
    def the_hint(self, action, code, **keywords):
        outcome = run(code, **keywords)
        self.assertEqual(outcome.stderr, "")
        hints = outcome.of("hint", action)
        self.assertTrue(hints, outcome.messages)
        return hints[0]

    def test_a_child_process_with_its_arguments_and_the_way_to_the_handler(self):
        hint = self.the_hint(
            EXEC,
            """
            import subprocess

            def convert(text):
                return subprocess.run(["sed", "s/a/b/"], input=text, text=True, capture_output=True).stdout

            def handler(event):
                return convert(event)

            handler("banana")
            """,
        )
        self.assertEqual(hint["path"], "sed")
        self.assertEqual(hint["arguments"], ["sed", "s/a/b/"])
        self.assertEqual(hint["code"], "handler.py:4")
        self.assertEqual(hint["frames"], ["handler.py:4 convert", "handler.py:7 handler", "handler.py:9 <module>"])

    def test_a_command_line(self):
        hint = self.the_hint(EXEC, "import os\nos.system('true')\n")
        self.assertEqual((hint["path"], hint["arguments"]), ("/bin/sh", ["sh", "-c", "true"]))

    def test_the_process_replacing_itself(self):
        hint = self.the_hint(EXEC, "import os\nos.execv('/bin/true', ['true'])\n")
        self.assertEqual((hint["path"], hint["code"]), ("/bin/true", "handler.py:2"))

    def test_a_connection(self):
        hint = self.the_hint(
            CONNECT,
            """
            import socket
            try:
                socket.create_connection(("127.0.0.1", 1))
            except OSError:
                pass
            """,
        )
        self.assertEqual(hint["address"], (LOOPBACK, 1))
        self.assertEqual(hint["code"], "handler.py:3")

    def test_what_is_done_again_from_the_same_place_is_told_once(self):
        head = """
            import os, socket, threading
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            def to(port):
                s.connect(("127.0.0.1", port))
            """
        for code, times in (
            ("for _ in range(50): to(9)", 1),
            ("to(9)\nto(9)", 2),
            ("for port in range(9, 14): to(port)", 5),
            ("for trace in 'aab':\n  os.environ['_X_AMZN_TRACE_ID'] = trace\n  to(9)", 2),
            ("for _ in range(2):\n  t = threading.Thread(target=to, args=(9,))\n  to(9)\n  t.start()\n  t.join()", None),
            ("import ringfence.events\nringfence.events.RECENT = 2\nfor _ in range(2):\n  to(9)\n  for port in range(1000, 1003): to(port)", 8),
        ):
            with self.subTest(code):
                outcome = run(textwrap.dedent(head) + code + "\n")
                self.assertEqual(outcome.stderr, "")
                hints = outcome.of("hint", CONNECT)
                if times is None:
                    self.assertEqual(len({hint["thread"] for hint in hints}), len(hints), "each thread has its own")
                else:
                    self.assertEqual(len(hints), times)

    def test_a_datagram_by_either_call(self):
        for call in ("s.sendto(b'x', ('127.0.0.1', 9))", "s.sendmsg([b'x'], [], 0, ('127.0.0.1', 9))"):
            hint = self.the_hint(SEND, "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n%s\n" % call)
            self.assertEqual((hint["address"], hint["code"]), ((LOOPBACK, 9), "handler.py:3"))

    def test_a_listener(self):
        self.assertEqual(self.the_hint(BIND, "import socket\nsocket.create_server(('127.0.0.1', 0))\n")["code"], "handler.py:2")

    def test_a_name_but_not_an_address_that_is_looked_up(self):
        code = "import socket\nfor n in ('127.0.0.1', 'localhost'):\n    socket.getaddrinfo(n, 80)\n"
        hints = run(code).of("hint", RESOLVE)
        self.assertEqual([h["name"] for h in hints], ["localhost"])

    def test_an_open_below_proc_in_any_spelling(self):
        for path in ("'/proc/self/environ'", "b'/proc/self/environ'", "'//proc/self/environ'", "pathlib.Path('/proc/self/environ')"):
            hint = self.the_hint(OPEN_READ, "import pathlib\nopen(%s, 'rb').close()\n" % path)
            self.assertTrue(hint["path"].endswith("/proc/self/environ"))
        self.assertEqual(run("open('/etc/passwd').close()\n").messages, [])

    def test_libc_by_ctypes(self):
        code = "import ctypes\nlibc = ctypes.CDLL('libc.so.6')\nlibc.connect\n"
        self.assertEqual(self.the_hint(CONNECT, code)["code"], "handler.py:3")
        self.assertEqual(self.the_hint(MAP_EXECUTABLE, code)["path"], "libc.so.6")
        self.assertEqual(self.the_hint(EXEC, code.replace("connect", "syscall"))["name"], "syscall")

    def test_a_signal(self):
        self.assertEqual(self.the_hint(DANGEROUS, "import os\nos.kill(os.getpid(), 0)\n")["name"], "kill")

    def test_evaluated_code_is_told_by_the_line_that_evaluates_it(self):
        hint = self.the_hint(EXEC, "def render(text):\n    return eval(text)\nrender('__import__(\"os\").system(\"true\")')\n")
        self.assertEqual(hint["code"], "handler.py:2")
        self.assertEqual(hint["frames"][0], "<string>:1 <module>")

    def test_an_installed_library_is_not_the_function_s_code(self):
        hint = self.the_hint(
            EXEC,
            "import runner.inner\nrunner.inner.go()\n",
            files={
                "runner/inner.py": "import os\ndef go():\n    os.system('true')\n",
                "runner/__init__.py": "",
                "runner-1.0.dist-info/METADATA": "Name: runner\n",
            },
        )
        self.assertEqual(hint["code"], "handler.py:2")

    def test_a_thread_of_a_wrapper_s_own_is_its_deed_and_what_it_wraps_is_not(self):
        files = {
            "sentry_sdk/__init__.py": "",
            "sentry_sdk/worker.py": "from client import ask\ndef send():\n    ask()\ndef target():\n    send()\ndef wrap(run):\n    return lambda: run()\n",
            "sentry_sdk-1.0.dist-info/METADATA": "Name: sentry_sdk\n",
            "client/__init__.py": "import os\ndef ask():\n    os.system('true')\n",
            "client-1.0.dist-info/METADATA": "Name: client\n",
        }
        code = "import threading, client, sentry_sdk.worker as w\nt = threading.Thread(target=%s)\nt.start()\nt.join()\n"
        for target, line in (("w.target", "sentry_sdk/worker.py:5"), ("w.wrap(client.ask)", "client/__init__.py:3")):
            self.assertEqual(self.the_hint(EXEC, code % target, files=files)["code"], line)

    def test_a_forked_child_speaks_for_itself(self):
        outcome = run(
            """
            import os
            os.system("true")
            child = os.fork()
            if child == 0:
                os.system("true")
                os._exit(0)
            os.waitpid(child, 0)
            """
        )
        first, second = outcome.of("hint", EXEC)
        self.assertNotEqual(first["pid"], second["pid"])
        self.assertEqual(second["parent"], first["pid"])

    def test_a_descriptor_number_that_was_taken_over_is_left_alone(self):
        outcome = run(
            """
            import os, socket
            os.system("true")
            os.closerange(3, 64)
            mine, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            more = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(4)]
            os.system("true")
            for end in [mine, peer] + [end for pair in more for end in pair]:
                end.setblocking(False)
                try:
                    print("stray", end.recv(100))
                except BlockingIOError:
                    pass
            """
        )
        self.assertEqual((outcome.stdout, outcome.stderr), ("", ""))
        self.assertEqual(len(outcome.of("hint", EXEC)), 2)


class Silence(unittest.TestCase):
    def test_without_an_agent_nothing_is_said_or_broken(self):
        outcome = run("import os, socket\nos.system('true')\nprint(os.environ['AWS_SECRET_ACCESS_KEY'])\n", listen=False)
        self.assertEqual((outcome.stdout, outcome.stderr, outcome.status), ("the-secret\n", "", 0))

    def test_a_full_socket_is_counted_and_not_waited_for(self):
        # The receiver reads only after the child has ended, so the queue fills.
        outcome = run("import os\nfor _ in range(400):\n    os.kill(os.getpid(), 0)\nprint('done')\n")
        self.assertEqual(outcome.stdout, "done\n")
        self.assertLess(len(outcome.messages), 400)

    def test_odd_arguments_end_as_they_would_without_the_hook(self):
        code = """
            import os, socket, subprocess
            for attempt in (
                lambda: subprocess.run([None]),
                lambda: subprocess.run(["\\udcff" * 5000]),
                lambda: subprocess.run([]),
                lambda: socket.socket().connect(("\\udcff", "x")),
                lambda: socket.socket().connect(object()),
                lambda: socket.getaddrinfo(None, 1),
                lambda: open(10**9),
                lambda: os.execv("/nonexistent", ["x" * 100000] * 3),
            ):
                try:
                    print(type(attempt()).__name__)
                except Exception as error:
                    print(type(error).__name__)
            """
        with_hook = run(code)
        without = run(code, environment={"PYTHONPATH": ""})
        self.assertEqual((with_hook.stdout, with_hook.stderr), (without.stdout, without.stderr))
        self.assertEqual(without.messages, [])


if __name__ == "__main__":
    unittest.main()

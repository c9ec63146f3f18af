"""What a scope denies does not happen, is recorded with its line, and ends with the scope."""

import textwrap
import unittest

from tests.receiver import run

EXEC, CONNECT, SEND, RESOLVE, OPEN_READ, OPEN_WRITE = 1, 3, 4, 5, 7, 8
REPORTED, BLOCKED = 1, 2
PROCESS_ALLOW, EGRESS_ALLOW, TMP_WRITES, FILES_DENY_READ = 1, 9, 15, 18

HEAD = """
    import asyncio, os, socket, subprocess, sys, threading, _thread
    from concurrent.futures import ThreadPoolExecutor
    import ringfence

    def tried(work):
        try:
            work()
        except ringfence.Denied as error:
            return "denied"
        except OSError as error:
            return "failed"
        return "done"

    child = lambda: tried(lambda: subprocess.run(["true"]))
"""


def say(code, **keywords):
    return run(textwrap.dedent(HEAD) + code.strip("\n") + "\n", **keywords)


class Scopes(unittest.TestCase):
    def said(self, code, expected, **keywords):
        outcome = say(code, **keywords)
        self.assertEqual((outcome.stdout.split(), outcome.stderr), (expected.split(), ""))
        return outcome

    def test_each_limit_denies_what_it_speaks_of_and_nothing_else(self):
        works = {
            "children": "subprocess.run(['true'])",
            "egress": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('203.0.113.9', 9))",
            "tmp": "open('/tmp/ringfence-scope', 'w').close()",
            "files": "open(__file__).close()",
        }
        # Here even loopback may be all there is, so a connection may fail; what counts is who refuses.
        program = "\n".join(
            f"with ringfence.scope({limit}='deny'):\n    print('{limit}', *[tried(lambda: {work}) == 'denied' for work_name in '1'])"
            for limit in works
            for work in works.values()
        )
        outcome = say(program)
        told = [line.split()[1] == "True" for line in outcome.stdout.splitlines()]
        self.assertEqual(told, [a == b for a in works for b in works], outcome.stderr)

    def test_the_record_says_what_where_and_by_which_rule(self):
        for call, action, rule, subject in (
            ("subprocess.run(['true', 'x'])", EXEC, PROCESS_ALLOW, {"path": "true", "arguments": ["true", "x"]}),
            ("os.fork()", EXEC, PROCESS_ALLOW, {"name": "os.fork"}),
            ("socket.getaddrinfo('evil.example', 443)", RESOLVE, EGRESS_ALLOW, {"name": "evil.example"}),
            ("socket.socket().connect(('203.0.113.9', 443))", CONNECT, EGRESS_ALLOW, {}),
            ("socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('203.0.113.9', 53))", SEND, EGRESS_ALLOW, {}),
            ("open('/tmp/x', 'w')", OPEN_WRITE, TMP_WRITES, {"path": "/tmp/x"}),
            ("open('/tmp/../tmp/x')", OPEN_READ, TMP_WRITES, {"path": "/tmp/../tmp/x"}),
            ("os.remove('/tmp/x')", OPEN_WRITE, TMP_WRITES, {"path": "/tmp/x"}),
            ("os.rename('/var/tmp/x', '/tmp/x')", OPEN_WRITE, TMP_WRITES, {}),
            ("open(__file__)", OPEN_READ, FILES_DENY_READ, {}),
        ):
            with self.subTest(call):
                code = f"with ringfence.scope(tmp='deny', egress='deny', children='deny', files='deny'):\n    {call}"
                outcome = say(code)
                self.assertIn("ringfence.Denied", outcome.stderr)
                (message,) = [each for each in outcome.messages if each["kind"] == "violation"]
                told = {key: message[key] for key in ("action", "rule", "outcome", "plane", "code")}
                expected = {"action": action, "rule": rule, "outcome": BLOCKED, "plane": 2, "code": "handler.py:16"}
                self.assertEqual(told, expected)
                self.assertEqual({key: message[key] for key in subject}, subject)

    def test_report_lets_it_happen(self):
        outcome = self.said("with ringfence.scope(children='report'): print(child())", "done")
        (message,) = outcome.of("violation", EXEC)
        self.assertEqual(message["outcome"], REPORTED)

    def test_a_scope_ends_with_its_block_also_by_an_exception(self):
        code = """
try:
    with ringfence.scope(children='deny'):
        print(child())
        raise KeyError
except KeyError:
    print(child())
"""
        self.said(code, "denied done")

    def test_an_inner_scope_never_loosens(self):
        code = """
with ringfence.scope(children='deny'):
    with ringfence.scope(children='allow', egress='deny'):
        print(child())
    with ringfence.scope(children='report'):
        print(child())
"""
        self.said(code, "denied denied")

    def test_loopback_is_no_egress(self):
        code = """
listener = socket.create_server(('127.0.0.1', 0))
with ringfence.scope(egress='deny'):
    print(tried(lambda: socket.create_connection(('localhost', listener.getsockname()[1]))))
    print(tried(lambda: socket.create_connection(('127.0.0.1.evil.example', 1))))
"""
        self.said(code, "done denied")

    def test_files_takes_globs_and_imports_go_on(self):
        code = """
with ringfence.scope(files=['/etc/host*', os.path.dirname(__file__) + '/*']):
    print(tried(lambda: open('/etc/hostname')), tried(lambda: open('/etc/passwd')))
    import late
    print(tried(lambda: open(late.__file__)))
"""
        self.said(code, "denied done denied", files={"late.py": "x = 1\n"})

    def test_symbolic_links_do_not_lead_around_it(self):
        code = """
link = os.path.join(os.path.dirname(__file__), 'link')
os.symlink('/tmp', link)
with ringfence.scope(tmp='deny'):
    print(tried(lambda: open(link + '/x', 'w')))
    os.chdir('/')
    print(tried(lambda: open('tmp/x', 'w')))
"""
        self.said(code, "denied denied")

    def test_threads_and_pools_that_the_scope_uses_are_in_it_and_others_are_not(self):
        code = """
pool = ThreadPoolExecutor(1)
pool.submit(int).result()
entered, leave = threading.Event(), threading.Event()
def limited():
    with ringfence.scope(children='deny'):
        entered.set()
        leave.wait()
other = threading.Thread(target=limited)
other.start()
entered.wait()
print(child())
leave.set()
other.join()
with ringfence.scope(children='deny'):
    thread = threading.Thread(target=lambda: print(child()))
    thread.start()
    thread.join()
    print(pool.submit(child).result())
    fresh = ThreadPoolExecutor(1)
    print(fresh.submit(child).result())
    done = _thread.allocate_lock()
    done.acquire()
    _thread.start_new_thread(lambda: (print(child()), done.release()), ())
    done.acquire()
print(pool.submit(child).result(), fresh.submit(child).result())
"""
        self.said(code, "done denied denied denied denied done done")

    def test_tasks_are_limited_each_for_itself(self):
        code = """
async def inside():
    with ringfence.scope(children='deny'):
        first.set()
        await second.wait()
        return child(), await asyncio.to_thread(child)

async def outside():
    await first.wait()
    found = child()
    second.set()
    return found

async def main():
    global first, second
    first, second = asyncio.Event(), asyncio.Event()
    print(await asyncio.gather(inside(), outside()))

asyncio.run(main())
"""
        self.said(code, "[('denied', 'denied'), 'done']")

    def test_as_a_decorator(self):
        code = """
@ringfence.scope(children='deny')
def handler():
    return child()

@ringfence.scope(children='deny')
async def later():
    await asyncio.sleep(0)
    return child()

print(handler(), handler(), asyncio.run(later()), child())
try:
    @ringfence.scope(children='deny')
    def generator():
        yield
except TypeError:
    print('refused')
"""
        self.said(code, "denied denied denied done refused")

    def test_configure_takes_function_shields_words_holds_for_all_and_only_tightens(self):
        code = """
ringfence.configure({'policy': {'create_child_process': 'block', 'read_write_tmp': 'alert', 'outbound_connectivity': 'allow'}, 'disable_analytics': True})
ringfence.configure(create_child_process='allow')
print(child(), tried(lambda: open('/tmp/ringfence-scope', 'w').close()))
thread = threading.Thread(target=lambda: print(child()))
thread.start()
thread.join()
ringfence.configure(read_handler='block')
print(tried(lambda: open(__file__)))
"""
        outcome = self.said(code, "denied done denied denied")
        self.assertEqual([message["outcome"] for message in outcome.of("violation", OPEN_WRITE)], [REPORTED])

    def test_mistakes_are_said(self):
        code = """
for work in (lambda: ringfence.scope(tmp='block'), lambda: ringfence.configure(tmp='block'), lambda: ringfence.configure(read_handler='deny'), lambda: ringfence.nothing):
    try:
        work()
    except (ValueError, AttributeError) as error:
        print(error)
"""
        self.assertEqual(
            say(code).stdout.splitlines(),
            [
                "tmp='block': expected 'deny', 'report' or 'allow'",
                "'tmp': expected one of outbound_connectivity, read_write_tmp, create_child_process, read_handler",
                "read_handler is 'deny': expected block, alert or allow",
                "module 'ringfence' has no attribute 'nothing'",
            ],
        )

    def test_without_an_agent_it_denies_all_the_same(self):
        self.said("with ringfence.scope(children='deny'): print(child())", "denied", listen=False)


if __name__ == "__main__":
    unittest.main()

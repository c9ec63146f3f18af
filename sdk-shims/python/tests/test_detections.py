"""What `[code]` speaks of is found, with its line, and denied where it says so; what functions do every day is not."""

import base64
import json
import pickle
import sys
import unittest

from tests.receiver import run

EVALUATE, DESERIALIZE, NATIVE, IMPORT = 14, 15, 16, 17
REPORTED, BLOCKED = 1, 2
RULES = {EVALUATE: 27, DESERIALIZE: 28, NATIVE: 29, IMPORT: 30}

# The runtime client, as far as the hook knows it.
CLIENT = """
import json, sys
def handle_event_request(client, request_handler, invoke_id, event_body):
    event = json.loads(event_body)
    return request_handler(event, None)
def run(handler):
    for number, body in enumerate(json.loads(sys.argv[1])):
        try:
            print(handle_event_request(None, handler, number, body))
        except Exception as error:
            print(type(error).__name__, error)
"""


def invoke(handler, *events, words="evaluate=report,deserialize=report,native=report,imports=report", **keywords):
    code = handler + "\nfrom awslambdaric.bootstrap import run\nrun(handler)\n"
    return run(
        code,
        files={"awslambdaric/__init__.py": "", "awslambdaric/bootstrap.py": CLIENT, **keywords.pop("files", {})},
        environment={"RINGFENCE_CODE": words, **keywords.pop("environment", {})},
        parameters=[json.dumps([json.dumps(event) for event in events])],
        **keywords,
    )


class Evil:
    def __reduce__(self):
        return eval, ("1 + 1",)


class Detections(unittest.TestCase):
    def found(self, outcome, action):
        self.assertEqual(outcome.stderr, "")
        rules = [message["rule"] for message in outcome.of("violation", action)]
        self.assertEqual(rules, [RULES[action]] * len(rules))
        return [(m["name"] if "name" in m else m["path"], m["code"], m["outcome"]) for m in outcome.of("violation", action)]

    def test_text_of_the_event_that_is_evaluated(self):
        attack = "__import__('os').getpid() and 'ran'"
        for handler, event in (
            ("def handler(event, _):\n    return eval(event['x'])", {"x": attack}),
            ("def handler(event, _):\n    exec('r = ' + event['x'], globals())\n    return r", {"x": attack}),
            ("def handler(event, _):\n    return eval(compile(event['x'], 'rule', 'eval'))", {"x": attack}),
            ("import json\ndef handler(event, _):\n    return eval(json.loads(event['body'])['x'])", {"body": json.dumps({"x": attack + ' or "\\n"'})}),
            ("import base64\ndef handler(event, _):\n    return eval(base64.b64decode(event['x']))", {"x": base64.b64encode(attack.encode()).decode()}),
            ("def handler(event, _):\n    return eval(bytes.fromhex(event['list'][0]['x']))", {"list": [{"x": attack.encode().hex()}]}),
            ("from concurrent.futures import ThreadPoolExecutor\ndef handler(event, _):\n    return ThreadPoolExecutor(1).submit(lambda: eval(event['x'])).result()", {"x": attack}),
        ):
            with self.subTest(handler):
                line = next(number for number, text in enumerate(handler.splitlines(), 1) if "eval(" in text or "exec(" in text)
                outcome = invoke(handler, event)
                self.assertEqual(outcome.stdout, "ran\n")
                self.assertEqual(self.found(outcome, EVALUATE), [("eval, exec or compile", "handler.py:%d" % line, REPORTED)])
                denied = invoke(handler, event, words="evaluate=deny")
                self.assertTrue(denied.stdout.startswith("Denied "), denied.stdout)
                self.assertEqual({each[2] for each in self.found(denied, EVALUATE)}, {BLOCKED})

    def test_evaluation_of_other_text_is_everyday_work(self):
        handler = """
import collections, dataclasses, enum, json, typing, timeit
def handler(event, _):
    Point = collections.namedtuple("Point", "latitude longitude")
    @dataclasses.dataclass
    class Order:
        customer_name: str
        content_type: str = "application/json"
    eval("1 + len('customer_name')")
    exec("content = 'application/json'")
    typing.get_type_hints(Order)
    return eval(event["short"]), Point(1, 2).latitude, Order("x").content_type
"""
        event = {"short": "1+1", "customer_name": "application/json", "field": "latitude longitude"[:8], "path": "content_type"}
        outcome = invoke(handler, event, words="evaluate=deny,deserialize=deny,native=deny,imports=deny")
        self.assertEqual((outcome.stdout, outcome.messages), ("(2, 1, 'application/json')\n", []), outcome.stderr)

    def test_a_pickle_that_runs_code_wherever_it_comes_from(self):
        data = pickle.dumps(Evil())
        handler = f"import pickle\ndef handler(event, _):\n    return pickle.loads({data!r})"
        outcome = invoke(handler, {})
        self.assertEqual(outcome.stdout, "2\n")
        self.assertEqual(self.found(outcome, DESERIALIZE), [("builtins.eval", "handler.py:3", REPORTED)])
        self.assertTrue(invoke(handler, {}, words="deserialize=deny").stdout.startswith("Denied "))

    def test_a_pickle_in_the_event_whatever_it_names(self):
        data = base64.urlsafe_b64encode(pickle.dumps(__import__("decimal").Decimal(1))).decode()
        handler = "import base64, pickle\ndef handler(event, _):\n    return pickle.loads(base64.urlsafe_b64decode(event['x']))"
        self.assertEqual(self.found(invoke(handler, {"x": data}), DESERIALIZE), [("decimal.Decimal", "handler.py:3", REPORTED)])
        code = base64.b64encode(__import__("marshal").dumps("some text")).decode()
        handler = "import base64, marshal\ndef handler(event, _):\n    return marshal.loads(base64.b64decode(event['x']))"
        self.assertEqual(self.found(invoke(handler, {"x": code}), DESERIALIZE), [("marshal.loads", "handler.py:3", REPORTED)])

    def test_pickles_of_the_functions_own_are_everyday_work(self):
        handler = """
import collections, copy, datetime, decimal, os, pickle, subprocess, uuid
def handler(event, _):
    values = [datetime.datetime.now(), decimal.Decimal(1), uuid.uuid4(), collections.OrderedDict(a=1), os.stat("/"),
              subprocess.CompletedProcess([], 0), KeyError("x"), {1, 2}, range(3), Ellipsis, [].append]
    return len(pickle.loads(pickle.dumps(values[:-1]))), len(copy.deepcopy(values[:-1]))
"""
        outcome = invoke(handler, {"text": "nothing of it"}, words="deserialize=deny")
        self.assertEqual((outcome.stdout, outcome.messages), ("(10, 10)\n", []), outcome.stderr)

    def test_native_code_of_the_functions_own_during_an_invocation(self):
        handler = "import ctypes\nctypes.CDLL(None).getppid()\ndef handler(event, _):\n    return ctypes.CDLL(None).getpid() > 0"
        outcome = invoke(handler, {}, words="native=report")
        self.assertEqual(outcome.stdout, "True\n")
        found = self.found(outcome, NATIVE)
        # Python 3.14 tells of each call of a foreign function, too.
        calls = [("call_function", "handler.py:4", REPORTED)] if sys.version_info >= (3, 14) else []
        self.assertEqual(found, [("dlopen", "handler.py:4", REPORTED), ("dlsym getpid", "handler.py:4", REPORTED), *calls])
        self.assertTrue(invoke(handler, {}, words="native=deny").stdout.startswith("Denied "))
        library = "import ctypes\ndef work():\n    return ctypes.CDLL(None).getpid() > 0\n"
        handler = "def handler(event, _):\n    import sys\n    sys.path.append(__file__[:-10] + 'lib/site-packages')\n    import library\n    return library.work()"
        outcome = invoke(handler, {}, files={"lib/site-packages/library.py": library}, words="native=deny")
        self.assertEqual((outcome.stdout, outcome.of("violation", NATIVE)), ("True\n", []))

    def test_a_module_from_tmp(self):
        handler = """
import importlib, os, sys, tempfile
place = tempfile.mkdtemp(dir="/tmp")
def handler(event, _):
    with open(place + "/planted_module.py", "w") as out:
        out.write("VALUE = 'ran'")
    sys.path.insert(0, place)
    try:
        import planted_module
        return planted_module.VALUE
    finally:
        sys.path.remove(place)
        os.remove(place + "/planted_module.py"); os.rmdir(place)
"""
        outcome = invoke(handler, {})
        self.assertEqual(outcome.stdout, "ran\n")
        ((path, code, result),) = self.found(outcome, IMPORT)
        self.assertEqual((path[:5], path.rpartition("/")[2], code, result), ("/tmp/", "planted_module.py", "handler.py:8", REPORTED))
        self.assertTrue(invoke(handler, {}, words="imports=deny").stdout.startswith("Denied "))

    def test_without_a_word_nothing_is_looked_at(self):
        handler = "def handler(event, _):\n    return eval(event['x'])"
        for words in ("", "evaluate=allow", "nonsense", "=,=,report"):
            outcome = invoke(handler, {"x": "'a' + 'b' + 'c'"}, words=words)
            self.assertEqual((outcome.stdout, outcome.messages), ("abc\n", []))

    def test_an_event_of_whatever_size_and_shape_is_survived(self):
        deep = []
        for _ in range(200):
            deep = [deep]
        events = ({"x": "1 + 1 + 1", "many": ["a" * 100] * 100_000}, {"x": "1 + 1 + 1", "deep": deep}, {"x": "1 + 1 + 1", "long": "A" * 3_000_000})
        outcome = invoke("def handler(event, _):\n    return eval(event['x'])", *events[1:2], words="evaluate=report")
        self.assertEqual(outcome.stdout, "3\n")
        body = "def handler(event, _):\n    event = %s\n    return eval('1 + 1 + 1')"
        for event in ("{'many': ['a' * 100] * 100_000}", "{'long': 'A' * 3_000_000}", "{1: object(), 'x': 5.5, 'y': None}"):
            self.assertEqual(invoke(body % event, {}, words="evaluate=report").stdout, "3\n")


if __name__ == "__main__":
    unittest.main()

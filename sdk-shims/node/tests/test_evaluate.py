"""What `code.evaluate` of the policy speaks of is found, with its line, and denied where it says so."""

import base64
import json
import unittest
from urllib.parse import quote

from client import invoke

EVALUATE = 14
REPORTED, BLOCKED = 1, 2
RULE = 27
TEXT, UNKNOWN = "the text stands in the event", "the text is not known"

EXPRESSION = "[process.pid > 0 && 'ran'][0]"
BODY = f"return {EXPRESSION}"
# From inside another realm, by the constructor of an object of this one.
ESCAPE = "this.constructor.constructor('return process')().pid > 0 && 'ran'"
# What a worker says is its answer.
WORKER = "require('worker_threads').parentPort.postMessage(process.pid > 0 && 'ran')"
MODULE = "import { parentPort } from 'worker_threads'; parentPort.postMessage(process.pid > 0 && 'ran')"
ANSWER = ".on('error', fail).on('message', ok))"

# Name of the record, what the handler returns, the event's `x`.
ATTACKS = (
    ("Function", "new Function(event.x)()", BODY),
    ("Function", "Function('a', 'b', event.x)()", BODY),
    ("Function", "Function(event.x, 'return a')()", "a = (process.pid > 0 && 'ran')"),
    ("Function", "Function([event.x])()", BODY),
    ("Function", "Function.apply(null, [event.x])()", BODY),
    ("Function", "Reflect.construct(Function, [event.x])()", BODY),
    ("Function", "new (class extends Function {})(event.x)()", BODY),
    ("Function", "Function('return ' + event.x)()", EXPRESSION),
    ("Function", "(() => {}).constructor(event.x)()", BODY),
    ("Function", "Object.getPrototypeOf((async () => {}).constructor)(event.x)()", BODY),
    ("AsyncFunction", "(async () => {}).constructor(event.x)()", BODY),
    ("GeneratorFunction", "new (Object.getPrototypeOf(function* () {}).constructor)(event.x)().next().value", BODY),
    ("AsyncGeneratorFunction", "(await (async function* () {}).constructor(event.x)().next()).value", BODY),
    ("vm.Script", "new (require('vm').Script)(event.x).runInThisContext()", EXPRESSION),
    ("vm.Script", "require('vm').runInThisContext(event.x)", EXPRESSION),
    ("vm.Script", "require('vm').runInNewContext(event.x, {})", ESCAPE),
    ("vm.Script", "require('vm').runInContext(event.x, require('vm').createContext({ process }))", EXPRESSION),
    ("vm.Script", "(await import('vm')).runInThisContext(event.x)", EXPRESSION),
    ("vm.compileFunction", "require('vm').compileFunction(event.x)()", BODY),
    ("vm.compileFunction", "(await import('vm')).compileFunction(event.x)()", BODY),
    ("Module._compile", "new (require('module'))('x')._compile(event.x, 'x') ?? 'ran'", "process.pid > 0 && 'ran'"),
    ("Worker", "await new Promise((ok, fail) => new (require('worker_threads').Worker)(event.x, { eval: true })" + ANSWER, WORKER),
    ("Worker", "await new Promise((ok, fail) => new (require('worker_threads').Worker)(new URL('data:text/javascript,' + encodeURIComponent(event.x)))" + ANSWER, MODULE),
    ("Worker", "await import('worker_threads').then(({ Worker }) => new Promise((ok, fail) => new Worker(new URL(event.x))" + ANSWER + ")", "data:text/javascript;base64," + base64.b64encode(MODULE.encode()).decode()),
    ("Worker", "await new Promise((ok, fail) => new (class extends require('worker_threads').Worker {})(new URL(event.x))" + ANSWER, "data:text/javascript," + quote(MODULE)),
)  # fmt: skip
# How the event may carry it, and how the function takes it out.
CARRIED = (
    (lambda text: {"body": json.dumps({"x": text})}, "JSON.parse(event.body).x"),
    (lambda text: {"body": json.dumps({"Message": json.dumps({"x": text})})}, "JSON.parse(JSON.parse(event.body).Message).x"),
    (lambda text: {"x": base64.b64encode(text.encode()).decode()}, "Buffer.from(event.x, 'base64').toString()"),
    (lambda text: {"x": base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")}, "Buffer.from(event.x, 'base64url').toString()"),
    (lambda text: {"x": text.encode().hex()}, "Buffer.from(event.x, 'hex').toString()"),
    (lambda text: {"body": base64.b64encode(json.dumps({"x": text}).encode()).decode()}, "JSON.parse(Buffer.from(event.body, 'base64')).x"),
    (lambda text: {"list": [{"of": [1, None, text]}]}, "event.list[0].of[2]"),
    (lambda text: {text: 1}, "Object.keys(event)[0]"),
    (lambda text: text, "event"),
    (lambda text: {"x": f"rule: {text} -- end"}, "event.x.slice(6, -7)"),
    (lambda text: {"x": f"  {text}\n"}, "event.x"),
)
# Of eval the text is not known.
EVALS = (
    "eval(event.x)",
    "(0, eval)(event.x)",
    "globalThis.eval(event.x)",
    "(() => { 'use strict'; const local = 1; return eval(event.x) })()",
    "[event.x].map(eval)[0]",
    "Function('x', 'return eval(x)')(event.x)",
)


# The receiver's queue holds ten datagrams, and is read when the process has ended.
AT_ONCE = 8


def handles(*returned):
    """Each on a line of its own, from the second on; the event says which."""
    lines = ",\n".join(f"  async (event) => {each}" for each in returned)
    return f"const handlers = [\n{lines},\n];\nexports.handler = (event) => handlers[event.number ?? 0](event.event ?? event);"


class Evaluation(unittest.TestCase):
    maxDiff = None

    def found(self, outcome):
        self.assertEqual(outcome.stderr, "")
        found = outcome.of("violation", EVALUATE)
        self.assertEqual([each["rule"] for each in found], [RULE] * len(found))
        return [(each["name"], each["code"], each["outcome"], each["detail"]) for each in found]

    def are_found(self, attacks, detail=TEXT):
        """Each works and is told; where the key denies it, it does not work."""
        for first in range(0, len(attacks), AT_ONCE):
            self.are_found_at_once(attacks[first : first + AT_ONCE], detail)

    def are_found_at_once(self, attacks, detail):
        code = handles(*(returned for _, returned, _ in attacks))
        events = [{"number": number, "event": event} for number, (_, _, event) in enumerate(attacks)]
        for words, answer, verdict in (("native=deny", "ran", None), ("evaluate=report", "ran", REPORTED), ("native=report,evaluate=deny", "EACCES", BLOCKED)):
            outcome = invoke(code, *events, words=words)
            answers = list(zip((returned for _, returned, _ in attacks), outcome.stdout.splitlines(), strict=True))
            self.assertEqual(answers, [(returned, answer) for _, returned, _ in attacks], words)
            told = [(name, f"index.cjs:{line}", verdict, detail) for line, (name, _, _) in enumerate(attacks, 2) if verdict]
            self.assertEqual(self.found(outcome), told)

    def test_each_way_from_text_to_code(self):
        self.are_found([(name, returned, {"x": text}) for name, returned, text in ATTACKS])

    def test_each_way_in_which_an_event_carries_text(self):
        self.are_found([("Function", f"Function({take})()", carry(BODY)) for carry, take in CARRIED])

    def test_eval_by_the_functions_own_code(self):
        self.are_found([("eval", returned, {"x": EXPRESSION}) for returned in EVALS], UNKNOWN)

    def test_a_package_that_evaluates_text_of_the_event_names_the_line_that_called_it(self):
        files = {"node_modules/template/index.js": "exports.render = (text) => Function('return ' + text)();\n"}
        outcome = invoke(handles("require('template').render(event.x)"), {"x": EXPRESSION}, words="evaluate=report", files=files)
        self.assertEqual((outcome.stdout, self.found(outcome)), ("ran\n", [("Function", "index.cjs:2", REPORTED, TEXT)]))

    def test_modules_of_vm_where_the_flag_is_set(self):
        code = handles("(async () => { const m = new (require('vm').SourceTextModule)(event.x); await m.link(() => {}); await m.evaluate(); return 'ran' })()")
        for words, answer, told in (
            ("evaluate=report", "ran", [("vm.SourceTextModule", "index.cjs:2", REPORTED, TEXT)]),
            ("evaluate=deny", "EACCES", [("vm.SourceTextModule", "index.cjs:2", BLOCKED, TEXT)]),
        ):
            outcome = invoke(code, {"x": "export default (process.pid)"}, words=words, options="--experimental-vm-modules --no-warnings")
            self.assertEqual((outcome.stdout.strip(), self.found(outcome)), (answer, told))

    def test_the_event_before_is_over(self):
        code = "let kept;\nexports.handler = (event) => {\n  kept ??= event.x;\n  return event.x ? 'kept' : Function(kept)();\n};"
        outcome = invoke(code, {"x": BODY}, {"y": "something else"}, words="evaluate=deny")
        self.assertEqual((outcome.stdout, self.found(outcome)), ("kept\nran\n", []))

    def test_other_text_is_everyday_work(self):
        code = """
            const kept = eval('1 + 1');
            const { isArray } = Array;
            exports.handler = (event) => [
              kept,
              Function('return this')() === globalThis,
              Function('return event')(),
              Function('event', 'return event.path + "application/json; charset=utf-8"')(event),
              require('vm').runInNewContext('content_type', { content_type: 1 }),
              new Function(event.short)(),
            ].join();
            globalThis.event = 7;
            """
        event = {
            "short": "void 0", "content_type": "application/json; charset=utf-8", "path": "return event.path",
            "comment": "I want to return this product", "name": "content_type, please",
        }  # fmt: skip
        outcome = invoke(code, event, words="evaluate=deny,native=deny")
        self.assertEqual((outcome.stdout, self.found(outcome), outcome.stderr), ("2,true,7,return event.pathapplication/json; charset=utf-8,1,\n", [], ""))

    def test_an_event_is_looked_at_within_bounds(self):
        for event, take, told in (
            ({"x": ["(" * 8] * 3000 + [BODY]}, "event.x.at(-1)", 1),
            ({"x": ["(" * 8] * 5000 + [BODY]}, "event.x.at(-1)", 0),
            ({"x": BODY, "y": "(" * (2 << 20)}, "event.x", 0),
        ):
            outcome = invoke(handles(f"Function({take})()"), event, words="evaluate=report")
            self.assertEqual((outcome.stdout, len(self.found(outcome))), ("ran\n", told))


if __name__ == "__main__":
    unittest.main()

"""What `code.evaluate` of the policy speaks of is found, with its line, and denied where it says so."""

import base64
import json
import unittest
from urllib.parse import quote

from client import invoke
from run import SHIM, run

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


# As docs/limits.md says: it works, even where the key denies it, and nobody is told.
UNSEEN = (
    ("require('vm').runInNewContext('eval(x)', { x: event.x })", {"x": "[1 > 0 && 'ran'][0]"}),
    ("require('vm').runInNewContext('Function(x)()', { x: event.x })", {"x": "return [1 > 0 && 'ran'][0]"}),
    ("(await import('data:text/javascript,' + event.x)).default", {"x": "export default (1 > 0 && 'ran')"}),
    ("Function(event.x.join(''))()", {"x": [BODY[at : at + 5] for at in range(0, len(BODY), 5)]}),
    ("Function([...event.x].reverse().join(''))()", {"x": BODY[::-1]}),
    ("await new Promise((ok, fail) => new (require('worker_threads').Worker)('const w = require(`worker_threads`); w.parentPort.postMessage(Function(w.workerData)())', { eval: true, workerData: event.x })" + ANSWER, {"x": BODY}),
    ("await new Promise((ok) => { const { Session } = require('inspector'); const s = new Session(); s.connect(); s.post('Runtime.evaluate', { expression: event.x }, (_, { result }) => ok(result.value)) })", {"x": EXPRESSION}),
)  # fmt: skip
# What the packages of a function do all day, each as `exports.run`.
PACKAGES = {
    "webpack": "var g; g = (function () { return this })(); try { g = g || new Function('return this')() } catch (e) {}\nexports.run = () => (Function('return this')() || g) === globalThis;\n",
    "depd": "exports.run = () => [new Function('fn', 'log', '\"use strict\"\\nreturn function (a, b) { log(); return fn.apply(this, arguments) }')((a, b) => a + b, () => {})].map((f) => [f(1, 2), f.length]).join();\n",
    "template": "exports.run = (event) => Function('_', 'obj', 'with (obj) { return \"Dear \" + name + \" (draft): \" + _(path) }')((each) => each, event);\n",
    "schema": "exports.run = (event) => new Function('data', `const pattern = new RegExp(${JSON.stringify(event.pattern)}, 'u'); return data === ${JSON.stringify(event.type)} || pattern.test(data)`)(event.type);\n",
    "direct": "exports.run = (event) => { var local = 1; eval('var made = local + 1; local = event.number'); return [made, local, typeof eval].join() };\n",
    "strict": "'use strict';\nexports.run = () => { const local = 2; eval('var made = 1'); return [eval('local + 1'), typeof made, (0, eval)('typeof local')].join() };\n",
    "inquire": "exports.run = () => typeof eval('quire'.replace(/^/, 're'))('fs').readFileSync;\n",
    "realm": "const vm = require('vm');\nexports.run = () => [vm.runInNewContext('typeof Function + eval(\"1 + 1\") + (() => {}).constructor(\"return 3\")()'), new vm.Script('1 + 2').runInThisContext(), vm.compileFunction('return a', ['a'])(4)].join();\n",
}
EVENT = {"number": 7, "name": "Jane (junior)", "path": "return obj.path;", "pattern": "^[a-z]+/(?:x|y)$", "type": "text/html; charset=utf-8", "comment": "I want to return this; it is broken", "word": "return this"}
# What a package may look at.
SHAPES = """
const [vm, { Worker }, Module, { inspect, types }] = ['vm', 'worker_threads', 'module', 'util'].map(require);
const kin = [() => {}, async () => {}, function* () {}, async function* () {}].map((each) => each.constructor);
const described = (holder, name) => Object.entries(Object.getOwnPropertyDescriptor(holder, name)).map(([key, value]) => [key, typeof value === 'function' ? value.name : value]);
const failed = (work) => { try { return work() } catch (error) { return `${error.name}: ${error.message}` } };
class Mine extends Function { constructor(...given) { super(...given); this.own = 1 } twice() { return this() * 2 } }
const shapes = () => {
  const [F, A, G, AG] = kin;
  const mine = new Mine('return 5');
  let asked = 0;
  return [
    kin.map((each) => [each.name, each.length, typeof each, inspect(each), each.prototype.constructor === each, Object.prototype.toString.call(each), Reflect.ownKeys(each), described(each.prototype, 'constructor')]),
    F === Function, [A, G, AG].map((each) => Object.getPrototypeOf(each) === Function), (async () => {}) instanceof A, (() => {}) instanceof Function, Function instanceof Function, Object.getPrototypeOf(Function) === Function.prototype,
    described(globalThis, 'Function'), String(Function('a', 'b', 'return a + b')), Function('a', 'return a').name, Function('a', 'b', '').length, types.isAsyncFunction(A('')), types.isGeneratorFunction(G('')),
    mine(), mine.own, mine.twice(), mine instanceof Mine, mine.constructor === Mine, Object.getPrototypeOf(Mine) === Function, Reflect.construct(Function, ['return 1'], Mine) instanceof Mine, Function.bind(null, 'a')('return a')(3), Function.call(null, 'return 1')(),
    Function({ toString: () => { asked += 1; return 'return 7' } })(), asked, failed(() => Function(Symbol())), failed(() => Function('}')), failed(() => Function({ toString() { throw new RangeError('mine') } })), Function()(),
    typeof eval, eval.name, eval === globalThis.eval, String(eval), 'eval' in globalThis, Object.keys(globalThis).includes('eval'), eval(7), eval('1; 2'), eval.call(null, '3'),
    [vm.Script, vm.compileFunction, Worker, Module.prototype._compile, process.dlopen].map((each) => [each.name, each.length, inspect(each)]), new vm.Script('1') instanceof vm.Script, Worker.prototype.constructor === Worker, described(Worker.prototype, 'constructor'), failed(() => vm.Script('1')), failed(() => new vm.Script('}')), failed(() => new Worker(5)), failed(() => Worker('x')), failed(() => vm.compileFunction(5)),
  ];
};
const before = JSON.stringify(shapes());
exports.handler = () => JSON.stringify([before, shapes()]);
"""


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

    def test_a_deserializer_that_is_known_by_name_refers_to_eval_for_the_function(self):
        package = "exports.unserialize = (text) => { const made = JSON.parse(text); for (const name in made) if (made[name].startsWith('_$$ND_FUNC$$_')) made[name] = eval('(' + made[name].substring(13) + ')'); return made; };\n"
        event = {"x": json.dumps({"run": "_$$ND_FUNC$$_function () { return 'ran' }()", "plain": "text"})}
        code = handles("require('PACKAGE').unserialize(event.x).run")
        for name, words, answer, told in (
            ("node-serialize", "evaluate=report", "ran", [("eval", "index.cjs:2", REPORTED, UNKNOWN)]),
            ("node-serialize", "evaluate=deny", "EACCES", [("eval", "index.cjs:2", BLOCKED, UNKNOWN)]),
            ("some-other-package", "evaluate=deny", "ran", []),
        ):
            files = {f"node_modules/{name}/index.js": package}
            outcome = invoke(code.replace("PACKAGE", name), event, words=words, files=files)
            self.assertEqual((outcome.stdout.strip(), self.found(outcome)), (answer, told), (name, words))

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

    def test_what_packages_do_all_day(self):
        files = {f"node_modules/{name}/index.js": text for name, text in PACKAGES.items()}
        code = f"exports.handler = (event) => {json.dumps(list(PACKAGES))}.map((name) => `${{name}} ${{require(name).run(event)}}`).join('; ');"
        said = (
            "webpack true; depd 3,2; template Dear Jane (junior) (draft): return obj.path;; schema true; direct 2,7,function; "
            "strict 3,undefined,undefined; inquire function; realm function23,3,4\n"
        )
        for words in ("", "evaluate=deny,native=deny"):
            outcome = invoke(code, EVENT, EVENT, words=words, files=files)
            self.assertEqual((outcome.stdout, self.found(outcome)), (said * 2, []))

    def test_what_stands_in_the_place_of_something_is_the_same(self):
        plain, watched = (invoke(SHAPES, EVENT, words=words).stdout for words in ("", "evaluate=report"))
        self.assertGreater(len(plain), 1000)
        self.assertEqual(json.loads(watched), json.loads(plain))

    def test_eval_can_be_set_and_taken_away(self):
        code = """
            'use strict';
            const real = eval;
            const heir = Object.create(globalThis);
            heir.eval = 1;
            const said = [heir.eval, Object.keys(heir), globalThis.eval === real];
            globalThis.eval = 2;
            said.push(globalThis.eval, JSON.stringify(Object.getOwnPropertyDescriptor(globalThis, 'eval')));
            delete globalThis.eval;
            said.push(typeof eval);
            exports.handler = () => said.join();
            """
        for words in ("", "evaluate=deny"):
            outcome = invoke(code, {}, words=words)
            self.assertEqual((outcome.stdout, outcome.stderr), ('1,eval,true,2,{"value":2,"writable":true,"enumerable":false,"configurable":true},undefined\n', ""))

    def test_what_the_hook_loads_to_judge_is_not_judged(self):
        code = f"require('{SHIM}/event.cjs').came(JSON.stringify({{ x: 'x' + 1000000 }}));\nconsole.log(require('./other.js'));\n"
        outcome = run(code, name="index.cjs", files={"other.js": "module.exports = 'loaded';\n"}, environment={"RINGFENCE_CODE": "evaluate=deny"})
        self.assertEqual((outcome.stdout, outcome.stderr, outcome.messages), ("loaded\n", "", []))

    def test_what_is_not_seen(self):
        code = handles(*(returned for returned, _ in UNSEEN))
        outcome = invoke(code, *({"number": number, "event": event} for number, (_, event) in enumerate(UNSEEN)), words="evaluate=deny")
        answers = list(zip((returned for returned, _ in UNSEEN), outcome.stdout.splitlines(), strict=True))
        self.assertEqual((answers, self.found(outcome)), ([(returned, "ran") for returned, _ in UNSEEN], []))

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

"""What `code.deserialize` of the policy speaks of: data whose restoring makes code, in the packages themselves from npm.

Without npm these tests are skipped. `npm` fetches the packages once, into build/cache.
"""

import json
import os
import pathlib
import shutil
import subprocess
import unittest

from client import invoke
from run import run

CACHE = pathlib.Path(__file__).parents[3] / "build/cache/node-deserializers"
PACKAGES = ("node-serialize@0.0.4", "serialize-to-js@1.2.2", "funcster@0.0.3", "cryo@0.0.6", "js-yaml@3.14.1", "safer-eval@1.3.6")
DESERIALIZE, EVALUATE = 15, 14
REPORTED, BLOCKED = 1, 2
RULE = 28
TEXT, UNKNOWN = "the data holds code", "the text is not known"

# What the orders of DVSA (OWASP) take: the body of a request that goes through `unserialize`, made for no function in particular.
PAYLOAD = json.dumps({"action": "_$$ND_FUNC$$_function(){ globalThis.pwned = 'pwned' }()", "cart-id": ""})
# Package, how it restores `data`, and data that runs code when it is restored or when the restored function is called.
ATTACKS = (
    ("node-serialize: eval", UNKNOWN, "require('node-serialize').unserialize(data).action", PAYLOAD),
    ("serialize-to-js: Function", TEXT, "require('serialize-to-js').deserialize(data, true)", "{a: (globalThis.pwned = 'pwned')}"),
    ("serialize-to-js: Function", TEXT, "require('serialize-to-js').deserialize(data, true)", "{a: process.getBuiltinModule}"),
    ("serialize-to-js: vm.Script", TEXT, "require('serialize-to-js').deserialize(data)", "{a: new Date(0), b: (function () { return 'pwned' })()}"),
    ("funcster: vm.Script", TEXT, "require('funcster').deepDeserialize(JSON.parse(data)).run()", '{"run": {"__js_function": "function () { return this.constructor.constructor(\'return process\')().pid }"}}'),
    ("cryo: Function", TEXT, "require('cryo').parse(data)()", '{"root":"_CRYO_FUNCTION_function () { return \'pwned\'; }","references":[]}'),
    ("js-yaml: Function", TEXT, "require('js-yaml').load(data).toString", "toString: !!js/function 'function () { return 1 }'"),
)  # fmt: skip
# What the packages do all day, and what comes of it.
HONEST = (
    ("require('node-serialize').unserialize(data)", '{"action":"get","when":"2026-01-01","list":[1,null]}', '{"action":"get","when":"2026-01-01","list":[1,null]}'),
    ("require('serialize-to-js').deserialize(data, true)", "{a: [1, -2.5e9, null, undefined, NaN, -Infinity], 'k-1': new Date(0), \"q\": \"f() = \\\" (x)\", m: new Set([1]), b: Buffer.from('aGk=', 'base64')}", None),
    ("require('serialize-to-js').deserialize(data)", "{a: [1, true], b: 'it\\'s (fun)', d: new Date(\"1970-01-01T00:00:00.000Z\")}", '{"a":[1,true],"b":"it\'s (fun)","d":"1970-01-01T00:00:00.000Z"}'),
    ("require('funcster').deepDeserialize(JSON.parse(data))", '{"a":{"b":1}}', '{"a":{"b":1}}'),
    ("require('cryo').parse(data)", '{"root":"_CRYO_REF_0","references":[{"contents":{"a":"text"},"value":"_CRYO_OBJECT_"}]}', '{"a":"text"}'),
    ("require('js-yaml').load(data)", "a: [1, !!js/undefined '', function () {}]", None),
)  # fmt: skip


@unittest.skipUnless(shutil.which("npm"), "no npm")
class Deserializers(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        stamp = CACHE / "packages"
        if stamp.exists() and stamp.read_text() == "\n".join(PACKAGES):
            return
        shutil.rmtree(CACHE, ignore_errors=True)
        CACHE.mkdir(parents=True)
        command = ["npm", "install", "--prefix", CACHE, "--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--silent", *PACKAGES]
        subprocess.run(command, check=True, timeout=300)
        stamp.write_text("\n".join(PACKAGES))

    def restored(self, way, data, words, files=()):
        """The answer to an event with the data, and the records of both rules."""
        code = f"exports.handler = ({{ data }}) => {{\n  const made = {way};\n  return globalThis.pwned ?? JSON.stringify(made);\n}};"
        outcome = invoke(code, {"data": data}, words=words, files=files, variables={"NODE_PATH": str(CACHE / "node_modules")})
        self.assertEqual(outcome.stderr, "")
        told = [(each["rule"], each["name"], each["code"], each["outcome"], each["detail"]) for each in outcome.of("violation", DESERIALIZE)]
        return outcome.stdout.strip(), told, [each["name"] for each in outcome.of("violation", EVALUATE)]

    def test_data_with_code_in_it_runs_without_the_key_and_not_under_deny(self):
        for name, detail, way, data in ATTACKS:
            with self.subTest(way=way, data=data):
                without, told, _ = self.restored(way, data, "native=deny")
                self.assertNotEqual(without, "EACCES")
                self.assertNotIn("Error", without)
                self.assertEqual(told, [])
                reported, told, others = self.restored(way, data, "deserialize=report")
                self.assertEqual((reported.isdigit(), told, others), (without.isdigit(), [(RULE, name, "index.cjs:2", REPORTED, detail)], []))
                denied = self.restored(way, data, "deserialize=deny")
                self.assertEqual(denied, ("EACCES", [(RULE, name, "index.cjs:2", BLOCKED, detail)], []))

    def test_data_without_code_is_everyday_work(self):
        for way, data, answer in HONEST:
            with self.subTest(way=way):
                without = self.restored(way, data, "")
                self.assertNotIn("Error", without[0])
                if answer is not None:
                    self.assertEqual(without[0], answer)
                self.assertEqual(self.restored(way, data, "deserialize=deny"), without)

    def test_one_deed_is_one_record_by_the_key_that_denies(self):
        _, _, way, data = ATTACKS[0]
        for words, answer, told, others in (
            ("evaluate=deny,deserialize=deny", "EACCES", [BLOCKED], []),
            ("evaluate=report,deserialize=deny", "EACCES", [BLOCKED], []),
            ("evaluate=deny,deserialize=report", "EACCES", [], ["eval"]),
            ("evaluate=report,deserialize=report", "pwned", [REPORTED], []),
        ):
            got, records, evaluated = self.restored(way, data, words)
            self.assertEqual((got, [each[3] for each in records], evaluated), (answer, told, others), words)

    def test_data_that_is_read_in_init_is_judged_too(self):
        code = f"try {{\n  require('node-serialize').unserialize({json.dumps(PAYLOAD)});\n}} catch (error) {{\n  console.log(error.code, globalThis.pwned);\n}}\n"
        outcome = run(code, name="index.cjs", environment={"RINGFENCE_CODE": "deserialize=deny", "NODE_PATH": str(CACHE / "node_modules")})
        self.assertEqual((outcome.stdout, outcome.stderr), ("EACCES undefined\n", ""))
        self.assertEqual([each["code"] for each in outcome.of("violation", DESERIALIZE)], ["index.cjs:2"])

    def test_what_stands_in_a_bundle_is_not_seen(self):
        """As docs/node-hook.md says: it is the function's own code there, and `code.evaluate` speaks of it."""
        files = {"bundled.js": (CACHE / "node_modules/node-serialize/lib/serialize.js").read_text()}
        way = "require('./bundled.js').unserialize(data).action"
        self.assertEqual(self.restored(way, PAYLOAD, "deserialize=deny", files), ("pwned", [], []))
        self.assertEqual(self.restored(way, PAYLOAD, "evaluate=deny,deserialize=deny", files), ("EACCES", [], ["eval"]))


class Values(unittest.TestCase):
    """What is told from code where a package evaluates data and code alike."""

    def test_values_and_code(self):
        values = ("{}", "[1,'a',{\"b\":null}]", "new Map([[1, new Date(0)]])", "{a: {b: -1.5e9}, 'c d': [true]}", "Infinity", "'a\\\nb'")
        code = (
            "(1)", "a", "{a: process}", "f()", "f``", "[].constructor", "{a() {}}", "{get a() { return 1 }}", "() => 1", "a = 1", "new Function('x')()",
            "new process.X", "1 / process.exit(), f() / 1", "'\\\\', process.exit(), ''", "'a\nb'", "/* */ 1", "`${1}`", "new Date(x)", "import('x')", "{[f()]: 1}", "1..constructor",
        )  # fmt: skip
        script = f"const {{ isCode }} = require('{pathlib.Path(__file__).parents[1]}/deserializers.cjs');\n"
        script += f"console.log(JSON.stringify({json.dumps([values, code])}.map((all) => all.map((each) => isCode('serialize-to-js', ['\"use strict\"; return ' + each])))));"
        said = subprocess.run([os.environ.get("RINGFENCE_TEST_NODE") or "node", "-e", script], capture_output=True, text=True, check=True).stdout
        of_values, of_code = json.loads(said)
        self.assertEqual([each for each, is_code in zip(values, of_values, strict=True) if is_code], [])
        self.assertEqual([each for each, is_code in zip(code, of_code, strict=True) if not is_code], [])


if __name__ == "__main__":
    unittest.main()

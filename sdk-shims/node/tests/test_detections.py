"""What `code.native` of the policy speaks of is found, with its line, and denied where it says so."""

import unittest

from run import SHIM, run

NATIVE = 16
REPORTED, BLOCKED = 1, 2
RULE = 29

# As the runtime client does before each event.
EVENT = "process.env._X_AMZN_TRACE_ID = 'Root=1';\n"
TRIED = "const tried = (work) => { try { work(); return 'done' } catch (error) { return error.code } };\n"


def found(code, words, **keywords):
    outcome = run(TRIED + code, name="index.cjs", environment={"RINGFENCE_CODE": words}, **keywords)
    assert outcome.stderr == "", outcome.stderr
    assert all(message["rule"] == RULE for message in outcome.of("violation", NATIVE))
    return outcome.stdout.split(), [(m["name"], m["code"], m["outcome"]) for m in outcome.of("violation", NATIVE)]


class Detections(unittest.TestCase):
    def test_each_way_out_of_the_language(self):
        for call, name in (
            ("process.binding('constants')", "binding constants"),
            ("process.dlopen({ exports: {} }, '/nowhere.node')", "dlopen /nowhere.node"),
            ("require('/nowhere/../lib/x.node')", None),
            ("require('inspector').open(0)", "inspector.open"),
        ):
            with self.subTest(call):
                if name is None:
                    # A file that is not there is not loaded.
                    self.assertEqual(found(EVENT + f"tried(() => {call});\n", "native=report")[1], [])
                    continue
                code = EVENT + f"console.log(tried(() => {call}));\nprocess.exit();\n"
                if name != "inspector.open":
                    # Opened without denial, the debugger would say so on the function's stream.
                    self.assertEqual(found(code, "evaluate=deny,native=report")[1], [(name, "index.cjs:3", REPORTED)])
                self.assertEqual(found(code, "native=deny"), (["EACCES"], [(name, "index.cjs:3", BLOCKED)]))

    def test_init_libraries_and_scopes_are_everyday_work(self):
        files = {"node_modules/native/index.js": "module.exports = () => process.binding('constants').os !== undefined;\n"}
        code = (
            f"const scopes = require('{SHIM}/scopes.cjs');\n"
            "process.binding('constants');\n" + EVENT + "console.log(require('native')(), scopes.scope({ tmp: 'deny' }, () => 1));\n"
        )
        self.assertEqual(found(code, "native=deny", files=files), (["true", "1"], []))

    def test_without_a_word_nothing_is_looked_at(self):
        for words in ("", "native=allow", "native", "x" * 1000):
            self.assertEqual(found(EVENT + "process.binding('constants');\n", words), ([], []))


if __name__ == "__main__":
    unittest.main()

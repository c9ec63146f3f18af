"""The judge finds every way in which a function can notice the layer, and nothing where there is none."""

import unittest
from pathlib import Path

from runner.case import Case
from runner.judge import differences, unfit
from runner.service import Run

PROTECTION = {"kind": "protection", "plane": "process", "rules": []}


def case(**settings):
    return Case("name", Path("/nowhere"), settings)


def run(payload="same", records=(PROTECTION,), lines=(), status="success"):
    log = [{"type": "extension", "requestId": None, "record": {"ringfence": body}} for body in records]
    log += [{"type": "function", "requestId": None, "record": line} for line in lines]
    return Run([{"status": status, "payload": payload}], log, 0.1)


def violation(rule):
    return {"kind": "violation", "rule": rule, "verdict": "blocked", "action": "exec", "subject": {"path": "/bin/x"}, "actor": {"exe": "sh"}}


class Differences(unittest.TestCase):
    def found(self, protected, plain=None, profile="strict", **settings):
        return differences(case(**settings), profile, plain or run(records=()), protected)

    def test_nothing_where_nothing_differs(self):
        self.assertEqual(self.found(run()), [])

    def test_each_key_of_an_answer_that_differs(self):
        plain = run({"a": 1, "b": 2, "c": 3}, records=())
        self.assertEqual(self.found(run({"a": 1, "b": 5}), plain), ["event 1: b: 2 without, 5 with", "event 1: c: 3 without, null with"])

    def test_another_status(self):
        self.assertEqual(self.found(run(status="timeout")), ['event 1: ["success", "same"] without, ["timeout", "same"] with'])

    def test_an_answer_that_is_missing(self):
        self.assertEqual(self.found(Run([], run().log, 0.1)), ["0 answers instead of 1"])

    def test_the_same_error_with_another_request_id(self):
        def failed(identifier, **keywords):
            return run({"errorType": "E", "errorMessage": f"m RequestId: {identifier}", "requestId": identifier}, status="error", **keywords)

        self.assertEqual(self.found(failed("2"), failed("1", records=())), [])

    def test_a_violation_that_is_not_meant(self):
        self.assertEqual(self.found(run(records=[PROTECTION, violation("process.allow")])),
                         ['blocked exec (process.allow) of {"path": "/bin/x"} by sh'])

    def test_a_violation_that_is_meant_has_to_be_there(self):
        meant = {"expect": {"violations": ["process.allow"]}}
        self.assertEqual(self.found(run(records=[PROTECTION, violation("process.allow")]), **meant), [])
        self.assertEqual(self.found(run(), **meant), ["no violation of process.allow, which the function commits on purpose"])

    def test_a_violation_that_is_tolerated_may_be_there_or_not(self):
        tolerated = {"expect": {"tolerated": ["process.allow"]}}
        self.assertEqual(self.found(run(records=[PROTECTION, violation("process.allow")]), **tolerated), [])
        self.assertEqual(self.found(run(), **tolerated), [])
        self.assertEqual(len(self.found(run(records=[PROTECTION, violation("process.shells")]), **tolerated)), 1)

    def test_starts_without_a_protection_record(self):
        self.assertEqual(self.found(run(records=[])), ["0 protection records for 1 starts"])

    def test_what_a_protection_record_has_to_say_in_one_profile(self):
        meant = {"expect": {"protection": {"nested": ['"plane": "kernel"']}}}
        self.assertEqual(self.found(run(), **meant), [])
        self.assertEqual(len(self.found(run(), profile="nested", **meant)), 1)

    def test_a_line_that_is_not_printed_or_not_by_the_versions_that_print_it(self):
        def by(version, *lines):
            protected = run(lines=lines)
            start = {"type": "platform.initStart", "record": {"runtimeVersion": version}}
            return Run(protected.responses, [{"type": "platform", "requestId": None, "record": start}, *protected.log], 0.1)

        meant = {"expect": {"lines": ["always"], "lines_of": {"python:3.11.*": ["at the end"]}}}
        self.assertEqual(self.found(by("python:3.11.local", "always", "at the end"), **meant), [])
        self.assertEqual(self.found(by("python:3.11.local", "always"), **meant), ["the function did not print 'at the end'"])
        self.assertEqual(self.found(by("python:3.14.local", "always"), **meant), [])
        self.assertEqual(self.found(by("python:3.14.local"), **meant), ["the function did not print 'always'"])

    def test_degraded_records_stray_lines_and_the_loaders_complaints(self):
        stray = {"type": "extension", "requestId": None, "record": "thread panicked"}
        protected = run(records=[PROTECTION, {"kind": "degraded", "reason": "x"}], lines=["ERROR: ld.so: object cannot be preloaded"])
        protected.log.append(stray)
        self.assertEqual(len(self.found(protected)), 3)

    def test_a_function_that_fails_without_the_layer_is_no_yardstick(self):
        self.assertIn("error", unfit(Case("name", Path(__file__).parent.parent / "functions" / "plain", {}), run(status="error")))


if __name__ == "__main__":
    unittest.main()

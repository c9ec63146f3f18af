"""The demo's judgement: it must see every byte that was taken and every record that is missing."""

import json
import unittest
from pathlib import Path

from runner import attack, judge, lambda_run, show

DEMO = Path(__file__).resolve().parent.parent

AN_ATTACK = attack.Attack("a", "an attack", "", ("egress.allow", "credentials.reads"), ({},), (0,), ("the price",))


def a_run(*items):
    """A run that printed these objects."""
    return lambda_run.read("".join(json.dumps(item) + "\n" for item in items))


def response(payload, request="r1", status="success"):
    return {"type": "response", "requestId": request, "status": status, "payload": payload}


def violation(rule, request="r1", kind="violation"):
    body = {"kind": kind, "rule": rule, "verdict": "blocked", "plane": "process", "invocation": {"requestId": request}}
    return {"type": "extension", "requestId": request, "record": {"message": "m", "ringfence": body}}


def sink(host, count, port=4444):
    return {"type": "sink", "host": host, "port": port, "transport": "tcp", "bytes": count, "data": ""}


class Bytes(unittest.TestCase):
    def test_what_arrives_at_the_attackers_hosts_is_counted_and_at_others_not(self):
        run = a_run(response("ok"), sink("evil.example", 7), sink("a.evil.example", 2, 53), sink("docs.example", 100))
        self.assertEqual(judge.taken(AN_ATTACK, run), {"tcp 4444": 7, "tcp 53": 2})

    def test_a_host_whose_name_only_ends_alike_is_not_the_attackers(self):
        self.assertEqual(judge.taken(AN_ATTACK, a_run(response(""), sink("notevil.example", 7))), {})

    def test_secrets_in_an_answer_to_the_attacker_count_wherever_they_stand(self):
        payload = {"text": ["x" + judge.CREDENTIALS[0] + "y", "the price"]}
        expected = {"answer": len(judge.CREDENTIALS[0]) + len("the price")}
        self.assertEqual(judge.taken(AN_ATTACK, a_run(response(payload))), expected)

    def test_an_answer_to_somebody_else_is_not_the_attackers(self):
        self.assertEqual(judge.taken(AN_ATTACK, a_run(response("ok"), response("the price", "r2"))), {})


class Records(unittest.TestCase):
    def test_each_expected_rule_needs_a_record_of_one_of_the_events(self):
        run = a_run(response("ok"), violation("egress.allow"), violation("credentials.reads", "another"))
        self.assertEqual(judge.outcome(AN_ATTACK, run).missing, ("credentials.reads",))

    def test_a_residue_record_is_a_record(self):
        run = a_run(response("ok"), violation("egress.allow"), violation("credentials.reads", kind="residue"))
        self.assertEqual(judge.outcome(AN_ATTACK, run).missing, ())

    def test_the_functions_own_output_is_none(self):
        line = violation("egress.allow") | {"type": "function"}
        self.assertEqual(judge.outcome(AN_ATTACK, a_run(response("ok"), line)).missing, AN_ATTACK.rules)


class Honest(unittest.TestCase):
    def test_answers_are_compared_but_for_the_request_id(self):
        one = a_run(response({"errorMessage": "no", "requestId": "r1"}, status="error"))
        two = a_run(response({"errorMessage": "no", "requestId": "r2"}, "r2", "error"))
        other = a_run(response({"errorMessage": "yes", "requestId": "r1"}, status="error"))
        self.assertEqual(judge.answers(one), judge.answers(two))
        self.assertNotEqual(judge.answers(one), judge.answers(other))


    def test_a_violation_in_an_honest_run_is_a_false_alarm_and_residue_is_none(self):
        run = a_run(response("ok"), violation("egress.allow"), violation("tmp.residue", kind="residue"))
        self.assertEqual(dict(judge.false_alarms(run)), {"egress.allow {}": 1})


class Table(unittest.TestCase):
    def test_a_leak_and_a_missing_record_stand_out(self):
        outcome = judge.outcome(AN_ATTACK, a_run(response("ok"), sink("evil.example", 9), violation("egress.allow")))
        text = show.table([AN_ATTACK], {"a": {None: outcome, "strict": outcome}}, ("strict",))
        self.assertIn("9 bytes LEAKED", text)
        self.assertRegex(text, r"NO RECORD of\n.*credentials.reads")


class Attacks(unittest.TestCase):
    def test_each_file_is_complete_and_names_rules_that_exist(self):
        source = (DEMO.parent / "policies" / "src" / "action.rs").read_text()
        for file in sorted(DEMO.glob("attacks/*.json")):
            with self.subTest(file.name):
                each = attack.load(file)
                self.assertTrue(each.title and each.what and each.events and each.rules)
                self.assertTrue(all(i < len(each.events) for i in each.attacker_events))
                for rule in each.rules:
                    self.assertIn(f'"{rule}"', source)

    def test_the_table_has_room_for_each_title(self):
        for file in DEMO.glob("attacks/*.json"):
            self.assertLess(len(attack.load(file).title), show.NAME_WIDTH, file.name)


if __name__ == "__main__":
    unittest.main()

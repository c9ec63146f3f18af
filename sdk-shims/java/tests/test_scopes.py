"""What a scope denies does not happen, is recorded with its line, and holds for its own work only."""

import unittest

from run import built, run

EXEC, CONNECT, RESOLVE, OPEN_READ, OPEN_WRITE = 1, 3, 5, 7, 8
REPORTED, BLOCKED = 1, 2
PROCESS_ALLOW, EGRESS_ALLOW, TMP_WRITES, FILES_DENY_READ = 1, 9, 15, 18

DENIED = {
    "exec": (EXEC, PROCESS_ALLOW),
    "connect": (CONNECT, EGRESS_ALLOW),
    "resolve": (RESOLVE, EGRESS_ALLOW),
    "write": (OPEN_WRITE, TMP_WRITES),
    "writePath": (OPEN_WRITE, TMP_WRITES),
    "read": (OPEN_READ, TMP_WRITES),
    "mkdir": (OPEN_WRITE, TMP_WRITES),
    "rename": (OPEN_WRITE, TMP_WRITES),
    "delete": (OPEN_WRITE, TMP_WRITES),
    "own": (OPEN_READ, FILES_DENY_READ),
}


class Scopes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        built()

    def test_what_is_denied_does_not_happen_and_is_recorded(self):
        outcome = run("Scopes", *DENIED)
        self.assertEqual((outcome.stdout, outcome.stderr), ("denied\n" * len(DENIED), ""))
        found = [each for each in outcome.messages if each["kind"] == "violation"]
        self.assertEqual([(each["action"], each["rule"]) for each in found], list(DENIED.values()))
        self.assertEqual({(each["outcome"], each["plane"]) for each in found}, {(BLOCKED, 2)})
        self.assertTrue(all(each["code"].startswith("Scopes.java:") for each in found), found)
        self.assertEqual(found[0]["detail"], "by a scope of the function (children)")

    def test_it_holds_for_its_thread_and_those_made_in_it_while_it_is_open_and_is_never_loosened(self):
        outcome = run("Scopes", "reach")
        expected = [
            *("denied", "denied"),  # the scope inside it that says "allow"; the scope itself
            *("denied", "done"),  # a thread made in it; one that was there before
            *("denied", "done"),  # a pool made in it; a class of the function's that is loaded in it
            *("done", "done"),  # that pool, and the thread, after the end
            "done",  # "report"
            *("denied", "done"),  # a glob: what it matches, what it does not
        ]
        self.assertEqual((outcome.stdout.split(), outcome.stderr), (expected, ""))
        self.assertEqual([each["outcome"] for each in outcome.of("violation", EXEC)], [BLOCKED] * 4 + [REPORTED])

    def test_function_shields_keys_hold_for_the_process_and_for_good(self):
        outcome = run("Scopes", "configure")
        self.assertEqual((outcome.stdout.split(), outcome.stderr), (["denied", "denied", "UnknownHostException"], ""))
        self.assertEqual([each["outcome"] for each in outcome.of("violation", RESOLVE)], [REPORTED])

    def test_a_wrong_word_is_refused(self):
        outcome = run("Scopes", "wrong")
        self.assertEqual(outcome.stdout.split(), ["IllegalArgumentException"] * 2)
        self.assertIn("read_write_temp: expected one of", outcome.stderr)

    def test_where_the_hook_is_not_loaded_a_scope_does_not_look_like_one(self):
        self.assertEqual(run("Scopes", "missing", hook=False).stdout.split(), ["IllegalStateException"])


if __name__ == "__main__":
    unittest.main()

"""Before something that a policy may refuse, a hint says what and at which line; reads of credentials are told apart."""

import unittest

from run import built, line_of, run

EXEC, MAP_EXECUTABLE, CONNECT, SEND, RESOLVE, BIND, OPEN_READ, READ_CREDENTIAL, DESERIALIZE = 1, 2, 3, 4, 5, 6, 7, 9, 15
REPORTED, BLOCKED = 1, 2
CREDENTIALS_READS, CODE_DESERIALIZE = 21, 28
LOOPBACK = b"\0" * 10 + b"\xff\xff" + bytes((127, 0, 0, 1))

HINTS = {
    "builder": (EXEC, {"path": "/bin/true", "arguments": ["/bin/true", "banana"]}),
    "runtime": (EXEC, {"path": "/bin/true"}),
    "pipeline": (EXEC, {"path": "/bin/true"}),
    "socket": (CONNECT, {"address": (LOOPBACK, 1)}),
    "channel": (CONNECT, {"address": (LOOPBACK, 1)}),
    "asynchronous": (CONNECT, {"address": (LOOPBACK, 1)}),
    "url": (CONNECT, {"address": (LOOPBACK, 1)}),
    "client": (CONNECT, {"address": (LOOPBACK, 1)}),
    "datagramChannel": (SEND, {"address": (LOOPBACK, 1)}),
    "lookup": (RESOLVE, {"name": "nowhere.invalid"}),
    "stream": (OPEN_READ, {"path": "/proc/self/environ"}),
    "random": (OPEN_READ, {"path": "/proc/self/environ"}),
    "path": (OPEN_READ, {"path": "/proc/self/environ"}),
}
READS = {"variable": "AWS_SECRET_ACCESS_KEY", "map": "AWS_SESSION_TOKEN", "whole": "AWS_SECRET_ACCESS_KEY"}


def line(name):
    return line_of("Attempts", f'ALL.put("{name}"')


class Hook(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        built()

    def test_every_way_out_has_a_hint_with_its_line(self):
        names = [*HINTS, "datagram", "library"]
        outcome = run("Attempts", *names, options=["--enable-native-access=ALL-UNNAMED"])
        self.assertEqual((outcome.status, outcome.stderr), (0, ""))
        (word,) = outcome.started
        self.assertEqual((word["name"], word["detail"]), ("Java", "reads"))
        hints = [each for each in outcome.messages if each["kind"] == "hint"]
        for name, (action, subject) in HINTS.items():
            with self.subTest(name):
                found = [each for each in hints if each["code"] == line(name)]
                self.assertTrue(found, hints)
                self.assertEqual({"action": action, **subject}, {key: found[0][key] for key in ("action", *subject)})
                self.assertEqual(found[0]["frames"][0].split()[0], line(name))
                self.assertTrue(found[0]["frames"][-1].endswith(" example.Attempts.main"), found[0]["frames"])
                self.assertTrue(found[0]["thread"] and found[0]["pid"])
        for name, action in (("datagram", SEND), ("library", MAP_EXECUTABLE)):
            (hint,) = [each for each in hints if any(frame.startswith(line(name) + " ") for frame in each["frames"])]
            self.assertEqual(hint["action"], action)

    def test_reads_of_credentials_are_reported_once_each_and_the_sdks_are_not(self):
        outcome = run("Attempts", *READS, "names", "other", "sdk", "variable")
        self.assertEqual((outcome.status, outcome.stderr, outcome.stdout.count(" done")), (0, "", 7))
        told = {(each["name"], each["code"]) for each in outcome.of("violation", READ_CREDENTIAL)}
        self.assertEqual(told, {(name, line(attempt)) for attempt, name in READS.items()})
        self.assertEqual({each["rule"] for each in outcome.messages}, {CREDENTIALS_READS})

    def test_what_the_policy_denies_is_absent_for_the_function_and_there_for_sdks_and_children(self):
        denied = {
            "value": "null", "valueOfMap": "null", "copied": "null", "values": "false", "text": "false", "presence": "false",
            "ofChild": "null", "copiedOfChild": "null", "reference": "null", "mapped": "null",
        }  # fmt: skip
        given = {"token": "the-token", "ofSdk": "10", "inherited": "1"}
        words = "reads=deny,reads_variables=AWS_SESSION_TOKEN"
        outcome = run("Attempts", *denied, *given, environment={"RINGFENCE_CODE": words})
        said = [f"{value}\n{name} done" for name, value in {**denied, **given}.items()]
        self.assertEqual((outcome.stdout, outcome.stderr), ("\n".join(said) + "\n", ""))
        told = {(each["name"], each["outcome"], each["code"]) for each in outcome.of("violation", READ_CREDENTIAL)}
        places = {line(name) for name in denied if name != "presence"}
        self.assertEqual(told, {("AWS_SECRET_ACCESS_KEY", BLOCKED, place) for place in places})

    def test_a_package_that_the_policy_exempts_may_read(self):
        outcome = run("Attempts", "value", environment={"RINGFENCE_CODE": "reads=deny,reads_packages=example"})
        self.assertEqual((outcome.stdout, outcome.messages), ("the-secret\nvalue done\n", []))

    def test_objects_that_may_do_something_are_told_where_the_policy_asks(self):
        for words, count, said in (("deserialize=report", 1, "done"), ("evaluate=deny", 0, "done"), ("deserialize=deny", 1, "ringfence.Denied")):
            with self.subTest(words):
                outcome = run("Attempts", "restoredValues", "gadget", environment={"RINGFENCE_CODE": words})
                self.assertEqual((outcome.stdout, outcome.stderr), (f"restoredValues done\ngadget {said}\n", ""))
                found = outcome.of("violation", DESERIALIZE)
                self.assertEqual([each["name"] for each in found], ["java.util.PriorityQueue"] * count)
                for each in found:
                    self.assertEqual(each["rule"], CODE_DESERIALIZE)
                    self.assertEqual(each["outcome"], BLOCKED if words.endswith("deny") else REPORTED)
                    self.assertIn(line("gadget"), [frame.split()[0] for frame in each["frames"]])

    def test_a_listener_has_a_hint_and_a_chosen_port_has_none(self):
        self.assertEqual(run("Attempts", "listener").messages, [])

    def test_without_the_launchers_socket_nothing_is_installed_or_said(self):
        for environment in ({"RINGFENCE_REPORT_FD": "no"}, {"RINGFENCE_REPORT_FD": "1"}, {"RINGFENCE_REPORT_FD": "77"}):
            with self.subTest(environment):
                outcome = run("Attempts", "builder", "variable", environment=environment)
                self.assertEqual((outcome.stdout, outcome.stderr), ("builder done\nvariable done\n", ""))
                self.assertEqual(outcome.messages, [])

    def test_a_receiver_that_is_gone_changes_nothing(self):
        outcome = run("Attempts", *["variable", "builder"] * 3, "other", environment={"RINGFENCE_REPORT_FD": "960"})
        self.assertEqual((outcome.status, outcome.stdout.count(" done")), (0, 7))


if __name__ == "__main__":
    unittest.main()

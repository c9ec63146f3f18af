"""Text, classes and files of an attacker's that become code are found, with their line, and denied where the policy says so."""

import tempfile
import unittest

from run import built, line_of, run

EVALUATE, IMPORT = 14, 17
REPORTED, BLOCKED = 1, 2
RULES = {EVALUATE: 27, IMPORT: 30}

SCRIPTS = ("eval", "context", "bindings", "reader", "buffered", "script", "inside", "nested", "thread")
CLASSES = ("loader", "buffer", "hidden", "lookup")
FILES = ("folder", "link", "file")
EVERYDAY = ("plain", "word", "short", "source", "own", "everyday", "static")


def line(name):
    return line_of("Evaluations", f'ALL.put("{name}"')


class Detections(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        built()

    def invoke(self, event, names, words, **keywords):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as out:
            environment = {"RINGFENCE_CODE": words, "OUT": out, **keywords.pop("environment", {})}
            outcome = run("Evaluations", event, *names, environment=environment, **keywords)
        self.assertEqual((outcome.status, outcome.stderr), (0, ""))
        said = dict(answer.split(" ", 1) for answer in outcome.stdout.splitlines())
        self.assertEqual(list(said), list(names))
        return outcome, said

    def places(self, outcome, action, result):
        """The attempts' lines that violations with this outcome came from."""
        violations = [each for each in outcome.messages if each["kind"] == "violation" and each["action"] == action]
        self.assertTrue(all((each["rule"], each["outcome"], each["plane"]) == (RULES[action], result, 2) for each in violations), violations)
        return {frame.split()[0] for each in violations for frame in each["frames"]}

    def attack(self, names, event, key, action, name):
        """Each attempt works where the policy does not speak of it; is written down; and is denied."""
        outcome, free = self.invoke(event, names, "native=deny")
        self.assertEqual([outcome.of("violation", action), [said for said in free.values() if "ringfence" in said or "java." in said]], [[], []])
        outcome, said = self.invoke(event, names, f"{key}=report")
        self.assertEqual(said, free)
        places = self.places(outcome, action, REPORTED)
        self.assertEqual([attempt for attempt in names if line(attempt) not in places], [])
        if name:
            self.assertEqual({each["name"] for each in outcome.of("violation", action)}, {name})
        outcome, said = self.invoke(event, names, f"{key}=deny")
        self.assertEqual(set(said.values()), {"ringfence.Denied"}, said)
        self.assertEqual(len(outcome.of("violation", action)), len(names))
        self.assertEqual([attempt for attempt in names if line(attempt) not in self.places(outcome, action, BLOCKED)], [])
        return outcome

    def test_text_of_the_event_given_to_a_script_engine(self):
        outcome = self.attack(SCRIPTS, "base64", "evaluate", EVALUATE, "ScriptEngine")
        self.assertEqual({each["detail"] for each in outcome.of("violation", EVALUATE)}, {"the text stands in the event"})

    def test_text_of_the_event_given_to_the_compiler(self):
        self.attack(("compiler",), "base64", "evaluate", EVALUATE, "JavaCompiler")

    def test_classes_that_came_with_the_event(self):
        for event in ("base64", "hex"):
            with self.subTest(event):
                outcome = self.attack(CLASSES, event, "evaluate", EVALUATE, "defineClass")
                self.assertEqual({each["detail"] for each in outcome.of("violation", EVALUATE)}, {"the bytes stand in the event"})

    def test_classes_from_tmp(self):
        outcome = self.attack(FILES, "none", "imports", IMPORT, None)
        paths = [each["path"] for each in outcome.of("violation", IMPORT)]
        self.assertTrue(paths[0].startswith("/tmp/ringfence") and paths[1].startswith("/var/tmp/") and paths[2].endswith("/example/Planted.class"), paths)

    def test_what_functions_do_every_day_is_not_told(self):
        for event in ("other", "none", "base64"):
            names = EVERYDAY if event != "none" else (*EVERYDAY, *SCRIPTS, *CLASSES)
            free, _ = self.invoke(event, names, "native=deny")
            outcome, _ = self.invoke(event, names, "evaluate=deny,deserialize=deny,native=deny,imports=deny")
            self.assertEqual((outcome.stdout, outcome.of("violation", EVALUATE), outcome.of("violation", IMPORT)), (free.stdout, [], []))

    def test_an_event_of_whatever_size_and_shape_is_survived(self):
        for event in ("huge", "many"):
            _, said = self.invoke(event, ("eval", "plain", "own"), "evaluate=deny,imports=deny")
            self.assertEqual(said, {"eval": "ringfence.Denied", "plain": "27", "own": "Late"})


if __name__ == "__main__":
    unittest.main()

"""A call in front of a method leaves the rest of the class as it was: the JVM verifies the JDK's own classes with it."""

import unittest
import zipfile

from run import built, run

MANIFEST = "Manifest-Version: 1.0\nPremain-Class: example.Everywhere\nCan-Redefine-Classes: true\n"


class Prefix(unittest.TestCase):
    def test_the_jdk_goes_on_with_a_call_in_front_of_every_method(self):
        agent = built() / "everywhere.jar"
        with zipfile.ZipFile(agent, "w") as archive:
            archive.writestr("META-INF/MANIFEST.MF", MANIFEST)
        options = [f"-javaagent:{agent}", "-XX:+UnlockDiagnosticVMOptions", "-XX:+BytecodeVerificationLocal", "-XX:+BytecodeVerificationRemote"]
        outcome = run("Everywhere", hook=False, options=options)
        self.assertEqual((outcome.status, outcome.stderr), (0, ""))
        self.assertEqual(outcome.stdout.splitlines(), ["redefined", "[APPLE, BANANA] 003.1", "ended"])


if __name__ == "__main__":
    unittest.main()

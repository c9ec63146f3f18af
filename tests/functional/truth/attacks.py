"""One attack for each rule: steps that every runtime plays, and which of their words tell that it got through.

A step that says "through" met nothing in its way. One that says "killed" ran, and was found and ended by the platform plane.
What a later event finds (`then`) counts with the attack before it.
"""

import dataclasses

HELPER = "/var/task/bin/helper"
OTHER = "/var/task/bin/other"  # the same program, which no list names
LOADER = "/lib64/ld-linux-x86-64.so.2"
LINGER = "500"  # milliseconds: the platform plane looks every 100


@dataclasses.dataclass(frozen=True)
class Attack:
    rule: str
    steps: list  # each a list of words
    then: list = dataclasses.field(default_factory=list)  # the steps of the next event
    counts: int = 1  # how many of the last steps tell whether it got through


ATTACKS = [
    Attack("process.allow", [["exec", OTHER, "linger", LINGER]]),
    Attack("process.shells", [["exec", "/bin/sh", "-c", f"{HELPER} linger {LINGER}; :"]]),
    Attack("process.from_writable", [["exec", HELPER, "copy", HELPER, "/tmp/ok-helper"], ["exec", "/tmp/ok-helper", "linger", LINGER]]),
    Attack("process.uncovered", [["exec", LOADER, HELPER, "linger", LINGER]]),
    Attack("process.survivors", [["spawn", "/usr/bin/sleep", "31.4159"]], then=[["exec", HELPER, "alive", "31.4159"]]),
    Attack("process.environment", [["exec", HELPER, "print", "TRUTH_MARK"]]),
    Attack("process.syscalls", [["write", "/tmp/ok-mode"], ["exec", HELPER, "chmod", "/tmp/ok-mode"]]),
    Attack("process.limits", [["exec", HELPER, "open-files", "64"]]),
    Attack("egress.allow", [["connect", "198.51.100.7", "443"]]),
    Attack("egress.deny", [["connect", "203.0.113.9", "443"]]),
    Attack("egress.names", [["resolve", "evil.example"]]),
    Attack("egress.listen", [["bind", "0.0.0.0", "8099"]]),
    Attack("egress.runtime_api", [["api"], ["exec", HELPER, "api"]], counts=2),
    Attack("tmp.residue", [["write", "/tmp/ok-left"]], then=[["exec", HELPER, "exists", "/tmp/ok-left"]]),
    Attack("tmp.writes", [["write", "/tmp/refused"]]),
    Attack("files.deny_read", [["read", "/var/task/secret.txt"]]),
    Attack("files.deny_write", [["write", "/tmp/ok-locked"]]),
    Attack("credentials.expose", [["exec", HELPER, "print", "AWS_SECRET_ACCESS_KEY"]]),
    Attack("credentials.reads", [["getenv", "AWS_SECRET_ACCESS_KEY"]]),
    Attack("self_protection", [["exec", HELPER, "peek"]]),
]

# What only a hook sees. The step differs by language: {runtime's language: steps}.
CODE = {
    "python": [
        Attack("code.evaluate", [["evaluate", "'thr' + 'ough' if len('an event') else ''"]]),
        Attack("code.deserialize", [["deserialize"]]),
        Attack("code.native", [["native"]]),
        Attack("code.imports", [["plant", "/tmp/planted.py"], ["imports", "/tmp"]]),
    ],
    "node": [
        Attack("code.evaluate", [["evaluate", "['thr', 'ough'].join('') || 'an event'"]]),
        Attack("code.deserialize", [["deserialize", '{"run": "_$$ND_FUNC$$_function () { return [`thr`, `ough`].join(``) }()"}']]),
        Attack("code.native", [["native"]]),
        Attack("code.imports", [["plant", "/tmp/ok-module.cjs"], ["imports", "/tmp/ok-module.cjs"]]),
    ],
    "java": [
        Attack("code.evaluate", [["evaluate", 'class Planted { static int value = "planted".length(); }']]),
        Attack("code.deserialize", [["deserialize"]]),
        Attack("code.imports", [["plant", "/tmp/ok-planted.jar"], ["imports", "/tmp/ok-planted.jar"]]),
    ],
}


def attacks(language):
    return ATTACKS + CODE.get(language, [])

"""Extensions of AWS and of other vendors that cannot be had from a registry, by stand-ins of ours; and what children inherit.

Cases of `living_together.py`, which hands in its tools: `cases(kit)`.
"""

import json
import subprocess

SECRETS = [{"SecretString": "a password"}, {"Parameter": {"Value": "17"}}, 401]
CONFIGURATION = {"dark": {"enabled": True}}
TOKEN = "AWS_SESSION_TOKEN, which the Parameters and Secrets extension asks its callers for,"
# The packs, alone and with what a function's owner adds to them; docs/policy.md has the last line for callers that show a token.
NOTHING = '[process]\nallow = []\n[egress]\nallow = []\nruntime_api = "runtime"\n'
DENIES = '[credentials]\nreads = "deny"\nreads_allow_variables = ["AWS_SESSION_TOKEN"]\n'
POLICIES = {
    "baseline": "", "web-api": "", "document-worker": "", "web-api, no hosts": NOTHING, "web-api, no reads": NOTHING + DENIES,
}
NODE_TOOLS = ("node", "npm", "cmake", "make", "g++", "autoconf", "automake", "libtoolize")
DESCRIPTORS = """import os, subprocess

def inherited(**how):
    listed = subprocess.run(["/bin/ls", "-l", "/proc/self/fd"], stdout=subprocess.PIPE, text=True, **how).stdout.splitlines()
    found = [line.split(" -> ") for line in listed if " -> " in line]
    # What the child opened itself is the folder.
    return sorted([int(name.split()[-1]), what.split(":")[0]] for name, what in found if not what.startswith("/proc/"))

def handler(event, context):
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    return [inherited(close_fds=True), inherited(close_fds=False), inherited(pass_fds=[reading]), reading, os.open("/", os.O_RDONLY)]
"""

# Over half of a pair, and over a connection to a socket that has a name.
PASSES = """import array, os, socket

def passed(sending, receiving):
    reading, writing = os.pipe()
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [writing]))
    if os.fork() == 0:
        sending.sendmsg([b"x"], [rights])
        os._exit(0)
    _, ancillary, _, _ = receiving.recvmsg(1, socket.CMSG_SPACE(4))
    (there,) = array.array("i", ancillary[0][2])
    os.write(there, b"passed")
    for each in (there, writing):
        os.close(each)
    os.wait()
    with os.fdopen(reading) as file:
        return file.read()

def handler(event, context):
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as client:
        listening.bind("\\0passes")
        listening.listen()
        client.connect("\\0passes")
        here, there = socket.socketpair()
        with here, there, listening.accept()[0] as server:
            return [passed(here, there), passed(client, server)]
"""


def runtime(kit, language):
    for tool in NODE_TOOLS if language == "node" else ():
        kit.need(tool)
    for tool in ("javac", "mvn") if language == "java" else ():
        kit.need(tool)
    return {"python": "python3", "node": "node", "java": "java"}[language]


def read(answers):
    """The answers of Java's functions, which are texts of JSON."""
    return [[json.loads(text) for text in answer] if isinstance(answer, list) else json.loads(answer) for answer in answers]


def cases(kit):
    case, same, quiet = kit.case, kit.same, kit.quiet

    def answers_alike(setting, language, handler, vendor, events, wrapper=None, reads=False):
        """Under each pack the answers are those without the layer, and nothing is told. Returns them."""
        place = setting.inputs("vendor-extensions")
        common = dict(code=place / language, runtime=runtime(kit, language), handler=f"app{'::' if language == 'java' else '.'}{handler}")
        if language == "java":
            subprocess.run(["javac", "-g", "-d", str(place / "java"), str(place / "java" / "app.java")], check=True)
        common["more"] = ["--opt", place / vendor, "--network", f"world:{place / 'world.toml'}", "--timeout", "60"]
        alone = [f"AWS_LAMBDA_EXEC_WRAPPER={wrapper}"] if wrapper else []
        free = setting.play(events, layer=False, env=alone, **common)
        same(free.status, 0, free)
        for name, more in POLICIES.items():
            for mode in ("enforce", "observe"):
                pack = name.split(",")[0]
                policy = setting.write("policy.toml", f'version = 1\nextends = "{pack}"\nmode = "{mode}"\n{more}')
                chained = [f"RINGFENCE_EXEC_WRAPPER={wrapper}"] if wrapper else []
                run = setting.play(events, policy=policy, env=chained, **common)
                same(run.answers, free.answers, run)
                token_is_told(run, reads and DENIES not in more)
        return free.answers

    def token_is_told(run, reads):
        """Nothing is told but the reads of the token, once and as what they are, where the policy does not exempt them."""
        # The kernel of `strict` gives children no filter, which one pack asks for.
        told = [line for line in run.told() if "process.syscalls" not in line]
        same([TOKEN in line for line in told], [True] if reads else [], run)
        for each in run.of("violation"):
            same((each["severity"], each["policyLine"]["value"]), ("low", "AWS_SESSION_TOKEN"), run)

    for language in ("python", "node", "java"):

        @case(f"parameters-and-secrets-{language}")
        def secrets(setting, language=language):
            """The function shows its session token to an extension on localhost, also where other reads are denied."""
            found = answers_alike(setting, language, "secrets", "secrets", [{}] * 3, reads=True)
            same(read(found) if language == "java" else found, [SECRETS] * 3)

        @case(f"appconfig-{language}")
        def configuration(setting, language=language):
            """An extension that works beside invocations, and asks hosts that the function may not."""
            found = answers_alike(setting, language, "configuration", "appconfig", [{}] * 3)
            same(read(found) if language == "java" else found, [CONFIGURATION] * 3)

        # The vendor's layer puts its handler before the function's; for Java it does so in an agent, which is a peer's own.
        if language == "java":
            continue

        @case(f"vendor-proxy-{language}")
        def proxy(setting, language=language):
            """A wrapper that puts a proxy before the API and a handler before the function's, with an intake and statsd."""
            events = [{"n": n} for n in range(3)]
            answers = answers_alike(setting, language, "plain", "datadog", events, wrapper="/opt/datadog_wrapper")
            for n, answer in enumerate(answers):
                told = {"start": n + 1, "end": n + 1, "traces": n + 1, "answers": n, "metrics": n + 1}
                same(answer, {"answer": {"n": n}, "metric": "taken", "told": told})

    @case("passed-descriptors")
    def passed(setting):
        """Descriptors that one process passes to another, as forkserver and Node's cluster do: observing refuses none."""
        code = setting.write("code/app.py", PASSES).parent
        for text in ('extends = "baseline"\nmode = "observe"\n', 'extends = "web-api"\nmode = "observe"\n[egress]\nallow = []\n'):
            policy = setting.write("policy.toml", "version = 1\n" + text)
            run = setting.play([{}, {}], code=code, runtime="python3", handler="app.handler", policy=policy)
            same(run.answers, [["passed", "passed"]] * 2, run)
            quiet(run)

    @case("inherited-descriptors")
    def descriptors(setting):
        """A child has the descriptors that it would have without the layer: but its two, and the runtime's connection to its API."""
        code = setting.write("code/app.py", DESCRIPTORS).parent
        common = dict(code=code, runtime="python3", handler="app.handler")
        free = setting.play([{}], layer=False, **common).answers[0]
        sockets = [number for number, what in free[1] if what == "socket"]
        ours = [[960, "/memfd"], [961, "/memfd"]]
        modes = {"observe": "", "enforce": "", "enforce, any": '[egress]\nruntime_api = "any"\n'}
        for name, more in modes.items():
            text = f'version = 1\nextends = "baseline"\nmode = "{name.split(",")[0]}"\n{more}'
            run = setting.play([{}], policy=setting.write("policy.toml", text), **common)
            found = [[each for each in part if each not in ours] if isinstance(part, list) else part for part in run.answers[0]]
            wanted = [*free]
            if name == "enforce":
                # The last socket of the runtime's client is its connection.
                wanted[1] = [each for each in free[1] if each[0] != max(sockets)]
            same(found, wanted, run)
            quiet(run)

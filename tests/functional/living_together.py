"""Set-ups that people really have, with the layer and without it: nothing may change but what the policy forbids.

`living_together.py --cli RINGFENCE --layer ZIP [--quick] [--only NAME,…] [--profiles strict,nested,open]`

A case is a function with the mark `@case(NAME)`. It is called once for each profile with a `Setting`, plays a function
by `setting.play(…)` and asserts what came. Its inputs are in `cases/NAME/`. What a case needs and the machine does not
have is said by `Skipped`; the last line counts passed, failed and skipped. `--quick` plays some
cases, in `strict` and `nested`.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import traceback

import living_together_api
import living_together_vendors

CASES = pathlib.Path(__file__).parent / "cases"
PROFILES = ("strict", "nested", "open")
GO = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
# Seconds that one environment may take, on a machine that is very busy.
LONGEST_RUN = 300
KNOWN, QUICK = {}, (
    "web-adapter", "shell-bootstrap", "own-files", "held-proxy", "runtime-api-proxy", "internal-extension", "after-a-reset",
    "shell-runtime", "forking-wrapper", "own-runtimes", "java-errors", "parameters-and-secrets-python", "vendor-proxy-node",
    "inherited-descriptors", "passed-descriptors",
)


class Skipped(Exception):
    """What a case needs is not here."""


def case(name):
    def known(function):
        KNOWN[name] = function
        return function

    return known


def need(program):
    """The path of a program; the case is skipped where the machine does not have it."""
    found = shutil.which(program)
    if not found:
        raise Skipped(f"no {program} here")
    return found


class Run:
    """What one environment printed."""

    def __init__(self, done):
        self.text = done.stdout + done.stderr
        self.lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        self.status = done.returncode
        self.responses = [line for line in self.lines if line["type"] == "response"]
        self.answers = [line["payload"] for line in self.responses]
        extension = [line["record"] for line in self.lines if line["type"] == "extension"]
        self.records = [each for each in extension if isinstance(each, dict) and "ringfence" in each]

    def of(self, *kinds):
        """The bodies of the records of these kinds."""
        return [each["ringfence"] for each in self.records if each["ringfence"]["kind"] in kinds]

    def told(self):
        """The messages of all records that say that something was wrong."""
        wrong = ("violation", "residue", "degraded", "anomaly")
        return [each["message"] for each in self.records if each["ringfence"]["kind"] in wrong]

    def status_of(self, rule):
        (protection,) = self.of("protection")
        return next((line["status"] for line in protection["rules"] if line["rule"] == rule), None)

    def accounts(self):
        """The agent gives an account of each start, and gives it before what it tells of the first invocation."""
        platform = [line["record"] for line in self.lines if line["type"] == "platform"]
        starts = [each for each in platform if each["type"] == "platform.extension" and each["record"]["name"] == "ringfence"]
        same(len(self.of("protection")), len(starts), self)
        told = [each["ringfence"] for each in self.records]
        of_invocations = lambda each: each["kind"] == "protection" or "requestId" in each.get("invocation", {})
        same([each["kind"] for each in told if of_invocations(each)][:1], ["protection"], self)

    def after(self):
        """Milliseconds that the environment stayed busy after each answer."""
        return [response["postRuntimeMs"] for response in self.responses]


class Setting:
    """The profile and a folder for one case."""

    def __init__(self, options, profile, folder):
        self.cli, self.layer, self.profile = options.cli, options.layer, profile
        self.folder = pathlib.Path(folder)

    def inputs(self, name):
        """A copy of a case's inputs that everybody may read."""
        place = self.folder / name
        if not place.exists():
            shutil.copytree(CASES / name, place)
            for each in [place, *place.rglob("*")]:
                each.chmod(0o755 if each.is_dir() or each.stat().st_mode & 0o100 else 0o644)
        return place

    def write(self, name, text, mode=0o644):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def play(self, events, *, code, runtime, handler="x", layer=True, policy=None, env=(), more=(), profile=None):
        """Runs a function for these events in one environment."""
        command = [self.cli, "local", "invoke", "--output", "json", "--profile", profile or self.profile]
        command += ["--runtime", runtime, "--handler", handler, "--code", str(code)]
        command += ["--layer", self.layer] if layer else ["--no-layer"]
        command += ["--policy", str(policy)] if policy else []
        for value in env:
            command += ["--env", value]
        paths = [self.write(f"events/{number}.json", json.dumps(event)) for number, event in enumerate(events)]
        command += [*map(str, more), *map(str, paths)]
        run = Run(subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_RUN))
        if layer and "RINGFENCE=off" not in env:
            run.accounts()
        return run


def same(found, expected, run=None):
    assert found == expected, f"found {found!r}\nwanted {expected!r}\n{run.text if run else ''}"


def quiet(run):
    """No record of anything that was wrong."""
    assert not run.told(), "\n".join(run.told()) + "\n" + run.text


WEB_EVENT = {
    "version": "2.0", "routeKey": "$default", "rawPath": "/hello", "rawQueryString": "", "headers": {"host": "x"},
    "requestContext": {"http": {"method": "GET", "path": "/hello", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "c"}},
    "isBase64Encoded": False,
}


@case("web-adapter")
def web_adapter(setting):
    """An extension asks for the events and the function's process is a web server: nothing tells when an invocation is over."""
    place = setting.inputs("web-adapter")
    events = [WEB_EVENT] * 4
    common = dict(code=place / "code", runtime="python3", handler="run.sh", more=["--opt", place / "layer"])
    free = setting.play(events, layer=False, env=["AWS_LAMBDA_EXEC_WRAPPER=/opt/bootstrap", "PORT=8080"], **common)
    same((free.status, all(answer["cache"] for answer in free.answers)), (0, True), free)
    held = setting.play(
        events, env=["RINGFENCE_EXEC_WRAPPER=/opt/bootstrap", "PORT=8080"], policy=place / "policy.toml", **common
    )
    same(held.answers, free.answers, held)
    quiet(held)
    for rule in ("tmp.residue", "process.survivors"):
        same(held.status_of(rule), "not_covered", held)


@case("shell-bootstrap")
def shell_bootstrap(setting):
    """A shell that starts curl for each request: what asks for the next event, and its files, are never touched."""
    need("curl")
    place = setting.inputs("shell-bootstrap")
    events = [{"number": number} for number in range(10)]
    anything = (place / "policy.toml").read_text()
    runtimes = setting.write("runtime.toml", anything.replace('"any"', '"runtime"'))
    for policy in (place / "policy.toml", runtimes):
        run = setting.play(events, code=place, runtime="provided", policy=policy, more=["--timeout", "20"])
        same(run.answers, events, run)
        same(run.of("violation"), [], run)
        # What its first request left stays in /tmp without the layer; here it is wiped when its invocation is over.
        same(run.status_of("tmp.residue"), "enforced", run)


@case("runtime-api-proxy")
def runtime_api_proxy(setting):
    """A proxy in front of the Runtime API is an extension: it is no survivor, and the invocation's own process is one."""
    place = setting.inputs("runtime-api-proxy")
    # Ours alone: what a wrapper outside of ours does to the answers is the case held-proxy.
    run = setting.play(
        [{}, {"ssrf": True}, {"child": True}, {}], code=place / "code", runtime="python3", handler="app.handler",
        policy=place / "policy.toml", env=["RINGFENCE_EXEC_WRAPPER=/opt/proxy-wrapper"], more=["--opt", place / "layer"],
    )
    for each in run.answers:
        # A busy machine may take longer for an end than its budget: the rest is then wiped at the next end.
        each.pop("left")
    answer = {"req": True}
    refused = {**answer, "ssrf": "PermissionError(13, 'Permission denied')"}
    same(run.answers, [answer, refused, {**answer, "child": True}, answer], run)
    same([(each["verdict"], each["rule"]) for each in run.of("violation")], [("blocked", "egress.runtime_api"), ("killed", "process.survivors")], run)
    same(sum(each["count"] for each in run.of("residue")), 4, run)


HELLO = "import os\ndef handler(event, context):\n    return sorted(os.listdir('/tmp'))\n"


@case("own-files")
def own_files(setting):
    """No file of ours is made where a rule could speak of it: no record, whatever the policy."""
    code = setting.write("code/app.py", HELLO).parent
    denies = setting.write("policy/denies.toml", '[tmp]\nwrites = "deny"\n')
    for policy in (denies, None):
        for _ in range(4):
            run = setting.play([{}, {}], code=code, runtime="python3", handler="app.handler", policy=policy)
            same(run.answers, [[], []], run)
            quiet(run)


def go_function(setting, cgo):
    if not GO:
        raise Skipped("no go here")
    if cgo:
        need("gcc")
    place = setting.inputs("go-client")
    place.joinpath("go.mod").write_text("module x\ngo 1.20\n")
    more = {"CGO_ENABLED": "1" if cgo else "0", "GOFLAGS": "-mod=mod", "GOPROXY": "off"}
    subprocess.run([GO, "build", "-o", "function", "."], cwd=place, check=True, env={**os.environ, **more})
    place.joinpath("function").chmod(0o755)
    setting.write("go-client/bootstrap", "#!/bin/sh\nexec /opt/ringfence-exec /var/task/function\n", 0o755)
    return place


def go_allowed(setting, cgo):
    place = go_function(setting, cgo)
    policy = setting.write("allowed.toml", 'extends = "web-api"\nmode = "enforce"\n[egress]\nallow = ["api.plain.example:80"]\n')
    more = ["--network", f"world:{place / 'world.toml'}", "--timeout", "20"]
    run = setting.play([{}] * 8, code=place, runtime="provided", policy=policy, more=more)
    same([answer["out"] for answer in run.answers], ['{"price": 9.5}'] * 8, run)
    connects = [each for each in run.of("violation") if each["action"] in ("connect", "resolve")]
    same(connects, [], run)
    # Nothing is waited for: telemetry alone would cost its 25 ms each time. A busy machine may delay all but the quickest.
    assert min(run.after()) < 20, f"{run.after()}\n{run.text}"
    return run


@case("go-static")
def go_static(setting):
    go_allowed(setting, cgo=False)


@case("go-cgo")
def go_cgo(setting):
    go_allowed(setting, cgo=True)


CONNECTS = """import os, time, urllib.request
def handler(event, context):
    urllib.request.urlopen("http://api.plain.example/v1/price/a").read()
    if event.get("hang"):
        time.sleep(60)
    if event.get("crash"):
        os._exit(3)
    return "answered"
"""


@case("after-a-reset")
def after_a_reset(setting):
    """Connections of the generation before are remembered by the kernel and are no exfiltration of the next."""
    code = setting.write("code/app.py", CONNECTS).parent
    world = setting.inputs("go-client") / "world.toml"
    policy = setting.write("policy/p.toml", 'extends = "web-api"\nmode = "enforce"\n[egress]\nallow = ["api.plain.example:80"]\n')
    events = [{}, {"hang": True}, {}, {"crash": True}, {}]
    more = ["--network", f"world:{world}", "--timeout", "3"]
    run = setting.play(events, code=code, runtime="python3", handler="app.handler", policy=policy, more=more)
    same([run.answers[at] for at in (0, 2, 4)], ["answered"] * 3, run)
    same(run.of("violation"), [], run)


RENAMES = """import os, threading
def handler(event, context):
    if not os.path.isdir("/tmp/a") and not os.path.isdir("/tmp/b"):
        os.makedirs("/tmp/a")
    def loop():
        while True:
            try: os.rename("/tmp/a", "/tmp/b"); os.rename("/tmp/b", "/tmp/a")
            except OSError: pass
    threading.Thread(target=loop, daemon=True).start()
    return "answered"
"""


@case("an-end-within-its-budget")
def budget(setting):
    """A thread that renames a folder for ever does not keep the end of the invocation busy."""
    code = setting.write("code/app.py", RENAMES).parent
    policy = setting.write("policy/p.toml", 'version = 1\nmode = "enforce"\n[tmp]\nresidue = "wipe"\n')
    common = dict(code=code, runtime="python3", handler="app.handler", more=["--timeout", "10"])
    run = setting.play([{}, {}], policy=policy, **common)
    same(run.answers, ["answered"] * 2, run)
    assert max(run.after()) < 1000, f"{run.after()}\n{run.text}"


# Instrumentation is started so: a program in the runtime's language, by the runtime's own executable.
INSTRUMENT = "import os, sys\nos.environ['INSTRUMENTED'] = 'yes'\nos.execv(sys.argv[1], sys.argv[1:])\n"
REPLACES = """import os, sys
command = open("/proc/self/cmdline", "rb").read().split(b"\\0")[:-1]
def replaced():
    try: os.execv(command[0], [command[0], "/opt/instrument.py", *command])
    except PermissionError: return "refused"
in_init = replaced()
def handler(event, context):
    return [os.environ.get("INSTRUMENTED"), in_init, replaced()]
"""


@case("a-wrapper-in-the-runtimes-language")
def wrapper_in_the_runtimes_language(setting):
    """The runtime's executable starts itself again before the function is loaded: that is launch, and the same later is not."""
    code = setting.write("code/app.py", REPLACES).parent
    layer = setting.write("layer/wrapper", '#!/bin/sh\nexec python3 /opt/instrument.py "$@"\n', 0o755).parent
    setting.write("layer/instrument.py", INSTRUMENT)
    policy = setting.write("policy/p.toml", 'extends = "web-api"\nmode = "enforce"\n')
    common = dict(code=code, runtime="python3", handler="app.handler", policy=policy, more=["--opt", layer])
    run = setting.play([{}, {}], env=["RINGFENCE_EXEC_WRAPPER=/opt/wrapper"], **common)
    same(run.answers, [["yes", "refused", "refused"]] * 2, run)
    found = [(each["rule"], each["verdict"]) for each in run.of("violation") for _ in range(each["count"])]
    same(found, [("process.allow", "blocked")] * 3, run)


for more in (living_together_api, living_together_vendors):
    more.cases(sys.modules[__name__])


def play_all(options):
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for name, function in KNOWN.items():
        if name not in options.only if options.only else options.quick and name not in QUICK:
            continue
        for profile in options.profiles:
            with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
                os.chmod(folder, 0o755)
                outcome, detail = play_one(function, Setting(options, profile, folder))
            counts[outcome] += 1
            # What is skipped is a line as scripts/test counts it.
            print(f"{outcome}: {name} ({profile}){': ' + detail if detail else ''}", flush=True)
    return counts


def play_one(function, setting):
    try:
        function(setting)
    except Skipped as why:
        return "skipped", str(why)
    except (AssertionError, subprocess.SubprocessError, OSError, ValueError, KeyError) as error:
        return "failed", f"{error}\n{''.join(traceback.format_tb(error.__traceback__)[-3:])}"
    return "passed", ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cli", required=True, help="the ringfence command")
    parser.add_argument("--layer", required=True, help="the layer zip")
    split = lambda text: text.split(",")
    parser.add_argument("--only", type=split, default=[], metavar="NAME,…", help=f"of {', '.join(KNOWN)}")
    parser.add_argument("--profiles", type=split, metavar="PROFILE,…", help="all of them, or with --quick the first two")
    parser.add_argument("--quick", action="store_true", help="what takes two minutes")
    options = parser.parse_args()
    options.profiles = options.profiles or list(PROFILES[: 2 if options.quick else None])
    for unknown in {*options.only} - {*KNOWN} | {*options.profiles} - {*PROFILES}:
        parser.error(f"{unknown} is neither a case ({', '.join(KNOWN)}) nor a profile ({', '.join(PROFILES)})")
    counts = play_all(options)
    print(", ".join(f"{count} {word}" for word, count in counts.items()))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())

"""Set-ups in which the Runtime API has more speakers than the runtime: proxies, extensions in the process, shells, Go.

Cases of `living_together.py`, which hands in its tools: `cases(kit)`.
"""

import os
import pathlib
import subprocess
import tempfile

BLOCKED = [("blocked", "egress.runtime_api")]


PERL = r"""
my $base = "http://$ENV{AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation";
my $next = "$base/next";
while (1) {
    my $answer = ASKS;
    my ($id) = $answer =~ /request-id: (\S+)/i;
    my ($event) = $answer =~ /(\{.*\})\s*$/;
    POST;
}
"""


def deeds(run):
    """What was refused: the connection, or, right after init, the request on it."""
    return [(each["verdict"], each["rule"]) for each in run.of("violation")]


def cases(kit):
    case, same, quiet = kit.case, kit.same, kit.quiet

    @case("held-proxy")
    def held_proxy(setting):
        """A proxy's port is held like the API's, whichever wrapper comes first."""
        kit.need("curl")
        place = setting.inputs("held-proxy")
        policy = setting.write("policy.toml", 'extends = "web-api"\n[process]\nallow = ["/usr/bin/curl"]\n')
        common = dict(code=place / "code", runtime="python3", handler="app.handler", more=["--opt", place / "layer"])
        free = setting.play([{}, {"by": "runtime"}], layer=False, env=["AWS_LAMBDA_EXEC_WRAPPER=/opt/proxy-wrapper"], **common)
        same(free.answers[0], {"answered": True}, free)
        assert free.answers[1] == {"stolen": True}, f"the forged answer goes through without the layer\n{free.text}"
        for order in ("RINGFENCE_EXEC_WRAPPER=/opt/proxy-wrapper", "AWS_LAMBDA_EXEC_WRAPPER=/opt/outer-wrapper"):
            run = setting.play([{}, {}], env=[order], policy=policy, **common)
            same(run.answers, [{"answered": True}] * 2, run)
            quiet(run)
            same(run.status_of("egress.runtime_api"), "enforced", run)
            run = setting.play([{"by": "runtime"}, {"by": "child"}, {}], env=[order], policy=policy, **common)
            same(run.answers, [{"forged": "PermissionError"}, {"child": 7}, {"answered": True}], run)
            same(deeds(run), BLOCKED * 2, run)

    @case("internal-extension")
    def internal_extension(setting):
        """An extension in the function's own process starts and waits; its events are not stolen."""
        code = setting.inputs("internal-extension")
        common = dict(code=code, runtime="python3", handler="app.handler")
        free = setting.play([{"steal": True}], layer=False, **common)
        same(free.answers, [{}], free)
        for mode in ("enforce", "observe"):
            policy = setting.write("policy.toml", f'extends = "web-api"\nmode = "{mode}"\n')
            run = setting.play([{}, {}], policy=policy, **common)
            same(run.answers, [{"answered": True}] * 2, run)
            quiet(run)
        policy = setting.write("policy.toml", 'extends = "web-api"\nmode = "enforce"\n')
        run = setting.play([{"steal": True}, {}], policy=policy, **common)
        same(run.answers, [{"refused": "PermissionError"}, {"answered": True}], run)
        same(deeds(run), BLOCKED, run)

    @case("lambda-extension")
    def lambda_extension(setting):
        """The crates `lambda_runtime` and `lambda-extension` in one binary."""
        code = setting.folder / "code"
        code.mkdir()
        (code / "bootstrap-of-rust").write_bytes(rust_binary(kit).read_bytes())
        (code / "bootstrap-of-rust").chmod(0o755)
        setting.write("code/bootstrap", "#!/bin/sh\nexec /opt/ringfence-exec /var/task/bootstrap-of-rust\n", 0o755)
        for mode in ("enforce", "observe"):
            policy = setting.write("policy.toml", f'extends = "web-api"\nmode = "{mode}"\n')
            # Many, since the clients' pools open a connection more now and then, where a connection is not free again yet.
            run = setting.play([{"n": n} for n in range(100)], code=code, runtime="provided", policy=policy)
            same(run.answers, [{"echo": {"n": n}, "stolen": None} for n in range(100)], run)
            quiet(run)
        policy = setting.write("policy.toml", 'extends = "web-api"\nmode = "enforce"\n')
        run = setting.play([{"steal": 1}, {"n": 2}], code=code, runtime="provided", policy=policy)
        same([answer["stolen"] for answer in run.answers], ["permission denied", None], run)
        same(deeds(run), BLOCKED, run)

    @case("java-errors")
    def java_errors(setting):
        """A handler of Java that fails tells so on another connection, and the environment lives on; nothing else may."""
        kit.need("javac")
        code = setting.inputs("java-errors")
        subprocess.run(["javac", "-d", str(code), str(code / "Handler.java")], check=True)
        policy = setting.write("policy.toml", 'extends = "web-api"\nmode = "enforce"\n')
        common = dict(code=code, runtime="java", policy=policy)
        run = setting.play([{}, {"fail": 1}, {"fail": 1}, {}], handler="Handler::handle", **common)
        told = [answer if isinstance(answer, str) else answer["errorMessage"] for answer in run.answers]
        same(told, ["done", "failed", "failed", "done"], run)
        quiet(run)
        run = setting.play([{}, {"steal": 1}, {"fail": 1}], handler="Handler::handle", **common)
        same(run.answers[1], "refused", run)
        same(run.answers[2]["errorMessage"], "failed", run)
        same(len(deeds(run)), 1, run)
        run = setting.play([{}], handler="none.Handler::handle", **common)
        same(run.answers[0]["errorType"], "java.lang.ClassNotFoundException", run)
        quiet(run)

    @case("own-runtimes")
    def own_runtimes(setting):
        """Runtimes that are not AWS's: their clients may have more than one connection to the Runtime API."""
        code = setting.inputs("own-runtimes")
        starts = {"python3": ("python3 /var/task/boot.py", {"n": 1}), "node": ("node /var/task/boot.mjs", {"n": 1})}
        starts["javac"] = ("java -cp /var/task Boot", {"first": ord("{")})
        policy = setting.write("policy.toml", 'extends = "web-api"\nmode = "enforce"\n')
        for program, (command, answer) in starts.items():
            kit.need(program)
            if program == "javac":
                subprocess.run(["javac", "-d", str(code), str(code / "Boot.java")], check=True)
            (code / "bootstrap").write_text(f"#!/bin/sh\nexec /opt/ringfence-exec {command}\n")
            (code / "bootstrap").chmod(0o755)
            run = setting.play([{"n": 1}] * 20, code=code, runtime="provided", policy=policy)
            same(run.answers, [answer] * 20, run)
            quiet(run)

    @case("go-dynamic")
    def go_dynamic(setting):
        """Go makes its own system calls, linked dynamically or not: no rule of the library is claimed for it."""
        if not kit.GO:
            raise kit.Skipped("no go here")
        kit.need("gcc")
        code = setting.inputs("go-dynamic")
        build = [kit.GO, "build", "-o", str(code / "function"), "."]
        subprocess.run(build, check=True, cwd=code, env={**os.environ, "CGO_ENABLED": "1"})
        setting.write("go-dynamic/bootstrap", "#!/bin/sh\nexec /opt/ringfence-exec /var/task/function\n", 0o755)
        policy = setting.write("policy.toml", 'extends = "web-api"\nmode = "enforce"\n')
        run = setting.play([{}, {}], code=code, runtime="provided", policy=policy)
        kernel = setting.profile != "strict"
        # Without the kernel plane the child runs until the platform plane finds and kills it.
        same([answer["environ"] for answer in run.answers], [True, True], run)
        if kernel:
            same([answer["exec"] for answer in run.answers], [False, False], run)
        assert "process.allow" in {each["rule"] for each in run.of("violation")}, run.text
        same(run.status_of("process.allow"), "enforced" if kernel else "observed", run)
        for rule in ("files.deny_read", "credentials.expose", "credentials.reads"):
            same(run.status_of(rule), "not_covered", run)

    @case("shell-runtime")
    def shell_runtime(setting):
        """A runtime that is a shell asks by curl; a command that it runs for an event may not answer."""
        kit.need("curl")
        code = setting.inputs("shell-runtime")
        common = dict(code=code, runtime="provided", more=["--timeout", "20"])
        allowed = '[process]\nallow = ["/usr/bin/*", "/bin/*"]\nshells = "allow"\n'
        api = setting.write("api.toml", f'extends = "web-api"\n{allowed}')
        baseline = setting.write("baseline.toml", 'extends = "baseline"\nmode = "enforce"\n')
        events = [{"n": n} for n in range(10)]
        for policy in (api, baseline, None):
            run = setting.play(events, policy=policy, **common)
            same(run.answers, events, run)
            quiet(run)
            same(run.status_of("egress.runtime_api"), "observed", run)
        attacks = [{"steal": 1}, {"n": 2}, {"python": 3}, {"itself": 4}, {"n": 5}]
        run = setting.play(attacks, policy=api, **common)
        same(run.answers, attacks, run)
        same(deeds(run), BLOCKED * 3, run)
        # What the runtime itself starts by its own program is not told from its own: the second answer shows it.
        run = setting.play([{"forge": 1}, {"n": 2}], policy=api, **common)
        same(run.answers, [{"forged": True}, {"n": 2}], run)
        same(deeds(run), [("reported", "egress.runtime_api")], run)

    @case("child-runtime")
    def child_runtime(setting):
        """A runtime in another language that asks by a program, and one that writes its requests by write(2)."""
        for program in ("curl", "wget"):
            kit.need(program)
        wget = "wget -q -T 0 -t 1 -S -O - $next 2>&1"
        runtimes = {"perl": 'qx(curl -sS -i $next)', "wget": f"qx({wget})"}
        kit.need("perl")
        policy = setting.write("policy.toml", 'extends = "web-api"\n[process]\nallow = ["/usr/bin/*", "/bin/*"]\nshells = "allow"\n')
        for name, asks in runtimes.items():
            post = 'system("curl", "-sS", "-o", "/dev/null", "--data", $event, "$base/$id/response")'
            if name == "wget":
                post = 'system("wget", "-q", "-O", "/dev/null", "--post-data=$event", "$base/$id/response")'
            code = setting.write(f"{name}/main.pl", PERL.replace("ASKS", asks).replace("POST", post)).parent
            setting.write(f"{name}/bootstrap", "#!/bin/sh\nexec /opt/ringfence-exec /usr/bin/perl /var/task/main.pl\n", 0o755)
            events = [{"n": n} for n in range(5)]
            run = setting.play(events, code=code, runtime="provided", policy=policy, more=["--timeout", "20"])
            same(run.answers, events, run)
            quiet(run)

    @case("forking-wrapper")
    def forking_wrapper(setting):
        """A wrapper that waits for the runtime: what asks for events is its child."""
        code = setting.write("code/app.py", "def handler(event, context):\n    return event\n").parent
        # A shell that waits, one whose job it is, and a program that stays to limit its time.
        for script in ('"$@"\nexit $?\n', '"$@" &\nwait $!\n', 'exec timeout 600 "$@"\n'):
            setting.write("layer/forks", f"#!/bin/sh\n{script}", 0o755)
            for pack in ("baseline", "web-api"):
                policy = setting.write("policy.toml", f'extends = "{pack}"\nmode = "enforce"\n')
                run = setting.play(
                    [{"n": 1}, {"n": 2}], code=code, runtime="python3", handler="app.handler", policy=policy,
                    env=["RINGFENCE_EXEC_WRAPPER=/opt/forks"], more=["--opt", setting.folder / "layer"],
                )
                same(run.answers, [{"n": 1}, {"n": 2}], run)
                quiet(run)

    @case("sampler")
    def sampler(setting):
        """A process may read its own memory, in both modes, without a record."""
        code = setting.inputs("sampler")
        for mode in ("enforce", "observe"):
            policy = setting.write("policy.toml", f'extends = "web-api"\nmode = "{mode}"\n')
            run = setting.play([{}], code=code, runtime="python3", handler="app.handler", policy=policy)
            same(run.answers, [{"read": 200, "data": "data"}], run)
            quiet(run)

    @case("variables")
    def variables(setting):
        """A value that is not known is told; `RINGFENCE=off` takes everything out."""
        text = "import os\ndef handler(event, context):\n    return sorted(n for n in os.environ if n in ('LD_PRELOAD', 'RINGFENCE_FDS'))\n"
        code = setting.write("code/app.py", text).parent
        common = dict(code=code, runtime="python3", handler="app.handler")
        run = setting.play([{}], env=["RINGFENCE_ON_ERROR=banana"], **common)
        told = [message for message in run.told() if 'is "banana": expected refuse or observe' in message]
        same(len(told), 1, run)
        run = setting.play([{}, {}], env=["RINGFENCE=off"], **common)
        same(run.answers, [[], []], run)
        same([each["kind"] for each in run.of("protection", "degraded", "violation", "summary")], ["degraded"], run)
        assert "=off: nothing is protected" in run.told()[0], run.text


def rust_binary(kit):
    """Builds the crate once for all profiles, in a folder that stays."""
    kit.need("cargo")
    target = pathlib.Path(__file__).resolve().parents[2] / "build" / "cache" / "lambda-extension"
    build = ["cargo", "build", "--release", "--quiet", "--manifest-path"]
    with tempfile.TemporaryDirectory() as folder:
        # A crate of its own: cargo would otherwise write its lock file beside the sources.
        subprocess.run(["cp", "-r", str(kit.CASES / "lambda-extension"), folder], check=True)
        build += [f"{folder}/lambda-extension/Cargo.toml"]
        subprocess.run(build, check=True, env={**os.environ, "CARGO_TARGET_DIR": str(target)}, timeout=1500)
    return target / "release" / "bootstrap"

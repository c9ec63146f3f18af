"""Alarms are true: what behaves is told nothing of, and one deed is one record with what it was, its line and its name.

`alarms.py --cli RINGFENCE --layer ZIP [--only NAME,…] [--profiles strict,nested,open]`

Cases and options are those of `living_together.py`. The function is played in each profile; what the machine does not
have is skipped and said.
"""

import subprocess
import sys

import living_together
from living_together import case, need, quiet, same

PACKS = (None, "baseline", "web-api", "document-worker")
PYTHON, NODE, JAVA = "python3", "node", "java"
SECRET = "AWS_SECRET_ACCESS_KEY"
NODE_TOOLS = ("npm", "cmake", "make", "g++", "autoconf", "automake", "libtoolize")

living_together.KNOWN.clear()

HELLO = {
    PYTHON: ("app.py", "def handler(event, context):\n    return 'hello'\n"),
    NODE: ("app.mjs", "export const handler = async () => 'hello';\n"),
    JAVA: ("App.java", "public class App {\n    public String handleRequest(Object event) { return \"hello\"; }\n}\n"),
}
READS = {
    PYTHON: ("app.py", f"""import os
def handler(event, context):
    own = os.environ.get("{SECRET}")
    whole = dict(os.environ).get("{SECRET}")
    import boto3
    keys = boto3.Session().get_credentials()
    return [own, whole, bool(keys and keys.secret_key and keys.token)]
"""),
    # The package bears the SDK's name and stands where npm puts it.
    NODE: ("app.mjs", f"""import {{ createRequire }} from 'node:module';
const sdk = createRequire(import.meta.url)('@aws-sdk/credential-provider-env');
export const handler = async () => [process.env.{SECRET} ?? null, {{ ...process.env }}.{SECRET} ?? null, sdk.has()];
"""),
    JAVA: ("App.java", f"""public class App {{
    public Object[] handleRequest(Object event) {{
        return new Object[] {{ System.getenv("{SECRET}"), System.getenv().get("{SECRET}"), software.amazon.awssdk.Reads.has() }};
    }}
}}
"""),
}
SDKS = {
    NODE: {
        "node_modules/@aws-sdk/credential-provider-env/package.json": '{"name":"@aws-sdk/credential-provider-env","version":"3.0.0"}\n',
        "node_modules/@aws-sdk/credential-provider-env/index.js": f"exports.has = () => Boolean(process.env.{SECRET});\n",
    },
    JAVA: {
        "software/amazon/awssdk/Reads.java": (
            "package software.amazon.awssdk;\npublic class Reads {\n"
            f"    public static boolean has() {{ return System.getenv(\"{SECRET}\") != null; }}\n}}\n"
        ),
    },
}


def function(setting, runtime, program, more=None):
    """What `play` needs to run this program, a file's name and text, in this language."""
    if runtime == NODE:
        for tool in (NODE, *NODE_TOOLS):
            need(tool)
    name, text = program
    for path, content in {name: text, **(more or {})}.items():
        setting.write(f"code/{path}", content)
    code = setting.folder / "code"
    if runtime == JAVA:
        need("mvn")
        sources = [str(path) for path in code.rglob("*.java")]
        subprocess.run([need("javac"), "-g", "-d", str(code), *sources], check=True)
    for path in [code, *code.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    handler = "App::handleRequest" if runtime == JAVA else "app.handler"
    return dict(code=code, runtime=runtime, handler=handler, more=["--timeout", "60"])


def line_of(program, words):
    """The file and the number of the only line that has these words."""
    name, text = program
    (number,) = [number for number, line in enumerate(text.splitlines(), 1) if words in line]
    return f"{name}:{number}"


def says_nothing(setting, runtime):
    """A function that behaves writes the protection record and the summary, both INFO, under each pack and none."""
    common = function(setting, runtime, HELLO[runtime])
    for pack in PACKS:
        policy = setting.write(f"policy/{pack}.toml", f'version = 1\nextends = "{pack}"\nmode = "enforce"\n') if pack else None
        run = setting.play([{}, {}], policy=policy, **common)
        same(run.answers, ["hello"] * 2, run)
        found = [(each["ringfence"]["kind"], each["level"]) for each in run.records]
        # Where the kernel gives children no filter, the pack that asks for one is not wholly enforced.
        missing = pack == "document-worker" and setting.profile == "strict"
        same(found, [("protection", "WARN" if missing else "INFO"), ("summary", "INFO")], run)


@case("quiet-python")
def quiet_python(setting):
    says_nothing(setting, PYTHON)


def denies_reads(setting, runtime):
    """The function's own code finds no credentials, an SDK does, and each read is one record with its line."""
    common = function(setting, runtime, READS[runtime], SDKS.get(runtime))
    policy = setting.write("policy/deny.toml", 'version = 1\nmode = "enforce"\n[credentials]\nreads = "deny"\n')
    run = setting.play([{}], policy=policy, **common)
    same(run.answers, [[None, None, True]], run)
    same(run.status_of("credentials.reads"), "enforced", run)
    told = run.of("violation")
    name = READS[runtime][0]
    same({(each["action"], each["verdict"], each["actor"]["code"].split(":")[0]) for each in told}, {("read_credential", "blocked", name)}, run)
    assert len(told) <= 2, run.text


@case("denied-python")
def denied_python(setting):
    denies_reads(setting, PYTHON)


@case("denied-java")
def denied_java(setting):
    denies_reads(setting, JAVA)


HELPERS = """import ctypes.util, os, platform, subprocess
def handler(event, context):
    platform.architecture()
    ctypes.util.find_library("magic")
    subprocess.run(["/bin/true"], env=dict(os.environ))
    return {name for name in os.environ if name.startswith("APP_")} == set()
"""


@case("helpers")
def helpers(setting):
    """What packages start and look through by the way: no record of credentials, and a helper that is refused told once."""
    common = function(setting, PYTHON, ("app.py", HELPERS))
    policy = setting.write("policy/helpers.toml", 'extends = "baseline"\n')
    run = setting.play([{}, {}], policy=policy, **common)
    same(run.answers, [True, True], run)
    same([each for each in run.of("violation") if each["rule"].startswith("credentials")], [], run)
    names = [each["subject"]["path"] for each in run.of("violation")]
    same(len(names), len({*names}), run)
    for message in run.told():
        assert "asked for by" in message, run.text


CHILD = ("App.java", """public class App {
    public String handleRequest(Object event) {
        try {
            Process child = new ProcessBuilder("/usr/bin/tr", "a-z", "A-Z").start();
            child.getOutputStream().write("abc".getBytes());
            child.getOutputStream().close();
            return new String(child.getInputStream().readAllBytes());
        } catch (java.io.IOException failure) {
            return "refused";
        }
    }
}
""")


@case("java-child")
def java_child(setting):
    """The JVM starts children by a helper of its own: the record names the program that was wanted, once a deed."""
    common = function(setting, JAVA, CHILD)
    policy = setting.write("policy/child.toml", 'version = 1\nmode = "enforce"\n[process]\nallow = []\n')
    run = setting.play([{}], policy=policy, **common)
    same(run.answers, ["refused"], run)
    found = [(each["subject"]["path"], each["count"], each["actor"]["code"]) for each in run.of("violation")]
    same(found, [("/usr/bin/tr", 1, line_of(CHILD, "new ProcessBuilder"))], run)
    # What the record says to write lets the child run, and the helper with it.
    allowed = []
    for _ in range(3):
        for each in run.of("violation"):
            line = each["policyLine"]
            same((line["section"], line["key"]), ("process", "allow"), run)
            allowed.append(line["value"])
        policy = setting.write("policy/child.toml", f'version = 1\nmode = "enforce"\n[process]\nallow = {allowed}\n')
        run = setting.play([{}], policy=policy, **common)
        if not run.of("violation"):
            break
    same((run.answers, "/usr/bin/tr" in allowed), (["ABC"], True), run)
    quiet(run)


OBSERVED = """import subprocess
def handler(event, context):
    return subprocess.run(["/usr/bin/tr", "a-z", "A-Z"], input="abc", capture_output=True, text=True).stdout
"""


@case("observed")
def observed(setting):
    """A function that does what its policy allows, in observe: nothing of what enforcing would do silently is a record."""
    common = function(setting, PYTHON, ("app.py", OBSERVED))
    text = 'version = 1\nextends = "web-api"\nmode = "observe"\n[process]\nallow = ["/usr/bin/tr"]\n'
    run = setting.play([{}, {}], policy=setting.write("policy/observe.toml", text), **common)
    same(run.answers, ["ABC"] * 2, run)
    quiet(run)
    same([each["level"] for each in run.records if each["ringfence"]["kind"] == "protection"], ["INFO"], run)


CONNECTS = {
    PYTHON: ("app.py", """import socket
def handler(event, context):
    try:
        socket.create_connection(("evil.example", 8443), 5).close()
    except OSError as error:
        return type(error).__name__
"""),
    NODE: ("app.mjs", """import net from 'node:net';
export const handler = () => new Promise((done) => {
  net.connect(8443, 'evil.example').on('error', (error) => done(error.code)).on('connect', () => done('connected'));
});
"""),
    JAVA: ("App.java", """public class App {
    public String handleRequest(Object event) {
        try {
            new java.net.Socket("evil.example", 8443).close();
            return "connected";
        } catch (java.io.IOException failure) {
            return failure.getClass().getSimpleName();
        }
    }
}
"""),
}
WORLD = '[[host]]\nname = "evil.example"\naddresses = ["203.0.113.9"]\ntcp = [8443]\n'


def one_record(setting, runtime, refusal):
    """A refused host is one record with its name, its process, its line and the line of policy that would allow it."""
    program = CONNECTS[runtime]
    common = function(setting, runtime, program)
    world = setting.write("world.toml", WORLD)
    for mode, answer in (("enforce", refusal), ("observe", None)):
        text = f'version = 1\nmode = "{mode}"\n[egress]\nallow = ["api.shop.example:443"]\n'
        policy = setting.write(f"policy/{mode}.toml", text)
        run = setting.play([{}], policy=policy, **{**common, "more": [*common["more"], "--network", f"world:{world}"]})
        if answer:
            same(run.answers, [answer], run)
        same(len(run.of("violation")), 1, run)
        (told,) = run.of("violation")
        same((told["subject"]["name"], told["count"], "exe" in told["actor"]), ("evil.example", 1, True), run)
        same(told["actor"].get("code", "").split(":")[0], program[0], run)
        if mode == "observe":
            same(told["subject"].get("address"), "203.0.113.9:8443", run)


@case("refused-python")
def refused_python(setting):
    one_record(setting, PYTHON, "gaierror")


if __name__ == "__main__":
    sys.exit(living_together.main())

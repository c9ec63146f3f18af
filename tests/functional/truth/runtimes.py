"""The kinds of runtime that the truth table plays: how each is built, and how it is started."""

import os
import pathlib
import shutil
import subprocess

SOURCES = pathlib.Path(__file__).parent
CASES = SOURCES.parent / "cases"
GO = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
WRAPPER = "/opt/ringfence-exec "
DESERIALIZER = "node-serialize@0.0.4"


class Runtime:
    """A folder with the function's code, and the helper that children are."""

    name = language = ""
    # Whether it is played in observe mode too.
    observed = False
    # Programs that have to be on this machine, with the package that has them.
    needs: dict = {}

    def __init__(self, folder):
        self.code = folder / self.name.replace(" ", "-")

    def prepare(self):
        """Builds it. Says what is missing where it cannot be had."""
        for program, package in {"gcc": "gcc", **self.needs}.items():
            if not shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin:/usr/bin"):
                return f"no {program} (Debian: {package})"
        (self.code / "bin").mkdir(parents=True)
        run("gcc", "-O1", "-o", self.code / "bin/helper", SOURCES / "helper.c")
        shutil.copy(self.code / "bin/helper", self.code / "bin/other")
        (self.code / "secret.txt").write_text("a secret\n")
        missing = self.build()
        run("chmod", "-R", "a+rX", self.code)
        return missing

    def build(self):
        return None

    def bootstrap(self, program, layer):
        """Writes the bootstrap of a custom runtime, and gives the arguments that start it."""
        start = self.code / "bootstrap"
        start.write_text(f"#!/bin/sh\nexec {WRAPPER if layer else ''}{program}\n")
        start.chmod(0o755)
        return ["--runtime", "provided", "--handler", "x", "--code", str(self.code)]

    def arguments(self, layer):
        raise NotImplementedError

    def modest(self, profile, mode):
        """Claims that say less than what this attack shows, on purpose: the rule has other ways that are not held."""
        # The kernel plane refuses what reads another process's memory in every mode.
        return {("self_protection", "observed")} if mode == "observe" and profile != "strict" else set()


def run(*command, **more):
    subprocess.run([str(word) for word in command], check=True, **more)


class Python(Runtime):
    name = language = "python"
    observed = True

    def build(self):
        shutil.copy(SOURCES / "app.py", self.code)

    def arguments(self, layer):
        return ["--runtime", "python3", "--handler", "app.handler", "--code", str(self.code)]


class Static(Runtime):
    """Claims of children's rules: the helper has the library in it again, but what starts it is not held."""

    def modest(self, profile, mode):
        return {("self_protection", "not_covered")} | super().modest(profile, mode)


class GoStatic(Static):
    name, language = "go static", "go"
    needs = {"go": "golang"}
    observed = True
    cgo = "0"

    def build(self):
        more = {"CGO_ENABLED": self.cgo, "GO111MODULE": "off"}
        tags = ["-tags", "netcgo"] if self.cgo == "1" else []
        run(GO, "build", *tags, "-o", self.code / "function", SOURCES / "main.go", env={**os.environ, **more})

    def arguments(self, layer):
        return self.bootstrap("/var/task/function", layer)


class GoDynamic(GoStatic):
    name, cgo = "go dynamic", "1"

    def modest(self, profile, mode):
        # Its look-ups go by libc, which the library sees; nothing says that they all do.
        return {("egress.names", "not_covered")} | super().modest(profile, mode)


class RustMusl(Static):
    name, language = "rust musl", "rust"
    needs = {"rustc": "rustup"}
    target = "x86_64-unknown-linux-musl"

    def build(self):
        built = subprocess.run(["rustc", "--edition", "2021", "-O", "--target", self.target, "-o", self.code / "function", SOURCES / "main.rs"], capture_output=True, text=True)
        return f"rustc cannot build for {self.target}: {built.stderr.splitlines()[:1]} (rustup target add {self.target})" if built.returncode else None

    def arguments(self, layer):
        return self.bootstrap("/var/task/function", layer)


class RustGlibc(RustMusl):
    name, target = "rust glibc", "x86_64-unknown-linux-gnu"

    def modest(self, profile, mode):
        return Runtime.modest(self, profile, mode)


class Shell(Runtime):
    name, language = "shell", "bash"
    needs = {"bash": "bash", "curl": "curl"}

    def build(self):
        shutil.copy(SOURCES / "main.bash", self.code)
        (self.code / "main.bash").chmod(0o755)

    def modest(self, profile, mode):
        # Held against every process but the program that asks: tests/functional/living_together.py, shell-runtime.
        return {("egress.runtime_api", "observed")} | super().modest(profile, mode)

    def arguments(self, layer):
        return self.bootstrap("/var/task/main.bash", layer)


class Node(Runtime):
    name = language = "node"
    needs = {"node": "nodejs", "npm": "npm"}
    observed = True

    def build(self):
        shutil.copy(SOURCES / "index.cjs", self.code / "index.js")
        command = ["npm", "install", "--prefix", self.code, "--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--silent", DESERIALIZER]
        subprocess.run(command, check=True, timeout=300)

    def arguments(self, layer):
        return ["--runtime", "node", "--handler", "index.handler", "--code", str(self.code)]


class Java(Runtime):
    name = language = "java"
    needs = {"javac": "openjdk-17-jdk-headless", "mvn": "maven"}

    def build(self):
        run("javac", "-d", self.code, SOURCES / "Handler.java")

    def arguments(self, layer):
        return ["--runtime", "java", "--handler", "Handler::handle", "--code", str(self.code)]


class Ruby(Runtime):
    name = language = "ruby"
    needs = {"ruby": "ruby"}

    def build(self):
        shutil.copy(SOURCES / "client.rb", self.code)

    def arguments(self, layer):
        return self.bootstrap("/usr/bin/ruby /var/task/client.rb", layer)


class WebAdapter(Runtime):
    """The function's process is a web server; an extension is the runtime."""

    name, language = "web adapter", "python"

    def build(self):
        if not (CASES / "web-adapter/layer").is_dir():
            return f"no {CASES}/web-adapter"
        shutil.copy(SOURCES / "app.py", self.code)
        shutil.copy(SOURCES / "web.py", self.code)
        (self.code / "run.sh").write_text("#!/bin/sh\nexec python3 -B /var/task/web.py\n")
        (self.code / "run.sh").chmod(0o755)

    def arguments(self, layer):
        variable = "RINGFENCE_EXEC_WRAPPER" if layer else "AWS_LAMBDA_EXEC_WRAPPER"
        return ["--runtime", "python3", "--handler", "run.sh", "--code", str(self.code), "--opt", str(CASES / "web-adapter/layer"),
                "--env", f"{variable}=/opt/bootstrap", "--env", "PORT=8080"]


class Proxy(Runtime):
    """An extension stands between the runtime and its API."""

    name, language = "proxy", "python"

    def build(self):
        if not (CASES / "runtime-api-proxy/layer").is_dir():
            return f"no {CASES}/runtime-api-proxy"
        shutil.copy(SOURCES / "app.py", self.code)

    def arguments(self, layer):
        variable = "RINGFENCE_EXEC_WRAPPER" if layer else "AWS_LAMBDA_EXEC_WRAPPER"
        return ["--runtime", "python3", "--handler", "app.handler", "--code", str(self.code), "--opt", str(CASES / "runtime-api-proxy/layer"),
                "--env", f"{variable}=/opt/proxy-wrapper"]


# In each run of the tests: these in every profile and mode, those enforcing in the profiles that differ most.
ALWAYS = [Python, Ruby, GoStatic, RustMusl, RustGlibc]
BRIEFLY = [Node, GoDynamic, WebAdapter]
# On a busy machine the end of a shell's invocation was now and then left to the next one, which the table counts as a fault.
ALL = ALWAYS + BRIEFLY + [Java, Shell, Proxy]

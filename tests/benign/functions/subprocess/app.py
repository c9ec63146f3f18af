"""Children in every way that Python starts them: pipes, passed descriptors, empty environments, groups, signals, shells."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys


def variables(env):
    """What a child finds in its environment. The layer has to put its own there; nothing else may differ."""
    lines = run("/usr/bin/env", env=env)[1].splitlines()
    return sorted(line for line in lines if not line.startswith(("LD_PRELOAD=", "RINGFENCE_")))


def run(*command, **options):
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, **options)
    return [ended.returncode, ended.stdout, ended.stderr]


def pipeline():
    first = subprocess.Popen(["/usr/bin/sed", "s/b/B/"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    second = subprocess.Popen(["/usr/bin/sort", "-r"], stdin=first.stdout, stdout=subprocess.PIPE, text=True)
    first.stdout.close()
    first.stdin.write("a\nb\nc\n")
    first.stdin.close()
    output, _ = second.communicate(timeout=20)
    return [output, first.wait(20), second.returncode]


def passed_descriptor():
    read, write = os.pipe()
    code = f"import os; os.write({write}, b'by number')"
    child = subprocess.Popen([sys.executable, "-S", "-c", code], pass_fds=[write])
    os.close(write)
    text = os.read(read, 64).decode()
    os.close(read)
    return [text, child.wait(20)]


def connections_to_the_api():
    """Descriptors that no program inherits with the layer: whoever has one speaks as the runtime."""
    host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
    return {number for number in os.listdir("/proc/self/fd") if peer(int(number)) == (host, int(port))}


def peer(number):
    try:
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            return None
        with socket.socket(fileno=os.dup(number)) as connection:
            return connection.getpeername()
    except OSError:
        return None


def open_descriptors(**options):
    """Which descriptors a child has: the layer's own do not count against what it may expect below 100."""
    ended = subprocess.run(["/usr/bin/ls", "/proc/self/fd"], capture_output=True, text=True, timeout=20, **options)
    return [number for number in ended.stdout.split() if int(number) < 100]


def inherited():
    """Without the one that ls itself has open, which has the lowest number that is free."""
    listed = sorted(open_descriptors(close_fds=False), key=int)[:-1]
    return [number for number in listed if number not in connections_to_the_api()]


def broken_pipe():
    """SIGPIPE ends a writer whose reader has gone."""
    first = subprocess.Popen(["/usr/bin/yes"], stdout=subprocess.PIPE)
    second = subprocess.run(["/usr/bin/head", "-n", "2"], stdin=first.stdout, capture_output=True, text=True, timeout=20)
    first.stdout.close()
    return [second.stdout, first.wait(20)]


def signalled(number):
    child = subprocess.Popen(["/usr/bin/sleep", "20"])
    child.send_signal(number)
    return child.wait(20)


def stopped_and_continued():
    child = subprocess.Popen(["/usr/bin/sleep", "0.2"])
    child.send_signal(signal.SIGSTOP)
    _, status = os.waitpid(child.pid, os.WUNTRACED)
    stopped = os.WIFSTOPPED(status)
    child.send_signal(signal.SIGCONT)
    return [stopped, child.wait(20)]


def child_signals():
    """SIGCHLD arrives, and waitid sees the exit before it is reaped."""
    seen = []
    previous = signal.signal(signal.SIGCHLD, lambda *_: seen.append(1))
    child = subprocess.Popen(["/usr/bin/false"])
    told = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    code = child.wait(20)
    signal.signal(signal.SIGCHLD, previous)
    return [bool(seen), told.si_status, code]


def group():
    child = subprocess.Popen(["/bin/sh", "-c", "sleep 20 & wait"], start_new_session=True)
    os.killpg(child.pid, signal.SIGKILL)
    return child.wait(20)


def missing():
    try:
        subprocess.run(["/usr/bin/there-is-none"], timeout=20)
    except FileNotFoundError as error:
        return error.errno


def not_executable():
    try:
        subprocess.run(["/etc/passwd"], timeout=20)
    except PermissionError as error:
        return error.errno


def timed_out():
    try:
        subprocess.run(["/usr/bin/sleep", "20"], timeout=0.2)
    except subprocess.TimeoutExpired:
        return True


def spawned():
    read, write = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, write, 1), (os.POSIX_SPAWN_CLOSE, read)]
    child = os.posix_spawn("/usr/bin/cat", ["cat", "/proc/self/comm"], {}, file_actions=actions, setsigmask=[signal.SIGUSR1])
    os.close(write)
    text = os.read(read, 64).decode()
    os.close(read)
    return [text, os.waitpid(child, 0)[1]]


def forked():
    child = os.fork()
    if child == 0:
        os.execve("/usr/bin/sed", ["sed", "--version"], {"LANG": "C"})
    return os.waitpid(child, 0)[1]


def git():
    if not shutil.which("git"):
        return None
    shutil.rmtree("/tmp/tree", ignore_errors=True)
    settings = {"HOME": "/tmp", "PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1"}
    steps = [["init", "--quiet", "/tmp/tree"], ["-C", "/tmp/tree", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet",
             "--allow-empty", "--message", "first"], ["-C", "/tmp/tree", "log", "--format=%s"], ["-C", "/tmp/tree", "gc", "--quiet"]]
    told = [run("git", *step, env=settings) for step in steps]
    shutil.rmtree("/tmp/tree", ignore_errors=True)
    return told


def handler(event, context):
    return {
        "sed": run("/usr/bin/sed", "s/x/y/", input="xx\n"),
        "by name": run("sed", "--version")[1].splitlines()[0],
        "empty environment": variables({}),
        "own environment": variables({"A": "1", "LD_LIBRARY_PATH": "/opt/lib"}),
        "closed": open_descriptors(close_fds=True), "not closed": inherited(),
        "cwd": run("/usr/bin/env", "--chdir=/tmp", "/usr/bin/cat", "/proc/self/comm"),
        "shell": run("echo $((6*7)) | sed s/4/5/; exit 3", shell=True), "system": os.system("exit 5"),
        "popen": os.popen("echo popen").read(), "status": run("/usr/bin/false")[0], "pipeline": pipeline(),
        "passed": passed_descriptor(), "broken pipe": broken_pipe(), "terminated": signalled(signal.SIGTERM),
        "killed": signalled(signal.SIGKILL), "stopped": stopped_and_continued(), "SIGCHLD": child_signals(), "group": group(),
        "missing": missing(), "not executable": not_executable(), "timed out": timed_out(), "spawned": spawned(), "forked": forked(),
        "git": git(), "umask": run("/bin/sh", "-c", "umask", umask=0o027)[1], "nice": run("/bin/sh", "-c", "nice", preexec_fn=lambda: os.nice(3))[1],
        "many": sum(run("/usr/bin/true")[0] for _ in range(50)),
    }

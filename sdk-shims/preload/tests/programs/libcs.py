# The same attacks and the same honest work as libcs.c, by way of Python and of the C library that it runs on.
import ctypes, mmap, os, signal, socket, subprocess, sys, threading

DENIED, ALLOWED, SECRET = "/usr/bin/denied", "/usr/bin/allowed", "/etc/secrets/key"
SEVEN = ["sh", "-c", "exit 7"]
agent = int(sys.argv[1])
c = ctypes.CDLL(None, use_errno=True)
strings = lambda *texts: (ctypes.c_char_p * (len(texts) + 1))(*(text.encode() for text in texts), None)
seven, none = strings(*SEVEN), strings()


def say(name, run):
    try:
        through = run()
    except (OSError, subprocess.SubprocessError):
        through = False
    print(name, int(bool(through)), flush=True)


def child(run):
    pid = os.fork()
    if pid == 0:
        try:
            run()
        finally:
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    return os.WIFEXITED(status) and os.WEXITSTATUS(status) == 7


def of_memory():
    file = os.memfd_create("x", 0)
    os.write(file, open(DENIED, "rb").read())
    os.execve(f"/proc/self/fd/{file}", SEVEN, {})


def spawned_with_file():
    actions = [(os.POSIX_SPAWN_OPEN, 0, SECRET, os.O_RDONLY, 0)]
    pid = os.posix_spawn(ALLOWED, ["sh", "-c", "read x && exit 7"], {}, file_actions=actions)
    return os.WEXITSTATUS(os.waitpid(pid, 0)[1]) == 7


def popened():
    c.popen.restype = ctypes.c_void_p
    c.pclose.argtypes = [ctypes.c_void_p]
    pipe = c.popen(b"exit 7", b"r")
    return pipe and c.pclose(pipe) >> 8 == 7


def fopened(path, mode):
    c.fopen.restype = ctypes.c_void_p
    return c.fopen(path.encode(), mode.encode())


def dir_opened(path):
    c.opendir.restype = ctypes.c_void_p
    return c.opendir(path.encode())


def dropped(target):
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect((target, 9))
    return True


def text_made_writable():
    page = ctypes.cast(c.execve, ctypes.c_void_p).value & -4096
    return c.mprotect(ctypes.c_void_p(page), 4096, 7) == 0 and c.mprotect(ctypes.c_void_p(page), 4096, 5) == 0


def mapped(path):
    with open(path) as file:
        return mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC, flags=mmap.MAP_PRIVATE)


def in_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(child(lambda: os.execve(ALLOWED, SEVEN, {}))))
    thread.start()
    thread.join()
    return found[0]


def written():
    open("/tmp/written", "w").close()
    os.unlink("/tmp/written")
    return True


datagram = lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
say("execv", lambda: child(lambda: os.execv(DENIED, SEVEN)))
say("execvp", lambda: child(lambda: os.execvp("denied", SEVEN)))
say("fexecve", lambda: child(lambda: c.fexecve(os.open(DENIED, os.O_RDONLY), seven, none)))
say("syscall-execve", lambda: child(lambda: c.syscall(59, DENIED.encode(), seven, none)))
say("syscall-execveat", lambda: child(lambda: c.syscall(322, -100, DENIED.encode(), seven, none, 0)))
say("dlsym-execve", lambda: child(lambda: c.execve(DENIED.encode(), seven, none)))
say("static", lambda: child(lambda: os.execve("/usr/bin/static", SEVEN, {})))
say("memfd", lambda: child(of_memory))
say("cleared-child", lambda: child(lambda: os.execve(ALLOWED, ["sh", "-c", DENIED], {})))
say("posix_spawn", lambda: os.WEXITSTATUS(os.waitpid(os.posix_spawn(DENIED, SEVEN, {}), 0)[1]) == 7)
say("posix_spawn-addopen", spawned_with_file)
say("system", lambda: c.system(b"exit 7") >> 8 == 7)
say("popen", popened)
say("open", lambda: os.open(SECRET, os.O_RDONLY) >= 0)
say("openat", lambda: c.openat(-100, SECRET.encode(), 0) >= 0)
say("fopen", lambda: fopened(SECRET, "r"))
say("syscall-open", lambda: c.syscall(2, SECRET.encode(), 0) >= 0)
say("opendir", lambda: dir_opened("/etc/secrets/folder"))
say("fopen-w", lambda: fopened("/etc/locked/file", "w"))
say("rename", lambda: c.rename(b"/etc/locked/a", b"/etc/locked/b") == 0)
say("connect", lambda: dropped("127.0.0.2"))
say("sendto", lambda: datagram().sendto(b"x", ("127.0.0.2", 9)) == 1)
say("sendmsg", lambda: datagram().sendmsg([b"x"], [], 0, ("127.0.0.2", 9)) == 1)
say("kill", lambda: os.kill(agent, signal.SIGCONT) is None)
say("ptrace", lambda: c.ptrace(16, agent, None, None) == 0)
say("mprotect", text_made_writable)
say("mmap", lambda: mapped("/tmp/library"))
say("dlopen", lambda: ctypes.CDLL("/tmp/library"))

say("+thread", in_thread)
say("+exec", lambda: child(lambda: os.execve(ALLOWED, SEVEN, {})))
say("+spawn", lambda: subprocess.run(SEVEN, executable=ALLOWED).returncode == 7)
say("+open", lambda: os.open("/etc/plain", 0) >= 0 and fopened("/etc/plain", "r") and dir_opened("/etc"))
say("+write", written)
say("+connect", lambda: dropped("127.0.0.1"))
say("+pair", lambda: socket.socketpair())
say("+import", lambda: __import__("json") and __import__("email.message"))
say("+getaddrinfo", lambda: socket.getaddrinfo("127.0.0.1", 80))

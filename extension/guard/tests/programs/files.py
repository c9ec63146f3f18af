# What programs do with files, each with its result: the output must be the same with the guard and without.
import ctypes, errno, fcntl, os, shutil, signal, socket, sqlite3, stat, subprocess, sys, tempfile, threading

base = sys.argv[1]
os.mkdir(base)
os.chdir(base)
libc = ctypes.CDLL(None, use_errno=True)


def shown(name, action):
    try:
        result = action()
    except OSError as error:
        result = errno.errorcode.get(error.errno, error.errno)
    except Exception as error:  # sqlite3's and shutil's own
        result = repr(error)
    print(name, result, flush=True)


def closing(descriptor):
    os.close(descriptor)
    return "opened"


def open_at(path, flags, mode=0o666, directory=None):
    return closing(os.open(path, flags, mode, dir_fd=directory))


def mode_of(path):
    return oct(os.lstat(path).st_mode)


def write(path, text, how="w"):
    with open(path, how) as file:
        file.write(text)
    with open(path) as file:
        return file.read()


shown("write", lambda: write("a", "one"))
shown("again", lambda: write("a", "two"))
shown("append", lambda: write("a", "three", "a"))
shown("update", lambda: write("a", "T", "r+"))
shown("exclusive there", lambda: write("a", "x", "x"))
shown("exclusive new", lambda: write("b", "x", "x"))
shown("missing", lambda: open_at("missing", os.O_WRONLY))
shown("missing folder", lambda: open_at("missing/a", os.O_WRONLY | os.O_CREAT))
shown("below a file", lambda: open_at("a/b", os.O_WRONLY | os.O_CREAT))
shown("empty path", lambda: open_at("", os.O_WRONLY | os.O_CREAT))
shown("long name", lambda: open_at("x" * 256, os.O_WRONLY | os.O_CREAT))
shown("long path", lambda: open_at("./" * 2100 + "x", os.O_WRONLY | os.O_CREAT))
shown("folder for writing", lambda: open_at(".", os.O_WRONLY))
shown("folder made by open", lambda: open_at(".", os.O_RDONLY | os.O_CREAT))
shown("slash after a file", lambda: open_at("a/", os.O_WRONLY))
shown("slash after a new file", lambda: open_at("new/", os.O_WRONLY | os.O_CREAT))
shown("slashes and dots", lambda: write(".//././/d", "dots"))
shown("up and down", lambda: write(f"../{os.path.basename(base)}/e", "up"))
shown("above the root", lambda: write("/../../.." + base + "/f", "root"))
for mask in (0o000, 0o022, 0o077, 0o777):
    old = os.umask(mask)
    name = f"mask-{mask:o}"
    shown(name, lambda: (open_at(name, os.O_WRONLY | os.O_CREAT, 0o666), mode_of(name)))
    shown(name + " folder", lambda: (os.mkdir(name + "-d", 0o2777), mode_of(name + "-d")))
    shown(name + " fifo", lambda: (os.mkfifo(name + "-f", 0o666), mode_of(name + "-f")))
    os.umask(old)
shown("set-id bits", lambda: (open_at("bits", os.O_WRONLY | os.O_CREAT, 0o6755), mode_of("bits")))
shown("read-only file", lambda: (os.chmod("b", 0o444), open_at("b", os.O_WRONLY)))
shown("read-only folder", lambda: (os.mkdir("shut"), os.chmod("shut", 0o555), open_at("shut/x", os.O_WRONLY | os.O_CREAT)))
shown("closed folder", lambda: (os.mkdir("dark"), os.chmod("dark", 0), open_at("dark/x", os.O_WRONLY)))

folder = os.open(".", os.O_RDONLY)
path_only = os.open(".", os.O_PATH)
shown("at a folder", lambda: open_at("g", os.O_WRONLY | os.O_CREAT, directory=folder))
shown("at a pinned folder", lambda: open_at("g", os.O_RDWR | os.O_TRUNC, directory=path_only))
shown("at a bad descriptor", lambda: open_at("g", os.O_RDWR, directory=990))
shown("at a file", lambda: open_at("x", os.O_RDWR | os.O_CREAT, directory=os.open("a", os.O_RDONLY)))
shown("absolute at a bad one", lambda: open_at(base + "/g", os.O_RDWR, directory=990))

shown("symlink", lambda: os.symlink("a", "to-a"))
shown("by symlink", lambda: write("to-a", "linked"))
shown("not followed", lambda: open_at("to-a", os.O_WRONLY | os.O_NOFOLLOW))
shown("exclusive symlink", lambda: open_at("to-a", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
shown("dangling", lambda: (os.symlink("later", "to-later"), write("to-later", "made"), os.path.exists("later")))
shown("dangling and slash", lambda: (os.symlink("never", "to-never"), open_at("to-never/", os.O_WRONLY | os.O_CREAT)))
shown("dangling, not made", lambda: open_at("to-never", os.O_WRONLY))
shown("circle", lambda: (os.symlink("c1", "c2"), os.symlink("c2", "c1"), open_at("c1", os.O_WRONLY)))
shown("chain", lambda: ([os.symlink("a" if i == 0 else f"s{i - 1}", f"s{i}") for i in range(40)], open_at("s39", os.O_WRONLY))[1])
shown("chain too long", lambda: (os.symlink("s39", "s40"), open_at("s40", os.O_WRONLY)))
shown("folder by links", lambda: (os.mkdir("real"), os.symlink("real", "l1"), os.symlink(base + "/l1", "l2"), write("l2/../l2/x", "deep"), os.listdir("real")))
shown("link of a folder and dots", lambda: write("l2/../h", "beside"))
shown("empty link", lambda: os.symlink("", "nothing"))

shown("dev null", lambda: write("/dev/null", "x"))
shown("dev null both", lambda: open_at("/dev/null", os.O_RDWR | os.O_CREAT | os.O_TRUNC))
shown("dev full", lambda: write("/dev/full", "x"))
shown("dev stdout", lambda: subprocess.run(["/usr/bin/python3", "-c", "open('/dev/stdout', 'w').write('said\\n')"], capture_output=True).stdout)
shown("dev stderr", lambda: subprocess.run(["/usr/bin/python3", "-c", "open('/dev/stderr', 'a').write('said\\n')"], capture_output=True).stderr)
shown("proc self fd", lambda: (write("i", "before"), (fd := os.open("i", os.O_RDONLY)), write(f"/proc/self/fd/{fd}", "after")))
shown("thread self fd", lambda: write(f"/proc/thread-self/fd/{os.open('i', os.O_RDONLY)}", "thread"))
shown("dev fd", lambda: write(f"/dev/fd/{os.open('i', os.O_PATH)}", "dev"))
shown("socket by fd", lambda: open_at(f"/proc/self/fd/{socket.socket().fileno()}", os.O_WRONLY))
shown("proc cwd", lambda: write("/proc/self/cwd/j", "cwd"))
shown("proc root", lambda: write("/proc/self/root" + base + "/j", "root"))
shown("proc mounts", lambda: open_at("/proc/mounts", os.O_RDWR))
shown("oom score", lambda: write("/proc/self/oom_score_adj", "17"))
shown("comm", lambda: (write("/proc/self/comm", "renamed"), write("/proc/thread-self/comm", "again")))
shown("no such process", lambda: open_at("/proc/999999999/oom_score_adj", os.O_WRONLY))
shown("no such descriptor", lambda: open_at("/proc/self/fd/777", os.O_WRONLY))
shown("make in proc", lambda: open_at("/proc/self/x", os.O_WRONLY | os.O_CREAT))
shown("deleted, by fd", lambda: ((fd := os.open("gone", os.O_RDWR | os.O_CREAT)), os.unlink("gone"), open_at(f"/proc/self/fd/{fd}", os.O_RDWR))[2])
shown("memory, by fd", lambda: open_at(f"/proc/self/fd/{os.memfd_create('m')}", os.O_RDWR))
shown("shared memory", lambda: (write("/dev/shm/" + os.path.basename(base), "shm"), os.unlink("/dev/shm/" + os.path.basename(base))))

shown("unnamed", lambda: closing(os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)))
shown("unnamed for reading", lambda: open_at(".", os.O_TMPFILE, 0o600))
shown("unnamed in a file", lambda: open_at("a", os.O_TMPFILE | os.O_RDWR))
shown("unnamed gets a name", lambda: ((fd := os.open(".", os.O_TMPFILE | os.O_RDWR, 0o640)), os.write(fd, b"named"), os.link(f"/proc/self/fd/{fd}", "named", follow_symlinks=True), mode_of("named"))[3])
shown("unnamed gets a name by its number", lambda: ((fd := os.open(".", os.O_TMPFILE | os.O_RDWR, 0o640)), libc.linkat(-100, b"/proc/self/fd/%d" % fd, -100, b"named-2", 0x400), mode_of("named-2"), os.stat("named-2").st_nlink)[1:])
shown("procfs not followed", lambda: open_at(f"/proc/self/fd/{folder}", os.O_WRONLY | os.O_NOFOLLOW))
shown("temporary", lambda: tempfile.NamedTemporaryFile(dir=base).file.write(b"x"))
shown("temporary file", lambda: tempfile.TemporaryFile(dir=base).write(b"x"))
shown("temporary folder", lambda: len(tempfile.mkdtemp(dir=base)) > len(base))

fd = os.open("flags", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_SYNC)
shown("flags", lambda: fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK | os.O_SYNC))
shown("not blocking", lambda: fcntl.fcntl(os.open("flags", os.O_RDWR | os.O_NONBLOCK), fcntl.F_GETFL) & os.O_NONBLOCK)
shown("inherited by exec", lambda: [bool(fcntl.fcntl(libc.open(b"flags", os.O_RDWR | bits), fcntl.F_GETFD)) for bits in (0, os.O_CLOEXEC)])
shown("lowest number", lambda: ((one := os.open("flags", os.O_RDWR)), os.close(one), (two := os.open("flags", os.O_RDWR)), os.close(two), one == two)[4])
shown("kept offset", lambda: (os.write(fd, b"12"), os.write(fd, b"34"), os.lseek(fd, 0, os.SEEK_CUR))[2])
shown("locks", lambda: (fcntl.flock(fd, fcntl.LOCK_EX), fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)))
other = os.open("flags", os.O_RDWR)
shown("locked out", lambda: fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB))
shown("close-on-exec number limit", lambda: subprocess.run(["/usr/bin/python3", "-c", "import resource, os\nresource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\ntry: os.open('flags', os.O_RDWR)\nexcept OSError as e: print(e.errno)"], capture_output=True, text=True).stdout)

os.mkfifo("fifo")
shown("fifo, nobody reads", lambda: open_at("fifo", os.O_WRONLY | os.O_NONBLOCK))
shown("fifo for both", lambda: open_at("fifo", os.O_RDWR))


# Who closes a FIFO's last end must leave nobody behind who has it open.
def abandoned():
    ends = set()
    for _ in range(300):
        os.close(os.open("fifo", os.O_RDWR))
        try:
            ends.add(open_at("fifo", os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            ends.add(error.errno)
    return ends


shown("fifo left", abandoned)


def through():
    got = []
    reader = threading.Thread(target=lambda: got.append(open("fifo").read()), daemon=True)
    reader.start()
    with open("fifo", "w") as file:
        file.write("through")
    reader.join(30)
    return got


shown("fifo", through)


def interrupted():
    signal.signal(signal.SIGALRM, lambda *_: open_at("fifo", os.O_RDONLY | os.O_NONBLOCK))
    return "handler set"


shown("handler", interrupted)

shown("rename", lambda: (os.rename("d", "d2"), os.path.exists("d"), write("d2", "x")))
shown("rename over", lambda: (write("d3", "old"), os.rename("d2", "d3"), open("d3").read()))
shown("rename nothing", lambda: os.rename("nothing at all", "x"))
shown("rename a folder", lambda: (os.mkdir("f1"), os.rename("f1/", "f2/"), os.path.isdir("f2")))
shown("rename a folder over a file", lambda: os.rename("f2", "d3"))
shown("rename into itself", lambda: os.rename("f2", "f2/x"))
shown("rename the root", lambda: os.rename("/", "x"))
shown("rename dots", lambda: os.rename("f2/.", "f3"))
shown("rename a link", lambda: (os.rename("to-a", "to-a2"), os.readlink("to-a2")))
shown("rename at", lambda: (os.rename("d3", "d4", src_dir_fd=folder, dst_dir_fd=path_only), os.path.exists("d4")))
def rename2(one, two, flags):
    if libc.renameat2(-100, one, -100, two, flags):
        raise OSError(ctypes.get_errno(), "")
    return "renamed"
shown("exchange", lambda: (write("x1", "1"), write("x2", "2"), rename2(b"x1", b"x2", 2), open("x1").read()))
shown("no replace", lambda: rename2(b"x1", b"x2", 1))
shown("bad flags", lambda: rename2(b"x1", b"x2", 64))
shown("link", lambda: (os.link("x1", "x3"), os.stat("x1").st_nlink))
shown("link there", lambda: os.link("x1", "x3"))
shown("link a link", lambda: (os.link("to-a2", "hard", follow_symlinks=False), os.readlink("hard")))
shown("link of a folder", lambda: os.link("real", "real2"))
shown("link nothing", lambda: os.link("nothing at all", "x"))
shown("link across", lambda: os.link("/proc/self/status", "x"))
shown("symlink there", lambda: os.symlink("x", "x1"))
shown("symlink with slash", lambda: os.symlink("x", "xx/"))
shown("symlink at", lambda: (os.symlink("x1", "s-at", dir_fd=folder), os.readlink("s-at")))
shown("mkdir", lambda: os.mkdir("m"))
shown("mkdir there", lambda: os.mkdir("m"))
shown("mkdir with slash", lambda: (os.mkdir("m2/"), mode_of("m2")))
shown("mkdir at a dangling link", lambda: os.mkdir("to-never"))
shown("mkdir dot", lambda: os.mkdir("."))
shown("mkdir root", lambda: os.mkdir("/"))
shown("makedirs", lambda: os.makedirs("p/q/r"))
shown("rmdir", lambda: os.rmdir("p/q/r"))
shown("rmdir full", lambda: os.rmdir("p"))
shown("rmdir a file", lambda: os.rmdir("x1"))
shown("unlink", lambda: (os.unlink("x1"), os.path.exists("x1")))
shown("unlink a folder", lambda: os.unlink("p"))
shown("unlink nothing", lambda: os.unlink("x1"))
shown("unlink a link", lambda: (os.unlink("to-a2"), os.path.exists("a")))
shown("unlink with slash", lambda: os.unlink("x2/"))
shown("unlink at", lambda: os.unlink("x3", dir_fd=folder))
shown("node", lambda: (os.mknod("n", 0o640 | stat.S_IFREG), mode_of("n")))
shown("socket node", lambda: (os.mknod("n2", 0o640 | stat.S_IFSOCK), mode_of("n2")))
shown("device", lambda: os.mknod("n3", 0o640 | stat.S_IFCHR, os.makedev(1, 3)))
shown("truncate", lambda: (write("t", "123456"), os.truncate("t", 3), open("t").read()))
shown("truncate longer", lambda: (os.truncate("t", 5), open("t", "rb").read()))
shown("truncate a folder", lambda: os.truncate("p", 0))
shown("truncate a fifo", lambda: os.truncate("fifo", 0))
shown("truncate nothing", lambda: os.truncate("nothing at all", 0))
shown("truncate below zero", lambda: libc.truncate(b"t", ctypes.c_long(-1)))
shown("truncate too long", lambda: subprocess.run(["/usr/bin/python3", "-c", "import os, resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\ntry: os.truncate('t', 200)\nexcept OSError as e: print(e.errno)"], capture_output=True, text=True).stdout)
shown("write too long", lambda: subprocess.run(["/usr/bin/python3", "-c", "import os, resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\ntry: open('big', 'wb', 0).write(b'x' * 200); os.write(os.open('big', os.O_WRONLY|os.O_APPEND), b'x')\nexcept OSError as e: print(e.errno)"], capture_output=True, text=True).stdout)


def database():
    connection = sqlite3.connect("db")
    connection.execute("pragma journal_mode=wal")
    connection.execute("create table t(x)")
    connection.executemany("insert into t values (?)", [(i,) for i in range(1000)])
    connection.commit()
    second = sqlite3.connect("db", timeout=0)
    connection.execute("begin immediate")
    try:
        second.execute("begin immediate")
    except sqlite3.OperationalError as error:
        locked = str(error)
    connection.rollback()
    connection.close()
    return locked, second.execute("select sum(x) from t").fetchone()


shown("sqlite", database)
# As npm unpacks: into a folder beside, renamed into place, what was there moved away first.
def dance():
    for version in "12":
        os.makedirs(f"node_modules/.x-{version}/lib")
        write(f"node_modules/.x-{version}/lib/index.js", version)
        if os.path.exists("node_modules/x"):
            os.rename("node_modules/x", "node_modules/.x-old")
        os.rename(f"node_modules/.x-{version}", "node_modules/x")
    shutil.rmtree("node_modules/.x-old")
    return sorted(os.listdir("node_modules")), open("node_modules/x/lib/index.js").read()


shown("npm's dance", dance)
shown("copy", lambda: (shutil.copytree("node_modules", "copied"), open("copied/x/lib/index.js").read())[1])
shown("children", lambda: [subprocess.run(command, input=b"tee", capture_output=True).returncode for command in (["touch", "k1"], ["mv", "k1", "k2"], ["cp", "-p", "k2", "k3"], ["tee", "k4"], ["mkfifo", "k5"])])
shown("what is there", lambda: sorted(os.listdir(".")) == sorted(os.listdir(folder)))


def many():
    def one(number):
        for step in range(50):
            write(f"thread-{number}", str(step))
            os.rename(f"thread-{number}", f"threaded-{number}")
            os.mkdir(f"made-{number}"), os.rmdir(f"made-{number}")
    threads = [threading.Thread(target=one, args=(number,)) for number in range(16)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return len([name for name in os.listdir(".") if name.startswith("threaded-")])


shown("threads", many)
for name in ("shut", "dark", "mask-777-d"):
    os.chmod(name, 0o755)
os.chdir("/")
shutil.rmtree(base)
print("end")

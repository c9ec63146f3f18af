# What ordinary functions do; each check prints its name, and what differs from the expected result.
import asyncio, array, os, signal, socket, struct, subprocess, sys, threading, time, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FULL = sys.argv[1] == "open"


def check(name, condition):
    print(name if condition else f"FAILED {name}", flush=True)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 256


server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/"

check("subprocess", subprocess.run(["echo", "hello"], capture_output=True).stdout == b"hello\n")
check("subprocess by descriptor", subprocess.run(["cat"], input=b"x", capture_output=True, close_fds=True).stdout == b"x")
check("urllib", urllib.request.urlopen(url).read() == b"hello")


async def fetch():
    reader, writer = await asyncio.open_connection("127.0.0.1", server.server_port)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    body = await reader.read()
    writer.close()
    process = await asyncio.create_subprocess_exec("echo", "async", stdout=subprocess.PIPE)
    return body.endswith(b"hello") and await process.stdout.read() == b"async\n"

check("asyncio", asyncio.run(fetch()))

results = []
barrier = threading.Barrier(64)


def one():
    barrier.wait()
    try:
        results.append(urllib.request.urlopen(url, timeout=20).read() == b"hello")
    except OSError as error:
        results.append(str(error))

threads = [threading.Thread(target=one) for _ in range(64)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
check(f"64 threads {set(results)}", results.count(True) == 64)

refused = socket.socket()
closed = socket.socket(); closed.bind(("127.0.0.1", 0)); port = closed.getsockname()[1]; closed.close()
check("refused stays refused", refused.connect_ex(("127.0.0.1", port)) == 111)
waiting = socket.socket(); waiting.setblocking(False)
check("non-blocking", waiting.connect_ex(("127.0.0.1", server.server_port)) in (0, 115))

udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(("127.0.0.1", 0)); udp.settimeout(5)
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.sendto(b"a" * 9000, udp.getsockname())
check("datagram", udp.recv(65536) == b"a" * 9000)
client.connect(udp.getsockname()); client.send(b"b")
check("connected datagram", udp.recv(10) == b"b")
client.sendmsg([b"c", b"d"])
check("gathered datagram", udp.recv(10) == b"cd")
try:
    client.sendto(b"x" * 70000, udp.getsockname()); big = 0
except OSError as error:
    big = error.errno
check("too large a datagram", big == 90)
six = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
check("IPv4 through an IPv6 socket", six.connect_ex(("::ffff:127.0.0.1", server.server_port)) == 0)

netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); netlink.bind((0, 0))
netlink.sendto(struct.pack("IHHIIB3x", 20, 18, 0x301, 1, 0, 0), (0, 0))
check("netlink", len(netlink.recv(65536)) > 16)
check("getaddrinfo", socket.getaddrinfo("127.0.0.1", 80)[0][4] == ("127.0.0.1", 80))

left, right = socket.socketpair()
check("pair", left.send(b"x") == 1 and right.recv(1) == b"x")
path = f"/tmp/ringfence-guard-test-{os.getpid()}"
listener = socket.socket(socket.AF_UNIX); listener.bind(path); listener.listen()
dialer = socket.socket(socket.AF_UNIX)
check("unix by path", dialer.connect_ex(path) == 0 and listener.getsockname() == path)
os.unlink(path)
if FULL:
    read, write = os.pipe()
    left.sendmsg([b"fd"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [write]))])
    message, control, *_ = right.recvmsg(10, 64)
    passed = array.array("i", control[0][2][:4])[0]
    os.write(passed, b"through")
    check("descriptor passing", os.read(read, 10) == b"through")
    stream = socket.create_connection(("127.0.0.1", server.server_port))
    check("gathered stream", stream.sendmsg([b"GET / HTTP/1.0\r\n", b"\r\n"]) == 18 and b"hello" in stream.recv(1000) + stream.recv(1000))

got = []
signal.signal(signal.SIGUSR1, lambda *_: got.append("usr1"))
os.kill(os.getpid(), signal.SIGUSR1)
# Another thread may take it, and then this one hears of it a little later.
for _ in range(200):
    if got:
        break
    time.sleep(0.01)
check("signal to oneself", got == ["usr1"])
child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
child.terminate()
check("signal to a child", child.wait() == -signal.SIGTERM)
child = os.fork()
if child == 0:
    os._exit(9)
check("fork", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9)
peer, _ = listener.accept()
address = server.server_port
ended = socket.create_connection(("127.0.0.1", address)); other = ended.fileno()
probe = socket.socket(); probe.bind(("127.0.0.1", 0)); probe.listen()
near = socket.create_connection(probe.getsockname()); far, _ = probe.accept()
near.close(); far.settimeout(5)
check("the end of a connection is seen", far.recv(1) == b"")
full = socket.socket(); full.bind(("127.0.0.1", 0)); full.listen(0)
stuck = []
for _ in range(8):
    filler = socket.socket(); filler.setblocking(False); filler.connect_ex(full.getsockname()); stuck.append(filler)
for _ in range(4):
    threading.Thread(target=lambda: socket.socket().connect(full.getsockname()), daemon=True).start()
time.sleep(0.05)
check("a stuck connect holds nobody up", urllib.request.urlopen(url, timeout=10).read() == b"hello")
for _ in range(600):
    short = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); short.close()
for _ in range(3):
    again = socket.socket(); again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    again.bind(("127.0.0.1", port)); again.listen(); again.close()
check("sockets come and go", True)
import resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
os.nice(1)
os.sched_setaffinity(0, os.sched_getaffinity(0))
check("limits and priority", True)
sys.stdout.flush()
os._exit(42)

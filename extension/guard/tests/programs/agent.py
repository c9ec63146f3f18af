# Plays the agent: control socket, Welcome with a state page, and a resolver. Prints what the guard says.
import array, json, os, select, socket, struct, sys

api, phase = sys.argv[1], int(sys.argv[2])
control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
control.bind(b"\0ringfence-control-" + api.encode())
control.listen()
resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
resolver.bind(("127.0.0.1", 0))
page = os.memfd_create("page", os.MFD_ALLOW_SEALING)
os.ftruncate(page, 36 * 1024)
os.pwrite(page, b"RNGFPAGE" + struct.pack("<IIII", 1, 2, phase, 0), 0)


def fields(message):
    at, out = 4, []
    while at + 3 <= len(message):
        tag, length = struct.unpack_from("<BH", message, at)
        out.append((tag, message[at + 3:at + 3 + length]))
        at += 3 + length
    return out


def show(**what):
    print(json.dumps(what), flush=True)


show(ready=True)
guard, _ = control.accept()
hello = fields(guard.recv(65536))
texts = {40: "refused", 12: "exe", 38: "source", 34: "probe", 33: "coverage"}
for tag, value in hello:
    if tag in texts:
        show(**{texts[tag]: (value[3:] if tag == 33 else value).decode()})
numbers = dict(hello)
show(pid=struct.unpack("<I", numbers[1])[0], parent=struct.unpack("<I", numbers[2])[0], strongest=numbers[35][0])
if "silent" in sys.argv:
    sys.stdin.read()
    sys.exit()
welcome = b"RF\x01\x09" + struct.pack("<BHI", 1, 4, os.getpid())
# The language hooks' socket: only where a test asks for it, under a name that no other test has.
name = b"ringfence-report-" + (api.encode() if "reports" in sys.argv else b"")
reports = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
if "reports" in sys.argv:
    reports.bind(b"\0" + name)
welcome += struct.pack("<BH", 36, len(name)) + name
welcome += struct.pack("<BHI", 37, 4, resolver.getsockname()[1])
guard.sendmsg([welcome], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [page]))])
while True:
    for ready in select.select([guard, resolver], [], [])[0]:
        if ready is resolver:
            show(resolver=resolver.recv(1000).decode())
            continue
        message = ready.recv(65536)
        if not message and "reports" in sys.argv:
            # Without a supervisor the connection ends before the runtime begins.
            reports.settimeout(10)
            show(report=reports.recv(1000).decode())
        if not message:
            # What was sent before the end may still lie there.
            while select.select([resolver], [], [], 0)[0]:
                show(resolver=resolver.recv(1000).decode())
            show(closed=True)
            sys.exit()
        report = fields(message)
        named = {4: "action", 6: "rule", 8: "path", 16: "detail", 19: "chain"}
        show(kind=message[3], **{named[tag]: value.decode() if tag in (8, 16, 19) else value[0] for tag, value in report if tag in named})

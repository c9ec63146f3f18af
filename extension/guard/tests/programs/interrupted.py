# A signal every 300 us while names are made, moved and removed. A call that a signal ended is made again, as the preload
# library does. Whatever else fails was carried out twice, or not at all.
import os, shutil, signal, sys

base = sys.argv[1]
os.mkdir(base)
os.chdir(base)
signal.signal(signal.SIGALRM, lambda *_: None)
wrong, interrupted = {}, 0


def one(name, action, *arguments):
    global interrupted
    while True:
        try:
            return action(*arguments)
        except InterruptedError:
            interrupted += 1
        except OSError as error:
            wrong[(name, error.errno)] = wrong.get((name, error.errno), 0) + 1
            return None


signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
for _ in range(1000):
    one("mkdir", os.mkdir, "a")
    one("rename", os.rename, "a", "b")
    one("rmdir", os.rmdir, "b")
    one("open", lambda: open("f", "x").close())
    one("link", os.link, "f", "g")
    one("unlink", os.unlink, "g")
    one("unlink", os.unlink, "f")
signal.setitimer(signal.ITIMER_REAL, 0)
os.chdir("/")
shutil.rmtree(base)
print("wrong", wrong)

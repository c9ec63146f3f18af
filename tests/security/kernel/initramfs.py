"""Writes an initramfs: `initramfs.py OUT NAME=FILE:MODE… NAME/… FOLDER:tree…` (a name that ends with a slash is a folder;
of a tree everything is taken, by its name below the folder).

The format is cpio's "newc", which Linux unpacks at its start (Documentation/driver-api/early-userspace/buffer-format).
"""

import gzip
import pathlib
import sys

FOLDER, FILE, DEVICE, LINK = 0o040000, 0o100000, 0o020000, 0o120000


def entry(number: int, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def tree(root: pathlib.Path) -> list[tuple]:
    found = []
    for path in sorted(root.rglob("*")):
        name, status = str(path.relative_to(root)), path.lstat()
        if path.is_symlink():
            found.append((name, LINK | 0o777, str(path.readlink()).encode(), (0, 0)))
        elif path.is_dir():
            found.append((name, FOLDER | status.st_mode & 0o7777, b"", (0, 0)))
        else:
            found.append((name, FILE | status.st_mode & 0o7777, path.read_bytes(), (0, 0)))
    return found


def contents(arguments: list[str]) -> bytes:
    # The console is there before the first process is: its standard streams are opened on it.
    entries = [("dev", FOLDER | 0o755, b"", (0, 0)), ("dev/console", DEVICE | 0o600, b"", (5, 1))]
    for argument in arguments:
        if argument.endswith("/"):
            entries.append((argument.rstrip("/"), FOLDER | 0o755, b"", (0, 0)))
            continue
        if argument.endswith(":tree"):
            entries += tree(pathlib.Path(argument.removesuffix(":tree")))
            continue
        name, _, source = argument.partition("=")
        path, _, mode = source.rpartition(":")
        entries.append((name, FILE | int(mode, 8), pathlib.Path(path).read_bytes(), (0, 0)))
    entries.append(("TRAILER!!!", 0, b"", (0, 0)))
    return b"".join(entry(number, *fields) for number, fields in enumerate(entries, 1))


if __name__ == "__main__":
    pathlib.Path(sys.argv[1]).write_bytes(gzip.compress(contents(sys.argv[2:]), 1))

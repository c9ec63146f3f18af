"""Packs a Lambda layer: `pack.py ZIP NAME=FILE:MODE … NAME=FOLDER:tree`.

Lambda unpacks a layer into /opt and keeps the mode bits, so they are set here and not taken from the checkout.
Names are sorted and dated 1980-01-01, so that the same files give the same bytes.
"""

import pathlib
import stat
import sys
import zipfile

KEPT_FROM_TREES = {".py"}


def members(arguments):
    """Yields (name in the zip, file, mode) for each argument."""
    for argument in arguments:
        name, _, rest = argument.partition("=")
        source, _, mode = rest.rpartition(":")
        if mode != "tree":
            yield name, pathlib.Path(source), int(mode, 8)
            continue
        root = pathlib.Path(source)
        for file in sorted(root.rglob("*")):
            relative = file.relative_to(root)
            if file.suffix in KEPT_FROM_TREES and "tests" not in relative.parts:
                yield f"{name}/{relative.as_posix()}", file, 0o644


def main():
    target, *arguments = sys.argv[1:]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, file, mode in sorted(members(arguments)):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | mode) << 16
            archive.writestr(info, file.read_bytes())
    size = pathlib.Path(target).stat().st_size
    print(f"{target}: {size:,} bytes")


if __name__ == "__main__":
    main()

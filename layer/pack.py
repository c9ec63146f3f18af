"""Packs a Lambda layer: `pack.py [--byte-code 3.12,3.13,…] ZIP NAME=FILE:MODE … NAME=FOLDER:tree`.

Lambda unpacks a layer into /opt and keeps the mode bits, so they are set here and not taken from the checkout.
Names are sorted and dated 1980-01-01, so that the same files give the same bytes. Python modules of a folder are
compiled for the versions that are named, and for no others: what is in the zip must not depend on the machine. /opt is
read-only, so what is not compiled here is compiled anew at every cold start.
"""

import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile

# Compiles argv[1] into argv[2], as if it stood at argv[3]. Interpreters of one minor version give the same bytes.
COMPILE = """
import py_compile, sys
source, target, name = sys.argv[1:]
py_compile.compile(source, f"{target}.{sys.implementation.cache_tag}.pyc", name, doraise=True,
                   invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""


def interpreter(version):
    """An interpreter of this minor version, such as 3.12: one on PATH, or one of pyenv's."""
    found = [shutil.which(f"python{version}")]
    found += map(str, sorted(pathlib.Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}")))
    for program in filter(None, found):
        # A shim of pyenv may stand for a version that is not chosen.
        printed = subprocess.run([program, "-I", "--version"], capture_output=True, text=True, check=False).stdout
        if printed.startswith(f"Python {version}."):
            return program
    sys.exit(f"pack: no python{version} for its byte code\nhint: install it, or leave {version} out of --byte-code")


def tree(name, root, scratch, interpreters):
    """Yields the modules of a folder, and the compiled forms of those in Python."""
    for file in sorted(root.rglob("*")):
        relative = file.relative_to(root)
        if "tests" in relative.parts or file.suffix not in (".py", ".cjs"):
            continue
        yield f"{name}/{relative.as_posix()}", file, 0o644
        if file.suffix != ".py":
            continue
        for compiled in compile_module(file, f"/opt/{name}/{relative.as_posix()}", scratch / relative.parent, interpreters):
            yield f"{name}/{(relative.parent / '__pycache__' / compiled.name).as_posix()}", compiled, 0o644


def compile_module(file, name, folder, interpreters):
    """Compiles one module with each interpreter."""
    folder.mkdir(parents=True, exist_ok=True)
    for program in interpreters:
        subprocess.run([program, "-I", "-c", COMPILE, str(file), str(folder / file.stem), name], check=True)
    return sorted(folder.glob(f"{file.stem}.*.pyc"))


def members(arguments, scratch, interpreters):
    """Yields (name in the zip, file, mode) for each argument."""
    for argument in arguments:
        name, _, rest = argument.partition("=")
        source, _, mode = rest.rpartition(":")
        if mode == "tree":
            yield from tree(name, pathlib.Path(source), scratch, interpreters)
        else:
            yield name, pathlib.Path(source), int(mode, 8)


def main():
    target, *arguments = sys.argv[1:]
    interpreters = []
    if target == "--byte-code":
        versions, target, *arguments = arguments
        interpreters = [interpreter(version) for version in versions.split(",")]
    target = pathlib.Path(target)
    unfinished = target.with_suffix(f".{os.getpid()}")
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(unfinished, "w") as archive:
        for name, file, mode in sorted(members(arguments, pathlib.Path(scratch), interpreters)):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | mode) << 16
            archive.writestr(info, file.read_bytes(), compresslevel=9)
    unfinished.replace(target)
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

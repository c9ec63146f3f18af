"""Compiles the Java hook and packs it: `jar.py JAR sdk-shims/java`.

Names are sorted and dated 1980-01-01, so that the same compiler gives the same bytes. Compilers of one release do; of several that
are here, one of release 17 is taken, wherever it is. Nothing is compressed: the layer's zip is, and a class that is stored
plainly is loaded sooner. Ends with status 3 where there is no compiler. Called by
scripts/build-layer and by the hook's tests.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

OLDEST = 17
NO_COMPILER = 3
# The hook's way in uses two packages of java.base that are not for everybody, so --release cannot be used.
PACKAGES = ("jdk.internal.misc", "jdk.internal.access")
OPTIONS = [
    *("-source", str(OLDEST), "-target", str(OLDEST), "-encoding", "UTF-8", "-g:source,lines", "-Xlint:all,-options", "-Werror"),
    # The default form of string concatenation takes longer to get ready than all the rest of the hook.
    "-XDstringConcat=inline",
    *(word for package in PACKAGES for word in ("--add-exports", f"java.base/{package}=ALL-UNNAMED")),
]


def release(javac):
    """The feature release of a compiler, such as 17; 0 if it is none."""
    printed = subprocess.run([javac, "-version"], capture_output=True, text=True, check=False)
    version = re.match(r"javac (\d+)", printed.stdout + printed.stderr)
    return int(version[1]) if version else 0


def compiler():
    """A compiler of release 17, on PATH or among the system's JDKs; else the one on PATH. None if it is missing or too old."""
    first = shutil.which("javac")
    others = sorted(map(str, pathlib.Path("/usr/lib/jvm").glob("*/bin/javac")))
    known = {javac: release(javac) for javac in [*filter(None, [first]), *others]}
    same = next((javac for javac, number in known.items() if number == OLDEST), None)
    return same or (first if known.get(first, 0) >= OLDEST else None)


def build(jar, hook):
    """Compiles `hook`/src and packs the classes with `hook`/MANIFEST.MF. False where there is no compiler."""
    javac = compiler()
    if not javac:
        return False
    with tempfile.TemporaryDirectory() as folder:
        classes = pathlib.Path(folder)
        subprocess.run([javac, *OPTIONS, "-d", folder, *map(str, sorted((hook / "src").rglob("*.java")))], check=True)
        files = [("META-INF/MANIFEST.MF", hook / "MANIFEST.MF")]
        files += [(file.relative_to(classes).as_posix(), file) for file in sorted(classes.rglob("*.class"))]
        with zipfile.ZipFile(jar, "w", zipfile.ZIP_STORED) as archive:
            for name, file in files:
                archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), file.read_bytes())
    return True


def main():
    jar, hook = map(pathlib.Path, sys.argv[1:])
    jar.parent.mkdir(parents=True, exist_ok=True)
    javac = compiler()
    if javac and release(javac) != OLDEST:
        print(f"note: no javac {OLDEST} here; the jar by another release is not the released one, byte for byte", file=sys.stderr)
    if not build(jar, hook):
        print(f"note: no javac {OLDEST} or later here; the layer is without the Java hook", file=sys.stderr)
        sys.exit(NO_COMPILER)


if __name__ == "__main__":
    main()

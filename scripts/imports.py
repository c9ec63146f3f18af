"""Checks that the files of a crate do not import one another in long circles.

`scripts/imports.py [--show CRATE]`

A file imports another if it names something of it: `use crate::…`, `super::…`, or a path in an expression. A path is followed through
re-exports to the file that has the name, so a re-export itself is no import. Files that import one another, directly or by others,
cannot be understood apart: a circle may have at most three. Tests do not count. Where a crate has a longer one,
scripts/imports.toml holds how many files are in it; the number only falls. `--show` prints the circles of a crate, and what in them
imports what.
"""

import argparse
import pathlib
import re
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
TABLE = ROOT / "scripts" / "imports.toml"
MOST = 3
HEAD = """# Files of a crate that import one another, in the longest circle (scripts/imports.py). The numbers only fall, to 3.

"""
CRATES = {
    "policy": "policies",
    "records": "extension/records",
    "log": "extension/log",
    "guard": "extension/guard",
    "agent": "extension/agent",
    "preload": "sdk-shims/preload",
    "local": "local",
    "cli": "cli",
}
STRIP = re.compile(r'//[^\n]*|/\*.*?\*/|b?"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\[^u]|\\u\{[0-9a-f]+\})\'', re.DOTALL)
PATH = re.compile(r"\b(?:(?:crate|self|super)(?:::(?:super))*|[a-z_][a-z0-9_]*)(?:::[A-Za-z_][A-Za-z0-9_]*)+")
MODULE = re.compile(r"^\s*(?:pub(?:\([a-z ]+\))?\s+)?mod\s+([a-z_][a-z0-9_]*)\s*;", re.MULTILINE)


def without_tests(text):
    """The code of a file: no comments, no literals, nothing below `#[cfg(test)]`'s module."""
    text = STRIP.sub(lambda found: '""' if '"' in found[0] or found[0][0] == "'" else "", text)
    return re.split(r"#\[cfg\(test\)\]\s*(?:pub(?:\([a-z ]+\))?\s+)?mod tests\b", text)[0]


class Crate:
    """The modules of a crate: their files, and what each names."""

    def __init__(self, folder):
        source = ROOT / folder / "src"
        top = next(file for file in (source / "lib.rs", source / "main.rs") if file.exists())
        self.files, self.code = {}, {}
        self.add((), top)

    def add(self, module, file):
        self.files[module], self.code[module] = file, without_tests(file.read_text(encoding="utf-8"))
        is_root = file.name in ("mod.rs", "lib.rs", "main.rs")
        folder = file.parent if is_root else file.with_suffix("")
        for name in MODULE.findall(self.code[module]):
            for inner in (folder / f"{name}.rs", folder / name / "mod.rs"):
                if inner.exists() and name != "tests":
                    self.add((*module, name), inner)

    def uses(self, module):
        """Each path that `use` brings in, as (absolute path, name it has here)."""
        for tree in re.findall(r"\buse\s+([^;]+);", self.code[module]):
            for path, name in flat("".join(re.sub(r"\bas\b", "@", tree).split())):
                yield self.absolute(module, path), name

    def absolute(self, module, path):
        """A path from the crate's root; None where it leads out of the crate."""
        parts = list(path)
        if parts[0] == "crate":
            return tuple(parts[1:])
        base = list(module)
        if parts[0] == "self":
            parts = parts[1:]
        elif parts[0] == "super":
            while parts and parts[0] == "super":
                parts, base = parts[1:], base[:-1]
        elif (*module, parts[0]) not in self.files:
            # `use x86_64 as here;`, then `use here::…`.
            alias = re.search(rf"\buse\s+([a-z0-9_]+)\s+as\s+{re.escape(parts[0])}\s*;", self.code[module])
            if not alias or (*module, alias[1]) not in self.files:
                return None
            parts[0] = alias[1]
        return tuple(base + parts)

    def owner(self, path, depth=0):
        """The module that has what a path names, through re-exports."""
        for length in range(len(path), -1, -1):
            module = path[:length]
            if module not in self.files:
                continue
            for target, name in self.exports(module) if length < len(path) and depth < 5 else ():
                if target is None or target == path[: length + 1]:
                    continue
                if name == path[length]:
                    return self.owner(target + path[length + 1 :], depth + 1)
                if name == "*" and self.defines(target[:-1], path[length]):
                    return self.owner(target[:-1] + path[length:], depth + 1)
            return module
        return ()

    def defines(self, module, name):
        """Whether a module has an item of this name, or passes one on."""
        item = rf"\b(?:struct|enum|union|trait|type|fn|const|static|mod)\s+{re.escape(name)}\b"
        return re.search(item, self.code.get(module, "")) or any(name == other for _, other in self.exports(module))

    def exports(self, module):
        for tree in re.findall(r"\bpub(?:\([a-z ]+\))?\s+use\s+([^;]+);", self.code[module]):
            for path, name in flat("".join(re.sub(r"\bas\b", "@", tree).split())):
                yield self.absolute(module, path), name

    def imports(self):
        """Module -> the modules that it names something of."""
        graph = {}
        for module, code in self.code.items():
            local = {name: path for path, name in self.uses(module) if path is not None}
            again = {path for path, _ in self.exports(module)}
            body = re.sub(r"\b(?:pub(?:\([a-z ]+\))?\s+)?use\s+[^;]+;", "", MODULE.sub("", code))
            # A name that is re-exported is imported if the file uses it itself.
            used = {path for name, path in local.items() if path not in again or re.search(rf"\b{re.escape(name)}\b", body)}
            # A module that is brought in by its name counts by what is named of it.
            found = {self.owner(path) for path in used if path not in self.files}
            for path in PATH.findall(body):
                parts = path.split("::")
                if parts[0] in local:
                    found.add(self.owner(local[parts[0]] + tuple(parts[1:])))
                elif (absolute := self.absolute(module, parts)) is not None:
                    found.add(self.owner(absolute))
            graph[module] = found - {module}
        return graph


def flat(tree, before=()):
    """Yields (path, name) for each leaf of a use tree without white space; `as` is written `@`."""
    head, brace, rest = tree.partition("{")
    if brace:
        before = (*before, *filter(None, head.split("::")))
        for part in split(rest[: rest.rindex("}")]):
            yield from flat(part, before)
    elif tree:
        path, _, name = tree.partition("@")
        parts = [*before, *path.split("::")]
        if parts[-1] == "self" and len(parts) > 1:
            parts.pop()
        yield tuple(parts), name or parts[-1]


def split(text):
    """The parts of a list, by its commas that are in no braces."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def circles(graph):
    """The strongly connected components with more than one member (Tarjan)."""
    order, low, stack, found = {}, {}, [], []

    def visit(node):
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            at = stack.index(node)
            found.append(stack[at:])
            del stack[at:]

    for node in graph:
        if node not in order:
            visit(node)
    return [sorted(each) for each in found if len(each) > 1]


def shown(module):
    return "::".join(module) or "crate"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--update", action="store_true", help="lower the numbers that can be lowered")
    parser.add_argument("--show", metavar="CRATE", choices=CRATES, help="print the circles of a crate")
    options = parser.parse_args()
    allowed = tomllib.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {}
    table, failed = {}, False
    for name, folder in CRATES.items():
        graph = Crate(folder).imports()
        found = circles(graph)
        longest = max(found, key=len, default=[])
        most = max(allowed.get(name, 0), MOST)
        for circle in found if options.show == name else ():
            for module in circle:
                print(f"{shown(module)} -> {', '.join(shown(other) for other in sorted(graph[module] & set(circle)))}")
        if len(longest) > most:
            failed = True
            names = ", ".join(map(shown, longest))
            print(f"imports: {name}: {len(longest)} files import one another, {most} may: {names}", file=sys.stderr)
        if len(longest) > MOST:
            table[name] = min(len(longest), most) if TABLE.exists() else len(longest)
    if options.update and not failed:
        TABLE.write_text(HEAD + "".join(f"{name} = {count}\n" for name, count in table.items()), encoding="utf-8")
    elif not failed and table != allowed:
        print("imports: there are shorter circles than allowed; scripts/imports.py --update keeps it so")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

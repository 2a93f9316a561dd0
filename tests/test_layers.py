"""Imports run down the order of the folders: none against it, and no cycle, also not inside functions."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "tunebench"

#: Folders and top-level files from the ground up. What stands in a line may import what stands above that line.
ORDER = """
__init__ errors schema stats
recipe registry
formatting files machine tasks
templates models data
strategies engine
study
store
training analysis
execution inference report importing
web api
choosing labelling
benchmarks
cli
__main__
"""
LEVEL = {place: level for level, line in enumerate(ORDER.strip().splitlines()) for place in line.split()}


def target(name: str, source: Path) -> str | None:
    """Return the file, below source, in which a dotted name stands or which it is."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1) if parts[0] == source.name else ():
        stem = Path(*parts[1:cut])
        for path in (stem.with_suffix(".py") if cut > 1 else stem / "__init__.py", stem / "__init__.py"):
            if (source / path).is_file():
                return path.as_posix()
    return None


@cache
def imports(source: Path) -> list[tuple[str, str, int]]:
    """Return importer, imported file and line; what a type checker alone sees of Protocols is left out."""
    files = {path.relative_to(source).as_posix(): path for path in source.rglob("*.py")}
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in files.items()}
    protocols = {
        (path, node.name)
        for path, tree in trees.items()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).startswith("Protocol") for base in node.bases)
    }
    found = set()
    for path, tree in trees.items():
        blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
        checking = {id(inner) for block in blocks for inner in ast.walk(block)}
        for node in ast.walk(tree):
            if not isinstance(node, (ast.Import, ast.ImportFrom)):
                continue
            prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                other = target(prefix + alias.name, source)
                if other not in (None, path) and not (id(node) in checking and (other, alias.name) in protocols):
                    found.add((path, other, node.lineno))
    return sorted(found)


def place(path: str) -> str:
    """Return the folder or top-level file that stands in :data:`ORDER`."""
    return Path(path).parts[0].removesuffix(".py")


def against_the_order(source: Path = SOURCE) -> list[str]:
    """Return what does not run down the order; a folder's own files may import each other."""
    edges = [(a, b, line) for a, b, line in imports(source) if place(a) != place(b)]
    return [f"{a}:{line} imports {b}" for a, b, line in edges if LEVEL.get(place(b), 99) >= LEVEL.get(place(a), 99)]


def cycles(source: Path = SOURCE) -> list[str]:
    """Return the files that import themselves by way of others, those of one circle in a line."""
    edges: dict[str, set[str]] = {}
    for path, other, _ in imports(source):
        edges.setdefault(path, set()).add(other)
    reach: dict[str, set[str]] = {}
    for start in edges:
        left, reach[start] = [start], set()
        while left:
            new = edges.get(left.pop(), set()) - reach[start]
            reach[start] |= new
            left += new
    circles = {tuple(sorted(b for b in reach[a] if a in reach.get(b, set()))) for a in edges if a in reach[a]}
    return [" <-> ".join(circle) for circle in sorted(circles)]


def test_every_folder_and_file_has_its_place() -> None:
    inside = [path for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    there = {path.name.removesuffix(".py") for path in inside}
    assert there == set(LEVEL)


def test_imports_run_down_the_order() -> None:
    assert not (found := against_the_order()), "\n".join(found)


def test_no_file_imports_itself_by_way_of_others() -> None:
    assert not (found := cycles()), "\n".join(found)

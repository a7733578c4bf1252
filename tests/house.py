"""The rules of the house, read off the source: each rule is a function that returns one complaint a line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

MOST_ENTRIES = 12
REGISTRIES = {"kinds", "criteria", "patches", "dialects", "backends"}
NOT_COUNTED = {"__init__.py", "__main__.py", "py.typed", "__pycache__"}
FRAMEWORK_WORDS = re.compile(r"fairseq|sb3|stable[-_ ]?baselines3", re.IGNORECASE)


@dataclass(frozen=True)
class Import:
    """One imported name.

    :param importer: the module that imports; a room's ``__init__`` has the room's name
    :param target: the module that is imported, or the face that a name is imported from
    :param name: the name that is imported from a face; empty where a module is imported
    :param place: path and line
    """

    importer: str
    target: str
    name: str
    place: str


class Source:
    """The modules of some packages, parsed.

    :param root: the folder that holds the packages
    :param packages: their names
    """

    def __init__(self, root: Path, packages: Iterable[str]) -> None:
        self.root = root
        self.packages = tuple(packages)
        self.files: dict[str, Path] = {}
        self.faces: set[str] = set()
        for package in self.packages:
            for path in sorted((root / package).rglob("*.py")):
                parts = path.relative_to(root).with_suffix("").parts
                if parts[-1] == "__init__":
                    parts = parts[:-1]
                    self.faces.add(".".join(parts))
                self.files[".".join(parts)] = path
        self.trees = {module: ast.parse(path.read_text()) for module, path in self.files.items()}
        self.imports = [found for module in self.files for found in self._imports_of(module)]

    def place(self, module: str, line: int | None = None) -> str:
        """Where a module lies, for people."""
        path = self.files[module].relative_to(self.root).as_posix()
        return path if line is None else f"{path}:{line}"

    def room(self, module: str) -> str:
        """The innermost room (or package) that a module lies in; a face lies in its own room."""
        parts = module.split(".")
        return next(
            name for end in range(len(parts), 0, -1) if (name := ".".join(parts[:end])) in self.faces or end == 1
        )

    def exports(self, face: str) -> set[str]:
        """The names in ``__all__`` of a face."""
        names: set[str] = set()
        for node in self.trees[face].body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
                constants = [part for part in ast.walk(node) if isinstance(part, ast.Constant)]
                names |= {part.value for part in constants if isinstance(part.value, str)}
        return names

    def _ours(self, name: str) -> bool:
        return name.partition(".")[0] in self.packages

    def _imports_of(self, module: str) -> Iterator[Import]:
        for node in ast.walk(self.trees[module]):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if self._ours(alias.name):
                        yield Import(module, alias.name, "", self.place(module, node.lineno))
            elif isinstance(node, ast.ImportFrom):
                yield from self._from_import(module, node)
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("import_module", "importlib.import_module"):
                word = node.args[0] if node.args else None
                if isinstance(word, ast.Constant) and isinstance(word.value, str) and self._ours(word.value):
                    yield Import(module, word.value, "", self.place(module, node.lineno))

    def _from_import(self, module: str, node: ast.ImportFrom) -> Iterator[Import]:
        base = node.module or ""
        if node.level:
            package = module if module in self.faces else module.rpartition(".")[0]
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*parents, base] if base else parents)
        if not self._ours(base):
            return
        for alias in node.names:
            # A face may export a function with the name of a module; who is outside imports the function.
            is_module = f"{base}.{alias.name}" in self.files
            if is_module and (inside(module, base) or "." not in base):
                yield Import(module, f"{base}.{alias.name}", "", self.place(module, node.lineno))
            else:
                name = alias.name if base in self.faces else ""
                yield Import(module, base, name, self.place(module, node.lineno))


def inside(module: str, room: str) -> bool:
    """Whether ``module`` lies in ``room``, or is its face."""
    return module == room or module.startswith(f"{room}.")


def wrong_arrows(source: Source, allowed: Mapping[str, set[str]]) -> list[str]:
    """Imports between packages that ``allowed`` (package -> the other packages that it may import) does not have."""
    complaints = []
    for found in source.imports:
        here, there = found.importer.partition(".")[0], found.target.partition(".")[0]
        if here != there and there not in allowed[here]:
            complaints.append(f"{found.place}: {here} imports {found.target}")
    return complaints


def past_the_face(source: Source) -> list[str]:
    """Imports of a room's modules from outside the room."""
    complaints = []
    for found in source.imports:
        room = source.room(found.target)
        if found.target != room and "." in room and not inside(found.importer, room):
            complaints.append(f"{found.place}: {found.importer} imports {found.target}; the face is {room}")
    return complaints


def not_exported(source: Source) -> list[str]:
    """Names imported from a face that its ``__all__`` does not have."""
    complaints = []
    for found in source.imports:
        if found.name and found.name not in source.exports(found.target):
            complaints.append(f"{found.place}: {found.name} is not in __all__ of {source.place(found.target)}")
    return complaints


def _circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """A shortest circle through each node that lies on one, each set of nodes once."""

    def shortest(start: str) -> list[str]:
        ways, seen = [[start]], {start}
        for way in ways:
            for after in sorted(edges.get(way[-1], ())):
                if after == start:
                    return [*way, start]
                if after not in seen:
                    seen.add(after)
                    ways.append([*way, after])
        return []

    circles: dict[frozenset[str], list[str]] = {}
    for node in sorted(edges):
        circle = shortest(node)
        if circle:
            circles.setdefault(frozenset(circle), circle)
    return list(circles.values())


def module_circles(source: Source) -> list[str]:
    """Circles between modules; to import a face is to import every module that its ``__init__`` imports."""
    edges: dict[str, set[str]] = {}
    for found in source.imports:
        edges.setdefault(found.importer, set()).add(found.target)
    return [" -> ".join(circle) for circle in _circles(edges)]


def room_circles(source: Source) -> list[str]:
    """Circles between rooms; a module that lies in no room counts as one."""
    edges: dict[str, set[str]] = {}
    examples: dict[tuple[str, str], str] = {}

    def node(module: str) -> str:
        room = source.room(module)
        return room if "." in room else module

    for found in source.imports:
        here, there = node(found.importer), node(found.target)
        if here != there:
            edges.setdefault(here, set()).add(there)
            examples.setdefault((here, there), found.place)
    return [
        " -> ".join(circle) + " by " + ", ".join(examples[arrow] for arrow in pairwise(circle))
        for circle in _circles(edges)
    ]


def crowded_folders(source: Source) -> list[str]:
    """Folders with more than twelve entries; registries, and what every package has, aside."""
    complaints = []
    for package in source.packages:
        top = source.root / package
        for folder in [top, *(path for path in sorted(top.rglob("*")) if path.is_dir())]:
            if folder.name in REGISTRIES | NOT_COUNTED:
                continue
            names = sorted(path.name for path in folder.iterdir() if path.name not in NOT_COUNTED and _holds(path))
            if len(names) > MOST_ENTRIES:
                complaints.append(f"{folder.relative_to(source.root)} has {len(names)} entries: {' '.join(names)}")
    return complaints


def _holds(path: Path) -> bool:
    """Whether a path is a file, or a folder that has more than compiled leftovers in it."""
    return path.is_file() or any(file.is_file() and "__pycache__" not in file.parts for file in path.rglob("*"))


def silent_faces(source: Source) -> list[str]:
    """Faces without a docstring that says what the room is for."""
    complaints = []
    for face in sorted(source.faces):
        words = (ast.get_docstring(source.trees[face]) or "").split()
        if len(words) < 3:
            complaints.append(f"{source.place(face)}: {' '.join(words) or 'no docstring'}")
    return complaints


def docstrings_without_words(source: Source) -> list[str]:
    """Docstrings that begin with ``:raises`` or ``:param``, in front of any sentence."""
    complaints = []
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for module, tree in source.trees.items():
        for node in ast.walk(tree):
            text = ast.get_docstring(node) if isinstance(node, documented) else None
            if text and text.startswith((":raises", ":param")):
                name = getattr(node, "name", module)
                complaints.append(f"{source.place(module, getattr(node, 'lineno', 1))}: {name}: {text.splitlines()[0]}")
    return complaints


def framework_words(source: Source, package: str, room: str, allowed: Iterable[tuple[str, str]] = ()) -> list[str]:
    """Lines of ``package`` that name a framework, outside ``room``.

    :param allowed: path of a file and a part of a line that may stand in it
    """
    allowed = tuple(allowed)
    complaints = []
    for module, path in source.files.items():
        if not inside(module, package) or inside(module, room):
            continue
        where = path.relative_to(source.root).as_posix()
        for number, line in enumerate(path.read_text().splitlines(), 1):
            named = FRAMEWORK_WORDS.search(line)
            if named and not any(where == file and part in line for file, part in allowed):
                complaints.append(f"{where}:{number}: {line.strip()}")
    return complaints

"""CONTRIBUTING.md and docs/add_a_framework.md tell the truth: their code is added to a copy of the packages and run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from setuptools.command.egg_info import FileList

from tests import house, preloaded

ROOT = Path(__file__).parents[1]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
FRAMEWORK = (ROOT / "docs/add_a_framework.md").read_text()
PACKAGES = ("lottery_core", "sb3_lottery", "fairseq_lottery")
_BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PLACE = re.compile(r"# ([\w./-]+\.py)(?:, (after|instead of): (.+))?")


def section(text: str, heading: str) -> str:
    """The part of a page under a heading, up to the next heading of its level or a higher one; code is no heading."""
    prose = _BLOCK.sub(lambda block: re.sub(r"^#", "/", block[0], flags=re.MULTILINE), text)
    found = re.search(rf"^(#+) {re.escape(heading)}\n", prose, re.MULTILINE)
    assert found, f"there is no heading '{heading}'"
    after = re.search(rf"^#{{1,{len(found[1])}}} ", prose[found.end() :], re.MULTILINE)
    return text[found.end() : found.end() + after.start() if after else None]


@dataclass(frozen=True)
class Block:
    """A block of code.

    :param language: ``python`` or ``bash``
    :param code: its lines
    """

    language: str
    code: str


def blocks(text: str) -> list[Block]:
    """The blocks of code in a part of a page."""
    return [Block(*found) for found in _BLOCK.findall(text)]


class Copy:
    """A copy of the packages that blocks are written into.

    :param folder: where it is made
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for package in PACKAGES:
            shutil.copytree(ROOT / package, folder / package)  # with what is compiled

    def write(self, block: Block) -> None:
        """Write a block where its first line says: a new file, or after or instead of one line of a file."""
        first, _, code = block.code.partition("\n")
        place = _PLACE.fullmatch(first)
        assert place, f"the first line of a block must say where it goes: {first}"
        path, how, anchor = self.folder / place[1], place[2], place[3]
        if how is None:
            assert not path.exists(), f"{place[1]} exists: say after or instead of which line"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code)
            return
        lines = path.read_text().splitlines()
        assert lines.count(anchor) == 1, f"{place[1]} has this line {lines.count(anchor)} times: {anchor}"
        index = lines.index(anchor)
        lines[index : index + 1] = [*([anchor] if how == "after" else []), *code.splitlines()]
        path.write_text("\n".join(lines) + "\n")

    def run(self, commands: str) -> str:
        """Run shell commands that use the copy; assert that all end well; their output."""
        parents = preloaded.scripts(self.folder.parent / "bin", python=[sys.executable])
        parents[preloaded.PARENT] = "core"
        path = os.pathsep.join([str(self.folder.parent / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**os.environ, **parents, "OMP_NUM_THREADS": "1", "PATH": path, "PYTHONPATH": str(self.folder)},
            timeout=900,
            check=False,
        )
        assert result.returncode == 0, f"{commands}\n{result.stdout[-2000:]}\n{result.stderr[-3000:]}"
        return result.stdout

    def follow(self, text: str) -> str:
        """Do what a part of a page says; the output of its commands."""
        found = blocks(text)
        for block in found:
            if block.language == "python":
                self.write(block)
        commands = [block.code for block in found if block.language == "bash"]
        assert commands, "nothing is run"
        return "".join(map(self.run, commands))

    def check_style(self) -> None:
        """Check the copy as the project is checked."""
        shutil.copy(ROOT / "pyproject.toml", self.folder)
        self.run("python -m ruff check --quiet . && python -m ruff format --quiet --check .")


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    """A fresh copy of the packages, removed after the test."""
    made = Copy(tmp_path / "copy")
    yield made
    shutil.rmtree(made.folder)


def test_the_copy_is_what_runs(copy: Copy) -> None:
    found = copy.run("python -c 'import lottery_core, sb3_lottery; print(lottery_core.__file__, sb3_lottery.__file__)'")
    assert [Path(word).parents[1] for word in found.split()] == [copy.folder, copy.folder]
    copy.write(Block("python", '# lottery_core/version.py, instead of: VERSION = "0.1.0"\nVERSION = "77"\n'))
    assert "77" in copy.run("lottery --version")


@pytest.mark.parametrize(
    "first", ["VERSION = 1", "# lottery_core/errors.py", "# lottery_core/errors.py, after: no such"]
)
def test_a_block_that_fits_nowhere_is_refused(copy: Copy, first: str) -> None:
    with pytest.raises(AssertionError):
        copy.write(Block("python", f"{first}\nX = 1\n"))


def test_sections_end_at_the_next_heading() -> None:
    text = "# A\n## B\none\n```python\n# code\n## code\n```\n### C\ntwo\n## D\nthree\n"
    assert section(text, "B") == "one\n```python\n# code\n## code\n```\n### C\ntwo\n"
    assert section(text, "C") == "two\n"
    assert section(text, "D") == "three\n"
    assert blocks(text) == [Block("python", "# code\n## code\n")]


def test_a_kind_of_ticket(copy: Copy) -> None:
    out = copy.follow(section(CONTRIBUTING, "Add a kind of ticket"))
    assert re.search(r"^round +pruned +surviving +winning +negated +dense$", out, re.MULTILINE), out
    assert "negated ticket, round 1" in out
    assert "the survivors start from the negated" in " ".join(copy.run("sb3-lottery --help").split())
    copy.check_style()


def test_a_criterion(copy: Copy) -> None:
    out = copy.follow(section(CONTRIBUTING, "Add a criterion"))
    assert "criterion movement" in out
    assert "distance from the rewind point" in " ".join(copy.run("lottery prune --help").split())
    copy.check_style()


def test_a_preset(copy: Copy) -> None:
    out = copy.follow(section(CONTRIBUTING, "Add a game preset"))
    assert "mountaincar:" in out
    assert "winning" in out
    copy.check_style()


def test_an_algorithm(copy: Copy) -> None:
    out = copy.follow(section(CONTRIBUTING, "Add an SB3 algorithm"))
    assert "winning" in out


def test_a_framework(copy: Copy) -> None:
    out = copy.follow(FRAMEWORK)
    assert "toy: 5 done, of 5 runs" in out
    assert "random ticket, round 2" in out
    copy.check_style()
    source = house.Source(copy.folder, (*PACKAGES, "toy_lottery"))
    arrows = {"lottery_core": set(), **{name: {"lottery_core"} for name in (*PACKAGES[1:], "toy_lottery")}}
    assert house.wrong_arrows(source, arrows) == []
    ours = [line for rule in (house.past_the_face, house.not_exported, house.silent_faces) for line in rule(source)]
    assert [line for line in ours if "toy" in line] == []


def test_every_room_is_in_the_tables() -> None:
    source = house.Source(ROOT, PACKAGES)
    parts = re.split(r"^\| `(\w+)` \| what is in it .*$", CONTRIBUTING, flags=re.MULTILINE)
    assert tuple(parts[1::2]) == PACKAGES
    for package, rows in zip(parts[1::2], parts[2::2], strict=True):
        firsts = re.findall(r"^\| (`.*?) \|", rows.partition("\n\n")[0], re.MULTILINE)
        named = {f"{package}.{word.replace('/', '.')}" for first in firsts for word in re.findall(r"`([^`]+)`", first)}
        rooms = {face for face in source.faces if face.startswith(f"{package}.")}
        tops = {name for name in source.files if name.count(".") == 1 and name.startswith(f"{package}.")}
        assert named == rooms | tops, (package, named ^ (rooms | tops))


def test_the_sdist_is_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not a package is in it, too: set-up, pages, recipes and tests."""
    monkeypatch.chdir(ROOT)
    files = FileList()
    for line in Path("MANIFEST.in").read_text().splitlines():
        files.process_template_line(line)
    there = [Path("constraints.txt"), *Path().glob("C*.*"), *Path().glob("*.yml"), Path(".pre-commit-config.yaml")]
    there += [
        path for folder in ("docs", "recipes", "tests", ".ci") for path in Path(folder).rglob("*") if path.is_file()
    ]
    expected = {str(path) for path in there if "__pycache__" not in path.parts}
    assert len(expected) > 300
    assert expected == set(files.files)


def test_it_can_be_read_in_one_sitting() -> None:
    assert len(CONTRIBUTING.splitlines()) <= 250


def test_the_hooks_are_the_checks_of_the_suite() -> None:
    hooks = re.findall(r"entry: (.+)", (ROOT / ".pre-commit-config.yaml").read_text())
    script = (ROOT / "recipes/test.sh").read_text()
    lines = re.findall(r"^(\.venv/bin/(?:ruff|mypy|shellcheck).*)$", script, re.M)
    assert len(lines) == len(hooks) == 4
    assert all(line.startswith(hook) for line, hook in zip(lines, hooks, strict=True))

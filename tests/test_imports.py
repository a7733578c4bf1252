"""The house stands: arrows, rooms and their faces, folders and docstrings, and a core that needs torch alone.

``tests/house.py`` reads each rule off the source; a companion test shows on a made-up package that the rule can fail.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import lottery_core
from tests import house

HERE = Path(lottery_core.__file__).parents[1]
ARROWS: dict[str, set[str]] = {
    "lottery_core": set(),
    "sb3_lottery": {"lottery_core"},
    "fairseq_lottery": {"lottery_core"},
}
DIALECTS = "lottery_core.dialects"
# (path, part of a line) -> why the core names a framework there.
MAY_NAME_A_FRAMEWORK: dict[tuple[str, str], str] = {}

TORCH_ALONE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"stable_baselines3", "sb3_contrib", "gymnasium", "fairseq", "matplotlib",
                                      "safetensors", "zstandard", "sb3_lottery", "fairseq_lottery", "cloudpickle"}:
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
import torch
from lottery_core import apply_ticket, prune, snapshot
model = torch.nn.Linear(8, 8)
rewind = snapshot(model)
ticket = prune(snapshot(model), rewind, rate=0.2)
with apply_ticket(ticket, model, torch.optim.SGD(model.parameters(), lr=0.1)) as keeper:
    model(torch.randn(2, 8)).sum().backward()
    keeper.check()
print(ticket.masks.surviving)
"""


@pytest.fixture(scope="module")
def source() -> house.Source:
    """The three packages."""
    return house.Source(HERE, ARROWS)


def none(complaints: list[str], mend: str) -> None:
    """Fail with how to mend it and every complaint."""
    assert not complaints, "\n".join([mend, *dict.fromkeys(complaints)])


def made_up(tmp_path: Path, files: dict[str, str]) -> house.Source:
    """A package ``core`` and a package ``plugin`` with the files given; every folder is a room with a good face."""
    for name in ("core/__init__.py", "plugin/__init__.py", *files):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in path.relative_to(tmp_path).parents:
            if folder != Path():
                (tmp_path / folder / "__init__.py").touch()
        path.write_text(files.get(name, ""))
    return house.Source(tmp_path, ("core", "plugin"))


def test_the_core_works_with_torch_alone() -> None:
    result = subprocess.run([sys.executable, "-c", TORCH_ALONE], capture_output=True, text=True, check=False)
    assert result.stdout == "58\n", result.stderr


def test_arrows_between_packages_point_at_the_core_only(source: house.Source) -> None:
    none(house.wrong_arrows(source, ARROWS), "The core imports no plugin, a plugin only the core; move the code down:")


@pytest.mark.parametrize(
    "line",
    [
        "import plugin",
        "import plugin.games as games",
        "from plugin.games import Game",
        "def late():\n    from plugin import games",
        "if TYPE_CHECKING:\n    from plugin import games",
        "import importlib\nimportlib.import_module('plugin.games')",
    ],
)
def test_a_wrong_arrow_is_seen_wherever_it_stands(tmp_path: Path, line: str) -> None:
    source = made_up(tmp_path, {"core/mask.py": line, "plugin/games.py": "import core.mask"})
    (complaint,) = house.wrong_arrows(source, {"core": set(), "plugin": {"core"}})
    assert complaint.startswith("core/mask.py:")
    assert "core imports plugin" in complaint


def test_outside_a_room_only_its_face_is_imported(source: house.Source) -> None:
    none(house.past_the_face(source), "Import from the face (`from package.room import X`), and export X there:")


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("from core.room.inner import X", False),
        ("from core.room import inner", True),  # then it is an export of the face, which another rule wants in __all__
        ("import core.room.inner", False),
        ("from .room.inner import X", False),
        ("from core.room.cellar.deep import X", False),
        ("from core.room.cellar import X", True),
        ("from core.room import X", True),
    ],
)
def test_an_import_past_the_face_is_seen(tmp_path: Path, line: str, allowed: bool) -> None:
    inner = "from core.room import other\nfrom core.room.other import X"
    deep = "from core.room import inner\nfrom core.room.inner import X\nfrom core.room.cellar import nook"
    rest = {"core/room/other.py": "", "core/room/cellar/nook.py": ""}
    files = {"core/user.py": line, "core/room/inner.py": inner, "core/room/cellar/deep.py": deep, **rest}
    complaints = house.past_the_face(made_up(tmp_path, files))
    assert [complaint.partition(":")[0] for complaint in complaints] == ([] if allowed else ["core/user.py"])


def test_a_room_does_not_look_into_the_rooms_within_it(tmp_path: Path) -> None:
    files = {"core/room/inner.py": "from core.room.cellar.deep import X", "core/room/cellar/deep.py": "X = 1"}
    assert len(house.past_the_face(made_up(tmp_path, files))) == 1


def test_faces_export_what_is_imported_from_them(source: house.Source) -> None:
    none(house.not_exported(source), "Add the name to `__all__` of the face, or do not use it outside its room:")


@pytest.mark.parametrize("line", ["from core.room import y", "from core.room import inner", "from core.room import *"])
def test_a_name_that_the_face_does_not_export_is_seen(tmp_path: Path, line: str) -> None:
    files = {
        "core/room/__init__.py": "from core.room.inner import x, y\n__all__ = ['x']",
        "core/room/inner.py": "x = y = 1",
        "core/user.py": f"from core.room import x\n{line}",
    }
    (complaint,) = house.not_exported(made_up(tmp_path, files))
    assert complaint == f"core/user.py:2: {line.split()[-1]} is not in __all__ of core/room/__init__.py"


def test_no_circle_between_modules(source: house.Source) -> None:
    none(house.module_circles(source), "Move what both need into a module of its own that imports neither:")


def test_a_circle_between_modules_is_seen(tmp_path: Path) -> None:
    files = {
        "core/a.py": "import core.b",
        "core/b.py": "def f():\n    from core import c",
        "core/c.py": "import core.a",
    }
    assert house.module_circles(made_up(tmp_path, files)) == ["core.a -> core.b -> core.c -> core.a"]


def test_a_circle_through_a_face_is_seen(tmp_path: Path) -> None:
    files = {
        "core/room/__init__.py": "from core.room.inner import x",
        "core/room/inner.py": "import core.user",
        "core/user.py": "from core.room import x",
    }
    assert house.module_circles(made_up(tmp_path, files)) == [
        "core.room -> core.room.inner -> core.user -> core.room",
    ]


def test_no_circle_between_rooms(source: house.Source) -> None:
    none(house.room_circles(source), "One room is above the other; move what both need into the lower one:")


def test_a_circle_between_rooms_is_seen(tmp_path: Path) -> None:
    files = {
        "core/left/one.py": "from core.right import x",
        "core/left/two.py": "",
        "core/right/__init__.py": "from core.right.three import x",
        "core/right/three.py": "x = 1",
        "core/right/four.py": "from core.left import two",
    }
    source = made_up(tmp_path, files)
    assert house.module_circles(source) == []
    (complaint,) = house.room_circles(source)
    assert complaint.startswith("core.left -> core.right -> core.left by core/left/one.py:1, core/right/four.py:1")


def test_at_most_twelve_entries_a_folder(source: house.Source) -> None:
    none(house.crowded_folders(source), "Put modules of one idea into a room with a face, or merge what is one idea:")


@pytest.mark.parametrize(
    ("folder", "entries", "crowded"), [("room", 12, False), ("room", 13, True), ("kinds", 30, False)]
)
def test_a_crowded_folder_is_seen(tmp_path: Path, folder: str, entries: int, crowded: bool) -> None:
    files = {f"core/{folder}/m{number}.py": "" for number in range(entries)}
    source = made_up(tmp_path, {**files, f"core/{folder}/__main__.py": ""})
    (tmp_path / f"core/{folder}/gone/__pycache__").mkdir(parents=True)
    (tmp_path / f"core/{folder}/gone/__pycache__/old.pyc").touch()
    complaints = house.crowded_folders(source)
    assert [complaint.partition(":")[0] for complaint in complaints] == ["core/room has 13 entries"] * crowded


def test_faces_say_what_the_room_is_for(source: house.Source) -> None:
    none(house.silent_faces(source), "Give the `__init__` a docstring of one sentence that says what the room is for:")


@pytest.mark.parametrize(
    "text", ["", '"""core."""', '"""core.room."""', "'''A room.'''", "# A comment about the room."]
)
def test_a_silent_face_is_seen(tmp_path: Path, text: str) -> None:
    good = '"""What everybody needs, and nothing else."""'
    source = made_up(tmp_path, {"core/__init__.py": text, "core/room/__init__.py": good, "plugin/__init__.py": good})
    (complaint,) = house.silent_faces(source)
    assert complaint.startswith("core/__init__.py: ")


def test_docstrings_begin_with_a_sentence(source: house.Source) -> None:
    none(house.docstrings_without_words(source), "Begin with what the function does, then `:param` and `:raises`:")


@pytest.mark.parametrize("first", [":raises ValueError: never", ":param x: a number"])
def test_a_docstring_without_a_sentence_is_seen(tmp_path: Path, first: str) -> None:
    good = f'    def g(x):\n        """Return x.\n\n        {first}\n        """\n'
    code = f'class A:\n    def f(x):\n        """{first}"""\n{good}'
    (complaint,) = house.docstrings_without_words(made_up(tmp_path, {"core/a.py": code}))
    assert complaint == f"core/a.py:2: f: {first}"


def test_the_core_names_no_framework(source: house.Source) -> None:
    complaints = house.framework_words(source, "lottery_core", DIALECTS, MAY_NAME_A_FRAMEWORK)
    none(complaints, "What a framework's files and names mean belongs in lottery_core/dialects, or into its plugin:")


def test_exceptions_for_frameworks_are_still_needed(source: house.Source) -> None:
    complaints = house.framework_words(source, "lottery_core", DIALECTS)
    for path, part in MAY_NAME_A_FRAMEWORK:
        assert any(line.startswith(f"{path}:") and part in line for line in complaints), (path, part)


@pytest.mark.parametrize(
    "word", ["fairseq", "SB3", "stable-baselines3", "stable_baselines3", "Stable Baselines3", "FairSeqTask"]
)
def test_a_framework_in_the_core_is_seen(tmp_path: Path, word: str) -> None:
    line = f"# as {word} has it"
    source = made_up(tmp_path, {"core/a.py": f"\n{line}", "core/dialects/b.py": line, "plugin/c.py": line})
    assert house.framework_words(source, "core", "core.dialects") == [f"core/a.py:2: {line}"]
    assert house.framework_words(source, "core", "core.dialects", {("core/a.py", word)}) == []

"""Dialects: the built-in rows, those of other packages, and what they decide."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lottery_core import dialects, pool_names, read_weights, snapshot
from lottery_core.checkpoints import dialect_of
from lottery_core.dialects import Dialect
from lottery_core.dialects import registry as module
from lottery_core.errors import CheckpointError
from lottery_core.inference import export
from lottery_core.tickets import by_names, collapse_warning

TOY = Dialect(
    name="toy",
    title="Toy",
    file="a toy's archive",
    archive_member="weights.pth",
    buffers=frozenset({"toy_statistic"}),
    never_pruned=frozenset({"temperature"}),
    outside_layers=re.compile(r"(^|\.)readout\."),
    target_network=re.compile(r"^lagged\."),
    scope_words=lambda names: {"torso": r"^torso\."} if any(name.startswith("torso.") for name in names) else {},
    collapse_hint=lambda name: "feed the toy" if name.startswith("torso") else None,
    export="tests.lottery_core.dialects.test_registry:export_toy",
)


def export_toy(path: Path, output: Path, form: str, trust: bool) -> str:
    """The exporter of the toy's dialect."""
    output.write_text(form)
    return "exported"


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package is installed whose entry point of the group is the toy's row."""
    points = (SimpleNamespace(name="toy", value="toy:ROW", load=lambda: TOY),)
    monkeypatch.setattr(module, "entry_points", lambda group: points if group == dialects.GROUP else ())
    dialects.every.cache_clear()
    yield
    dialects.every.cache_clear()


def archive(path: Path) -> Path:
    state = {
        "torso.0.weight": torch.randn(4, 3),
        "torso.0.toy_statistic": torch.ones(4),
        "readout.weight": torch.randn(2, 4),
        "temperature": torch.ones(1),
        "lagged.0.weight": torch.randn(4, 3),
    }
    torch.save(state, path.with_suffix(".pth"))
    with zipfile.ZipFile(path, "w") as file:
        file.write(path.with_suffix(".pth"), "weights.pth")
    return path


def test_the_built_in_rows() -> None:
    assert [row.name for row in dialects.every()][:3] == ["plain", "sb3", "fairseq"]
    assert dialects.named("nobody").name == "plain"
    for row in dialects.every():
        for reference in filter(None, (row.export, row.build)):
            assert callable(dialects.load(reference)), reference


@pytest.mark.usefixtures("toy")
def test_a_row_of_another_package_decides_for_its_files(tmp_path: Path) -> None:
    path = archive(tmp_path / "model.toy")
    assert dialect_of(path).name == "toy"
    weights = read_weights(path)
    assert sorted(weights.names()) == ["readout.weight", "torso.0.weight"]
    assert pool_names(weights.names(), "layers", weights.outside) == ["torso.0.weight"]
    assert by_names(["torso", "x"], weights.tensors) == (r"^torso\.", "x")
    assert collapse_warning("torso.0.weight", "here").endswith("feed the toy")
    assert export(path, tmp_path / "out", "shrunk") == "exported"
    assert (tmp_path / "out").read_text() == "shrunk"


@pytest.mark.usefixtures("toy")
def test_a_row_of_another_package_decides_for_its_models() -> None:
    model = torch.nn.Module()
    model.register_parameter("temperature", torch.nn.Parameter(torch.ones(1)))
    model.register_parameter("weight", torch.nn.Parameter(torch.ones(2)))
    assert snapshot(model).names() == ["weight"]


def test_without_the_row_it_is_an_unknown_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot read"):
        read_weights(archive(tmp_path / "model.toy"))


@pytest.mark.parametrize("kind", ["broken", "no row", "taken"])
def test_rows_that_cannot_be_used_are_left_out_with_a_warning(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ImportError("No module named 'toy'")

    load = {"broken": broken, "no row": lambda: 3, "taken": lambda: Dialect("fairseq", "another")}[kind]
    monkeypatch.setattr(module, "entry_points", lambda group: [SimpleNamespace(name="toy", value="toy:ROW", load=load)])
    dialects.every.cache_clear()
    try:
        with pytest.warns(UserWarning, match=r"toy \(toy:ROW\)"):
            rows = dialects.every()
        assert [row.title for row in rows] == ["torch", "Stable-Baselines3", "fairseq"]
    finally:
        dialects.every.cache_clear()

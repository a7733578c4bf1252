"""The proof on a GPU: its options and its texts; ``.ci/run`` does its shortest form on the CPU."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import one_line
from tests.recipes.helpers import ROOT, run


@pytest.fixture(scope="module")
def trainings() -> ModuleType:
    spec = importlib.util.spec_from_file_location("trainings", ROOT / "recipes/gpu/trainings.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--quick"], "unknown option '--quick'; there are --short, --device, --from and --prepare"),
        (["--prepare"], "--prepare needs a folder"),
        (["--from", "/nowhere"], "/nowhere was not made by --prepare"),
    ],
)
def test_bad_input_is_one_line(words: list[str], line: str) -> None:
    one_line(run("test-gpu", *words, LOTTERY_VENV="/nowhere"), f"test-gpu: error: {line}")


def test_every_precision_of_the_docs_is_proved(trainings: ModuleType) -> None:
    rows = [
        row for row in (ROOT / "docs/gpus.md").read_text().splitlines() if row.startswith("| `--") or "| fp32" in row
    ]
    said = {word for row in rows for word in row.split("`") if word.startswith("--") and "FORM" not in word}
    proved = {flags or "fp32" for flags in trainings.PRECISIONS.values()}
    assert proved <= {*said, "fp32"}
    assert len(proved) == 6


def test_data_that_were_half_made_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "recipes/gpu")
    from proof import Proof  # type: ignore[import-not-found]

    monkeypatch.setattr(Proof, "run", lambda self, module, *words: words[-1].mkdir())
    (tmp_path / "data/text/part").mkdir(parents=True)
    assert Proof(tmp_path, "cpu").data("text").is_dir()


@pytest.mark.parametrize("kind", ["pairs", "text"])
def test_the_texts_are_the_same_every_time(kind: str, trainings: ModuleType, tmp_path: Path) -> None:
    trainings.write_texts(tmp_path / "a", kind)
    words = trainings.write_texts(tmp_path / "b", kind)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["train.de", "train.en", "valid.de", "valid.en"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert ("--only-source" in words) == (kind == "text")

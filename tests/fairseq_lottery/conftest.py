"""Data and dense runs, made once for all tests: every start of fairseq costs seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("fairseq", reason="the fairseq plugin's tests need fairseq-fixed")

from tests.fairseq_lottery import helpers


@pytest.fixture(scope="session")
def translation_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Binary data of fairseq-preprocess, one dictionary for both languages."""
    folder = tmp_path_factory.mktemp("numbers")
    helpers.write_parallel(folder)
    prefixes = [word for split in ("train", "valid", "test") for word in (f"--{split}pref", folder / split)]
    words = ["--source-lang", "en", "--target-lang", "de", "--joined-dictionary", "--destdir", folder / "bin"]
    helpers.run(helpers.command("fairseq-preprocess", *words, *prefixes))
    return folder / "bin"


@pytest.fixture(scope="session")
def piece_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Binary data in units of sentencepiece; its parent has the text."""
    folder = tmp_path_factory.mktemp("pieces")
    helpers.write_pieces(folder)
    prefixes = [word for split in ("train", "valid", "test") for word in (f"--{split}pref", folder / f"{split}.sp")]
    words = ["--source-lang", "en", "--target-lang", "de", "--joined-dictionary", "--destdir", folder / "bin"]
    helpers.run(helpers.command("fairseq-preprocess", *words, *prefixes))
    return folder / "bin"


@pytest.fixture(scope="session")
def lm_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The German side as a language model's data."""
    folder = tmp_path_factory.mktemp("lm")
    helpers.write_parallel(folder)
    prefixes = [word for split in ("train", "valid", "test") for word in (f"--{split}pref", folder / f"{split}.de")]
    helpers.run(helpers.command("fairseq-preprocess", "--only-source", "--destdir", folder / "bin", *prefixes))
    return folder / "bin"


@pytest.fixture(scope="session")
def dense(translation_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a dense run with a rewind point."""
    folder = tmp_path_factory.mktemp("dense")
    words = [*helpers.TRANSLATION, *helpers.TRANSFORMER, *helpers.ADAM, "--rewind-point", "update:3"]
    helpers.train(translation_data, folder, *words)
    return folder


@pytest.fixture(scope="session")
def ticket(dense: Path) -> Path:
    """A ticket of the dense run, half of it pruned."""
    path = dense.parent / "round-01.safetensors"
    helpers.lottery(
        "prune", dense / "checkpoint_last.pt", "--rewind", dense / "rewind.safetensors", "--rate", 0.5, "-o", path
    )
    return path

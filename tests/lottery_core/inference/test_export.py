"""What ``lottery export`` refuses; what it writes is tested with the plugins."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lottery_core import dialects
from lottery_core.cli.lottery import main
from lottery_core.errors import CheckpointError
from lottery_core.inference import export


def test_what_needs_no_export(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match="it can be used as it is"):
        export(str(tmp_path / "state.pt"), str(tmp_path / "out.pt"))


def test_no_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"model": {"weight": torch.ones(2)}, "optimizer_history": []}, tmp_path / "c.pt")

    def missing(reference: str) -> None:
        raise ImportError(f"No module named {reference.partition('.')[0]!r}")

    monkeypatch.setattr(dialects, "load", missing)
    with pytest.raises(CheckpointError, match="needs its plugin, which is not installed here: No module"):
        export(tmp_path / "c.pt", tmp_path / "out.pt")


def test_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("no checkpoint")
    for name, words in (("text", "not a file of weights"), ("none", "No such file")):
        assert main(["export", str(tmp_path / name), "-o", str(tmp_path / "out.pt")]) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "out.pt").exists()

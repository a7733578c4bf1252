"""The file of a learning curve."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lottery_core.files import CurveFile, CurvePoint, read_curve

POINTS = [CurvePoint(1, 100, 0.1), CurvePoint(2, 200, 1e-17, 'a "measure", with a comma')]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = CurveFile(tmp_path / "curve.csv", pause=0.0)
    for point in POINTS:
        file.add(point)
        assert read_curve(file.path)[-1] == point  # at once: a reader sees how far the training is
    file.add(CurvePoint(3, 300, math.nan))
    assert read_curve(file.path) == POINTS
    assert file.path.read_text().startswith("epoch,steps,score,measure\n1,100,0.1,\n")
    assert [path.name for path in tmp_path.iterdir()] == ["curve.csv"]


def test_many_short_epochs_are_not_written_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    file = CurveFile(tmp_path / "curve.csv", pause=1e9)
    monkeypatch.setattr("lottery_core.files.curve.write_text", lambda path, text: written.append(text.count("\n") - 1))
    for epoch in range(1, 101):
        file.add(CurvePoint(epoch, epoch, 0.0))
    file.write()
    assert written == [1, 100]


@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff", b"epoch\n1\n", b"epoch,steps,score\n1,2,inf\n1e99,1,1\n", b'"' * 9]
)
def test_another_file_has_no_points(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "curve.csv").write_bytes(content)
    assert read_curve(tmp_path / "curve.csv") == []
    assert read_curve(tmp_path / "missing.csv") == read_curve(tmp_path) == []

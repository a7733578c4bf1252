"""The rows of a folder: each marker is read once, and again where it or its ticket has changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lottery_core.experiments import paths, read_rows
from lottery_core.experiments.graph import Run
from lottery_core.experiments.results import markers
from tests.lottery_core.experiments.test_runner import here

WINNING = Run(1, "winning", 1)


def test_a_marker_is_parsed_a_few_times_however_many_runs_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every finished run writes the table of all."""
    parsed: list[Path] = []
    read = markers._read

    def counted(folder: Path, *name: str) -> object:
        parsed.append(folder)
        return read(folder, *name)

    monkeypatch.setattr(markers, "_read", counted)
    rows, _ = here(tmp_path, rounds=6, seeds=(1, 2))
    assert len(parsed) <= 6 * len(rows)


def test_a_changed_marker_is_read_again(tmp_path: Path) -> None:
    here(tmp_path, rounds=1)
    before = {row.run: row for row in read_rows(tmp_path)}
    path = tmp_path / WINNING.folder / paths.MARKER
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "score": 0.125}))
    after = {row.run: row for row in read_rows(tmp_path)}
    assert after.pop(WINNING).score == 0.125
    assert before.pop(WINNING).score != 0.125
    assert after == before


def test_a_changed_ticket_is_seen(tmp_path: Path) -> None:
    here(tmp_path, rounds=1)
    assert WINNING in {row.run for row in read_rows(tmp_path)}
    other = tmp_path / Run(1, "random", 1).folder / paths.TICKET
    (tmp_path / WINNING.folder / paths.TICKET).write_bytes(other.read_bytes())
    told: list[str] = []
    assert WINNING not in {row.run for row in read_rows(tmp_path, warn=told.append)}
    assert "it names another ticket than the one beside it" in told[0]

"""The floor of an experiment: a row of its own, which is no kind of ticket."""

from __future__ import annotations

from pathlib import Path

import pytest

from lottery_core.errors import ConfigError
from lottery_core.experiments import Score, read_csv, read_rows, write_floor
from lottery_core.experiments.runner import Runner
from lottery_core.reports import report
from tests.lottery_core.experiments.test_runner import quiet
from tests.lottery_core.toy import Here, Toy, experiment


def test_a_floor_is_a_row_of_the_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = experiment(tmp_path, rounds=1)
    Runner(chosen, Toy(), Here(tmp_path), quiet()).run()
    report([tmp_path])
    before = capsys.readouterr().out
    write_floor(tmp_path, Score(-1000.0, 0.5, 100), "random actions")
    rows = Runner(chosen, Toy(), Here(tmp_path), quiet()).run()
    (floor,) = [row for row in rows if row.kind == "floor"]
    assert (floor.score, floor.score_se, floor.returns, floor.steps, floor.surviving) == (
        -1000.0,
        0.5,
        100,
        0,
        floor.pool,
    )
    assert [row.kind for row in read_csv(tmp_path / "results.csv")] == [row.kind for row in rows]
    report([tmp_path])
    after = capsys.readouterr().out
    assert "floor -1000)" in " ".join(after.split())
    tables = [text.partition("\n\n")[2].partition("picture:")[0] for text in (before, after)]
    assert tables[0] == tables[1]
    (tmp_path / "floor.json").write_text('{"score": "low"}')
    with pytest.raises(ConfigError, match=r"cannot read .*floor\.json: 'score' must be a number"):
        read_rows(tmp_path)

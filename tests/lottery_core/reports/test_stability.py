"""The report of a stability probe: order, intervals, missing lines, and values that are not finite."""

from __future__ import annotations

import json
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats

from lottery_core.cli.lottery import main as lottery
from lottery_core.cli.stability import chosen_point
from lottery_core.errors import ConfigError, WriteError
from lottery_core.experiments import Line, Run, paths
from lottery_core.reports import Stability, stability, stability_report
from lottery_core.reports.stability import of_lines, stability_lines
from lottery_core.reports.stability.write import as_data
from recipes.upkeep import stability_rows
from tests.lottery_core.experiments.test_stability import POINTS, probe, run


def test_points_are_told_in_the_order_of_the_training(tmp_path: Path) -> None:
    """However they were given: the earliest stable point follows from it."""
    run(probe(tmp_path, tuple(reversed(POINTS))))
    found = stability(tmp_path)
    assert [point.point for point in found.points] == list(POINTS)
    threshold = found.points[-1].share * 1.0001
    stable = [point.share <= threshold for point in found.points]
    earliest = stability(tmp_path, threshold).earliest
    assert earliest is not None
    assert earliest.point == next(POINTS[index] for index in range(3) if all(stable[index:]))


def test_as_long_as_a_line_is_missing_there_is_no_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(probe(tmp_path, seeds=(1, 2)))
    for gone in (Run(1, "line", 3), Run(2, "line", 3), Run(2, "line", 2)):
        shutil.rmtree(tmp_path / gone.folder)
    found = stability_report(tmp_path, 1e9)
    assert "3 of 6 lines are not done, so there is no earliest stable point yet" in capsys.readouterr().out
    data = json.loads((tmp_path / paths.STABILITY).read_text())
    assert (data["missing"], data["earliest"], len(data["points"])) == (3, None, 2)
    with pytest.raises(ConfigError, match="3 of 6 lines are not done"):
        chosen_point(found, tmp_path)


def test_the_interval_is_students_over_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told as well where the folder cannot be written."""
    run(probe(tmp_path, ("init",), seeds=(1, 2)))
    (point,) = stability_report(tmp_path).points
    low, high = stats.t.interval(0.95, 1, point.barrier, point.error)
    assert (point.interval.low, point.interval.high) == pytest.approx((low, high))
    before = (tmp_path / paths.STABILITY).read_bytes()
    assert f"{low:.3g} to {high:.3g}" in capsys.readouterr().out
    (entry,) = json.loads((tmp_path / paths.STABILITY).read_text())["points"]
    assert entry["interval"] == pytest.approx([low, high])

    def write(path: Path, data: object) -> None:
        raise WriteError(f"cannot write {path}: read-only")

    monkeypatch.setattr(sys.modules[stability_lines.__module__], "write_json", write)
    assert lottery(["report", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert f"{low:.3g} to {high:.3g}" in told
    assert "WARNING: a file of this report is missing, or that of an earlier one: cannot write " in told
    assert (tmp_path / paths.STABILITY).read_bytes() == before


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_a_line_that_is_not_finite(seeds: tuple[int, ...], tmp_path: Path) -> None:
    run(probe(tmp_path, ("init",), seeds=seeds))
    folder = tmp_path / Run(1, "line", 1).folder
    found = Line.read(folder)
    replace(found, scores=(found.scores[0], *[math.nan] * 9, found.scores[-1])).write(folder)
    assert stability_report(tmp_path).earliest is None
    text = (tmp_path / paths.STABILITY).read_text()
    assert "NaN" not in text
    (entry,) = json.loads(text)["points"]
    assert (entry["instability"], entry["share"], entry["interval"]) == (None, None, None)
    assert entry["lines"][0]["scores"][1] is None


@pytest.mark.parametrize(("worse", "lower"), [(-1.0, False), (1.0, True)])
def test_copies_below_the_floor_are_not_stable(worse: float, lower: bool) -> None:
    """The farther below it, the more stable they would look."""

    def line(ends: float, barrier: float) -> Line:
        return Line((0.0, 0.5, 1.0), (ends, ends + worse * barrier, ends), (0.1,) * 3, lower, ())

    def found(*ends: float) -> Stability:
        points = [(f"p{number}", {}, [line(some, 5.0)]) for number, some in enumerate(ends)]
        return of_lines(points, worse * 120.0, 0.05, (1,), "return", len(ends))

    below = found(worse * 395.0, worse * 120.0)
    assert (below.earliest, [point.stable for point in below.points]) == (None, [False, False])
    said = "\n".join(stability_lines(below, "x"))
    assert "copies that are no better than the floor, and so say nothing: p0, p1\n" in said
    assert said.endswith("no candidate is known to be stable: train the copies longer or otherwise")
    assert "nan" not in said
    assert [point["share"] for point in as_data(below)["points"]] == [None, None]
    with pytest.raises(ConfigError, match=r"copies from p1 are no better than the floor .*: train longer"):
        chosen_point(below, Path("out"))
    last = found(worse * 395.0, worse * -120.0)
    assert last.earliest is last.points[1]
    assert last.points[1].share == pytest.approx(5 / 240)


def test_rows_of_a_finished_probe_give_the_same_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(probe(tmp_path, seeds=(1, 2)))
    found, rows = stability_report(tmp_path, 0.3), tmp_path / "lines-toy.csv"
    said = capsys.readouterr().out.replace(tmp_path.name, "toy").splitlines()[:-1]
    stability_rows.write_rows(tmp_path, rows)
    assert repr(stability_rows.read_rows(rows)) == repr(found)  # errors are NaN
    page = "Before.\n\n    toy: stability; of old rows\n    that said other things\n\nBehind.\n"
    expected = "".join(f"    {line}\n" for line in said)
    assert stability_rows.renewed(page, rows) == f"Before.\n\n{expected}\nBehind.\n"
    with pytest.raises(ValueError, match="no block of code that begins 'toy: stability;'"):
        stability_rows.renewed("Nothing.\n", rows)
    shutil.rmtree(tmp_path / Run(2, "line", 3).folder)
    with pytest.raises(ConfigError, match="1 of 6 lines are not done"):
        stability_rows.write_rows(tmp_path, rows)


def test_a_damaged_threshold_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(probe(tmp_path, ("init",)))
    (tmp_path / paths.STABILITY).write_text('{"threshold": "x"}')
    assert lottery(["report", str(tmp_path)]) == 2
    assert "its threshold is no number larger than 0" in capsys.readouterr().err

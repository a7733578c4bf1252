"""Levels that were not run, at the floor: the ends between which their scores may lie, and what depends on them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lottery_core.experiments import Row
from lottery_core.reports.answer import answer, filled, question_of
from lottery_core.reports.answer.not_run import worst_at_floor
from tests.lottery_core.reports.answer.rows import LABEL, rows

NOT_RUN = -1.0  # stands for a level that was not run


def stopped(scores: Mapping[str, Sequence[float]]) -> list[Row]:
    """Rows of one seed; dense is 200, the floor 20."""
    found = rows({kind: [line] for kind, line in scores.items()}, (200.0,), floor=20.0)
    return [replace(row, score=math.nan, not_run="at the floor") if row.score == NOT_RUN else row for row in found]


def line_of(data: Sequence[Row]) -> str:
    (line,) = [line for line in answer(data, question_of(LABEL, "")).warnings if line.startswith("not run")]
    return line


def test_a_contrast_has_its_kinds_at_opposite_ends() -> None:
    """Both kinds lack their last levels: with both at the same end, their difference there would be exactly 0."""
    data = stopped({"winning": [183, 23, 21, NOT_RUN, NOT_RUN], "random": [180, 22, 21, NOT_RUN, NOT_RUN]})
    found = answer(data, question_of(LABEL, "")).whole
    assert found is not None
    assert found.difference.estimate > 0
    line = line_of(data)
    assert line.startswith("not run, at the floor: 4 levels, between 20 (the floor) and 5% of the distance to dense; ")
    assert "the two ends DISAGREE: the whole effect -0.0" in line
    assert ", not tested, or +0.0" in line
    far = stopped({"winning": [183, 150, 21, NOT_RUN, NOT_RUN], "random": [22, 22, NOT_RUN, NOT_RUN, NOT_RUN]})
    assert line_of(far).endswith(", and both ends give the same conclusions")


def test_the_low_end_is_the_worst_level_at_the_floor() -> None:
    """Scores below the floor end a kind, too: so may the levels that were not run be lower than it."""
    data = stopped({"winning": [183, 150, 90, 60], "random": [160, 12.5, math.nan, NOT_RUN]})
    assert "1 level, between 12.5 (the worst level at the floor) and 5%" in line_of(data)
    negative = [replace(row, score=-row.score) for row in data]  # lower is better
    assert worst_at_floor(negative, -1.0) == (-12.5, True)
    assert {row.score for row in filled(negative, sign=-1.0, score=-12.5) if row.not_run} == {-12.5}


def test_a_further_training_that_was_not_run_is_no_level() -> None:
    """Its ticket was trained once."""
    data = stopped({"winning": [183, 150], "random": [160, 12.5]})
    again = replace(next(row for row in data if row.kind == "random"), noise=2, score=math.nan, not_run="at the floor")
    assert not any("not run" in line for line in answer([*data, again], question_of(LABEL, "")).warnings)

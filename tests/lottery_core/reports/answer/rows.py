"""Rows of made-up experiments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lottery_core.experiments import Row
from tests.lottery_core.reports.test_report import row, rows_of

LABEL = "mean return of the last 100 training episodes"
Scores = Mapping[str, Sequence[Sequence[float]]]


def rows(scores: Scores, dense: Sequence[float] = (1.0,), floor: float | None = 0.0, label: str = LABEL) -> list[Row]:
    """Rows of an experiment.

    :param scores: kind -> for each seed (from 1) the score of each round (from 1)
    :param dense: the dense score of each seed
    :param floor: the floor that was measured; None for none
    """
    found = [some for some in rows_of(scores, dense) if some.kind != "floor"]
    found += [row("floor", 0, floor)] if floor is not None else []
    return [replace(some, score_label=label) for some in found]
